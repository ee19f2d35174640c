"""The mirror of nbnumba's crystals: from the cotangent of where a crystal is to those of its position and of phi (A7e)."""

import numpy as np

from adjoint.setup.orientations import osc_rates
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, cross
from nbnumba.setup.crystals import Contribution, phi_rotation
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.values import VECTORS

POSITION = VECTORS["crystal.position_mm"]


def position_adj(contribution: Contribution, position_bar: np.ndarray) -> dict[str, np.ndarray]:
    """Return the cotangents of the position at phi = 0, in mm, and of phi and its range, in degree, by name (A7e).

        F7e: x = R(e, phi_t) p
        A7e: p_bar = R^T x_bar,    phi_bar = (e x x) . x_bar,    osc_bar = c phi_bar,    c = d phi_t / d osc

    contribution: one in which the crystal is in one place. position_bar (..., 3): cotangent of that place x, in m.
    """
    experiment, step = contribution.experiment, contribution.phi_steps[0]
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    at_start = position_bar @ phi_rotation(experiment, step) / 1000.0
    by_phi = position_bar @ cross(spindle, contribution.position) / DEGREES_PER_RADIAN
    found = {name: at_start[..., axis] for axis, name in enumerate(POSITION)}
    return found | {"goniometer.phi_deg": by_phi, "goniometer.osc_deg": by_phi * osc_rates(experiment.goniometer)[step]}
