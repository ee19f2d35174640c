"""Short versions of the stages that simple scenes (cuda_lattices.py) do not need, so that their kernel is small."""

from nbnumba.stages import wide


def curved_position(panel, flat):
    """The position on the detector, which is flat."""
    return flat


def amorphous(material, beam, q):
    """The background, which is the same in all directions."""
    return beam.background_each


def fading_factor(beam, q):
    """The factor of the isotropic B factor, of which there is none."""
    return wide(1)
