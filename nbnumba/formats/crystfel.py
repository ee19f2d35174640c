"""Geometry files of CrystFEL (.geom): panels, their rigid groups, and photon energy as text, key = value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.crystfel_masks import BadPixels, PanelPixels
from nbnumba.formats.geometry import (
    LARGEST_NUMBER,
    MOST_PANELS,
    MOST_PIXELS,
    MOST_ROWS,
    NO_DISTANCE_MM,
    FrameGeometry,
    Geometry,
    PanelGeometry,
    checked,
    group_tree,
    lab_of_nexus,
    panel_axes,
    path_of,
    unique_path,
    with_data_origins,
)
from nbnumba.formats.text import excerpt, number, printable

EXPECTED = "a geometry file of CrystFEL (.geom)"
COMMENTS = ("%", "#")
"""What a line begins with that is a comment, besides the text after a semicolon."""

LONGEST_VECTOR, DEEPEST = 200, 32
"""The largest number of characters of a vector, and of levels of groups of groups."""

_TERM = re.compile(r"([+-]?)((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|)([xyz])")
_DATA = re.compile(r"data|dim\d|peak_list\w*|mask(_\w+|\d_\w+)?|event|detector_name|dark\w*|badrow_\w+")
"""Keys that say where pixels and their masks are in files of images."""

_UNITS = {
    "length": {"": 1.0, "m": 1.0, "mm": 1e-3},
    "energy": {"": 1.0, "eV": 1.0, "keV": 1e3, "MeV": 1e6},
    "wavelength": {"m": 1e10, "A": 1.0},
}
"""What a number of a quantity is multiplied by in each unit: to m, eV and A."""

PANEL_KEYS = frozenset(
    "min_fs max_fs min_ss max_ss corner_x corner_y fs ss res clen coffset adu_per_eV adu_per_photon max_adu no_index "
    "badrow_direction rigid_group integr_radius flag_lessthan flag_morethan flag_equal mask_edge_pixels pixel_pitch".split()
)
"""The keys that state something of a panel, or of all panels that come after, besides those of _DATA."""

BANDWIDTHS = ("photon_energy_bandwidth", "bandwidth", "beam_bandwidth")

KNOWN = frozenset(["photon_energy", "wavelength", "rail_direction", "detector_shift_x", "detector_shift_y", *BANDWIDTHS])
"""The keys that state something of the whole experiment."""


class _File:
    """The entries of a file: those of every panel with what was stated for all before it, of every bad region, and the rest."""

    def __init__(self, name: str):
        self.name = name
        self.common: dict[str, str] = {}
        self.panels: dict[str, dict[str, str]] = {}
        self.bad: dict[str, dict[str, str]] = {}
        self.top: dict[str, str] = {}
        self.unknown: list[str] = []

    def add(self, key: str, value: str) -> None:
        """Take an entry, in the order of the file."""
        part, slash, entry = key.partition("/")
        if not slash:
            if key in PANEL_KEYS or _DATA.fullmatch(key):
                self.common[key] = value
            self.top[key] = value
        elif part.startswith("bad"):
            self.bad.setdefault(part, {})[entry] = value
        else:
            if part not in self.panels and len(self.panels) == MOST_PANELS:
                raise InputError(f"{self.name} has more than {MOST_PANELS} panels; allowed: at most so many")
            self.panels.setdefault(part, dict(self.common))[entry] = value


def read(path: files.PathName, what: str = "-geom", stated: frozenset[str] = frozenset()) -> Geometry:
    """Return the geometry of a .geom file; `what` is the flag that named it.

    CrystFEL's frame, with z along the beam and y upwards, is that of imgCIF turned by 180 degrees about y. stated: which of
    "distance" and "wavelength" flags state, where the file only says in which HDF5 file they are. Raises InputError for what is
    no such file, and for values that stand in an HDF5 file.
    """
    name = f"{what}: {files.name_of(path, what)!r}"
    content = _File(name)
    for key, value in _entries(files.read_text(path, what), name):
        content.add(key, value)
    if not content.panels:
        raise InputError(f"{name} has no panels, entries such as p0/corner_x; allowed: {EXPECTED}")
    energy = _energy(content, "wavelength" in stated)
    rail = _rail(content)
    paths, groups, notes = _paths(content)
    unplaced = "distance" in stated
    bad = BadPixels(name, files.name_of(path, what), content.bad, content.panels)
    panels = [_panel(content, panel, paths[panel], rail, energy, unplaced, bad) for panel in content.panels]
    origins = [_data_origin(entries) for entries in content.panels.values()]
    axes = lab_of_nexus(np.eye(3))
    clen = _camera_length(content, content.panels[next(iter(content.panels))], "clen", unplaced)
    frame = FrameGeometry(lab_of_nexus(1000.0 * clen * rail), axes[0], axes[1])
    geometry = Geometry(
        files.name_of(path, what), "CrystFEL", with_data_origins(panels, origins), group_tree(groups, axes[0], axes[1]), frame,
        beam_direction=lab_of_nexus([0.0, 0.0, 1.0]), wavelength_A=None if energy is None else HC_EV_A / energy,
        notes=(*notes, *bad.notes, *_notes(content)),
    )  # fmt: skip
    return checked(geometry, name, stated)


def _entries(text: str, name: str) -> Iterator[tuple[str, str]]:
    """The keys and values of a file, without comments."""
    for line_number, line in enumerate(text.split("\n"), start=1):
        content = line.partition(";")[0].strip()
        if not content or content.startswith(COMMENTS):
            continue
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals or not key:
            raise InputError(f"{name} line {line_number} is {excerpt(content)}; allowed: key = value, as in {EXPECTED}")
        yield key, value


def _quantity(content: _File, key: str, text: str, units: dict[str, float], flag: str) -> float:
    """A number with a unit. Raises InputError for a place in an HDF5 file, with the flag that states the value instead."""
    words = text.split()
    value = number(words[0]) if words else None
    if words and words[0].startswith(("/", "%")):
        raise InputError(f"{content.name}: {key} is {excerpt(text)}, a place in an HDF5 file; allowed: a number, or {flag}")
    unit = words[1] if len(words) > 1 else ""
    if value is None or len(words) > 2 or unit not in units or not abs(value) <= LARGEST_NUMBER:
        named = ", ".join(filter(None, units))
        raise InputError(f"{content.name}: {printable(key)} is {excerpt(text)}; allowed: a number, in {named}")
    return value * units[unit]


def _energy(content: _File, stated: bool) -> float | None:
    """The photon energy in eV; None where flags state it, or nothing does."""
    if "electron_voltage" in content.top:
        raise InputError(f"{content.name} is of electrons: electron_voltage; allowed: photons")
    if stated:
        return None
    for key, kind in (("photon_energy", "energy"), ("wavelength", "wavelength")):
        if key in content.top:
            value = _quantity(content, key, content.top[key], _UNITS[kind], "-lambda or -energy")
            if not value > 1.0 / LARGEST_NUMBER:
                raise InputError(f"{content.name}: {key} is {excerpt(content.top[key])}; allowed: a positive number")
            return value if kind == "energy" else HC_EV_A / value
    return None


def _rail(content: _File) -> np.ndarray:
    """The direction (3,) along which the camera length is measured: the beam's, unless the file states another one."""
    text = content.top.get("rail_direction")
    if text is None:
        return np.array([0.0, 0.0, 1.0])
    return _vector(content, "rail_direction", text)


def _vector(content: _File, key: str, text: str) -> np.ndarray:
    """A sum of terms such as -0.5x +0.1y as a vector (3,)."""
    dense = "".join(text.split())
    terms = list(_TERM.finditer(dense[: LONGEST_VECTOR + 1]))
    if not terms or "".join(term[0] for term in terms) != dense:
        raise InputError(f"{content.name}: {printable(key)} is {excerpt(text)}; allowed: terms such as -0.5x +0.1y")
    vector = np.zeros(3)
    for term in terms:
        value = float(term[2]) if term[2] else 1.0
        vector["xyz".index(term[3])] += -value if term[1] == "-" else value
    if not 1e-6 < np.abs(vector).max() < 1e6:
        raise InputError(f"{content.name}: {printable(key)} is {excerpt(text)}; allowed: a vector near the length 1")
    return vector


def _number(content: _File, panel: str, key: str, default: float | None = None) -> float:
    """A number of a panel. Raises InputError where it is missing and there is no default."""
    text = content.panels[panel].get(key)
    if text is None and default is not None:
        return default
    value = None if text is None else number(text)
    if value is None or not abs(value) <= LARGEST_NUMBER:
        stated = "is missing" if text is None else f"is {excerpt(text)}"
        raise InputError(f"{content.name}: {printable(panel)}/{key} {stated}; allowed: a number")
    return value


def _positive(content: _File, panel: str, key: str) -> float:
    """A positive number of a panel."""
    value = _number(content, panel, key)
    if not value > 1.0 / LARGEST_NUMBER:
        raise InputError(f"{content.name}: {printable(panel)}/{key} is {value:g}; allowed: a positive number")
    return value


def _camera_length(content: _File, panel: dict[str, str], key: str, unplaced: bool) -> float:
    """The camera length of a panel in m; a stand-in where a flag states it."""
    text = panel.get("clen")
    if text is None or text.startswith(("/", "%")):
        if unplaced:
            return NO_DISTANCE_MM / 1000.0
        if text is None:
            raise InputError(f"{content.name} has no clen; allowed: one, or -distance")
    return _quantity(content, key, text, _UNITS["length"], "-distance")


def _panel(
    content: _File, panel: str, path: str, rail: np.ndarray, energy: float | None, unplaced: bool, bad: BadPixels
) -> PanelGeometry:
    """A panel; the lengths of its fs and ss vectors make pixels of other sizes than 1 / res."""
    entries = content.panels[panel]
    corners = {key: _number(content, panel, key) for key in ("min_fs", "max_fs", "min_ss", "max_ss")}
    counts = [corners[f"max_{axis}"] - corners[f"min_{axis}"] + 1 for axis in ("ss", "fs")]
    if not all(1 <= count <= MOST_PIXELS and count == round(count) for count in counts):
        stated = f"{counts[1]:g} x {counts[0]:g} pixels"
        raise InputError(f"{content.name}: panel {printable(panel)} has {stated}; allowed: 1 to {MOST_PIXELS} along each axis")
    pixel_mm = _pixel_mm(content, panel)
    fast = _vector(content, f"{panel}/fs", entries.get("fs", "x"))
    slow = _vector(content, f"{panel}/ss", entries.get("ss", "y"))
    axes = panel_axes(lab_of_nexus(fast), lab_of_nexus(slow), f"{content.name}: panel {printable(panel)}")
    clen = _camera_length(content, entries, f"{panel}/clen", unplaced)
    offset = _quantity(content, f"{panel}/coffset", entries.get("coffset", "0"), _UNITS["length"], "a number")
    corner_x, corner_y = (_number(content, panel, f"corner_{axis}") for axis in "xy")
    corner = np.array([corner_x, corner_y, 0.0]) * pixel_mm
    shift = np.array([_shift(content, axis) for axis in "xy"] + [0.0])
    shape, first = (int(counts[0]), int(counts[1])), (int(corners["min_fs"]), int(corners["min_ss"]))
    area = PanelPixels(panel, first, shape, (corner_x, corner_y), fast, slow, entries)
    most = min(_number(content, panel, key, math.inf) for key in ("max_adu", "flag_morethan"))
    if not most > 0.0:
        stated = f"the largest value of panel {printable(panel)} is {most:g}"
        raise InputError(f"{content.name}: {stated}; allowed: a positive number")
    return PanelGeometry(
        path, shape,
        pixel_mm * math.sqrt(fast @ fast), pixel_mm * math.sqrt(slow @ slow),
        lab_of_nexus(corner + 1000.0 * (clen + offset) * rail + shift), *axes,
        gain=_gain(content, panel, energy), trusted_max=None if math.isinf(most) else most,
        trusted_min=_number(content, panel, "flag_lessthan") if "flag_lessthan" in entries else None,
        masked=bad.of_panel(area), gain_per_eV=_gain_per_eV(content, panel, energy),
    )  # fmt: skip


def _data_origin(entries: dict[str, str]) -> tuple[int, int] | None:
    """The row and column of the first pixel of a panel in the data; None where the data are an array for each panel."""
    if any(value.isdecimal() for key, value in entries.items() if re.fullmatch(r"dim\d", key)):
        return None
    row, column = (number(entries.get(key, "")) for key in ("min_ss", "min_fs"))
    whole = row is not None and column is not None and 0 <= min(row, column) and max(row, column) <= MOST_ROWS
    return (int(row), int(column)) if whole else None


def _pixel_mm(content: _File, panel: str) -> float:
    """The length in mm of which fs and ss state how many make a pixel: 1 / res, or pixel_pitch."""
    if "pixel_pitch" in content.panels[panel] and "res" not in content.panels[panel]:
        pitch = _number(content, panel, "pixel_pitch")
        resolution, stated = 1.0 / pitch if pitch > 0.0 else 0.0, f"pixel_pitch is {pitch:g}; allowed: m, 1e-9 to 1e3"
    else:
        resolution = _number(content, panel, "res")
        stated = f"res is {resolution:g}; allowed: pixels per m, 1e-3 to 1e9"
    if not 1e-3 < resolution < 1e9:
        raise InputError(f"{content.name}: {printable(panel)}/{stated}")
    return 1000.0 / resolution


def _shift(content: _File, axis: str) -> float:
    """The shift of the whole detector along x or y, in mm."""
    key = f"detector_shift_{axis}"
    if key not in content.top:
        return 0.0
    return 1000.0 * _quantity(content, key, content.top[key], {"m": 1.0, "mm": 1e-3, "": 1.0}, "a file without it")


def _gain(content: _File, panel: str, energy: float | None) -> float | None:
    """The counts per photon."""
    if "adu_per_photon" in content.panels[panel]:
        return _positive(content, panel, "adu_per_photon")
    if "adu_per_eV" in content.panels[panel] and energy is not None:
        return _positive(content, panel, "adu_per_eV") * energy
    return None


def _gain_per_eV(content: _File, panel: str, energy: float | None) -> float | None:
    """The counts per eV of a photon, of a file that states no photon energy."""
    if energy is not None or "adu_per_photon" in content.panels[panel] or "adu_per_eV" not in content.panels[panel]:
        return None
    return _positive(content, panel, "adu_per_eV")


def _paths(content: _File) -> tuple[dict[str, str], list[str], list[str]]:
    """The path of every panel, the paths of the groups, and sentences about groups that are not kept.

    Groups that lie within others make a tree. One that overlaps another without lying in it is left out, and said.
    """
    members = _members(content)
    kept: list[tuple[str, frozenset[str]]] = []
    notes = []
    for group, panels in sorted(members.items(), key=lambda item: -len(item[1])):
        if not panels or len(panels) == len(content.panels) or any(panels == other for _, other in kept):
            continue
        if all(panels <= other or not panels & other for _, other in kept):
            kept.append((group, panels))
        else:
            notes.append(f"has the group {printable(group)}, which overlaps others and is not kept as a group")
    taken: set[str] = set()
    group_paths = {}
    for group, panels in kept:
        above = [group_paths[other] for other, of_other in kept if panels < of_other and other in group_paths]
        wanted = "/".join(filter(None, (above[-1] if above else "", path_of(group))))
        group_paths[group] = unique_path(wanted, taken, f"group{len(taken)}")
    paths = {}
    for panel in content.panels:
        above = [group_paths[group] for group, panels in kept if panel in panels]
        own = "/".join(filter(None, (above[-1] if above else "", path_of(panel) or f"p{len(paths)}")))
        paths[panel] = unique_path(own, taken, own)
    return paths, list(group_paths.values()), notes


def _members(content: _File) -> dict[str, frozenset[str]]:
    """The panels of every group: rigid_group_NAME, group_NAME of other groups or panels, and NAME/rigid_group."""
    lists = {}
    for key, value in content.top.items():
        for prefix in ("rigid_group_", "group_"):
            if key.startswith(prefix) and not key.startswith("rigid_group_collection_"):
                lists[key.removeprefix(prefix)] = [word.strip() for word in value.split(",") if word.strip()]
                break
    members: dict[str, frozenset[str]] = {}
    for level in range(DEEPEST + 2):  # groups of groups: a round for each level
        before = dict(members)
        for group, words in lists.items():
            direct = frozenset(word for word in words if word in content.panels)
            members[group] = direct.union(*(members.get(word, frozenset()) for word in words if word not in content.panels))
        if members == before:
            break
        if level > DEEPEST:
            raise InputError(f"{content.name} has groups of groups that are deeper than {DEEPEST}; allowed: less")
    for group, words in lists.items():
        unknown = [word for word in words if word not in content.panels and word not in lists]
        if unknown:
            raise InputError(f"{content.name}: group {printable(group)} has {excerpt(unknown[0])}; allowed: panels and groups")
    for panel, entries in content.panels.items():
        if entries.get("rigid_group"):
            members[entries["rigid_group"]] = members.get(entries["rigid_group"], frozenset()) | {panel}
    return members


def _notes(content: _File) -> Iterator[str]:
    """Sentences about what the file states and the geometry does not hold."""
    equal = sorted({entries["flag_equal"] for entries in content.panels.values() if "flag_equal" in entries})
    if equal:
        values = ", ".join(printable(value) for value in equal[:5])
        yield f"states flag_equal = {values}: refine leaves such pixels out with --gap"
    if any(key.startswith(("saturation_map", "satmap")) for key in content.top):
        yield "names a map of saturation, which is not read: --saturation of refine states one for all pixels"
    unknown = [key for key in content.top if not _is_known(key) and not key.startswith(("rigid_group_", "group_"))]
    unknown += [f"{panel}/{key}" for panel, entries in content.panels.items() for key in entries if not _is_known(key)]
    if unknown:
        yield f"states {', '.join(map(printable, unknown[:5]))}, which is not known here"
    for key in BANDWIDTHS:
        if key in content.top:
            yield f"states {key}, which is not rendered: give -dispersion"


def _is_known(key: str) -> bool:
    """Whether a key of the file, or of a panel, states what is read or named elsewhere."""
    return key in PANEL_KEYS | KNOWN or bool(_DATA.fullmatch(key)) or key.startswith(("saturation_map", "satmap"))
