"""Simulated stills with known truth and spoiled starts, by what a crystal in rotation is simulated with."""

import dataclasses

import numpy as np
import series_problems as problems

from adjoint.refine_series import default_still_parameters, refine_series

TRUTH = {f"crystal.mosaic_{axis}_deg": 0.1 for axis in "abc"} | {f"crystal.n_{axis}": 20.0 for axis in "abc"}
NAMES = default_still_parameters("orthorhombic")
MEAN_F = 100.0 * np.sqrt(2.0)
"""The root of the mean intensity of the random amplitudes of series_problems."""


def still(seed, photons=300.0, background=1.0, pixels=700, flags="", changed=None):
    """The true experiment of a still, its image with Poisson's noise on a flat background, and the random generator."""
    random = np.random.default_rng(seed)
    changed = TRUTH | {"goniometer.phisteps": 1} | (changed or {})
    made = problems.experiments(random, images=1, osc_deg=0.0, pixels=pixels, changed=changed, flags=flags)
    made, expected = problems.exposed(made, photons)
    return made[0], random.poisson(expected[0] + background).astype(np.float64), random


def spoiled(truth, random, size=1.0, known=False):
    """The experiment 0.1 degrees and 0.3 % of the cell off, times size, of another spread; amplitudes alike or known."""
    turn = random.normal(size=3)
    turn *= 0.1 * size / np.linalg.norm(turn)
    changed = {f"crystal.misset_{axis}_deg": truth.value(f"crystal.misset_{axis}_deg") + by for axis, by in zip("xyz", turn)}
    for axis, sign in zip("abc", random.choice([-1.0, 1.0], 3)):
        changed[f"crystal.{axis}_A"] = truth.value(f"crystal.{axis}_A") * (1.0 + 0.003 * sign * size)
        changed |= {f"crystal.mosaic_{axis}_deg": 0.15, f"crystal.n_{axis}": 15.0}
    start, factors = truth.replace(changed), truth.structure_factors
    return start if known else dataclasses.replace(start, structure_factors=alike(factors))


def alike(factors):
    """The list of reflections with one amplitude for all."""
    return dataclasses.replace(factors, F=np.full(len(factors.F), MEAN_F))


def refined(starts, data, amplitudes="each", size=1.0, names=None, **keywords):
    """The result of a refinement of stills from their starts."""
    images = problems.images_of(starts, data)
    names = NAMES if names is None else names
    return refine_series(images, names, amplitudes=amplitudes, reach_deg=0.1 * size, **keywords)


def pulls(result, truths):
    """The deviations of numbers from the truth, over their uncertainties (n,)."""
    true = np.concatenate([
        np.concatenate([problems.pack(truths[index % len(truths)], [block.variable.key]) for index in range(len(block.at))])
        for block in result.unknowns.blocks
    ])  # fmt: skip
    return (result.x - true) / result.errors.counting.sigma
