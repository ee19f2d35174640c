"""The cost of an image, which is counted before the image is computed, against the tables of its scene."""

import math
import shlex

import numpy as np
import pytest

import adjoint
import nbnumba.cost
import nbnumba.trace
from nbnumba import Crystal, Detector, Experiment, InputError, StructureFactors, simulate
from nbnumba.backends import CPU, Machine
from nbnumba.cli.main import main
from nbnumba.cost import AMPLITUDE_BYTES, REFLECTION_BYTES, available_bytes, check, cost, granted
from nbnumba.setup import sampling, scene, structure
from nbnumba.setup.sources import sweep
from nbnumba.simulate import steps_per_pixel

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
    assert counted.steps_per_pixel == steps_per_pixel(built)
    asked = []
    simulate(experiment, progress=lambda done, total: asked.append(total))
    columns = wanted.columns[1] - wanted.columns[0]
    assert counted.steps == asked[-1] * columns * steps_per_pixel(built)
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
    assert cost(interpolated, CPU, 1).seconds > 2 * seconds("")
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
