"""The loss of a frame and its derivatives by all numbers of the frame (R3, R5)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from adjoint.gradient import vjp, with_image_terms
from adjoint.losses import checked
from adjoint.parameters import AMPLITUDES, columns, size
from adjoint.refinement.expected_image import background, fields, placed
from adjoint.refinement.frames import Frame
from adjoint.refinement.image_numbers import Numbers
from adjoint.refinement.photon_losses import Of, OfMean
from adjoint.stages.loss import GAUSSIAN, POISSON


class Evaluation(NamedTuple):
    """The loss of a frame; its gradient (n,), and J^T W J (n, n) if it was wanted, by the numbers of the frame."""

    value: float
    gradient: np.ndarray
    normal: np.ndarray | None


def evaluate(frame: Frame, vector: np.ndarray, with_normal: bool = True) -> Evaluation:
    """The loss of a frame and its derivatives, in one pass over the pixels. Raises InputError where there is no image."""
    experiment, numbers = frame.split(vector)
    loss, factor, terms = in_photons(frame, numbers)
    own, used = len(vector) - len(frame.image), sorted(terms)
    columns = np.zeros((len(used), *frame.data.shape))
    for column, name in zip(columns, used):
        column[frame.box] = terms[name]
    value, gradient, normal = with_image_terms(loss, experiment, frame.parameters, columns, with_normal, frame.machine)
    turn = np.array([_by_number(name, numbers, used) for name in frame.image]).reshape(len(frame.image), 1 + len(used))
    gradient = np.concatenate([gradient[:own], turn @ gradient[own:]])
    if with_normal:
        across = normal[:own, own:] @ turn.T
        normal = factor * np.block([[normal[:own, :own], across], [across.T, turn @ normal[own:, own:] @ turn.T]])
    return Evaluation(checked(factor * value), factor * gradient, normal)


def counted(frame: Frame) -> float | None:
    """What a photon counts in the data, where they are counts of photons; else None."""
    return frame.dispersion if frame.loss == "poisson" else None


def information_of_each(frame: Frame, vector: np.ndarray) -> np.ndarray:
    """The diagonal of the information (n,), without the matrix: that of amplitudes from one pass (R5).

    As dI/dF = 2 I / F where one reflection makes a pixel's photons, the sum of W (dI/dF)^2 is 2 / F times the sum of W I dI/dF.
    """
    experiment, numbers = frame.split(vector)
    own = [n for n in frame.parameters if n != AMPLITUDES]
    sizes = [size(column) for column in columns(frame.experiment, frame.parameters)]
    place = np.concatenate(
        [*(np.full(n, name == AMPLITUDES) for n, name in zip(sizes, frame.parameters)), np.zeros(len(frame.image))]
    )
    place = place.astype(bool)
    diagonal = np.zeros(len(vector))
    rest = frame._replace(experiment=experiment, parameters=tuple(own))
    diagonal[~place] = np.diag(evaluate(rest, vector[~place]).normal)
    if place.any():
        loss, factor, _ = in_photons(frame, numbers)
        image, pullback = vjp(experiment, [AMPLITUDES], **frame.machine._asdict())
        by_amplitude = pullback(factor * np.asarray(loss.curvature(image)) * image)[AMPLITUDES]
        amplitude = vector[place]
        diagonal[place] = np.where(amplitude != 0.0, 2.0 * by_amplitude / np.where(amplitude != 0.0, amplitude, 1.0), 0.0)
    return diagonal


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


def in_photons(frame: Frame, numbers: Numbers) -> tuple[Any, float, dict[str, np.ndarray]]:
    """The loss as one of I: (loss, factor, fields): factor times the loss of I is that of the mean (R3).

    The fields are those of the background that a derivative is wanted by.
    """
    below, gained = background(frame, numbers), numbers.gain * numbers.scale
    by = {name: f for name, f in fields(frame).items() if name in frame.image or "image.gain" in frame.image}
    if by and below.min() == 0.0:
        raw = sum(getattr(numbers, name.removeprefix("image.")) * field for name, field in fields(frame).items())
        by = {name: np.where(raw >= 0.0, f, 0.0) for name, f in by.items()}
    data = frame.data[frame.box] / gained
    if frame.loss == "poisson":
        return Of(POISSON, placed(frame, data), placed(frame, below / numbers.scale)), gained / frame.dispersion, by
    if frame.loss == "gaussian":
        weight = gained * gained / np.square(frame.sigma[frame.box])
        return Of(GAUSSIAN, placed(frame, data - below / numbers.scale), placed(frame, weight)), 1.0, by
    return OfMean(frame.loss, gained, placed(frame, numbers.gain * below)), 1.0, by
