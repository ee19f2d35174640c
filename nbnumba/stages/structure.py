"""Structure-factor stages: the amplitude at a reflection (F9a), and between reflections (F9b)."""

from numpy import uintp

from nbnumba.stages import by_energy, ceil, index_type, real, wide
from nbnumba.stages.records import Structure


def of_source(structure, source):
    """Return the Structure record by which the amplitudes at the wavelength of a source are looked up (F9f)."""
    if not by_energy:
        return structure
    skipped = structure.first[source] if structure.first.size > 1 else structure.skipped
    return Structure(
        structure.h_min,
        structure.h_max,
        structure.k_min,
        structure.k_max,
        structure.l_min,
        structure.l_max,
        structure.outside,
        structure.amplitude,
        structure.interpolate,
        structure.latch,
        structure.first,
        skipped,
    )


def slot(structure, h, k, l):
    """Return the index into the flat list of amplitudes of a reflection, or of the list's last entry where it is outside (F9a).

    structure: the Structure record. h, k, l: whole Miller indices.
    """
    h, k, l = index_type(h), index_type(k), index_type(l)
    h_min, k_min, l_min = index_type(structure.h_min), index_type(structure.k_min), index_type(structure.l_min)
    h_max, k_max, l_max = index_type(structure.h_max), index_type(structure.k_max), index_type(structure.l_max)
    inside = (h >= h_min) & (h <= h_max) & (k >= k_min) & (k <= k_max) & (l >= l_min) & (l <= l_max)
    row = index_type((h - h_min) * index_type(k_max - k_min + index_type(1)) + (k - k_min))
    l_first = l_min - index_type(structure.skipped) if by_energy else l_min
    position = index_type(row * index_type(l_max - l_min + index_type(1)) + (l - l_first))
    return position if inside else index_type(structure.outside)


def surrounded(structure, h, k, l):
    """Return whether a point lies two reflections or more inside the box on every side (F9b).

    structure: the Structure record. h, k, l: fractional Miller indices, without a unit.
    """
    return (
        (h >= structure.h_min + real(2))
        & (h <= structure.h_max - real(2))
        & (k >= structure.k_min + real(2))
        & (k <= structure.k_max - real(2))
        & (l >= structure.l_min + real(2))
        & (l <= structure.l_max - real(2))
    )


def cubic_weights(t):
    """Return Lagrange's weights of the points -1, 0, 1 and 2 at t, without a unit (F9b).

    t: fractional part of a Miller index, 0 <= t < 1, without a unit.
    """
    return (
        -t * (t - real(1)) * (t - real(2)) / real(6),
        (t + real(1)) * (t - real(1)) * (t - real(2)) / real(2),
        -(t + real(1)) * t * (t - real(2)) / real(2),
        (t + real(1)) * t * (t - real(1)) / real(6),
    )


def floor(h):
    """Return the largest whole number that is not above h, without a unit."""
    return -ceil(-h)


def corner_slot(structure, h_0, k_0, l_0):
    """Return the index of the first of the 64 amplitudes around a cell of the grid of reflections (F9b).

    structure: the Structure record. h_0, k_0, l_0: the least Miller indices of the cell, whose points are `surrounded`.
    """
    return slot(structure, h_0 - real(1), k_0 - real(1), l_0 - real(1))


def strides(structure):
    """Return how far apart the amplitudes are of reflections whose h differs by 1, and of those whose k does (F9)."""
    along_k = int(structure.l_max - structure.l_min + real(1))
    return along_k * int(structure.k_max - structure.k_min + real(1)), along_k


def surrounding(structure, first):
    """Return the amplitudes of the 64 reflections around a cell, in electrons: four planes of four rows of four (F9b).

    structure: the Structure record. first: what corner_slot says of the cell.
    """
    along_h, along_k = strides(structure)
    return (
        plane(structure, first, along_k),
        plane(structure, first + along_h, along_k),
        plane(structure, first + 2 * along_h, along_k),
        plane(structure, first + 3 * along_h, along_k),
    )


def plane(structure, first, along_k):
    """Return four rows of four amplitudes, in electrons. first: index of the first. along_k: how far apart rows are (F9)."""
    return (
        row(structure, first),
        row(structure, first + along_k),
        row(structure, first + 2 * along_k),
        row(structure, first + 3 * along_k),
    )


def row(structure, first):
    """Return four amplitudes that follow each other along l, in electrons. first: index of the first (F9)."""
    amplitude = structure.amplitude
    return amplitude[uintp(first)], amplitude[uintp(first + 1)], amplitude[uintp(first + 2)], amplitude[uintp(first + 3)]


def weighted_sum(planes, of_h, of_k, of_l):
    """Return the sum of w_i(h) w_j(k) w_m(l) F_ijm over 64 reflections, in electrons (F9b).

    planes: what `surrounding` returns. of_h, of_k, of_l: four weights each.
    """
    total = add_plane(wide(0), of_h[0], of_k, of_l, planes[0])
    total = add_plane(total, of_h[1], of_k, of_l, planes[1])
    total = add_plane(total, of_h[2], of_k, of_l, planes[2])
    return add_plane(total, of_h[3], of_k, of_l, planes[3])


def add_plane(total, weight, of_k, of_l, rows):
    """Return a sum with that of four rows of amplitudes, times their weights, added row by row, in electrons (F9b)."""
    total += weight * of_k[0] * weighted_row(of_l, rows[0])
    total += weight * of_k[1] * weighted_row(of_l, rows[1])
    total += weight * of_k[2] * weighted_row(of_l, rows[2])
    total += weight * of_k[3] * weighted_row(of_l, rows[3])
    return total


def weighted_row(of_l, four):
    """Return the sum of four amplitudes times their weights, in electrons (F9b)."""
    return of_l[0] * four[0] + of_l[1] * four[1] + of_l[2] * four[2] + of_l[3] * four[3]


def between(structure, h, k, l):
    """Return the amplitude at a point between reflections by tricubic interpolation, in electrons (F9b).

    structure: the Structure record. h, k, l: fractional Miller indices of a point that is `surrounded`, without a unit.
    """
    h_0, k_0, l_0 = floor(h), floor(k), floor(l)
    of_h, of_k, of_l = cubic_weights(h - h_0), cubic_weights(k - k_0), cubic_weights(l - l_0)
    return weighted_sum(surrounding(structure, int(corner_slot(structure, h_0, k_0, l_0))), of_h, of_k, of_l)
