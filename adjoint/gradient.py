"""The derivative of an image: vjp, jacobian, value_and_grad, normal_equations (specs/adjoint.md)."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, NamedTuple, cast

import numpy as np

from adjoint.backends import driver
from adjoint.backends.band_pieces import Inputs, Part
from adjoint.bands import Bands, bands_of
from adjoint.loops.pixels import PixelLoss, Results
from adjoint.loops.rows import WIDTH
from adjoint.losses import Loss, Pixelwise, checked, field, is_pixelwise, number_of
from adjoint.parameters import Name
from adjoint.prepare import Problem, prepare
from adjoint.stages.loss import GAUSSIAN, GIVEN
from adjoint.variables import by_name, listed
from nbnumba.backends import CPU, Machine
from nbnumba.backends.pieces import pixels_of, progress_reporter
from nbnumba.backends.precision import cast_all
from nbnumba.backends.threads import run_pieces
from nbnumba.cost import check_memory
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.loops.patches import is_culled
from nbnumba.setup.sampling import rendered
from nbnumba.setup.scene import PanelScene
from nbnumba.simulate import Progress, check_brightness, of_float32, render

Gradient = dict[str, np.ndarray]
MEMORY_OF_BANDS = 2**25
"""The largest memory (bytes) for the sums of all bands; it limits the number of bands, of which there is at least one."""
NO_IMAGE, NO_TERMS = np.zeros((0, 0)), np.zeros((0, 0, 0))
MOST_DENSE = 5000
"""The largest number of numbers for which normal equations, a dense matrix, are made."""


def vjp(
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> tuple[np.ndarray, Callable[[np.ndarray], Gradient]]:
    """The image (slow, fast), and the function that pulls a cotangent of it (slow, fast) back to the parameters.

    Of several panels the image, and every array of its shape, is (panel, slow, fast), or a list (see simulate).

    parameters: names of adjoint.parameters.PARAMETERS or VECTORS, or tuples of names that are tied. The gradient is a dict of
    arrays of the shape of each parameter, per unit of the parameter. It is the gradient of simulate(experiment.replace(values))
    with frozen choices, such as automatic oversampling, and with background.radial frozen to an image, which does not move with
    the parameters (A0, A12a, A14). keywords are those of simulate: backend, precision, roi,
    mask, c_parity, c_threads, tolerance, max_hours. Raises InputError for an experiment that cannot be simulated, for names
    that are no parameters, and for parameters by which the image cannot be differentiated.
    """
    problem = prepare(experiment, parameters, **keywords)
    image = _rendered(problem, progress)

    def pullback(cotangent: np.ndarray) -> Gradient:
        gradient, _ = _summed(problem, _with_derivative(problem, "cotangent", cotangent), progress)
        return by_name(problem.variables, gradient)

    return problem.sheet.image(image), pullback


def value_and_grad(
    loss: Loss,
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> tuple[float, Gradient]:
    """The loss of the image of an experiment, and its gradient by the parameters (A0, A13; see vjp).

    A loss of adjoint.losses needs one pass over the pixels, and does not count pixels that are not rendered. Any other object
    with value(image) and derivative(image) needs two passes. Raises InputError like vjp, and for what is no loss.
    """
    problem = prepare(experiment, parameters, **keywords)
    pixel_loss, value = _apply_loss(problem, loss, progress, with_curvature=False)
    gradient, of_kernels = _summed(problem, pixel_loss, progress)
    return checked(of_kernels if value is None else value), by_name(problem.variables, gradient)


def _summed(problem: Problem, pixel_loss: SheetLoss, progress: Progress | None) -> tuple[np.ndarray, float]:
    """The gradient (n,), and the loss as the kernels compute it. Gradients of several contributions add up (A7d, A7e)."""
    gradient, value = np.zeros(problem.count), 0.0
    for number in range(problem.contributions):
        alone = problem.of_contribution(number)
        results, bands = _run(alone, pixel_loss, NO_IMAGE, progress)
        gradient, value = gradient + _gradient(alone, results, bands), value + _sum_of_bands(problem, results)
    return gradient, value


def jacobian(
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The image (slow, fast), and its derivative by every number of the parameters, in their order (slow, fast, n), A0.

    The derivative is in photons per unit of the parameter. Raises InputError like vjp, and if the memory does not suffice.
    """
    problem = prepare(experiment, parameters, **keywords)
    shape = (*problem.pixels, problem.kernel_columns)
    check_memory(f"parameters: a jacobian of {' x '.join(map(str, shape))} numbers", 8 * math.prod(shape))
    image, derivatives = _jacobian_of_sheet(problem, progress)
    return problem.sheet.image(image), problem.sheet.image(derivatives)


def jacobian_of_pixels(
    experiment: Experiment, parameters: Iterable[Name], rows: np.ndarray, columns: np.ndarray, machine: Machine = CPU
) -> tuple[np.ndarray, np.ndarray]:
    """The photons (pixels,) of some pixels of the sheet, and their derivative by every number of the parameters (pixels, n).

    rows, columns (pixels,): where they are; the experiment renders them, and best no others. Raises InputError like vjp.
    """
    problem = prepare(experiment, parameters, **machine._asdict())
    everywhere, photons = _of_every_pixel(problem), np.zeros(len(rows))
    derivatives = np.zeros((len(rows), problem.kernel_columns))
    for number in range(problem.contributions):
        image, by_number = sparse_zeros(problem.pixels), sparse_zeros((*problem.pixels, problem.kernel_columns))
        _run(problem.of_contribution(number), everywhere, image, None, jacobian=by_number)
        photons, derivatives = photons + image[rows, columns], derivatives + by_number[rows, columns]
    if problem.added is not None:
        photons = photons + problem.added[rows, columns]
    return photons, _finite(problem, problem.by_variables(derivatives))


def sparse_zeros(shape: Sequence[int]) -> np.ndarray:
    """Zeros of which few are going to be touched: the others take neither memory nor time.

    Where the system would hand out memory in huge pages, each of which it fills with zeros, it is asked for small ones.
    """
    memory = mmap.mmap(-1, max(8 * math.prod(shape), 1))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # a system without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype=np.float64, count=math.prod(shape)).reshape(shape)


def image_alone(experiment: Experiment, machine: Machine = CPU) -> np.ndarray:
    """The image, a sheet (slow, fast), by the kernel of the derivative, so that a refinement compiles no other one for images.

    Raises InputError like vjp.
    """
    problem = prepare(experiment, ["beam.fluence"], **machine._asdict())
    image = np.zeros(problem.pixels)
    for number in range(problem.contributions):
        of_one = np.zeros(problem.pixels)
        _run(problem.of_contribution(number), _of_every_pixel(problem), of_one, None)
        image += of_one
    check_brightness(image, problem.machine.precision)
    return problem.with_added(image)


def _jacobian_of_sheet(problem: Problem, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The image, and its derivatives, as sheets. The derivatives of several contributions are added up."""
    image, derivatives = np.zeros(problem.pixels), np.zeros((*problem.pixels, problem.kernel_columns))
    everywhere = _of_every_pixel(problem)
    if problem.contributions == 1:
        _run(problem, everywhere, image, progress, jacobian=derivatives)
    else:
        for number in range(problem.contributions):
            of_one, by_one = np.zeros_like(image), np.zeros_like(derivatives)
            _run(problem.of_contribution(number), everywhere, of_one, progress, jacobian=by_one)
            image, derivatives = image + of_one, derivatives + by_one
    check_brightness(image, problem.machine.precision)
    return problem.with_added(image), _finite(problem, problem.by_variables(derivatives))


def normal_equations(
    loss: Loss,
    experiment: Experiment,
    parameters: Iterable[Name],
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> tuple[float, Gradient, np.ndarray]:
    """The loss, its gradient J^T r, and the matrix J^T W J (n, n), where W is the curvature of the loss (A13).

    The matrix is the Gauss-Newton approximation of the Hessian, or Fisher's information. J is never stored. n counts the
    numbers of the parameters, in their order; see vjp. A loss that is not of adjoint.losses needs the method curvature(image),
    too. Raises InputError like value_and_grad, and for more than MOST_DENSE numbers.
    """
    problem = prepare(experiment, parameters, **keywords)
    if problem.kernel_columns > MOST_DENSE:
        allowed = f"at most {MOST_DENSE}; value_and_grad takes any number"
        raise InputError(f"parameters: {problem.kernel_columns} numbers make too large a matrix; allowed: {allowed}")
    pixel_loss, value = _apply_loss(problem, loss, progress, with_curvature=True)
    if problem.contributions > 1:
        gradient, normal = _normal_of_contributions(problem, pixel_loss, 0)
        return checked(cast(float, value)), by_name(problem.variables, gradient), normal
    results, _ = _run(problem, pixel_loss, NO_IMAGE, progress, normal=True)
    gradient, normal = _normal_equations(problem, results)
    return _value(problem, results, value), by_name(problem.variables, gradient), normal


def with_image_terms(
    loss: Loss,
    experiment: Experiment,
    parameters: Iterable[Name],
    background_terms: np.ndarray,
    with_normal: bool,
    machine: Machine = CPU,
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """The loss, its gradient (m,) and, with_normal, J^T W J (m, m), by parameters and by numbers of the image (A13a).

    The m numbers are those of the parameters, of which there may be none; then a factor of all photons, at 1; then factors of
    the background terms (terms, slow, fast), at 0. These, and the data of a loss of adjoint.losses, are sheets. Raises
    InputError like normal_equations.
    """
    named = listed(parameters)
    problem = prepare(experiment, named or ["beam.fluence"], **machine._asdict())
    pixel_loss, value = _apply_loss(problem, loss, None, with_curvature=with_normal, of_sheet=True)
    pixel_loss = pixel_loss._replace(background_terms=background_terms)
    wanted = slice(None) if named else slice(1, None)
    if problem.contributions > 1:
        gradient, normal = _with_image_terms_of_contributions(problem, pixel_loss, with_normal)
        return checked(cast(float, value)), gradient[wanted], None if normal is None else normal[wanted, wanted]
    if problem.added is not None:
        background_terms = np.concatenate([background_terms, problem.added[np.newaxis]])
        pixel_loss = pixel_loss._replace(background_terms=background_terms)
    results, bands = _run(problem, pixel_loss, NO_IMAGE, None, normal=with_normal, image_terms=1 + len(background_terms))
    if with_normal:
        gradient, normal = _normal_equations(problem, results)
    else:
        gradient, normal = np.concatenate([_gradient(problem, results, bands), results.image_terms.sum(axis=0)]), None
    if problem.added is not None:
        gradient, normal = _with_added_in_factor(gradient, normal, problem.count)
    return _value(problem, results, value), gradient[wanted], None if normal is None else normal[wanted, wanted]


def _with_added_in_factor(gradient, normal, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The derivatives, in which the last term has become a part of the factor of all photons, which is at index `count`.

    The photons that are added are a part of the image, and its factor multiplies them, too.
    """
    fold = np.eye(len(gradient))[:-1]
    fold[count, -1] = 1.0
    return fold @ gradient, None if normal is None else fold @ normal @ fold.T


def _with_image_terms_of_contributions(
    problem: Problem, pixel_loss: SheetLoss, with_normal: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """The gradient and the matrix of with_image_terms for an image of several contributions."""
    terms = 1 + len(pixel_loss.background_terms)
    if with_normal:
        return _normal_of_contributions(problem, pixel_loss, terms)
    gradient, _ = _summed(problem, pixel_loss._replace(background_terms=NO_TERMS), None)
    of_image = [float(np.sum(pixel_loss.data * term)) for term in (_rendered(problem, None), *pixel_loss.background_terms)]
    return np.concatenate([gradient, of_image]), None


def _normal_of_contributions(problem: Problem, pixel_loss: SheetLoss, image_terms: int) -> tuple[np.ndarray, np.ndarray]:
    """J^T r and J^T W J of the sum of the images of several contributions, whose Jacobian J is made as a whole (A7d, A7e).

    pixel_loss: derivative and curvature of the loss. image_terms: how many columns of an image follow the parameters (A13a).
    Raises InputError if the memory does not suffice.
    """
    shape = (*problem.pixels, problem.kernel_columns + image_terms)
    check_memory(f"parameters: a jacobian of {' x '.join(map(str, shape))} numbers", 24 * math.prod(shape))
    image, derivatives = _jacobian_of_sheet(problem)
    columns = derivatives.reshape(-1, problem.count)
    if image_terms:
        columns = np.column_stack([columns, *map(np.ravel, (image, *pixel_loss.background_terms))])
    counts = (pixel_loss.data.ravel() != 0.0) | (pixel_loss.weight.ravel() != 0.0)
    counted, weight = columns[counts], pixel_loss.weight.ravel()[counts]
    gradient, normal = counted.T @ pixel_loss.data.ravel()[counts], counted.T @ (counted * weight[:, np.newaxis])
    return _finite(problem, gradient), _finite(problem, _symmetric(normal))  # which rounding may have made unsymmetric


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric matrix with the upper triangle of a matrix."""
    return np.triu(matrix) + np.triu(matrix, 1).T


class SheetLoss(NamedTuple):
    """A loss of the pixels of a sheet, as PixelLoss: kind; data, weight (slow, fast); background_terms (terms, slow, fast)."""

    kind: int
    data: np.ndarray
    weight: np.ndarray
    background_terms: np.ndarray = NO_TERMS

    def of_panel(self, panel: PanelScene) -> PixelLoss:
        """The loss of the pixels of a panel."""
        rows, terms = panel.place[0], self.background_terms
        terms = np.ascontiguousarray(terms[:, rows]) if terms.size else terms
        return PixelLoss(panel.window.mask, self.kind, self.data[rows], self.weight[rows], terms)


def _of_every_pixel(problem: Problem) -> SheetLoss:
    """A loss in which every pixel counts, for what is wanted of pixels by themselves."""
    return SheetLoss(GIVEN, np.ones(problem.pixels), np.ones(problem.pixels))


def _apply_loss(problem, loss, progress, *, with_curvature, of_sheet=False) -> tuple[SheetLoss, float | None]:
    """The loss in the form that kernels take, and its value if it is an object whose derivative is computed here.

    of_sheet: whether the data of a loss of adjoint.losses are a sheet, whatever the shapes of panels. Raises InputError for an
    object that is no loss, and for derivatives that do not fit the image.
    """
    for method in ("value", "derivative", *(["curvature"] if with_curvature else [])):
        if isinstance(loss, type) or not callable(getattr(loss, method, None)):
            allowed = "adjoint.losses.Gaussian or Poisson of data, or an object that has it"
            raise InputError(f"loss: {type(loss).__name__} has no {method}; allowed: {allowed}")
    if is_pixelwise(loss):
        if loss.data.shape != problem.pixels or (loss.sheet != problem.sheet and not of_sheet):
            raise InputError(f"loss: data of {loss.sheet} do not fit; allowed: {problem.sheet}")
        return (_of_photons(problem, loss), None) if problem.contributions == 1 else _of_sum(problem, loss, progress)
    image = problem.sheet.image(_rendered(problem, progress))
    pixel_loss = _with_derivative(problem, "loss: derivative", loss.derivative(image))
    if with_curvature:
        pixel_loss = pixel_loss._replace(weight=_with_derivative(problem, "loss: curvature", loss.curvature(image)).data)
        if pixel_loss.weight.min() < 0.0:
            raise InputError(f"loss: a curvature is {pixel_loss.weight.min():g}; allowed: numbers not below 0")
    return pixel_loss, number_of("loss: value", loss.value(image))


def _of_sum(problem: Problem, loss: Pixelwise, progress: Progress | None) -> tuple[SheetLoss, float]:
    """A loss of adjoint.losses of an image of several contributions: its derivative and curvature, and its value (A7d, A7e).

    Pixels that are not rendered do not count, as in a kernel.
    """
    counts = rendered(problem.experiment.detector, problem.experiment.sampling)
    of_rendered = Pixelwise(np.where(counts, loss.data, np.nan), loss.weight, problem.sheet)
    of_rendered.kind = loss.kind
    whole = problem.sheet.image(_rendered(problem, progress))
    slopes = of_rendered.derivative(whole), of_rendered.curvature(whole)
    return SheetLoss(GIVEN, *(field("loss", part, problem.sheet, fill=0.0) for part in slopes)), of_rendered.value(whole)


def _rendered(problem, progress) -> np.ndarray:
    """The image of a problem, a sheet (slow, fast), with the photons that are added to it."""
    return problem.with_added(render(problem.panels, problem.pixels, progress, problem.machine))


def _of_photons(problem, loss) -> SheetLoss:
    """A loss of adjoint.losses as one of the photons alone, without those that are added (A12a)."""
    if problem.added is None:
        return SheetLoss(loss.kind, loss.data, loss.weight)
    if loss.kind == GAUSSIAN:
        return SheetLoss(loss.kind, loss.data - problem.added, loss.weight)
    return SheetLoss(loss.kind, loss.data, loss.weight + problem.added)


def _value(problem, results: Results, value: float | None) -> float:
    """The loss: the given value, or else the sum over bands. Raises InputError if it is not finite."""
    return checked(value if value is not None else _sum_of_bands(problem, results))


def _sum_of_bands(problem, results: Results) -> float:
    """The loss as the kernels compute it."""
    return float(of_float32(results.value.sum(), problem.machine.precision))


def _with_derivative(problem, what, cotangent) -> SheetLoss:
    """A loss whose data are the derivative of the loss by the image. Raises InputError for what does not fit."""
    cotangent = field(what, cotangent, problem.sheet, fill=0.0)
    if not np.isfinite(cotangent).all():
        raise InputError(f"{what}: a number of it is not finite; allowed: finite numbers")
    return SheetLoss(GIVEN, cotangent, cotangent)


def _finite(problem, values: np.ndarray) -> np.ndarray:
    """The derivatives. Raises InputError if one is not finite."""
    of_float32(values, problem.machine.precision)
    if not np.isfinite(values).all():
        raise InputError("derivative: it is too large for a number; allowed: smaller data, weights, cotangents or amplitudes")
    return values


def _gradient(problem, results: Results, bands: Bands) -> np.ndarray:
    """The gradient (n,) from the sums of the bands. Raises InputError if a number is not finite."""
    gradient, first = np.zeros(problem.kernel_columns), problem.projections[0]
    with_column = first.column_of_amplitude >= 0
    with np.errstate(invalid="ignore", over="ignore"):
        for number, projection in enumerate(problem.projections):
            channels = results.channels[bands.of_panel(number)].sum(axis=0)
            gradient[projection.column_of_row] += projection.matrix @ channels
        if problem.has_tables:
            gradient[first.column_of_amplitude[with_column]] = results.by_amplitude.sum(axis=0)[with_column]
    return _finite(problem, problem.by_variables(gradient))


def _normal_equations(problem, results: Results) -> tuple[np.ndarray, np.ndarray]:
    """J^T r (m,) and J^T W J (m, m) from the sums of the bands. Raises InputError if a number is not finite."""
    gradient, upper = problem.by_variables(results.gradient.sum(axis=0)), results.normal.sum(axis=0)
    normal = problem.by_variables(problem.by_variables(_symmetric(upper)).T)
    return _finite(problem, gradient), _finite(problem, _symmetric(normal))  # which rounding may have made unsymmetric


def _run(
    problem, sheet_loss: SheetLoss, image, progress, *, jacobian=None, normal=False, image_terms=0
) -> tuple[Results, Bands]:
    """The results of all bands, and these, computed in parts between which progress is reported and interrupts are noticed."""
    backend, panels, precision = driver(problem.machine.backend), problem.panels, problem.machine.precision
    results, bands = _results(problem, image, jacobian, normal, image_terms)
    scenes, alone = cast_all([panel.scene for panel in panels], precision), len(panels) == 1
    inputs = [
        Inputs(sheet_loss.of_panel(panel), projection, scene, motions, paths, precision, alone)
        for panel, projection, scene, motions, paths in zip(
            panels, problem.projections, scenes, problem.motions, problem.paths, strict=True
        )
    ]
    regions = [panel.window[:2] for panel in panels]

    def run(piece: tuple[int, Part]) -> None:
        number, part = piece
        backend.run(bands.results_of(results, number, part, panels[number].place[0]), part, inputs[number])

    def chains_of(number: int) -> Iterator[Iterable[tuple[int, Part]]]:
        panel, columns = panels[number], regions[number][1]
        masked, culled = panel.window.mask.size > 0, is_culled(panel.scene)
        for chain in backend.chains(bands.edges[number], columns, panel.steps, masked, culled, alone):
            yield zip(repeat(number), chain)

    tell = progress_reporter(progress, [(rows[1] - rows[0], columns[1] - columns[0]) for rows, columns in regions])
    workers = backend.workers(sum(panel.steps * pixels_of(region) for panel, region in zip(panels, regions)), alone)
    run_pieces(run, bands.joined(chains_of), workers, lambda piece: tell(piece[0], piece[1].pixels))
    return results, bands


def _results(problem, image, jacobian, normal, image_terms) -> tuple[Results, Bands]:
    """Results of zeros, and the bands that they are sums of: as many bands as the memory allows."""
    summed, count = jacobian is None and not normal, problem.kernel_columns + image_terms
    amplitudes = problem.projections[0].column_of_amplitude.size if problem.has_tables and summed else 0
    most = driver(problem.machine.backend).MOST_BANDS
    per_band = 8 * max(WIDTH + amplitudes, count**2 if normal else 0)
    bands = bands_of([panel.window.rows for panel in problem.panels], max(1, min(most, MEMORY_OF_BANDS // per_band)))
    results = Results(
        image,
        np.zeros(bands.count),
        np.zeros((bands.count, WIDTH) if summed else (0, 0)),
        np.zeros((bands.stores, max(amplitudes, 1))),
        np.zeros((0, 0, 0)) if jacobian is None else jacobian,
        np.zeros((bands.count, image_terms)),
        np.zeros((bands.stores, count) if normal else (0, 0)),
        np.zeros((bands.stores, count, count) if normal else (0, 0, 0)),
    )
    return results, bands
