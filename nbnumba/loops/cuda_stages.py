"""Short versions of the stages that simple scenes (cuda_lattices.py) do not need, so that their kernel is small."""


def curved_position(panel, flat):
    """The position on the detector, which is flat."""
    return flat


def amorphous(material, beam, q):
    """The background, which is the same in all directions."""
    return beam.background_each
