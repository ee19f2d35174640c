"""The loss of a frame and its derivatives by all numbers of the frame (R3, R5)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from adjoint.gradient import vjp, with_image_terms
from adjoint.losses import checked
from adjoint.parameters import AMPLITUDES
from adjoint.refinement.expected_image import background, fields, placed
from adjoint.refinement.frames import Frame
from adjoint.refinement.image_numbers import Numbers
from adjoint.refinement.photon_losses import KernelLoss, UserLoss
from adjoint.stages.loss import GAUSSIAN, POISSON
from adjoint.variables import size, variables
from nbnumba.added_photons import added_photons


class Evaluation(NamedTuple):
    """The loss of a frame, its gradient (n,) by the numbers of the frame, and J^T W J (n, n), or None if it is not needed."""

    value: float
    gradient: np.ndarray
    normal: np.ndarray | None


def evaluate(frame: Frame, vector: np.ndarray, with_normal: bool = True) -> Evaluation:
    """The loss of a frame and its derivatives at a vector of its numbers (n,), in one pass over the pixels (R3, A13a).

    Raises InputError where the vector gives no image, or one whose loss is not finite.
    """
    experiment, numbers = frame.split(vector)
    loss, factor, terms = in_photons(frame, numbers)
    own, used = len(vector) - len(frame.image), sorted(terms)
    background_terms = np.zeros((len(used), *frame.data.shape))
    for background_term, name in zip(background_terms, used):
        background_term[frame.box] = terms[name]
    value, gradient, normal = with_image_terms(loss, experiment, frame.parameters, background_terms, with_normal, frame.machine)
    by_number = np.array([_by_number(name, numbers, used) for name in frame.image]).reshape(len(frame.image), 1 + len(used))
    gradient = np.concatenate([gradient[:own], by_number @ gradient[own:]])
    if with_normal:
        across = normal[:own, own:] @ by_number.T
        normal = factor * np.block([[normal[:own, :own], across], [across.T, by_number @ normal[own:, own:] @ by_number.T]])
    return Evaluation(checked(factor * value), factor * gradient, normal)


def photon_value(frame: Frame) -> float | None:
    """The value of one photon in units of the data, if the data are counts of photons (R3); else None."""
    return frame.dispersion if frame.loss == "poisson" else None


def information_of_each(frame: Frame, vector: np.ndarray) -> np.ndarray:
    """The diagonal of J^T W J (n,) at a vector of the frame's numbers, without the matrix; of amplitudes from one pass (R5).

    If one reflection makes all photons of a pixel, dI/dF = 2 I / F, and the sum over pixels of W (dI/dF)^2 is 2 / F times the
    sum of W I dI/dF. Raises InputError where the vector gives no image.
    """
    experiment, numbers = frame.split(vector)
    others = [name for name in frame.parameters if name != AMPLITUDES]
    sizes = [size(variable) for variable in variables(frame.experiment, frame.parameters)]
    is_amplitude = np.concatenate(
        [*(np.full(n, name == AMPLITUDES) for n, name in zip(sizes, frame.parameters)), np.zeros(len(frame.image))]
    )
    is_amplitude = is_amplitude.astype(bool)
    diagonal = np.zeros(len(vector))
    rest = frame._replace(experiment=experiment, parameters=tuple(others))
    diagonal[~is_amplitude] = np.diag(evaluate(rest, vector[~is_amplitude]).normal)
    if is_amplitude.any():
        loss, factor, _ = in_photons(frame, numbers)
        image, pullback = vjp(experiment, [AMPLITUDES], **frame.machine._asdict())
        photons, added = frame.sheet.sheet("image", image, 0.0), added_photons(experiment)
        of_sheet = isinstance(loss, KernelLoss)
        curvature = loss.curvature(photons if of_sheet else image)
        curvature = curvature if of_sheet else frame.sheet.sheet("loss: curvature", curvature, 0.0)
        of_amplitudes = photons if added is None else photons - added
        by_image = frame.sheet.image(factor * np.asarray(curvature) * of_amplitudes)
        by_amplitude = np.ravel(pullback(by_image)[AMPLITUDES])
        amplitude = vector[is_amplitude]
        information = 2.0 * by_amplitude / np.where(amplitude != 0.0, amplitude, 1.0)
        diagonal[is_amplitude] = np.where(amplitude != 0.0, information, 0.0)
    return diagonal


def _by_number(name: str, numbers: Numbers, used: list[str]) -> np.ndarray:
    """The derivative of the mean by a number of the image, over gain scale: the factors of I and of the fields used (A13a)."""
    by_field = np.zeros(1 + len(used))
    if name == "image.scale":
        by_field[0] = 1.0 / numbers.scale
    elif name == "image.gain":
        by_field[0] = 1.0 / numbers.gain
        for index, other in enumerate(used, start=1):
            by_field[index] = getattr(numbers, other.removeprefix("image.")) / (numbers.scale * numbers.gain)
    else:
        by_field[1 + used.index(name)] = 1.0 / numbers.scale
    return by_field


def in_photons(frame: Frame, numbers: Numbers) -> tuple[Any, float, dict[str, np.ndarray]]:
    """The loss of the mean as a loss of the photons I: (loss, factor, fields), of which factor loss(I) is that of the mean.

    fields: by name, those fields of the background (slow, fast, in the box) by which a derivative is needed (R3).
    """
    light, per_photon = background(frame, numbers), numbers.gain * numbers.scale
    by_name = {name: field for name, field in fields(frame).items() if name in frame.image or "image.gain" in frame.image}
    if by_name and light.min() == 0.0:
        raw = sum(getattr(numbers, name.removeprefix("image.")) * field for name, field in fields(frame).items())
        by_name = {name: np.where(raw >= 0.0, field, 0.0) for name, field in by_name.items()}
    data = frame.data[frame.box] / per_photon
    if frame.loss == "poisson":
        loss = KernelLoss(POISSON, placed(frame, data), placed(frame, light / numbers.scale))
        return loss, per_photon / frame.dispersion, by_name
    if frame.loss == "gaussian":
        weight = per_photon * per_photon / np.square(frame.sigma[frame.box])
        loss = KernelLoss(GAUSSIAN, placed(frame, data - light / numbers.scale), placed(frame, weight))
        return loss, 1.0, by_name
    return UserLoss(frame.loss, per_photon, placed(frame, numbers.gain * light), frame.sheet), 1.0, by_name
