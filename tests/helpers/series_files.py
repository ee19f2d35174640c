"""A small series of images of a rotation in files, with the list of experiments that describes it: the truth is known."""

import dataclasses

import numpy as np

import nbnumba
from nbnumba import Experiment, simulate
from nbnumba.formats import smv

IMAGES, WIDTH_DEG, PIXELS = 8, 0.2, 300
BACKGROUND, BRIGHT = 0.2, 2000.0
"""Photons of background in a pixel, and of the pixels of bright spots."""

TRUTH = {
    "crystal.misset_deg": (20.0, -35.0, 70.0),
    "crystal.mosaic_a_deg": 0.1, "crystal.mosaic_b_deg": 0.12, "crystal.mosaic_c_deg": 0.14,
    "crystal.n_a": 11.0, "crystal.n_b": 9.0, "crystal.n_c": 8.0,
    "crystal.mosaic_domains": 64, "crystal.mosaic_sampling": "sobol",
    "goniometer.phisteps": 3, "goniometer.phi_sampling": "mid",
}  # fmt: skip


def truth() -> list[Experiment]:
    """The experiments of the images: a crystal of 40 x 50 x 60 A, whose reflections reach 2.8 A."""
    words = f"-cell 40 50 60 90 90 90 -default_F 100 -lambda 1 -distance 60 -pixel 0.15 -detpixels {PIXELS} -N 10 -gauss_xtal"
    first = Experiment.from_args([*words.split(), "-oversample", "2", "-phi", "0", "-osc", str(WIDTH_DEG)]).replace(TRUTH)
    h, k, l = (axis.ravel() for axis in np.meshgrid(np.arange(-16, 17), np.arange(-20, 21), np.arange(-24, 25), indexing="ij"))
    squares = (h / 40) ** 2 + (k / 50) ** 2 + (l / 60) ** 2
    hkl = np.column_stack([h, k, l])[(squares > 0.0) & (squares < 0.38**2)]
    amplitudes = 100.0 * np.random.default_rng(1).rayleigh(size=len(hkl))
    first = dataclasses.replace(first, structure_factors=nbnumba.StructureFactors(hkl=hkl, F=amplitudes, interpolate=False))
    bright = np.sort(simulate(first).ravel())[-15]
    first = first.replace({"beam.fluence": first.beam.fluence * BRIGHT / bright})
    return [first.replace({"goniometer.phi_deg": WIDTH_DEG * number}) for number in range(IMAGES)]


def write_series(folder, experiments: list[Experiment]) -> None:
    """Write image_001.img and so on, without an offset, and series.expt, whose crystal is the true one."""
    generator, names = np.random.default_rng(2), []
    for number, experiment in enumerate(experiments, start=1):
        names.append(folder / f"image_{number:03d}.img")
        counts = generator.poisson(simulate(experiment) + BACKGROUND).astype(np.uint16)
        smv.write(names[-1], counts, [(smv.OFFSET_KEY, 0)])
    nbnumba.write_expt(folder / "series.expt", experiments, names, adc=0.0)
