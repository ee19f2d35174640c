"""A small series of images of a rotation in files, with the list of experiments that describes it: the truth is known."""

import dataclasses
import json

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
    "crystal.n_a": 20.0, "crystal.n_b": 17.0, "crystal.n_c": 15.0,
    "crystal.mosaic_domains": 64, "crystal.mosaic_sampling": "sobol",
    "goniometer.phisteps": 3, "goniometer.phi_sampling": "mid",
}  # fmt: skip


def truth() -> list[Experiment]:
    """The experiments of the images: a crystal of 22 x 26 x 30 A on a detector that reaches 2.2 A."""
    words = f"-cell 22 26 30 90 90 90 -default_F 100 -lambda 1 -distance 60 -pixel 0.15 -detpixels {PIXELS} -N 10 -gauss_xtal"
    first = Experiment.from_args([*words.split(), "-oversample", "2", "-phi", "0", "-osc", str(WIDTH_DEG)]).replace(TRUTH)
    h, k, l = (axis.ravel() for axis in np.meshgrid(*(np.arange(-n, n + 1) for n in (11, 13, 15)), indexing="ij"))
    squares = (h / 22) ** 2 + (k / 26) ** 2 + (l / 30) ** 2
    hkl = np.column_stack([h, k, l])[(squares > 0.0) & (squares < 0.48**2)]
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
    content = json.loads((folder / "series.expt").read_text())
    content["crystal"][0]["space_group_hall_symbol"] = " P 2 2"
    (folder / "series.expt").write_text(json.dumps(content))
