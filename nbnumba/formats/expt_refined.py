"""Refined models written back into the list of experiments that they were refined from (.expt of dxtbx and DIALS)."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.formats import dxtbx, expt_writer, files
from nbnumba.formats.expt_writer import LABORATORY, Frame
from nbnumba.formats.geometry import Geometry, PanelGeometry, Scan, check_lattice, imgcif, lab, mean_lattice
from nbnumba.formats.json_values import Value
from nbnumba.formats.json_values import read as read_json
from nbnumba.geometry.cell import cell_of, standard_setting
from nbnumba.geometry.rotations import about_vector, unit, vector_of

SAME = 1e-12
"""Relative difference up to which a number is the one that the source states, which is then kept as it stands."""

SAME_PHI = 1e-6
"""Difference, in widths of an image, up to which an image starts where one of the source does."""

UNMOVED_MM = 1e-9
"""Corners of panels that moved less, in mm, did not move: a detector that was not refined is written as it stands."""

MOST_SWING = 3.0
"""By how much more the points of a scan may swing about smooth ones than their means would be wrong without it."""

NEGLIGIBLE = 1e-12
"""What the reciprocal vectors of an image may differ from those of its points, relatively, without a warning."""

NO_LONGER_TRUE = ("A_at_scan_points", "B_covariance", "recalculated_")
"""What the keys begin with that state, in a crystal, what a refinement makes untrue."""

PATHS = ("template", "mask", "gain", "pedestal", "dx", "dy")
"""The keys of an imageset that name files."""


class Source(NamedTuple):
    """The experiment that was refined: the name of the .expt, and which one of its list it is, from 0."""

    path: files.PathName
    experiment: int = 0


class Refined(NamedTuple):
    """What was refined of an experiment.

    geometry: beam, detector, spindle and static crystal. images (n,): the numbers of the images of the scan that have a crystal
    of their own, and vectors (n, 3, 3): real-space vectors a, b, c of these as rows, in A, at phi = 0 in the laboratory; None
    for a crystal that does not vary.
    """

    geometry: Geometry
    images: Any = None
    vectors: Any = None


def write_refined(path: files.PathName, source: Source, refined: Refined, what: str = "write_refined") -> None:
    """Write the content of the source with the models of its experiment replaced by the refined ones (specs/formats.md).

    Everything else stays as it is: images, scan, profile, identifiers and the other experiments, which keep the old models
    where they shared one. Names of files are those of the same files, from the folder of the new list. Warns where the crystals
    of images vary so that no points of a scan hold them. Raises InputError for a source that is no ExperimentList or lacks the
    experiment, and for a geometry or crystals of images that do not fit it.
    """
    write_several(path, source.path, {source.experiment: refined}, what)


def write_several(
    path: files.PathName, source: files.PathName, refined: Mapping[int, Refined], what: str = "write_several"
) -> None:
    """Write the content of a list with the models of several of its experiments, by their numbers, replaced by refined ones.

    As write_refined, of which this is the whole; models that are equal are written once.
    """
    text = json.dumps(content(path, source, refined, what), indent=2)
    with files.replacing(path, what) as stream:
        stream.write((text + "\n").encode("ascii"))


def content(path: files.PathName, source: files.PathName, refined: Mapping[int, Refined], what: str) -> dict[str, Any]:
    """The object that write_several() writes."""
    listed = read_json(source, what, dxtbx.EXPECTED)
    if not isinstance(listed.value, dict) or listed.value.get("__id__") != "ExperimentList":
        raise InputError(f"{listed.name} is no ExperimentList, and holds no refined models; allowed: {dxtbx.EXPECTED}")
    for number, one in refined.items():
        _replace_models(listed, files.name_of(source, what), number, one)
    folders = (os.path.dirname(os.path.abspath(os.fspath(name))) for name in (source, path))
    _move_names(listed.value, *folders)
    return listed.value


def _replace_models(listed: Value, name: str, number: int, refined: Refined) -> None:
    """Replace the models of an experiment of a list by refined ones."""
    before = dxtbx.geometry_of(listed, name, number, frozenset(["wavelength"]))
    geometry = refined.geometry
    _check(before, geometry, listed.name)
    chosen = listed.get("experiment").at(number)
    beam, detector, goniometer, crystal = (
        dxtbx.model_of(listed, chosen, kind) for kind in ("beam", "detector", "goniometer", "crystal")
    )
    turn, _ = dxtbx.goniometer_of(goniometer, before.scan)
    models = {
        "beam": _beam(beam.value, before, geometry),
        "detector": _detector(detector, before, geometry),
        "goniometer": _goniometer(goniometer, before, geometry),
        "crystal": _crystal(crystal.value, geometry, turn, _points(before, refined, listed.name)),
    }
    for kind, model in models.items():
        if model is not None:
            _replace(listed.value, number, kind, model)


def _check(before: Geometry, geometry: Geometry, name: str) -> None:
    """Raise InputError unless a refined geometry has the panels and the kind of rotation of its source."""
    old, new = ([panel.shape for panel in of.panels] for of in (before, geometry))
    if before.panels and old != new:
        raise InputError(
            f"{name}: its {len(old)} panels are not the {len(new)} refined ones; allowed: panels of the same pixels"
        )
    if (before.scan is None) != (geometry.scan is None):
        kinds = ["a rotation" if of.scan is not None else "a still" for of in (before, geometry)]
        raise InputError(f"{name} states {kinds[0]}, and refined is {kinds[1]}; allowed: the rotation of the source")
    if before.scan is not None and geometry.scan is not None:
        image = _image_at(before.scan, geometry.scan.phi_deg)
        steps = (geometry.scan.phi_deg - before.scan.phi_of(image)) / before.scan.width_deg
        widths = geometry.scan.width_deg / before.scan.width_deg
        if max(abs(steps), abs(widths - 1.0)) > SAME_PHI or not before.scan.has(image):
            stated = f"a start at {geometry.scan.phi_deg:.10g} and a width of {geometry.scan.width_deg:.10g} degrees"
            raise InputError(f"{name} has no image with {stated}; allowed: goniometer.phi_deg and osc_deg of its images")


def _image_at(scan: Scan, phi_deg: float) -> int:
    """The number of the image that starts nearest to an angle."""
    return scan.first_image + round((phi_deg - scan.phi_deg) / scan.width_deg)


def _replace(listed: dict[str, Any], number: int, kind: str, model: dict[str, Any]) -> None:
    """Give an experiment of a list a model: in place of its own, or beside it if other experiments share that one."""
    if not isinstance(listed.get(kind), list):
        listed[kind] = []
    experiments, models = listed["experiment"], listed[kind]
    index = experiments[number].get(kind)
    others = (other.get(kind) for place, other in enumerate(experiments) if place != number and isinstance(other, dict))
    if model in models:
        experiments[number][kind] = models.index(model)
    elif index is None or index in others:
        experiments[number][kind] = len(models)
        models.append(model)
    else:
        models[int(index)] = model


def _move_names(listed: dict[str, Any], old_folder: str, new_folder: str) -> None:
    """Name the files of all imagesets, which are relative to the folder of a list, from another folder."""

    def moved(name: Any) -> Any:
        if not isinstance(name, str) or not name or os.path.isabs(name) or name.startswith("~") or "$" in name:
            return name
        return expt_writer.placed_name(os.path.join(old_folder, name), new_folder)

    if os.path.realpath(old_folder) == os.path.realpath(new_folder):
        return
    for imageset in listed.get("imageset") or ():
        if isinstance(imageset, dict):
            imageset |= {key: moved(imageset[key]) for key in PATHS if key in imageset}
            if isinstance(imageset.get("images"), list):
                imageset["images"] = [moved(name) for name in imageset["images"]]


def _is_same(new: Any, old: Any, size: float = 0.0) -> bool:
    """Whether numbers are those of the source, to SAME of the larger of their size and `size`."""
    return old is not None and bool(np.allclose(new, old, rtol=SAME, atol=SAME * size))


# ------------------------------------------------------------------------------------------------ beam and detector


def _beam(beam: dict[str, Any] | None, before: Geometry, geometry: Geometry) -> dict[str, Any]:
    """The beam, which no longer varies within the scan."""
    written = expt_writer.beam_of(geometry)
    if beam is None:
        return written
    moved = {key: value for key, value in beam.items() if key != "s0_at_scan_points"}
    moved["direction"] = written["direction"]
    if not _is_same(geometry.wavelength_A, before.wavelength_A):
        moved |= _wavelength(beam, before.wavelength_A, geometry.wavelength_A)
    fraction = geometry.polarization_fraction
    if fraction is not None and not _is_same(fraction, before.polarization_fraction):
        moved["polarization_fraction"] = fraction
    if geometry.polarization_axis is not None and "polarization_normal" in beam:
        electric = np.cross(lab(beam["polarization_normal"]), geometry.beam_direction)
        if not _is_same(geometry.polarization_axis, unit(electric), 1.0):
            moved["polarization_normal"] = written["polarization_normal"]
    return moved


def _wavelength(beam: dict[str, Any], old: float, new: float) -> dict[str, Any]:
    """The new wavelength of a beam, or both ends of its band times new / old."""
    if beam.get("wavelength") is not None:
        return {"wavelength": new}
    return {"wavelength_range": [end * new / old for end in beam["wavelength_range"]]}


def _detector(detector: Value, before: Geometry, geometry: Geometry) -> dict[str, Any]:
    """The detector in the hierarchy that it had, whose groups move with their panels."""
    if not detector:
        return expt_writer.detector_of(geometry)
    moved = copy.deepcopy(detector.value)
    if all(_is_same(_corners(new), _corners(old), UNMOVED_MM / SAME) for old, new in zip(before.panels, geometry.panels)):
        for panel, old, new in zip(moved["panels"], before.panels, geometry.panels):
            _set_pixels(panel, old, new)
        return moved
    frames, tree = [LABORATORY] * len(moved["panels"]), moved.get("hierarchy")
    if tree and (len(moved["panels"]) > 1 or tree.get("children")):
        corners = np.array([_corners(of) for of in before.panels]), np.array([_corners(of) for of in geometry.panels])
        _move_group(tree, LABORATORY, LABORATORY, corners, frames)
    for panel, frame, old, new in zip(moved["panels"], frames, before.panels, geometry.panels):
        panel |= frame.pose(imgcif(new.origin_mm), imgcif(new.fast_axis), imgcif(new.slow_axis))
        _set_pixels(panel, old, new)
    return moved


def _corners(panel: PanelGeometry) -> np.ndarray:
    """Three corners of a panel (3, 3), in mm, in the frame of dxtbx."""
    slow, fast = panel.shape
    return imgcif(panel.positions_mm([0, fast, 0], [0, 0, slow]))


def _move_group(group: dict[str, Any], old_above: Frame, above: Frame, corners: tuple, frames: list[Frame]) -> None:
    """Move a group of the hierarchy, and those within it, as its panels moved in the mean.

    old_above, above: the frame of the group above before and after. corners: those of all panels (panels, 3, 3) before and
    after. frames: receives the frame of the group of each panel.
    """
    numbers = _panels_below(group)
    if not numbers:
        return
    old = Frame(*dxtbx.placed(Value(group, "detector"), *old_above))
    rotation, shift = _motion(*(points[numbers].reshape(-1, 3) for points in corners))
    new = Frame(rotation @ old.origin + shift, old.axes @ rotation.T)
    group |= above.pose(new.origin, *new.axes[:2])
    for child in group["children"]:
        if child.get("panel") is not None:
            frames[int(child["panel"])] = new
        else:
            _move_group(child, old, new, corners, frames)


def _panels_below(group: dict[str, Any]) -> list[int]:
    """The numbers of the panels of a group and of those within it."""
    if group.get("panel") is not None:
        return [int(group["panel"])]
    return [number for child in group.get("children") or () for number in _panels_below(child)]


def _motion(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation and the shift that take points (n, 3) to others with the least sum of squared distances (Kabsch)."""
    centres = old.mean(axis=0), new.mean(axis=0)
    left, _, right = np.linalg.svd((new - centres[1]).T @ (old - centres[0]))
    left[:, 2] *= math.copysign(1.0, np.linalg.det(left @ right))
    rotation = left @ right
    return rotation, centres[1] - rotation @ centres[0]


def _set_pixels(panel: dict[str, Any], old: PanelGeometry, new: PanelGeometry) -> None:
    """State the edges of the pixels of a panel and its sensor where they are not those of the source."""
    edges = (new.pixel_fast_mm, new.pixel_slow_mm)
    if not _is_same(edges, (old.pixel_fast_mm, old.pixel_slow_mm)):
        panel["pixel_size"] = list(edges)
    strategy = panel.get("px_mm_strategy") or {}
    if new.thickness_um is not None and old.thickness_um is not None and not _is_same(new.thickness_um, old.thickness_um):
        panel["thickness"] = new.thickness_um / 1000.0
        strategy |= {"t0": panel["thickness"]} if strategy.get("t0") is not None else {}
    depths = new.attenuation_um, old.attenuation_um
    if None not in depths and not _is_same(*depths):
        panel["mu"] = 1000.0 / new.attenuation_um
        strategy |= {"mu": panel["mu"]} if strategy.get("mu") is not None else {}


# ------------------------------------------------------------------------------------------------ goniometer and crystal


def _goniometer(goniometer: Value, before: Geometry, geometry: Geometry) -> dict[str, Any] | None:
    """The goniometer with the axis of the spindle that was refined; None where nothing is to be replaced."""
    if geometry.scan is None or before.scan is None:
        return None
    if not goniometer:
        return expt_writer.goniometer_of(geometry)
    image = _image_at(before.scan, geometry.scan.phi_deg)
    if _is_same(geometry.spindle_axis, before.at_image(image).spindle_axis, 1.0):
        return None
    if before.spindle_at_points is not None:
        allowed = "the spindle of the source, which varies within the scan"
        raise InputError(f"{goniometer.name}: {goniometer.path}: goniometer.spindle_axis was refined; allowed: {allowed}")
    moved = copy.deepcopy(goniometer.value)
    axis = expt_writer.numbers(dxtbx.rotations_of(goniometer)[2].T @ imgcif(geometry.spindle_axis))
    if moved.get("axes"):
        moved["axes"][int(moved["scan_axis"])] = axis
    else:
        moved["rotation_axis"] = axis
    return moved


def _crystal(crystal: dict[str, Any] | None, geometry: Geometry, turn: np.ndarray, points: np.ndarray | None) -> Any:
    """The crystal, with matrices at the points of the scan if it varies; None where nothing is to be replaced.

    turn (1 or points, 3, 3): the rotation of the goniometer at phi = 0. points (points, 3, 3): lattices at phi = 0.
    """
    if geometry.crystal is None:
        return None
    datum = lab(imgcif(geometry.crystal.vectors) @ turn[0])
    written = expt_writer.crystal_of(dataclasses.replace(geometry.crystal, vectors=datum))
    kept = {key: value for key, value in (crystal or written).items() if not key.startswith(NO_LONGER_TRUE)}
    kept |= {key: written[key] for key in written if key.startswith("real_space_")}
    if points is not None:
        kept["A_at_scan_points"] = np.linalg.inv(imgcif(points) @ turn).reshape(-1, 9).tolist()
    return kept


def _points(before: Geometry, refined: Refined, name: str) -> np.ndarray | None:
    """The lattices (images + 1, 3, 3) at the start of every image and at the end of the last; None for a static crystal.

    The crystals of images belong to their middles. They differ from the source by a rotation and a change of the cell, which
    are linear between middles and for half an image beyond the first and the last, and the same for all images farther out.
    Then the points of consecutive images are moved so that the mean of the reciprocal vectors at both ends of an image, which
    is what at_image() takes for it, is its crystal (_through_middles).
    """
    if refined.images is None:
        return None
    index, vectors = _crystals_of_images(before, refined, name)
    scan, crystal = before.scan, before.crystal or refined.geometry.crystal
    old = crystal.at_points if crystal.at_points is not None else np.broadcast_to(crystal.vectors, (scan.images + 1, 3, 3))
    middles = np.array([mean_lattice(old[number : number + 2]) for number in index])
    turns, strains = zip(*(_change(*pair, name) for pair in zip(middles, vectors)))
    bends = np.array([vector_of(turn @ turns[0].T) for turn in turns])
    edges = np.clip(np.arange(scan.images + 1.0), index[0], index[-1] + 1.0)
    bends, strains = (_linear(edges, index + 0.5, values) for values in (bends, np.array(strains)))
    new = [strain @ own @ (about_vector(bend) @ turns[0]).T for strain, own, bend in zip(strains, old, bends)]
    return _through_middles(np.array(new), index, vectors, name)


def _crystals_of_images(before: Geometry, refined: Refined, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The places (n,) in the scan of images that have a crystal of their own, in rising order, and their vectors (n, 3, 3)."""
    images, vectors = np.asarray(refined.images), np.asarray(refined.vectors, dtype=np.float64)
    if before.scan is None:
        raise InputError(f"{name} is a still, and has no images of a scan; allowed: the static crystal of the geometry")
    if images.ndim != 1 or not images.size or vectors.shape != (len(images), 3, 3):
        shapes = f"images of shape {images.shape} and vectors of shape {vectors.shape}"
        raise InputError(f"{name}: {shapes} are not allowed; allowed: one lattice (3, 3) for each of some images")
    order = np.argsort(images, kind="stable")
    images, vectors = images[order], vectors[order]
    for number, (image, lattice) in enumerate(zip(images.tolist(), vectors)):
        if image != int(image) or not before.scan.has(int(image)) or (number and image == images[number - 1]):
            raise InputError(f"{name}: image {shown(image)} is not allowed; allowed: each of {before.scan.image_numbers} once")
        if not np.isfinite(lattice).all():
            raise InputError(f"{name}: the crystal of image {image} is not finite; allowed: three vectors that span a cell")
        check_lattice(lattice, f"{name}: the crystal of image {image}")
    return images.astype(np.int64) - before.scan.first_image, vectors


def _change(old: np.ndarray, new: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The rotation R and the change of the cell E by which a lattice becomes another: new = E old R^T, vectors as rows."""
    standard = [standard_setting(*cell_of(vectors)) for vectors in (old, new)]
    turn = (np.linalg.inv(standard[1]) @ new).T @ (np.linalg.inv(standard[0]) @ old)
    if np.linalg.det(turn) < 0.0:
        raise InputError(f"{name}: a refined crystal is the mirror image of that of the source; allowed: the same hand")
    return turn, standard[1] @ np.linalg.inv(standard[0])


def _linear(places: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n, ...) at rising knots, at other places by straight lines, of which the first and the last go on."""
    if len(knots) == 1:
        return np.broadcast_to(values, (len(places), *values.shape[1:]))
    left = np.clip(np.searchsorted(knots, places) - 1, 0, len(knots) - 2)
    share = (places - knots[left]) / (knots[left + 1] - knots[left])
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1.0 - share) * values[left] + share * values[left + 1]


def _through_middles(points: np.ndarray, index: np.ndarray, vectors: np.ndarray, name: str) -> np.ndarray:
    """Lattices at points that are moved so that their means are those of images at the places index. Warns where none are.

    With reciprocal vectors P at the points of a run of images, and those of the images M, the corrections D are the solution of
    D[k] + D[k + 1] = 2 M[k] - P[k] - P[k + 1] with the least sum of squares. Where crystals vary at random from image to image
    this solution swings from point to point by far more than they vary, and the points of the run stay as they are.
    """
    moved, wanted, lost = np.linalg.inv(points), np.linalg.inv(vectors), np.zeros(2)
    for run in np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) > 1) + 1):
        own = slice(index[run[0]], index[run[-1]] + 2)
        missing = wanted[run] - (moved[own][:-1] + moved[own][1:]) / 2.0
        signs = (-1.0) ** np.arange(len(run) + 1)[:, np.newaxis, np.newaxis]
        swing = np.concatenate([np.zeros((1, 3, 3)), np.cumsum(-2.0 * signs[:-1] * missing, axis=0)])
        correction = signs * (swing - swing.mean(axis=0))
        if _largest(correction) <= MOST_SWING * _largest(missing):
            moved[own] += correction
        else:
            relative = missing @ np.linalg.inv(wanted[run])
            parts = (relative + np.swapaxes(relative, 1, 2)) / 2.0, (relative - np.swapaxes(relative, 1, 2)) / 2.0
            lost = np.maximum(lost, [np.abs(part).max() for part in parts])
    if lost.max() > NEGLIGIBLE:
        held = f"the orientations of images to {math.degrees(lost[1]):.2g} degrees and their cells to {lost[0]:.2g} of them"
        warnings.warn(f"{name}: crystals vary from image to image, and points of a scan hold {held}", stacklevel=4)
    return np.linalg.inv(moved)


def _largest(matrices: np.ndarray) -> float:
    """The largest size of matrices (n, 3, 3)."""
    return float(np.sqrt((matrices**2).sum(axis=(1, 2))).max())
