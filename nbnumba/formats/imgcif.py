"""Geometry of CBF images: imgCIF's axes and arrays (full CBF), and the header of Dectris (miniCBF)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import cbf_data, cif, files
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
    lab,
    panel_axes,
    path_of,
    turning,
    unique_path,
)
from nbnumba.formats.text import excerpt, number, printable
from nbnumba.geometry.rotations import about_axis, unit

EXPECTED = "a CBF with the axes of imgCIF, or with a header of Dectris"
MOST_DEPTH = 200

SHORTEST_A = 1.0 / LARGEST_NUMBER
"""No wavelength is shorter."""

INTENSITIES = (("gain", "gain"), ("overload", "trusted_max"), ("undefined_value", "trusted_min"))
"""What imgCIF states of the values of an array, and the field of a panel for it."""


def read(path: files.PathName, what: str = "-img", stated: frozenset[str] = frozenset()) -> Geometry:
    """Return the geometry of a CBF; `what` is the flag that named it.

    The axes of imgCIF count, if the file has them, and the header of Dectris tells the sensor. stated: has "distance",
    "wavelength", "polarization" and "twotheta" where flags state these; a header of Dectris states the last one without an
    axis. Raises InputError for a file with neither, a chain of axes that is broken, array axes that are not straight lines, and
    values that are no numbers, or that are impossible and not stated by flags.
    """
    block = cif.read(path, what)
    name = f"{what}: {files.name_of(path, what)!r}"
    header = _Dectris(" ".join(block.column("_array_data.header_contents")), name)
    if block.column("_axis.id"):
        return _of_axes(block, header, files.name_of(path, what), name, stated)
    if header.text:
        return _of_dectris(block, header, files.name_of(path, what), name, stated)
    raise InputError(f"{name} has neither axes nor a header of Dectris; allowed: {EXPECTED}")


# ------------------------------------------------------------------------------------------------ axes


class _Axis(NamedTuple):
    """An axis: what it moves and how, on which axis it stands, its direction, its offset there, and its setting."""

    kind: str
    equipment: str
    depends_on: str
    vector: np.ndarray
    offset: np.ndarray
    setting: float


class _Axes:
    """The axes of a file by their names."""

    def __init__(self, block: cif.Block, name: str):
        self.name = name
        self.axes = dict(self._axis(row, block) for row in _axis_rows(block))

    def _axis(self, row: tuple[str, ...], block: cif.Block) -> tuple[str, _Axis]:
        key, kind, equipment, depends_on, *numbers = row
        values = [self._number(text, f"axis {printable(key)}", 0.0) for text in numbers]
        if kind not in ("rotation", "translation", "general", ".", "?"):
            raise InputError(f"{self.name}: axis {printable(key)} is of type {excerpt(kind)}; allowed: rotation or translation")
        vector = np.array(values[:3])
        if kind in ("rotation", "translation") and not np.abs(vector).max() > 1.0 / LARGEST_NUMBER:
            raise InputError(f"{self.name}: axis {printable(key)} has the vector 0 0 0; allowed: one that has a direction")
        setting = self._setting(block, key, kind)
        return key, _Axis(kind, equipment, depends_on, vector, np.array(values[3:]), setting)

    def _setting(self, block: cif.Block, axis: str, kind: str) -> float:
        """The angle or the displacement of an axis in the first frame of the file."""
        item = "angle" if kind == "rotation" else "displacement"
        for category, ending in (("_diffrn_scan_frame_axis", ""), ("_diffrn_scan_axis", "_start")):
            for key, value in block.table(f"{category}.axis_id", f"{category}.{item}{ending}"):
                if key == axis and value not in (".", "?"):
                    return self._number(value, f"{item} of axis {printable(axis)}", 0.0)
        return 0.0

    def _number(self, text: str, what: str, default: float) -> float:
        return default if text in (".", "?") else _number(text, f"{self.name}: {what}")

    def chain(self, axis: str) -> list[str]:
        """An axis and those it stands on, up to the laboratory. Raises InputError for one that is missing, or a circle."""
        chain: list[str] = []
        while axis not in (".", "?", ""):
            if axis not in self.axes:
                raise InputError(f"{self.name}: axis {printable(axis)} is named and not there; allowed: axes of the table")
            if axis in chain or len(chain) > MOST_DEPTH:
                stated = printable(" ".join(chain[:5]))
                raise InputError(f"{self.name}: the axes {stated} depend on each other; allowed: a chain")
            chain.append(axis)
            axis = self.axes[axis].depends_on
        return chain

    def placed(self, axis: str, settings: dict[str, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The rotation (3, 3) and the shift of what stands on an axis; settings: of axes, in place of those of the file."""
        rotation, shift = np.eye(3), np.zeros(3)
        for key in self.chain(axis):
            moving = self.axes[key]
            setting = (settings or {}).get(key, moving.setting)
            if moving.kind == "rotation":
                turn = about_axis(unit(moving.vector), math.radians(setting))
                rotation, shift = turn @ rotation, turn @ shift
            elif moving.kind == "translation":
                shift = shift + setting * unit(moving.vector)
            shift = shift + moving.offset
        return rotation, shift


def _axis_rows(block: cif.Block) -> list[tuple[str, ...]]:
    """The rows of the table of axes."""
    coordinates = [f"_axis.{item}[{index}]" for item in ("vector", "offset") for index in (1, 2, 3)]
    return block.table("_axis.id", "_axis.type", "_axis.equipment", "_axis.depends_on", *coordinates)


def _of_axes(block: cif.Block, header: _Dectris, source: str, name: str, stated: frozenset[str]) -> Geometry:
    """The geometry that the axes of imgCIF state. stated: what flags state, as in read()."""
    axes = _Axes(block, name)
    arrays = _arrays(block, name)
    if not 1 <= len(arrays) <= MOST_PANELS:
        raise InputError(f"{name} has {len(arrays)} arrays with axes; allowed: 1 to {MOST_PANELS}")
    chains = [axes.chain(array.slow_axis)[1:] for array in arrays]
    paths, groups, shared = _tree(chains, [array.key for array in arrays])
    panels = [_panel(axes, array, path, block, header) for array, path in zip(arrays, paths)]
    frame = None
    if shared is not None and len(panels) > 1:
        rotation, shift = axes.placed(shared)
        frame = FrameGeometry(lab(shift), lab(rotation @ [1.0, 0.0, 0.0]), lab(rotation @ [0.0, 1.0, 0.0]))
    made = [(path, axes.placed(axis)[0]) for path, axis in groups]
    rotations = [GroupGeometry(path, lab(turn @ [1.0, 0.0, 0.0]), lab(turn @ [0.0, 1.0, 0.0])) for path, turn in made]
    fields = _source(block, axes, name, stated) | _goniometer(block, axes, name) | {"notes": _beam_notes(block, name)}
    return checked(Geometry(source, "imgCIF", tuple(panels), tuple(rotations), frame, **fields), name, stated)


class Array(NamedTuple):
    """An array, or a section of one, of pixels: its name, pixels and pixel sizes, its axes, and the array it is cut from."""

    key: str
    shape: tuple[int, int]
    fast_mm: float
    slow_mm: float
    fast_axis: str
    slow_axis: str
    displacements: dict[str, float]
    array_id: str


def _arrays(block: cif.Block, name: str) -> list[Array]:
    """The arrays and sections of which both directions have axes, in the order of the file."""
    category = "_array_structure_list"
    items = ("array_id", "array_section_id", "index", "dimension", "precedence", "direction", "axis_set_id")
    rows: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for array, section, *row in block.table(*(f"{category}.{item}" for item in items)):
        if row[4] not in (".", "?"):
            rows.setdefault((array, "" if section in (".", "?") else section), []).append(tuple(row))
    sets: dict[str, list[tuple[str, ...]]] = {}
    category = "_array_structure_list_axis"
    items = ("axis_set_id", "axis_id", "displacement", "displacement_increment")
    for key, *row in block.table(*(f"{category}.{item}" for item in items)):
        sets.setdefault(key, []).append(tuple(row))
    _check_sections(block, rows, name)
    return [_array(key, of_array, sets, name) for key, of_array in rows.items()]


def _check_sections(block: cif.Block, rows: dict[tuple[str, str], list[tuple[str, ...]]], name: str) -> None:
    """Raise InputError for a section whose start and end along an index are not as far apart as it has elements there."""
    counts = {(*key, row[0]): row[1] for key, of_array in rows.items() for row in of_array}
    category = "_array_structure_list_section"
    for *key, start, end in block.table(*(f"{category}.{item}" for item in ("array_id", "id", "index", "start", "end"))):
        count = counts.get(tuple(key), "")
        if count.isdecimal() and not (start.isdecimal() and end.isdecimal() and int(end) - int(start) + 1 == int(count)):
            stated = f"section {printable(key[1])} goes from {excerpt(start)} to {excerpt(end)}"
            raise InputError(f"{name}: {stated}; allowed: {count} elements, as its axes have")


def _array(key: tuple[str, str], rows: list[tuple[str, ...]], sets: dict[str, list[tuple[str, ...]]], name: str) -> Array:
    """An array of two directions, precedence 1 the fast one."""
    called = f"{name}: array {printable(key[1] or key[0])}"
    by_precedence = {row[2]: row for row in rows}
    if len(rows) != 2 or set(by_precedence) != {"1", "2"}:
        raise InputError(f"{called} has {len(rows)} directions with axes; allowed: a fast and a slow one")
    counts, steps, names, displacements = [], [], [], {}
    for precedence in ("1", "2"):
        _, dimension, _, direction, axis_set = by_precedence[precedence]
        if not re.fullmatch(r"[0-9]{1,5}", dimension) or not 1 <= int(dimension) <= MOST_PIXELS:
            raise InputError(f"{called} has the dimension {excerpt(dimension)}; allowed: 1 to {MOST_PIXELS}")
        if direction.lower() not in ("increasing", ".", "?"):
            raise InputError(f"{called} runs in the direction {excerpt(direction)}; allowed: increasing")
        axes = sets.get(axis_set, [])
        if len(axes) != 1:
            raise InputError(f"{called} has {len(axes)} axes in the set {printable(axis_set)}; allowed: one, a straight line")
        axis, displacement, increment = axes[0]
        step, start = number(increment), 0.0 if displacement in (".", "?") else number(displacement)
        if step is None or start is None or not 1e-6 < abs(step) <= LARGEST_NUMBER or not abs(start) <= LARGEST_NUMBER:
            stated = f"the displacement {excerpt(displacement)} and the increment {excerpt(increment)}"
            raise InputError(f"{called} has {stated}; allowed: numbers in mm")
        counts.append(int(dimension))
        steps.append(step)
        names.append(axis)
        displacements[axis] = start
    return Array(key[1] or key[0], (counts[1], counts[0]), *steps, *names, displacements, key[0])


def _panel(axes: _Axes, array: Array, path: str, block: cif.Block, header: _Dectris) -> PanelGeometry:
    """A panel. The place of its first pixel counts as the outer corner of it, as in dxtbx and by the files of beamlines."""
    fast_chain, slow_chain = axes.chain(array.fast_axis), axes.chain(array.slow_axis)
    inner = array.fast_axis if array.slow_axis in fast_chain else array.slow_axis
    if array.fast_axis not in slow_chain and array.slow_axis not in fast_chain:
        apart = f"the axes of array {printable(array.key)} do not stand on each other"
        raise InputError(f"{axes.name}: {apart}; allowed: one on the other")
    directions = []
    for axis, step in ((array.fast_axis, array.fast_mm), (array.slow_axis, array.slow_mm)):
        if axes.axes[axis].kind != "translation":
            raise InputError(f"{axes.name}: axis {printable(axis)} of an array is no translation; allowed: a translation")
        base = axes.axes[axis].depends_on
        rotation = np.eye(3) if base in (".", "?") else axes.placed(base)[0]
        directions.append(math.copysign(1.0, step) * rotation @ unit(axes.axes[axis].vector))
    corner = axes.placed(inner, array.displacements)[1]
    fast, slow = panel_axes(lab(directions[0]), lab(directions[1]), f"{axes.name}: array {printable(array.key)}")
    return PanelGeometry(
        path, array.shape, abs(array.fast_mm), abs(array.slow_mm), lab(corner), fast, slow,
        **_intensities(block, array.array_id, axes.name), **header.sensor(),
    )  # fmt: skip


def _intensities(block: cif.Block, array: str, name: str) -> dict[str, float]:
    """Gain and limits of the values of an array."""
    category = "_array_intensities"
    items = ("array_id", *(item for item, _ in INTENSITIES))
    for key, *texts in block.table(*(f"{category}.{item}" for item in items)):
        if key == array:
            stated = zip(INTENSITIES, texts)
            known = [(f"{name}: {category}.{item}", field, text) for (item, field), text in stated if text not in (".", "?")]
            return {field: _number(text, called) for called, field, text in known}
    return {}


def _number(text: str, name: str) -> float:
    value = number(text)
    if value is None or not abs(value) <= LARGEST_NUMBER:
        raise InputError(f"{name} is {excerpt(text)}; allowed: a number")
    return value


def _tree(chains: list[list[str]], names: list[str]) -> tuple[list[str], list[tuple[str, str]], str | None]:
    """The paths of panels, the path and the axis of every group, and the innermost axis on which all panels stand.

    chains: the axes that each panel stands on, from the inside out. An axis makes a group if several panels stand on it, and
    not the same as on the axis below it.
    """
    members: dict[str, frozenset[int]] = {}
    for panel, chain in enumerate(chains):
        for axis in chain:
            members[axis] = members.get(axis, frozenset()) | {panel}
    everyone = frozenset(range(len(chains)))
    shared = next((axis for axis in chains[0] if members[axis] == everyone), None)
    groups: dict[str, str] = {}
    paths, taken = [], set()
    for chain, name in zip(chains, names):
        path, below = "", everyone
        for axis in reversed(chain):
            if len(members[axis]) > 1 and members[axis] != below:
                if axis not in groups:
                    groups[axis] = unique_path("/".join(filter(None, (path, path_of(axis)))), taken, f"group{len(groups)}")
                path, below = groups[axis], members[axis]
        own = "/".join(filter(None, (path, path_of(name) or f"panel{len(paths)}")))
        paths.append(unique_path(own, taken, own))
    rows = [(path, chain, members[axis]) for axis, path in groups.items() for chain in chains if axis in chain]
    innermost = {path: next(axis for axis in chain if members[axis] == panels) for path, chain, panels in rows}
    return paths, list(innermost.items()), shared


def _source(block: cif.Block, axes: _Axes, name: str, stated: frozenset[str]) -> dict[str, Any]:
    """Direction, wavelength and polarization of the beam; stated: what of these flags state."""
    towards_source = next((axis.vector for axis in axes.axes.values() if axis.equipment == "source"), np.array([0.0, 0.0, 1.0]))
    if not np.abs(towards_source).max() > 0.0:
        raise InputError(f"{name}: the axis of the source has the vector 0 0 0; allowed: one that has a direction")
    direction = -unit(lab(towards_source))
    fields: dict[str, Any] = {"beam_direction": direction}
    for text in block.column("_diffrn_radiation_wavelength.wavelength")[:1]:
        if "wavelength" not in stated and text not in (".", "?"):
            fields["wavelength_A"] = _positive(text, f"{name}: _diffrn_radiation_wavelength.wavelength")
    item = "_diffrn_radiation.polarizn_source"
    texts = {ending: next(iter(block.column(f"{item}_{ending}")), ".") for ending in ("ratio", "norm")}
    ratio, angle = (None if text in (".", "?") else _number(text, f"{name}: {item}_{key}") for key, text in texts.items())
    if ratio is not None and abs(ratio) > 1.0 and "polarization" not in stated:
        raise InputError(f"{name}: {item}_ratio is {ratio:g}; allowed: a number from -1 to 1, or -polar")
    if ratio is not None and abs(ratio) <= 1.0:
        normal = about_axis(unit(towards_source), math.radians((angle or 0.0) % 360.0)) @ [0.0, 1.0, 0.0]
        electric = np.cross(lab(normal), direction)
        if np.abs(electric).max() > 1e-6:
            fields |= {"polarization_fraction": (1.0 + ratio) / 2.0, "polarization_axis": unit(electric)}
    return fields


def _beam_notes(block: cif.Block, name: str) -> tuple[str, ...]:
    """A sentence about a divergence of the beam, which no image has unless flags give it."""
    items = [f"_diffrn_radiation.div_{axis}_source" for axis in "xy"]
    texts = {item: next(iter(block.column(item)), ".") for item in items}
    known = {item: _number(text, f"{name}: {item}") for item, text in texts.items() if text not in (".", "?")}
    if not any(known.values()):
        return ()
    shown = " and ".join(f"{value:g}" for value in known.values())
    return (f"states a divergence of the beam of {shown} degrees, which is not rendered: give -hdivrange and -vdivrange",)


def _positive(text: str, name: str) -> float:
    value = number(text)
    if value is None or not SHORTEST_A < value <= LARGEST_NUMBER:
        raise InputError(f"{name} is {excerpt(text)}; allowed: a positive number")
    return value


def _goniometer(block: cif.Block, axes: _Axes, name: str) -> dict[str, Any]:
    """The axis that turns during the scan, in the laboratory, and where it starts."""
    rotations = [key for key, axis in axes.axes.items() if axis.equipment == "goniometer" and axis.kind == "rotation"]
    items = ("axis_id", "angle_increment", "angle_range")
    widths = {row[0]: row[1:] for row in block.table(*(f"_diffrn_scan_axis.{item}" for item in items))}
    moved = []
    for key in rotations:
        called = f"{name}: the angle by which axis {printable(key)} turns"
        numbers = [0.0 if text in (".", "?") else _number(text, called) for text in widths.get(key, ())]
        width = next((value for value in numbers if value), 0.0)
        if width:
            moved.append((key, width))
    if len(moved) > 1:
        raise InputError(f"{name}: the axes {printable(' '.join(key for key, _ in moved))} turn together; allowed: one of them")
    if not moved:
        return {}
    key, width = moved[0]
    axis = axes.axes[key]
    rotation = np.eye(3) if axis.depends_on in (".", "?") else axes.placed(axis.depends_on)[0]
    first = next(iter(block.column("_diffrn_scan_frame.frame_number")), "1")
    image = int(first) if re.fullmatch(r"[0-9]{1,7}", first) else 1
    return turning(lab(rotation @ unit(axis.vector)), Scan(image, 1, axis.setting, width))


# ------------------------------------------------------------------------------------------------ pixels


def read_panels(path: files.PathName, what: str) -> tuple[list[np.ndarray], dict[str, str]]:
    """Return the pixels (slow, fast) of every panel of a CBF with axes, in the order of its Geometry, and its limits of values.

    Raises InputError for a file without axes, pixels that cannot be decoded, and sections that do not fit their arrays.
    """
    block, name = cif.read(path, what), f"{what}: {files.name_of(path, what)!r}"
    arrays = _arrays(block, name)
    if not arrays:
        raise InputError(f"{name} has no arrays with axes; allowed: a CBF that has")
    whole = {array_id: _pixels(block, array_id, name) for array_id in dict.fromkeys(array.array_id for array in arrays)}
    panels = [_cut(block, array, whole[array.array_id], name) for array in arrays]
    items = ("overload", "undefined_value")
    header = {f"_array_intensities.{item}": block.column(f"_array_intensities.{item}") for item in items}
    return panels, {key: values[0] for key, values in header.items() if values and len(set(values)) == 1}


def _pixels(block: cif.Block, array_id: str, name: str) -> np.ndarray:
    """The pixels of an array."""
    rows = block.table("_array_data.data", "_array_data.array_id")
    for value, key in rows:
        section = block.section(value)
        if section is not None and (key == array_id or len(rows) == 1):
            try:
                return cbf_data.decoded(section)
            except ValueError as error:
                raise InputError(f"{name}: array {printable(array_id)}: {error}; allowed: a whole image") from None
    raise InputError(f"{name} has no pixels of the array {printable(array_id)}; allowed: a whole image")


def _cut(block: cif.Block, array: Array, pixels: np.ndarray, name: str) -> np.ndarray:
    """The pixels of an array or of its section, whose first and last elements count from 1 along each index, the fast one 1."""
    category = "_array_structure_list_section"
    ranges = [slice(None)] * pixels.ndim
    items = ("array_id", "id", "index", "start", "end")
    for array_id, key, *texts in block.table(*(f"{category}.{item}" for item in items)):
        if (array_id, key) == (array.array_id, array.key):
            index, start, end = (int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0 for text in texts)
            if not 1 <= index <= pixels.ndim or not 1 <= start <= end <= pixels.shape[-index]:
                raise InputError(f"{name}: section {printable(key)} does not lie in its array; allowed: one that does")
            ranges[-index] = slice(start - 1, end)
    cut = pixels[tuple(ranges)]
    if cut.size != array.shape[0] * array.shape[1]:
        stated = f"{' x '.join(map(str, cut.shape))} pixels for {array.shape[0]} x {array.shape[1]}"
        raise InputError(f"{name}: array {printable(array.key)} has {stated}; allowed: as many as it has axes for")
    return cut.reshape(array.shape)


# ------------------------------------------------------------------------------------------------ Dectris


class _Dectris:
    """The header of Dectris in a CBF: lines such as "# Wavelength 0.97 A"."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name

    def numbers(
        self, key: str, pattern: str, allowed: str, test: Callable[[float], bool] = lambda x: True
    ) -> list[float] | None:
        """The numbers of a line, by a pattern with a group for each; None where there is no such line, or it says unknown.

        allowed: in words what they are, and pass in a test. Raises InputError for a line of anything else.
        """
        line = re.search(rf"{key}[:=\s]\s*([^\r\n]*)", self.text)
        said = line[1].strip() if line else ""
        if not said or _UNKNOWN.fullmatch(said):
            return None
        match = re.match(pattern, said)
        values = [number(word) for word in match.groups()] if match else [None]
        if not all(value is not None and abs(value) <= LARGEST_NUMBER and test(value) for value in values):
            raise InputError(f"{self.name} has {key} {excerpt(said)} in its header; allowed: {allowed}")
        return values

    def one(
        self, key: str, unit: str = "", allowed: str = "a number", test: Callable[[float], bool] = lambda x: True
    ) -> float | None:
        """The number of a line, in its only unit; None where there is none."""
        in_unit = rf"\s*{unit}(?![a-zA-Z])" if unit else ""
        values = self.numbers(key, rf"({_NUMBER}){in_unit}", f"{allowed}{f' in {unit}' if unit else ''}", test)
        return values[0] if values else None

    def sensor(self) -> dict[str, Any]:
        """Thickness and material of the sensor."""
        material = re.search(r"#\s*(\w+) sensor, thickness", self.text)
        thickness = self.one("sensor, thickness", "m", "a thickness from 0 to 1", lambda x: 0.0 <= x <= 1.0)
        if material is None or not thickness:
            return {}
        known = MATERIALS.get(material[1].lower(), material[1])
        return {"thickness_um": 1e6 * thickness, "material": known, "parallax": True}

    def trusted(self) -> tuple[dict[str, float], list[str]]:
        """The limits of valid values, and a sentence where the Count_cutoff is 0, which is none."""
        cutoff = self.one("Count_cutoff", "", "a number not below 0", lambda x: x >= 0.0)
        notes = ["states a Count_cutoff of 0, which is taken for none"] if cutoff == 0.0 else []
        return {"trusted_min": 0.0} | ({"trusted_max": cutoff} if cutoff else {}), notes

    def wavelength(self, is_stated: bool) -> dict[str, float]:
        """The wavelength; one that is impossible is refused unless flags state another."""
        allowed, pattern = "a positive number in A, or -lambda or -energy", rf"({_NUMBER})\s*(?:A(?![a-zA-Z])|$)"
        values = self.numbers("Wavelength", pattern, allowed, lambda x: is_stated or x > SHORTEST_A)
        return {"wavelength_A": values[0]} if values and values[0] > SHORTEST_A else {}

    def polarization(self, is_stated: bool) -> dict[str, Any]:
        """The plane of polarization, in which +x of imgCIF lies, and the fraction, impossible ones as in wavelength()."""
        allowed = "a fraction from 0 to 1, or -polar"
        fraction = self.one("Polarization", "", allowed, lambda x: is_stated or 0.0 <= x <= 1.0)
        if fraction is None or not 0.0 <= fraction <= 1.0:
            return {}
        return {"polarization_fraction": fraction, "polarization_axis": lab([1.0, 0.0, 0.0])}

    def rotation(self) -> tuple[dict[str, Any], list[str]]:
        """The rotation about +x of imgCIF, and a sentence that it is taken; nothing for a still."""
        start, width = self.one("Start_angle"), self.one("Angle_increment")
        if not width:
            return {}, []
        if start is None:
            stated = f"{self.name} has Angle_increment {width:g} and no Start_angle in its header"
            raise InputError(f"{stated}; allowed: both of them, or neither")
        unknown = "names no axis of rotation in the laboratory: +x of imgCIF is taken; -spindle_axis states another"
        return turning(lab([1.0, 0.0, 0.0]), Scan(1, 1, start, width)), [unknown]


_NUMBER = r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?"
_UNKNOWN = re.compile(r"unknown|not set|n/?a|\(nil\)", re.IGNORECASE)
"""What a line says where its value is not known."""


def _of_dectris(block: cif.Block, header: _Dectris, source: str, name: str, stated: frozenset[str]) -> Geometry:
    """The geometry of a header of Dectris: a detector across the beam, +x fast and -y slow in the frame of imgCIF."""
    edges = rf"({_NUMBER})\s*m?\s*x\s*({_NUMBER})\s*(?:m(?![a-zA-Z])|$)"
    pixel = header.numbers("Pixel_size", edges, "two edges from 1e-9 to 1 m", lambda x: 1e-9 < x < 1.0)
    distance = _distance(header, "distance" in stated)
    centre = header.numbers("Beam_xy", rf"\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)", "two numbers of pixels in brackets")
    for key, value in (("Pixel_size", pixel), ("Detector_distance", distance), ("Beam_xy", centre)):
        if value is None:
            raise InputError(f"{name} has no {key} in its header; allowed: a header of Dectris with one")
    swing = header.one("Detector_2theta")
    if swing and abs(swing) > 1e-6 and "twotheta" not in stated:
        unknown = f"{name} is of a detector swung by Detector_2theta {swing:g}, about which axis it does not say"
        raise InputError(f"{unknown}; allowed: -twotheta with -twotheta_axis, or a file with axes")
    if not block.sections:
        raise InputError(f"{name} has no binary section; allowed: a whole image")
    fast_mm, slow_mm = (1000.0 * edge for edge in pixel)
    corner = np.array([-centre[0] * fast_mm, centre[1] * slow_mm, -1000.0 * distance])
    axes = lab([1.0, 0.0, 0.0]), lab([0.0, -1.0, 0.0])
    (fields, notes), (turns, of_axis) = header.trusted(), header.rotation()
    fields = fields | header.sensor()
    panel = PanelGeometry("detector", _shape(block.sections[0], name), fast_mm, slow_mm, lab(corner), *axes, **fields)
    notes += of_axis
    offset = header.one("Detector_Voffset")
    if offset:
        notes.append(f"states a Detector_Voffset of {offset:g}, which does not move the detector: its Beam_xy counts")
    made: dict[str, Any] = {"beam_direction": lab([0.0, 0.0, -1.0]), "notes": tuple(notes), **turns}
    made |= header.wavelength("wavelength" in stated) | header.polarization("polarization" in stated)
    return checked(Geometry(source, "miniCBF", (panel,), **made), name, stated)


def _distance(header: _Dectris, is_stated: bool) -> float | None:
    """The distance in m; a stand-in for one that is impossible where a flag states it."""
    allowed = "a positive number, or -distance,"
    distance = header.one("Detector_distance", "m", allowed, lambda x: is_stated or x > 0.0)
    return NO_DISTANCE_MM / 1000.0 if is_stated and (distance is None or not distance > 0.0) else distance


def _shape(section: cif.Section, name: str) -> tuple[int, int]:
    """The numbers of pixels (slow, fast) of a binary section."""
    try:
        fast, slow = (section.whole(f"x-binary-size-{axis}-dimension") for axis in ("fastest", "second"))
    except ValueError as error:
        raise InputError(f"{name}: {error}; allowed: whole numbers of pixels") from None
    if not (1 <= fast <= MOST_PIXELS and 1 <= slow <= MOST_PIXELS):
        raise InputError(f"{name} has {fast} x {slow} pixels; allowed: 1 to {MOST_PIXELS} along each axis")
    return slow, fast
