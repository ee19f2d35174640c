"""Simulated series of images with known truth, and spoiled starts, small enough that a refinement takes seconds."""

import dataclasses

import numpy as np

import nbnumba
from adjoint.series.images import SeriesImage
from adjoint.variables import pack
from nbnumba import Experiment, simulate

SAMPLING = {
    "crystal.mosaic_domains": 16, "crystal.mosaic_sampling": "sobol", "crystal.shape": "gauss",
    "goniometer.phisteps": 2, "goniometer.phi_sampling": "mid", "sampling.oversample": 1,
}  # fmt: skip
"""The same for the truth and the model, so that only noise makes them differ."""

TRUTH = {
    "crystal.mosaic_a_deg": 0.08, "crystal.mosaic_b_deg": 0.1, "crystal.mosaic_c_deg": 0.12,
    "crystal.n_a": 25.0, "crystal.n_b": 20.0, "crystal.n_c": 16.0,
}  # fmt: skip

CELL = (40.0, 50.0, 60.0)
NAMES = ["crystal.misset_deg", *(f"crystal.{axis}_A" for axis in "abc"), "detector.xbeam_mm", "detector.ybeam_mm"]
NAMES += [*(f"crystal.mosaic_{axis}_deg" for axis in "abc"), *(f"crystal.n_{axis}" for axis in "abc"), "crystal.scale"]
"""What is refined: what refine_series refines by default."""


def experiments(random, images=4, osc_deg=0.3, pixels=360, changed=None, flags=""):
    """Experiments of a rotation: an orthorhombic crystal in a random orientation, with random amplitudes."""
    geometry = f"-cell {' '.join(map(str, CELL))} 90 90 90 -default_F 1 -lambda 1 -distance 100 -detpixels {pixels} -pixel 0.1"
    stated = Experiment.from_args(f"{geometry} -N 20 -gauss_xtal -oversample 1 -phi 0 -osc {osc_deg} {flags}".split())
    edge = np.arange(-22, 23)
    hkl = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), axis=-1).reshape(-1, 3)
    inverse_d = np.sqrt(((hkl / np.array(CELL)) ** 2).sum(axis=1))
    hkl = hkl[(inverse_d > 0.0) & (inverse_d < 0.36)]
    amplitudes = nbnumba.StructureFactors(hkl=hkl, F=100.0 * random.rayleigh(size=len(hkl)), interpolate=False)
    angles = tuple(random.uniform(-180.0, 180.0, 3))
    truth = stated.replace(SAMPLING | TRUTH | {"crystal.misset_deg": angles} | (changed or {}))
    truth = dataclasses.replace(truth, structure_factors=amplitudes)
    return [truth.replace({"goniometer.phi_deg": number * osc_deg}) for number in range(images)]


def exposed(made, photons):
    """The experiments with so many photons in the twentieth brightest pixel of an image, and their images without noise."""
    images = [simulate(experiment) for experiment in made]
    pixels = np.sort(np.concatenate([np.ravel(image) for image in images]))
    factor = photons / pixels[-20 * len(made)]
    made = [experiment.replace({"beam.fluence": experiment.beam.fluence * factor}) for experiment in made]
    return made, [image * factor for image in images]


def series(seed, background, photons, **how):
    """The true experiments, images as they are measured, and the random generator: Poisson's noise on a flat background."""
    random = np.random.default_rng(seed)
    made, expected = exposed(experiments(random, **how), photons)
    return made, [random.poisson(image + background).astype(np.float64) for image in expected], random


def spoiled(made, random, size=1.0):
    """The experiments 0.1 degrees, 0.4 % in the cell and 0.1 to 0.2 mm off, times size, with wrong spreads and sizes."""
    middle, turn = made[0], random.normal(size=3)
    turn *= 0.1 * size / np.linalg.norm(turn)
    away, angle = random.uniform(0.1, 0.2) * size, random.uniform(0.0, 2.0 * np.pi)
    changed = {f"crystal.misset_{axis}_deg": middle.value(f"crystal.misset_{axis}_deg") + by for axis, by in zip("xyz", turn)}
    for axis, sign in zip("abc", random.choice([-1.0, 1.0], 3)):
        changed[f"crystal.{axis}_A"] = middle.value(f"crystal.{axis}_A") * (1.0 + 0.004 * sign * size)
        changed |= {f"crystal.mosaic_{axis}_deg": 0.15, f"crystal.n_{axis}": 0.75 * middle.value(f"crystal.n_{axis}")}
    changed["detector.xbeam_mm"] = middle.value("detector.xbeam_mm") + away * np.cos(angle)
    changed["detector.ybeam_mm"] = middle.value("detector.ybeam_mm") + away * np.sin(angle)
    return [experiment.replace(changed) for experiment in made]


def images_of(made, data):
    """The images of a series, whose names are their numbers."""
    return [
        SeriesImage(str(number), experiment, lambda image=image: image)
        for number, (experiment, image) in enumerate(zip(made, data))
    ]


def true_numbers(unknowns, made):
    """The numbers of a series whose truth is the same in all images."""
    return np.concatenate([np.tile(pack(made[0], [block.variable.key]), len(block.at)) for block in unknowns.blocks])


def pulls_by_name(result, made):
    """The deviations of numbers from the truth, by label, and of factors up to their common scale, in standard deviations.

    Those of counting, which hold for a model without flaw. The scale has none where factors are free, since it is no more
    than its restraint.
    """
    numbers = (result.x - true_numbers(result.unknowns, made)) / result.errors.counting.sigma
    scale = result.unknowns.indices("crystal.scale").ravel() if (result.point.own_normal > 0.0).any() else []
    labelled = {label: number for label, number in zip(result.unknowns.labels(), numbers) if np.isfinite(number)}
    for index in scale:
        labelled.pop(result.unknowns.labels()[index], None)
    weight = result.point.own_normal * result.factors
    common = weight @ (result.factors - 1.0) / max(weight @ result.factors, 1e-300)
    known = np.isfinite(result.errors.factors) & (result.errors.factors < 1e3)
    factors = (result.factors[known] - 1.0 - common * result.factors[known]) / result.errors.factors[known]
    return labelled, factors


def largest_pull(result, made):
    """The largest deviation of a number from the truth, in standard deviations."""
    return max(abs(value) for value in pulls_by_name(result, made)[0].values())
