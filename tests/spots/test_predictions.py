"""Predictions: against images of single reflections, the geometry of DIALS, Darwin's formula, and a search by brute force."""

import dataclasses
import math

import numpy as np
import pytest
from random_experiments import Maker
from real_data import CSPAD, needs

import nbnumba
from nbnumba import Experiment, Group, InputError, Panel, StructureFactors, predict
from nbnumba.constants import R_E_SQR_M2
from nbnumba.geometry.rotations import about_axis
from nbnumba.setup.view import view_of

PIXELS, AROUND = 2000, 90
CELL = "-cell 50 60 70 80 85 95 -misset 11 20 30 -default_F 100 -fluence 1e28 "
FINE = CELL + f"-distance 300 -twotheta 25 -detpixels {PIXELS} -pixel .04 -Na 40 -Nb 52 -Nc 20 -oversample 1 "
COARSE = CELL + "-distance 100 -detpixels 200 -pixel 0.4 -N 20 "
SPREADS = [
    "",
    "-osc 0.6 -phisteps 120 ",
    "-mosaic 0.5 -mosaic_domains 200 ",
    "-dispersion 0.5 -dispsteps 21 -hdivrange 4 -hdivsteps 9 -vdivrange 2 -vdivsteps 5 ",
    "-osc 0.6 -phisteps 60 -detector_thick 300 -detector_abs 200 -detector_thicksteps 5 -polar 0.8 -curved_det ",
    "-osc 0.6 -phi 70 -phisteps 60 -xtal_position 30 -20 8 -detector_thick 300 -detector_abs 200 -polar 0.8 ",
    "-cell_spread 0.004 0.002 0.003 -mosaic_domains 200 -mosaic_sampling sobol ",
]
SHAPES = {"-gauss_xtal": 0.003, "-round_xtal": 0.01, "-tophat_spots": 0.1, "-square_xtal": 0.015}
"""By how much of the photons of a spot a prediction may be off."""


def alone(experiment, hkl):
    """The same experiment with one reflection of 100 electrons, and no other."""
    return dataclasses.replace(experiment, structure_factors=StructureFactors(hkl=[hkl], F=[100.0], interpolate=False))


def within(table, border, pixels):
    """The rows whose spots are far from the edges of a detector."""
    return table[(np.abs(np.stack([table.fast, table.slow]) - pixels / 2) < pixels / 2 - border).all(axis=0)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_photons_centre_and_width_are_those_of_an_image(shape, spread):
    experiment = Experiment.from_args(FINE + shape + " " + spread)
    table = within(predict(experiment), AROUND + 10, PIXELS)
    assert len(table) >= 4
    slow, fast = np.mgrid[0:PIXELS, 0:PIXELS] + 0.5
    for row in np.argsort(-table.photons)[:3]:
        left, top = int(table.centre_fast[row]) - AROUND, int(table.centre_slow[row]) - AROUND
        region = left, left + 2 * AROUND, top, top + 2 * AROUND
        image = nbnumba.simulate(alone(experiment, table.hkl[row]), roi=region)
        total, places = image.sum(), (fast, slow)
        assert table.photons[row] == pytest.approx(total, rel=SHAPES[shape])
        if shape == "-gauss_xtal":
            centre = [float((image * place).sum() / total) for place in places]
            width = [math.sqrt(float((image * (p - c) ** 2).sum() / total) * 8 * math.log(2)) for p, c in zip(places, centre)]
            assert (table.centre_fast[row], table.centre_slow[row]) == pytest.approx(centre, abs=0.02)
            assert (table.width_fast[row], table.width_slow[row]) == pytest.approx(width, rel=0.02)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "spread",
    [
        *("", "-mosaic 0.4 -mosaic_domains 30", "-dispersion 2 -dispsteps 21", "-osc 1 -phisteps 60"),
        *("-cell_spread 0.02 0.03 0.01 -mosaic_domains 30", "-xtal_position 9 -20 8 -phi 7"),
    ],
)
@pytest.mark.parametrize("shape", ["-gauss_xtal", "-square_xtal"])
def test_all_spots_are_listed(shape, spread):
    """Hardly anything is left of an image without the reflections of the table, beside 000 and spots across the edges."""
    experiment = Experiment.from_args(COARSE + shape + " -twotheta 35 -oversample 3 " + spread)
    table = predict(experiment, least_excitation=1e-4 if shape == "-square_xtal" else 0.01)
    dark = np.unique(np.concatenate([table.hkl, [[0, 0, 0]]]), axis=0)
    factors = StructureFactors(hkl=dark, F=np.zeros(len(dark)), default_F=100.0, interpolate=False)
    image, left = nbnumba.simulate(experiment), nbnumba.simulate(dataclasses.replace(experiment, structure_factors=factors))
    assert left[8:-8, 8:-8].sum() < 0.01 * image.sum()


def brute_force_meetings(star, spindle, incident, wavelength, hkl):
    """The angles in 0 .. 360 at which a reflection meets the sphere, by signs on a fine grid and bisection."""

    def distance(degrees):
        q = about_axis(spindle, math.radians(degrees)) @ (hkl @ star)
        return np.linalg.norm(incident / wavelength + q) - 1.0 / wavelength

    grid = np.arange(0.0, 360.25, 0.25)
    signs = np.sign([distance(angle) for angle in grid])
    found = []
    for low, high in zip(grid[:-1][signs[:-1] != signs[1:]], grid[1:][signs[:-1] != signs[1:]]):
        rising = distance(high) > 0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if (distance(middle) > 0) == rising else (middle, high)
        found.append(low)
    return np.array(found)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("convention", ["", "-xds ", "-spindle_axis 0.3 0.2 1 -beam_vector 1 0.1 -0.2 "])
def test_rotation_meets_the_sphere_where_brute_force_finds_it(convention):
    experiment = Experiment.from_args(COARSE + "-detpixels 4000 -distance 20 -osc 360 -phisteps 2 " + convention)
    hkl = np.random.default_rng(5).integers(-12, 13, (12, 3))
    hkl = hkl[np.any(hkl != 0, axis=1)]
    table = predict(experiment, hkl)
    prediction = nbnumba.predictions._Prediction(experiment, 0.01, 0.0)
    listed = 0
    for reflection in np.unique(hkl, axis=0):
        rows = table[(table.hkl == reflection).all(axis=1)]
        met = rows[rows.delta_psi_deg == 0.0]
        expected = brute_force_meetings(prediction.star, prediction.spindle, prediction.beam.direction, 1.0, reflection)
        for row in range(len(met)):
            assert np.abs((expected - met.phi_deg[row] + 180.0) % 360.0 - 180.0).min() < 1e-6
            q = about_axis(prediction.spindle, math.radians(met.phi_deg[row])) @ (reflection @ prediction.star)
            np.testing.assert_allclose(met.s1[row], prediction.beam.direction + q, atol=1e-12)
            point = nbnumba.pixel_positions(experiment, [0, met.fast[row], met.slow[row]])
            np.testing.assert_allclose(point / np.linalg.norm(point), met.s1[row], atol=1e-9)
            listed += 1
    assert listed >= 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_photons_of_a_rotation_are_those_of_darwin():
    """r_e^2 fluence F^2 P lambda^3 L N / (V range), for a reflection that the range takes through the sphere."""
    experiment = Experiment.from_args(COARSE + "-gauss_xtal -osc 3 -phisteps 900 -polar 0.5")
    table = predict(experiment)
    table = table[(np.abs(table.phi_deg - 1.5) < 0.6) & (table.lorentz < 5.0) & (table.delta_psi_deg == 0.0)]
    assert len(table) > 50
    volume = abs(np.linalg.det(np.array(experiment.value("crystal.a_A") and _vectors(experiment))))
    cells = 20.0**3 * (math.pi * 0.63 / 2) ** 1.5
    whole = R_E_SQR_M2 * 1e28 * 100.0**2 * table.lorentz * cells / volume / math.radians(3.0)
    ratio = table.photons / whole
    angle = np.radians(nbnumba.two_theta(experiment, np.stack([table.panel, table.fast, table.slow], axis=-1)))
    assert ((ratio > np.cos(angle) ** 2 * 0.995) & (ratio < 1.005)).all()
    unpolarized = predict(experiment.replace({"beam.polarized": False}))
    unpolarized = unpolarized[np.isin(unpolarized.photons.size and _keys(unpolarized), _keys(table))]
    np.testing.assert_allclose(unpolarized.photons, whole, rtol=0.005)


def _vectors(experiment):
    from nbnumba.setup.crystal import orient

    return orient(experiment.crystal)


def _keys(table):
    return [f"{hkl} {phi:.6f}" for hkl, phi in zip(table.hkl.tolist(), table.phi_deg)]


@needs(CSPAD)
def test_stills_of_a_real_detector_are_predicted_as_dials_does():
    """Wavelengths are those of the rays of the reflections, because the file of the models has one for all ten stills."""
    reflections, factors = np.load(CSPAD / "cspad_stills_reflections.npz"), StructureFactors(default_F=1.0)
    errors = []
    for number in range(10):
        chosen = np.flatnonzero(reflections["experiment"] == number)
        wavelength = 1.0 / np.linalg.norm(reflections["s1"][chosen[0]])
        experiment = Experiment.from_dxtbx(CSPAD / "cspad_stills.expt", number, structure_factors=factors)
        experiment = experiment.replace({"beam.wavelength_A": wavelength})
        hkl, panel = reflections["hkl"][chosen], reflections["panel"][chosen]
        table = predict(experiment, hkl)
        for indices, on_panel, place in zip(hkl, panel, reflections["calculated_mm"][chosen] / 0.11):
            row = np.flatnonzero((table.hkl == indices).all(axis=1) & (table.panel == on_panel))
            outside = not (0 <= place[0] <= 194 and 0 <= place[1] <= 185)
            found = (table.fast[row[0]], table.slow[row[0]]) if len(row) else (np.nan, np.nan)
            errors += [] if outside and not len(row) else [math.dist(found, place)]
    assert len(errors) > 1100 and not np.isnan(errors).any()
    assert np.median(errors) < 1e-6 and np.quantile(errors, 0.99) < 1e-6


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_panels_have_the_predictions_of_detectors_of_one_panel():
    """Also with pixels that are not square, a panel that is turned and a sensor; photons are those of an image."""
    experiment = Experiment.from_args(FINE + "-gauss_xtal -osc 0.6 -phisteps 60 -detpixels 2 -oversample 1 ")
    turned = tuple(math.cos(x) for x in (0.1, math.pi / 2 - 0.1, math.pi / 2)), (-math.sin(0.1), math.cos(0.1), 0.0)
    panels = [
        Panel("q/a", (700, 900), 0.05, 0.06, (-20.0, -20.0, 0.0), thickness_um=300.0, attenuation_um=200.0),
        Panel("q/b", (800, 900), 0.05, 0.05, (30.0, 10.0, 3.0), *turned),
    ]
    experiment = experiment.replace({"detector.panels": panels, "detector.groups": [Group("q", turn_deg=(1.0, 2.0, 0.5))]})
    table = predict(experiment)
    assert set(table.panel) == {0, 1}
    for number in range(2):
        on_panel = table[table.panel == number]
        inside = np.abs(np.stack([on_panel.fast - 450, on_panel.slow - 350 - 50 * number])) < 280
        for row in np.flatnonzero(inside.all(axis=0))[:2]:
            image = nbnumba.simulate(alone(experiment, on_panel.hkl[row]))[number]
            slow, fast = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] + 0.5
            assert on_panel.photons[row] == pytest.approx(image.sum(), rel=0.01)
            assert on_panel.centre_fast[row] == pytest.approx((image * fast).sum() / image.sum(), abs=0.02)
            assert on_panel.centre_slow[row] == pytest.approx((image * slow).sum() / image.sum(), abs=0.02)
        assert inside.all(axis=0).any()


SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 17]
"""Random experiments of which each takes less than a second."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_rays_of_random_experiments_are_of_their_reflections_and_end_at_their_places(seed, tmp_path):
    experiment = Experiment.from_args(Maker(seed, tmp_path, True).args)
    try:
        table = predict(experiment, d_min_A=1.0)[:300]
    except InputError as error:
        assert "goniometer" in str(error) or "detector" in str(error), error
        return
    places = np.stack([table.panel, table.fast, table.slow], axis=-1)
    position = nbnumba.pixel_positions(experiment, places)
    wavelength = table.wavelength_A[:, np.newaxis]
    np.testing.assert_allclose(position / np.linalg.norm(position, axis=-1, keepdims=True), table.s1 * wavelength, atol=1e-8)
    q = table.s1 - view_of(experiment).direction / wavelength
    np.testing.assert_allclose(np.linalg.norm(q, axis=1) * table.d_A, 1.0, rtol=1e-9)
    assert (table.photons >= 0.0).all() and (table.excitation >= 0.0).all() and (table.excitation <= 1.0 + 1e-9).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cubes_of_indices_leave_out_no_candidate():
    experiment = Experiment.from_args(COARSE + "-mosaic 0.2 -mosaic_domains 5 -osc 0.5 -phisteps 3 -dispersion 1 -dispsteps 3")
    table = predict(experiment, d_min_A=2.5)
    box = np.stack(np.mgrid[-28:29, -28:29, -35:36], axis=-1).reshape(-1, 3)
    listed = StructureFactors(hkl=box[box.any(axis=1)], F=np.full(len(box) - 1, 100.0), interpolate=False)
    from_list = predict(dataclasses.replace(experiment, structure_factors=listed), d_min_A=2.5)
    assert len(table) > 300
    for name, column in table.columns().items():
        np.testing.assert_array_equal(column, getattr(from_list, name))


def test_what_takes_too_long_is_refused():
    experiment = Experiment.from_args(COARSE + "-mosaic 1 -mosaic_domains 1000")
    with pytest.raises(InputError, match="^predictions: .* allowed: at most 1e-06 hours"):
        predict(experiment, max_hours=1e-6)


def test_rows_are_sorted_selected_and_read_only():
    table = predict(Experiment.from_args(COARSE + "-osc 1 -phisteps 30"))
    assert len(table) > 100 and sorted(map(tuple, table.hkl.tolist())) == list(map(tuple, table.hkl.tolist()))
    assert len(table[table.photons > table.photons.mean()]) < len(table) and len(table[:5]) == 5 and len(table[[3, 1]]) == 2
    with pytest.raises(ValueError, match="read-only"):
        table.fast[0] = 1.0
    with pytest.raises(InputError, match="^predictions: rows 'x' are not allowed"):
        table["x"]


@pytest.mark.parametrize("hkl", ["x", 5, [1, 2, 3], [[1, 2]], [[0.5, 1, 1]], [[np.nan, 1, 1]], [[1j, 1, 1]], [[2**40, 1, 1]]])
def test_what_are_no_indices_is_refused(hkl):
    with pytest.raises(InputError, match="^hkl"):
        predict(Experiment.from_args(COARSE), hkl)


def test_refusals():
    experiment = Experiment.from_args(COARSE)
    with pytest.raises(InputError, match="^least_excitation: 0 is not allowed"):
        predict(experiment, least_excitation=0)
    with pytest.raises(InputError, match="^d_min_A: None is not allowed"):
        predict(experiment, d_min_A=None)
    with pytest.raises(InputError, match="^goniometer.osc_deg: 361 is not allowed"):
        predict(experiment.replace({"goniometer.osc_deg": 361.0}))
    with pytest.raises(InputError, match="is not an Experiment"):
        predict("x")
    assert len(predict(experiment, [[0, 0, 0]])) == 0
