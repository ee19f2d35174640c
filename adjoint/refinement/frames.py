"""A frame: an experiment and the image that was measured of it; what is expected there, and how far the data are off (R1)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from adjoint.gradient import vjp, with_image_terms
from adjoint.losses import Pixelwise, checked, field, is_pixelwise, masked, number_of
from adjoint.parameters import AMPLITUDES, Name, columns, pack, size, unpack
from adjoint.prepare import experiment_and_machine, freeze_choices, prepare
from adjoint.refinement.unknowns import IMAGE, Unknowns
from adjoint.stages.loss import GAUSSIAN, POISSON
from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling
from nbnumba.simulate import image_of

FIELDS = ("image.background", "image.background_x", "image.background_y", "image.background_radial")
"""The terms of the background of an image, each a number times a field."""

LARGEST = 1e100
"""Data, photons, deviations and values that restraints draw to: larger ones have squares that are no numbers any more."""

FEWEST = 0.1
"""Photons of which a pixel has the variance at least, where a Gaussian loss has no sigma."""


class Numbers(NamedTuple):
    """The six numbers of an image (R1)."""

    scale: float = 1.0
    background: float = 0.0
    background_x: float = 0.0
    background_y: float = 0.0
    background_radial: float = 0.0
    gain: float = 1.0


class Frame(NamedTuple):
    """An experiment whose choices are held, and what was measured.

    data (slow, fast): NaN where a pixel is left out. loss: "poisson", "gaussian" or an object. sigma (slow, fast) or None: of
    the Gaussian loss; readout: where that has none, the noise of the read-out in units of the data. numbers: those of the
    image that are not refined, and starts of those that are. dispersion: variance of a datum in units of its expectation (the
    gain, R3). box: the smallest that holds all pixels that count; of its experiment they alone are rendered. mask: that of the
    experiment as it was stated. parameters, image: what is refined of the experiment and of the image. machine: what computes.
    """

    experiment: Experiment
    data: np.ndarray
    loss: Any
    sigma: np.ndarray | None
    numbers: Numbers
    dispersion: float
    box: tuple[slice, slice]
    parameters: tuple[Name, ...]
    image: tuple[str, ...]
    machine: Machine = CPU
    readout: float = 0.0
    mask: np.ndarray | None = None

    def split(self, vector: np.ndarray) -> tuple[Experiment, Numbers]:
        """The experiment and the numbers of the image that a vector says: first those of the experiment."""
        own = len(vector) - len(self.image)
        experiment = unpack(self.experiment, self.parameters, vector[:own]) if own else self.experiment
        fields = {name.removeprefix("image."): float(x) for name, x in zip(self.image, vector[own:])}
        return experiment, self.numbers._replace(**fields)


def frame(
    experiment, measured, loss, sigma, mask, saturation, offset, image, parameters, names, keywords, readout_noise=None
) -> Frame:
    """A frame from what a user gives. Raises InputError for what does not fit."""
    experiment, machine = experiment_and_machine(experiment, **keywords)
    coarse = sampling.too_coarse(experiment)
    if coarse is not None:
        warnings.warn(coarse, stacklevel=2)
    if parameters:
        prepare(experiment, parameters, **machine._asdict())  # refuses what has no derivative (A14)
    experiment = freeze_choices(experiment, parameters)
    pixels = experiment.detector.pixels[::-1]
    data = field("measured", measured)
    if data.shape != pixels:
        raise InputError(f"measured of shape {data.shape} does not fit; allowed: (slow, fast) = {pixels}")
    if saturation is not None:
        data[data >= finite("saturation", saturation)] = np.nan
    data[~np.isfinite(data)] = np.nan
    data -= finite("offset", offset)
    _check_size("measured", data)
    if mask is not None:
        data[masked("mask", mask, pixels)] = np.nan
    data[~rendered(experiment)] = np.nan
    _check_loss(loss)
    if isinstance(loss, str) and loss == "poisson":
        if np.nanmin(data, initial=0.0) < 0.0:
            least, takes = np.nanmin(data), "a mask, or loss 'gaussian' with readout_noise, which takes them"
            raise InputError(f"measured: {least:g} is not allowed in a Poisson loss; allowed: counts not below 0, {takes}")
    deviation, readout = None, _readout(readout_noise, loss, sigma)
    if sigma is not None:
        if not isinstance(loss, str) or loss != "gaussian":
            raise InputError("sigma: it is given without the gaussian loss; allowed: loss='gaussian'")
        deviation = field("sigma", sigma, pixels)
        data[np.isposinf(deviation)] = np.nan
        if not (deviation[~np.isnan(data)] > 0.0).all():
            raise InputError("sigma: it is not above 0 everywhere; allowed: positive numbers, infinite: left out")
        _check_size("sigma", np.where(np.isnan(data), np.nan, deviation), 1.0 / LARGEST)
    if np.isnan(data).all():
        raise InputError("measured: no pixel counts: all are masked, saturated or without data; allowed: data of at least one")
    if not isinstance(loss, str):
        loss = without_left_out(loss, data, mask is not None or saturation is not None)
    numbers, stated = numbers_of(image), experiment.sampling.mask
    experiment, box = boxed(experiment, ~np.isnan(data), own=not isinstance(loss, str))
    asked = tuple(parameters), tuple(names)
    return Frame(experiment, data, loss, deviation, numbers, numbers.gain, box, *asked, machine, readout, stated)


def _readout(noise, loss, sigma) -> float:
    """The noise of the read-out in units of the data; 0 where none is stated. Raises InputError."""
    if noise is None:
        return 0.0
    value = finite("readout_noise", noise)
    if not isinstance(loss, str) or loss != "gaussian" or sigma is not None:
        given = "beside sigma" if sigma is not None else "without the gaussian loss"
        raise InputError(f"readout_noise: it is given {given}; allowed: loss='gaussian' without sigma, which it is a part of")
    if value < 0.0:
        raise InputError(f"readout_noise: {value:g} is not allowed; allowed: a number not below 0, in units of the data")
    _check_size("readout_noise", np.array(value))
    return value


def _check_size(what: str, values: np.ndarray, least: float = 0.0) -> None:
    """Raise InputError for numbers whose squares would be too large or too small."""
    size = np.abs(values[~np.isnan(values)])
    for wrong in (size.max(initial=least), size.min(initial=LARGEST)):
        if not least <= wrong <= LARGEST:
            raise InputError(f"{what}: {wrong:g} is not allowed; allowed: numbers of a size from {least:g} to {LARGEST:g}")


def _check_loss(loss):
    if isinstance(loss, str):
        if loss not in ("poisson", "gaussian"):
            raise InputError(f"loss: {shown(loss)} is not allowed; allowed: poisson, gaussian, or an object that is a loss")
        return
    for method in ("value", "derivative", "curvature"):
        if isinstance(loss, type) or not callable(getattr(loss, method, None)):
            allowed = "poisson, gaussian, or an object that has it"
            raise InputError(f"loss: {type(loss).__name__} has no {method}; allowed: {allowed}")


def without_left_out(loss, data: np.ndarray, asked: bool):
    """A user's own loss, that leaves out what the data (slow, fast) leave out. Raises InputError if it cannot be made to."""
    if is_pixelwise(loss):
        if loss.data.shape != data.shape:
            raise InputError(f"loss: data of shape {loss.data.shape} do not fit; allowed: (slow, fast) = {data.shape}")
        return Of(loss.kind, np.where(np.isnan(data), np.nan, loss.data), loss.weight)
    if asked:
        allowed = "a loss of adjoint.losses, or one that leaves pixels out itself"
        raise InputError(f"loss: {type(loss).__name__} does not know of a mask or a saturation; allowed: {allowed}")
    return loss


def finite(what: str, value) -> float:
    """A finite number. Raises InputError."""
    number = number_of(what, value)
    if not np.isfinite(number):
        raise InputError(f"{what}: {number:g} is not allowed; allowed: a finite number")
    return number


def boxed(experiment: Experiment, counts: np.ndarray, own: bool = False) -> tuple[Experiment, tuple[slice, slice]]:
    """The experiment that renders the pixels that count (slow, fast) and no others, and the smallest box that holds them.

    With defects of nanoBragg.c the image of a pixel depends on the region and on the mask (P1, P8), and what a user's own loss
    looks at is not known: then both stay as they are.
    """
    if experiment.sampling.c_parity or own:
        window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
        return experiment, (slice(*window.rows), slice(*window.columns))
    rows, columns = (slice(int(places.min()), int(places.max()) + 1) for places in np.nonzero(counts))
    region = columns.start, columns.stop - 1, rows.start, rows.stop - 1
    mask = None if counts[rows, columns].all() else counts.astype(np.uint8)
    return experiment.replace({"sampling.roi": region, "sampling.mask": mask}), (rows, columns)


def rendered(experiment: Experiment) -> np.ndarray:
    """Which pixels of an experiment are rendered (slow, fast): those of the region that its mask leaves."""
    window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    found = np.zeros(experiment.detector.pixels[::-1], dtype=bool)
    part = slice(*window.rows), slice(*window.columns)
    found[part] = True if window.mask.size == 0 else window.mask[part] != 0
    return found


def start_of(frames: list[Frame], found: Unknowns) -> np.ndarray:
    """The numbers that frames start from (n,); shared ones as the first frame has them."""
    x = np.zeros(found.count)
    for number in reversed(range(len(frames))):
        at = frames[number]
        own = pack(at.experiment, found.parameters) if found.parameters else ()
        x[found.places(number)] = [*own, *(getattr(at.numbers, name.removeprefix("image.")) for name in found.image)]
    return x


def weighed(at: Frame, vector: np.ndarray) -> Frame:
    """A frame whose weights are those of the image that is expected where a search begins (R3)."""
    at = at._replace(dispersion=at.split(vector)[1].gain)
    if at.loss == "gaussian" and at.sigma is None:
        return at._replace(sigma=deviations(at, expected(at, vector)))
    return at


def weight_follows(at: Frame) -> bool:
    """Whether the weights of a frame follow from numbers that are refined: a gain, or what is expected (R3)."""
    return isinstance(at.loss, str) and ("image.gain" in at.image or (at.loss == "gaussian" and at.sigma is None))


def numbers_of(image) -> Numbers:
    """The numbers of an image from a dict. Raises InputError."""
    found = {}
    if image is not None and not isinstance(image, Mapping):
        raise InputError(f"image: {type(image).__name__} is not allowed; allowed: a dict, for all images")
    for name, value in (image or {}).items():
        key = str(name).removeprefix("image.")
        if key not in Numbers._fields:
            raise InputError(f"image: 'image.{key}' is no number of an image; allowed: {', '.join(IMAGE)}")
        found[key] = number_of(f"image: image.{key}", value)
        low, high = IMAGE[f"image.{key}"].bounds
        if not max(low, -LARGEST) <= found[key] <= min(high, LARGEST):
            kind = "a finite number" if low < 0.0 else "a number above 0" if low > 0.0 else "a number not below 0"
            allowed = f"{kind}, from {max(low, -LARGEST):g} to {LARGEST:g}"
            raise InputError(f"image: image.{key} {found[key]:g} is not allowed; allowed: {allowed}")
    return Numbers(**found)


def fields(at: Frame) -> dict[str, np.ndarray]:
    """The fields of the background by name, in the box (slow, fast)."""
    y, x = (np.linspace(-1.0, 1.0, n)[part] if n > 1 else np.zeros(1) for n, part in zip(at.data.shape, at.box))
    shape = len(y), len(x)
    radial = (x * x + (y * y)[:, None]) / 2.0
    return dict(zip(FIELDS, (np.ones(shape), np.broadcast_to(x, shape), np.broadcast_to(y[:, None], shape), radial)))


def background(at: Frame, numbers: Numbers) -> np.ndarray:
    """B of R1, in the box (slow, fast): below 0 it counts as 0."""
    return np.maximum(sum(getattr(numbers, name.removeprefix("image.")) * field for name, field in fields(at).items()), 0.0)


def placed(at: Frame, values: np.ndarray) -> np.ndarray:
    """Values in the box (slow, fast) at their place in the image; 0 elsewhere, where nothing is rendered."""
    found = np.zeros(at.data.shape)
    found[at.box] = values
    return found


def photons(experiment: Experiment, machine: Machine) -> np.ndarray:
    """The image (slow, fast). Raises InputError where it is brighter than sums of squares can be of."""
    image = image_of(experiment, machine)
    if image.max(initial=0.0) > LARGEST:
        allowed = f"up to {LARGEST:g} photons in a pixel: a smaller fluence or smaller amplitudes"
        raise InputError(f"experiment: a pixel of its image has {image.max():g} photons; allowed: {allowed}")
    return image


def expected(at: Frame, vector: np.ndarray, whole: bool = False) -> np.ndarray:
    """The expected image (slow, fast) in units of the data; 0 outside the box, and where no pixel counts unless it is whole."""
    experiment, numbers = at.split(vector)
    if whole and experiment.sampling.mask is not at.mask:
        experiment = experiment.replace({"sampling.mask": at.mask})
    image, drawn = photons(experiment, at.machine), rendered(experiment)[at.box]
    image[at.box] = np.where(drawn, numbers.gain * (numbers.scale * image[at.box] + background(at, numbers)), 0.0)
    return image


def of_crystal(at: Frame, vector: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The part of the expected image `mean` (slow, fast) that the crystal makes, in units of the data."""
    experiment, numbers = at.split(vector)
    found = np.zeros(mean.shape)
    if not experiment.background.water_um:
        found[at.box] = mean[at.box] - numbers.gain * background(at, numbers)
        return found
    image = photons(experiment.replace({"background.water_um": 0.0}), at.machine)
    found[at.box] = numbers.gain * numbers.scale * image[at.box]
    return found


def deviations(at: Frame, mean: np.ndarray) -> np.ndarray:
    """The standard deviation of every datum (slow, fast) where the image is expected to be `mean`."""
    if at.sigma is not None:
        return at.sigma
    if at.loss == "poisson":
        return np.sqrt(at.dispersion * np.maximum(mean, 0.0))
    if at.loss == "gaussian":
        variance = at.dispersion * np.maximum(mean, 0.0) + at.readout**2
        return np.sqrt(np.maximum(variance, FEWEST * at.dispersion**2))
    with np.errstate(divide="ignore"):
        return 1.0 / np.sqrt(at.loss.curvature(mean))


class Evaluation(NamedTuple):
    """The loss of a frame; its gradient (n,), and J^T W J (n, n) if it was wanted, by the numbers of the frame."""

    value: float
    gradient: np.ndarray
    normal: np.ndarray | None


def evaluate(at: Frame, vector: np.ndarray, with_normal: bool = True) -> Evaluation:
    """The loss of a frame and its derivatives, in one pass over the pixels. Raises InputError where there is no image."""
    experiment, numbers = at.split(vector)
    loss, factor, terms = in_photons(at, numbers)
    own, used = len(vector) - len(at.image), sorted(terms)
    columns = np.zeros((len(used), *at.data.shape))
    for column, name in zip(columns, used):
        column[at.box] = terms[name]
    value, gradient, normal = with_image_terms(loss, experiment, at.parameters, columns, with_normal, at.machine)
    turn = np.array([_by_number(name, numbers, used) for name in at.image]).reshape(len(at.image), 1 + len(used))
    gradient = np.concatenate([gradient[:own], turn @ gradient[own:]])
    if with_normal:
        across = normal[:own, own:] @ turn.T
        normal = factor * np.block([[normal[:own, :own], across], [across.T, turn @ normal[own:, own:] @ turn.T]])
    return Evaluation(checked(factor * value), factor * gradient, normal)


def counted(at: Frame) -> float | None:
    """What a photon counts in the data, where they are counts of photons; else None."""
    return at.dispersion if at.loss == "poisson" else None


def information_of_each(at: Frame, vector: np.ndarray) -> np.ndarray:
    """The diagonal of the information (n,), without the matrix: that of amplitudes from one pass (R5).

    As dI/dF = 2 I / F where one reflection makes a pixel's photons, the sum of W (dI/dF)^2 is 2 / F times the sum of W I dI/dF.
    """
    experiment, numbers = at.split(vector)
    own = [n for n in at.parameters if n != AMPLITUDES]
    sizes = [size(column) for column in columns(at.experiment, at.parameters)]
    place = np.concatenate(
        [*(np.full(n, name == AMPLITUDES) for n, name in zip(sizes, at.parameters)), np.zeros(len(at.image))]
    )
    place = place.astype(bool)
    found = np.zeros(len(vector))
    rest = at._replace(experiment=experiment, parameters=tuple(own))
    found[~place] = np.diag(evaluate(rest, vector[~place]).normal)
    if place.any():
        loss, factor, _ = in_photons(at, numbers)
        image, pullback = vjp(experiment, [AMPLITUDES], **at.machine._asdict())
        by_amplitude = pullback(factor * np.asarray(loss.curvature(image)) * image)[AMPLITUDES]
        amplitude = vector[place]
        found[place] = np.where(amplitude != 0.0, 2.0 * by_amplitude / np.where(amplitude != 0.0, amplitude, 1.0), 0.0)
    return found


def _by_number(name: str, numbers: Numbers, used: list[str]) -> np.ndarray:
    """The derivative of the mean by a number of the image, per gain and scale, as multiples of I and of the fields used."""
    by_field = np.zeros(1 + len(used))
    if name == "image.scale":
        by_field[0] = 1.0 / numbers.scale
    elif name == "image.gain":
        by_field[0] = 1.0 / numbers.gain
        for place, other in enumerate(used, start=1):
            by_field[place] = getattr(numbers, other.removeprefix("image.")) / (numbers.scale * numbers.gain)
    else:
        by_field[1 + used.index(name)] = 1.0 / numbers.scale
    return by_field


def in_photons(at: Frame, numbers: Numbers) -> tuple[Any, float, dict[str, np.ndarray]]:
    """The loss as one of I: (loss, factor, fields): factor times the loss of I is that of the mean (R3).

    The fields are those of the background that a derivative is wanted by.
    """
    below, gained = background(at, numbers), numbers.gain * numbers.scale
    by = {name: f for name, f in fields(at).items() if name in at.image or "image.gain" in at.image}
    if by and below.min() == 0.0:
        raw = sum(getattr(numbers, name.removeprefix("image.")) * field for name, field in fields(at).items())
        by = {name: np.where(raw >= 0.0, f, 0.0) for name, f in by.items()}
    data = at.data[at.box] / gained
    if at.loss == "poisson":
        return Of(POISSON, placed(at, data), placed(at, below / numbers.scale)), gained / at.dispersion, by
    if at.loss == "gaussian":
        weight = gained * gained / np.square(at.sigma[at.box])
        return Of(GAUSSIAN, placed(at, data - below / numbers.scale), placed(at, weight)), 1.0, by
    return OfMean(at.loss, gained, placed(at, numbers.gain * below)), 1.0, by


class Of(Pixelwise):
    """A loss that the kernels know, of data that have been checked."""

    def __init__(self, kind: int, data: np.ndarray, weight: np.ndarray):
        super().__init__(data, weight)
        self.kind = kind


class OfMean:
    """A user's own loss, of a mean that is `gained` times the photons plus `below`."""

    def __init__(self, loss, gained: float, below: np.ndarray):
        self.loss, self.gained, self.below = loss, gained, below

    def value(self, image):
        """The loss of photons (slow, fast)."""
        return self.loss.value(self.gained * image + self.below)

    def derivative(self, image):
        """Its derivative with respect to them (slow, fast)."""
        return self.gained * np.asarray(self.loss.derivative(self.gained * image + self.below))

    def curvature(self, image):
        """Its expected second derivative with respect to them (slow, fast)."""
        return self.gained**2 * np.asarray(self.loss.curvature(self.gained * image + self.below))
