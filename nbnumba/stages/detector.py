"""Detector stages: where a sample of a pixel lies, its solid angle, and what its sensor layer absorbs (F1 to F4)."""

from nbnumba.stages import cos, exp, real, sin
from nbnumba.stages.vec3 import dot, turn


def sample_offset(panel, oversample, pixel, sub):
    """F1: distance of sub-pixel centre `sub` of `pixel` from the edge of the detector, m."""
    return panel.pixel / real(oversample) * (real(pixel * oversample + sub) + real(0.5))


def flat_position(panel, fast, slow, depth):
    """F1: laboratory position of a point of the flat detector at (fast, slow, depth) from its origin, m."""
    return (
        fast * panel.fast_x + slow * panel.slow_x + depth * panel.normal_x + panel.origin_x,
        fast * panel.fast_y + slow * panel.slow_y + depth * panel.normal_y + panel.origin_y,
        fast * panel.fast_z + slow * panel.slow_z + depth * panel.normal_z + panel.origin_z,
    )


def curved_position(panel, flat):
    """F1c: the flat position, its y and z read as arc lengths on a sphere about the sample, m."""
    ahead = (panel.distance * panel.beam_x, panel.distance * panel.beam_y, panel.distance * panel.beam_z)
    slow, fast = flat[1] / panel.distance, flat[2] / panel.distance
    turned = turn(ahead, (panel.slow_x, panel.slow_y, panel.slow_z), sin(slow), cos(slow))
    return turn(turned, (panel.fast_x, panel.fast_y, panel.fast_z), sin(fast), cos(fast))


def solid_angle(panel, airpath):
    """F3: solid angle of a pixel, sr; for point pixels the inverse square of the distance alone, 1/m^2."""
    inverse = real(1) / airpath
    if panel.point_pixel:
        return inverse * inverse
    return panel.pixel * panel.pixel * inverse * inverse * (panel.close_distance * inverse)


def capture_fraction(panel, layer, diffracted):
    """F4: fraction of the photons that the sensor layer of that number absorbs, after those in front of it.

    None of those that come from behind, as they may on a curved detector, whose normal is that of its middle.
    """
    parallax = dot(diffracted, (panel.normal_x, panel.normal_y, panel.normal_z))
    if parallax <= real(0):
        return real(0)
    step = panel.layer * panel.absorption / parallax
    return exp(-real(layer) * step) - exp(-real(layer + 1) * step)
