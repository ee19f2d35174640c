"""Structure factors from many shots: every pixel of their shoeboxes modelled, in one problem (specs/merging.md)."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjoint.losses import bounded
from adjoint.merging.shots import (
    NO_AMPLITUDES,
    Rule,
    Shot,
    cut,
    folder_of,
    keep_unique,
    step,
    unknowns_of,
    written,
)
from adjoint.merging.solution import Blocks, Equations, equations, solved, variances
from adjoint.merging.statistics import Columns, Shell, shells_of
from adjoint.merging.unique import Unique, unique_of
from adjoint.parameters import Name, cell_parameters
from adjoint.refinement.algebra import one_thread
from adjoint.series.images import SeriesImage
from adjoint.series.reduction import Rules
from adjoint.variables import Variable, unpack
from nbnumba.amplitudes import french_wilson
from nbnumba.amplitudes.listed import Cell
from nbnumba.backends import machine
from nbnumba.cost import check_memory
from nbnumba.digests import digest
from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.formats import files
from nbnumba.formats.symmetry import Symmetry
from nbnumba.geometry.cell import cell_of, standard_setting
from nbnumba.statements import Background, StructureFactors
from nbnumba.version import VERSION

if TYPE_CHECKING:
    from nbnumba.pools import Run

DAMPINGS = (1.0, 0.1, 0.1)
"""By which fractions diagonals are raised in the first passes, while numbers and amplitudes are far from right."""

LEAST_PART, MOST_TIMES = 0.25, 4.0
"""An amplitude is at most halved in each of the first passes, and at most doubled, or made the mean one, in any."""

FLOOR = 0.02
"""The least amplitude, as a part of the root mean square at its resolution: what is below cannot be told from 0."""

ENOUGH = 0.03
"""The passes have converged when another promises to move numbers by this part of their uncertainties, in the mean."""

CHECKED_BY, MOST_PASSES = 8, 40
"""The pass before which it is checked at the latest whether shots are of this crystal, and how many are made at most."""

SAME_MISFIT = 0.02
"""The misfit has settled when it changes by less than this."""

BELIEVED = {
    "crystal.misset_deg": (0.0, 0.3), "crystal.a_A": (0.01, 0.0), "crystal.b_A": (0.01, 0.0), "crystal.c_A": (0.01, 0.0),
    "crystal.alpha_deg": (0.0, 0.5), "crystal.beta_deg": (0.0, 0.5), "crystal.gamma_deg": (0.0, 0.5),
    "crystal.mosaic_spread_deg": (1.0, 0.05), "crystal.mosaic_a_deg": (1.0, 0.05), "crystal.b_factor_A2": (0.0, 10.0),
    "crystal.n_a": (0.5, 1.0),
}  # fmt: skip
"""How well the start of a shot's numbers is believed, unless restraints say otherwise: a part of it, and a size, added up."""

START_B_A2 = 10.0
"""The B factor that shots start from, where it is refined and the experiment has none: it may then become smaller, too."""

CELL_PART, CELL_DEG = 0.03, 2.0
"""By how much operations of a space group may change the edges, as a part of them, and the angles of the cell of the shots."""

FINEST = 0.25
"""The finest resolution over the wavelength: 0.5 can diffract, and a spectrum reaches beyond its mean."""

REFLECTION_BYTES = 150
"""Memory that a reflection of P1 takes while the unique ones are found, measured."""

OWN_FILES = ("boxes_", "pass_", "unique.npz", "state.json", "lock")
"""How the names in the folder of a work begin."""

B_FACTOR = "crystal.b_factor_A2"
SCALE = "crystal.scale"


class Merging(NamedTuple):
    """Structure factors of many shots (M5, M6).

    success, message, diagnosis: the verdict, in words. unique: the reflections (u,). intensity, sigma (u,): |F|^2 in electrons
    squared where the geometric mean of all scales is that of their starts, and its uncertainty from the equations, infinite
    where nothing is known; half_sigma (u,): likewise, times the ratio by which the halves of the shots differ in its shell. F,
    sigma_F (u,): amplitudes by French and Wilson, NaN where nothing is known. halves, half_sigmas (2, u): intensities of each
    half of the shots. multiplicity (u,): how many shots tell of each. shells: figures in shells of resolution, the last one of
    all. experiments: of each shot as refined, None for one that is left out; left_out: their names, and why. passes: how many;
    misfit: the deviation of the model of a spot, a part of its photons (S4). chi_squared: reduced, with the misfit. variables:
    what each shot has of its own.
    """

    success: bool
    message: str
    diagnosis: list[str]
    unique: Unique
    intensity: np.ndarray
    sigma: np.ndarray
    half_sigma: np.ndarray
    F: np.ndarray
    sigma_F: np.ndarray
    halves: np.ndarray
    half_sigmas: np.ndarray
    multiplicity: np.ndarray
    shells: list[Shell]
    experiments: list[Experiment | None]
    left_out: dict[str, str]
    passes: int
    misfit: float
    chi_squared: float
    variables: tuple[Variable, ...]


class State(NamedTuple):
    """Where a merging is, between passes: what its folder keeps, so that one that was killed goes on.

    number: the pass that is made, or was. damping: of its step. misfit: of its weights. generation: of the boxes: 0 at first, 1
    when they were cut anew, and shots were checked; cuts: whether this pass cuts them. left_out: numbers of shots, as text, and
    why. ended: why it ended, or nothing.
    """

    number: int = 0
    damping: float = DAMPINGS[0]
    misfit: float = 0.0
    generation: int = 0
    cuts: bool = True
    left_out: dict[str, str] = {}
    ended: str = ""


def default_shot_parameters(system: str, about_axes: bool = False, size: bool = False) -> list[Name]:
    """What is refined of each shot unless a user says otherwise (M1): orientation, cell, scale, B factor and mosaic spread.

    system: of the crystal, such as orthorhombic. about_axes: whether the spread is stated about each axis of the crystal: it is
    then the same about all of them. size: whether the number of cells is refined, too, the same along all axes. Raises
    InputError.
    """
    spread: Name = tuple(f"crystal.mosaic_{axis}_deg" for axis in "abc") if about_axes else "crystal.mosaic_spread_deg"
    cells: list[Name] = [tuple(f"crystal.n_{axis}" for axis in "abc")] if size else []
    return ["crystal.misset_deg", *cell_parameters(system), SCALE, B_FACTOR, spread, *cells]


def in_turn(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Call a function with each of some arguments, in this process."""
    return (function(*task) for task in tasks)


def merge_shots(
    shots: Sequence[SeriesImage],
    cell: Cell,
    symmetry: Symmetry,
    *,
    resolution_A: float,
    parameters: Iterable[Name],
    friedel_apart: bool = False,
    amplitudes: StructureFactors | None = None,
    restraints: dict[str, tuple[float | None, float]] | None = None,
    readout_noise: float = 0.0,
    influence: float = 4.0,
    folder: str | os.PathLike[str] | None = None,
    source: Any = None,
    run: Run = in_turn,
    progress: Callable[[int, int, int], Any] = lambda number, done, total: None,
    told: Callable[[str], Any] = lambda line: None,
    backend: str = "cpu",
    precision: str = "double",
) -> Merging:
    """Determine the intensities of all reflections of a crystal form from many shots, with numbers of their own (M1 to M6).

    shots: stills, or images of short rotations, of different crystals, each with its experiment as known before. Its amplitudes
    do not count. cell: in A and degrees, of the list of reflections; symmetry: their space group. resolution_A: the finest that
    is merged. parameters: names of numbers that each shot has (default_shot_parameters). friedel_apart: whether Friedel mates
    are two reflections. amplitudes: where to begin; None: all alike. restraints: {name: (value, sigma)}, where None is the
    start, in place of what is believed by default. readout_noise: in photons. influence: standard deviations from which on a
    pixel is an outlier. folder: where work is kept, so that what was killed goes on where it was; None: a temporary one.
    source: what tells the measured numbers of the shots from others of the same names, such as the times of their files; a
    folder with work on others is refused. run: calls a function with each of some arguments, in other processes for instance,
    which all see the folder; the results do not depend on it. progress: called with the pass, and how many shots of all are
    done. told: called with a line for each pass.

    Raises InputError for arguments that do not fit, and where no shot is left. The result says whether it can be trusted.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="nbnumba-merge-") as made:
            return merge_shots(
                shots, cell, symmetry, resolution_A=resolution_A, parameters=parameters, friedel_apart=friedel_apart,
                amplitudes=amplitudes, restraints=restraints, readout_noise=readout_noise, influence=influence, folder=made,
                source=source, run=run, progress=progress, told=told, backend=backend, precision=precision,
            )  # fmt: skip
    names = tuple(parameters)
    readout_noise = bounded("readout_noise", readout_noise, least=0.0)
    influence = bounded("influence", influence)
    resolution_A = bounded("resolution_A", resolution_A, 1000.0, 0.1)
    if amplitudes is not None and amplitudes.hkl is None:
        raise InputError("amplitudes: there is no list of reflections; allowed: StructureFactors with hkl and F, or None")
    if not isinstance(shots, Sequence) or not shots or not all(isinstance(shot, SeriesImage) for shot in shots):
        raise InputError(f"shots: {shown(shots)[:80]} are not allowed; allowed: adjoint.SeriesImages, at least one")
    if SCALE not in names:
        raise InputError(f"parameters: {SCALE} is not among them; allowed: parameters with {SCALE}, which every shot has")
    _check_symmetry(symmetry, cell)
    _check_resolution(shots[0].experiment, cell, resolution_A)
    bare = [_with_start(shot, names) for shot in shots]
    unique = unique_of(cell, symmetry, resolution_A, friedel_apart)
    if not len(unique.hkl):
        raise InputError(f"resolution_A: {resolution_A:g} is not allowed: it has no reflection; allowed: a finer one")
    rules = Rules(readout_noise, 0.0, influence, False)
    rule = Rule(names, rules, _restraints(bare[0].experiment, names, restraints or {}), machine(backend, precision))
    work = _Work(Path(folder), bare, rule, unique, run, progress, told)
    with one_thread(), np.errstate(all="ignore"), _kept_in(work.folder):
        work.begin(amplitudes, source)
        while not work.state.ended:
            work.make_pass()
        return work.result()


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """In this block a folder keeps work, and no other process uses it. Raises InputError where that is not possible.

    A folder in which nothing was begun is left as it was.
    """
    name, is_new = os.fspath(folder), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(held for held in os.listdir(folder) if not held.startswith(OWN_FILES))
        if foreign:
            raise _not_allowed(folder, f"it holds {foreign[0]!r}, which is of no work")
        with _locked(folder / "lock"):
            yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"folder: work cannot be kept in {name!r}: {reason}; allowed: a folder with room for files") from error
    finally:
        if is_new and folder.is_dir() and not os.listdir(folder):
            folder.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """In this block no other process has the file open in this way. Raises InputError if one has."""
    name = os.fspath(path.parent)
    with files.locked(path, InputError(f"folder: another process works in {name!r}; allowed: one at a time")):
        try:
            yield
        finally:
            if os.listdir(path.parent) == [path.name]:
                path.unlink()


def _not_allowed(folder: Path, why: str) -> InputError:
    return InputError(f"folder: {os.fspath(folder)!r} is not allowed: {why}; allowed: an empty one")


def _check_symmetry(symmetry: Symmetry, cell: Cell) -> None:
    """Raise InputError unless the operations of a space group leave a cell nearly as it is."""
    vectors = standard_setting(*cell)
    for rotation in symmetry.rotations:
        turned = cell_of(rotation.T @ vectors)
        edges = max(abs(one - other) / other for one, other in zip(turned[:3], cell[:3]))
        if edges > CELL_PART or max(abs(one - other) for one, other in zip(turned[3:], cell[3:])) > CELL_DEG:
            numbers = " ".join(f"{number:.6g}" for number in cell)
            raise InputError(
                f"symmetry: {symmetry.name} is not that of a cell of {numbers}; allowed: a space group that fits it"
            )


def _check_resolution(experiment: Experiment, cell: Cell, resolution_A: float) -> None:
    """Raise InputError for a resolution that the wavelength does not reach, and for more reflections than memory holds."""
    least = FINEST * experiment.beam.wavelength_A
    if resolution_A < least:
        raise InputError(f"resolution_A: {resolution_A:g} is not allowed; allowed: {least:.3g} or more at this wavelength")
    count = 4.0 / 3.0 * math.pi * float(np.linalg.det(standard_setting(*cell))) / resolution_A**3
    check_memory(f"resolution_A: {resolution_A:g} A has {count:.2g} reflections, which take", int(REFLECTION_BYTES * count))


def _with_start(shot: SeriesImage, names: Sequence[Name]) -> SeriesImage:
    """The shot without amplitudes and background, and with a B factor that may become smaller where it is refined.

    The background is that of each box (M1): one that the experiment states would count as photons of the crystal.
    """
    experiment = dataclasses.replace(shot.experiment, structure_factors=NO_AMPLITUDES, background=Background())
    if B_FACTOR in names and experiment.crystal.b_factor_A2 == 0.0:
        experiment = experiment.replace({B_FACTOR: START_B_A2})
    return shot._replace(experiment=experiment)


def _restraints(
    experiment: Experiment, names: Sequence[Name], given: dict[str, tuple[float | None, float]]
) -> tuple[tuple[str, float | None, float], ...]:
    """The restraints of the numbers of a shot: those that are given, and what is believed of the others. Raises InputError."""
    blocks = {block.variable.key: block for block in unknowns_of(experiment, tuple(names)).blocks}
    for name, (_, sigma) in given.items():
        if name not in blocks:
            raise InputError(f"restraints: {shown(name)} is not refined; allowed: {', '.join(blocks)}")
        if not sigma > 0.0:
            raise InputError(f"restraints: sigma of {name} is {sigma:g}; allowed: a number above 0")
    found = [(name, value, float(sigma)) for name, (value, sigma) in given.items()]
    for key, block in blocks.items():
        first = block.variable.names[0] if block.variable.names else key
        part, size = BELIEVED.get(key, BELIEVED.get(first, (0.0, 0.0)))
        sigma = part * abs(float(experiment.value(first))) + size if part else size
        if key not in given and sigma > 0.0:
            found.append((key, None, sigma))
    return tuple(found)


class _Work:
    """A merging in its folder: its shots, and the passes over them."""

    def __init__(
        self,
        folder: Path,
        shots: Sequence[SeriesImage],
        rule: Rule,
        unique: Unique,
        run: Run,
        progress: Callable[[int, int, int], Any],
        told: Callable[[str], Any],
    ):
        self.folder, self.shots, self.rule, self.unique = folder, shots, rule, unique
        self.run, self.progress, self.told = run, progress, told
        self.state = State()
        self.refined = unknowns_of(shots[0].experiment, rule.parameters)

    @property
    def used(self) -> list[int]:
        """The numbers of the shots that are not left out."""
        return [number for number in range(len(self.shots)) if str(number) not in self.state.left_out]

    def begin(self, amplitudes: StructureFactors | None, source: Any) -> None:
        """Prepare the folder, or go on with one whose work was interrupted. Raises InputError for one of other input."""
        self.digest = self._digest(amplitudes, source)
        kept = self.folder / "state.json"
        if kept.exists():
            self.state = self._kept_state(kept)
            return
        first = self._first_amplitudes(amplitudes)
        for generation in (0, 1):
            (self.folder / f"boxes_{generation}").mkdir(parents=True, exist_ok=True)
        keep_unique(self.folder, self.unique)
        self._start_pass(self.state, first, np.zeros(len(self.unique.hkl)))

    def _kept_state(self, path: Path) -> State:
        """The state of the work in the folder. Raises InputError for one that is damaged, or of other input."""
        try:
            stated = json.loads(path.read_text())
            of, state = stated.pop("digest"), State(**stated)
        except (ValueError, AttributeError, KeyError, TypeError):
            raise _not_allowed(self.folder, f"its {path.name} is damaged") from None
        if of != self.digest:
            raise _not_allowed(self.folder, "it holds the work on other shots, or with other arguments")
        return state

    def _digest(self, amplitudes: StructureFactors | None, source: Any) -> str:
        """What tells whether work in a folder is of the same input: every number of it, and the version."""
        shots = [(shot.name, shot.gain, shot.experiment) for shot in self.shots]
        return digest([VERSION, repr(self.rule), shots, self.unique.symmetry, self.unique.hkl, amplitudes, source])

    def _first_amplitudes(self, amplitudes: StructureFactors | None) -> np.ndarray:
        """The amplitudes (u,) of the first pass: those that are listed, or all alike but for symmetry."""
        alike = np.sqrt(self.unique.multiplicity.astype(np.float64))
        if amplitudes is None or amplitudes.hkl is None or amplitudes.F is None:
            return alike
        number = self.unique.number_of(np.asarray(amplitudes.hkl))
        listed = np.abs(amplitudes.F if amplitudes.F.ndim == 1 else amplitudes.F.mean(axis=0))
        own = np.bincount(number[number >= 0], listed[number >= 0] ** 2, len(alike))
        count = np.bincount(number[number >= 0], minlength=len(alike))
        if not own.any():
            raise InputError("amplitudes: none of them is of a reflection that is merged; allowed: those of this crystal")
        square = np.where(count > 0, own / np.maximum(count, 1), 0.0)
        mean = square[count > 0].sum() / self.unique.multiplicity[count > 0].sum()
        square = np.where(count > 0, square, mean * self.unique.multiplicity)
        return np.maximum(np.sqrt(square), FLOOR * np.sqrt(self._expected(square)))

    def _expected(self, squares: np.ndarray) -> np.ndarray:
        """The mean (u,) of squares (u,) of amplitudes at the resolution of each."""
        return french_wilson.mean_intensity(squares, self.unique.multiplicity, self.unique.inverse_squares)

    def _start_pass(self, state: State, amplitudes: np.ndarray, changes: np.ndarray) -> None:
        """Keep what a pass begins with, so that it can be made again; and forget the pass before the last one."""
        place = folder_of(self.folder, state.number)
        place.mkdir(exist_ok=True)
        with written(place / "amplitudes.npz") as stream:
            np.savez(stream, amplitudes=amplitudes, changes=changes)
        self._keep(state)
        shutil.rmtree(folder_of(self.folder, state.number - 2), ignore_errors=True)

    def _keep(self, state: State) -> None:
        with written(self.folder / "state.json") as stream:
            stream.write(json.dumps(state._asdict() | {"digest": self.digest}).encode())
        self.state = state

    def blocks(self, damping: float = 0.0, shots: Sequence[int] | None = None) -> Blocks:
        """The blocks of shots after the pass."""
        return Blocks(self.folder, self.state.number, self.used if shots is None else shots, len(self.unique.hkl), damping)

    def amplitudes(self) -> np.ndarray:
        """The amplitudes (u,) of the pass."""
        with np.load(folder_of(self.folder, self.state.number) / "amplitudes.npz") as kept:
            return kept["amplitudes"]

    def make_pass(self) -> None:
        """Make the blocks of all shots, and decide how it goes on."""
        number, rule = self.state.number, self.rule._replace(rules=self.rule.rules._replace(misfit=self.state.misfit))
        used, failed = self.used, {}
        state = self.state._replace(left_out={})
        tasks = [(self.folder, Shot(self.shots[shot], shot), rule, state) for shot in used]
        if state.cuts:
            anew = " anew, and it is checked whether they are of this crystal" if number else ""
            self.told(f"boxes of {len(used)} shots are cut{anew}")
        made: dict[int, tuple[float, float]] = {}
        for count, (shot, outcome) in enumerate(zip(used, self.run(one_shot, tasks)), start=1):
            if isinstance(outcome, str):
                failed[str(shot)] = outcome
            else:
                made[shot] = outcome
            self.progress(number, count, len(used))
        self.state = self.state._replace(left_out=self.state.left_out | failed)
        if not self.used:
            first, why = next(iter(self.state.left_out.items()))
            found = f"none is left; {self.shots[int(first)].name}, the first of them: {why}"
            raise InputError(f"shots: {found}; allowed: shots that show reflections of this crystal")
        moved = int(sum(part for part, _ in made.values()))
        self._decide(moved, float(np.median([misfit for _, misfit in made.values()])))

    def _decide(self, moved: int, misfit: float) -> None:
        """Begin the next pass, or end."""
        state, damping = self.state, self.state.damping
        blocks, amplitudes = self.blocks(damping), self.amplitudes()
        squares = amplitudes**2
        expected = self._expected(squares)
        floor = FLOOR * np.sqrt(expected)
        sums = equations(blocks, squares / expected)
        free = ~((amplitudes <= 1.001 * floor) & (sums.right < 0.0))
        wanted = solved(sums, self._common(), free, damping)
        promised = _promised(sums, wanted)
        self.told(
            f"pass {state.number}: {len(blocks.shots)} shots, {moved} moved, reduced chi squared "
            f"{2.0 * sums.loss / _freedom(sums):.4g}, numbers move by {promised:.2g} of their uncertainties"
        )
        number = state.number + 1
        least = np.where(number < len(DAMPINGS), LEAST_PART * squares, 0.0)
        most = np.maximum(MOST_TIMES * squares, expected)
        following = np.maximum(np.sqrt(np.clip(squares * (1.0 + wanted), least, most)), floor)
        changes = (following / amplitudes) ** 2 - 1.0
        damping = DAMPINGS[number] if number < len(DAMPINGS) else 0.0
        state = state._replace(number=number, damping=damping, cuts=False)
        settled = number >= len(DAMPINGS) and promised < ENOUGH
        if not state.generation and (settled or number == CHECKED_BY):
            state = state._replace(generation=1, cuts=True, misfit=misfit)
            following, changes = amplitudes, np.zeros(len(amplitudes))
        elif settled and abs(misfit - state.misfit) >= SAME_MISFIT:
            state = state._replace(misfit=misfit)
        elif settled:
            return self._keep(self.state._replace(ended="converged"))
        elif number >= MOST_PASSES:
            return self._keep(self.state._replace(ended=f"not converged after {MOST_PASSES} passes"))
        return self._start_pass(state, following, changes)

    def _common(self) -> np.ndarray:
        """What scales, and B factors, of all shots can do to factors as well (1 or 2, u)."""
        ones = np.ones(len(self.unique.hkl))
        return np.stack([ones, self.unique.inverse_squares] if B_FACTOR in self.rule.parameters else [ones])

    def result(self) -> Merging:
        """The structure factors, and how well they are known (M5, M6)."""
        unique, blocks, amplitudes = self.unique, self.blocks(), self.amplitudes()
        squares, common = amplitudes**2, self._common()
        expected = self._expected(squares)
        part = squares / expected
        sums = equations(blocks, part)
        everything = np.ones(len(squares), dtype=bool)
        intensity = squares * (1.0 + solved(sums, common, everything))
        sigma = squares * np.sqrt(variances(blocks, sums))
        halves, half_sigmas = np.zeros((2, len(squares))), np.full((2, len(squares)), np.inf)
        if len(self.used) > 1:
            for half in (0, 1):
                of_half = self.blocks(shots=self.used[half::2])
                own = equations(of_half, part)
                halves[half] = squares * (1.0 + solved(own, common, everything))
                half_sigmas[half] = squares * np.sqrt(variances(of_half, own))
        of_shots = [(block.x, 2.0 * block.loss / max(block.pixels, 1)) for block in blocks.each()]
        numbers, fits = (np.array(column) for column in zip(*of_shots))
        scale = float(np.exp(np.mean(np.log(self._scales(numbers)))))
        brightness = scale * np.exp(-2.0 * self._mean_b(numbers) * unique.inverse_squares / 4.0)
        intensity, sigma, halves, half_sigmas = (brightness * part for part in (intensity, sigma, halves, half_sigmas))
        known = np.isfinite(sigma)
        F, sigma_F = np.full(len(squares), np.nan), np.full(len(squares), np.nan)
        expected = brightness * expected
        F[known], sigma_F[known] = french_wilson.estimates(
            intensity[known], sigma[known], expected[known], unique.centric[known]
        )  # fmt: skip
        of_all = Columns(unique.d_A, sums.observed, intensity, sigma, halves, half_sigmas, unique.mates())
        shells = shells_of(of_all, expected)
        names = {self.shots[int(number)].name: why for number, why in self.state.left_out.items()}
        chi_squared = 2.0 * sums.loss / _freedom(sums)
        words = _verdict(self.state, shells, chi_squared, names, len(self.shots))
        words[2].extend(_outliers(fits, [self.shots[shot].name for shot in self.used]))
        return Merging(
            *words, unique=unique, intensity=intensity, sigma=sigma, half_sigma=sigma * _ratios(unique.d_A, shells), F=F,
            sigma_F=sigma_F, halves=halves, half_sigmas=half_sigmas, multiplicity=sums.observed, shells=shells,
            experiments=self._experiments(numbers, scale), left_out=names, passes=self.state.number + 1,
            misfit=self.state.misfit, chi_squared=chi_squared, variables=tuple(block.variable for block in self.refined.blocks),
        )  # fmt: skip

    def _scales(self, numbers: np.ndarray) -> np.ndarray:
        """The scales (shots,) of the shots that are used, whose numbers are (shots, p), over those of their starts."""
        starts = [self.shots[shot].experiment.crystal.scale for shot in self.used]
        return numbers[:, self.refined.indices(SCALE).ravel()[0]] / starts

    def _mean_b(self, numbers: np.ndarray) -> float:
        """The mean B factor of shots, in A^2; 0 where it is not refined."""
        index = self.refined.indices(B_FACTOR).ravel()
        return float(numbers[:, index[0]].mean()) if len(index) else 0.0

    def _experiments(self, numbers: np.ndarray, scale: float) -> list[Experiment | None]:
        """The experiment of each shot as refined, without amplitudes, on the scale of the result; None: it is left out."""
        found: list[Experiment | None] = [None] * len(self.shots)
        for shot, own in zip(self.used, numbers.copy()):
            own[self.refined.indices(SCALE).ravel()] /= scale
            found[shot] = unpack(self.shots[shot].experiment, self.refined.parameters, own)
        return found


def _promised(sums: Equations, wanted: np.ndarray) -> float:
    """By how much a step would move numbers and factors, in uncertainties: root mean square."""
    count = sums.numbers + int((sums.own > 0.0).sum())
    return float(np.sqrt(max(float(sums.right @ wanted) + sums.promised, 0.0) / max(count, 1)))


def _freedom(sums: Equations) -> float:
    """Pixels less what was fitted: numbers of shots, backgrounds, and factors."""
    return max(float(sums.pixels - sums.numbers - sums.boxes - int((sums.own > 0.0).sum())), 1.0)


def _outliers(chi_squared: np.ndarray, names: Sequence[str]) -> list[str]:
    """A sentence about shots that the model fits far worse than most, by what each shows (shots,) (M7)."""
    worse = np.flatnonzero(chi_squared > WORSE * max(float(np.median(chi_squared)), 1.0))
    if not len(worse):
        return []
    worst = int(worse[np.argmax(chi_squared[worse])])
    name = f"{names[worst]} (reduced chi squared {chi_squared[worst]:.3g})"
    return [f"{len(worse)} of {len(chi_squared)} shots fit far worse than most, the worst of which is {name}"]


def one_shot(folder: Path, shot: Shot, rule: Rule, state: State) -> tuple[float, float] | str:
    """Make the block of a shot in a pass: whether it moved, and the misfit that it shows; or why it cannot be used."""
    with one_thread(), np.errstate(all="ignore"):
        try:
            if state.cuts:
                block = cut(folder, shot, rule, state.number, state.generation)
            else:
                block = step(folder, shot, rule, state.number, state.generation, state.damping)
        except InputError as error:
            return str(error)
    return block.moved, block.misfit


def _ratios(d_A: np.ndarray, shells: Sequence[Shell]) -> np.ndarray:
    """By how much halves differ more than their uncertainties, at least 1, of the shell of each reflection (u,)."""
    ratio = np.ones(len(d_A))
    for shell in shells[:-1]:
        within = (d_A <= shell.low_A) & (d_A >= shell.high_A)
        ratio[within] = shell.ratio if shell.ratio > 1.0 else 1.0
    return ratio


def _verdict(
    state: State, shells: Sequence[Shell], chi_squared: float, left_out: dict[str, str], shots: int
) -> tuple[bool, str, list[str]]:
    """Whether structure factors can be believed, the sentence that says it, and what else is to be known."""
    whole, diagnosis = shells[-1], []
    if chi_squared > 1.5:
        diagnosis.append(f"the model does not fit to within noise (reduced chi squared {chi_squared:.3g})")
    if whole.ratio > 1.5:
        diagnosis.append(f"halves of the shots differ {whole.ratio:.2g} times more than uncertainties say")
    if left_out:
        diagnosis.append(f"{len(left_out)} of {shots} shots are left out, the first of which is {next(iter(left_out))}")
    used = shots - len(left_out)
    if used < ENOUGH_SHOTS:
        diagnosis.append(f"so few shots ({used}) can agree and be wrong: their halves hardly test the uncertainties")
    if state.ended != "converged":
        return False, state.ended, diagnosis
    if state.misfit > MOST_MISFIT:
        what = f"the model meets a spot to within {100 * state.misfit:.0f} % of its photons"
        why = "the shape of spots, as by the size of the crystal and its spread, is not that of the shots"
        return False, f"converged, but {what}: {why}", diagnosis
    if len(left_out) > shots / 2:
        return False, "converged, but more than half of the shots are left out", diagnosis
    if chi_squared > MOST_CHI_SQUARED:
        return False, f"converged, but the model does not fit (reduced chi squared {chi_squared:.3g})", diagnosis
    if whole.ratio > MOST_RATIO:
        return False, f"converged, but halves differ {whole.ratio:.2g} times more than uncertainties say", diagnosis
    if not whole.cc_half > LEAST_CC:
        return False, f"converged, but halves of the shots do not agree (CC1/2 {whole.cc_half:.3g})", diagnosis
    return True, "converged", diagnosis


WORSE = 3.0
"""The reduced chi squared of a shot over the median of all, or over 1, above which it is named."""

MOST_CHI_SQUARED, MOST_RATIO = 10.0, 4.0
"""The reduced chi squared, and the ratio by which halves differ more than uncertainties say, above which nothing is believed:
shots in wrong orientations that are not refined gave 25 to 56, and 3 to 4.5, and amplitudes that were wrong by half."""

ENOUGH_SHOTS = 6
"""The number of shots below which a half has one or two, so that it is said how little the agreement of the halves tells."""

MOST_MISFIT = 0.5
"""The misfit beyond which spots have another shape than the calculated ones, so that intensities cannot be believed."""

LEAST_CC = 0.3
"""The correlation of halves below which intensities are no more than noise."""
