"""The sources of the beam, which tilts rotate as a whole, and the depth of a sensor that states none."""

import math

import numpy as np
import pytest
from random_directions import random_direction

from nbnumba import Beam, Crystal, Detector, Experiment, InputError, Sampling, StructureFactors, simulate
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup import sources
from nbnumba.setup.conventions import CONVENTIONS

NAN = math.nan
TABLE = ((-9.0, 0.3, 0.1, 1.0, 1.1), (NAN, NAN, NAN, 2.0, NAN), (-8.0, NAN, 0.7, NAN, 0.9))
SPREADS = [
    {},
    {"hdivrange_mrad": 3.0, "vdivrange_mrad": 2.0, "hdivsteps": 3, "vdivsteps": 2, "dispersion_percent": 1.0},
    {"sources": TABLE},
]


def beam_sources(beam, direction=(1.0, 0.0, 0.0), electric=(0.0, 0.0, 1.0)):
    return sources.beam_sources(beam, np.array(direction), np.array(electric), NO_DEFECTS)


def test_tilts_of_mosflms_beam_by_hand():
    """With the beam along x and E along z, x turns towards y about z, then towards z about x cross z, which is -y."""
    first, second = 0.25, -0.4
    beam = Beam(direction_x_mrad=1000 * first, direction_y_mrad=1000 * second)
    expected = (math.cos(first) * math.cos(second), math.sin(first), math.cos(first) * math.sin(second))
    np.testing.assert_allclose(beam_sources(beam).direction, [expected], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name, toward", [("direction_x_mrad", "across"), ("direction_y_mrad", "electric")])
@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_one_tilt_turns_the_beam_by_its_angle(convention, name, toward):
    """About E it turns towards E x i, and about i x E towards E."""
    i, e = np.array(convention.beam), np.array(convention.polarization)
    axis = {"across": np.cross(e, i), "electric": e}[toward]
    (tilted,) = beam_sources(Beam(**{name: 30.0}), i, e).direction
    np.testing.assert_allclose(tilted, math.cos(0.03) * i + math.sin(0.03) * axis, rtol=0, atol=1e-15)


def test_axes_of_the_tilts_are_a_frame_about_the_beam():
    random = np.random.default_rng(1)
    for _ in range(100):
        direction, electric = random_direction(random), random_direction(random)
        first, second = sources.tilt_axes(direction, electric)
        np.testing.assert_allclose(np.cross(first, second), direction, rtol=0, atol=1e-15)
        assert first @ electric > 0.0
        assert second @ electric == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    "direction, first",
    [((0, 0, 1), (1, 0, 0)), ((1, 0, 0), (0, 1, 0)), ((-0.6, 0.0, 0.8), (0, 1, 0)), ((0.0, -0.8, 0.6), (1, 0, 0))],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_axes_where_the_electric_vector_runs_along_the_beam(direction, first, sign):
    direction = np.array(direction, dtype=float)
    axis, second = sources.tilt_axes(direction, sign * direction)
    np.testing.assert_allclose(axis, first, rtol=0, atol=1e-15)
    np.testing.assert_allclose(second, np.cross(direction, first), rtol=0, atol=1e-15)


def test_axis_nearest_to_a_laboratory_axis():
    direction = np.array([0.1, -0.7, math.sqrt(0.5)])
    axis, _ = sources.tilt_axes(direction, direction)
    np.testing.assert_allclose(axis, np.array([0.99, 0.07, -0.1 * math.sqrt(0.5)]) / math.sqrt(0.99), rtol=0, atol=1e-15)


@pytest.mark.parametrize("fields", SPREADS)
def test_tilts_turn_all_sources_as_one(fields):
    """Lengths, angles between sources, wavelengths and weights stay the same, and the rotation about x is the first."""
    random = np.random.default_rng(2)
    direction, electric = random_direction(random), random_direction(random)
    before = beam_sources(Beam(**fields), direction, electric)
    after = beam_sources(Beam(**fields, direction_x_mrad=70.0, direction_y_mrad=-20.0), direction, electric)
    first, second = sources.tilt_axes(direction, electric)
    one = turned(turned(before.direction, first, 0.07), second, -0.02)
    np.testing.assert_allclose(after.direction, one, rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(after.direction, axis=1), 1.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(after.direction @ after.direction.T, before.direction @ before.direction.T, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(after.wavelength, before.wavelength)
    np.testing.assert_array_equal(after.weight, before.weight)


def turned(vectors, axis, angle):
    """Vectors (n, 3) that are rotated about a unit axis, from their components along and across it."""
    along = np.outer(vectors @ axis, axis)
    return along + math.cos(angle) * (vectors - along) + math.sin(angle) * np.cross(axis, vectors)


@pytest.mark.parametrize("fields", SPREADS)
def test_no_tilt_changes_no_bit(fields):
    direction = np.array([-0.0, 0.6, -0.8])
    before = np.array([direction, [0.0, -0.0, 1.0]])
    beam = Beam(**fields, direction_x_mrad=-0.0, direction_y_mrad=0.0)
    assert sources.tilted(beam, before, direction, np.array([1.0, 0.0, 0.0])) is before
    assert beam_sources(beam).direction.tobytes() == beam_sources(Beam(**fields)).direction.tobytes()


def image(**beam):
    """An image of a custom detector whose position its corner states, whatever the beam does."""
    detector = Detector("custom", 0.5, (24, 20), pivot="sample", pix0_mm=(60.0, 5.2, -6.1), rotx_deg=3.0, twotheta_deg=4.0)
    beam = Beam(1.2, polarization=0.9, polarization_axis=(0.1, 0.2, 1.0), **beam)
    crystal = Crystal(30.0, 40.0, 50.0, 80.0, 95.0, 100.0, misset_deg=(10.0, 20.0, 30.0), n_a=2.0, n_b=3.0, n_c=2.5)
    factors = StructureFactors(default_F=100.0, interpolate=False)
    return simulate(Experiment(crystal, factors, beam, detector, sampling=Sampling(2)))


def test_image_of_a_tilted_beam_is_that_of_a_beam_stated_so():
    stated = np.array([0.95, -0.2, 0.1])
    tilts = {"direction_x_mrad": 15.0, "direction_y_mrad": -25.0}
    electric = np.array([0.1, 0.2, 1.0])
    (direction,) = beam_sources(Beam(**tilts), stated / np.linalg.norm(stated), electric / np.linalg.norm(electric)).direction
    tilted, expected = image(direction=stated, **tilts), image(direction=direction)
    np.testing.assert_allclose(tilted, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert np.abs(tilted - image(direction=stated)).max() > 1e-2 * expected.max()


def test_a_single_divergence_turns_nothing_where_the_electric_vector_runs_along_the_beam():
    direction = np.array([0.6, 0.0, 0.8])
    alone = beam_sources(Beam(hdivsteps=1), direction, direction).direction
    np.testing.assert_allclose(alone, [direction], rtol=0, atol=1e-15)
    with pytest.raises(InputError, match="polarization_axis"):
        beam_sources(Beam(hdivsteps=2), direction, direction)


@pytest.mark.parametrize("value", [NAN, math.inf, "a", None])
@pytest.mark.parametrize("name", ["direction_x_mrad", "direction_y_mrad"])
def test_tilts_are_finite_numbers(name, value):
    with pytest.raises(InputError, match=f"beam.{name}"):
        Beam(**{name: value})


def test_depth_that_is_not_given_is_the_thickness():
    crystal, factors = Crystal(30.0), StructureFactors(default_F=1.0)
    bare = Experiment(crystal, factors, detector=Detector(thickness_um=300.0))
    assert bare.value("detector.attenuation_um") == 300.0
    assert bare.replace({"detector.attenuation_um": 200.0}).value("detector.attenuation_um") == 200.0
    assert bare.replace({"detector.thickness_um": 450.0}).value("detector.attenuation_um") == 450.0
    assert bare.replace({"detector.attenuation_um": math.inf}).value("detector.attenuation_um") == math.inf


def test_sources_downstream_are_said():
    crystal, factors = Crystal(a_A=50.0), StructureFactors(default_F=1.0)
    for rows, behind in ((((10.0, 0, 0, 1, NAN), (-10.0, 0, 0, 1, NAN)), 1), (((10.0, 0.1, 0, 1, NAN),), 1)):
        made = Experiment(crystal, factors, beam=Beam(sources=rows), detector=Detector(pixels=(2, 2)))
        with pytest.warns(UserWarning, match=f"beam.sources: {behind} of {len(rows)} stand downstream of the crystal"):
            simulate(made)
