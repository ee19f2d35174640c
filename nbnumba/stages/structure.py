"""Structure-factor stages: the amplitude at a reflection (F9a), and between reflections (F9b)."""

from nbnumba.stages import ceil, index_type, real


def slot(structure, h, k, l):
    """Return the index into the flat list of amplitudes of a reflection, or of the list's last entry where it is outside (F9a).

    structure: the Structure record. h, k, l: whole Miller indices.
    """
    h, k, l = index_type(h), index_type(k), index_type(l)
    h_min, k_min, l_min = index_type(structure.h_min), index_type(structure.k_min), index_type(structure.l_min)
    h_max, k_max, l_max = index_type(structure.h_max), index_type(structure.k_max), index_type(structure.l_max)
    inside = (h >= h_min) & (h <= h_max) & (k >= k_min) & (k <= k_max) & (l >= l_min) & (l <= l_max)
    row = index_type((h - h_min) * index_type(k_max - k_min + index_type(1)) + (k - k_min))
    position = index_type(row * index_type(l_max - l_min + index_type(1)) + (l - l_min))
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


def between(structure, h, k, l):
    """Return the amplitude at a point between reflections by tricubic interpolation, in electrons (F9b).

    structure: the Structure record. h, k, l: fractional Miller indices of a point that is `surrounded`, without a unit.
    """
    h0, k0, l0 = -ceil(-h), -ceil(-k), -ceil(-l)
    of_h, of_k, of_l = cubic_weights(h - h0), cubic_weights(k - k0), cubic_weights(l - l0)
    total = real(0)
    for i in range(4):
        for j in range(4):
            first = int(slot(structure, h0 + real(i - 1), k0 + real(j - 1), l0 - real(1)))
            line = real(0)
            for m in range(4):
                line += of_l[m] * structure.amplitude[first + m]
            total += of_h[i] * of_k[j] * line
    return total


def interpolated(structure, h, k, l):
    """Return the amplitude at a point by interpolation, in electrons; near the edge of the box and outside, default_F (F9b).

    structure: the Structure record. h, k, l: fractional Miller indices, without a unit.
    """
    return between(structure, h, k, l) if surrounded(structure, h, k, l) else structure.amplitude[-1]
