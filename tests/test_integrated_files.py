"""Intensities of a refinement as a table of DIALS and as a merged MTZ: what is in them, and that their programs read it."""

import dataclasses
import re
import subprocess

import dials
import gemmi
import numpy as np
import pytest
from real_data import REAL, needs

import nbnumba
from nbnumba import Experiment, InputError
from nbnumba.amplitudes import french_wilson
from nbnumba.formats import mtz
from nbnumba.formats.expt_refined import Refined, Source, write_refined
from nbnumba.formats.geometry import lab
from nbnumba.geometry.rotations import unit
from nbnumba.integrated_files import Intensities, corrections, dials_columns, write_intensities
from nbnumba.setup.detector import polarization_axis
from nbnumba.stages.beam import polarization_factor
from nbnumba.stages.records import Intensity
from nbnumba.to_geometry import Readout, geometry_of

FLAGS = (
    "-cell 31 36.5 41 90 90 90 -misset 20 35 50 -lambda 1.2 -distance 70 -detpixels_x 487 -detpixels_y 407 -pixel 0.172 "
    "-twotheta 10 -detector_rotx 2 -detector_roty -3 -polar 0.8 -phi 3 -osc 2 -N 30 -default_F 100 -fluence 1e28 -phisteps 20 "
    "-detector_thick 450 -detector_abs 300 -thicksteps 10 -mosaic 0.1 -mosaic_domains 30 -phi_sampling mid -gauss_xtal"
)


@pytest.fixture(scope="module")
def experiment():
    return Experiment.from_args(FLAGS.split())


@pytest.fixture(scope="module")
def predictions(experiment):
    return nbnumba.predict(experiment)


def table_of(predictions, geometry, **changes):
    """Intensities of predicted reflections, whose photons are those of the prediction."""
    lp, qe = corrections(predictions.s1, predictions.panel, geometry)
    frame = (predictions.phi_deg - geometry.scan.phi_deg) / geometry.scan.width_deg
    place = np.stack([predictions.fast, predictions.slow, frame], axis=1)
    ones = np.ones(len(predictions))
    fields = {"observed": place + 0.01, "partiality": 0.5 * ones, "background": 2.0 * ones} | changes
    return Intensities(
        predictions.hkl, predictions.photons, predictions.photons + 1.0, predictions.d_A, predictions.panel, place,
        lp=lp, qe=qe, s1=predictions.s1, **fields,
    )  # fmt: skip


def geometry_of_one(experiment):
    return geometry_of(experiment, Readout(), "test")


def test_corrected_intensities_are_squares_of_amplitudes(experiment, predictions):
    """Photons of whole spots, times lp / qe: all reflections have the same F."""
    lp, qe = corrections(predictions.s1, predictions.panel, geometry_of_one(experiment))
    whole = (predictions.phi_deg > 3.5) & (predictions.phi_deg < 4.5) & (predictions.lorentz < 5.0) & ~predictions.masked
    squared = (predictions.photons * lp / qe)[whole]
    assert whole.sum() > 60 and np.ptp(lp[whole]) > 0.3 and np.ptp(qe[whole]) > 0.02
    assert squared.std() < 0.02 * squared.mean() < 0.2 * predictions.photons[whole].std()


def test_factors_are_those_of_the_image(experiment, predictions):
    """The Lorentz factor of predictions, and Kahn's factor of the kernels (F6)."""
    geometry = geometry_of_one(experiment)
    lp, qe = corrections(predictions.s1, predictions.panel, geometry)
    beam = experiment.beam
    axis = polarization_axis(experiment.detector, beam)
    record = Intensity(*(0.0 for _ in Intensity._fields))._replace(
        polarized=1.0, kahn=beam.polarization, axis_x=axis[0], axis_y=axis[1], axis_z=axis[2]
    )
    kahn = [polarization_factor(record, tuple(unit(ray)), tuple(geometry.beam_direction)) for ray in predictions.s1]
    np.testing.assert_allclose(lp * predictions.lorentz * np.array(kahn), 1.0, rtol=1e-9)
    cosine = np.abs(predictions.s1 @ geometry.panels[0].normal) * geometry.wavelength_A
    np.testing.assert_allclose(qe, 1.0 - np.exp(-1.5 / cosine), rtol=1e-9)
    still, bare = dataclasses.replace(geometry, scan=None), dataclasses.replace(geometry.panels[0], thickness_um=None)
    alone, full = corrections(predictions.s1, predictions.panel, dataclasses.replace(still, panels=(bare,)))
    np.testing.assert_allclose(alone * np.array(kahn), 1.0, rtol=1e-9)
    assert (full == 1.0).all()


_TABLE = """
import json, sys
import numpy as np
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory
experiments = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)
table = flex.reflection_table.from_file(sys.argv[2])
own = {name: np.array(table[name]) for name in table.keys()}
panel, scan = experiments[0].detector[0], experiments[0].scan
table.compute_corrections(experiments)
table.compute_zeta_multi(experiments)
table.compute_d(experiments)
mm = [panel.pixel_to_millimeter(xyz[:2]) for xyz in table["xyzcal.px"]]
on_panel = [panel.get_ray_intersection(ray) for ray in table["s1"]]
phi = [scan.get_angle_from_array_index(xyz[2], deg=False) for xyz in table["xyzcal.px"]]
print(json.dumps({
    "apart": {name: float(abs(own[name] / np.array(table[name]) - 1).max()) for name in ("lp", "qe", "d", "zeta")},
    "mm": float(abs(own["xyzcal.mm"][:, :2] - np.array(on_panel)).max()),
    "phi": float(abs(own["xyzcal.mm"][:, 2] - phi).max()),
    "flags": [table.get_flags(flag).count(True) for flag in (table.flags.integrated_prf, table.flags.integrated_sum)],
    "identifiers": dict(table.experiment_identifiers()), "columns": {k: v.tolist() for k, v in own.items()},
}))
"""


def test_a_table_is_what_dials_would_compute(tmp_path, experiment, predictions):
    """With the .expt of the experiment: its own lp, qe, zeta, d, places on the panel and angles; which rows are integrated."""
    geometry = geometry_of_one(experiment)
    variance = predictions.photons + 1.0
    variance[:3] = np.nan, 0.0, np.inf
    table = dataclasses.replace(table_of(predictions, geometry, pixels=np.arange(len(predictions))), variance=variance)
    observed = table.observed.copy()
    observed[5] = np.nan
    table = dataclasses.replace(table, observed=observed)
    nbnumba.write_expt(tmp_path / "m.expt", experiment)
    write_intensities(tmp_path / "m.refl", table, geometry, identifier="abc")
    answer = dials.answer(_TABLE, tmp_path / "m.expt", tmp_path / "m.refl")
    assert max(answer["apart"].values()) < 1e-9 and answer["mm"] < 1e-9 and answer["phi"] < 1e-9
    assert answer["flags"] == [len(table) - 3, len(table) - 3] and answer["identifiers"] == {"0": "abc"}
    seen = {name: np.array(values) for name, values in answer["columns"].items()}
    np.testing.assert_array_equal(seen["miller_index"], table.hkl)
    np.testing.assert_array_equal(seen["intensity.prf.value"][3:], table.intensity[3:])
    np.testing.assert_array_equal(seen["intensity.prf.variance"], np.where(np.arange(len(table)) < 3, 0.0, variance))
    np.testing.assert_array_equal(seen["intensity.sum.value"][3:], 0.5 * table.intensity[3:])
    np.testing.assert_array_equal(seen["num_pixels.foreground"], np.arange(len(table)))
    np.testing.assert_array_equal(lab(seen["s1"]), table.s1)
    np.testing.assert_array_equal(seen["xyzobs.px.value"][5:7], [table.calculated[5], table.observed[6]])
    nbnumba.write_predictions(tmp_path / "p.refl", predictions, experiment)
    predicted = dials.answer(
        "import json, sys; from dials.array_family import flex; t = flex.reflection_table.from_file(sys.argv[1]); "
        "print(json.dumps([list(t['entering']), list(t['xyzcal.mm'])]))",
        tmp_path / "p.refl",
    )
    np.testing.assert_array_equal(seen["entering"], predicted[0])
    np.testing.assert_allclose(seen["xyzcal.mm"], predicted[1], rtol=0, atol=1e-9)
    shown = subprocess.run(["/usr/bin/dials.show", tmp_path / "m.refl"], capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0 and re.search(r"intensity\.prf\.value +\|", shown.stdout), shown.stderr


def test_a_table_of_a_still(experiment, predictions):
    """It has no frame, no angle and no side of the Ewald sphere."""
    geometry = dataclasses.replace(geometry_of_one(experiment), scan=None)
    table = table_of(predictions, geometry_of_one(experiment))
    columns = dials_columns(table, geometry)
    assert not columns["entering"][1].any() and not columns["zeta"][1].any() and not columns["xyzcal.mm"][1][:, 2].any()
    assert (columns["xyzcal.mm"][1][:, :2] == dials_columns(table, geometry_of_one(experiment))["xyzcal.mm"][1][:, :2]).all()


def test_the_frame_of_a_table_is_that_of_its_scan(experiment, predictions):
    """The first image of a scan, from number 4 on, begins at frame 3."""
    geometry = geometry_of_one(experiment)
    later = dataclasses.replace(geometry, scan=dataclasses.replace(geometry.scan, first_image=4))
    table = table_of(predictions, geometry)
    moved = dataclasses.replace(table, calculated=table.calculated + [0.0, 0.0, 3.0])
    phis = [dials_columns(*pair)["xyzcal.mm"][1] for pair in ((table, geometry), (moved, later))]
    np.testing.assert_allclose(phis[0], phis[1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(phis[0][:, 2], np.radians(predictions.phi_deg), rtol=0, atol=1e-9)


SWEEP = REAL / "l_cysteine"


def measured_table():
    """The integrated reflections of a sweep that DIALS integrated, and the geometry of the sweep."""
    geometry = nbnumba.read_geometry(SWEEP / "sweep01.expt")
    with np.load(SWEEP / "sweep01_integrated.npz") as arrays:
        rows = {name: arrays[name][arrays["variance"] > 0.0] for name in arrays}
    place = rows["predicted_px"]
    count, towards = len(place), geometry.panels[0].positions_mm(place[:, 0], place[:, 1])
    s1 = towards / np.linalg.norm(towards, axis=1, keepdims=True) / geometry.wavelength_A
    panel, background = np.zeros(count, int), np.full(count, 0.03)
    lp, qe = corrections(s1, panel, geometry)
    return rows, geometry, Intensities(
        rows["hkl"], rows["intensity_profile"], rows["variance"], rows["d_A"], panel, place, place, lp, qe, s1,
        rows["partiality"], background,
    )  # fmt: skip


@needs(SWEEP)
def test_a_measured_sweep(tmp_path):
    """Factors within that of DIALS, which takes a plane of polarization that is not quite along the beam; merged amplitudes."""
    rows, geometry, table = measured_table()
    np.testing.assert_allclose(table.lp, rows["lp"], rtol=0, atol=0.002)
    np.testing.assert_allclose(table.qe, rows["qe"], rtol=0.001)
    write_intensities(tmp_path / "m.mtz", table, geometry, space_group="P 21 21 21")
    found = nbnumba.StructureFactors.from_mtz(tmp_path / "m.mtz")
    known = {tuple(index): value for index, value in zip(*nbnumba.read_hkl(SWEEP / "P1.hkl"))}
    pairs = np.array([(value, known[tuple(index)]) for index, value in zip(found.hkl, found.F) if tuple(index) in known])
    assert len(pairs) > 5000 and np.corrcoef(pairs.T**2)[0, 1] > 0.98


@pytest.mark.long
@needs(SWEEP)
def test_dials_scales_a_table(tmp_path):
    """With its own choice of intensities, and the .expt of a refinement: equivalents agree to 5 %."""
    dials.require()
    _, geometry, table = measured_table()
    write_refined(tmp_path / "m.expt", Source(SWEEP / "sweep01.expt"), Refined(geometry))
    write_intensities(tmp_path / "m.refl", table, geometry)
    words = ["dials.scale", "m.expt", "m.refl"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and (tmp_path / "scaled.refl").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    assert float(re.search(r"Rmerge\(I\) +([\d.]+)", done.stdout)[1]) < 0.05


def merged_table(rows, geometry):
    """Intensities of rows h, k, l, intensity and variance, whose corrections are lp = 2 and qe = 0.5 each."""
    rows = np.array(rows, dtype=float)
    ones, many = np.ones(len(rows)), np.ones((len(rows), 3))
    return Intensities(rows[:, :3], rows[:, 3], rows[:, 4], ones, 0 * ones, many, many, 2 * ones, ones / 2, many, ones, ones)


def test_a_merged_mtz(tmp_path, experiment):
    """Equivalents and Friedel mates by their weights; absences, 0 0 0 and rows without an intensity are left out."""
    geometry, path = geometry_of_one(experiment), tmp_path / "m.mtz"
    strong = [(h, k, l, 10000.0 + 50 * h + 70 * k, 4.0) for h in range(1, 5) for k in range(1, 5) for l in range(1, 5)]
    mates = [(-1, 2, -3, 100.0, 1.0), (1, -2, -3, 110.0, 4.0), (-1, -2, -3, 130.0, 4.0)]
    strong = [row for row in strong if row[:3] != (1, 2, 3)]
    lost = [(3, 0, 0, 50.0, 1.0), (0, 0, 0, 1.0, 1.0), (9, 9, 9, 5.0, np.nan), (8, 8, 8, np.nan, 1.0), (2, 0, 0, -90.0, 1.0)]
    write_intensities(path, merged_table(strong + mates + lost, geometry), geometry, space_group="P 21 21 21")
    read = gemmi.read_mtz_file(str(path))
    assert read.spacegroup.xhm() == "P 21 21 21" and read.datasets[-1].wavelength == pytest.approx(1.2, rel=1e-6)
    np.testing.assert_allclose(read.cell.parameters, (31, 36.5, 41, 90, 90, 90), rtol=1e-6)
    columns = {of.label: np.array(of) for of in read.columns}
    assert [of.type for of in read.columns] == list("HHHFQJQ") and len(read.batches) == 0 and len(columns["H"]) == 65
    assert min(columns[axis].min() for axis in "HKL") >= 0.0
    rows = {tuple(map(int, row[:3])): row[3:] for row in np.array(read)}
    weights = np.array([1.0, 0.25, 0.25])
    mean = 4.0 * (weights @ [100.0, 110.0, 130.0]) / weights.sum()
    np.testing.assert_allclose(rows[1, 2, 3][2:], [mean, 4.0 / np.sqrt(1.5)], rtol=1e-6)
    np.testing.assert_allclose(rows[4, 3, 2], [np.sqrt(4 * 10410.0), 8.0 / 2 / np.sqrt(4 * 10410.0), 41640.0, 8.0], rtol=1e-3)
    assert np.isnan(rows[2, 0, 0][:2]).all() and rows[2, 0, 0][2] == -360.0 and (3, 0, 0) not in rows
    data = mtz.read(path, "-mtz", "I")
    assert data.intensities and len(data.values) == 65
    assert len(nbnumba.StructureFactors.from_mtz(path).F) > 64


def test_the_space_group_of_the_source(tmp_path, experiment):
    """By the Hall symbol of the crystal; P 1 if it states none. Reflections are in its asymmetric unit."""
    geometry, rows = geometry_of_one(experiment), [(1, 2, 3, 100.0, 1.0), (-1, 2, -3, 110.0, 1.0), (1, -2, -4, 90.0, 1.0)]
    groups = [(" P 2ac 2ab", "P 21 21 21", 2), (" P 2", "P 1 1 2", 3), (" P 2y", "P 1 2 1", 2), (None, "P 1", 3)]
    for symbol, name, count in groups:
        own = dataclasses.replace(geometry, crystal=dataclasses.replace(geometry.crystal, space_group=symbol))
        write_intensities(tmp_path / "m.mtz", merged_table(rows, own), own)
        read = gemmi.read_mtz_file(str(tmp_path / "m.mtz"))
        assert (read.spacegroup.xhm(), read.nreflections) == (name, count)
        asymmetric_unit = gemmi.ReciprocalAsu(read.spacegroup)
        assert all(asymmetric_unit.is_in(index) for index in read.make_miller_array().tolist())


def test_uncertainties_of_amplitudes():
    """Against sums over a fine grid of J, and I / 2 F sigma for a strong reflection; amplitudes are those without them."""
    values, sigmas, expected = np.array([-2.0, 0.5, 6.0, 4e4]), np.array([1.5, 1.0, 2.0, 10.0]), np.array([3.0, 3.0, 5.0, 4e4])
    for centric in (False, True):
        flags = np.full(4, centric)
        found, spread = french_wilson.estimates(values, sigmas, expected, flags)
        np.testing.assert_array_equal(found, french_wilson.amplitudes(values, sigmas, expected, flags))
        assert spread[3] == pytest.approx(10.0 / 2.0 / 200.0, rel=1e-3)
        root = np.linspace(0.0, 6.0, 200001)[1:]
        for number in range(3):
            power = 0.0 if centric else 1.0
            exponent = -(root**2) / (2 * expected[number] if centric else expected[number])
            density = root**power * np.exp(exponent - (root**2 - values[number]) ** 2 / 2 / sigmas[number] ** 2)
            mean = (density * root).sum() / density.sum()
            assert spread[number] == pytest.approx(np.sqrt((density * (root - mean) ** 2).sum() / density.sum()), rel=1e-4)
            assert found[number] == pytest.approx(mean, rel=1e-4)
    assert np.isnan(french_wilson.estimates(np.array([-9.0]), np.ones(1), np.ones(1), np.zeros(1, bool))[1])


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("hkl", [[0.5, 0, 0]] * 2, "hkl: row 0 is no whole number; allowed: whole numbers below"),
        ("hkl", [1, 2], r"hkl: shape \(2,\) is not allowed"),
        ("panel", [0, -1], "panel: row 1 is no whole number"),
        ("panel", [0, 7], "panel: 7 is not allowed; allowed: 0 to 0"),
        ("s1", np.zeros((2, 2)), r"s1: shape \(2, 2\) is not allowed; allowed: \(2, 3\)"),
        ("lp", [1.0, np.nan], "lp: row 1 is not finite; allowed: finite numbers"),
        ("qe", [1.0], r"qe: shape \(1,\) is not allowed"),
        ("variance", "much", "variance: 'much' is not allowed; allowed: numbers"),
        ("pixels", [1.5, 1], "pixels: row 0 is no whole number"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be(tmp_path, experiment, column, value, sentence):
    geometry = geometry_of_one(experiment)
    table = merged_table([(1, 2, 3, 100.0, 1.0), (1, 2, 4, 100.0, 1.0)], geometry)
    with pytest.raises(InputError, match=sentence):
        write_intensities(tmp_path / "m.refl", dataclasses.replace(table, **{column: value}), geometry)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written(tmp_path, experiment):
    geometry = geometry_of_one(experiment)
    table = merged_table([(1, 2, 3, 100.0, 1.0)], geometry)
    for name, changes, fields, sentence in (
        ("m.hkl", {}, {}, "is no name of a table; allowed: one that ends in .refl or .mtz"),
        ("m.mtz", {}, {"space_group": "P 9"}, "'P 9' is no known space group; allowed: a name such as"),
        ("m.mtz", {"variance": [0.0]}, {}, "no intensity of 1 is left; allowed: some that"),
        ("m.mtz", {"intensity": [-1.0]}, {}, "the mean intensity is not above 0; allowed: intensities"),
    ):
        with pytest.raises(InputError, match=sentence) as refused:
            write_intensities(tmp_path / name, dataclasses.replace(table, **changes), geometry, what="--out", **fields)
        assert str(refused.value).startswith("--out: ")
    with pytest.raises(InputError, match="None are not Intensities; allowed"):
        write_intensities(tmp_path / "m.refl", None, geometry)
    with pytest.raises(InputError, match="states no crystal"):
        write_intensities(tmp_path / "m.mtz", table, dataclasses.replace(geometry, crystal=None))
    with pytest.raises(InputError, match="states no beam"):
        write_intensities(tmp_path / "m.refl", table, dataclasses.replace(geometry, beam_direction=None))
    with pytest.raises(InputError, match="states no polarization of a beam"):
        corrections(table.s1, table.panel, dataclasses.replace(geometry, polarization_fraction=None))
    assert not list(tmp_path.iterdir())
