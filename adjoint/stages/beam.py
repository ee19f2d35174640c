"""Mirrors of the beam stages: scattering vector and polarization factor (A5, A6)."""

from adjoint.stages.vec3 import add
from nbnumba.stages import real, wide
from nbnumba.stages.vec3 import cross, dot, scale


def scattering_vector_adj(diffracted, incident, wavelength, q_bar):
    """Return the cotangents of the unit vectors d and i and of lambda, in A (A5).

        F5: q = (d - i) / lambda
        A5: d_bar = q_bar / lambda,    i_bar = -d_bar,    lambda_bar = -(q_bar . q) / lambda
    """
    inverse = real(1) / wavelength
    d_bar = scale(q_bar, inverse)
    along = d_bar[0] * (diffracted[0] - incident[0])
    along += d_bar[1] * (diffracted[1] - incident[1]) + d_bar[2] * (diffracted[2] - incident[2])
    return d_bar, scale(d_bar, -real(1)), -along * inverse


def polarization_factor_adj(beam, diffracted, incident, polarization_bar):
    """Return the cotangents of K and of the unit vectors d and i (A6).

        F6: P = (1 + c^2 - K w (1 - c^2)) / 2,    c = i . d,    w = (e^2 - b^2) / (e^2 + b^2)
            e = d . A,    b = d . B,    A = i x B,    B = E x i
        A6: K_bar = -P_bar w (1 - c^2) / 2,    c_bar = P_bar c (1 + K w)
            g = -2 P_bar K e b / ((e^2 + b^2) |B|^2),    e_bar = g b,    b_bar = -g e
            A_bar = e_bar d,    B_bar = b_bar d + A_bar x i
            d_bar = e_bar A + b_bar B + c_bar i,    i_bar = B x A_bar + B_bar x E + c_bar d

    The cotangent of E, which no parameter moves, is left out. For unit d and i, 1 - c^2 is (e^2 + b^2) / |B|^2: g uses this,
    so that dw, which grows without bound next to the beam, is not multiplied by a small difference. Where w is 1 by
    definition, which is along the beam and where E runs along the beam, w does not move.
    """
    axis = (beam.axis_x, beam.axis_y, beam.axis_z)
    c = dot(incident, diffracted)
    b_axis = cross(axis, incident)
    e_axis = cross(incident, b_axis)
    e, b = dot(diffracted, e_axis), dot(diffracted, b_axis)
    across_squared = e * e + b * b
    inverse = real(1) / across_squared if across_squared > real(0) else real(0)
    w = (e * e - b * b) * inverse if across_squared > real(0) else real(1)
    sine_squared = real(1) - c * c
    kahn_bar = -real(0.5) * polarization_bar * w * sine_squared
    c_bar = polarization_bar * c * (real(1) + beam.kahn * w)
    g = -real(2) * polarization_bar * beam.kahn * (e * inverse) * b
    g = g / dot(b_axis, b_axis) if across_squared > real(0) else real(0)
    e_bar, b_bar = g * b, -g * e
    e_axis_bar = scale(diffracted, e_bar)
    b_axis_bar = add(scale(diffracted, b_bar), cross(e_axis_bar, incident))
    d_bar = add(add(scale(e_axis, e_bar), scale(b_axis, b_bar)), scale(incident, c_bar))
    i_bar = add(add(cross(b_axis, e_axis_bar), cross(b_axis_bar, axis)), scale(diffracted, c_bar))
    return kahn_bar, d_bar, i_bar


def fading_factor_adj(beam, q, factor_bar):
    """Return the cotangents of B / 2, in A^2, and of q, in 1/A, from that of the factor times the factor (A9d).

        F9g: e^2 = exp(-f q^2),    f = B / 2
        A9d: f_bar = -e^2 e^2_bar q^2,    q_bar = -2 e^2 e^2_bar f q
    """
    return -factor_bar * dot(q, q), scale(q, -wide(2) * beam.fading * factor_bar)
