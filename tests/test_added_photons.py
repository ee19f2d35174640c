"""Photons that are added to an image: images and radial tables, their files, and every derivative beside them (F12a, A12a)."""

import numpy as np
import pytest
from refining import counts, crystal, moved

import adjoint
import nbnumba
from adjoint.losses import Gaussian, Poisson
from adjoint.prepare import freeze_choices
from nbnumba import Background, Experiment, InputError, simulate

FLAGS = "-cell 50 60 70 -default_F 100 -N 5 -distance 60 -detpixels_x 30 -detpixels_y 20 -pixel 0.5 -lambda 1.2 -oversample 1"
BASE = Experiment.from_args(FLAGS)
IMAGE = np.random.default_rng(1).uniform(0.0, 5.0, (20, 30))


class Quadratic:
    """A loss that the kernels do not know."""

    def value(self, image):
        return float((image**2).sum())

    def derivative(self, image):
        return 2.0 * image

    def curvature(self, image):
        return np.full(image.shape, 2.0)


def test_an_image_is_added_where_pixels_are_rendered():
    mask = np.ones((20, 30))
    mask[3, 4] = 0
    values = {"background.image": IMAGE, "sampling.roi": (2, 20, 3, 15), "sampling.mask": mask}
    bare = simulate(BASE.replace(values | {"background.image": None}))
    rendered = np.zeros((20, 30), dtype=bool)
    rendered[3:16, 2:21] = True
    rendered[3, 4] = False
    np.testing.assert_array_equal(simulate(BASE.replace(values)), bare + np.where(rendered, IMAGE, 0.0))


def test_a_radial_table_is_taken_at_the_centres_of_pixels():
    table = [(0.0, 5.0), (0.1, 3.0), (0.3, 1.0)]
    added = simulate(BASE.replace({"background.radial": table})) - simulate(BASE)
    stol = np.sin(np.radians(nbnumba.two_theta(BASE)) / 2.0) / 1.2
    np.testing.assert_allclose(added, np.interp(stol, *np.array(table).T), rtol=1e-9)


@pytest.mark.parametrize("heading, of", [
    ("stol photons", lambda s: s), ("# 4stol, photons", lambda s: 4 * s), ("Q photons", lambda s: 4 * np.pi * s),
    ("two_theta_deg;photons", lambda s: 2 * np.degrees(np.arcsin(s * 1.2))), ("d_A photons", lambda s: 0.5 / s),
])  # fmt: skip
def test_forms_of_a_table(tmp_path, heading, of):
    stol, photons = np.array([0.01, 0.1, 0.2, 0.4]), [4.0, 3.0, 2.5, 0.0]
    rows = "".join(f"{x!r} {n!r}\n" for x, n in zip(of(stol).tolist(), photons))
    (tmp_path / "radial.txt").write_text(f"\n{heading}\n# a comment\n{rows}")
    made = Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "radial.txt")])
    np.testing.assert_allclose(made.background.radial, np.column_stack([stol, photons]), rtol=1e-12)


@pytest.mark.parametrize("text, words", [
    ("0.1 3\n0.2 4\n", "a first line of two words"), ("angle photons\n0.1 3\n", "a first line"),
    ("stol photons\n0.1 -3\n0.2 1\n", "not below 0"), ("stol photons\n0.1 3\n", "two or more pairs"),
    ("stol photons\n0.1\n", "1 of at least 2"),
])  # fmt: skip
def test_tables_that_are_refused(tmp_path, text, words):
    (tmp_path / "radial.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "radial.txt")])


def test_an_image_of_a_file(tmp_path):
    nbnumba.write_float(tmp_path / "b.bin", IMAGE)
    made = Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "b.bin")])
    np.testing.assert_array_equal(made.background.image, IMAGE.astype(np.float32))
    nbnumba.write_float(tmp_path / "b.bin", IMAGE - 1.0)
    with pytest.raises(InputError, match="-background: .* at .slow, fast.*allowed: photons, 0 or more"):
        Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "b.bin")])
    nbnumba.write_float(tmp_path / "b.bin", IMAGE[:5])
    with pytest.raises(InputError, match="-background"):
        Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "b.bin")])


@pytest.mark.parametrize("fields", [{"image": [[-1.0]]}, {"image": "x"}, {"image": [1.0]}, {"radial": [(0.1, 1.0)]},
                                    {"radial": [(0.1, -1.0), (0.2, 1.0)]}, {"image": [[np.nan]]}])  # fmt: skip
def test_what_is_refused(fields):
    with pytest.raises(InputError, match=f"background.{next(iter(fields))}"):
        Background(**fields)


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(InputError, match="background.image"):
        simulate(BASE.replace({"background.image": IMAGE.T}))


def test_a_map_of_reflections_is_refused_beside_it():
    with pytest.raises(InputError, match="background.image"):
        nbnumba.hkl_map(BASE.replace({"background.image": IMAGE}))


NAMES = ["crystal.a_A", "detector.distance_mm", "crystal.misset_deg"]


@pytest.mark.parametrize("loss", [Poisson, Gaussian, Quadratic])
def test_every_derivative_knows_of_the_photons(loss):
    """Beside a loss with data: the value is that of the whole image, and derivatives are those of a user's own loss."""
    made = BASE.replace({"background.image": IMAGE, "beam.fluence": 1e27})
    image = simulate(made)
    of = {Poisson: lambda: Poisson(np.round(1.1 * image)), Gaussian: lambda: Gaussian(0.9 * image, 2.0), Quadratic: Quadratic}
    judge = of[loss]()
    value, gradient = adjoint.value_and_grad(judge, made, NAMES)
    assert value == pytest.approx(judge.value(image), rel=1e-12)
    found, pullback = adjoint.vjp(made, NAMES)
    expected = pullback(judge.derivative(image))
    again, jacobian = adjoint.jacobian(made, NAMES)
    for photons in (found, again):
        np.testing.assert_allclose(photons, image, rtol=1e-12)
    other_value, other, normal = adjoint.normal_equations(judge, made, NAMES)
    curvature = judge.curvature(image)
    size = np.einsum("ijn,ij,ijn->n", jacobian, curvature, jacobian)
    wanted = np.einsum("ijn,ij,ijm->nm", jacobian, curvature, jacobian)
    np.testing.assert_allclose(normal, wanted, rtol=0, atol=1e-10 * size.max())
    assert other_value == pytest.approx(value, rel=1e-12)
    for name in NAMES:
        scale = np.abs(expected[name]).max() + 1e-12
        np.testing.assert_allclose(gradient[name], expected[name], rtol=1e-8, atol=1e-9 * scale)
        np.testing.assert_allclose(other[name], expected[name], rtol=1e-8, atol=1e-9 * scale)


@pytest.mark.parametrize("phases", ["exact", "auto"])
def test_a_refinement_beside_it_recovers_the_crystal(phases):
    """The scale multiplies these photons, too, as it does those of water."""
    truth = crystal()
    photons = 30.0 * np.exp(-np.linspace(-1, 1, 72)[:, None] ** 2 - np.linspace(-2, 1, 72) ** 2)
    truth = truth.replace({"background.image": photons})
    start = moved(truth, misset_x_deg=0.05, misset_y_deg=-0.05)
    names = ["crystal.misset_deg", "image.scale", "image.background"]
    done = adjoint.refine(start, counts(truth), names, image={"background": 1.0, "scale": 0.8}, phases=phases)
    assert done.success and done.chi_squared == pytest.approx(1.0, abs=0.1)
    for name, true in (("crystal.misset_deg", truth.crystal.misset_deg), ("image.scale", 1.0), ("image.background", 2.0)):
        assert (np.abs((done.values[name] - np.array(true)) / done.uncertainties[name]) < 4.0).all(), name
    assert done.experiment.background == truth.background


TABLE = ((0.0, 4.0), (0.05, 40.0), (0.2, 2.0))


def test_a_radial_table_is_frozen_where_parameters_move():
    """Value and gradient are those of the image that the table is at the start, whatever the region (A12a, A14)."""
    made = BASE.replace({"background.radial": TABLE, "beam.fluence": 1e27, "sampling.roi": (2, 25, 3, 15)})
    names = ["detector.distance_mm", "detector.xbeam_mm", "beam.wavelength_A"]
    frozen = freeze_choices(made, names)
    assert frozen.background.radial is None and (frozen.background.image > 0.0).all()
    image = simulate(made)
    np.testing.assert_allclose(simulate(frozen), image, rtol=1e-12)
    judge = Gaussian(0.9 * image, 2.0)
    value, gradient = adjoint.value_and_grad(judge, made, names)
    assert value == pytest.approx(judge.value(image), rel=1e-12)
    start = adjoint.pack(frozen, names)
    step = np.array([1e-4, 1e-4, 1e-6])

    def along(experiment, t):
        return judge.value(simulate(adjoint.unpack(experiment, names, start + t * step)))

    slope = float(np.concatenate([np.ravel(gradient[name]) for name in names]) @ step)
    assert (along(frozen, 1.0) - along(frozen, -1.0)) / 2.0 == pytest.approx(slope, rel=1e-5)
    assert abs((along(made, 1.0) - along(made, -1.0)) / 2.0 / slope - 1.0) > 1e-3


def test_a_refinement_beside_a_radial_table():
    """Its image is that of its experiment, whose photons are those of the table at the start."""
    truth = crystal().replace({"background.radial": TABLE})
    start = moved(truth, misset_x_deg=0.05).replace({"detector.distance_mm": truth.value("detector.distance_mm") * 1.0002})
    names = ["crystal.misset_deg", "detector.distance_mm"]
    done = adjoint.refine(start, counts(truth), names, image={"background": 2.0}, phases="exact")
    assert done.success and done.experiment.background.radial is None
    np.testing.assert_array_equal(done.experiment.background.image, freeze_choices(start, names).background.image)
    np.testing.assert_allclose(done.image, simulate(done.experiment) + 2.0, rtol=1e-12)
    off = (np.array(done.values["crystal.misset_deg"]) - truth.crystal.misset_deg) / done.uncertainties["crystal.misset_deg"]
    assert (np.abs(off) < 4.0).all()


def test_counts_of_an_image_with_an_offset_and_a_gain_become_photons(tmp_path):
    """An SMV image of our own states both; without them the numbers of the file are photons."""
    stated = BASE.replace({"background.image": None})
    response = nbnumba.Response(gain=2.0)
    nbnumba.write_smv(str(tmp_path / "counts.img"), (40 + 2 * np.floor(IMAGE)).astype(np.uint16), stated, response=response)
    _, header = nbnumba.read_smv(str(tmp_path / "counts.img"))
    with pytest.warns(UserWarning, match=r"its ADC_OFFSET, 40, is subtracted, and the rest is divided by its GAIN, 2"):
        experiment = Experiment.from_args([*FLAGS.split(), "-background", str(tmp_path / "counts.img")])
    np.testing.assert_array_equal(experiment.background.image, np.floor(IMAGE))
    assert header["ADC_OFFSET"] == "40"
