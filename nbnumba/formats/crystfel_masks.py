"""Bad pixels of a .geom of CrystFEL: whole panels, edges, regions in the data or in the laboratory, and mask files (HDF5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import hdf5_members
from nbnumba.formats.geometry import LARGEST_NUMBER
from nbnumba.formats.text import excerpt, number, printable
from nbnumba.geometry.rectangles import rectangles

Rectangle = tuple[int, int, int, int]

IN_DATA = ("min_fs", "max_fs", "min_ss", "max_ss")
IN_LAB = ("min_x", "max_x", "min_y", "max_y")
"""The limits of a bad region: in pixels of the data, both ends included, or in pixels of a panel across the beam."""

MOST_LOOKED_AT = 2**28
"""The largest number of pixels, of all panels, that are compared with regions in x and y and with masks."""

MOST_REGIONS, MOST_ANYWHERE = 10000, 1000
"""The largest number of bad regions, and of those that name no panel."""

MASKS = 8
"""CrystFEL's largest number of masks of a panel."""

OLD_KEYS = {"mask": "mask0_data", "mask_file": "mask0_file", "mask_good": "mask0_goodbits", "mask_bad": "mask0_badbits"}
"""Older names of the entries of the first mask."""

WORDS = {"true": True, "yes": True, "false": False, "no": False}
"""Words that say whether a panel is excluded."""

_BITS = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")


class PanelPixels(NamedTuple):
    """What of a panel places its pixels: its first and last pixels in the data, and corner, fs and ss, all in pixels.

    entries: all that the file states of it.
    """

    name: str
    first: tuple[int, int]
    shape: tuple[int, int]
    corner: tuple[float, float]
    fast: np.ndarray
    slow: np.ndarray
    entries: Mapping[str, str]


class BadPixels:
    """The bad pixels of a file, and sentences about those that cannot be known.

    name: how messages call the file. path: its own. regions: the entries of every bad region, by name.
    """

    def __init__(self, name: str, path: str, regions: Mapping[str, Mapping[str, str]], panels: Iterable[str]):
        self.name, self.folder = name, os.path.dirname(path)
        self.notes: list[str] = []
        self.looked_at = 0
        self.arrays: dict[tuple[str, str], np.ndarray] = {}
        self.of: dict[str | None, list[dict[str, float]]] = {None: []}
        known = set(panels)
        for region, entries in regions.items():
            panel = entries.get("panel")
            self.of.setdefault(panel, []).append(self._limits(region, entries))
            if panel is not None and panel not in known:
                self._note(f"has the bad region {printable(region)} of {printable(panel)}, a panel that it lacks")
        if len(regions) > MOST_REGIONS or len(self.of[None]) > MOST_ANYWHERE:
            allowed = f"at most {MOST_REGIONS}, of which {MOST_ANYWHERE} name no panel"
            raise InputError(f"{name} has {len(regions)} bad regions; allowed: {allowed}")

    def of_panel(self, panel: PanelPixels) -> tuple[Rectangle, ...]:
        """The rectangles of bad pixels of a panel, from 0; they may overlap. Raises InputError for entries that are wrong."""
        simple = [*self._whole_or_edges(panel), *self._in_data(panel)]
        looked_at = [*self._in_lab(panel), *self._masks(panel)]
        if not looked_at:
            return tuple(simple)
        bad = np.logical_or.reduce(looked_at)
        return (*simple, *rectangles(bad))

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _limits(self, region: str, entries: Mapping[str, str]) -> dict[str, float]:
        """The four limits of a region. Raises InputError unless it has all of one kind."""
        keys = IN_DATA if set(IN_DATA) & set(entries) else IN_LAB
        values = {key: number(entries.get(key, "")) for key in keys}
        if any(value is None or not abs(value) <= LARGEST_NUMBER for value in values.values()):
            allowed = f"{', '.join(IN_DATA)}, or {', '.join(IN_LAB)}"
            raise InputError(f"{self.name}: the bad region {printable(region)} lacks a limit; allowed: {allowed}")
        limits = {key: value for key, value in values.items() if value is not None}
        for least, most in zip(keys[::2], keys[1::2]):
            if limits[least] > limits[most]:
                stated = f"the bad region {printable(region)} has {least} {limits[least]:g} above {most} {limits[most]:g}"
                raise InputError(f"{self.name}: {stated}; allowed: the least not above the largest")
        return limits

    def _of(self, panel: PanelPixels, keys: tuple[str, ...]) -> Iterator[dict[str, float]]:
        """The regions of one kind that may lie in a panel."""
        return (limits for limits in (*self.of[None], *self.of.get(panel.name, ())) if keys[0] in limits)

    def _whole_or_edges(self, panel: PanelPixels) -> Iterator[Rectangle]:
        """A panel that no_index excludes, and the edges that mask_edge_pixels does."""
        slow, fast = panel.shape
        excluded = panel.entries.get("no_index", "0").lower()
        if excluded not in WORDS and number(excluded) is None:
            stated = f"no_index of {printable(panel.name)} is {excerpt(excluded)}"
            raise InputError(f"{self.name}: {stated}; allowed: 0 or 1, {', '.join(WORDS)}")
        if WORDS.get(excluded, number(excluded) != 0.0):
            yield 0, 0, fast, slow
        text = panel.entries.get("mask_edge_pixels")
        edge = 0.0 if text is None else number(text)
        if edge is None or not 0.0 <= edge <= LARGEST_NUMBER or edge != round(edge):
            stated = f"mask_edge_pixels of {printable(panel.name)} is {excerpt(text or '')}"
            raise InputError(f"{self.name}: {stated}; allowed: a whole number of pixels, not below 0")
        width = int(edge)
        if width:
            low, left = min(width, slow), min(width, fast)
            yield 0, 0, fast, low
            yield 0, slow - low, fast, slow
            yield 0, 0, left, slow
            yield fast - left, 0, fast, slow

    def _in_data(self, panel: PanelPixels) -> Iterator[Rectangle]:
        """The regions in the data that overlap a panel."""
        first, (slow, fast) = panel.first, panel.shape
        for limits in self._of(panel, IN_DATA):
            f0, f1 = (min(max(limits[key] + more - first[0], 0), fast) for key, more in (("min_fs", 0), ("max_fs", 1)))
            s0, s1 = (min(max(limits[key] + more - first[1], 0), slow) for key, more in (("min_ss", 0), ("max_ss", 1)))
            if int(f0) < int(f1) and int(s0) < int(s1):
                yield int(f0), int(s0), int(f1), int(s1)

    def _in_lab(self, panel: PanelPixels) -> Iterator[np.ndarray]:
        """For each region in x and y the pixels (slow, fast) of a panel whose centres lie in it, if there are any."""
        for limits in self._of(panel, IN_LAB):
            self._look_at(panel)
            fast, slow = np.arange(panel.shape[1]) + 0.5, np.arange(panel.shape[0])[:, np.newaxis] + 0.5
            inside = np.ones(panel.shape, dtype=bool)
            for axis in (0, 1):
                place = panel.corner[axis] + fast * panel.fast[axis] + slow * panel.slow[axis]
                inside &= (place > limits[IN_LAB[2 * axis]]) & (place < limits[IN_LAB[2 * axis + 1]])
            if inside.any():
                yield inside

    def _look_at(self, panel: PanelPixels) -> None:
        """Count the pixels of a panel. Raises InputError where there are too many."""
        self.looked_at += panel.shape[0] * panel.shape[1]
        if self.looked_at > MOST_LOOKED_AT:
            why = "its bad regions in x and y, or its masks, have more pixels than can be looked at"
            raise InputError(f"{self.name}: {why}; allowed: at most {MOST_LOOKED_AT}, regions times panels")

    def _masks(self, panel: PanelPixels) -> Iterator[np.ndarray]:
        """For each mask of a panel the pixels (slow, fast) that it says are bad."""
        entries = {OLD_KEYS.get(key, key): value for key, value in panel.entries.items()}
        for mask in range(MASKS):
            place = entries.get(f"mask{mask}_data")
            if not place:
                continue
            file = self._file(entries.get(f"mask{mask}_file"), place)
            if file is None:
                continue
            good, bad = (self._bits(entries, f"mask{mask}_{kind}bits") for kind in ("good", "bad"))
            if good == bad == 0:
                self._note(f"names a mask, {printable(place)}, without mask_good and mask_bad, which leaves no pixel out")
                continue
            self._look_at(panel)
            values = self._part(panel, entries, file, place)
            yield ((values & good) != good) | ((values & bad) != 0)

    def _file(self, file: str | None, place: str) -> str | None:
        """The file of a mask, beside the .geom or from the working directory; None, with a sentence, where there is none."""
        if file is None:
            self._note(f"names a mask, {printable(place)}, in the files of images, which is not read: refine takes --mask")
            return None
        beside = os.path.join(self.folder, file)
        found = next((path for path in (beside, file) if os.path.isfile(path)), None)
        if found is None:
            self._note(f"names the mask {printable(file)}, which is not there, so that it leaves no pixel out")
        return found

    def _bits(self, entries: Mapping[str, str], key: str) -> int:
        text = entries.get(key, "0")
        if not _BITS.fullmatch(text):
            raise InputError(f"{self.name}: {key} is {excerpt(text)}; allowed: bits, such as 0x1 or 255")
        return int(text, 16 if text[:2].lower() == "0x" else 10)

    def _part(self, panel: PanelPixels, entries: Mapping[str, str], file: str, place: str) -> np.ndarray:
        """The values (slow, fast), int64, of a panel in a mask, whose indices are those of the data without the placeholder."""
        array = self._array(file, place)
        dims = [entries[key] for n in range(10) if (key := f"dim{n}") in entries]
        dims = dims if {"ss", "fs"} <= set(dims) else ["ss", "fs"]
        indices = dims if len(dims) == array.ndim else [dim for dim in dims if dim != "%"]
        counts = {"fs": panel.shape[1], "ss": panel.shape[0]}
        spans = {key: slice(first, first + counts[key]) for key, first in zip(("fs", "ss"), panel.first)}
        spans |= {"%": 0}
        chosen = [spans.get(dim, int(dim) if dim.isdecimal() and len(dim) < 10 else None) for dim in indices]
        fits = len(chosen) == array.ndim and None not in chosen
        fits = fits and all(index < size for index, size in zip(chosen, array.shape) if isinstance(index, int))
        part = array[tuple(chosen)] if fits else np.zeros(0)
        part = part.T if fits and indices.index("fs") < indices.index("ss") else part
        if part.shape != panel.shape:
            stated = f"the mask {printable(place)} in {printable(file)} has the shape {' '.join(map(str, array.shape))}"
            raise InputError(f"{self.name}: {stated}; allowed: one that has the pixels of panel {printable(panel.name)}")
        if part.dtype.kind == "f":
            part = np.where(np.abs(part) < 2.0**62, part, 0.0)
        return part.astype(np.int64)

    def _array(self, file: str, place: str) -> np.ndarray:
        """A mask of an HDF5 file. Raises InputError for one that cannot be read."""
        if (file, place) not in self.arrays:
            found = hdf5_members.read(file)
            shapes = {path: shape for path, _, shape, _ in found.get("members", ()) if shape is not None}
            problem, array = found.get("problem"), None
            path = "/" + place.strip("/")
            if problem is None and path not in shapes:
                problem = f"has no array {printable(place)}"
            if problem is None:
                problem, array = hdf5_members.array(file, path, 0, len(shapes[path]))
            if array is None:
                raise InputError(f"{self.name}: the mask {printable(file)} {problem}; allowed: an array in an HDF5 file")
            self.arrays[file, place] = array
        return self.arrays[file, place]
