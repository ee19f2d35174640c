"""Mirrors of the detector stages: position of a sample, solid angle, capture fraction (A1 to A4).

The edge of a pixel is no parameter, so that sample_offset has no mirror.
"""

from adjoint.stages.vec3 import turn_adj
from nbnumba.stages import cos, exp, real, sin
from nbnumba.stages.vec3 import dot, scale, turn


def flat_position_adj(panel, fast, slow, depth, x_bar):
    """Return the cotangents of the axes f, s and n, of the origin o, and of the depth D in m (A1).

        F1: x = F f + S s + D n + o
        A1: f_bar = F x_bar,    s_bar = S x_bar,    n_bar = D x_bar,    o_bar = x_bar,    D_bar = n . x_bar

    The cotangents of F and S, which no parameter moves, are left out.
    """
    normal = (panel.normal_x, panel.normal_y, panel.normal_z)
    return scale(x_bar, fast), scale(x_bar, slow), scale(x_bar, depth), x_bar, dot(x_bar, normal)


def curved_position_adj(panel, flat, x_bar):
    """A1c: x = (D i turned by y / D about s, then by z / D about f), with y and z of the flat position.

    Returns the cotangents of the flat position, D, and the vectors i, s and f.
    """
    beam, slow_axis = (panel.beam_x, panel.beam_y, panel.beam_z), (panel.slow_x, panel.slow_y, panel.slow_z)
    fast_axis = (panel.fast_x, panel.fast_y, panel.fast_z)
    inverse = real(1) / panel.distance
    ahead, slow, fast = scale(beam, panel.distance), flat[1] * inverse, flat[2] * inverse
    turned = turn(ahead, slow_axis, sin(slow), cos(slow))
    turned_bar, fast_bar, sine_bar, cosine_bar = turn_adj(turned, fast_axis, sin(fast), cos(fast), x_bar)
    z_bar = (sine_bar * cos(fast) - cosine_bar * sin(fast)) * inverse
    ahead_bar, slow_bar, sine_bar, cosine_bar = turn_adj(ahead, slow_axis, sin(slow), cos(slow), turned_bar)
    y_bar = (sine_bar * cos(slow) - cosine_bar * sin(slow)) * inverse
    distance_bar = dot(ahead_bar, beam) - y_bar * slow - z_bar * fast
    return (real(0), y_bar, z_bar), distance_bar, scale(ahead_bar, panel.distance), slow_bar, fast_bar


def solid_angle_adj(panel, airpath, omega_bar):
    """Return the cotangents of the airpath R and the close distance c, both in m (A3).

        F3: omega = p^2 c / R^3;    1 / R^2 for point pixels
        A3: R_bar = -3 omega omega_bar / R,    c_bar = omega omega_bar / c;    R_bar = -2 omega_bar / R^3 for point pixels
    """
    inverse = real(1) / airpath
    if panel.point_pixel:
        return -real(2) * omega_bar * inverse * inverse * inverse, real(0)
    of_close = panel.pixel * panel.pixel * inverse * inverse * inverse * omega_bar
    return -real(3) * of_close * panel.close_distance * inverse, of_close


def capture_fraction_adj(panel, layer, diffracted, capture_bar):
    """A4: capture = exp(-t u) - exp(-(t + 1) u) with u = L mu / rho, rho = d . n; 0 where rho <= 0.

    Returns the cotangents of d, n, the depth L of a layer and the absorption mu.
    """
    normal = (panel.normal_x, panel.normal_y, panel.normal_z)
    rho = dot(diffracted, normal)
    ahead = rho > real(0)
    inverse = real(1) / rho if ahead else real(0)
    u = panel.layer * panel.absorption * inverse
    before, beyond = real(layer), real(layer + 1)
    u_bar = capture_bar * (beyond * exp(-beyond * u) - before * exp(-before * u)) if ahead else real(0)
    rho_bar = -u_bar * u * inverse
    layer_bar, absorption_bar = u_bar * panel.absorption * inverse, u_bar * panel.layer * inverse
    return scale(normal, rho_bar), scale(diffracted, rho_bar), layer_bar, absorption_bar
