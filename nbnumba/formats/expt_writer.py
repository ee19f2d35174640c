"""Experiments of dxtbx and DIALS as JSON (.expt), written: beam, detector, goniometer, scan, static crystal and images."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.dxtbx import PARALLAX, SIMPLE
from nbnumba.formats.geometry import CrystalGeometry, Geometry, PanelGeometry, Scan, imgcif

UNLIMITED = 1e30
"""Stands for a limit of valid values that is not stated."""

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})(\.[^.]*)?", re.DOTALL)
_IDENTITY = np.eye(3).ravel().tolist()


class Images(NamedTuple):
    """The files of a scan in the order of its images, or one file that holds them all (HDF5).

    names: their paths. in_one: whether one file holds all images. offset: what was added to every pixel.
    """

    names: tuple[str, ...] = ()
    in_one: bool = False
    offset: float = 0.0


NO_IMAGES = Images()
"""No image."""


class Shot(NamedTuple):
    """One image of several that differ: its geometry, its file, its number, and its place, from 0, in a file of all."""

    geometry: Geometry
    name: str
    number: int
    index: int


class _Series(NamedTuple):
    """A template of file names with # for each digit, and the number of the first; without # one file of all images."""

    template: str
    first: int


def write(path: files.PathName, geometry: Geometry, images: Images = NO_IMAGES, what: str = "-exptfile") -> None:
    """Write a geometry as a list of one experiment for each crystal, which dials.import and dials.index read.

    All experiments share beam, detector, goniometer, scan and images, as those of a sample of several lattices do in DIALS.
    The panels of a detector that has a frame stand in the tree of their groups, each in the frame of its own. A scan counts its
    images as the files are numbered. A still has neither goniometer nor scan. Files whose names have no number are left out,
    with a warning. Raises InputError for files that are not numbered one after another.
    """
    text = json.dumps(content(geometry, images, os.fspath(path), what), indent=1)
    with files.replacing(path, what) as stream:
        stream.write((text + "\n").encode("ascii"))


def check(geometry: Geometry, images: Images, what: str = "-exptfile") -> None:
    """Warn of images whose names have no number. Raises InputError for files that are not numbered one after another."""
    _series(images, geometry.scan, what)


def content(geometry: Geometry, images: Images, path: str, what: str) -> dict[str, Any]:
    """The object that write() writes."""
    series = _series(images, geometry.scan, what)
    crystals = [] if geometry.crystal is None else [geometry.crystal, *geometry.other_crystals]
    lists: dict[str, list[dict[str, Any]]] = {
        "beam": [beam_of(geometry)],
        "detector": [detector_of(geometry, images.offset)],
        "goniometer": [] if geometry.scan is None else [goniometer_of(geometry)],
        "scan": [] if geometry.scan is None else [_scan(geometry.scan, series)],
        "crystal": [crystal_of(crystal) for crystal in crystals],
        "imageset": [] if series is None else [_imageset(geometry, images, series, os.path.dirname(os.path.abspath(path)))],
    }
    experiment = {"__id__": "Experiment", "identifier": "", **dict.fromkeys((kind for kind in lists if lists[kind]), 0)}
    experiments = [experiment | {"crystal": number} for number in range(len(crystals))] or [experiment]
    return {"__id__": "ExperimentList", "experiment": experiments, **lists, "profile": [], "scaling_model": []}


def numbers(vector: Any) -> list[float]:
    """The components of a vector for JSON, where 0 has no sign."""
    return [float(x) + 0.0 for x in vector]


def beam_of(geometry: Geometry) -> dict[str, Any]:
    """The beam, whose direction dxtbx states from the crystal to the source, and its plane of polarization by its normal."""
    direction, electric = np.asarray(geometry.beam_direction), geometry.polarization_axis
    if electric is None:
        electric = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    return {
        "__id__": "monochromatic",
        "probe": "x-ray",
        "direction": numbers(imgcif(-direction)),
        "wavelength": geometry.wavelength_A,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": numbers(imgcif(np.cross(electric, direction))),
        "polarization_fraction": geometry.polarization_fraction,
        "flux": 0.0,
        "transmission": 1.0,
    }


def write_shots(path: files.PathName, shots: Sequence[Shot], in_one: bool, offset: float, what: str = "-exptfile") -> None:
    """Write a list with an experiment for each crystal of each image, which may all differ in beam, detector and crystal.

    Equal models are written once. in_one: whether one HDF5 file holds all images; else each has a file of its own, which is
    numbered. offset: what was added to every pixel. A rotation has a scan of one image for each image.
    """
    lists: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("beam", "detector", "goniometer", "scan", "crystal", "imageset")
    }
    places: dict[str, int] = {}
    experiments = []
    folder = os.path.dirname(os.path.abspath(path))
    for shot in shots:
        models = {"beam": beam_of(shot.geometry), "detector": detector_of(shot.geometry, offset)}
        scan = shot.geometry.scan
        if scan is not None:
            models |= {"goniometer": goniometer_of(shot.geometry)}
            models |= {"scan": _scan(scan, _Series("", shot.index + 1 if in_one else shot.number))}
        models["imageset"] = _imageset_of_shot(shot, in_one, folder)
        crystal, *others = (shot.geometry.crystal, *shot.geometry.other_crystals)
        for each in (crystal, *others):
            own = models if each is None else models | {"crystal": crystal_of(each)}
            experiment: dict[str, Any] = {"__id__": "Experiment", "identifier": ""}
            experiments.append(experiment | {kind: _place(model, lists[kind], places, kind) for kind, model in own.items()})
    content = {"__id__": "ExperimentList", "experiment": experiments, **lists, "profile": [], "scaling_model": []}
    with files.replacing(path, what) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode("ascii"))


def _place(model: dict[str, Any], models: list[dict[str, Any]], places: dict[str, int], kind: str) -> int:
    """The place of a model in its list, to which it is added if there is no equal one. places: of the models of all lists."""
    text = f"{kind} {json.dumps(model)}"
    if text not in places:
        places[text] = len(models)
        models.append(model)
    return places[text]


def _imageset_of_shot(shot: Shot, in_one: bool, folder: str) -> dict[str, Any]:
    """Where one image is: in a file of all images, or in one of its own."""
    lookups = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    name = placed_name(shot.name, folder)
    if shot.geometry.scan is None:
        indices = {"single_file_indices": [shot.index]} if in_one else {}
        return {"__id__": "ImageSet", "images": [name], **indices, **lookups, "params": {}}
    if in_one:
        return {"__id__": "ImageSequence", "template": name, "single_file_indices": [shot.index], **lookups, "params": {}}
    series = _numbered(name)
    assert series is not None
    return {"__id__": "ImageSequence", "template": series.template, **lookups, "params": {}}


class Frame(NamedTuple):
    """The origin in mm of a group of panels in the frame of dxtbx, and its fast, slow and normal axes as rows."""

    origin: np.ndarray
    axes: np.ndarray

    def pose(self, origin: np.ndarray, fast: np.ndarray, slow: np.ndarray) -> dict[str, list[float]]:
        """What states a place and two axes in this frame."""
        placed = {"fast_axis": self.axes @ fast, "slow_axis": self.axes @ slow, "origin": self.axes @ (origin - self.origin)}
        return {name: numbers(vector) for name, vector in placed.items()}


LABORATORY = Frame(np.zeros(3), np.eye(3))
"""The frame of dxtbx itself."""


def frame_of(origin_mm: Any, fast_axis: Any, slow_axis: Any) -> Frame:
    """A frame by its origin and axes in the laboratory of nanoBragg."""
    origin, fast, slow = imgcif(origin_mm), imgcif(fast_axis), imgcif(slow_axis)
    return Frame(origin, np.array([fast, slow, np.cross(fast, slow)]))


def detector_of(geometry: Geometry, offset: float = 0.0) -> dict[str, Any]:
    """The panels; where the detector has a frame, with the tree of their groups, which stand at their centres."""
    if geometry.frame is None:
        return {"panels": [_panel(panel, offset, LABORATORY) for panel in geometry.panels]}
    root = frame_of(*dataclasses.astuple(geometry.frame))
    frames, nodes = {"": root}, {"": _node("", LABORATORY, root)}
    for group in sorted(geometry.groups, key=lambda group: group.path.count("/")):
        above = _group_of(group.path, frames)
        members = [panel for panel in geometry.panels if panel.path.startswith(f"{group.path}/")]
        centre = np.mean([panel.positions_mm(panel.shape[1] / 2, panel.shape[0] / 2) for panel in members], axis=0)
        frames[group.path] = frame_of(centre, group.fast_axis, group.slow_axis)
        nodes[group.path] = _node(group.path, frames[above], frames[group.path])
        nodes[above]["children"].append(nodes[group.path])
    panels = []
    for number, panel in enumerate(geometry.panels):
        above = _group_of(panel.path, frames)
        panels.append(_panel(panel, offset, frames[above]))
        nodes[above]["children"].append({"panel": number})
    return {"panels": panels, "hierarchy": nodes[""]}


def _group_of(path: str, frames: dict[str, Frame]) -> str:
    """The innermost group of a panel or a group; "" for the whole detector."""
    names = path.split("/")
    return next((above for count in range(len(names) - 1, 0, -1) if (above := "/".join(names[:count])) in frames), "")


def _node(path: str, above: Frame, frame: Frame) -> dict[str, Any]:
    """A group in the tree, whose name is the last part of its path."""
    return {"name": path.rpartition("/")[2], "type": "", **above.pose(frame.origin, *frame.axes[:2]), "children": []}


def _panel(panel: PanelGeometry, offset: float, frame: Frame) -> dict[str, Any]:
    thickness = (panel.thickness_um or 0.0) / 1000
    mu = 1000.0 / panel.attenuation_um if panel.attenuation_um else 0.0
    return {
        "name": panel.path.rpartition("/")[2],
        "type": "SENSOR_PAD",
        **frame.pose(imgcif(panel.origin_mm), imgcif(panel.fast_axis), imgcif(panel.slow_axis)),
        "raw_image_offset": list((panel.data_origin or (0, 0))[::-1]),
        "image_size": [panel.shape[1], panel.shape[0]],
        "pixel_size": [panel.pixel_fast_mm, panel.pixel_slow_mm],
        "trusted_range": _trusted_range(panel),
        "thickness": thickness,
        "material": panel.material or "",
        "mu": mu,
        "identifier": "",
        "mask": [list(rectangle) for rectangle in panel.masked],
        "gain": panel.gain or 1.0,
        "pedestal": offset,
        "px_mm_strategy": {"type": PARALLAX if panel.parallax and thickness > 0.0 and mu > 0.0 else SIMPLE},
    }


def _trusted_range(panel: PanelGeometry) -> list[float]:
    """The limits of valid values, each half a count outside: old versions of dxtbx exclude both ends, new ones include them."""
    least = -UNLIMITED if panel.trusted_min is None else panel.trusted_min - 0.5
    return [least, UNLIMITED if panel.trusted_max is None else panel.trusted_max + 0.5]


def goniometer_of(geometry: Geometry) -> dict[str, Any]:
    """The spindle, about which the crystal turns from its place at phi = 0."""
    axis = numbers(imgcif(geometry.spindle_axis))
    return {"rotation_axis": axis, "fixed_rotation": _IDENTITY, "setting_rotation": _IDENTITY}


def _scan(scan: Scan, series: _Series | None) -> dict[str, Any]:
    first = scan.first_image if series is None else series.first
    return {
        "image_range": [first, first + scan.images - 1],
        "batch_offset": 0,
        "oscillation": [scan.phi_deg, scan.width_deg],
        "exposure_time": [0.0] * scan.images,
        "epochs": [0.0] * scan.images,
        "valid_image_ranges": {},
    }


def crystal_of(crystal: CrystalGeometry) -> dict[str, Any]:
    """The crystal at phi = 0."""
    axes = {f"real_space_{name}": numbers(imgcif(vector)) for name, vector in zip("abc", crystal.vectors)}
    return {"__id__": "crystal", **axes, "space_group_hall_symbol": " P 1"}


def _imageset(geometry: Geometry, images: Images, series: _Series, folder: str) -> dict[str, Any]:
    """Where the images are: relative to the folder of the list, if they are in it or below."""
    lookups = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    if geometry.scan is None:
        return {"__id__": "ImageSet", "images": [placed_name(name, folder) for name in images.names], **lookups, "params": {}}
    indices = {"single_file_indices": list(range(geometry.scan.images))} if images.in_one else {}
    return {"__id__": "ImageSequence", "template": placed_name(series.template, folder), **indices, **lookups, "params": {}}


def placed_name(name: str, folder: str) -> str:
    """The name of a file: relative to a folder, if the file is in it or below, else from the root."""
    path = os.path.abspath(name)
    relative = os.path.relpath(path, folder)
    return path if relative.startswith(os.pardir) else relative


def _series(images: Images, scan: Scan | None, what: str) -> _Series | None:
    """The template of the files of a scan; None without files. Raises InputError for files that are no series."""
    if not images.names:
        return None
    if images.in_one:
        return _Series(images.names[0], 1)
    found = [series for name in images.names if (series := _numbered(name)) is not None]
    if not found:
        why = "has no number before its ending, without which dxtbx reads no such image"
        warnings.warn(f"{what}: the name {images.names[0]!r} {why}: it is left out", stacklevel=3)
        return None
    expected = [_Series(found[0].template, found[0].first + number) for number in range(len(images.names))]
    if found != expected or len(found) != (1 if scan is None else scan.images):
        allowed = "a name for each image, numbered one after another before its ending"
        raise InputError(f"{what}: the images {images.names[0]!r} to {images.names[-1]!r} are no series; allowed: {allowed}")
    return found[0]


def _numbered(name: str) -> _Series | None:
    """The template of a name whose digits before its ending number it; None if it has none."""
    folder, base = os.path.split(name)
    match = _NUMBERED.fullmatch(base)
    if match is None:
        return None
    prefix, digits, ending = match[1], match[2], match[3] or ""
    return _Series(os.path.join(folder, prefix + "#" * len(digits) + ending), int(digits))
