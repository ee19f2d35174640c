"""Refinement: from approximate experiments and measured images to parameters with uncertainties (specs/refine.md)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np

from adjoint.losses import number_of
from adjoint.parameters import Name
from adjoint.refinement.algebra import one_thread
from adjoint.refinement.frames import Frame, frame, start_of
from adjoint.refinement.phases import AUTO, EXACT, Phase
from adjoint.refinement.result import Course, Refinement, Step, fit, residuals, verdict
from adjoint.refinement.search import Search
from adjoint.refinement.solve import METHODS, MOST_AMPLITUDES, MOST_BY_MATRIX
from adjoint.refinement.uncertainties import Uncertainty, moved_far, with_infinite
from adjoint.refinement.unknowns import Unknowns, bounds_of, restraints_of, unknowns
from adjoint.variables import parameter_row
from nbnumba.cost import granted
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.sheet import sheet_of
from nbnumba.simulate import with_options


def refine(
    experiment: Experiment | Iterable[Experiment],
    measured: Any,
    parameters: Iterable[Name],
    *,
    loss: Any = "poisson",
    sigma: Any = None,
    readout_noise: Any = None,
    mask: Any = None,
    saturation: float | None = None,
    offset: float = 0.0,
    image: Mapping[str, float] | None = None,
    bounds: Mapping[str, Any] | None = None,
    restraints: Mapping[str, Any] | None = None,
    per_image: Iterable[str] | None = None,
    phases: str | Iterable[Phase] = "auto",
    method: str = "auto",
    progress: Callable[[Step], Any] | None = None,
    **keywords: Any,
) -> Refinement:
    """Refine parameters of an experiment against a measured image, or of several experiments against as many (R1 to R8).

    experiment: an approximate Experiment, or a list. measured: an image of the shape of simulate's, NaN or masked where a pixel
    is left out, or a list of as many. parameters: names of adjoint.PARAMETERS or VECTORS, tuples of names that are tied, and
    image.scale, image.background, image.background_x, image.background_y, image.background_radial and image.gain.

    loss: "poisson" for counts of photons; "gaussian" with sigma, a number or an image in units of the data; "gaussian"
    without sigma for counts with a readout_noise, a number in units of the data (R3); or an object like those of
    adjoint.losses. mask: an image, 0 where a pixel is left out; so are those that the detector masks. saturation: the least
    value from which on a pixel is left out. offset: it is subtracted from the data. loss, sigma, readout_noise and mask may
    be lists, with an entry for each image.

    image: values of the numbers of the image that are not refined, and starts of those that are. bounds: {name: (least,
    largest)}. restraints: {name: (value, sigma)}, where None is the value at the start. per_image: names of parameters of which
    each image has its own numbers. phases: "auto", from coarse to fine; "exact", from the start as it is; or a list of Phase
    (R7). method: "auto", "least_squares", "L-BFGS-B" or "trust-constr" (R4). progress: a function that is called with every
    Step. keywords are those of simulate except progress.

    Raises InputError for arguments that do not fit. Warns of combinations of numbers that are hardly determined. success,
    message and diagnosis of the result say what is wrong with the fit itself (R6).
    """
    if progress is not None and not callable(progress):
        raise InputError(f"progress: {type(progress).__name__} is not allowed; allowed: a function of a Step, or None")
    experiments, images = _lists(experiment, measured)
    experiments = _with_phi_sampling(experiments, keywords.get("c_parity"))
    refined = unknowns(experiments, parameters, per_image)
    of_each = {"loss": loss, "sigma": sigma, "mask": mask, "readout_noise": readout_noise}
    if isinstance(experiment, Experiment) and sheet_of(experiment.detector).image_shape is None:
        of_each |= {name: [of_each[name]] for name in ("sigma", "mask")}  # lists of arrays, one for each panel
    with granted(keywords.pop("max_hours", None)):
        shared: dict[str, Any] = {"saturation": saturation, "offset": offset, "image": image, "options": keywords}
        shared |= {"parameters": refined.parameters, "image_names": refined.image}
        frames = _frames(experiments, images, of_each=of_each, shared=shared)
        low, high = bounds_of(refined, bounds)
        start = start_of(frames, refined)
        _check_start(refined, start, low, high)
        search = Search(
            frames,
            refined,
            bounds=(low, high),
            restraints=restraints_of(refined, restraints, start),
            method=_method(method, refined),
            progress=progress,
        )
        with one_thread(), np.errstate(all="ignore"):  # a loss that is not finite ends a search, or the diagnosis names it
            x = search.best_of_plans(_plans(phases, refined), start)
            uncertainty, value = search.uncertainty_and_loss(x)
            several = not isinstance(experiment, Experiment)
            result = _result(search, experiments, start=start, x=x, uncertainty=uncertainty, loss=value, several=several)
    for combination in uncertainty.combinations:
        warnings.warn(combination, stacklevel=2)
    return result


def _lists(experiment, measured) -> tuple[list[Experiment], list[Any]]:
    """The experiments and the measured images as two lists of the same length. Raises InputError."""
    if isinstance(experiment, Experiment):
        return [experiment], [measured]
    try:
        experiments, images = list(experiment), list(measured)
    except TypeError:
        raise InputError(f"experiment: {type(experiment).__name__} is not allowed; allowed: Experiments") from None
    if not experiments or not all(isinstance(e, Experiment) for e in experiments):
        raise InputError("experiment: allowed: an nbnumba.Experiment, or a list of at least one")
    if len(images) != len(experiments):
        raise InputError(f"measured: {len(images)} images of {len(experiments)} experiments; allowed: as many of each")
    return experiments, images


def _with_phi_sampling(experiments: list[Experiment], c_parity: Any) -> list[Experiment]:
    """The experiments with phi steps in their middles where nothing says where they are (R1); a warning says so.

    c_parity: the keyword. With phi_carryover steps are where C has them.
    """
    chosen = [
        experiment.replace({"goniometer.phi_sampling": "mid"})
        if experiment.goniometer.phi_sampling is None and phi_steps(experiment.goniometer)[1] > 0.0
        and not with_options(experiment, c_parity=c_parity).sampling.defects.phi_carryover
        else experiment
        for experiment in experiments
    ]  # fmt: skip
    if any(new is not old for new, old in zip(chosen, experiments)):
        why = "a detector records all of a step, not its left edge; left is for images that were simulated so"
        warnings.warn(f"goniometer.phi_sampling is not stated, and mid is taken: {why}", stacklevel=3)
    return chosen


def _frames(experiments, images, *, of_each: dict[str, Any], shared: dict[str, Any]) -> list[Frame]:
    """A frame for each image.

    of_each: arguments of `frame` that may be lists, one for each image; shared: its other arguments. Raises InputError.
    """
    for name, value in of_each.items():
        if isinstance(value, (list, tuple)) and len(value) != len(images):
            raise InputError(f"{name}: {len(value)} of them for {len(images)} images; allowed: one, or a list of as many")
    frames = []
    for number, (experiment, measured) in enumerate(zip(experiments, images)):
        own = {name: value[number] if isinstance(value, (list, tuple)) else value for name, value in of_each.items()}
        frames.append(frame(experiment, measured, **own, **shared))
    return frames


def _check_start(refined: Unknowns, start: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Raise InputError for a number whose start is not within its bounds; all are (n,)."""
    for label, x, least, most in zip(refined.labels(), start, low, high):
        if not least <= x <= most:
            raise InputError(f"bounds: {label} starts at {x:g}; allowed: from {least:g} to {most:g}")


def _method(method: Any, refined: Unknowns) -> str:
    """The method of scipy.optimize, where it is "auto" by the number of numbers (R4). Raises InputError for another word."""
    if isinstance(method, str) and method == "auto":
        few = refined.count <= MOST_BY_MATRIX and np.count_nonzero(refined.amplitudes()) <= MOST_AMPLITUDES
        return "least_squares" if few else "L-BFGS-B"
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method: {shown(method)} is not allowed; allowed: auto, {', '.join(METHODS)}")
    return method


def _plans(phases, refined) -> list[list[Phase]]:
    """The plans that are tried in turn: lists of phases of which the last is exact (R7). Raises InputError."""
    plans: tuple[tuple[Phase, ...], ...]
    if isinstance(phases, str):
        if phases not in ("auto", "exact"):
            raise InputError(f"phases: {shown(phases)} is not allowed; allowed: auto, exact, or a list of adjoint.Phase")
        plans = AUTO if phases == "auto" else ((EXACT,),)
    else:
        plans = (_checked(phases),)
    if any(parameter_row(block.variable.key).moves_spots for block in refined.blocks):
        return [list(plan) for plan in plans]
    return [[phase for phase in plans[0] if phase.exact]]


def _checked(phases) -> tuple[Phase, ...]:
    """The phases that a user lists. Raises InputError for what is no plan."""
    plan = tuple(phases) if isinstance(phases, (list, tuple)) and not isinstance(phases, Phase) else ()
    if not plan or not all(isinstance(phase, Phase) for phase in plan) or not plan[-1].exact:
        raise InputError("phases: allowed: auto, exact, or a list of adjoint.Phase of which the last is exact")
    for phase in plan:
        fits = number_of("phases: broader", phase.broader) >= 1.0 and number_of("phases: level", phase.level) > 0.0
        if not fits or not isinstance(phase.evaluations, int) or phase.evaluations < 1:
            raise InputError(f"phases: {phase} is not allowed; allowed: broader, evaluations from 1, level above 0")
    return plan


def _result(
    search: Search,
    stated: list[Experiment],
    *,
    start: np.ndarray,
    x: np.ndarray,
    uncertainty: Uncertainty,
    loss: float,
    several: bool,
) -> Refinement:
    """The result of a search that went from `start` to x (n,), with its verdict (R8).

    stated: the experiments as the user stated them. several: whether fields have a list with an entry for each image.
    """
    refined, frames = search.unknowns, search.frames
    chi_squared, agreements = search.fitness(x)
    of_experiment = bool(refined.parameters)
    if of_experiment:
        uncertainty = with_infinite(uncertainty, search.of_blank_images(agreements))
    moves = moved_far(refined.labels(), refined.units(), x - start, search.widths(start), uncertainty.sigma)
    course = Course(moves, lambda number: search.likeness(number, start))
    indices = [refined.indices_of(number) for number in range(len(frames))]
    fits = [fit(frame, start[own], x[own]) for frame, own in zip(frames, indices)]
    experiments = [
        frame.split(x[own])[0].replace({"sampling.roi": experiment.sampling.roi, "sampling.mask": experiment.sampling.mask})
        for frame, own, experiment in zip(frames, indices, stated)
    ]
    success, message, sentences = verdict(
        agreements,
        chi_squared,
        converged=search.converged,
        uncertainty=uncertainty,
        of_experiment=of_experiment,
        course=course,
    )
    worst = min(agreements, key=lambda agreement: (np.isnan(agreement.explained), agreement.explained))
    images, deviations = (
        [frame.sheet.image(of_frame(fit)) for frame, fit in zip(frames, fits)] for of_frame in (attrgetter("after"), residuals)
    )
    return Refinement(
        x=x,
        fun=loss,
        success=success,
        status=int(success),
        message=message,
        nfev=search.evaluations,
        nit=len(search.history),
        experiment=experiments if several else experiments[0],
        values=refined.by_name(x),
        uncertainties=refined.by_name(uncertainty.sigma),
        start=refined.by_name(start),
        names=refined.labels(),
        units=refined.units(),
        covariance=uncertainty.covariance,
        correlation=uncertainty.correlation,
        history=search.history,
        phases=search.lines,
        frames=fits,
        image=images if several else images[0],
        residuals=deviations if several else deviations[0],
        chi_squared=chi_squared,
        pixels=sum(int(np.count_nonzero(~np.isnan(fit.data))) for fit in fits),
        explained=worst.explained,
        r_factor=worst.spots.r_factor,
        shift_pixels=worst.spots.shift,
        spots=[agreement.spots for agreement in agreements],
        diagnosis=sentences,
    )
