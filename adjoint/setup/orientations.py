"""How the lattices of the table rotate with the angles of the spindle and with the mosaic spread (A7b)."""

import numpy as np

from adjoint.geometry.rotations import about_xyz_rates, rotation_slope
from adjoint.parameters import LATTICE_MOTIONS, names_of
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis
from nbnumba.parity import Defects
from nbnumba.setup import orientations
from nbnumba.setup.crystal import frame, missetting_deg, orient
from nbnumba.statements import Crystal, Goniometer, Statements

OWN_SPREADS = tuple(f"crystal.{name}" for name in Crystal.ABOUT_AXES)
JUMP = "a phi step at exactly 0 carries another lattice over (P1)"


def motions(
    crystal: Crystal, goniometer: Goniometer, spindle: np.ndarray, defects: Defects, step: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rotations, rotation_rates, fresh_rotations and fresh_rotation_rates of the Motions record (A7b).

        F7b: lattice = M v,    M = U Phi,    Phi = R(e, phi_t),    U = R(u, g spread)
        A7b: d(M v)/dp = omega x (M v),    omega = pi/180 U e (phi_deg), pi/180 c U e (osc_deg), pi/180 g u (spread)
        F7b: M = U Phi C,    C = Q R(w) Q^T,    w_i = g u_i s_i    with spreads s_i about the axes of the crystal
        A7b: omega = pi/180 U Phi Q J(w) g u_i e_i (s_i),    U Phi (t - C t) beside dv = t x v (missetting)

    spindle: the unit vector e. defects: those of C that are reproduced. v stands for a, b or c at phi = 0. phi_t is the angle
    of phi step t, and c its rate (osc_rates). u and g are the axis and the quantile of a mosaic domain. The rows of each array
    are lattices, with steps outside and domains inside. A step that has the lattice of another step moves as that one (P1).
    step: the number of a phi step whose lattices alone are returned, which is without phi_carryover.
    """
    angles = orientations.chosen_angles(goniometer, step)
    carried = fresh = list(range(len(angles)))
    if defects.phi_carryover:
        carried, fresh = orientations.carried_from(angles), orientations.carried_from(angles, fresh=True)
    phi_turns = np.array([about_axis(spindle, angle) for angle in angles])
    domains = orientations.domain_rotations(crystal, rounded=defects.mosaic_float32)
    outer = rotations = np.einsum("dij,sjk->sdik", domains, phi_turns)
    own = orientations.own_rotations(crystal, defects)
    by_own_axes = dict.fromkeys((*OWN_SPREADS, *names_of("orientation")), np.zeros(3))
    if own is not None:
        rotations, by_own_axes = outer @ own, _rates_about_own_axes(crystal, defects, outer, own)
    by_osc = osc_rates(goniometer) if step is None else osc_rates(goniometer)[step : step + 1]
    rotation_rates = _rotation_rates(domains @ spindle, by_osc, mosaic_rates(crystal) | by_own_axes)
    lattices = len(angles) * len(domains)
    rotations = rotations.reshape(len(angles), len(domains), 9)
    parts = rotations, rotation_rates
    return tuple(part[steps].reshape(lattices, *part.shape[2:]) for steps in (carried, fresh) for part in parts)


def sweeps(crystal: Crystal, goniometer: Goniometer, defects: Defects, step: int | None = None) -> np.ndarray:
    """Return osc_rates of the Motions record (A7b); the arguments are those of motions.

    They are empty where domains are turned about axes of the crystal before phi, so that the angle of the spindle moves
    lattices otherwise than by their vectors at phi = 0.
    """
    if orientations.own_turns(crystal) is not None:
        return np.zeros((0, 2))
    rates = osc_rates(goniometer)
    if step is not None:
        rates = rates[step : step + 1]
    if not defects.phi_carryover:
        return np.column_stack([rates, rates])
    angles = orientations.chosen_angles(goniometer, step)
    return np.column_stack([rates[orientations.carried_from(angles, fresh)] for fresh in (False, True)])


def spindle_motions(crystal: Crystal, spindle: np.ndarray, defects: Defects) -> np.ndarray:
    """Return spindle of the Motions record (A7b).

        F7b: lattice = M v,    M = U R(e, phi)
        A7b: d(M v)/dphi = (U e) x (M v) = M (e x v)
    """
    first = orientations.domain_rotations(crystal, rounded=defects.mosaic_float32)[0]
    return np.vstack([first @ spindle, np.cross(spindle, orient(crystal, defects))]) / DEGREES_PER_RADIAN


def stretches(crystal: Crystal, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches and stretch_rates of the Motions record (A7b).

        F7b: a of a domain = f a,    f = 1 + s z
        A7b: d(f a)/ds = (z / f) f a,    the rate of the logarithm of f is z / f

    steps: the number of phi steps. z are the numbers that were drawn, and s the spreads of the cell. The rows of the arrays are
    lattices, as those of motions. Steps that carry the lattice of another step over have the stretches of that one, because
    they depend on the domain alone (P1).
    """
    factors = orientations.stretches(crystal)
    if not orientations.is_mosaic(crystal):
        return np.ones((1, 3)), np.zeros((1, 3))
    rates = orientations.sampled_cells(crystal) / (1.0 if factors is None else factors)
    return np.ones((1, 3)) if factors is None else np.tile(factors, (steps, 1)), np.tile(rates, (steps, 1))


def osc_rates(goniometer: Goniometer) -> np.ndarray:
    """Return the derivative (steps,) of the angle of every phi step with respect to the range, without a unit (A7b).

        F7b: phi_t = phi_deg + (t + w) osc_deg / steps
        A7b: d phi_t / d osc_deg = (t + w) / steps

    w is 0, or 1/2 where phi_sampling is mid. It is 0 where phistep_deg states the step.
    """
    steps, stated = orientations.phi_steps(goniometer)[0], goniometer.phistep_deg
    both = goniometer.osc_deg is not None and goniometer.phisteps is not None
    if stated is not None and (stated > 0.0 or both):
        return np.zeros(steps)
    return (np.arange(steps) + orientations.within_step(goniometer)) / steps


def mosaic_rates(crystal: Crystal) -> dict[str, np.ndarray]:
    """Return axis times rate (domains, 3) of the rotation of every mosaic domain, by name of the parameter of the spread (A7b).

        F7b: angle = quantile spread
        A7b: d angle / d spread = quantile

    The product is taken to be in float64 with mosaic_float32, too (P22).
    """
    if not orientations.is_mosaic(crystal):
        return {"crystal.mosaic_spread_deg": np.zeros((1, 3))}
    drawn = orientations.sampled_domains(crystal)
    return {"crystal.mosaic_spread_deg": drawn.axes * drawn.quantiles[:, np.newaxis]}


def _rates_about_own_axes(crystal: Crystal, defects: Defects, outer: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rates (steps, domains, 3) of lattices by the spreads about axes of the crystal, and by the missetting (A7b).

    outer (steps, domains, 3, 3): the rotations after those about the axes of the crystal. own (domains, 3, 3): these. The rate
    by a missetting angle is what the rotation of the cell vectors at phi = 0 does not say.
    """
    drawn = orientations.sampled_domains(crystal)
    to_laboratory, turns = frame(crystal, defects), orientations.own_turns(crystal)
    assert turns is not None
    slopes = np.array([rotation_slope(turn) for turn in turns]) * (drawn.axes * drawn.quantiles[:, np.newaxis])[:, np.newaxis]
    by_spread = np.einsum("sdij,jk,dkn->nsdi", outer, to_laboratory, slopes)
    misset_axes = about_xyz_rates(missetting_deg(crystal, defects))
    beside = misset_axes[:, np.newaxis] - np.einsum("dij,nj->ndi", own, misset_axes)
    by_misset = np.einsum("sdij,ndj->nsdi", outer, beside)
    return dict(zip((*OWN_SPREADS, *names_of("orientation")), (*by_spread, *by_misset), strict=True))


def jumps(experiment: Statements) -> dict[str, str]:
    """Return those parameters of the goniometer at whose values the image jumps, each with the reason (A7b).

    With phi_carryover a phi step at exactly 0 has the lattice of another step; next to 0 it has its own. The range moves a step
    away from 0 only where it moves the step.
    """
    angles = orientations.phi_angles(experiment.goniometer)
    if not experiment.sampling.defects.phi_carryover:
        return {}
    carrying = [step for step, source in enumerate(orientations.carried_from(angles)) if source != step]
    reasons = {"goniometer.phi_deg": JUMP} if carrying else {}
    if osc_rates(experiment.goniometer)[carrying].any():
        reasons["goniometer.osc_deg"] = JUMP
    return reasons


def _rotation_rates(spindles: np.ndarray, by_osc: np.ndarray, by_spread: dict[str, np.ndarray]) -> np.ndarray:
    """Return the rates of rotation (steps, domains, LATTICE_MOTIONS, 3) of all lattices, in radian per degree (A7b).

    spindles (domains, 3): the spindle as each domain turns it, unit vectors. by_osc (steps,): osc_rates. by_spread:
    mosaic_rates.
    """
    by_osc_range = by_osc[:, np.newaxis, np.newaxis] * spindles
    rates = {"goniometer.phi_deg": spindles, "goniometer.osc_deg": by_osc_range, **by_spread}
    shape = len(by_osc), len(spindles), 3
    return np.stack([np.broadcast_to(rates[name], shape) for name in LATTICE_MOTIONS], axis=2) / DEGREES_PER_RADIAN
