"""A frame of a series: its expected photons, its noise image and the labels of its pixels (V1, V4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba import added_photons, hkl_maps
from nbnumba.backends import CPU, Machine, driver
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.hkl_maps import refuse_defects
from nbnumba.noise import DEFAULT_ADC_OFFSET, NoiseImage, poisson_counts
from nbnumba.response import PHOTON_COUNTER, Response, measure_sheet
from nbnumba.setup import crystals, sampling, scene
from nbnumba.setup.background import is_bare
from nbnumba.setup.boxes import Boxes
from nbnumba.setup.orientations import noise_generator
from nbnumba.setup.panels import planes
from nbnumba.setup.scene import PanelScene
from nbnumba.setup.sheet import Sheet, sheet_of
from nbnumba.shots.numbers import FrameNumbers
from nbnumba.simulate import render

LEAST_PHOTONS = 0.01
"""Pixels with fewer photons of the crystals than that are not labelled (V4)."""

ROUNDED = {"double": (1e-12, 0.0)}
OF_FLOAT32 = 2e-5, 2e-7
"""What is no photon of a crystal but rounding, as a part of the pixel and of the brightest one, by precision (G1)."""

LARGEST_INDEX = 2**15 - 1
"""The largest Miller index of a label."""


class Labels(NamedTuple):
    """The labels of the pixels of a frame (V4).

    lattice (slow, fast), int16: the number of the crystal whose reflection gives most photons; -1 where a pixel has no label.
    hkl (slow, fast, 3), int16: the Miller indices of that reflection. hkl_share: its part of the photons of all crystals.
    bragg_share: the part of the photons of all crystals in all expected photons. bragg: the photons of all crystals. These are
    0 where a pixel has no label. background: expected photons of everything else, of every pixel. All shares and photons are
    float32 (slow, fast). All are like the image: of panels of one shape they have an axis of panels in front, and of panels of
    different shapes they are lists.
    """

    lattice: np.ndarray
    hkl: np.ndarray
    hkl_share: np.ndarray
    bragg_share: np.ndarray
    bragg: np.ndarray
    background: np.ndarray


class Readout(NamedTuple):
    """How a frame is measured: whether it has photon noise, the response of the detector, and the offset of its pixels."""

    noise: bool = True
    response: Response = PHOTON_COUNTER
    adc: float = DEFAULT_ADC_OFFSET


NOISE = Readout()
"""A photon counter, with the usual offset."""


class Frame(NamedTuple):
    """A frame of a series (V1).

    number: from 1. experiment: with the numbers of the frame. values: those that were drawn, by the names of parameters.
    noise_seed: the seed of its noise, for nbnumba.noise_image. image: expected photons, as nbnumba.simulate returns them.
    pixels: the noise image, uint16, like the image; None without noise. labels: None unless they were wanted.
    """

    number: int
    experiment: Experiment
    values: Mapping[str, float]
    noise_seed: int
    image: np.ndarray
    pixels: np.ndarray | None
    labels: Labels | None


class _Background(NamedTuple):
    """The background of an image, a sheet of photons, and what it was computed from."""

    made_from: tuple[Any, ...]
    photons: np.ndarray


class Renderer:
    """It computes frames one after another. What they have in common is made once: amplitudes, and an equal background."""

    def __init__(self, machine: Machine = CPU) -> None:
        self.machine = machine
        self.boxes = Boxes()
        self._background: _Background | None = None

    def prepare(self, experiment: Experiment, readout: Readout, with_labels: bool) -> None:
        """Compile what frames need, or load it from disk, so that workers find it there; a pixel is computed for that."""
        panels = scene.panel_scenes(experiment, boxes=self.boxes)
        driver(self.machine.backend).prepare(panels[0].scene, self.machine.precision)
        if readout.noise:
            poisson_counts(np.ones((1, 1)), 1)
        if with_labels:
            one = np.zeros(sheet_of(experiment.detector).shape, dtype=bool)
            one[panels[0].window.rows[0], panels[0].window.columns[0]] = True
            hkl_maps.brightest(panels[:1], one, machine=self.machine)

    def frame(self, numbers: FrameNumbers, readout: Readout = NOISE, with_labels: bool = False) -> Frame:
        """A frame by its numbers. Raises InputError for an experiment that cannot be simulated, or labelled."""
        experiment, sheet = numbers.experiment, sheet_of(numbers.experiment.detector)
        panels = scene.panel_scenes(experiment, boxes=self.boxes)
        rendered = render(panels, sheet.shape, machine=self.machine)
        image = added_photons.with_added(experiment, rendered)
        noisy = self._noise(experiment, image, numbers.noise_seed, readout)
        labels = self._labels(experiment, panels, rendered, sheet) if with_labels else None
        pixels = None if noisy is None else sheet.image(noisy.pixels)
        drawn = numbers.values, numbers.noise_seed
        return Frame(numbers.frame, experiment, *drawn, sheet.image(image), pixels, labels)

    def _noise(self, experiment: Experiment, image: np.ndarray, seed: int, readout: Readout) -> NoiseImage | None:
        """The noise image of a sheet, as nbnumba.noise_image makes it."""
        if not readout.noise:
            return None
        return measure_sheet(experiment, image, noise_generator(experiment.crystal, seed), readout.response, readout.adc)

    def _labels(self, experiment: Experiment, panels: Sequence[PanelScene], rendered: np.ndarray, sheet: Sheet) -> Labels:
        """The labels of a frame whose photons, a sheet, are known, but for those that are added (V4)."""
        background = self._background_of(experiment)
        bragg = rendered - background if background.any() else rendered
        of_pixel, of_brightest = ROUNDED.get(self.machine.precision, OF_FLOAT32)
        least = np.maximum(LEAST_PHOTONS, of_pixel * background + of_brightest * float(bragg.max()))
        found = hkl_maps.brightest([_without_background(panel) for panel in panels], bragg >= least, machine=self.machine)
        labelled = found.crystal >= 0
        if np.abs(found.hkl).max(initial=0) > LARGEST_INDEX:
            raise InputError(f"labels: Miller indices beyond {LARGEST_INDEX} do not fit; allowed: a smaller cell")
        bragg = np.where(labelled, bragg, 0.0)
        added = added_photons.with_added(experiment, background)
        bragg_share = np.divide(bragg, bragg + added, out=np.zeros(bragg.shape), where=labelled)
        arrays = found.crystal.astype(np.int16), found.hkl.astype(np.int16), found.share, bragg_share, bragg, added
        return Labels(*(sheet.image(a.astype(np.float32) if a.dtype == np.float64 else a) for a in arrays))

    def _background_of(self, experiment: Experiment) -> np.ndarray:
        """The photons of the background alone, a sheet: those of the frame before if nothing they depend on has changed."""
        shape = sheet_of(experiment.detector).shape
        if is_bare(experiment):
            return np.broadcast_to(np.zeros(1), shape)
        oversample = experiment.sampling.oversample
        if oversample is None:
            oversample = sampling.usual_oversample(experiment)
        made_from = (experiment.beam, experiment.detector, experiment.background, experiment.sampling, oversample)
        if self._background is None or self._background.made_from != made_from:
            stated = dataclasses.replace(experiment, sampling=dataclasses.replace(experiment.sampling, oversample=oversample))
            alone = crystals.background_alone(crystals.each_alone(stated)[0])
            every_plane = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
            panels = scene.scenes_of(stated, (alone,), every_plane)
            self._background = _Background(made_from, render(panels, shape, machine=self.machine))
        return self._background.photons


def _without_background(panel: PanelScene) -> PanelScene:
    """The panel without the photons of the background."""
    built = panel.scene
    return panel._replace(scene=built._replace(beam=built.beam._replace(background_each=0.0, background_once=0.0)))


def check_labels(experiment: Experiment) -> None:
    """Raise InputError for an experiment whose pixels have no labels: with C's defects, or displaced crystals (V4)."""
    if experiment.sampling.c_parity:
        names = ", ".join(sorted(experiment.sampling.c_parity))
        raise InputError(f"sampling.c_parity: {names} is not allowed with labels; allowed: none of C's defects")
    refuse_defects(dataclasses.replace(experiment, background=type(experiment.background)()))
    crystals.refuse_displaced(experiment, "the labels of pixels")
