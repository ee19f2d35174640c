"""Refinements with a known answer: 200 random problems, the supervisor's frame, and an image of nanoBragg.c."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from problems import made, refined

import adjoint
from nbnumba import Experiment, simulate

PROBLEMS = 200
CONVERGED, WITHIN = 0.95, 3.0
"""So many problems end within so many standard uncertainties of the truth in all numbers."""
NARROWEST, WIDEST = 0.9, 1.1
"""Bounds of the standard deviation of (estimate - truth) / uncertainty, over all numbers of all problems that converged."""


@pytest.fixture(scope="module")
def ends():
    """The results of all problems, from as many processes as there are cores."""
    made(0)
    with ProcessPoolExecutor(min(2, multiprocessing.cpu_count()), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(refined, range(PROBLEMS), chunksize=5))


@pytest.mark.long
def test_random_problems_converge(ends):
    """Starts that are one to five widths of a spot away converge to within three uncertainties, in every convention."""
    home = [success and np.abs(off).max() <= WITHIN for _, _, success, off, _ in ends]
    lost = [(number, end[:3], end[4]) for number, end in enumerate(ends) if not home[number]]
    assert sum(home) >= CONVERGED * PROBLEMS, lost
    assert {convention for convention, *_ in ends} == {"mosflm", "adxv", "denzo", "xds", "dials", "custom"}
    assert min(len(off) for *_, off, _ in ends) <= 3 and max(len(off) for *_, off, _ in ends) >= 10
    assert min(far for _, far, *_ in ends) < 1.2 and max(far for _, far, *_ in ends) > 4.8


@pytest.mark.long
def test_uncertainties_are_honest(ends):
    """Estimates scatter about the truth as their uncertainties predict, without a bias."""
    off = np.concatenate([off for _, _, success, off, _ in ends if success and np.abs(off).max() < 6.0])
    assert len(off) > 5 * PROBLEMS
    assert NARROWEST < off.std() < WIDEST and abs(off.mean()) < 0.1


NAMES = ["detector.distance_mm", "detector.xbeam_mm", "detector.ybeam_mm"]
NAMES += ["detector.rotx_deg", "detector.roty_deg", "detector.rotz_deg"]
NAMES += ["crystal.misset_x_deg", "crystal.misset_y_deg", "crystal.misset_z_deg"]
OFF = dict(zip(NAMES, [0.3, 0.2, -0.2, 0.1, -0.1, 0.1, -0.1, 0.1, 0.1]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_supervisors_frame(golden):
    """Detector and crystal of the supervisor's frame from 0.3 mm, 0.2 mm and 0.1 degrees off, on 512 x 512 pixels, in a minute.

    About the beam, detector and crystal turn together: that cannot be told from this image, and is said.
    """
    args = golden.args("supervisor_roi_t1")
    truth = Experiment.from_args(args).replace({"sampling.roi": (1180, 1691, 1200, 1711)})
    truth = truth.replace({name: truth.value(name) for name in NAMES})
    bright = simulate(truth).max()
    truth = truth.replace({"beam.fluence": truth.value("beam.fluence") * 5000.0 / bright})
    counts = np.random.default_rng(1).poisson(simulate(truth) + 1.0)
    start = truth.replace({name: truth.value(name) + off for name, off in OFF.items()})
    began = time.monotonic()
    done = adjoint.refine(start, counts, NAMES, image={"background": 1.0})
    assert time.monotonic() - began < 60.0
    assert done.success and abs(done.chi_squared - 1.0) < 0.02
    for name in NAMES:
        assert abs(done.values[name] - truth.value(name)) < WITHIN * done.uncertainties[name], name
    assert any("detector.rotz_deg and crystal.misset_z_deg" in sentence for sentence in done.diagnosis)
    together = [done.values[name] - truth.value(name) for name in ("detector.rotz_deg", "crystal.misset_z_deg")]
    assert abs(together[0] - together[1]) < 0.01
    for name, sure in (("detector.distance_mm", 0.05), ("crystal.misset_x_deg", 0.01), ("crystal.misset_y_deg", 0.01)):
        assert done.uncertainties[name] < sure


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_image_of_nanobragg_with_carryover(golden):
    """The crystal of nanoBragg.c's own image is found in c-parity mode; in spec mode its orientation is off by what the
    lattice that is carried over from one pixel to the next does."""
    case, image = golden.cases["supervisor_hkl_roi"], golden.parity["supervisor_hkl_roi"].astype(float)
    stated = Experiment.from_args(golden.args("supervisor_hkl_roi"))
    left, right, low, high = case["roi"]
    scale = 2e4 / image.max()
    counts = np.full(stated.detector.pixels[::-1], np.nan)
    counts[low : high + 1, left : right + 1] = np.random.default_rng(0).poisson(image * scale + 0.5)
    start = stated.replace({"crystal.misset_deg": (0.05, -0.04, 0.03)})
    off = {}
    for mode, switches in (("c-parity", "all"), ("spec", ())):
        names = ["crystal.misset_deg", "image.scale", "image.background"]
        settings = {"image": {"scale": scale, "background": 0.5}, "c_parity": switches, "c_threads": case["c_threads"]}
        done = adjoint.refine(start, counts, names, **settings)
        assert done.success
        off[mode] = done.values["crystal.misset_deg"] / done.uncertainties["crystal.misset_deg"]
    assert np.abs(off["c-parity"]).max() < WITHIN
    assert np.abs(off["spec"]).max() > 4.0
