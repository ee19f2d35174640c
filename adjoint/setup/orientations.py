"""How the table of lattices turns with the spindle's angles and the mosaic spread (specs/adjoint.md, A7b)."""

import numpy as np

from adjoint.parameters import LATTICE_MOTIONS, names_of
from nbnumba import rng
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis
from nbnumba.setup import orientations
from nbnumba.statements import Crystal, Goniometer, Statements

JUMP = "a phi step at exactly 0 carries another lattice over (P1)"


def motions(
    crystal: Crystal, goniometer: Goniometer, spindle: np.ndarray, switches: frozenset[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """rotations, rotation_rates and the two fresh ones of Motions, phi outside, domains inside.

    rotations (steps * domains, 9): the rotation, row by row, that takes a, b, c at phi = 0 to the lattice. rotation_rates
    (steps * domains, 3 per parameter): the axis times the rate at which it turns, in radians per degree of each of
    LATTICE_MOTIONS. spindle is a unit vector. A step that carries a lattice over moves as the step that it comes from; the
    last two are of the fresh pass of phi_carryover.
    """
    angles = orientations.phi_angles(goniometer)
    carried = fresh = list(range(len(angles)))
    if "phi_carryover" in switches:
        carried, fresh = orientations.carried_from(angles), orientations.carried_from(angles, fresh=True)
    phi_turns = np.array([about_axis(spindle, angle) for angle in angles])
    domains = orientations.domain_rotations(crystal, rounded="mosaic_float32" in switches)
    rotations = np.einsum("dij,sjk->sdik", domains, phi_turns)
    rotation_rates = _rotation_rates(domains @ spindle, osc_rates(goniometer), mosaic_rates(crystal))
    parts = rotations, rotation_rates
    return tuple(part[steps].reshape(len(steps) * len(domains), -1) for steps in (carried, fresh) for part in parts)


def osc_rates(goniometer: Goniometer) -> np.ndarray:
    """The derivative (steps,) of the angle of every phi step with respect to the range: 0 where phistep_deg says the step."""
    steps, stated = orientations.phi_steps(goniometer)[0], goniometer.phistep_deg
    both = goniometer.osc_deg is not None and goniometer.phisteps is not None
    if stated is not None and (stated > 0.0 or both):
        return np.zeros(steps)
    return np.arange(steps) / steps


def mosaic_rates(crystal: Crystal) -> dict[str, np.ndarray]:
    """By each parameter of the mosaic spread: the axis times the rate (domains, 3) at which every mosaic domain turns with it.

    The angle is the product of quantile and spread in float64, with mosaic_float32 too.
    """
    if not orientations.is_mosaic(crystal):
        return dict.fromkeys(names_of("mosaic"), np.zeros((1, 3)))
    drawn = rng.mosaic_domains(orientations.number_of_domains(crystal), orientations.mosaic_generator(crystal))
    return {"crystal.mosaic_spread_deg": drawn.axes * drawn.quantiles[:, np.newaxis]}


def jumps(experiment: Statements) -> dict[str, str]:
    """Parameters of the goniometer that the image jumps in where they are, and why.

    With phi_carryover a phi step at exactly 0 has another step's lattice; next to 0 it has its own. The range moves a step off
    0 only where it moves the step.
    """
    angles = orientations.phi_angles(experiment.goniometer)
    if "phi_carryover" not in experiment.sampling.c_parity:
        return {}
    carrying = [step for step, source in enumerate(orientations.carried_from(angles)) if source != step]
    found = {"goniometer.phi_deg": JUMP} if carrying else {}
    if osc_rates(experiment.goniometer)[carrying].any():
        found["goniometer.osc_deg"] = JUMP
    return found


def _rotation_rates(spindles: np.ndarray, by_osc: np.ndarray, by_spread: dict[str, np.ndarray]) -> np.ndarray:
    """Rates of turning (steps, domains, 3 per parameter), in radians per degree, by each of LATTICE_MOTIONS.

    spindles (domains, 3): the spindle as each domain turns it; by_osc (steps,), by_spread (domains, 3) as above.
    """
    by_osc_range = by_osc[:, np.newaxis, np.newaxis] * spindles
    rates = {"goniometer.phi_deg": spindles, "goniometer.osc_deg": by_osc_range, **by_spread}
    shape = len(by_osc), len(spindles), 3
    rotation_rates = np.stack([np.broadcast_to(rates[name], shape) for name in LATTICE_MOTIONS], axis=2)
    return rotation_rates.reshape(*shape[:2], -1) / DEGREES_PER_RADIAN
