"""Every reference case against nbnumba: images pixel by pixel, the mission's pixel, and traces factor by factor."""

import shlex

import numpy as np
import pytest
from golden_cases import GOLDEN

from nbnumba import Experiment, simulate
from nbnumba.parity import SWITCHES
from nbnumba.trace import trace

CASES = [
    "cubic", "triclinic_hkl", "tilted", "tilted_pivot_sample", "xds_orgxy", "dials", "adxv", "denzo", "mosflm_beam",
    "close_distance", "supervisor_roi_t1", "supervisor_roi_t11", "supervisor_hkl_roi", "phi0_t1", "phi0_t2", "phi0_t5",
    "phi10", "phi_through_zero", "mosaic", "mosaic_seed_phi0", "oversample3", "oversample2_omega_polar", "polar",
    "nopolar_pointpixel", "water_flux", "misset_random", "triclinic_extreme_misset", "noise_low", "noise_high", "noise",
    "phi0_sources", "divergence_round", "divergence_square_dispersion", "sourcefile", "round_xtal", "gauss_xtal_fudge",
    "tophat", "interpolate", "absorption", "absorption_oversample_thick", "curved", "samplesize", "mat_dmin", "mask",
]  # fmt: skip

MISSION = "supervisor_roi_t1"
SLOW, FAST = 685, 1039
OMEGA, POLAR = 4.20412684465831e-07, 0.91463969894451
R_E_SQR, FLUENCE, STEPS = 7.94079248018965e-30, 1e24, 10

TRACES = sorted(path.stem for path in (GOLDEN / "traces").glob("*.log"))


def without(args, flag, values):
    """A command line without a flag and its values."""
    if flag not in args:
        return args
    place = args.index(flag)
    return args[:place] + args[place + 1 + values :]


def experiment_of(args):
    """The experiment of a command line of the reference, which may also name an output file and a pixel to trace."""
    return Experiment.from_args(without(without(args, "-noisefile", 1), "-trace_pixel", 2))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reference", ["parity", "fixed"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_image_equals_the_reference(golden, name, reference):
    images = getattr(golden, reference)
    if name not in images:
        assert (name, reference) == ("water_flux", "fixed")
        return
    case, expected = golden.cases[name], images[name].astype(np.float64)
    left_out = {"phi_carryover", "oversample_running_sum"} if reference == "fixed" else set()
    switches = ["-c_parity", *sorted(set(SWITCHES) - left_out), "-c_threads", str(case["c_threads"])]
    image = simulate(experiment_of(golden.args(name) + switches))
    if case["roi"]:
        xmin, xmax, ymin, ymax = case["roi"]
        assert np.count_nonzero(image) == np.count_nonzero(image[ymin : ymax + 1, xmin : xmax + 1])
        image = image[ymin : ymax + 1, xmin : xmax + 1]
    assert image.shape == expected.shape == tuple(case["shape"])
    excess = np.abs(image - expected) - (1e-6 * np.abs(expected) + 1e-9 * np.abs(expected).max())
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess.max() <= 0, f"pixel {worst}: {image[worst]!r}, reference {expected[worst]!r}"


def test_every_case_of_the_reference_is_here(golden):
    assert sorted(CASES) == sorted(golden.cases)
    assert set(golden.parity.files) >= set(CASES)
    assert set(golden.fixed.files) >= set(CASES) - {"water_flux"}


def test_the_references_differ_where_phi_is_zero(golden):
    """The two comparisons above differ, so that nbnumba's default image cannot pass for C's."""
    parity, fixed = (images["supervisor_roi_t1"].astype(np.float64) for images in (golden.parity, golden.fixed))
    assert np.abs(parity - fixed).max() > 1e-2 * parity.max()


@pytest.mark.filterwarnings("ignore:detector.pix0_mm has no effect")
@pytest.mark.parametrize(
    "switches, f_latt, intensity", [("all", -2.38319665299058, 943654.80923755), ((), None, 807189.768677586)]
)
def test_mission_pixel(golden, switches, f_latt, intensity):
    """The value comes once from the trace and once from the kernel, divided by the factors that C printed for the pixel."""
    experiment = experiment_of(golden.args(MISSION))
    chain = trace(experiment, SLOW, FAST, c_parity=switches)
    assert chain["I_before_scaling"] == pytest.approx(intensity, rel=1e-9)
    if f_latt is not None:
        assert chain["F_latt"] == pytest.approx(f_latt, rel=1e-9)
        assert chain.samples[0].phi_steps[0].lattice == pytest.approx(f_latt, rel=1e-9)
    image = simulate(experiment, c_parity=switches, roi=(1020, 1069, 670, 719))
    unscaled = image[SLOW, FAST] / (R_E_SQR * FLUENCE / STEPS * OMEGA * POLAR)
    assert unscaled == pytest.approx(intensity, rel=1e-9)
    assert chain["I_pixel_final"] == pytest.approx(image[SLOW, FAST], rel=1e-12)


@pytest.mark.filterwarnings("ignore:detector.pix0_mm has no effect")
def test_mission_pixel_rendered_first_in_its_thread_is_not_carried_over(golden):
    image = simulate(experiment_of(golden.args(MISSION)), c_parity="all", roi=(FAST, FAST, SLOW, SLOW))
    unscaled = image[SLOW, FAST] / (R_E_SQR * FLUENCE / STEPS * OMEGA * POLAR)
    assert unscaled == pytest.approx(807189.768677586, rel=1e-9)


def read_log(name):
    """The command line of a trace; of each sample its factors {name: values} and phi steps [{name: value}]; the pixel's
    own factors."""
    args, samples, pixel = None, [], {}
    for line in (GOLDEN / "traces" / f"{name}.log").read_text().splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if line.startswith("# args: "):
            args = shlex.split(line.removeprefix("# args: "))
        elif kind == "TRACE_C_PHI":
            samples[-1][1].append({key: float(value) for key, value in (word.split("=") for word in words)})
        elif kind == "TRACE_C:":
            if words[0] == "pix0_vector_meters":
                samples.append(({}, []))
            factors = pixel if words[0] == "I_before_scaling" or pixel else samples[-1][0]
            factors[words[0]] = np.array([float(word) for word in words[1:]])
    return args, samples, pixel


def wrong_factors(traced, expected):
    """The factors that differ by more than 1e-6 of the length of the vector, or of the number."""
    traced, wrong = dict(traced), {}
    for name, values in expected.items():
        tolerance = 1e-6 * np.sqrt(np.sum(np.square(values))) + 1e-300
        if np.abs(np.array(traced[name]) - values).max() > tolerance:
            wrong[name] = (traced[name], values)
    return wrong


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_trace_equals_the_reference_in_every_factor(golden, name):
    args, samples, pixel = read_log(name)
    args = [str(golden.files.get(word, word)) for word in args]
    slow, fast = (int(args[args.index("-trace_pixel") + i]) for i in (1, 2))
    chain = trace(experiment_of(args), slow, fast, c_parity="all", c_threads=1)
    assert len(pixel) == 14
    assert not wrong_factors(chain.factors, pixel)
    assert len(chain.samples) == len(samples) >= 1
    for sample, (factors, phi_steps) in zip(chain.samples, samples):
        assert len(factors) >= 23
        assert not wrong_factors(sample.factors, factors)
        steps = [step for step in sample.phi_steps if step.domain == 0]
        assert len(steps) == len(phi_steps) >= 1
        for step, line in zip(steps, phi_steps):
            assert step.step == line["phi_tic"]
            assert step.phi_deg == pytest.approx(line["phi_deg"], abs=1e-6)
            assert step.hkl[1] == pytest.approx(line["k_frac"], rel=1e-6)
            assert step.lattice_abc[1] == pytest.approx(line["F_latt_b"], rel=1e-6)
            assert step.lattice == pytest.approx(line["F_latt"], rel=1e-6)
