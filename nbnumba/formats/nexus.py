"""Geometry of NXmx masters (NeXus, HDF5), and of the masters of older EIGER detectors, which only name distance and centre.

The members of the file come from hdf5_members.py.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, NamedTuple

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files, hdf5_members
from nbnumba.formats.geometry import (
    LARGEST_NUMBER,
    MATERIALS,
    MOST_PANELS,
    MOST_PIXELS,
    NO_DISTANCE_MM,
    FrameGeometry,
    Geometry,
    GroupGeometry,
    PanelGeometry,
    Scan,
    checked,
    panel_axes,
    path_of,
    turning,
    unique_path,
)
from nbnumba.formats.geometry import lab_of_nexus as lab
from nbnumba.formats.text import excerpt, printable
from nbnumba.geometry.rectangles import rectangles
from nbnumba.geometry.rotations import about_axis, unit

EXPECTED = "an NXmx master, or that of an EIGER detector"
MOST_CHAIN = 100
SMALLEST = 1.0 / LARGEST_NUMBER
"""No edge of a pixel, wavelength or factor is smaller."""

_NUMBERED = re.compile(r"/data_[0-9]+$")
_METRES = ("meter", "metre", "meters", "metres")
_LENGTHS = {"m": 1e3, "mm": 1.0, "cm": 10.0, "um": 1e-3, "\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}
_LENGTHS |= {f"{prefix}{name}": size for prefix, size in (("", 1e3), ("milli", 1.0), ("micro", 1e-3)) for name in _METRES}
_WAVELENGTHS = {"angstrom": 1.0, "a": 1.0, "angstroms": 1.0, "nm": 10.0, "m": 1e10, "\u00e5": 1.0}
_ENERGIES = {"ev": 1.0, "kev": 1e3, "j": 1.0 / 1.602176634e-19}
_ANGLES = dict.fromkeys(("deg", "degree", "degrees"), 1.0) | dict.fromkeys(("rad", "radian", "radians"), 180.0 / math.pi)


class Member(NamedTuple):
    """A group or a dataset: its attributes, and the values of a dataset (numbers or texts), None where they are not read."""

    attributes: dict[str, Any]
    shape: tuple[int, ...] | None
    values: list[Any] | None


class Tree:
    """The members of a file by their paths, how messages call the file, and the files of further members that are missing.

    notes: to which sentences about the file are added.
    """

    def __init__(self, members: dict[str, Member], name: str, missing: list[str]):
        self.members, self.name, self.missing = members, name, missing
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Add a sentence, once."""
        self.notes += [] if sentence in self.notes else [sentence]

    def attribute(self, path: str, key: str, default: str = "") -> str:
        """An attribute as text."""
        value = self.members[path].attributes.get(key, default) if path in self.members else default
        value = value[0] if isinstance(value, list) and value else value
        return value if isinstance(value, str) else default

    def of_class(self, kind: str, below: str = "") -> list[str]:
        """The paths of the groups of a NeXus class below a group."""
        return [path for path in self.members if path.startswith(f"{below}/") and self.attribute(path, "NX_class") == kind]

    def numbers(self, path: str) -> np.ndarray | None:
        """The numbers of a dataset, one-dimensional; None where it is missing, empty or not read.

        Raises InputError for a group, and for what are no numbers, or none that are finite.
        """
        if path not in self.members:
            return None
        member = self.members[path]
        values = member.values
        wrong = [value for value in values or () if not isinstance(value, (int, float))]
        if member.shape is None or wrong:
            kind = "a group" if member.shape is None else excerpt(wrong[0]) if wrong[0] is not None else "not finite"
            raise InputError(f"{self.name}: {printable(path)} is {kind}; allowed: finite numbers")
        if not values:
            return None
        array = np.array(values, dtype=np.float64)
        wrong = array[~(np.abs(array) <= LARGEST_NUMBER)]
        if len(wrong):
            raise InputError(f"{self.name}: {printable(path)} has {wrong[0]:g}; allowed: at most {LARGEST_NUMBER:g} in size")
        return array

    def one(self, path: str, units: dict[str, float] | None = None, default: str = "") -> float | None:
        """The first number of a dataset, in the unit that 1 stands for."""
        array = self.numbers(path)
        return None if array is None else float(array[0]) * self.scale(path, units, default)

    def scale(self, path: str, units: dict[str, float] | None, default: str, key: str = "units") -> float:
        """What a number of a dataset is multiplied by."""
        stated = self.attribute(path, key)
        if units is not None and default and not stated and path in self.members:
            self.note(f"does not state the {key} of {printable(path)}: {default} is taken")
        stated = stated or default
        if units is None or not stated:
            return 1.0
        if stated.strip().lower() not in units:
            raise InputError(f"{self.name}: {printable(path)} is in {excerpt(stated)}; allowed: {', '.join(units)}")
        return units[stated.strip().lower()]

    def text(self, path: str) -> str:
        """The text of a dataset; "" where it is missing."""
        values = self.members[path].values if path in self.members else None
        return values[0] if values and isinstance(values[0], str) else ""

    def vector(self, path: str, key: str, default: tuple[float, ...] | None = None) -> np.ndarray:
        """An attribute of three numbers."""
        value = self.members[path].attributes.get(key) if path in self.members else None
        if value is None and default is not None:
            return np.array(default)
        kind = isinstance(value, list) and len(value) == 3 and all(isinstance(x, (int, float)) for x in value)
        if not kind or not all(abs(x) <= LARGEST_NUMBER for x in value):
            raise InputError(f"{self.name}: {printable(path)}@{key} is {excerpt(str(value))}; allowed: three numbers")
        return np.array(value, dtype=np.float64)


def _tree(path: files.PathName, what: str) -> Tree:
    """The members of a file. Raises InputError for what cannot be read."""
    name = files.name_of(path, what)
    called = f"{what}: {name!r}"
    files.check_readable(name, what)
    answer = hdf5_members.read(name)
    if "problem" in answer:
        raise InputError(f"{called} {answer['problem']}; allowed: {EXPECTED}")
    members = {}
    for at, attributes, shape, values in answer["members"]:
        members[at] = Member(attributes, None if shape is None else tuple(shape), values)
    return Tree(members, called, answer.get("missing", []))


def read(path: files.PathName, what: str = "-nexus", stated: frozenset[str] = frozenset()) -> Geometry:
    """Return the geometry of a master; `what` is the flag that named it.

    stated: has "distance" and "wavelength" where flags state these. Raises InputError where h5py is missing, for a file that is
    no HDF5 or has no detector, for chains of transformations that are broken, for units that are not known, and for values that
    are no numbers, or that are impossible and not stated by flags.
    """
    name = files.name_of(path, what)
    tree = _tree(name, what)
    entries = tree.of_class("NXentry") or [path for path in tree.members if path.count("/") == 1]
    if not entries:
        raise InputError(f"{tree.name} has no NXentry; allowed: {EXPECTED}")
    first = entries[0]
    for kind, places in (("NXentry", entries), ("NXsample", tree.of_class("NXsample", first))):
        if len(places) > 1:
            tree.note(f"has {len(places)} {kind}, of which the first counts")
    detectors = tree.of_class("NXdetector", first)
    if not detectors:
        raise InputError(f"{tree.name} has no NXdetector; allowed: {EXPECTED}")
    modules = _modules(tree, first)
    fields: dict[str, Any] = _beam(tree, first, "wavelength" in stated)
    masks = {}
    if modules:
        fields |= _of_modules(tree, modules, _gain(tree, first))
        places = [_place(tree, *pair) for pair in modules] if _has_mask(tree, modules) else []
        fields["panels"], masks = _masked(tree, name, fields["panels"], places)
    else:
        fields |= _of_eiger(tree, detectors[0], _gain(tree, first), "distance" in stated)
        whole = Module(detectors[0], (0, 0), fields["panels"][0].shape)
        fields["panels"], masks = _masked(tree, name, fields["panels"], [whole])
    turned = _goniometer(tree, first)
    unread = [mask for mask in masks.values() if isinstance(mask, str)]
    notes = (*fields.pop("notes"), *tree.notes, *turned.pop("notes", ()), *_crystal_notes(tree, first))
    notes = (*notes, *_beam_notes(tree, first), *unread)
    geometry = Geometry(source=name, kind="NXmx", notes=notes, **fields, **turned)
    try:
        return checked(geometry, tree.name, stated)
    except InputError as error:
        why = "".join(f"; it {note}" for note in tree.notes[:3])
        raise InputError(f"{error}{why}") from None


def _gain(tree: Tree, entry: str) -> dict[str, float]:
    """The counts per photon: 1 / data_scale_factor, by which the data are multiplied. Notes an offset of the data."""
    groups = [*tree.of_class("NXdata", entry), f"{entry}/data"]
    for group in groups:
        offset = tree.one(f"{group}/data_offset")
        if offset:
            tree.note(f"states a data_offset of {offset:g}: --offset of refine subtracts one")
    factors = (tree.one(f"{group}/data_scale_factor") for group in groups)
    factor = next((factor for factor in factors if factor is not None), None)
    if factor is not None and not factor > SMALLEST:
        raise InputError(f"{tree.name}: data_scale_factor is {factor:g}; allowed: a positive number")
    return {} if factor is None else {"gain": 1.0 / factor}


class Module(NamedTuple):
    """Where a panel lies in the arrays of a file: its detector, and the first element and the size along each index."""

    detector: str
    origin: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def place(self) -> tuple[slice, ...]:
        """The elements of the panel in an array."""
        return tuple(slice(first, first + count) for first, count in zip(self.origin, self.size))


Pixels = tuple[list[np.ndarray], list[np.ndarray | None], dict[str, str]]
"""Pixels and bad pixels (slow, fast) of each panel, None without a mask, and the limits of valid values."""


def read_panels(path: files.PathName, number: int | None, what: str) -> Pixels:
    """Return pixels and bad pixels (slow, fast) of each panel of image `number`, from 0, and the limits of valid values.

    The panels are the modules in the order of the Geometry; bad pixels are None where the file has no mask. number None: the
    only image. Raises InputError for a file without modules or pixels, for an image that it lacks, or several of which none is
    chosen, and for modules that lie outside its arrays.
    """
    tree = _tree(path, what)
    entry = _entry(tree)
    modules = _modules(tree, entry)
    if not modules:
        raise InputError(f"{tree.name} has no NXdetector_module; allowed: an NXmx master with modules")
    return _read_modules(tree, path, entry, [_place(tree, *pair) for pair in modules], number)


def read_one_panel(path: files.PathName, number: int | None, what: str) -> Pixels | None:
    """Return the same of a file of one module; None for any other file, also one that cannot be read."""
    try:
        tree = _tree(path, what)
        entry = _entry(tree)
        modules = _modules(tree, entry)
    except InputError:
        return None
    if len(modules) != 1:
        return None
    return _read_modules(tree, path, entry, [_place(tree, *modules[0])], number)


def _entry(tree: Tree) -> str:
    """The path of the first entry of a file; "" if it has none."""
    entries = tree.of_class("NXentry") or [member for member in tree.members if member.count("/") == 1]
    return entries[0] if entries else ""


def _read_modules(tree: Tree, path: files.PathName, entry: str, modules: list[Module], number: int | None) -> Pixels:
    """Pixels, bad pixels and limits of modules of an image."""
    dataset, index = _dataset(tree, entry, len(modules[0].origin), number)
    image = _array(tree, path, dataset, index, len(modules[0].origin))
    masks = {}
    for detector in dict.fromkeys(module.detector for module in modules):
        at = next((at for at in _mask_paths(detector) if at in tree.members), None)
        masks[detector] = None if at is None else _array(tree, path, at, 0, len(modules[0].origin)) != 0
    panels, bad = [], []
    for module in modules:
        shape = module.size[-2:]
        for array in (image, masks[module.detector]):
            if array is not None and (array.ndim != len(module.origin) or array[module.place].shape != module.size):
                stated = f"{' '.join(map(str, module.size))} from {' '.join(map(str, module.origin))}"
                raise InputError(f"{tree.name}: a module of {stated} does not lie in {array.shape}; allowed: one that does")
        mask = masks[module.detector]
        panels.append(image[module.place].reshape(shape))
        bad.append(None if mask is None else mask[module.place].reshape(shape))
    header = {}
    for key in ("saturation_value", "underload_value", "countrate_correction_count_cutoff"):
        for at in (f"{modules[0].detector}/{key}", f"{modules[0].detector}/detectorSpecific/{key}"):
            value = tree.one(at)
            header |= {} if value is None else {key: repr(value)}
    return panels, bad, header


def _modules(tree: Tree, entry: str) -> list[tuple[str, str]]:
    """The detector and the path of every module, in the order of the panels."""
    return [
        (group, module) for group in tree.of_class("NXdetector", entry) for module in tree.of_class("NXdetector_module", group)
    ]


def _place(tree: Tree, detector: str, module: str) -> Module:
    """Where a module lies; some masters of EIGER have origin and size reversed."""
    shape = _counts(tree, detector, f"{module}/data_size")
    size, origin = tree.numbers(f"{module}/data_size"), tree.numbers(f"{module}/data_origin")
    if (
        size is None
        or origin is None
        or len(origin) != len(size)
        or len(size) > 3
        or (origin < 0).any()
        or (origin > 1e9).any()
    ):
        raise InputError(
            f"{tree.name}: {printable(module)} has no data_origin and data_size; allowed: two or three numbers each"
        )
    counts = [*map(int, size[:-2]), *shape]
    corner = [int(first) for first in origin]
    if shape != (int(size[-2]), int(size[-1])):
        corner[-2:] = corner[:-3:-1]
    return Module(detector, tuple(corner), tuple(counts))


def _dataset(tree: Tree, entry: str, dimensions: int, number: int | None) -> tuple[str, int]:
    """The path of the pixels of an image, and its number there.

    They are in `data` of the data group, or in data_000001 and on, one after another, or else in its first array of enough
    dimensions. Raises InputError for an image that the file lacks, and if there are several and none is chosen.
    """
    for group in dict.fromkeys([*tree.of_class("NXdata", entry), f"{entry}/data"]):
        counts = {
            path: member.shape[0] if len(member.shape) > dimensions else 1
            for path, member in tree.members.items()
            if path.startswith(f"{group}/") and member.shape is not None and dimensions <= len(member.shape) <= dimensions + 1
        }
        names = [f"{group}/data"] if f"{group}/data" in counts else [path for path in counts if _NUMBERED.search(path)]
        if counts:
            return _numbered(tree, {path: counts[path] for path in names or list(counts)[:1]}, number)
    elsewhere = f"has its images in {printable(tree.missing[0])}, which cannot be opened" if tree.missing else "has no pixels"
    raise InputError(f"{tree.name} {elsewhere}; allowed: a master with its data files beside it")


def _numbered(tree: Tree, counts: dict[str, int], number: int | None) -> tuple[str, int]:
    """The dataset, of some that hold so many images each, that has an image, and its number there."""
    total = sum(counts.values())
    if number is None and total != 1 or number is not None and not 0 <= number < total:
        chosen = "none of them is chosen" if number is None else f"number {number} is not among them"
        raise InputError(f"{tree.name} holds {total} images, and {chosen}; allowed: FILE#K, K from 0 to {total - 1}")
    first, wanted = 0, number or 0
    paths = iter(counts)
    path = next(paths)
    while wanted >= first + counts[path]:
        first += counts[path]
        path = next(paths)
    return path, wanted - first


def _array(tree: Tree, path: files.PathName, dataset: str, number: int, dimensions: int) -> np.ndarray:
    """An image, or the mask, of a file, as an array of so many dimensions."""
    answer, array = hdf5_members.array(files.name_of(path, tree.name), dataset, number, dimensions)
    if array is None:
        raise InputError(f"{tree.name}: {printable(dataset)} {answer}; allowed: an image of the file")
    return array


def _has_mask(tree: Tree, modules: list[tuple[str, str]]) -> bool:
    return any(path in tree.members for detector, _ in modules for path in _mask_paths(detector))


def _masked(
    tree: Tree, name: str, panels: tuple[PanelGeometry, ...], places: list[Module]
) -> tuple[tuple[PanelGeometry, ...], dict[str, Any]]:
    """The panels with the pixels that the mask of their detector excludes, and the mask of each detector.

    A mask that is not there is None, and one that cannot be read or does not fit is a sentence.
    """
    masks: dict[str, Any] = {}
    made = []
    for panel, module in zip(panels, places):
        at = next((path for path in _mask_paths(module.detector) if path in tree.members), None)
        if module.detector not in masks and at is not None:
            problem, array = _mask_array(tree, name, at, len(module.origin))
            masks[module.detector] = f"has a {printable(at)} that {problem}" if array is None else array != 0
        mask = masks.get(module.detector)
        if isinstance(mask, np.ndarray) and mask.ndim == len(module.origin) and mask[module.place].shape == module.size:
            panel = dataclasses.replace(panel, masked=rectangles(mask[module.place].reshape(panel.shape)))
        elif isinstance(mask, np.ndarray):
            masks[module.detector] = f"has a {printable(at)} that does not have the pixels of its modules"
        made.append(panel)
    return tuple(made) or panels, masks


def _mask_array(tree: Tree, name: str, path: str, dimensions: int) -> tuple[str, np.ndarray | None]:
    """The mask at a path, of so many dimensions, or why there is none; a small one is among the members that were read."""
    member = tree.members[path]
    if member.values and member.shape and len(member.shape) == dimensions and tree.numbers(path) is not None:
        return "", np.array(member.values).reshape(member.shape)
    return hdf5_members.array(name, path, 0, dimensions)


# ------------------------------------------------------------------------------------------------ transformations


def _target(tree: Tree, at: str, named: str) -> str | None:
    """The path that depends_on names, seen from a member; None for the laboratory."""
    if named in ("", "."):
        return None
    group = at.rpartition("/")[0]
    for path in (named if named.startswith("/") else f"{group}/{named}", f"{at}/{named}", f"/{named}"):
        if path in tree.members:
            return path
    missing = f"{printable(at)} depends on {excerpt(named)}, which is not there"
    raise InputError(f"{tree.name}: {missing}; allowed: a path in the file")


def _chain(tree: Tree, path: str | None) -> list[str]:
    """A transformation and those it depends on, up to the laboratory."""
    chain: list[str] = []
    while path is not None:
        if path in chain or len(chain) > MOST_CHAIN:
            raise InputError(f"{tree.name}: {printable(path)} depends on itself; allowed: a chain of transformations")
        chain.append(path)
        path = _target(tree, path, _base_path(tree, path))
    return chain


def _base_path(tree: Tree, path: str) -> str:
    """What a transformation depends on, "." for the laboratory. Raises InputError for what is no path.

    A transformation without the attribute depends on the laboratory, with a sentence.
    """
    value = tree.members[path].attributes.get("depends_on") if path in tree.members else "."
    value = value[0] if isinstance(value, list) and value else value
    if value is None or value == "":
        tree.note(f"does not say what {printable(path)} depends on: it is taken to stand in the laboratory")
        return "."
    if not isinstance(value, str):
        stated = f"{printable(path)}@depends_on is {excerpt(str(value))}"
        raise InputError(f"{tree.name}: {stated}; allowed: a path in the file, or .")
    return value


def _placed(tree: Tree, path: str | None, angles: dict[str, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The rotation (3, 3), and the shift in mm, of what depends on a transformation; angles: in place of those of the file."""
    rotation, shift = np.eye(3), np.zeros(3)
    for step in _chain(tree, path):
        kind = tree.attribute(step, "transformation_type")
        units = "offset_units" if _has_own_units(tree, step) else "units"
        offset = tree.vector(step, "offset", (0.0, 0.0, 0.0))
        offset = offset * tree.scale(step, _LENGTHS, "m", units) if offset.any() else offset
        if kind == "rotation":
            angle = (angles or {}).get(step, tree.one(step, _ANGLES, "deg") or 0.0)
            turn = about_axis(_direction(tree, step), math.radians(angle))
            rotation, shift = turn @ rotation, turn @ shift
        elif kind == "translation":
            length = tree.one(step, _LENGTHS, "m") or 0.0
            if length:
                shift = shift + length * _direction(tree, step)
        else:
            stated = f"{printable(step)} is a transformation {excerpt(kind)}"
            raise InputError(f"{tree.name}: {stated}; allowed: rotation, translation")
        shift = shift + offset
    return rotation, shift


def _has_own_units(tree: Tree, path: str) -> bool:
    """Whether the offset of a transformation has units of its own, as that of a rotation."""
    return bool(tree.attribute(path, "offset_units")) or tree.attribute(path, "transformation_type") == "rotation"


def _direction(tree: Tree, path: str) -> np.ndarray:
    vector = tree.vector(path, "vector")
    if not np.abs(vector).max() > SMALLEST:
        raise InputError(f"{tree.name}: {printable(path)}@vector is 0 0 0; allowed: one that has a direction")
    return unit(vector)


# ------------------------------------------------------------------------------------------------ detector


def _of_modules(tree: Tree, every: list[tuple[str, str]], gain: dict[str, float]) -> dict[str, Any]:
    """Panels, groups and the frame of detectors that have modules: the detector and the path of each; gain: that of panels."""
    if len(every) > MOST_PANELS:
        raise InputError(f"{tree.name} has {len(every)} modules; allowed: at most {MOST_PANELS}")
    chains = [_chain(tree, _module_offset(tree, module)) for _, module in every]
    members: dict[str, frozenset[int]] = {}
    for panel, chain in enumerate(chains):
        for step in chain:
            members[step] = members.get(step, frozenset()) | {panel}
    everyone = frozenset(range(len(every)))
    taken: set[str] = set()
    groups: dict[frozenset[int], tuple[str, str]] = {}
    panels = []
    for (detector, module), chain in zip(every, chains):
        path, below = "", everyone
        for step in reversed(chain):
            if len(members[step]) > 1 and members[step] != below:
                below = members[step]
                if below not in groups:
                    name = path_of(step.rpartition("/")[2]) or f"group{len(groups)}"
                    groups[below] = unique_path("/".join(filter(None, (path, name))), taken, name), step
                path = groups[below][0]
                groups[below] = path, step
            elif members[step] == below and below in groups:
                groups[below] = path, step
        own = path_of(module.rpartition("/")[2]) or f"panel{len(panels)}"
        own = "/".join(filter(None, (path, own)))
        panels.append(dataclasses.replace(_module(tree, detector, module, chain, unique_path(own, taken, own)), **gain))
    made = []
    for group_path, step in groups.values():
        rotation, _ = _placed(tree, step)
        made.append(GroupGeometry(group_path, lab(rotation @ [-1.0, 0.0, 0.0]), lab(rotation @ [0.0, -1.0, 0.0])))
    shared = next((step for step in chains[0] if members[step] == everyone), None)
    frame = None
    if shared is not None and len(panels) > 1:
        rotation, shift = _placed(tree, shared)
        frame = FrameGeometry(lab(shift), lab(rotation @ [-1.0, 0.0, 0.0]), lab(rotation @ [0.0, -1.0, 0.0]))
    return {"panels": tuple(panels), "groups": tuple(made), "frame": frame}


def _module_offset(tree: Tree, module: str) -> str | None:
    """The offset of a module, or without one the transformation on which its slow direction depends."""
    if f"{module}/module_offset" in tree.members:
        return f"{module}/module_offset"
    path = f"{module}/slow_pixel_direction"
    return _target(tree, path, _base_path(tree, path)) if path in tree.members else None


def _module(tree: Tree, detector: str, module: str, chain: list[str], path: str) -> PanelGeometry:
    """A panel from a module: its offset is the place of the outer corner of its first pixel."""
    directions, sizes = [], []
    for key in ("fast_pixel_direction", "slow_pixel_direction"):
        step = f"{module}/{key}"
        size = tree.one(step, _LENGTHS, "m")
        if size is None or not abs(size) > SMALLEST:
            raise InputError(f"{tree.name}: {printable(step)} is missing, or 0; allowed: the edge of a pixel")
        rotation, _ = _placed(tree, _target(tree, step, _base_path(tree, step)))
        directions.append(math.copysign(1.0, size) * rotation @ _direction(tree, step))
        sizes.append(abs(size))
    fast, slow = panel_axes(lab(directions[0]), lab(directions[1]), f"{tree.name}: module {printable(module)}")
    _, corner = _placed(tree, chain[0] if chain else None)
    shape = _counts(tree, detector, f"{module}/data_size")
    return PanelGeometry(path, shape, sizes[0], sizes[1], lab(corner), fast, slow, **_sensor(tree, detector))


def _counts(tree: Tree, detector: str, path: str) -> tuple[int, int]:
    """The numbers of pixels (slow, fast) of a module: the last two of its size.

    Some masters of EIGER have them reversed; the mask of the detector tells.
    """
    values = tree.numbers(path)
    if values is None or len(values) < 2:
        raise InputError(f"{tree.name}: {printable(path)} is missing; allowed: numbers of pixels")
    slow, fast = values[-2:]
    if not all(1 <= count <= MOST_PIXELS and count == round(count) for count in (slow, fast)):
        raise InputError(f"{tree.name}: {printable(path)} is {slow:g} {fast:g}; allowed: 1 to {MOST_PIXELS} along each axis")
    mask = _mask_shape(tree, detector)
    return (int(fast), int(slow)) if mask is not None and mask[-2:] == (fast, slow) != (slow, fast) else (int(slow), int(fast))


def _mask_shape(tree: Tree, detector: str) -> tuple[int, ...] | None:
    """The shape of the mask of a detector; None where there is none."""
    return next((tree.members[path].shape for path in _mask_paths(detector) if path in tree.members), None)


def _mask_paths(detector: str) -> tuple[str, str]:
    """Where the mask of a detector may be."""
    return f"{detector}/pixel_mask", f"{detector}/detectorSpecific/pixel_mask"


def _sensor(tree: Tree, detector: str) -> dict[str, Any]:
    """Sensor and limits of valid values."""
    thickness = tree.one(f"{detector}/sensor_thickness", _LENGTHS, "m")
    fields: dict[str, Any] = {}
    if thickness:
        fields = {"thickness_um": 1000.0 * thickness, "parallax": True}
    material = tree.text(f"{detector}/sensor_material").strip()
    fields |= {"material": MATERIALS.get(material.lower(), material)} if material else {}
    most = tree.one(f"{detector}/saturation_value")
    if most is None:
        most = tree.one(f"{detector}/detectorSpecific/countrate_correction_count_cutoff")
    least = tree.one(f"{detector}/underload_value")
    return fields | {key: value for key, value in (("trusted_max", most), ("trusted_min", least)) if value is not None}


def _of_eiger(tree: Tree, detector: str, gain: dict[str, float], is_placed: bool) -> dict[str, Any]:
    """The panel of an EIGER master without modules: across the beam, +x fast and -y slow in the frame of imgCIF.

    gain: that of the panel. is_placed: whether a flag states the distance, before which there is a stand-in for a missing one.
    """
    distance = tree.one(f"{detector}/detector_distance", _LENGTHS, "m")
    if distance is None:
        distance = tree.one(f"{detector}/distance", _LENGTHS, "m")
    if is_placed and (distance is None or not distance > 0.0):
        distance = NO_DISTANCE_MM
    centre = [tree.one(f"{detector}/beam_center_{axis}") for axis in "xy"]
    edges = [tree.one(f"{detector}/{axis}_pixel_size", _LENGTHS, "m") for axis in "xy"]
    if distance is None or None in centre or None in edges or not min(edges) > 1e-6 or not distance > 0.0:
        wanted = "NXdetector_module, or detector_distance, beam_center_x, beam_center_y, x_pixel_size and y_pixel_size"
        raise InputError(f"{tree.name}: {printable(detector)} does not say where it is; allowed: {wanted}")
    counts = [tree.one(f"{detector}/detectorSpecific/{axis}_pixels_in_detector") for axis in "yx"]
    mask = _mask_shape(tree, detector)
    counts = list(mask[-2:]) if None in counts and mask and len(mask) >= 2 else counts
    if None in counts or not all(1 <= count <= MOST_PIXELS for count in counts):
        unknown = f"{printable(detector)} does not say how many pixels it has"
        raise InputError(f"{tree.name}: {unknown}; allowed: x_pixels_in_detector and y_pixels_in_detector, or a mask")
    swing = tree.one(f"{detector}/goniometer/two_theta_start", _ANGLES, "deg") or 0.0
    if abs(swing) > 1e-6:
        unknown = f"is swung by two_theta {swing:g}, about which axis it does not say"
        raise InputError(f"{tree.name}: {printable(detector)} {unknown}; allowed: a file with transformations")
    corner = np.array([centre[0] * edges[0], centre[1] * edges[1], distance])
    panel = PanelGeometry(
        "detector", (int(counts[0]), int(counts[1])), edges[0], edges[1],
        lab(corner), lab([-1.0, 0.0, 0.0]), lab([0.0, -1.0, 0.0]), **_sensor(tree, detector), **gain,
    )  # fmt: skip
    return {"panels": (panel,)}


# ------------------------------------------------------------------------------------------------ beam and rotation


def _beam(tree: Tree, entry: str, is_stated: bool) -> dict[str, Any]:
    """Direction, wavelength and polarization of the beam.

    is_stated: whether flags state a wavelength, so that one which is impossible is no matter.
    """
    fields: dict[str, Any] = {"beam_direction": lab([0.0, 0.0, 1.0]), "notes": ()}
    for group in [*tree.of_class("NXbeam", entry), *tree.of_class("NXmonochromator", entry)]:
        try:
            wavelength = _wavelength(tree, group)
        except InputError:
            if not is_stated:
                raise
            continue
        if wavelength is None:
            continue
        fields["wavelength_A"], fields["notes"] = wavelength
        stokes = tree.numbers(f"{group}/incident_polarization_stokes")
        if stokes is not None:
            if len(stokes) != 4 or not 0.0 < stokes[0] or math.hypot(*stokes[1:3]) > 1.001 * stokes[0]:
                stated = f"{printable(group)}/incident_polarization_stokes is {' '.join(f'{x:g}' for x in stokes[:8])}"
                raise InputError(f"{tree.name}: {stated}; allowed: I, Q, U and V of a beam, I above 0 and not below Q and U")
            degree, azimuth = min(math.hypot(*stokes[1:3]) / stokes[0], 1.0), math.atan2(stokes[2], stokes[1]) / 2.0
            fields["polarization_fraction"] = (1.0 + degree) / 2.0
            fields["polarization_axis"] = lab([math.cos(azimuth), math.sin(azimuth), 0.0])
        return fields
    for detector in tree.of_class("NXdetector", entry):
        energy = tree.one(f"{detector}/detectorSpecific/photon_energy")
        if energy is not None and not energy > SMALLEST and not is_stated:
            stated = f"{printable(detector)}/detectorSpecific/photon_energy is {energy:g}"
            raise InputError(f"{tree.name}: {stated}; allowed: a positive number, or -lambda")
        if energy is not None and energy > SMALLEST:
            fields["wavelength_A"] = HC_EV_A / energy
    return fields


def _wavelength(tree: Tree, group: str) -> tuple[float, tuple[str, ...]] | None:
    """The wavelength of a beam or a monochromator, or that of its energy, and a sentence about others; None without either."""
    for key, units in (("wavelength", _WAVELENGTHS), ("energy", _ENERGIES)):
        for path in (f"{group}/incident_{key}", f"{group}/{key}"):
            values = tree.numbers(path)
            if values is None:
                continue
            value = float(values[0]) * tree.scale(path, units, next(iter(units)))
            if not SMALLEST < value < LARGEST_NUMBER:
                raise InputError(f"{tree.name}: {printable(path)} is {values[0]:g}; allowed: a positive number, or -lambda")
            several = f"states {len(values)} values of {key}, of which the first counts: give -lambda or -sourcefile"
            notes = (several,) if len(values) > 1 and np.ptp(values) > 0.0 else ()
            return (value if key == "wavelength" else HC_EV_A / value), notes
    return None


def _goniometer(tree: Tree, entry: str) -> dict[str, Any]:
    """The axis that turns during the scan, in the laboratory, and the angles of its images."""
    samples = tree.of_class("NXsample", entry)
    if not samples:
        return {}
    sample = samples[0]
    named = tree.text(f"{sample}/depends_on")
    if f"{sample}/depends_on" in tree.members and not named:
        values = excerpt(str(tree.members[f"{sample}/depends_on"].values))
        raise InputError(f"{tree.name}: {printable(sample)}/depends_on is {values}; allowed: a path in the file, or .")
    chain = _chain(tree, _target(tree, f"{sample}/depends_on", named)) if named else []
    rotations = [step for step in chain if tree.attribute(step, "transformation_type") == "rotation"]
    scanned = [(step, angles) for step in rotations if (angles := _angles(tree, step)) is not None]
    if not chain:
        turned = _of_eiger_goniometer(tree, sample)
        if not named and not turned and tree.of_class("NXtransformations", sample):
            tree.note(f"does not say which transformation of {printable(sample)} turns the crystal, and none is taken")
        return turned
    if len(scanned) > 1:
        raise InputError(f"{tree.name}: {printable(' '.join(step for step, _ in scanned))} turn together; allowed: one of them")
    if not scanned:
        return {}
    ((step, (start, width, images)),) = scanned
    base = _target(tree, step, _base_path(tree, step))
    spindle = lab(_placed(tree, base)[0] @ _direction(tree, step))
    return turning(spindle, Scan(1, images, start, width))


CRYSTAL = ("ub_matrix", "orientation_matrix", "unit_cell")
"""The members of a sample that state its crystal."""


def _crystal_notes(tree: Tree, entry: str) -> tuple[str, ...]:
    """A sentence where the file states a crystal, which is not read: its frame and its units differ between programs."""
    stated = [name for name in CRYSTAL for sample in tree.of_class("NXsample", entry) if f"{sample}/{name}" in tree.members]
    if not stated:
        return ()
    return (f"states a crystal ({', '.join(dict.fromkeys(stated))}), which is not read: give -mat, or -cell and -misset",)


INTENSITY = ("flux", "total_flux", "incident_beam_size", "incident_beam_divergence")
"""The members of a beam that say how much light there is, and where: no part of a geometry."""


def _beam_notes(tree: Tree, entry: str) -> tuple[str, ...]:
    """A sentence where the file states the intensity, the size or the divergence of the beam, which are not read."""
    beams = [*tree.of_class("NXbeam", entry), *tree.of_class("NXmonochromator", entry)]
    stated = [name for name in INTENSITY for beam in beams if f"{beam}/{name}" in tree.members]
    if not stated:
        return ()
    return (f"states {', '.join(dict.fromkeys(stated))} of the beam, which is not read: give -fluence, or -hdivrange",)


def _angles(tree: Tree, path: str) -> tuple[float, float, int] | None:
    """Start and width of the first image, and the number of images, of an axis that turns; None for one that does not."""
    angles = tree.numbers(path)
    if angles is None:
        return None
    angles = angles * tree.scale(path, _ANGLES, "deg")
    if len(angles) > 1:
        width = float(angles[-1] - angles[0]) / (len(angles) - 1)
        if abs(width) < 1e-9:
            return None
        if np.abs(angles - angles[0] - width * np.arange(len(angles))).max() > 1e-3 * abs(width) + 1e-6:
            raise InputError(f"{tree.name}: {printable(path)} has images of different widths; allowed: images of one width")
        return float(angles[0]), width, len(angles)
    for ending in ("_increment_set", "_increment", "_range_average"):
        width = tree.one(f"{path}{ending}", _ANGLES, "deg")
        if width:
            return float(angles[0]), width, 1
    end = tree.one(f"{path}_end", _ANGLES, "deg")
    return (float(angles[0]), end - float(angles[0]), 1) if end is not None and abs(end - angles[0]) > 1e-9 else None


def _of_eiger_goniometer(tree: Tree, sample: str) -> dict[str, Any]:
    """The rotation of an EIGER master without a chain: omega, about +x of imgCIF."""
    for name in ("omega", "phi"):
        angles = _angles(tree, f"{sample}/goniometer/{name}")
        if angles is not None:
            note = f"names no axis of {name} in the laboratory: +x of imgCIF is taken; -spindle_axis states another"
            start, width, images = angles
            return turning(lab([-1.0, 0.0, 0.0]), Scan(1, images, start, width)) | {"notes": (note,)}
    return {}
