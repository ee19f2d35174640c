"""Predictions of rotations and stills against those of DIALS, for turned detectors, any spindle and any beam."""

import dials
import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, predict
from nbnumba.positions import in_frame
from nbnumba.reflection_files import dials_columns
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import spindle_axis
from nbnumba.setup.view import view_of

BASE = "-cell 50 60 70 80 85 95 -misset 11 20 30 -default_F 100 -N 60 -lambda 1.3 -distance 120 -detpixels_x 300 "
BASE += "-detpixels_y 250 -pixel 0.8 -oversample 1 "
TURNED = "-detector_rotx 4 -detector_roty -7 -detector_rotz 3 -twotheta 15 "
SENSOR = "-detector_thick 1200 -detector_abs 500 -detector_thicksteps 3 "
"""A sensor in which spots of oblique rays lie up to a pixel deeper than at its front."""

CUSTOM = "-spindle_axis 0.3 0.2 1 -beam_vector 1 0.03 -0.05 "

PREDICT = """
import json, sys
from dials.array_family import flex
from dials.algorithms.spot_prediction import ScanStaticReflectionPredictor, StillsReflectionPredictor
from dxtbx.model import Beam, Crystal, Experiment, Detector, Goniometer, Panel, Scan
from scitbx import matrix

given = json.load(sys.stdin)
detector = Detector()
panel = detector.add_panel()
panel.set_frame(given["fast"], given["slow"], given["origin"])
panel.set_pixel_size((given["pixel"], given["pixel"]))
panel.set_image_size(given["size"])
panel.set_trusted_range((-1, 1e9))
if given["mu"] > 0:
    from dxtbx.model import ParallaxCorrectedPxMmStrategy
    panel.set_mu(given["mu"])
    panel.set_thickness(given["thickness"])
    panel.set_px_mm_strategy(ParallaxCorrectedPxMmStrategy(given["mu"], given["thickness"]))
beam = Beam(matrix.col(given["s0"]))
crystal = Crystal(*given["abc"], space_group_symbol="P1")
if given["osc"] > 0:
    scan = Scan((1, 1), (given["phi"], given["osc"]), deg=True)
    model = Experiment(beam=beam, detector=detector, goniometer=Goniometer(given["axis"]), scan=scan, crystal=crystal)
    table = ScanStaticReflectionPredictor(model, dmin=given["dmin"]).for_ub(matrix.sqr(crystal.get_A()))
else:
    model = Experiment(beam=beam, detector=detector, crystal=crystal)
    table = StillsReflectionPredictor(model, dmin=given["dmin"]).for_ub(matrix.sqr(crystal.get_A()))
names = ("miller_index", "xyzcal.px", "xyzcal.mm", "s1", "entering", "delpsical.rad")
print(json.dumps({n: [list(x) if hasattr(x, "__iter__") else x for x in table[n]] for n in names if n in table}))
"""


def of_dials(experiment, finest):
    """DIALS' predictions of an experiment, by column."""
    origin, along_fast, along_slow = nbnumba.pixel_positions(experiment, [[0, 0, 0], [0, 1, 0], [0, 0, 1]], frame="dxtbx")
    view, pixel = view_of(experiment), experiment.detector.pixel_mm
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    given = {
        "origin": origin, "fast": (along_fast - origin) / pixel, "slow": (along_slow - origin) / pixel, "pixel": pixel,
        "size": experiment.detector.pixels, "s0": in_frame(view.direction, "dxtbx") / view.wavelength,
        "abc": in_frame(orient(experiment.crystal), "dxtbx"), "axis": in_frame(spindle, "dxtbx"), "dmin": finest,
        "phi": experiment.goniometer.phi_deg, "osc": experiment.value("goniometer.osc_deg"),
        "thickness": experiment.detector.thickness_um / 1000.0,
        "mu": 1000.0 / experiment.detector.attenuation_um if experiment.detector.thickness_um else 0.0,
    }  # fmt: skip
    answer = dials.answer(PREDICT, given={name: np.asarray(value).tolist() for name, value in given.items()})
    return {name: np.array(column) for name, column in answer.items()}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("frame", ["", TURNED, "-xds " + TURNED, CUSTOM + TURNED, SENSOR + TURNED, SENSOR + CUSTOM])
def test_rotations(frame):
    experiment = Experiment.from_args(BASE + frame + "-phi 35 -osc 6 -phisteps 400")
    table, theirs = predict(experiment, d_min_A=2.2), of_dials(experiment, 2.2)
    within = 1.0 / np.linalg.norm(theirs["miller_index"] @ np.linalg.inv(orient(experiment.crystal)).T, axis=1) >= 2.2
    theirs = {name: column[within] for name, column in theirs.items()}  # DIALS lists some that are finer
    ours = table[(table.phi_deg >= 35.0) & (table.phi_deg < 41.0) & (table.delta_psi_deg == 0.0)]
    assert len(theirs["miller_index"]) > 200
    keys = [(*hkl, int(entering)) for hkl, entering in zip(theirs["miller_index"].tolist(), theirs["entering"])]
    columns = dials_columns(ours, experiment)
    rows = {(*hkl, int(sense)): row for row, (hkl, sense) in enumerate(zip(ours.hkl.tolist(), columns["entering"][1]))}
    assert set(keys) == set(rows)
    order = [rows[key] for key in keys]
    deeper = np.abs(columns["xyzcal.px"][1][:, :2] * experiment.detector.pixel_mm - columns["xyzcal.mm"][1][:, :2]).max()
    assert (deeper > 0.1) == (SENSOR in frame)
    np.testing.assert_allclose(columns["xyzcal.px"][1][order][:, :2], theirs["xyzcal.px"][:, :2], atol=1e-7)
    np.testing.assert_allclose(columns["xyzcal.mm"][1][order], theirs["xyzcal.mm"], atol=1e-7)
    np.testing.assert_allclose(columns["s1"][1][order], theirs["s1"], atol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_stills():
    experiment = Experiment.from_args(BASE + CUSTOM + TURNED)
    theirs = of_dials(experiment, 4.0)
    table = predict(experiment, theirs["miller_index"])
    rows = {tuple(hkl): row for row, hkl in enumerate(table.hkl.tolist())}
    assert len(table) == len(theirs["miller_index"]) > 10
    order = [rows[tuple(hkl)] for hkl in theirs["miller_index"].tolist()]
    np.testing.assert_allclose(np.stack([table.fast, table.slow], axis=1)[order], theirs["xyzcal.px"][:, :2], atol=1e-7)
    np.testing.assert_allclose(np.radians(table.delta_psi_deg[order]), theirs["delpsical.rad"], atol=1e-9)
