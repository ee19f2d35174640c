"""The table of lattices: one for every phi step and mosaic domain of the crystal (F7b), with the phi carryover of C (P1)."""

import numpy as np

from nbnumba import rng
from nbnumba.geometry.rotations import about_axis, about_vector, radians
from nbnumba.parity import Defects
from nbnumba.setup.crystal import frame
from nbnumba.setup.steps import steps_to_cover
from nbnumba.stages.records import Orientations
from nbnumba.statements import Crystal, Goniometer


def phi_steps(goniometer: Goniometer) -> tuple[int, float, float]:
    """Return the number of phi steps, the step and the range, in degree (F7b).

    What is not stated follows the rules of nanoBragg. Nothing stated: a still. A range alone: two steps. A step alone: two
    steps over a range of one step. Range and step: as many steps as the range needs. A number alone: a range of 1 degree. A
    number and a step, but no range: two steps over one step.
    """
    steps, osc, step = goniometer.phisteps, goniometer.osc_deg, goniometer.phistep_deg
    has_step = step is not None and step > 0.0
    if osc is None:
        if has_step:
            return 2, step, step
        return (1, 0.0, 0.0) if steps is None else (steps, 1.0 / steps, 1.0)
    if steps is None:
        return (max(1, steps_to_cover(radians(osc), radians(step))), step, osc) if has_step else (2, osc / 2, osc)
    return steps, osc / steps if step is None else step, osc


def phi_angles(goniometer: Goniometer) -> np.ndarray:
    """Return the angle of every phi step (steps,), in radian, rounded as nanoBragg rounds: a step at 0 is exactly 0 (F7b)."""
    steps, step_deg, osc_deg = phi_steps(goniometer)
    step = radians(osc_deg) / steps if step_deg != goniometer.phistep_deg else radians(step_deg)
    return radians(goniometer.phi_deg) + step * (np.arange(steps) + within_step(goniometer))


def within_step(goniometer: Goniometer) -> float:
    """Return where in its step a step of phi is rendered, as a fraction of it: at its left edge, or in its middle (F7b)."""
    return 0.5 if goniometer.phi_sampling == "mid" else 0.0


def chosen_angles(goniometer: Goniometer, step: int | None) -> np.ndarray:
    """Return the angle of every phi step (steps,), in radian, or that of one step alone (1,)."""
    return phi_angles(goniometer) if step is None else phi_angles(goniometer)[step : step + 1]


def table(
    crystal: Crystal,
    goniometer: Goniometer,
    spindle: np.ndarray,
    vectors: np.ndarray,
    defects: Defects,
    step: int | None = None,
) -> tuple[np.ndarray, ...]:
    """Return the lattices of all phi steps and domains, phi outside: two arrays (steps * domains, 9), in A (F7b).

    spindle: unit vector. vectors: a, b, c at phi = 0 as rows, in A. defects: those of C that are reproduced. The first array is
    for every pass but the fresh ones; with phi_carryover the second, which starts from a lattice that is not rotated, is for
    the first pass of each thread (P1). Without phi_carryover both are the same. step: the number of a phi step whose lattices
    alone are returned, (domains, 9), which is without phi_carryover.
    """
    angles = chosen_angles(goniometer, step)
    domains = domain_rotations(crystal, rounded=defects.mosaic_float32)
    cells = domain_cells(crystal, vectors, defects)
    turns = np.array([about_axis(spindle, angle) for angle in angles])
    turned = np.array(cells) @ np.swapaxes(turns, 1, 2)[:, np.newaxis]
    lattices = (turned @ np.swapaxes(domains, 1, 2)).reshape(len(angles), len(domains), 9)
    carried = fresh = lattices.reshape(-1, 9)
    if defects.phi_carryover:
        carried = lattices[carried_from(angles)].reshape(-1, 9)
        fresh = lattices[carried_from(angles, fresh=True)].reshape(-1, 9)
    return carried, fresh


def carried_from(angles: np.ndarray, fresh: bool = False) -> list[int]:
    """Return for each phi step the step whose lattice C uses there (P1).

    angles: of the phi steps, in radian. fresh: whether the pass is the first one of a thread. Where phi is exactly 0, the
    lattice is that of the step before; at the first step it is that of the last step of the pass before, unless the pass is
    fresh. A step that carries nothing over is its own.
    """
    moving = [step for step, angle in enumerate(angles) if angle != 0.0]
    if not moving:
        return list(range(len(angles)))
    from_steps, before = [], None if fresh else moving[-1]
    for step, angle in enumerate(angles):
        if angle != 0.0:
            before = step
        from_steps.append(step if before is None else before)
    return from_steps


def fresh_of(table: Orientations, row: int) -> tuple[int, int]:
    """Return the fast pixel of a row, and the number of its pass, that have fresh lattices, or -1 and -1 (P1)."""
    fast, number = table.fresh_pass[row] if len(table.fresh_pass) else (-1, -1)
    return int(fast), int(number)


def domain_rotations(crystal: Crystal, rounded: bool) -> np.ndarray:
    """Return the rotation matrices (domains, 3, 3) of the mosaic domains, of which the first is the identity (F7b).

    rounded: whether angles are rounded to float32 (P22). The random numbers come after those of a random orientation: a
    negative seed goes on with the same table (rng.py).
    """
    if not is_mosaic(crystal):
        return np.eye(3)[np.newaxis]
    return rng.rotations(sampled_domains(crystal), radians(crystal.mosaic_spread_deg), rounded)


def sampled_domains(crystal: Crystal) -> rng.Domains:
    """Return the axes and the quantiles of the mosaic domains, as crystal.mosaic_sampling says (F7b)."""
    draw = rng.sobol_domains if crystal.mosaic_sampling == "sobol" else rng.mosaic_domains
    return draw(number_of_domains(crystal), mosaic_generator(crystal))


def own_rotations(crystal: Crystal, defects: Defects) -> np.ndarray | None:
    """Return the matrices (domains, 3, 3) that turn mosaic domains about axes of the crystal, before phi; None for none (F7b).

    defects: those of C that are reproduced.
    """
    turns = own_turns(crystal)
    if turns is None:
        return None
    to_laboratory = frame(crystal, defects)
    return np.array([to_laboratory @ about_vector(turn) @ to_laboratory.T for turn in turns])


def own_turns(crystal: Crystal) -> np.ndarray | None:
    """Return the turns (domains, 3) of mosaic domains about a*, c x a* and c, in radian, as rotation vectors; None for none."""
    spreads = np.array([radians(getattr(crystal, name)) for name in Crystal.ABOUT_AXES])
    if not spreads.any():
        return None
    drawn = sampled_domains(crystal)
    return drawn.axes * drawn.quantiles[:, np.newaxis] * spreads


def domain_cells(crystal: Crystal, vectors: np.ndarray, defects: Defects) -> list[np.ndarray]:
    """Return a, b and c of every mosaic domain as rows (3, 3), in A, before phi and the mosaic spread turn them (F7b).

    vectors: those of the crystal at phi = 0. Where all domains have the same ones, the list has them once.
    """
    cells = [vectors]
    about_own_axes, factors = own_rotations(crystal, defects), stretches(crystal)
    if about_own_axes is not None:
        cells = [vectors @ own.T for own in about_own_axes]
    if factors is not None:
        cells = [cells[n % len(cells)] * factor[:, np.newaxis] for n, factor in enumerate(factors)]
    return cells


def stretches(crystal: Crystal) -> np.ndarray | None:
    """Return the factors (domains, 3) of a, b and c of the mosaic domains; None without a spread of the cell (F7b)."""
    spreads = np.array([getattr(crystal, name) for name in Crystal.CELL_SPREADS])
    return 1.0 + sampled_cells(crystal) * spreads if spreads.any() else None


def sampled_cells(crystal: Crystal) -> np.ndarray:
    """Return by how much a, b and c of each mosaic domain differ, as fractions of the spreads of the cell (domains, 3) (F7b).

    They are drawn beside the sequence of the axes and quantiles, which stay as they are without a spread of the cell.
    """
    seed, count = rng.another_seed(crystal.mosaic_seed), number_of_domains(crystal)
    sobol = crystal.mosaic_sampling == "sobol"
    drawn = rng.sobol_domains(count, seed, first=3) if sobol else rng.mosaic_domains(count, seed)
    return drawn.axes * drawn.quantiles[:, np.newaxis]


def is_mosaic(crystal: Crystal) -> bool:
    """Whether mosaic domains differ: whether there is a mosaic spread, or one of the cell."""
    return any(getattr(crystal, name) != 0.0 for name in Crystal.DOMAIN_SPREADS)


def number_of_domains(crystal: Crystal) -> int:
    """Return the number of mosaic domains: one without a spread, ten where a number is not stated (F7b)."""
    if not is_mosaic(crystal):
        return 1
    return 10 if crystal.mosaic_domains is None else crystal.mosaic_domains


def number_of_lattices(crystal: Crystal, goniometer: Goniometer) -> int:
    """Return the number of lattices of all phi steps and mosaic domains (F7b)."""
    return phi_steps(goniometer)[0] * number_of_domains(crystal)


def mosaic_generator(crystal: Crystal) -> rng.Ran1:
    """Return the random number generator of nanoBragg in the state in which it draws the mosaic domains (N1)."""
    before = None
    if crystal.misset_seed is not None:
        before = rng.Ran1(crystal.misset_seed)
        before.uniform(3)
    return rng.Ran1(crystal.mosaic_seed, after=before)


def noise_generator(crystal: Crystal, seed: int) -> rng.Ran1:
    """Return the random number generator of nanoBragg in the state in which it draws the photon noise (N1).

    With a negative seed it goes on from the mosaic domains (rng.py).
    """
    if seed >= 0:
        return rng.Ran1(seed)
    before = mosaic_generator(crystal)
    before.uniform(3 * (1 if crystal.mosaic_sampling == "sobol" else number_of_domains(crystal)))
    return rng.Ran1(seed, after=before)
