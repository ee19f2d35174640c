"""A frame: an experiment, the image that was measured of it, and which of its pixels count (R2, R3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adjoint.losses import field, is_pixelwise, masked, number_of
from adjoint.parameters import Name
from adjoint.prepare import experiment_and_machine, freeze_choices, prepare
from adjoint.refinement.image_numbers import LARGEST, Numbers, numbers_of
from adjoint.refinement.photon_losses import KernelLoss
from adjoint.refinement.unknowns import Unknowns
from adjoint.variables import pack, unpack
from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import sampling
from nbnumba.setup.sheet import Sheet, masked_pixels, sheet_of


class Frame(NamedTuple):
    """An experiment whose choices are frozen, and the image that was measured of it (R2, R3).

    Images are sheets (nbnumba/setup/sheet.py), in which the panels of a detector lie one below another.

    data (slow, fast): what was measured, without the offset; NaN where a pixel is left out. loss: "poisson", "gaussian" or an
    object. sigma (slow, fast), in units of the data, or None: the standard deviations of a Gaussian loss; readout: without
    these, the noise of the read-out, in units of the data. numbers: the numbers of the image, of which those that are refined
    start here. dispersion: the variance of a datum divided by its expectation, which is the gain (R3). box: the smallest
    rows and columns that hold all pixels that count; the experiment renders no others. parameters, image: the refined
    parameters of the experiment, and the refined numbers of the image. machine: the machine that computes. mask: the mask of
    the experiment as it was stated.
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

    @property
    def sheet(self) -> Sheet:
        """The shapes of the panels of the detector."""
        return sheet_of(self.experiment.detector)

    @property
    def places(self) -> list[tuple[slice, slice]]:
        """The rows and columns of each panel in the box, which is the whole sheet where there are several."""
        sheet = self.sheet
        return [(slice(None), slice(None))] if len(sheet.shapes) == 1 else list(sheet.places())

    def split(self, vector: np.ndarray) -> tuple[Experiment, Numbers]:
        """The experiment and the numbers of the image at a vector (n,): first the parameters, then the numbers of the image."""
        count = len(vector) - len(self.image)
        experiment = unpack(self.experiment, self.parameters, vector[:count]) if count else self.experiment
        fields = {name.removeprefix("image."): float(x) for name, x in zip(self.image, vector[count:])}
        return experiment, self.numbers._replace(**fields)


def frame(
    experiment: Experiment,
    measured: Any,
    *,
    parameters: Iterable[Name],
    image_names: Iterable[str],
    loss: Any = "poisson",
    sigma: Any = None,
    readout_noise: Any = None,
    mask: Any = None,
    saturation: float | None = None,
    offset: float = 0.0,
    image: Mapping[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Frame:
    """A frame from what a user gives to `refine`, whose arguments these are; measured, sigma and mask are like the image.

    parameters: refined parameters of the experiment; image_names: refined numbers of the image; image: values of the image's
    numbers; options: keywords of simulate. Raises InputError for what does not fit together.
    """
    parameters, image_names = tuple(parameters), tuple(image_names)
    experiment, machine = experiment_and_machine(experiment, **(options or {}))
    warning = sampling.too_coarse(experiment)
    if warning is not None:
        warnings.warn(warning, stacklevel=2)
    if parameters:
        prepare(experiment, parameters, **machine._asdict())  # refuses what has no derivative (A14)
    experiment = freeze_choices(experiment, parameters)
    sheet = sheet_of(experiment.detector)
    data = field("measured", measured, sheet, one_for_all=False)
    if saturation is not None:
        data[data >= finite("saturation", saturation)] = np.nan
    data[~np.isfinite(data)] = np.nan
    data -= finite("offset", offset)
    _check_size("measured", data)
    if mask is not None:
        data[masked("mask", mask, sheet)] = np.nan
    outside = masked_pixels(experiment.detector)
    data[outside | ~rendered(experiment)] = np.nan
    _check_loss(loss)
    if isinstance(loss, str) and loss == "poisson":
        if np.nanmin(data, initial=0.0) < 0.0:
            least, takes = np.nanmin(data), "a mask, or loss 'gaussian' with readout_noise, which takes them"
            raise InputError(f"measured: {least:g} is not allowed in a Poisson loss; allowed: counts not below 0, {takes}")
    deviation, readout = None, _readout(readout_noise, loss, sigma)
    if sigma is not None:
        if not isinstance(loss, str) or loss != "gaussian":
            raise InputError("sigma: it is given without the gaussian loss; allowed: loss='gaussian'")
        deviation = field("sigma", sigma, sheet)
        data[np.isposinf(deviation)] = np.nan
        if not (deviation[~np.isnan(data)] > 0.0).all():
            raise InputError("sigma: it is not above 0 everywhere; allowed: positive numbers, infinite: left out")
        _check_size("sigma", np.where(np.isnan(data), np.nan, deviation), 1.0 / LARGEST)
    if np.isnan(data).all():
        raise InputError("measured: no pixel counts: all are masked, saturated or without data; allowed: data of at least one")
    if not isinstance(loss, str):
        loss = without_left_out(loss, data, sheet, mask is not None or saturation is not None or bool(outside.any()))
    numbers, stated_mask = numbers_of(image), experiment.sampling.mask
    experiment, box = boxed(experiment, ~np.isnan(data), own_loss=not isinstance(loss, str))
    return Frame(
        experiment=experiment,
        data=data,
        loss=loss,
        sigma=deviation,
        numbers=numbers,
        dispersion=numbers.gain,
        box=box,
        parameters=parameters,
        image=image_names,
        machine=machine,
        readout=readout,
        mask=stated_mask,
    )


def _readout(noise, loss, sigma) -> float:
    """The noise of the read-out in units of the data; 0 if none is stated (R3). Raises InputError."""
    if noise is None:
        return 0.0
    value = finite("readout_noise", noise)
    if not isinstance(loss, str) or loss != "gaussian" or sigma is not None:
        context = "beside sigma" if sigma is not None else "without the gaussian loss"
        raise InputError(f"readout_noise: it is given {context}; allowed: loss='gaussian' without sigma, which it is a part of")
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


def _check_loss(loss) -> None:
    """Raise InputError for a word or an object that is no loss."""
    if isinstance(loss, str):
        if loss not in ("poisson", "gaussian"):
            raise InputError(f"loss: {shown(loss)} is not allowed; allowed: poisson, gaussian, or an object that is a loss")
        return
    for method in ("value", "derivative", "curvature"):
        if isinstance(loss, type) or not callable(getattr(loss, method, None)):
            allowed = "poisson, gaussian, or an object that has it"
            raise InputError(f"loss: {type(loss).__name__} has no {method}; allowed: {allowed}")


def without_left_out(loss, data: np.ndarray, sheet: Sheet, some_left_out: bool):
    """A user's own loss that leaves out the pixels whose data, a sheet (slow, fast), are NaN.

    some_left_out: whether a mask, also of the detector, or a saturation is stated. Raises InputError for a loss that cannot
    leave them out.
    """
    if is_pixelwise(loss):
        if loss.sheet != sheet:
            raise InputError(f"loss: data of {loss.sheet} do not fit; allowed: {sheet}")
        return KernelLoss(loss.kind, np.where(np.isnan(data), np.nan, loss.data), loss.weight, sheet)
    if some_left_out:
        allowed = "a loss of adjoint.losses, or one that leaves pixels out itself"
        raise InputError(f"loss: {type(loss).__name__} does not know of a mask or a saturation; allowed: {allowed}")
    return loss


def finite(what: str, value) -> float:
    """The value as a finite number; `what` names it in messages. Raises InputError."""
    number = number_of(what, value)
    if not np.isfinite(number):
        raise InputError(f"{what}: {number:g} is not allowed; allowed: a finite number")
    return number


def boxed(experiment: Experiment, counts: np.ndarray, own_loss: bool = False) -> tuple[Experiment, tuple[slice, slice]]:
    """The experiment that renders only the pixels that count (slow, fast), and the smallest box that holds them (R2).

    Region and mask stay as they are with defects of nanoBragg.c, whose image of a pixel depends on them (P1, P8), and with a
    user's own loss (`own_loss`), which may look at any pixel. The box of several panels is the whole sheet.
    """
    sheet = sheet_of(experiment.detector)
    if len(sheet.shapes) > 1:
        mask = None if experiment.sampling.c_parity or own_loss else sheet.image(counts.astype(np.uint8))
        return experiment.replace({"sampling.mask": mask} if mask is not None else {}), (slice(None), slice(None))
    if experiment.sampling.c_parity or own_loss:
        window = sampling.windows(experiment.detector, experiment.sampling)[0]
        return experiment, (slice(*window.rows), slice(*window.columns))
    rows, columns = (slice(int(indices.min()), int(indices.max()) + 1) for indices in np.nonzero(counts))
    region = columns.start, columns.stop - 1, rows.start, rows.stop - 1
    mask = None if counts[rows, columns].all() else counts.astype(np.uint8)
    return experiment.replace({"sampling.roi": region, "sampling.mask": mask}), (rows, columns)


def rendered(experiment: Experiment) -> np.ndarray:
    """Which pixels of a sheet are rendered (slow, fast): those of its region that its mask does not leave out."""
    return sampling.rendered(experiment.detector, experiment.sampling)


def start_of(frames: list[Frame], refined: Unknowns) -> np.ndarray:
    """The numbers that a refinement of frames starts from (n,); shared numbers have the values of the first frame."""
    x = np.zeros(refined.count)
    for number in reversed(range(len(frames))):
        frame = frames[number]
        of_experiment = pack(frame.experiment, refined.parameters) if refined.parameters else ()
        of_image = [getattr(frame.numbers, name.removeprefix("image.")) for name in refined.image]
        x[refined.indices_of(number)] = [*of_experiment, *of_image]
    return x
