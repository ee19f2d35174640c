"""Random directions and rotations."""

import math

import numpy as np

from nbnumba.geometry.rotations import about_axis, unit


def random_direction(random):
    """A unit vector, uniformly distributed over the sphere."""
    vector = random.normal(size=3)
    return vector / np.linalg.norm(vector)


def random_rotation(random):
    """A rotation matrix about a random direction by a random angle."""
    return np.array(about_axis(unit(random.normal(size=3)), random.uniform(0.0, 2.0 * math.pi)))
