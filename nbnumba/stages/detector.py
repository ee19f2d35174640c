"""Detector stages: where a sample of a pixel lies, its solid angle, and what its sensor layer absorbs (F1 to F4)."""

from nbnumba.stages import cos, exp, real, sin
from nbnumba.stages.vec3 import dot, rotate


def sample_offset(edge, oversample, pixel, sub):
    """Return the distance of the centre of a sub-pixel from the edge of the panel, along one of its axes, in m (F1).

    edge: that of a pixel along the axis, in m. oversample: number of sub-pixels along that edge. pixel: number of the pixel,
    from 0. sub: number of the sub-pixel in its pixel, from 0.
    """
    return edge / real(oversample) * (real(pixel) * real(oversample) + real(sub) + real(0.5))


def along_slow(panel, slow):
    """Return the displacement of a row of samples from the panel's origin, in m (F1).

    slow: distance of the row from the origin along the slow axis, in m.
    """
    return slow * panel.slow_x, slow * panel.slow_y, slow * panel.slow_z


def flat_position(panel, fast, slow, depth):
    """Return the laboratory position of a point of the flat detector, in m (F1).

    fast, slow, depth: distances of the point from the panel's origin along its fast, slow and normal axes, in m.
    """
    return position_in_row(panel, fast, along_slow(panel, slow), depth)


def position_in_row(panel, fast, row, depth):
    """Return the laboratory position of a point in a row of samples, in m (F1).

    fast, depth: distances of the point from the panel's origin along its fast and normal axes, in m. row: `along_slow`, in m.
    """
    return (
        fast * panel.fast_x + row[0] + depth * panel.normal_x + panel.origin_x,
        fast * panel.fast_y + row[1] + depth * panel.normal_y + panel.origin_y,
        fast * panel.fast_z + row[2] + depth * panel.normal_z + panel.origin_z,
    )


def curved_position(panel, flat):
    """Return the laboratory position of a point on a sphere about the crystal, in m (F1c).

    flat: the position on the flat detector, in m; its y and z are read as arc lengths along slow and fast.
    """
    on_beam = (panel.distance * panel.beam_x, panel.distance * panel.beam_y, panel.distance * panel.beam_z)
    about_slow, about_fast = flat[1] / panel.distance, flat[2] / panel.distance
    rotated = rotate(on_beam, (panel.slow_x, panel.slow_y, panel.slow_z), sin(about_slow), cos(about_slow))
    return rotate(rotated, (panel.fast_x, panel.fast_y, panel.fast_z), sin(about_fast), cos(about_fast))


def solid_angle(panel, airpath):
    """Return the solid angle of a pixel, in sr; of point pixels 1 / R^2, in 1/m^2 (F3).

    airpath: distance R of the sample of the pixel from the crystal, in m.
    """
    inverse = real(1) / airpath
    if panel.point_pixel:
        return inverse * inverse
    return panel.pixel_fast * panel.pixel_slow * inverse * inverse * (panel.close_distance * inverse)


def capture_fraction(panel, layer, diffracted):
    """Return the fraction of the photons that one sensor layer absorbs, after the layers before it, without a unit (F4).

    panel: the Panel record, of which the normal, the depth of a layer in m and the absorption in 1/m are read. layer: number
    of the layer, from 0. diffracted: unit vector along the ray. A ray that comes from behind is not absorbed; there are such
    rays on a curved detector, whose normal is that of its middle.
    """
    parallax = dot(diffracted, (panel.normal_x, panel.normal_y, panel.normal_z))
    if parallax <= real(0):
        return real(0)
    optical_depth = panel.layer * panel.absorption / parallax
    return exp(-real(layer) * optical_depth) - exp(-real(layer + 1) * optical_depth)
