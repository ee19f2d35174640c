"""Mirrors of the detector stages: position of a sample, solid angle, capture fraction (A1 to A4).

The edges of a pixel are no parameters, so that sample_offset has no mirror.
"""

from adjoint.stages.vec3 import rotate_adj
from nbnumba.stages import cos, exp, real, sin
from nbnumba.stages.vec3 import dot, rotate, scale


def flat_position_adj(panel, fast, slow, depth, x_bar):
    """Return the cotangents of the axes f, s and n, of the origin o, and of the depth D in m (A1).

        F1: x = F f + S s + D n + o,    D = t L
        A1: f_bar = F x_bar,    s_bar = S x_bar,    n_bar = D x_bar,    o_bar = x_bar,    D_bar = n . x_bar

    The cotangents of F and S, which no parameter moves, are left out.
    """
    normal = (panel.normal_x, panel.normal_y, panel.normal_z)
    return scale(x_bar, fast), scale(x_bar, slow), scale(x_bar, depth), x_bar, dot(x_bar, normal)


def curved_position_adj(panel, flat, x_bar):
    """Return the cotangents of the flat position and of the distance D, both in m, and of the unit vectors i, s and f (A1c).

        F1c: x = R(f, p_f) R(s, p_s) D i,    p_s = y / D,    p_f = z / D
        A1c: w_bar = R(f, p_f)^T x_bar,    a_bar = R(s, p_s)^T w_bar,    y_bar = p_s_bar / D,    z_bar = p_f_bar / D
             i_bar = D a_bar,    D_bar = i . a_bar - y_bar p_s - z_bar p_f,    p_bar = sin_bar cos p - cos_bar sin p

    R(u, p) rotates about u by the angle p in radian. y and z are those of the flat position, whose x moves nothing. Each
    rotation is pulled back by rotate_adj, the last one first.
    """
    beam, slow_axis = (panel.beam_x, panel.beam_y, panel.beam_z), (panel.slow_x, panel.slow_y, panel.slow_z)
    fast_axis = (panel.fast_x, panel.fast_y, panel.fast_z)
    inverse = real(1) / panel.distance
    on_beam, about_slow, about_fast = scale(beam, panel.distance), flat[1] * inverse, flat[2] * inverse
    rotated = rotate(on_beam, slow_axis, sin(about_slow), cos(about_slow))
    rotated_bar, fast_bar, sine_bar, cosine_bar = rotate_adj(rotated, fast_axis, sin(about_fast), cos(about_fast), x_bar)
    z_bar = (sine_bar * cos(about_fast) - cosine_bar * sin(about_fast)) * inverse
    on_beam_bar, slow_bar, sine_bar, cosine_bar = rotate_adj(on_beam, slow_axis, sin(about_slow), cos(about_slow), rotated_bar)
    y_bar = (sine_bar * cos(about_slow) - cosine_bar * sin(about_slow)) * inverse
    distance_bar = dot(on_beam_bar, beam) - y_bar * about_slow - z_bar * about_fast
    return (real(0), y_bar, z_bar), distance_bar, scale(on_beam_bar, panel.distance), slow_bar, fast_bar


def solid_angle_adj(panel, airpath, omega_bar):
    """Return the cotangents of the airpath R and the close distance c, both in m (A3).

        F3: omega = p_f p_s c / R^3;    1 / R^2 for point pixels
        A3: R_bar = -3 omega omega_bar / R,    c_bar = omega omega_bar / c;    R_bar = -2 omega_bar / R^3 for point pixels
    """
    inverse = real(1) / airpath
    if panel.point_pixel:
        return -real(2) * omega_bar * inverse * inverse * inverse, real(0)
    of_close = panel.pixel_fast * panel.pixel_slow * inverse * inverse * inverse * omega_bar
    return -real(3) * of_close * panel.close_distance * inverse, of_close


def capture_fraction_adj(panel, layer, diffracted, capture_bar):
    """Return the cotangents of the unit vectors d and n, of the depth L of a layer in m, and of the absorption mu in 1/m (A4).

        F4: capture = exp(-t u) - exp(-(t + 1) u),    u = L mu / rho,    rho = d . n;    0 where rho <= 0
        A4: u_bar = capture_bar ((t + 1) exp(-(t + 1) u) - t exp(-t u)),    rho_bar = -u_bar u / rho
            d_bar = rho_bar n,    n_bar = rho_bar d,    L_bar = u_bar mu / rho,    mu_bar = u_bar L / rho

    Where rho <= 0 all are 0.
    """
    normal = (panel.normal_x, panel.normal_y, panel.normal_z)
    rho = dot(diffracted, normal)
    from_front = rho > real(0)
    inverse = real(1) / rho if from_front else real(0)
    u = panel.layer * panel.absorption * inverse
    t, next_t = real(layer), real(layer + 1)
    u_bar = capture_bar * (next_t * exp(-next_t * u) - t * exp(-t * u)) if from_front else real(0)
    rho_bar = -u_bar * u * inverse
    layer_bar, absorption_bar = u_bar * panel.absorption * inverse, u_bar * panel.layer * inverse
    return scale(normal, rho_bar), scale(diffracted, rho_bar), layer_bar, absorption_bar
