"""The expected image of a frame, the crystal's part of it, and the standard deviations of the data (R1, R3)."""

from __future__ import annotations

import numpy as np

from adjoint.gradient import image_alone
from adjoint.losses import field
from adjoint.refinement.frames import Frame, rendered
from adjoint.refinement.image_numbers import LARGEST, Numbers
from nbnumba.backends import Machine
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.setup.background import is_bare, without_background
from nbnumba.setup.sheet import sheet_of
from nbnumba.statements import Detector

FIELDS = ("image.background", "image.background_x", "image.background_y", "image.background_radial")
"""The terms of the background of an image, each a number times a field."""

FEWEST = 0.1
"""Photons whose variance is the least of a pixel, where a Gaussian loss has no sigma."""


def fields(frame: Frame) -> dict[str, np.ndarray]:
    """The fields of the background by name, in the box (slow, fast), without a unit (R1)."""
    if len(frame.sheet.shapes) > 1:
        x, y = across_panels(frame.experiment.detector)
        return dict(zip(FIELDS, (np.ones(x.shape), x, y, (x * x + y * y) / 2.0)))
    y, x = (np.linspace(-1.0, 1.0, n)[part] if n > 1 else np.zeros(1) for n, part in zip(frame.data.shape, frame.box))
    shape = len(y), len(x)
    radial = (x * x + (y * y)[:, None]) / 2.0
    return dict(zip(FIELDS, (np.ones(shape), np.broadcast_to(x, shape), np.broadcast_to(y[:, None], shape), radial)))


def across_panels(detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """X and Y of R1 for the pixels of several panels, as sheets: from -1 to 1, in the frame of the detector."""
    sheet = sheet_of(detector)
    along = np.zeros((2, *sheet.shape))
    for panel, place in zip(detector.panels, sheet.places()):
        fast, slow = np.meshgrid(np.arange(panel.shape[1]) + 0.5, np.arange(panel.shape[0]) + 0.5)
        steps = panel.pixel_fast_mm * np.array(panel.fast_axis), panel.pixel_slow_mm * np.array(panel.slow_axis)
        for axis in range(2):
            along[axis][place] = panel.origin_mm[axis] + fast * steps[0][axis] + slow * steps[1][axis]
    is_pixel = np.zeros(sheet.shape, dtype=bool)
    for place in sheet.places():
        is_pixel[place] = True
    ends = [(values[is_pixel].min(), values[is_pixel].max()) for values in along]
    scaled = [(2.0 * values - low - high) / ((high - low) or 1.0) for values, (low, high) in zip(along, ends)]
    x, y = (np.where(is_pixel, values, 0.0) for values in scaled)
    return x, y


def background(frame: Frame, numbers: Numbers) -> np.ndarray:
    """B of R1, in the box (slow, fast), in photons per pixel; 0 where the sum of its terms is below 0."""
    return np.maximum(sum(getattr(numbers, name.removeprefix("image.")) * field for name, field in fields(frame).items()), 0.0)


def placed(frame: Frame, values: np.ndarray) -> np.ndarray:
    """The image (slow, fast) that has these values in the box, and 0 elsewhere, where nothing is rendered."""
    image = np.zeros(frame.data.shape)
    image[frame.box] = values
    return image


def photons(experiment: Experiment, machine: Machine) -> np.ndarray:
    """The photons of an experiment (slow, fast). Raises InputError if they are too many for their squares to be finite."""
    image = image_alone(experiment, machine)
    if image.max(initial=0.0) > LARGEST:
        allowed = f"up to {LARGEST:g} photons in a pixel: a smaller fluence or smaller amplitudes"
        raise InputError(f"experiment: a pixel of its image has {image.max():g} photons; allowed: {allowed}")
    return image


def expected(frame: Frame, vector: np.ndarray, whole: bool = False) -> np.ndarray:
    """The expected image (slow, fast) in units of the data at a vector of the frame's numbers (n,): gain (scale I + B) of R1.

    It is 0 outside the box. whole: whether pixels of the box that do not count are computed, too. Raises InputError where the
    image is too bright.
    """
    experiment, numbers = frame.split(vector)
    if whole and experiment.sampling.mask is not frame.mask:
        experiment = experiment.replace({"sampling.mask": frame.mask})
    image, drawn = photons(experiment, frame.machine), rendered(experiment)[frame.box]
    image[frame.box] = np.where(drawn, numbers.gain * (numbers.scale * image[frame.box] + background(frame, numbers)), 0.0)
    return image


def crystal_part(frame: Frame, vector: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The crystal's part of the expected image `mean` (slow, fast), in units of the data: gain scale I of the crystal alone."""
    experiment, numbers = frame.split(vector)
    crystal = np.zeros(mean.shape)
    if is_bare(experiment):
        crystal[frame.box] = mean[frame.box] - numbers.gain * background(frame, numbers)
        return crystal
    image = photons(without_background(experiment), frame.machine)
    crystal[frame.box] = numbers.gain * numbers.scale * image[frame.box]
    return crystal


def deviations(frame: Frame, mean: np.ndarray) -> np.ndarray:
    """The standard deviation of every datum (slow, fast), in units of the data, if the expected image is `mean` (R3)."""
    if frame.sigma is not None:
        return frame.sigma
    if frame.loss == "poisson":
        return np.sqrt(frame.dispersion * np.maximum(mean, 0.0))
    if frame.loss == "gaussian":
        variance = frame.dispersion * np.maximum(mean, 0.0) + frame.readout**2
        return np.sqrt(np.maximum(variance, FEWEST * frame.dispersion**2))
    with np.errstate(divide="ignore"):
        curvature = frame.loss.curvature(frame.sheet.image(mean))
        return 1.0 / np.sqrt(field("loss: curvature", curvature, frame.sheet))


def weighed(frame: Frame, vector: np.ndarray) -> Frame:
    """The frame with the weights of the image that is expected at a vector, where a search begins (R3)."""
    frame = frame._replace(dispersion=frame.split(vector)[1].gain)
    if frame.loss == "gaussian" and frame.sigma is None:
        return frame._replace(sigma=deviations(frame, expected(frame, vector)))
    return frame


def weight_follows(frame: Frame) -> bool:
    """Whether the weights of a frame depend on refined numbers: on a gain, or on the expected image (R3)."""
    return isinstance(frame.loss, str) and ("image.gain" in frame.image or (frame.loss == "gaussian" and frame.sigma is None))
