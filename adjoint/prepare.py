"""From an experiment and parameters to a Problem: all that a derivative needs, or a refusal (specs/adjoint.md, A0, A14)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from adjoint import not_differentiable
from adjoint.loops.pixels import Projection
from adjoint.loops.rows import CHANNELS, ORIGIN, WIDTH
from adjoint.loops.tile import Paths
from adjoint.parameters import AMPLITUDES, ARRAYS, GROUPS, MATERIAL_MOTIONS, OF_OSC, SOURCE_MOTIONS, WEIGHTS, Name, row_of
from adjoint.setup import scene as setup
from adjoint.setup.crystal import ANISOTROPIC, ISOTROPIC
from adjoint.setup.sources import by_own_weights
from adjoint.stages.records import Cotangent, Motions
from adjoint.variables import Variable, size, values, variables
from nbnumba.added_photons import added_photons
from nbnumba.backends import Machine, machine
from nbnumba.backends.threads import thread_count
from nbnumba.cost import check
from nbnumba.crystal_names import name_of, number_and_name
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.loops.rows import TILE
from nbnumba.setup import sampling, scene
from nbnumba.setup.crystal import weakens_each_term, with_disorder
from nbnumba.setup.crystals import BACKGROUND, Contribution, contributions
from nbnumba.setup.detector import pivot_of, position_detector
from nbnumba.setup.panels import planes_of
from nbnumba.setup.sheet import Sheet, sheet_of
from nbnumba.setup.structure import energy_weights, interpolates, places
from nbnumba.simulate import warn_beyond_pairs, with_options
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import SQUARE


class Boxes(NamedTuple):
    """How the derivative by F follows from that by boxes, of amplitudes that depend on the photon energy (A9c).

    weights (boxes, energies): of which rows of F a box is made. amplitudes: the number in a row; 0 where F does not depend on
    the energy, or is no variable. first: the index of the first of F among all numbers.
    """

    weights: np.ndarray
    amplitudes: int
    first: int

    @property
    def rows(self) -> int:
        """The number of energies."""
        return self.weights.shape[1]


class Problem(NamedTuple):
    """An experiment whose parameters are stated and whose choices are frozen, and all that its derivative needs.

    variables: what it is differentiated by, in this order. panels: what the image is computed from, the panels of one
    contribution after another (F7d, F7e). For each of these, motions: how sources and lattices move; projections: how
    derivatives by parameters follow from those by channels; paths: the parts of the derivative that are needed. machine: the
    backend and the precision. sheet: the shapes of the panels. boxes: how amplitudes depend on the photon energy. weights:
    which numbers are the weights of sources, and how those of mean 1 move with them (A5b); None if none are. added (slow,
    fast): photons that are added to the image, a sheet, or None (F12a).
    """

    experiment: Experiment
    variables: list[Variable]
    panels: tuple[scene.PanelScene, ...]
    motions: list[Motions]
    projections: list[Projection]
    paths: list[Paths]
    machine: Machine
    sheet: Sheet
    boxes: Boxes
    weights: tuple[slice, np.ndarray] | None
    added: np.ndarray | None

    @property
    def has_tables(self) -> bool:
        """Whether it has derivatives by amplitudes or by weights of sources, which pass through tables."""
        return self.paths[0].reflections or self.paths[0].weights

    @property
    def pixels(self) -> tuple[int, int]:
        """The shape of the sheet (slow, fast), which is the image of one panel."""
        return self.sheet.shape

    def with_added(self, image: np.ndarray) -> np.ndarray:
        """A sheet (slow, fast) with the photons that are added to it (F12a)."""
        return image if self.added is None else image + self.added

    @property
    def contributions(self) -> int:
        """The number of contributions to the image: crystals, and phi steps of those that the spindle moves."""
        return self.panels[-1].contribution + 1

    def of_contribution(self, number: int) -> Problem:
        """The problem of one of the contributions alone, by all variables; of the only one it is the problem itself."""
        if self.contributions == 1:
            return self
        own = [n for n, panel in enumerate(self.panels) if panel.contribution == number]
        parts = ([part[n] for n in own] for part in (self.motions, self.projections, self.paths))
        motions, projections, paths = parts
        panels = tuple(self.panels[n]._replace(contribution=0) for n in own)
        return self._replace(panels=panels, motions=motions, projections=projections, paths=paths)

    @property
    def count(self) -> int:
        """The number of numbers of the variables."""
        return sum(map(size, self.variables))

    @property
    def kernel_columns(self) -> int:
        """The number of columns of the kernels: of the variables, but for every amplitude one of each box (A9c)."""
        return self.count + self.boxes.amplitudes * (len(self.boxes.weights) - self.boxes.rows)

    def by_variables(self, values: np.ndarray) -> np.ndarray:
        """Derivatives (..., n) by the numbers of the variables, from those by the columns of the kernels; what follows stays.

        Those by boxes become those by F (A9c), those by weights of mean 1 those by the weights as they are stated (A5b).
        """
        if self.boxes.amplitudes:
            first, last = self.boxes.first, self.boxes.first + self.boxes.amplitudes * len(self.boxes.weights)
            by_box = values[..., first:last].reshape(*values.shape[:-1], len(self.boxes.weights), self.boxes.amplitudes)
            by_row = np.einsum("...bn,be->...en", by_box, self.boxes.weights).reshape(*values.shape[:-1], -1)
            values = np.concatenate([values[..., :first], by_row, values[..., last:]], axis=-1)
        if self.weights is not None:
            columns, by_stated = self.weights
            values = values.copy()
            values[..., columns] = values[..., columns] @ by_stated
        return values


def prepare(experiment: Experiment, parameters: Iterable[Name], max_hours: float | None = None, **keywords) -> Problem:
    """The problem of differentiating an experiment by some parameters (A0).

    max_hours: the longest time for the image alone, or None for that of cost.granted; its derivative takes several times as
    long. keywords: those of experiment_and_machine. Raises InputError for an experiment that cannot be simulated, and for
    parameters that do not exist or by which the image cannot be differentiated (A14).
    """
    experiment, chosen = experiment_and_machine(experiment, **keywords)
    checked = variables(experiment, parameters)
    check(experiment, chosen, thread_count(), max_hours)
    names = {name for variable in checked for name in variable.names}
    _refuse(not_differentiable.reasons(experiment, names), checked)
    experiment = _with_choices(experiment, values(experiment, checked))
    moved = {number_and_name(name)[0] for name in names if row_of(name).group == "position"}
    detector, every = experiment.detector, contributions(experiment, moved)
    placement = position_detector(detector, experiment.beam, experiment.sampling.defects)
    every_plane = planes_of(detector, placement)
    panels = tuple(_with_b_factors(panel, experiment, names) for panel in scene.scenes_of(experiment, every, every_plane))
    warn_beyond_pairs(panels[0].scene, chosen.precision)
    boxes, parts = _boxes(panels[0].scene, experiment, checked), []
    for number, contribution in enumerate(every):
        scenes = [panel.scene for panel in panels if panel.contribution == number]
        has_amplitudes = contribution.experiment.structure_factors is experiment.structure_factors
        own = [variable for variable in checked if variable.key != AMPLITUDES or has_amplitudes]
        motions = _wanted(setup.motions(contribution, with_materials=not names.isdisjoint(MATERIAL_MOTIONS)), names)
        matrices = _by_parameters(setup.pull(contribution, placement, every_plane, scenes, EACH_CHANNEL), contribution, checked)
        arrays = _columns_of_arrays(scenes[0], contribution.experiment, checked, boxes, has_amplitudes)
        columns = _columns_of_rows(checked, boxes), arrays
        paths = _paths(own, contribution.crystal, matrices, scenes, motions)
        parts += [(motions, Projection(matrix, *columns), paths) for matrix in matrices]
    motions_of_each, projections, paths_of_each = (list(part) for part in zip(*parts))
    _refuse_motionless(checked, [projection.matrix for projection in projections], motions_of_each)
    sheet, weights, added = sheet_of(detector), _weights(experiment, checked), added_photons(experiment)
    of_each = motions_of_each, projections, paths_of_each
    return Problem(experiment, checked, panels, *of_each, chosen, sheet, boxes, weights, added)


def _wanted(motions: Motions, names: set[str]) -> Motions:
    """The motions, in which sources do not move with parameters that are not asked for: these then take no time."""
    unwanted = [name not in names for name in SOURCE_MOTIONS]
    source = motions.source.copy()
    source[:, unwanted] = 0.0
    return motions._replace(source=source)


def _weights(experiment: Experiment, checked: list[Variable]) -> tuple[slice, np.ndarray] | None:
    """Where the weights of sources are among all numbers, and the derivative of those of mean 1 by them; None without (A5b)."""
    first = 0
    for variable in checked:
        if variable.key == WEIGHTS:
            return slice(first, first + size(variable)), by_own_weights(np.array(experiment.value(WEIGHTS)))
        first += size(variable)
    return None


def _with_b_factors(panel: scene.PanelScene, experiment: Experiment, names: Iterable[str]) -> scene.PanelScene:
    """A panel, in whose scene B factors are computed where they are asked for, also if they are 0 (A9d).

    Where a spread of the cell is asked for, those of a spread of 0 are factors of each term, as they are beside it.
    """
    if panel.crystal == BACKGROUND:
        return panel
    built, own = panel.scene, {name for number, name in map(number_and_name, names) if number == panel.crystal}
    stated = experiment.crystals[panel.crystal]
    isotropic, anisotropic = ISOTROPIC in own, not own.isdisjoint(ANISOTROPIC)
    crystal, beam = built.crystal, built.beam
    if not (each_term := weakens_each_term(stated, experiment.sampling.defects)) and not own.isdisjoint(setup.CELL_SPREADS):
        each_term, crystal, beam = True, with_disorder(crystal, stated.disorder), beam._replace(fading=0.0, fades=False)
    crystal = crystal._replace(disordered=crystal.disordered or anisotropic or (isotropic and each_term))
    beam = beam._replace(fades=beam.fades or (isotropic and not each_term))
    return panel._replace(scene=built._replace(crystal=crystal, beam=beam))


def freeze_choices(experiment: Experiment, parameters: Iterable[Name] = ()) -> Experiment:
    """The experiment with stated parameters and with automatic choices made, which stay while parameters move (A14)."""
    return _with_choices(experiment, values(experiment, variables(experiment, parameters)) if parameters else {})


def _with_choices(experiment: Experiment, stated: dict[str, Any]) -> Experiment:
    """The experiment in which parameters have the values that are stated, and automatic choices are made."""
    if experiment.detector.convention == "custom" and experiment.detector.implied_pivot is None:
        stated = stated | {"detector.implied_pivot": pivot_of(experiment.detector, experiment.sampling.defects)}
    experiment = experiment.replace(stated) if stated else experiment
    crystal, choices = experiment.crystal, {}
    if experiment.sampling.oversample is None:
        choices["sampling.oversample"] = sampling.usual_oversample(experiment)
    is_open = experiment.structure_factors.interpolate is None and not experiment.other_crystals  # each of several chooses
    if experiment.structure_factors.hkl is not None and is_open:
        smallest = min(crystal.n_a, crystal.n_b, crystal.n_c)
        choices["structure_factors.interpolate"] = interpolates(experiment.structure_factors, smallest)
    experiment = experiment.replace(choices) if choices else experiment
    return _with_table_as_image(experiment)


def _with_table_as_image(experiment: Experiment) -> Experiment:
    """The experiment whose radial table of photons is the image that it is there: it does not move with parameters (A12a).

    The image is that of all pixels, so that a region or a mask can change.
    """
    if experiment.background.radial is None:
        return experiment
    photons = added_photons(experiment.replace({"sampling.roi": None, "sampling.mask": None}))
    frozen = {"background.radial": None, "background.image": sheet_of(experiment.detector).image(photons)}
    return experiment.replace(frozen)


def experiment_and_machine(
    experiment: Experiment, backend: str = "cpu", precision: str = "double", **statements
) -> tuple[Experiment, Machine]:
    """The experiment and the machine that keywords of simulate state. Raises InputError for unknown or unavailable ones."""
    unknown = set(statements) - {"roi", "mask", "c_parity", "c_threads", "tolerance"}
    if unknown:
        raise InputError(f"{sorted(unknown)[0]!r} is no keyword; allowed: those of simulate")
    chosen = machine(backend, precision)
    return with_options(experiment, **statements), chosen


def _refuse(reasons: dict[str, str], variables: list[Variable]) -> None:
    """Raise InputError for a parameter that has a reason why the image cannot be differentiated by it."""
    for variable in variables:
        for name in variable.names:
            if name in reasons:
                raise InputError(f"parameters: the image cannot be differentiated by {name}: {reasons[name]}")


def _refuse_motionless(variables, matrices, motions_of_each):
    """Raise InputError for a parameter that moves nothing of any scene."""
    each = [(matrix[:, _moving_channels(motions)] != 0.0).any(axis=1) for matrix, motions in zip(matrices, motions_of_each)]
    keys = [variable.key for variable in variables for _ in variable.singles]
    for key, moves in zip(keys, np.any(each, axis=0), strict=True):
        if not moves:
            raise InputError(f"parameters: the image cannot be differentiated by {key}: it moves nothing there")


def _moving_channels(motions: Motions) -> np.ndarray:
    """The channels of a scene that belong to a quantity which something moves (channels,)."""
    moves = np.ones(WIDTH, dtype=bool)
    moves[CHANNEL["source"]] = (motions.source != 0.0).any(axis=(0, 2))
    moves[CHANNEL["lattice_angles"]] = (motions.rotation_rates != 0.0).any(axis=(0, 2))
    moves[CHANNEL["cell_spreads"]] = (motions.stretch_rates != 0.0).any(axis=0)
    return moves


def _slices() -> dict[str, slice]:
    """The channels of each field of a Cotangent, in its order."""
    ends = np.cumsum([0, *CHANNELS.values()])
    return {name: slice(int(first), int(last)) for name, first, last in zip(CHANNELS, ends, ends[1:])}


CHANNEL = _slices()
"""The channels of each field of a Cotangent."""

EACH_CHANNEL = Cotangent(
    **{name: np.eye(WIDTH)[:, part] if CHANNELS[name] > 1 else np.eye(WIDTH)[:, part.start] for name, part in CHANNEL.items()}
)
"""A Cotangent whose fields have a leading axis of channels: each entry is 1 in one channel, and 0 in all others."""


def _by_parameters(pulled, contribution: Contribution, variables) -> list[np.ndarray]:
    """The derivatives (n, channels) of each scene's quantities, one for each channel, by every number except amplitudes.

    pulled: the gradients that EACH_CHANNEL gives the scenes of a contribution to the image. Parameters of other crystals have
    0.
    """
    singles, matrices = [single for variable in variables for single in variable.singles], []
    for by_channel in pulled:
        own = {name_of(contribution.crystal, name): bars for name, bars in by_channel.items()}
        rows = np.zeros((len(singles), WIDTH))
        for row, names in enumerate(singles):
            rows[row] = sum((own[name] for name in names if name in own), np.zeros(WIDTH))
        matrices.append(rows)
    return matrices


def _boxes(built: Scene, experiment: Experiment, variables) -> Boxes:
    """How F is made of energies: without effect where it has none, or is no variable."""
    factors, first = experiment.structure_factors, 0
    for variable in variables:
        if variable.key == AMPLITUDES and factors.energies_eV is not None:
            weights = energy_weights(factors.energies_eV, built.sources.wavelength)[0]
            return Boxes(weights, len(factors.hkl), first)
        first += size(variable)
    return Boxes(np.ones((1, 1)), 0, 0)


def _columns_of(variable: Variable, boxes: Boxes) -> int:
    """The number of columns of the kernels that a variable has."""
    return boxes.amplitudes * len(boxes.weights) if boxes.amplitudes and variable.key == AMPLITUDES else size(variable)


def _columns_of_rows(variables, boxes: Boxes) -> np.ndarray:
    """The columns of the kernels of those numbers that are not in arrays."""
    sizes = [_columns_of(variable, boxes) for variable in variables]
    return np.flatnonzero(np.concatenate([np.full(n, v.key not in ARRAYS) for n, v in zip(sizes, variables)]))


def _columns_of_arrays(built, experiment, variables, boxes: Boxes, with_amplitudes: bool) -> np.ndarray:
    """The column of the kernels of every amplitude of the boxes and then of the weight of every source, or -1.

    The last entry counts for a reflection that is listed twice. Without arrays there is one entry. with_amplitudes: whether
    the amplitudes are those that are asked for.
    """
    if all(variable.key != WEIGHTS and not (with_amplitudes and variable.key == AMPLITUDES) for variable in variables):
        return np.full(1, -1, dtype=np.int64)
    amplitudes, first = built.structure.amplitude.size, 0
    columns = np.full(amplitudes + built.sources.weight.size, -1, dtype=np.int64)
    for variable in variables:
        if variable.key == AMPLITUDES:
            low, high = ([int(bound) for bound in built.structure[end:6:2]] for end in (0, 1))
            hkl = experiment.structure_factors.hkl
            if with_amplitudes:
                for number, begin in enumerate(np.unique(built.structure.first).astype(np.int64)):
                    columns[begin + places(hkl.T, low, high)] = first + number * len(hkl) + np.arange(len(hkl))
        elif variable.key == WEIGHTS:
            columns[amplitudes:] = first + np.arange(size(variable))
        first += _columns_of(variable, boxes)
    return columns


def _paths(variables, crystal, matrices, scenes, motions) -> Paths:
    """The paths of the derivative by the parameters, and the rows of the tile with the channels that they need.

    crystal: the number of the crystal of the scenes. Parameters of other crystals take no path there.
    """
    names = {name for variable in variables for name in variable.names if _is_of_crystal(name, crystal)}
    taken = {GROUPS[row_of(name).group] for name in names}
    moving = _moving_channels(motions)
    by_panel = [(matrix != 0.0).any(axis=0) & moving & _reached(built) for matrix, built in zip(matrices, scenes)]
    is_wanted = np.any(by_panel, axis=0)
    angles = is_wanted[CHANNEL["lattice_angles"]]
    sweeps = bool(angles[OF_OSC] and motions.osc_rates.size)
    if sweeps:
        is_wanted[CHANNEL["vectors"]] = True  # the loops make the derivative by the range of these channels, which begin with 0
    return Paths(
        geometry="geometry" in taken or bool(is_wanted[CHANNEL["origin"]].any()),
        vectors=bool(is_wanted[CHANNEL["vectors"]].any()),
        sweep=sweeps,
        lattice_angles=int(angles.sum()) > int(sweeps),
        cell_spreads=bool(is_wanted[CHANNEL["cell_spreads"]].any()),
        reflections="reflections" in taken,
        weights="weights" in taken,
        channels=(ORIGIN + TILE * np.flatnonzero(is_wanted)).astype(np.uint64),
    )


def _is_of_crystal(name: str, crystal: int) -> bool:
    """Whether the image of the crystal of a number depends on a parameter."""
    number, own = number_and_name(name)
    return number == crystal or not own.startswith("crystal.")


def _reached(built: Scene) -> np.ndarray:
    """Which channels can differ from 0 in some pixel (channels,)."""
    panel, reached = built.panel, np.ones(WIDTH, dtype=bool)
    absent = {"metric": built.crystal.shape == SQUARE, "beam": not panel.curved, "distance": not panel.curved}
    absent |= {"disorder": not built.crystal.disordered, "fading": not built.beam.fades}
    absent["background_each"] = built.beam.background_each == 0.0
    absent |= dict.fromkeys(("normal", "layer", "absorption"), not panel.sensor and built.sampling.layers == 1)
    for name, missing in absent.items():
        reached[CHANNEL[name]] = not missing
    return reached
