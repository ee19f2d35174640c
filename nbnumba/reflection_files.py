"""Files of reflections: predictions as text or as a table of DIALS, and maps of reflections (F14, F15)."""

from __future__ import annotations

import os

import numpy as np

from nbnumba.errors import InputError, shown
from nbnumba.experiment import Experiment
from nbnumba.formats import arrays, columns, endings, refl
from nbnumba.hkl_maps import HklMap
from nbnumba.positions import in_frame
from nbnumba.predictions import Predictions
from nbnumba.setup import orientations
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.view import View, view_of
from nbnumba.simulate import with_options
from nbnumba.spots.ewald import turned
from nbnumba.spots.rays import pixel_edges, places

PREDICTED = 1
"""The flag by which DIALS knows a predicted reflection."""

Path = str | os.PathLike[str]


def write_predictions(path: Path, predictions: Predictions, experiment: Experiment, what: str = "write_predictions") -> None:
    """Write predictions of an experiment: as a reflection table of DIALS if the name ends in .refl, else as text (CSV).

    Raises InputError for what are no Predictions, and for a file that cannot be written.
    """
    experiment = with_options(experiment)
    if not isinstance(predictions, Predictions):
        raise InputError(f"predictions: {shown(predictions)} are not Predictions; allowed: what nbnumba.predict returns")
    if endings.format_of(os.fspath(path)) == endings.REFLECTIONS_OF_DIALS:
        refl.write_refl(path, dials_columns(predictions, experiment), what)
    else:
        columns.write_csv(path, text_columns(predictions), what)


def write_hkl_map(path: Path, hkl_map: HklMap, what: str = "write_hkl_map") -> None:
    """Write a map of reflections as NumPy's .npz: hkl, share, photons and crystal, of which share and photons are float32.

    Of panels of different shapes these are hkl_0, hkl_1 and on, likewise the others.

    Raises InputError for what is no HklMap, and for a file that cannot be written.
    """
    if not isinstance(hkl_map, HklMap):
        raise InputError(f"hkl_map: {shown(hkl_map)} is not an HklMap; allowed: what nbnumba.hkl_map returns")
    named: dict[str, np.ndarray] = {}
    for name, kind in (("hkl", np.int32), ("share", np.float32), ("photons", np.float32), ("crystal", np.int32)):
        values = getattr(hkl_map, name)
        parts = {f"{name}_{number}": part for number, part in enumerate(values)} if isinstance(values, list) else {name: values}
        named |= {part: value.astype(kind) for part, value in parts.items()}
    arrays.write(path, named, what)


def text_columns(predictions: Predictions) -> dict[str, np.ndarray]:
    """The columns of a text, one for each number: h, k, l and all columns of Predictions but s1."""
    of_table = predictions.columns()
    hkl = dict(zip("hkl", predictions.hkl.T))
    rest = {name: column for name, column in of_table.items() if name not in ("hkl", "s1")}
    return hkl | rest | {"masked": predictions.masked.astype(np.int8)}


def _starts(predictions: Predictions, experiment: Experiment) -> np.ndarray:
    """Where the rays of predictions begin (n, 3), in m: where phi takes their crystal (F7e)."""
    positions = np.array([crystal.position_mm for crystal in experiment.crystals])[predictions.crystal] / 1000.0
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    return turned(positions, spindle, np.radians(predictions.phi_deg))


def _pixels_in_sensor(view: View, predictions: Predictions, place: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The places (n, 2) in pixels at the depth in which dxtbx takes photons to be absorbed; place (n, 2): at the front.

    starts (n, 3): where rays begin, in m.

    Along the ray that depth is 1 / mu - (t + 1 / mu) exp(-mu t), in a sensor of the thickness t along the ray and the
    absorption mu: dxtbx's ParallaxCorrectedPxMmStrategy (specs/formats.md, Geometry for dxtbx and DIALS).
    """
    seen = place.copy()
    for number, (panel, shape, layers) in enumerate(zip(view.panels, view.shapes, view.layers)):
        rows = np.flatnonzero(predictions.panel == number)
        if not panel.sensor or panel.curved or not len(rows):
            continue
        directions = predictions.s1[rows] / np.linalg.norm(predictions.s1[rows], axis=1, keepdims=True)
        obliquity = directions @ np.array([panel.normal_x, panel.normal_y, panel.normal_z])
        path, mean_path = panel.layer * layers / obliquity, 1.0 / panel.absorption
        depth = mean_path - (path + mean_path) * np.exp(-path / mean_path)
        seen[rows] = places(panel, directions, shape, depth * obliquity, starts[rows])
    return seen


def dials_columns(predictions: Predictions, experiment: Experiment) -> dict[str, tuple[str, np.ndarray]]:
    """The columns of a reflection table of DIALS, by their names, each with its type there.

    Rays are in imgCIF's frame, angles in radian. The number of the frame is 0 at the start of the rotation and 1 at its end.
    Pixels are those in which DIALS looks for a spot, deeper in the sensor than the place at its front, which is in mm.
    """
    view, number = view_of(experiment), len(predictions)
    edges = np.array([pixel_edges(panel) for panel in view.panels])[predictions.panel] * 1000.0
    place = np.stack([predictions.fast, predictions.slow], axis=1)
    seen = _pixels_in_sensor(view, predictions, place, _starts(predictions, experiment))
    osc_deg = orientations.phi_steps(experiment.goniometer)[2]
    start = experiment.goniometer.phi_deg
    frame = (predictions.phi_deg - start) / osc_deg if osc_deg > 0.0 else np.zeros(number)
    phi = np.radians(predictions.phi_deg) if osc_deg > 0.0 else np.zeros(number)
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    entering = predictions.s1 @ np.cross(view.direction, spindle) < 0.0
    return {
        "miller_index": ("cctbx::miller::index<>", predictions.hkl),
        "id": ("int", predictions.crystal),
        "panel": ("std::size_t", predictions.panel),
        "flags": ("std::size_t", np.full(number, PREDICTED)),
        "entering": ("bool", entering if osc_deg > 0.0 else np.zeros(number)),
        "s1": ("vec3<double>", in_frame(predictions.s1, "dxtbx")),
        "xyzcal.mm": ("vec3<double>", np.column_stack([place * edges, phi])),
        "xyzcal.px": ("vec3<double>", np.column_stack([seen, frame])),
        "delpsical.rad": ("double", np.radians(predictions.delta_psi_deg)),
        "d": ("double", predictions.d_A),
        "photons": ("double", predictions.photons),
        "excitation": ("double", predictions.excitation),
        "centre.px": ("vec2<double>", np.stack([predictions.centre_fast, predictions.centre_slow], axis=1)),
        "width.px": ("vec2<double>", np.stack([predictions.width_fast, predictions.width_slow], axis=1)),
        "masked": ("bool", predictions.masked),
    }
