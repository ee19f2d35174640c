"""Structure-factor stages: which amplitude belongs to a reflection (F9)."""


def slot(structure, h, k, l):
    """F9: index into the flat list of amplitudes of the reflection (h, k, l); its last entry when it is not listed."""
    inside = (
        (h >= structure.h_min)
        & (h <= structure.h_max)
        & (k >= structure.k_min)
        & (k <= structure.k_max)
        & (l >= structure.l_min)
        & (l <= structure.l_max)
    )
    columns = structure.l_max - structure.l_min + 1
    rows = structure.k_max - structure.k_min + 1
    place = ((h - structure.h_min) * rows + (k - structure.k_min)) * columns + (l - structure.l_min)
    return place if inside else structure.outside
