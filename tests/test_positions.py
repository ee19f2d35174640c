"""Where pixels are, and what scatters there: against the oracle, a trace, and what DIALS computes for a real detector."""

import numpy as np
import oracle
import pytest
from real_data import CSPAD, needs

import nbnumba
from nbnumba import Experiment, InputError, Panel, StructureFactors

SIZE = "-cell 30 40 50 80 95 100 -default_F 10 -lambda 1.1 -N 3 -oversample 1 -distance 80 -detpixels_x 30 -detpixels_y 20 "
SIZE += "-pixel 2.5 "
TURNED = "-detector_rotx 11 -detector_roty -7 -twotheta 20 "
SOURCES = "-dispersion 4 -dispsteps 3 -hdivrange 5 -hdivsteps 2 "
FRAMES = ["", TURNED, "-xds " + TURNED, "-dials -curved_det ", "-curved_det " + TURNED, "-adxv " + SOURCES]


@pytest.mark.parametrize("flags", FRAMES)
def test_pixels_are_where_the_oracle_has_them(flags):
    experiment, model = Experiment.from_args(SIZE + flags), oracle.Model(SIZE + flags, (), 1, None)
    position, q = nbnumba.pixel_positions(experiment), nbnumba.scattering_vectors(experiment)
    assert position.shape == q.shape == (20, 30, 3)
    for slow, fast in ((0, 0), (7, 3), (19, 29)):
        point = np.array(model.pixel(slow, fast)["position"])
        np.testing.assert_allclose(position[slow, fast], 1000.0 * point, rtol=1e-12, atol=1e-10)
        weights = [weight for _, _, weight in model.sources]
        beam = np.average([incident for incident, _, _ in model.sources], axis=0, weights=weights)
        wavelength = np.average([wavelength for _, wavelength, _ in model.sources], weights=weights)
        expected = (point / np.linalg.norm(point) - beam / np.linalg.norm(beam)) / wavelength
        np.testing.assert_allclose(q[slow, fast], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("flags", FRAMES)
def test_resolution_and_angle_are_those_of_the_scattering_vector(flags):
    experiment = Experiment.from_args(SIZE + flags)
    length = np.linalg.norm(nbnumba.scattering_vectors(experiment), axis=-1)
    off = length > 1e-12
    np.testing.assert_allclose(nbnumba.resolution(experiment)[off], 1.0 / length[off], rtol=1e-12)
    assert (nbnumba.resolution(experiment)[~off] == np.inf).all() and (~off).sum() <= 1
    sine = np.sin(np.radians(nbnumba.two_theta(experiment)) / 2)
    np.testing.assert_allclose(sine, 1.1 * length / 2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("flags", FRAMES)
def test_points_are_between_the_centres_of_pixels(flags):
    experiment = Experiment.from_args(SIZE + flags)
    centres = nbnumba.pixel_positions(experiment)
    slow, fast = np.mgrid[0:20, 0:30] + 0.5
    points = np.stack([np.zeros_like(fast), fast, slow], axis=-1)
    np.testing.assert_allclose(nbnumba.pixel_positions(experiment, points), centres, rtol=1e-14, atol=1e-12)
    assert nbnumba.resolution(experiment, points).shape == (20, 30)
    assert nbnumba.two_theta(experiment, points[3, 4]).shape == ()
    if "curved" not in flags:
        between = nbnumba.pixel_positions(experiment, [[0, 4.0, 6.5]])[0]
        np.testing.assert_allclose(between, (centres[6, 3] + centres[6, 4]) / 2, rtol=1e-12)


def test_frames_and_the_direct_beam():
    experiment = Experiment.from_args(SIZE)
    x, y, z = np.moveaxis(nbnumba.pixel_positions(experiment), -1, 0)
    np.testing.assert_array_equal(nbnumba.pixel_positions(experiment, frame="dxtbx"), np.stack([z, y, -x], axis=-1))
    fast, slow = (float(x) for x in experiment.detector.size_mm or (75.0, 50.0))
    beam = [0, (fast + 2.5) / 2 / 2.5 + 0.5, (slow + 2.5) / 2 / 2.5 + 0.5]
    assert nbnumba.two_theta(experiment, beam) == pytest.approx(0.0, abs=1e-10)
    assert nbnumba.resolution(experiment, beam) == np.inf
    position = nbnumba.pixel_positions(experiment, beam)
    np.testing.assert_allclose(position, (80.0, 0.0, 0.0), atol=1e-10)


@pytest.mark.parametrize(
    "points", [None, "x", 5, [0, 1], [[1, 2, 3]], [[-1, 2, 3]], [[0.5, 2, 3]], [[0, np.nan, 3]], [[0, 1e300, 3]], [[0, 1j, 3]]]
)
def test_what_is_no_point_is_refused(points):
    experiment = Experiment.from_args(SIZE)
    if points is None:
        with pytest.raises(InputError, match="^frame: 'x' is not allowed; allowed: lab, dxtbx"):
            nbnumba.pixel_positions(experiment, frame="x")
        with pytest.raises(InputError, match="is not an Experiment"):
            nbnumba.resolution("x")
        return
    with pytest.raises(InputError, match="^points"):
        nbnumba.pixel_positions(experiment, points)


def test_sources_that_cancel_have_no_mean_direction():
    sources = [(-1.0, 0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 0.0, 1.0, 1.0)]
    with pytest.raises(InputError, match="cancel each other"):
        nbnumba.two_theta(Experiment.from_args(SIZE).replace({"beam.sources": sources}))


@needs(CSPAD)
def test_panels_of_a_real_detector():
    points = np.load(CSPAD / "cspad_stills_pixels.npz")
    experiment = Experiment.from_dxtbx(CSPAD / "cspad_stills.expt", structure_factors=StructureFactors(default_F=1.0))
    places = np.stack([points["panel"], points["fast"], points["slow"]], axis=-1)
    position = nbnumba.pixel_positions(experiment, places, frame="dxtbx")
    assert np.abs(position - points["lab_mm"]).max() < 1e-9 * 105.0
    assert nbnumba.resolution(experiment).shape == (64, 185, 194)
    assert nbnumba.pixel_positions(experiment).shape == (64, 185, 194, 3)


def test_panels_of_different_shapes_are_lists():
    panels = [Panel("a", (4, 6), 1.0, 2.0, (0.0, 0.0, 0.0)), Panel("b", (3, 5), 0.5, 0.5, (10.0, 0.0, 1.0))]
    experiment = Experiment.from_args(SIZE).replace({"detector.panels": panels})
    first, second = nbnumba.pixel_positions(experiment)
    assert first.shape == (4, 6, 3) and second.shape == (3, 5, 3)
    np.testing.assert_allclose(first[0, 1] - first[0, 0], (0.0, 0.0, 1.0), atol=1e-12)
    np.testing.assert_allclose(first[1, 0] - first[0, 0], (0.0, -2.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(second[0, 0], nbnumba.pixel_positions(experiment, [1, 0.5, 0.5]), atol=1e-12)
    assert [array.shape for array in nbnumba.two_theta(experiment)] == [(4, 6), (3, 5)]
    with pytest.raises(InputError, match="^points: 2 1 1 is not allowed"):
        nbnumba.pixel_positions(experiment, [2, 1, 1])
