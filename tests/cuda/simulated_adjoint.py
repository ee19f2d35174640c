"""Derivatives by the CUDA kernels in Numba's simulator, in plain Python, against the CPU's; test_simulator.py runs this."""

import sys

import numpy as np
import panelled
import pytest
from numba import cuda

import adjoint
from adjoint.backends import cuda as driver
from adjoint.backends import cuda_reductions
from adjoint.gradient import with_image_terms
from adjoint.losses import Gaussian, Poisson
from adjoint.parameters import AMPLITUDES
from nbnumba import Experiment, simulate
from nbnumba.backends import Machine, card
from nbnumba.backends.cuda import kernel_jit
from nbnumba.backends.precision import PRECISIONS
from nbnumba.constants import HC_EV_A

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("dirty_memory")]

BLOCK = cuda_reductions.THREADS, cuda_reductions.SEGMENT
cuda_reductions.THREADS, cuda_reductions.SEGMENT = 1, 16
"""An image is two segments, summed by a thread each: simulated threads that wait for each other are slow."""
sys.setswitchinterval(1e-4)

BASE = "-cell 18 20 22 80 95 100 -default_F 10 -misset 10 20 30 -lambda 1.1 -N 3 -fluence 1e26 -nointerpolate "
BASE += "-distance 40 -pixel 5 -detpixels_x 6 -detpixels_y 4 -oversample 1 "
NEAR = "-cell 9 10 11 80 95 100 -Xbeam 20 -Ybeam 12 "
PHI = "-osc 1 -phisteps 2 "
SENSOR = "-detector_thick 400 -detector_abs 200 -detector_thicksteps 2 "
TABLE = {"background.water_um": 0.05, "background.table": ((0.0, 5.0), (0.05, 4.0), (0.1, 6.0), (0.2, 3.0), (0.3, 1.0))}
NAN = float("nan")
SOURCES = {"beam.sources": ((-1.0, 0.002, 0.001, 0.7, 1.09), (-1.0, -0.003, 0.001, 1.3, NAN))}
SPECTRUM = {"beam.spectrum": ((1.09, 0.7), (1.1, 2.0), (1.12, 0.4)), "beam.wavelength_scale": 0.99}
LIGHTS = ["beam.wavelength_scale", "beam.wavelength_offset_A", "beam.source_weights"]
MASK = np.random.default_rng(2).random((4, 6)) < 0.7
CELL = ["crystal.a_A", "crystal.misset_deg", ("crystal.n_a", "crystal.n_b")]
GEOMETRY = ["detector.distance_mm", "beam.wavelength_A", "detector.rotx_deg", "beam.fluence"]
NAMES = [*CELL, *GEOMETRY]
BUT_WAVELENGTH = [name for name in NAMES if name != "beam.wavelength_A"]


def listed(most, **more):
    """Fields of a list of reflections, the first ten of them twice."""
    axis = np.arange(-most, most + 1)
    hkl = np.array(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    hkl = np.concatenate([hkl, hkl[:10]])
    fields = {"hkl": hkl, "F": np.random.default_rng(1).uniform(5.0, 50.0, len(hkl)), **more}
    return {f"structure_factors.{name}": value for name, value in fields.items()}


def by_energy(fields):
    """The same fields with amplitudes of two photon energies, and sources at one of them and between (F9f)."""
    rows = np.random.default_rng(1).uniform(5.0, 50.0, (2, len(fields["structure_factors.hkl"])))
    energies = (HC_EV_A / 1.1, HC_EV_A / 1.07)
    return fields | {"structure_factors.F": rows, "structure_factors.energies_eV": energies} | SOURCES


INTERPOLATED = listed(6, interpolate=True)
WITH = [CELL[0], AMPLITUDES, *CELL[1:], "detector.distance_mm"]
"""Amplitudes in between other parameters."""
LATCH = {"c_parity": "interpolation_latch"}
CASES = {
    "still": ("", {}, {}, NAMES),
    "steps and domains": (
        PHI + "-mosaic 0.5 -mosaic_domains 2", {}, {},
        [*NAMES, "goniometer.phi_deg", "goniometer.osc_deg", "crystal.mosaic_spread_deg"],
    ),
    "domains about axes of the crystal": (
        PHI + "-mosaic_abc 1 4 2 -mosaic_domains 3", {}, {}, [*NAMES, "crystal.mosaic_a_deg", "crystal.mosaic_c_deg"],
    ),
    "cells that differ": (
        PHI + "-cell_spread 0.05 0.1 0.02 -mosaic_domains 3 -mosaic_abc 1 4 2", {}, {},
        [*NAMES, "crystal.cell_spread_a", "crystal.cell_spread_c", "crystal.mosaic_a_deg"],
    ),
    "cells that differ, amplitudes": (
        "-cell_spread 0.05 0 0.02 -mosaic_domains 2 -gauss_xtal", listed(4), {}, [*WITH, "crystal.cell_spread_b"],
    ),
    "displaced": (
        PHI + "-xtal_position 3 -2 4 -water 0.05", {}, {},
        [*NAMES, "crystal.position_mm", "background.water_um", "goniometer.phi_deg"],
    ),
    "B factors": (
        PHI + "-bfactor 200 -bfactor_aniso 30 -20 10 5 -7 9", {}, {}, [*NAMES, "crystal.b_factor_A2", "crystal.b_12_A2"],
    ),
    "B factors, amplitudes": ("-gauss_xtal -bfactor 20", listed(4), {}, [*WITH, "crystal.b_factor_A2"]),
    "B factors, interpolated": (NEAR + "-bfactor 20", INTERPOLATED, {}, [*WITH, "crystal.b_factor_A2"]),
    "oblique": ("-gauss_xtal -N_abc 3.5 3.5 4 -N_def 1 -0.5 0.7", {}, {}, [*NAMES, "crystal.n_def", "crystal.scale"]),
    "phi 0 keeps the lattice": (
        PHI + "-phi 0 -oversample 2", {}, {"c_parity": "phi_carryover", "c_threads": 3}, [*NAMES, "goniometer.osc_deg"],
    ),
    "turned detector": ("-twotheta 20 -detector_rotx 5 -detector_roty -7", {}, {}, [*NAMES, "detector.twotheta_deg"]),
    "layers, factors of each": (
        SENSOR + "-oversample_thick -oversample_polar -oversample_omega -polar 0.5", {}, {},
        [*NAMES, "detector.thickness_um", "detector.attenuation_um", "beam.polarization"],
    ),
    "layers, capture of the last": (SENSOR, {}, {"c_parity": ["capture_last_layer"]}, [*NAMES, "detector.thickness_um"]),
    "sources": ("-hdivrange 10 -hdivsteps 2 -dispersion 2 -dispsteps 2", {}, {}, [*NAMES, "beam.dispersion_percent"]),
    "sources of a file": ("", SOURCES, {}, NAMES),
    "spectrum": ("-hdivrange 10 -hdivsteps 2", SPECTRUM, {}, [*BUT_WAVELENGTH, *LIGHTS]),
    "weights and amplitudes": ("-water 0.05", SPECTRUM | listed(4), {}, [*WITH, *LIGHTS]),
    "resolution": ("-dmin 3", {}, {}, NAMES),
    "water": ("-water 0.05", {}, {}, [*NAMES, "background.water_um"]),
    "air": ("-water 0.05 -air 1e-8", {}, {}, [*NAMES, "background.water_um", "background.air_mm"]),
    "ice": ("-ice 0.05 -ice_size 50 -air 1e-8", {}, {}, [*NAMES, "background.ice_um", "background.ice_size_A"]),
    "table": ("", TABLE, {}, [*NAMES, "background.water_um"]),
    "region and mask": ("", {}, {"roi": (1, 4, 1, 3), "mask": MASK}, NAMES),
    "point pixels": ("-point_pixel", {}, {}, NAMES),
    "round": ("-round_xtal", {}, {}, NAMES),
    "gauss": ("-gauss_xtal " + PHI, {}, {}, NAMES),
    "curved": ("-curved_det -round_xtal " + PHI, {}, {}, NAMES),
    "amplitudes": ("-mosaic 25 -mosaic_domains 3", listed(4), {}, WITH),
    "amplitudes of the second lattice": (
        "-osc 60 -phisteps 3 -phi 0", listed(4), {"c_parity": "phi_carryover", "c_threads": 2}, WITH,
    ),
    "amplitudes in a region": ("-oversample 2", listed(4), {"roi": (1, 4, 1, 3), "mask": MASK}, WITH),
    "amplitudes by energy": ("", by_energy(listed(4)), {}, WITH),
    "looked up": ("", listed(4), {}, NAMES),
    "interpolated": (NEAR, INTERPOLATED, {}, WITH),
    "interpolated, round": (NEAR + "-round_xtal", INTERPOLATED, {}, NAMES),
    "latched": (NEAR, INTERPOLATED, LATCH, WITH),
}  # fmt: skip


class Cauchy:
    """A loss that the kernels do not know."""

    def __init__(self, data):
        self.data = data

    def value(self, image):
        return float(np.log1p((image - self.data) ** 2 / 2.0).sum())

    def derivative(self, image):
        off = image - self.data
        return off / (1.0 + off * off / 2.0)

    def curvature(self, image):
        return 1.0 / (1.0 + (image - self.data) ** 2 / 2.0)


def made(name):
    """The experiment of a case, keywords, parameters, its image and Jacobian on the CPU."""
    words, fields, keywords, names = CASES[name]
    experiment = Experiment.from_args((BASE + words).split()).replace(fields)
    return experiment, keywords, names, *adjoint.jacobian(experiment, names, **keywords)


def losses(image):
    """A loss of each kind, of data that are NaN in some pixels where it can be told."""
    random = np.random.default_rng(7)
    data = image * random.uniform(0.5, 1.5, image.shape)
    gappy = np.where(random.random(image.shape) < 0.2, NAN, data)
    assert 2 < np.isnan(gappy).sum() < gappy.size / 2
    below = 0.1 * image.max()
    return {"poisson": Poisson(gappy, below), "gaussian": Gaussian(gappy, 0.1 * image + below), "own": Cauchy(data)}


def terms(loss, image, rendered):
    """Size of the derivative by each pixel (slow, fast), and its curvature; 0 where a pixel does not count."""
    if isinstance(loss, Cauchy):
        return np.abs(loss.derivative(image)), loss.curvature(image)
    counts, data = rendered & ~np.isnan(loss.data), np.nan_to_num(loss.data)
    if isinstance(loss, Gaussian):
        return np.where(counts, np.abs(image - data) * loss.weight, 0.0), np.where(counts, loss.weight, 0.0)
    mean = image + loss.weight
    return np.where(counts, np.abs(1.0 - data / mean), 0.0), np.where(counts, 1.0 / mean, 0.0)


def flat(gradient):
    return np.concatenate([np.ravel(part) for part in gradient.values()])


def compared(name, precision, of, reference="double"):
    """Image, Jacobian, pulled cotangent, and all that follows from three losses, to a part `of` the sizes of their terms."""
    experiment, keywords, names, image, dense = made(name)
    on_card, on_cpu = ({**keywords, "backend": b, "precision": p} for b, p in (("cuda", precision), ("cpu", reference)))
    card.check()
    if AMPLITUDES not in names:
        assert (np.abs(dense).max(axis=(0, 1)) > 0.0).all()
    else:
        assert 15 < (np.abs(dense).max(axis=(0, 1)) > 0.0).sum() < dense.shape[2]
    largest = np.abs(dense).max(axis=(0, 1))
    found, expected = adjoint.jacobian(experiment, names, **on_card), adjoint.jacobian(experiment, names, **on_cpu)
    assert (np.abs(found[0] - expected[0]) <= of * image.max()).all()
    assert (np.abs(found[1] - expected[1]) <= 10 * of * largest).all()
    y = np.random.default_rng(3).normal(size=image.shape)
    pulled = [flat(adjoint.vjp(experiment, names, **k)[1](y)) for k in (on_card, on_cpu)]
    size = np.tensordot(np.abs(y), np.abs(dense) + largest, 2)
    assert (np.abs(pulled[0] - pulled[1]) <= of * size).all()
    kinds = losses(image)
    every = precision == "double" and name in ("still", "amplitudes")
    chosen = kinds if every else [sorted(kinds)[list(CASES).index(name) % 3]]
    for kind in chosen:
        loss = kinds[kind]
        r, w = terms(loss, image, image > 0.0)
        found, expected = (adjoint.normal_equations(loss, experiment, names, **k) for k in (on_card, on_cpu))
        alone = adjoint.value_and_grad(loss, experiment, names, **on_card)
        wide = np.abs(dense) + largest
        by_first = np.tensordot(r + w * image.max(), wide, 2)
        by_second = np.tensordot(wide, w[..., None] * wide, ((0, 1), (0, 1)))
        assert expected[0] > 0.0 and np.abs(flat(expected[1])).max() > 0.0 and np.abs(expected[2]).max() > 0.0
        near = abs(found[0] - expected[0]), abs(alone[0] - expected[0])
        assert max(near) <= of * (expected[0] + (r + w * image.max()).sum() * image.max()), kind
        for gradient in (found[1], alone[1]):
            assert (np.abs(flat(gradient) - flat(expected[1])) <= 10 * of * by_first).all(), kind
        cancelled = 100 if "beam.source_weights" in names else 1  # in derivatives by weights what all sources share cancels
        assert (np.abs(found[2] - expected[2]) <= 10 * of * cancelled * by_second).all(), kind
        np.testing.assert_array_equal(found[2], found[2].T)


@pytest.mark.parametrize("name", CASES)
def test_double(name):
    compared(name, "double", 1e-12)


SOME = ["steps and domains", "curved", "amplitudes", "interpolated"]


@pytest.mark.parametrize("precision", ["mixed", "paired"])
@pytest.mark.parametrize("name", ["steps and domains", "amplitudes"])
def test_mixed_and_paired_against_double(name, precision):
    compared(name, precision, 1e-6)


@pytest.mark.parametrize("precision", ["mixed", "paired", "single"])
@pytest.mark.parametrize("name", SOME)
def test_a_precision_against_itself(name, precision):
    compared(name, precision, 1e-4 if precision == "single" else 1e-6, precision)


def everything(name, precision="double"):
    """What all functions return on the card, as one list of arrays."""
    words, fields, keywords, names = CASES[name]
    experiment = Experiment.from_args((BASE + words).split()).replace(fields)
    keywords = {**keywords, "backend": "cuda", "precision": precision}
    image, dense = adjoint.jacobian(experiment, names, **keywords)
    loss = losses(simulate(experiment))["poisson"]
    value, gradient, normal = adjoint.normal_equations(loss, experiment, names, **keywords)
    again, other = adjoint.value_and_grad(loss, experiment, names, **keywords)
    return [image, dense, np.float64(value), flat(gradient), normal, np.float64(again), flat(other)]


REPEATED = [("steps and domains", "double"), ("curved", "double"), *(("amplitudes", p) for p in ("mixed", "paired", "single"))]


@pytest.mark.parametrize("name, precision", REPEATED)
def test_bits_repeat(name, precision):
    """In memory that is made anew."""
    first = everything(name, precision)
    card._kept.clear()
    for one, other in zip(first, everything(name, precision)):
        assert one.tobytes() == other.tobytes() and np.abs(one).max() > 0.0


def small_chunks(monkeypatch):
    monkeypatch.setattr(driver, "CHUNK", 7)
    monkeypatch.setattr(driver, "CHUNK_WITH_AMPLITUDES", 18)


@pytest.mark.parametrize("name", ["still", "region and mask", "amplitudes", "amplitudes in a region", "interpolated"])
def test_chunks(monkeypatch, name):
    """By one row or three at a time: the same pixels bit for bit, the same sums but for their order."""
    whole = everything(name)
    small_chunks(monkeypatch)
    parts = everything(name)
    for one, other in zip(whole[:2], parts[:2]):
        assert one.tobytes() == other.tobytes()
    for one, other in zip(whole[2:], parts[2:]):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-13 * np.abs(one).max())


@pytest.mark.parametrize("name", ["amplitudes", "amplitudes of the second lattice", "interpolated", "latched"])
def test_listings_grow(monkeypatch, name):
    """Listings that have room for one reflection are made anew, larger, and nothing is lost."""
    whole, sizes, make = everything(name), [], driver._empty_tables
    monkeypatch.setattr(driver, "REFLECTIONS", 1)
    monkeypatch.setattr(driver, "_empty_tables", lambda count, size, kind: sizes.append(size) or make(count, size, kind))
    for one, other in zip(whole, everything(name)):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-13 * np.abs(one).max())
    assert min(sizes) == 2 < max(sizes)

@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_kept_between_calls(precision):
    """Other values, data and masks in memory of the same shape are those of the call."""
    words, fields, _, names = CASES["amplitudes"]
    first = Experiment.from_args((BASE + words).split()).replace(fields)
    second = first.replace({"structure_factors.F": 2.0 * first.structure_factors.F, "crystal.misset_x_deg": 11.0})
    loss = losses(simulate(first))["gaussian"]
    other = Gaussian(3.0 * loss.data, 2.0)
    calls = [(first, loss, None), (second, loss, None), (first, other, None), (first, loss, MASK), (first, loss, ~MASK)]
    calls.append(calls[0])
    gradients = [
        flat(adjoint.value_and_grad(chosen_loss, experiment, names, mask=mask, backend="cuda", precision=precision)[1])
        for experiment, chosen_loss, mask in calls
    ]
    of = {"double": 1e-12, "single": 1e-3}.get(precision, 1e-5)
    for (experiment, chosen_loss, mask), gradient in zip(calls, gradients):
        expected = flat(adjoint.value_and_grad(chosen_loss, experiment, names, mask=mask, precision=precision)[1])
        assert (np.abs(gradient - expected) <= of * np.abs(expected).max()).all()
    assert gradients[0].tobytes() == gradients[-1].tobytes()
    for n in range(1, 5):
        assert np.abs(gradients[0] - gradients[n]).max() > 1e-2 * np.abs(gradients[0]).max()


@pytest.mark.parametrize("kind", ["poisson", "gaussian", "own"])
@pytest.mark.parametrize("names", [NAMES, [], WITH], ids=["parameters", "none", "amplitudes"])
def test_what_stands_beside(monkeypatch, names, kind):
    """A scale of the photons and two fields beside the parameters, with the matrix and without, whole and by chunks."""
    if kind == "gaussian":
        small_chunks(monkeypatch)
    experiment = Experiment.from_args(BASE.split()).replace(listed(4))
    fields = np.random.default_rng(4).uniform(0.0, 3.0, (2, 4, 6))
    image = simulate(experiment)
    loss = losses(image)[kind]
    for with_normal in (True, False):
        expected = with_image_terms(loss, experiment, names, fields, with_normal)
        found = with_image_terms(loss, experiment, names, fields, with_normal, Machine("cuda", "double"))
        assert found[0] == pytest.approx(expected[0], rel=1e-11)
        assert (np.abs(found[1] - expected[1]) <= 1e-11 * np.abs(expected[1]).max()).all()
        assert np.abs(expected[1][-3:]).min() > 0.0
        if with_normal:
            size = np.sqrt(np.outer(np.diag(expected[2]), np.diag(expected[2])))
            assert (np.abs(found[2] - expected[2]) <= 1e-11 * size + 1e-13 * size.max()).all()
        else:
            assert found[2] is None


@pytest.mark.parametrize("shapes", [((3, 4),) * 4, ((3, 4), (4, 2), (2, 5))])
def test_panels(shapes):
    """Of a loss by what moves panels, groups and the crystal, and by amplitudes, which all panels share."""
    made = panelled.experiment(3, shapes).replace(listed(4))
    names = ["detector.rotx_deg", "detector.group[q0].turn_fast_deg", "detector.group[q1].shift_slow_mm", AMPLITUDES, *CELL]
    image = simulate(made)
    loss = Gaussian([part * 1.1 for part in image] if len(set(shapes)) > 1 else image * 1.1, sigma=1e-3)
    value, gradient = adjoint.value_and_grad(loss, made, names)
    on_card = adjoint.value_and_grad(loss, made, names, backend="cuda")
    assert on_card[0] == pytest.approx(value, rel=1e-9)
    for name, expected in gradient.items():
        np.testing.assert_allclose(on_card[1][name], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    few = names[:3]
    normal = adjoint.normal_equations(loss, made, few)[2]
    np.testing.assert_allclose(adjoint.normal_equations(loss, made, few, backend="cuda")[2], normal, rtol=1e-9)
    for part, expected in zip(adjoint.jacobian(made, few, backend="cuda")[1], adjoint.jacobian(made, few)[1], strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_many_lattices():
    """Their derivatives are summed in float32 some at a time: 20000 cost no more digits than one."""
    flags = BASE + "-detpixels_x 1 -detpixels_y 1 -Xbeam 10 -Ybeam 5 -mosaic 0.5 -mosaic_domains 20000"
    experiment = Experiment.from_args(flags.split())
    names = ["crystal.n_a", "crystal.a_A", "crystal.misset_x_deg", "detector.distance_mm", "goniometer.phi_deg"]
    double, mixed = (adjoint.jacobian(experiment, names, backend="cuda", precision=p)[1] for p in ("double", "mixed"))
    np.testing.assert_allclose(mixed, double, rtol=3e-7)


@pytest.mark.parametrize("phases", ["exact", [adjoint.Phase("positions"), adjoint.Phase("all", exact=True)]])
def test_a_refinement(phases):
    """It ends where that on the CPU ends, with the same uncertainties."""
    truth = Experiment.from_args((BASE + "-oversample 1 -detpixels_x 6 -detpixels_y 4").split())
    counts = np.random.default_rng(1).poisson(simulate(truth) * (300.0 / simulate(truth).max()) + 3.0).astype(float)
    truth = truth.replace({"beam.fluence": truth.value("beam.fluence") * 300.0 / simulate(truth).max()})
    start = truth.replace({"crystal.misset_x_deg": 10.5, "beam.fluence": 0.8 * truth.value("beam.fluence")})
    names = ["crystal.misset_x_deg", "beam.fluence", "image.background"]
    given = {"image": {"background": 2.0}, "phases": phases}
    card._kept.clear()
    on_card_result = adjoint.refine(start, counts, names, backend="cuda", **given)
    assert card._kept
    expected = adjoint.refine(start, counts, names, **given)
    assert on_card_result.success and expected.success
    for name in names:
        sigma = expected.uncertainties[name]
        assert abs(on_card_result.values[name] - expected.values[name]) <= 1e-3 * sigma
        assert on_card_result.uncertainties[name] == pytest.approx(sigma, rel=1e-3)
    off = (on_card_result.values["crystal.misset_x_deg"] - 10.0) / on_card_result.uncertainties["crystal.misset_x_deg"]
    assert abs(off) < 5.0 and on_card_result.values["crystal.misset_x_deg"] != 10.5


@pytest.mark.parametrize("precision", ["double", "single"])
def test_sums_of_several_blocks(monkeypatch, precision):
    """Products of rows that are more than a block sums, in more launches than one, the last block not full."""
    kind = PRECISIONS[precision].wide
    monkeypatch.setattr(cuda_reductions, "THREADS", BLOCK[0])
    monkeypatch.setattr(cuda_reductions, "SEGMENT", BLOCK[1])
    count, random = 2 * cuda_reductions.SEGMENT + 77, np.random.default_rng(9)
    rows = random.normal(size=(4, count)).astype(kind)
    none = cuda_reductions.NONE
    factors = [(n, none, none) for n in range(4)] + [(0, 1, none), (1, 2, 3), (3, 3, 3)]
    chosen = [[rows[n].astype(float) if n >= 0 else np.ones(count) for n in slots] for slots in factors]
    monkeypatch.setattr(cuda_reductions, "TOGETHER", 3)
    compiled = kernel_jit(cuda_reductions.sum_products, {"wide": kind}, "sums_of_a_block")
    sums = cuda_reductions.sum_rows(compiled, cuda.to_device(rows), factors, kind)
    bound = 1e-5 if precision == "single" else 1e-14
    for value, (a, b, c) in zip(sums, chosen):
        assert abs(value - (a * b * c).sum()) <= bound * np.abs(a * b * c).sum()
    assert sums.shape == (7,) and cuda_reductions.sum_rows(None, None, [], kind).shape == (0,)


def test_a_projection():
    """Rows by parameters are the channels times the projection, times a weight; other rows stay."""
    random = np.random.default_rng(10)
    rows, projection = random.normal(size=(9, 150)), random.normal(size=(2, 4))
    rows_on_card = cuda.to_device(rows)
    driver.project_kernel("double")[(2, 2), 128](rows_on_card, 6, cuda.to_device(projection), 2, 0)
    projected = rows_on_card.copy_to_host()
    np.testing.assert_allclose(projected[6:8], projection @ rows[2:6] * rows[0], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(np.delete(projected, (6, 7), axis=0), np.delete(rows, (6, 7), axis=0))
