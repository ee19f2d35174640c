"""vjp, jacobian, value_and_grad and normal_equations return the same derivative, with the same exceptions and refusals."""

import numba
import numpy as np
import pytest
from differences import central, extrapolated
from scipy.special import xlogy

import adjoint
from adjoint.losses import Gaussian, Poisson
from adjoint.parameters import AMPLITUDES, ARRAYS
from adjoint.prepare import freeze_choices
from nbnumba import Experiment, InputError, simulate

CELL = "-cell 70 70 90 75 85 95 -N 5 -misset 10 20 30 -lambda 1.2 "
PANEL = "-distance 100 -detpixels_x 20 -detpixels_y 18 -pixel 0.8 -oversample 1 -default_F 100 "
RICH = "-oversample 2 -detector_thick 300 -detector_abs 200 -detector_thicksteps 2 -twotheta 10 -polar 0.5 -dispersion 1 "
RICH += "-dispsteps 2 -hdivrange 1 -hdivsteps 2 -osc 1 -phisteps 2 -phi 3 -mosaic 0.3 -mosaic_domains 2 -water 0.3 -air 1e-7 "
RICH += "-ice 1e-3 "
GAUSSIAN = "-gauss_xtal -N_def 1 0.5 0.3 -mosaic_abc 0.2 0.3 0.1 -bfactor 20 -bfactor_aniso 3 2 -1 1 0.5 -1 "
GAUSSIAN += "-cell_spread 0.02 0.03 0.01 -xtal_position 0.5 -0.4 0.3 "
"""What only Gaussian spots have, and what is left of a crystal."""
FLUENCE = "-fluence 1e26 "

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SCALARS = [name for name in adjoint.PARAMETERS if name not in ARRAYS]


def experiment_of(words, listed=True, interpolate=None) -> Experiment:
    """The experiment of a command line. Its list of reflections contains some of them twice, with different amplitudes."""
    experiment = Experiment.from_args((CELL + PANEL + FLUENCE + words).split())
    if not listed:
        return experiment
    random = np.random.default_rng(5)
    h, k, l = (axis.ravel() for axis in np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij"))
    hkl = random.permutation(np.column_stack([h, k, l]))
    hkl = np.concatenate([hkl, hkl[:100]])
    values = {"structure_factors.hkl": hkl, "structure_factors.F": random.uniform(20, 200, len(hkl))}
    return experiment.replace(values | {"structure_factors.interpolate": interpolate})


PLAIN = "-nointerpolate"
KINDS = {
    "plain": (PLAIN, True, False),
    "rich": (RICH, True, False),
    "curved": ("-curved_det -round_xtal -c_parity phi_carryover -phi 0 -osc 1 -phisteps 3 -c_threads 3", True, False),
    "interpolated": ("-gauss_xtal -osc 0.5", True, True),
    "latched": ("-c_parity interpolation_latch", True, True),
}
SOME = ["crystal.a_A", "detector.xbeam_mm", AMPLITUDES, "crystal.misset_deg", "beam.wavelength_A", "crystal.n_cells"]
"""Amplitudes and vectors in between other parameters."""


@pytest.fixture(params=KINDS, scope="module")
def case(request):
    """An experiment, its parameters, its image and its dense Jacobian (slow, fast, n)."""
    words, listed, interpolate = KINDS[request.param]
    experiment = experiment_of(words, listed, interpolate)
    names = [*SOME, "goniometer.osc_deg"] if "-osc" in words else list(SOME)
    return experiment, names, *adjoint.jacobian(experiment, names)


def flat(gradient, names):
    """The numbers of a gradient in the order of the parameters."""
    assert list(gradient) == [name if isinstance(name, str) else name[0] for name in names]
    return np.concatenate([np.atleast_1d(part).ravel() for part in gradient.values()])


def test_jacobian_and_vjp_are_transposed(case):
    experiment, names, image, dense = case
    random = np.random.default_rng(1)
    again, pullback = adjoint.vjp(experiment, names)
    np.testing.assert_allclose(again, image, rtol=1e-14)
    for _ in range(3):
        y, v = random.normal(size=image.shape), random.normal(size=dense.shape[2])
        v /= np.maximum(np.linalg.norm(dense.reshape(-1, dense.shape[2]), axis=0), 1e-300)
        forward = dense @ v
        scale = np.linalg.norm(y) * np.linalg.norm(forward)
        assert abs(np.sum(y * forward) - flat(pullback(y), names) @ v) <= 1e-12 * scale


def test_columns_are_where_they_belong(case):
    experiment, names, _, dense = case
    starts = np.cumsum([0] + [np.size(experiment.value(name)) for name in names])
    assert starts[-1] == dense.shape[2]
    for name, start, stop in zip(names, starts, starts[1:]):
        alone = adjoint.jacobian(experiment, [name])[1]
        np.testing.assert_allclose(dense[..., start:stop], alone, rtol=1e-11, atol=1e-11 * np.abs(alone).max())


@pytest.mark.parametrize("kind", [Gaussian, Poisson])
def test_gradient_and_normal_equations_follow_from_the_jacobian(case, kind):
    experiment, names, image, dense = case
    random = np.random.default_rng(2)
    data = image * random.uniform(0.5, 1.5, image.shape)
    mask = random.random(image.shape) < 0.8
    data[3, :5] = np.nan
    saturation = np.nanquantile(data, 0.9)
    loss = kind(data, 1.0 + image if kind is Gaussian else 0.1 * image.mean(), mask, saturation)
    counts = mask & ~np.isnan(data) & (data < saturation)
    assert 100 < counts.sum() == loss.counted() < 0.8 * counts.size
    if kind is Gaussian:
        each, r, w = (image - data) ** 2 / 2 / (1 + image) ** 2, (image - data) / (1 + image) ** 2, 1 / (1 + image) ** 2
    else:
        mean = image + 0.1 * image.mean()
        each, r, w = mean - data + xlogy(data, data / mean), 1 - data / mean, 1 / mean
    columns, r, w = dense[counts], r[counts], w[counts]
    value, gradient = adjoint.value_and_grad(loss, experiment, names)
    whole, same, normal = adjoint.normal_equations(loss, experiment, names)
    assert value == pytest.approx(each[counts].sum(), rel=1e-12)
    assert whole == pytest.approx(value, rel=1e-12)
    assert loss.value(image) == pytest.approx(value, rel=1e-12)
    size = np.abs(columns).T @ np.abs(r)
    for found in (flat(gradient, names), flat(same, names)):
        assert (np.abs(found - columns.T @ r) <= 1e-12 * size).all()
    size = np.abs(columns).T @ (w[:, None] * np.abs(columns))
    assert (np.abs(normal - columns.T @ (w[:, None] * columns)) <= 1e-12 * size).all()
    np.testing.assert_array_equal(normal, normal.T)
    assert gradient[AMPLITUDES].shape == experiment.structure_factors.F.shape
    assert gradient["crystal.misset_deg"].shape == (3,) and gradient["crystal.a_A"].shape == ()


def test_all_scalars_agree():
    """The experiment has no list of reflections, and the parameters are all those that can be numbers."""
    experiment = experiment_of(RICH + GAUSSIAN + "-vdivrange 1 -vdivsteps 2", listed=False)
    image, dense = adjoint.jacobian(experiment, SCALARS)
    y = np.random.default_rng(3).normal(size=image.shape)
    gradient = flat(adjoint.vjp(experiment, SCALARS)[1](y), SCALARS)
    size = np.tensordot(np.abs(y), np.abs(dense), 2)
    assert (size > 0.0).all()
    assert (np.abs(gradient - np.tensordot(y, dense, 2)) <= 1e-12 * size).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["vjp", "jacobian"])
@pytest.mark.parametrize("names", [["crystal.a_A"], [AMPLITUDES], ["beam.fluence", "detector.rotx_deg", "goniometer.phi_deg"]])
def test_image_is_that_of_simulate(kind, by, names):
    if kind == "curved":
        names = [name for name in names if name != "goniometer.phi_deg"]
    experiment = experiment_of(*KINDS[kind])
    expected = simulate(experiment)
    assert expected.max() > 0.0
    if by == "vjp":
        np.testing.assert_array_equal(adjoint.vjp(experiment, names)[0], expected)
    else:
        np.testing.assert_allclose(adjoint.jacobian(experiment, names)[0], expected, rtol=1e-14, atol=0)


STATED = ["-phisteps 5", "-osc 1", "-osc 1 -phisteps 2 -phi 5", "-close_distance 90 -detector_rotx 10", "-xds -ORGX 3 -ORGY 4"]
STATED += ["-Xbeam 3 -detector_abs 70 -detector_thick 50", "-detector_thick 50"]


@pytest.mark.parametrize("words", STATED)
def test_stating_the_parameters_leaves_the_image(words):
    experiment = experiment_of(words + " -nointerpolate", listed=False)
    names = [name for name in SCALARS if name not in adjoint.not_differentiable.reasons(experiment)]
    image = adjoint.vjp(experiment, names)[0]
    np.testing.assert_allclose(image, simulate(experiment), rtol=1e-9, atol=1e-12 * image.max())


@pytest.mark.parametrize("words", ["-phistep 0.3", "-phistep 0.3 -phisteps 5", "-osc 1 -phistep 0.3"])
def test_a_range_that_moves_no_step_is_refused_and_never_restated(words):
    experiment = experiment_of(words, listed=False)
    with pytest.raises(InputError, match="goniometer.osc_deg"):
        adjoint.vjp(experiment, ["goniometer.osc_deg"])


def test_tied_parameters_add_up():
    experiment = experiment_of(PLAIN)
    names = adjoint.cell_parameters("tetragonal")
    assert names == [("crystal.a_A", "crystal.b_A"), "crystal.c_A"]
    image, tied = adjoint.jacobian(experiment, ["beam.fluence", *names, AMPLITUDES])
    _, single = adjoint.jacobian(experiment, ["crystal.a_A", "crystal.b_A", "crystal.c_A"])
    assert tied.shape == (*image.shape, 3 + len(experiment.structure_factors.F))
    np.testing.assert_allclose(tied[..., 1], single[..., 0] + single[..., 1], rtol=0, atol=1e-12 * np.abs(single).max())
    np.testing.assert_allclose(tied[..., 2], single[..., 2], rtol=0, atol=1e-12 * np.abs(single).max())
    value, gradient = adjoint.value_and_grad(Gaussian(1.1 * image), experiment, names)
    assert list(gradient) == ["crystal.a_A", "crystal.c_A"]
    pulled = np.tensordot(-0.1 * image, tied[..., 1:3], 2)
    np.testing.assert_allclose(flat(gradient, names), pulled, rtol=0, atol=1e-12 * np.abs(pulled).max())
    assert value == pytest.approx(0.005 * np.sum(image * image), rel=1e-12)

    def quotient(step):
        start = adjoint.pack(experiment, names)
        moved = central(lambda x: simulate(adjoint.unpack(experiment, names, start + [x, 0])), step)
        return float(np.sum(-0.1 * image * moved))

    found = extrapolated(quotient, 1e-4, 1e-8)
    assert found.error <= 1e-7 * abs(found.value)
    assert float(gradient["crystal.a_A"]) == pytest.approx(found.value, rel=1e-6)


@pytest.mark.parametrize("name", adjoint.VECTORS)
def test_vectors_are_their_components(name):
    experiment = experiment_of(f"{PLAIN} {GAUSSIAN}")
    image, one = adjoint.jacobian(experiment, [name])
    _, each = adjoint.jacobian(experiment, list(adjoint.VECTORS[name]))
    np.testing.assert_array_equal(one, each)
    gradient = adjoint.vjp(experiment, [name])[1](image)
    assert list(gradient) == [name] and gradient[name].shape == (3,)


class Fourth:
    """A user's own loss: the sum of (I - data)^4 / 4."""

    def __init__(self, data):
        self.data = data

    def value(self, image):
        return float(np.sum((image - self.data) ** 4) / 4)

    def derivative(self, image):
        return (image - self.data) ** 3


class Curved(Fourth):
    """The same loss with a curvature, as normal equations need it."""

    def curvature(self, image):
        return 3 * (image - self.data) ** 2


def test_a_loss_of_ones_own(case):
    experiment, names, image, dense = case
    data = 0.9 * image
    value, gradient = adjoint.value_and_grad(Fourth(data), experiment, names)
    assert value == pytest.approx(Fourth(data).value(image), rel=1e-12)
    bar = Fourth(data).derivative(image)
    pulled, size = np.tensordot(bar, dense, 2), np.tensordot(np.abs(bar), np.abs(dense), 2)
    assert (np.abs(flat(gradient, names) - pulled) <= 1e-12 * size).all()
    with pytest.raises(InputError, match="Fourth has no curvature"):
        adjoint.normal_equations(Fourth(data), experiment, names)
    value, gradient, normal = adjoint.normal_equations(Curved(data), experiment, names)
    assert value == pytest.approx(Fourth(data).value(image), rel=1e-12)
    assert (np.abs(flat(gradient, names) - pulled) <= 1e-12 * size).all()
    columns, weight = dense.reshape(-1, dense.shape[2]), Curved(data).curvature(image).ravel()[:, None]
    size = np.abs(columns).T @ (weight * np.abs(columns))
    assert (np.abs(normal - columns.T @ (weight * columns)) <= 1e-12 * size).all()


def test_pixels_that_are_not_rendered_count_for_nothing():
    experiment = experiment_of(PLAIN)
    random = np.random.default_rng(4)
    mask = random.random((18, 20)) < 0.7
    keywords = {"roi": (2, 15, 3, 14), "mask": mask}
    rendered = np.zeros((18, 20), dtype=bool)
    rendered[3:15, 2:16] = mask[3:15, 2:16]
    names = ["crystal.a_A", AMPLITUDES]
    whole, dense = adjoint.jacobian(experiment, names)
    image, part = adjoint.jacobian(experiment, names, **keywords)
    np.testing.assert_array_equal(image, np.where(rendered, whole, 0.0))
    np.testing.assert_array_equal(part, np.where(rendered[..., None], dense, 0.0))
    data = 1.2 * whole + 1.0
    value, gradient, normal = adjoint.normal_equations(Poisson(data, 0.5), experiment, names, **keywords)
    expected = adjoint.normal_equations(Poisson(data, 0.5, mask=rendered), experiment, names)
    assert value == pytest.approx(expected[0], rel=1e-12)
    scale = np.abs(flat(expected[1], names)).max()
    np.testing.assert_allclose(flat(gradient, names), flat(expected[1], names), rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(normal, expected[2], rtol=0, atol=1e-12 * np.abs(normal).max())
    y = random.normal(size=whole.shape)
    found = flat(adjoint.vjp(experiment, names, **keywords)[1](y), names)
    pulled = np.tensordot(y * rendered, dense, 2)
    np.testing.assert_allclose(found, pulled, rtol=0, atol=1e-12 * np.abs(pulled).max())


def test_bits_depend_neither_on_threads_nor_on_progress(case):
    experiment, names, image, _ = case
    loss, before, found = Gaussian(1.3 * image), numba.get_num_threads(), []
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one core")
    seen = []
    try:
        for threads, progress in ((1, None), (2, None), (2, lambda done, total: seen.append((done, total)))):
            numba.set_num_threads(threads)
            value, gradient, normal = adjoint.normal_equations(loss, experiment, names, progress=progress)
            again, other = adjoint.value_and_grad(loss, experiment, names, progress=progress)
            pulled = adjoint.vjp(experiment, names, progress=progress)[1](image)
            dense = adjoint.jacobian(experiment, names, progress=progress)[1]
            flats = [flat(each, names) for each in (gradient, other, pulled)]
            found.append([np.float64(value), np.float64(again), *flats, normal, dense])
    finally:
        numba.set_num_threads(before)
    for other in found[1:]:
        for one, two in zip(found[0], other):
            assert one.tobytes() == two.tobytes()
    assert seen[-1] == (18, 18) and {total for _, total in seen} == {18}


@pytest.mark.parametrize("interpolate, domains", [(False, 1500), (True, 150)])
def test_a_tile_that_sees_more_reflections_than_its_listing_has_room_for(interpolate, domains):
    """The domains of a powder cover the sphere, so that every pixel sees another reflection of each."""
    words = f"-mosaic 90 -mosaic_domains {domains} -detpixels_x 16 -detpixels_y 1 -distance 8 -dispersion 2 -dispsteps 2 "
    experiment = experiment_of(words + "-cell 30 40 50 80 85 95", listed=False)
    h, k, l = (axis.ravel() for axis in np.meshgrid(*3 * [np.arange(-30, 31)], indexing="ij"))
    random = np.random.default_rng(6)
    values = {"structure_factors.hkl": np.column_stack([h, k, l]), "structure_factors.F": random.uniform(20, 200, h.size)}
    experiment = experiment.replace(values | {"structure_factors.interpolate": interpolate})
    image, pullback = adjoint.vjp(experiment, [AMPLITUDES, "crystal.a_A"])
    y = random.normal(size=image.shape)
    gradient = pullback(y)
    amplitude = experiment.structure_factors.F
    assert np.count_nonzero(gradient[AMPLITUDES]) > 2**13
    along = random.normal(size=amplitude.size) * amplitude

    def quotient(step):
        moved = central(lambda x: simulate(experiment.replace({AMPLITUDES: amplitude + x * along})), step)
        return float(np.sum(y * moved))

    slope = float(gradient[AMPLITUDES] @ along)
    assert slope == pytest.approx(quotient(0.1), rel=1e-6)
    alone = adjoint.vjp(experiment, ["crystal.a_A"])[1](y)["crystal.a_A"]
    assert float(gradient["crystal.a_A"]) == pytest.approx(float(alone), rel=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_amplitudes_against_differences(kind):
    """The image is quadratic in the amplitudes, so that one difference is exact.

    For a reflection that is listed twice, the last amplitude counts.
    """
    experiment = experiment_of(*KINDS[kind])
    image, dense = adjoint.jacobian(experiment, [AMPLITUDES])
    amplitude = experiment.structure_factors.F
    brightest = np.argsort(-np.abs(dense).max(axis=(0, 1)))[:6]
    for n in (*brightest, *brightest[:3] % 100):
        ahead, behind = (
            simulate(experiment.replace({AMPLITUDES: amplitude + x * (np.arange(amplitude.size) == n)})) for x in (10.0, -10.0)
        )
        np.testing.assert_allclose(dense[..., n], (ahead - behind) / 20, rtol=1e-6, atol=1e-12 * image.max())
    hkl = experiment.structure_factors.hkl
    first = [n for n in range(100) if (hkl[n + 729] == hkl[n]).all()]
    assert len(first) == 100 and not dense[..., first].any() and dense[..., 729:].any()


REFUSED = {
    "no parameter": (PLAIN, ["detector.distance"], "detector.distance"),
    "none": (PLAIN, [], "parameters"),
    "twice": (PLAIN, ["crystal.a_A", "crystal.a_A"], "crystal.a_A"),
    "twice as a component": (PLAIN, ["crystal.n_cells", "crystal.n_b"], "crystal.n_b"),
    "twice by a tie": (PLAIN, [("crystal.a_A", "crystal.b_A"), "crystal.b_A"], "crystal.b_A"),
    "twice in a tie": (PLAIN, [("crystal.a_A", "crystal.a_A")], "crystal.a_A"),
    "tied and different": (PLAIN, [("crystal.a_A", "crystal.c_A")], "crystal.c_A"),
    "tied vectors": (PLAIN, [("crystal.n_cells", "crystal.n_a")], "crystal.n_cells"),
    "an empty tie": (PLAIN, [()], "ties nothing"),
    "no list": (PLAIN, [AMPLITUDES], AMPLITUDES),
    "tophat": ("-tophat_spots", ["crystal.a_A"], "tophat"),
    "running sum": ("-oversample_omega -c_parity oversample_running_sum", ["beam.fluence"], "oversample_running_sum"),
    "a still": (PLAIN, ["goniometer.osc_deg"], "goniometer.osc_deg"),
    "no sensor": (PLAIN, ["detector.thickness_um"], "detector.thickness_um"),
    "no depth": (PLAIN, ["detector.attenuation_um"], "detector.attenuation_um"),
    "endless": ("-detector_thick 10 -detector_abs inf", ["detector.attenuation_um"], "detector.attenuation_um"),
    "a jump": ("-c_parity phi_carryover -phi 0 -osc 1 -phisteps 3", ["goniometer.phi_deg"], "goniometer.phi_deg"),
    "a jump within": ("-c_parity phi_carryover -phi -1 -osc 2 -phisteps 4", ["goniometer.osc_deg"], "goniometer.osc_deg"),
    "a jump of both": ("-c_parity phi_carryover -phi -1 -osc 2 -phisteps 4", ["goniometer.phi_deg"], "goniometer.phi_deg"),
    "no domains": (PLAIN, ["crystal.mosaic_spread_deg"], "crystal.mosaic_spread_deg"),
    "no polarization": ("-nopolar", ["beam.polarization"], "beam.polarization"),
    "no divergence": (PLAIN, ["beam.vdivrange_mrad"], "beam.vdivrange_mrad"),
    "no dispersion": (PLAIN, ["beam.dispersion_percent"], "beam.dispersion_percent"),
    "no water": (PLAIN, ["background.water_um"], "background.water_um"),
    "a number": (PLAIN, [3], "3"),
    "none at all": (PLAIN, None, "parameters"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused_by_name_in_one_sentence(why):
    words, names, named = REFUSED[why]
    experiment = experiment_of(words, listed=False)
    loss = Gaussian(np.ones((18, 20)))
    calls = [
        lambda: adjoint.vjp(experiment, names),
        lambda: adjoint.jacobian(experiment, names),
        lambda: adjoint.value_and_grad(loss, experiment, names),
        lambda: adjoint.normal_equations(loss, experiment, names),
    ]
    for call in calls:
        with pytest.raises(InputError) as error:
            call()
        assert_one_sentence(error, named)


def assert_one_sentence(error, named):
    """Check that a message is one line without a full stop inside, and that it names a thing."""
    text = str(error.value)
    assert named in text and "\n" not in text and ". " not in text and not text.endswith("."), text


WRONG = {
    "cotangent of another shape": (lambda e: adjoint.vjp(e, ["crystal.a_A"])[1](np.ones((20, 18))), "cotangent"),
    "cotangent of a vector": (lambda e: adjoint.vjp(e, ["crystal.a_A"])[1](np.ones(18 * 20)), "cotangent"),
    "cotangent of words": (lambda e: adjoint.vjp(e, ["crystal.a_A"])[1]([["a"]]), "cotangent"),
    "cotangent with NaN": (lambda e: adjoint.vjp(e, ["crystal.a_A"])[1](np.full((18, 20), np.nan)), "cotangent"),
    "data of another shape": (lambda e: adjoint.value_and_grad(Gaussian(np.ones((20, 18))), e, ["crystal.a_A"]), "data"),
    "data of words": (lambda e: Gaussian([["a"]]), "data"),
    "data that are infinite": (lambda e: Gaussian(np.full((18, 20), np.inf)), "data"),
    "data that are no image": (lambda e: Gaussian(np.ones(5)), "data"),
    "a mask of another shape": (lambda e: Gaussian(np.ones((18, 20)), mask=np.ones((3, 3))), "mask"),
    "a mask of the image": (lambda e: adjoint.vjp(e, ["crystal.a_A"], mask=np.ones((3, 3))), "mask"),
    "a sigma of 0": (lambda e: Gaussian(np.ones((18, 20)), sigma=0.0), "sigma"),
    "a sigma of another shape": (lambda e: Gaussian(np.ones((18, 20)), sigma=np.ones(7)), "sigma"),
    "counts below 0": (lambda e: Poisson(-np.ones((18, 20))), "count"),
    "a background below 0": (lambda e: Poisson(np.ones((18, 20)), background=-1.0), "background"),
    "a derivative of another shape": (
        lambda e: adjoint.value_and_grad(Short(0.0), e, ["crystal.a_A"]),
        "shape",
    ),
    "a keyword": (lambda e: adjoint.vjp(e, ["crystal.a_A"], rio=(1, 2, 3, 4)), "rio"),
    "a backend": (lambda e: adjoint.vjp(e, ["crystal.a_A"], backend="abacus"), "abacus"),
    "a precision": (lambda e: adjoint.jacobian(e, ["crystal.a_A"], precision="half"), "half"),
    "a crystal system": (lambda e: adjoint.cell_parameters("icosahedral"), "icosahedral"),
    "a vector too short": (lambda e: adjoint.unpack(e, ["crystal.a_A"], np.ones(2)), "shape"),
}


class Short(Fourth):
    """A loss with a derivative that is too short."""

    def derivative(self, image):
        return image[1:]


@pytest.mark.parametrize("what", WRONG)
def test_wrong_shapes_and_words_are_refused(what):
    call, named = WRONG[what]
    with pytest.raises(InputError) as error:
        call(experiment_of(PLAIN))
    assert_one_sentence(error, named)


def test_counts_where_none_are_expected_are_refused():
    experiment = experiment_of("-dmin 1000", listed=False)
    assert not simulate(experiment).any()
    for call in (adjoint.value_and_grad, adjoint.normal_equations):
        with pytest.raises(InputError, match="background above 0"):
            call(Poisson(np.ones((18, 20))), experiment, ["crystal.a_A"])


def test_gradient_is_that_of_the_choices_held():
    """Automatic sampling is frozen at the parameters' values: a jump of it is not part of the derivative."""
    experiment = experiment_of(PLAIN, listed=False).replace({"sampling.oversample": None, "crystal.n_a": 60.0})
    base = freeze_choices(experiment, ["crystal.n_a"])
    assert base.sampling.oversample > 1
    image, dense = adjoint.jacobian(experiment, ["crystal.n_a"])
    np.testing.assert_array_equal(image, simulate(experiment))
    moved = central(lambda x: simulate(base.replace({"crystal.n_a": 60.0 + x})), 1e-4)
    np.testing.assert_allclose(dense[..., 0], moved, rtol=1e-5, atol=1e-7 * np.abs(dense).max())
