"""The cost of an image, which is counted before the image is computed, against the tables of its scene."""

import math
import shlex
import time

import numpy as np
import pytest

import adjoint
import nbnumba.cost
import nbnumba.trace
from nbnumba import Crystal, Detector, Experiment, InputError, StructureFactors, simulate
from nbnumba.backends import CPU, Machine, threads
from nbnumba.cli.main import main
from nbnumba.cost import AMPLITUDE_BYTES, REFLECTION_BYTES, available_bytes, check, cost, granted
from nbnumba.loops import patches
from nbnumba.setup import culled_work, sampling, scene, structure
from nbnumba.setup.sources import sweep

BASE = "-cell 50 60 70 80 90 100 -default_F 10 -lambda 2 -N 3 -detpixels 8 -distance 50 "
CASES = [
    "",
    "-oversample 3",
    "-N 3000 -detpixels 4",
    "-detector_thick 100 -detector_abs 50 -detector_thicksteps 3",
    "-detector_thick 100 -detector_abs 50 -detector_thicksteps 1 -c_parity",
    "-osc 1",
    "-osc 1 -phistep 0.3 -mosaic 1",
    "-phistep 0.3 -mosaic 1 -mosaic_domains 7",
    "-mosaic_domains 7",
    "-divergence 1 -divsteps 5 -dispersion 1 -dispsteps 3",
    "-divergence 1 -divsteps 5 -square_div",
    "-hdivrange 1 -hdivstep 0.3 -vdivstep 0.2",
    "-hdivsteps 7",
    "-dispersion 1 -dispsteps 1",
    "-dispersion 1 -dispsteps 1 -c_parity",
    "-roi 2 5 3 3",
]


@pytest.mark.parametrize("more", CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_counts_are_those_of_the_tables(more):
    experiment = Experiment.from_args(shlex.split(BASE + more))
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
    built, counted = scene.build(experiment, wanted), cost(experiment)
    assert counted.sources == len(built.sources.weight)
    assert counted.lattices == len(built.orientations.lattice)
    assert counted.samples == built.sampling.layers * built.sampling.oversample**2
    assert counted.steps_per_pixel == scene.steps_per_pixel(built)
    asked = []
    simulate(experiment, progress=lambda done, total: asked.append(total))
    columns = wanted.columns[1] - wanted.columns[0]
    assert counted.steps == asked[-1] * columns * scene.steps_per_pixel(built)
    assert counted.seconds > 0 and counted.bytes > 8 * math.prod(experiment.detector.pixels)


def test_a_mask_leaves_pixels_out():
    mask = np.zeros((8, 8), dtype=int)
    mask[2:4, 1:] = 1
    experiment = Experiment.from_args(BASE.split()).replace({"sampling.mask": mask, "sampling.roi": (0, 3, 0, 7)})
    assert cost(experiment).pixels == 6


@pytest.mark.parametrize("more", ["-phisteps 2147483647", "-osc 1 -phistep 1e-100", "-hdivrange 1 -hdivstep 1e-100"])
def test_what_nobody_can_compute_is_counted_at_once(more):
    counted = cost(Experiment.from_args((BASE + more).split()))
    assert counted.steps > 1e11 and counted.seconds > 1e4 and counted.bytes > 1e12


def test_interpolation_takes_longer_and_threads_less():
    def seconds(more, threads=1, machine=CPU):
        return cost(Experiment.from_args((BASE + more).split()), machine, threads).seconds

    reflections = {"structure_factors.hkl": [[0, 0, 0], [9, 9, 9]], "structure_factors.F": [1.0, 2.0]}
    interpolated = Experiment.from_args(BASE.split()).replace({**reflections, "structure_factors.interpolate": True})
    assert cost(interpolated, CPU, 1).seconds > 1.2 * seconds("")
    assert seconds("-round_xtal") == seconds("")
    assert seconds(" -detpixels 64", threads=4) < 0.5 * seconds(" -detpixels 64")
    assert math.isnan(seconds("", machine=Machine("cuda", "mixed")))


def test_a_box_of_reflections_is_counted():
    experiment = Experiment.from_args(BASE.split())
    listed = experiment.replace({"structure_factors.hkl": [[0, 0, 0], [99, 99, 99]], "structure_factors.F": [1.0, 2.0]})
    assert cost(listed).bytes - cost(experiment).bytes == AMPLITUDE_BYTES * 100**3 + 2 * REFLECTION_BYTES


def test_a_sweep_of_too_many_steps_is_not_made():
    assert sweep(None, 1.0, 1e-320, False)[0] > 2**61


@pytest.mark.parametrize(
    "more, words",
    [
        ("-dispersion 1 -dispsteps 1000000000", ["1e+09 sources", "beam.dispsteps", "GB"]),
        ("-hdivrange 1 -hdivstep 1e-9", ["1e+09 sources", "beam.hdivstep_mrad", "GB"]),
        ("-osc 1 -phistep 1e-9", ["1e+09 lattices", "goniometer.phistep_deg", "GB"]),
        ("-mosaic 1 -mosaic_domains 2000000000", ["2e+09 lattices", "crystal.mosaic_domains", "GB"]),
        ("-phisteps 2147483647", ["2.15e+09 lattices", "goniometer.phisteps", "GB"]),
        ("-oversample 1000000", ["1e+12 samples", "sampling.oversample", "steps", "hours"]),
        ("-detector_thick 1 -detector_abs 1 -detector_thicksteps 2000000000 -oversample 100", ["detector.layers", "hours"]),
        ("-detpixels 65535", ["4.29e+09 pixels", "detector.pixels"]),
    ],
)
def test_work_beyond_measure_is_refused_with_the_figures(more, words, monkeypatch):
    monkeypatch.setattr(nbnumba.cost, "available_bytes", lambda: 20e9)
    experiment = Experiment.from_args((BASE + more).split())
    doors = (
        simulate,
        lambda e: adjoint.vjp(e, ["beam.fluence"]),
        lambda e: adjoint.value_and_grad(adjoint.losses.Gaussian(np.zeros((8, 8))), e, ["beam.fluence"]),
    )
    for door in doors:
        with pytest.raises(InputError, match="allowed: ") as caught:
            door(experiment)
        assert all(word in str(caught.value) for word in words), caught.value


def test_a_trace_of_very_many_steps_is_refused(monkeypatch):
    monkeypatch.setattr(nbnumba.cost, "available_bytes", lambda: 20e9)
    with pytest.raises(InputError, match="trace: .* GB"):
        nbnumba.trace.trace(Experiment.from_args((BASE + "-oversample 100000").split()), 0, 0)


def test_what_takes_longer_has_to_be_granted():
    experiment = Experiment.from_args(BASE.split())
    with pytest.raises(InputError, match="allowed: at most 1e-12 hours, or as many as max_hours grants"):
        simulate(experiment, max_hours=1e-12)
    with pytest.raises(InputError, match="-max_hours grants"):
        check(experiment, max_hours=1e-12, command=True)
    for bad in (0, -1, math.nan, "long", None):
        with pytest.raises(InputError, match="max_hours"):
            simulate(experiment, max_hours=bad)
    assert simulate(experiment, max_hours=math.inf).sum() > 0.0


def test_hours_are_granted_to_all_images_of_a_refinement_and_a_check():
    experiment = Experiment.from_args(BASE.split())
    data = simulate(experiment)
    for door in (
        lambda hours: adjoint.refine(experiment, data, ["image.scale"], max_hours=hours),
        lambda hours: adjoint.gradcheck(experiment, ["beam.fluence"], directions=0, max_hours=hours),
    ):
        with pytest.raises(InputError, match="allowed: at most 1e-12 hours, or as many as max_hours grants"):
            door(1e-12)
    with granted(1e-12, "-max_hours"), pytest.raises(InputError, match="as many as -max_hours grants"):
        adjoint.refine(experiment, data, ["image.scale"])
    with granted(1e-12):
        simulate(experiment)  # its own statement counts


@pytest.mark.parametrize("command", ["explain --", "gradcheck --", "refine --data x.bin --parameters beam.fluence --",
                                     "compare --reference-bin /bin/true --outdir out --"])  # fmt: skip
def test_every_subcommand_that_computes_knows_max_hours(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.ones((8, 8), "<f4").tofile("x.bin")
    assert main([*command.split(), *BASE.split(), "-max_hours", "1e-12"]) == 2
    assert "allowed: at most 1e-12 hours, or as many as -max_hours grants" in capsys.readouterr().err


def test_memory_that_is_left():
    assert 1e6 < available_bytes() < 1e16


def test_few_reflections_that_span_much(tmp_path, monkeypatch):
    """Two lines of a list may ask for gigabytes. They are refused with the figures if that is too much, and else warned of."""
    factors = StructureFactors(hkl=[[0, 0, 0], [1200, -1200, 1200]], F=[1.0, 2.0])
    made = Experiment(Crystal(a_A=50.0), factors, detector=Detector(pixels=(2, 2)))
    monkeypatch.setattr(nbnumba.cost, "available_bytes", lambda: 4e9)
    box = "structure_factors.hkl: 2 reflections span h 0 to 1200, k -1200 to 0, l 0 to 1200, "
    box += "a box of 1732323601 amplitudes, 13.9 GB"
    with pytest.raises(InputError, match=f"^{box}: about 27.7 GB of memory, and 4 GB are available here; allowed: what fits$"):
        simulate(made)
    assert structure.nearly_empty(factors) == [f"{box}, of which most is default_F"]
    smaller = Experiment(made.crystal, StructureFactors(hkl=[[0, 0, 0], [300, 300, 300]], F=[1.0, 2.0]), detector=made.detector)
    with pytest.warns(UserWarning, match="a box of 27270901 amplitudes, 0.218 GB, of which most is default_F"):
        simulate(smaller)
    assert structure.nearly_empty(StructureFactors(hkl=[[0, 0, 0], [99, 99, 99]], F=[1.0, 2.0])) == []


def test_a_jacobian_that_does_not_fit_is_refused(monkeypatch):
    experiment = Experiment.from_args((BASE + "-detpixels 1000").split())
    monkeypatch.setattr(nbnumba.cost, "available_bytes", lambda: 30e6)
    with pytest.raises(InputError, match="a jacobian of 1000 x 1000 x 6 numbers: about 0.048 GB of memory"):
        adjoint.jacobian(experiment, ["crystal.a_A", "crystal.misset_deg", "beam.fluence", "beam.wavelength_A"])


COUNTS = {
    "-dispersion 1 -dispsteps": 10**9,
    "-divergence 1 -hdivsteps": 10**9,
    "-divergence 1 -vdivsteps": 10**9,
    "-divergence 1 -divsteps": 10**5,
    "-hdivsteps": 10**9,
    "-osc 1 -phisteps": 10**9,
    "-phisteps": 10**9,
    "-mosaic 1 -mosaic_domains": 10**9,
    "-oversample": 10**6,
    "-detector_thick 100 -detector_abs 50 -oversample 10 -detector_thicksteps": 10**9,
    "-detpixels": 65535,
}
"""Flags that state a number, and how much of it is too much."""
PRODUCTS = [
    "-osc 1 -phisteps 30000 -mosaic 1 -mosaic_domains 30000",
    "-osc 1 -phisteps 3000 -mosaic 1 -mosaic_domains 3000 -dispersion 1 -dispsteps 30000",
    "-divergence 1 -divsteps 3000 -dispersion 1 -dispsteps 3000",
    "-oversample 3000 -dispersion 1 -dispsteps 30000",
    "-gauss_xtal -N 300 -oversample 3000 -dispersion 1 -dispsteps 30000 -mosaic 1 -mosaic_domains 3000",
    "-tolerance 1e-3 -oversample 3000 -osc 1 -phisteps 30000 -mosaic 1 -mosaic_domains 3000",
    "-c_parity -oversample 3000 -dispersion 1 -dispsteps 30000 -dmin 1",
    "-osc 1 -phistep 1e-90",
    "-divergence 1 -hdivstep 1e-5 -vdivstep 1e-5",
]
OTHER_REASONS = [("explain", "-c_parity"), ("refine", "-detpixels")]
"""Commands that refuse a flag, or what it states beside the data, whatever it costs."""
COMMANDS = {
    "simulate": "",
    "explain": "explain --",
    "gradcheck": "gradcheck --parameters beam.fluence --",
    "trace": "trace --pixel 3 4 --out trace.txt --",
    "refine": "refine --data x.bin --parameters beam.fluence --",
    "compare": "compare --reference-bin /bin/true --outdir out --",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_count_that_is_too_large_is_refused_at_once_in_one_sentence(command, tmp_path, monkeypatch, capsys):
    """Nothing of that size is allocated or begun, and no file is written."""
    monkeypatch.setattr(nbnumba.cost, "available_bytes", lambda: 20e9)
    monkeypatch.chdir(tmp_path)
    np.ones((16, 16), "<f4").tofile("x.bin")
    main([*COMMANDS[command].split(), *BASE.split(), "-detpixels", "16", "-roi", "0", "0", "0", "0", "-max_hours", "1e-12"])
    capsys.readouterr()  # what is imported and compiled only once is not timed
    for more in (*(f"{flag} {count}" for flag, count in COUNTS.items()), *PRODUCTS):
        started = time.process_time()
        words = f"{BASE} -detpixels 16 -quiet {more}".split()
        assert main([*COMMANDS[command].split(), *words]) == 2, more
        errors = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line]
        assert len(errors) == 1, (more, errors)
        other_reason = any(command == name and flag in more for name, flag in OTHER_REASONS)
        assert other_reason or "allowed: " in errors[0] and (" GB" in errors[0] or " hours" in errors[0]), (more, errors)
        assert time.process_time() - started < 1.0, more
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_many_images_of_one_command_are_counted_together():
    experiment = Experiment.from_args(BASE.split())
    hours = 2.0 * check(experiment).seconds / 3600.0
    check(experiment, max_hours=hours)
    with pytest.raises(InputError, match="for up to 5 such images; allowed: at most"):
        check(experiment, max_hours=hours, images=5)


def test_what_c_does_before_it_computes_is_counted():
    """It looks through the samples of every row for the first that makes a pass, and for one whose index is out of range."""
    reflections = {"structure_factors.hkl": [[0, 0, 0], [9, 9, 9]], "structure_factors.F": [1.0, 2.0]}
    for more, values in (("-dmin 100", {}), ("-interpolate", reflections)):
        experiment = Experiment.from_args(f"{BASE} -dispersion 1 -dispsteps 20000 {more}".split()).replace(values)
        assert cost(experiment.replace({"sampling.c_parity": "all"})).seconds > 1.4 * cost(experiment).seconds


# --------------------------------------------------------------------------------------- what is culled

STILL = "-cell 80 80 40 -default_F 100 -misset 10 20 30 -lambda 1.3 -distance 100 -pixel 0.075 -oversample 1 -N 20 "
SPECTRUM = "-dispersion 0.5 -dispsteps 20 -mosaic 0.05 -mosaic_domains 25"
CULLED = {
    "GAUSS, many wavelengths": f"-gauss_xtal -detpixels 384 {SPECTRUM}",
    "TOPHAT, many wavelengths": f"-tophat_spots -detpixels 512 {SPECTRUM}",
    "GAUSS, phi steps": "-gauss_xtal -detpixels 512 -osc 1 -phisteps 20 -mosaic 0.1 -mosaic_domains 30",
    "GAUSS, few cells": "-gauss_xtal -N 5 -detpixels 384 -osc 1 -phisteps 40 -mosaic 0.1 -mosaic_domains 20",
    "SQUARE, tolerant": "-tolerance 1e-3 -fluence 1e24 -N 30 -detpixels 640 -osc 1 -phisteps 20 -mosaic 0.1 -mosaic_domains 9",
}


def least_seconds(experiment):
    """The least time of a thread, of several images."""
    simulate(experiment, roi=(0, 0, 0, 0))
    times = []
    for _ in range(3):
        started = time.process_time()
        simulate(experiment)
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_estimated_time_knows_what_is_culled():
    """Times are compared with that of an image in which every term counts, by the estimate and as measured.

    Processors differ by more than 3 in how much faster they are where loops vectorise well.
    """
    threads.set_thread_count(1)
    try:
        every = Experiment.from_args((STILL + "-detpixels 512 -osc 1 -phisteps 20 -mosaic 0.1 -mosaic_domains 10").split())
        estimated, measured = cost(every).seconds, least_seconds(every)
        for name, more in CULLED.items():
            experiment = Experiment.from_args((STILL + more).split())
            started = time.process_time()
            by_estimate = cost(experiment).seconds / estimated
            assert time.process_time() - started < 0.3, name
            found = least_seconds(experiment) / measured
            assert 1 / 5 < by_estimate / found < 5, (name, by_estimate, found)
    finally:
        threads.set_thread_count(None)


@pytest.mark.parametrize("more", [f"-gauss_xtal {SPECTRUM}", "-tolerance 1e-3 -fluence 1e22 -mosaic 1 -mosaic_domains 40"])
def test_the_shares_of_what_is_culled_are_those_of_the_loops(more):
    """Of the patches that are looked at, those count as near that the loops would compute."""
    experiment = Experiment.from_args(f"{STILL} -detpixels 64 {more}".split())
    wanted = sampling.window(experiment.detector.pixels, None, None)
    built, looked_at = scene.build(experiment, wanted), []
    original = culled_work._near

    def near(cells, some, beams, lattices):
        found = original(cells, some, beams, lattices)
        looked_at.append((some, beams, lattices, found.copy()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(culled_work, "_near", near)
        shares = culled_work.sample(experiment, [wanted])
    assert 0 < shares.patches < shares.groups <= shares.tiles <= 1
    random, agreed = np.random.default_rng(1), {True: 0, False: 0}
    for some, (directions, wavelengths), (middle, around), found in looked_at:
        for _ in range(90):
            tile, patch_, source, lattice = (int(random.integers(n)) for n in found.shape)
            ray = tuple(directions[source]), 1.0 / wavelengths[source]
            here = culled_work._Patches(*(part[..., tile, patch_].tolist() for part in some))
            span = patches.scattered((here.centre, here.edges, here.beyond), ray)
            remote = patches.span_remoteness(built.crystal, tuple(middle[lattice]), tuple(around[lattice]), span)
            is_near = bool(remote <= here.limit)
            assert is_near == found[tile, patch_, source, lattice]
            agreed[is_near] += 1
    assert min(agreed.values()) > 30


def test_a_mask_and_few_pixels_are_sampled_too():
    mask = np.zeros((64, 64), dtype=int)
    mask[33, 40] = 1
    experiment = Experiment.from_args(f"{STILL} -detpixels 64 -gauss_xtal {SPECTRUM}".split())
    wanted = sampling.window(experiment.detector.pixels, None, mask)
    rows, columns = culled_work._some_blocks(wanted, culled_work.MOST_TILES)
    assert (rows.tolist(), columns.tolist()) == ([32], [32])
    assert culled_work.sample(experiment, [wanted]) is not None
    assert culled_work.sample(experiment.replace({"crystal.shape": "square"}), [wanted]) is None


def test_many_sources_and_lattices_are_not_made_for_the_estimate():
    for more in ("-dispersion 1 -dispsteps 100000000", "-divergence 1 -divsteps 20000", "-osc 1 -phisteps 5000000",
                 "-mosaic 1 -mosaic_domains 100000000", "-osc 1 -phisteps 10000 -mosaic 1 -mosaic_domains 10000"):  # fmt: skip
        experiment = Experiment.from_args(f"{STILL} -gauss_xtal {more}".split())
        started = time.process_time()
        assert cost(experiment).steps > 1e12
        assert time.process_time() - started < 0.5, more
