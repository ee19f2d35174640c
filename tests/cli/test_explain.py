"""nbnumba explain prints the defects of C that change an image, and no others."""

import shlex

import numpy as np
import pytest

from nbnumba import Experiment, convergence, simulate
from nbnumba.cli.main import main
from nbnumba.flags.run import time_seed
from nbnumba.parity import SWITCHES

FLAGS = "-cell 50 60 70 -default_F 10 -N 3 -detpixels 8 -oversample 1 -noprogress"


def changed(words, capsys):
    """The defects that change an image, by name."""
    assert main(["explain", "--", *shlex.split(words)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("defects change this image")
    return {line.split()[0] for line in lines[1:-1] if "total" in line}


@pytest.mark.parametrize("module", ["nbnumba.flags.to_experiment", "nbnumba.cli.output"])
def test_a_random_orientation_without_a_seed_is_drawn_once(capsys, monkeypatch, module):
    drawn = iter(range(1000))
    monkeypatch.setattr(f"{module}.time_seed", lambda: time_seed() + 17 * next(drawn))
    random = changed(f"{FLAGS} -misset random", capsys)
    assert random - {"misset_random"} <= changed(f"{FLAGS} -misset 10 20 30", capsys)


def test_how_far_an_image_is_from_converged(capsys):
    words = "-mosaic 2 -mosaic_domains 4 -dispersion 3 -dispsteps 3 -osc 1 -phisteps 2"
    assert main(["explain", "--", *shlex.split(f"{FLAGS} {words}")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "4 finer ones" in lines[0] and "total" in lines[1]
    doubled = {line.split("->")[0].rstrip(): line for line in lines if "->" in line}
    assert list(doubled) == ["domains 4", "energies 3", "phi steps 2", "sub-pixels 1"]
    experiment = Experiment.from_args(f"{FLAGS} {words}".replace("-noprogress", ""))
    finer = experiment.replace({"crystal.mosaic_domains": 8})
    difference = simulate(finer) - simulate(experiment)
    expected = f"changes a pixel by up to {np.abs(difference).max():.3g} photons, rms {np.sqrt((difference**2).mean()):.3g}"
    assert doubled["domains 4"].endswith(expected)


@pytest.mark.parametrize("words, names", [
    ("", {"sub-pixels"}), ("-mosaic 1", {"domains", "sub-pixels"}), ("-phistep 0.1", {"phi steps", "sub-pixels"}),
])  # fmt: skip
def test_what_can_be_doubled(words, names):
    experiment = Experiment.from_args(f"{FLAGS} {words}".replace("-noprogress", ""))
    assert {one.name for one in convergence.doublings(experiment)} == names


def test_a_spectrum_is_doubled_in_between():
    finer = convergence.in_between(np.array([[1.2, 3.0], [1.0, 1.0]]))
    np.testing.assert_allclose(finer, [[1.0, 1.0], [1.1, 2.0], [1.2, 3.0]], rtol=1e-15)


IMPOSSIBLE = {
    "-osc 1 -phisteps 2 -phi_sampling mid": {"phi_carryover"},
    "-air 10 -beamsize 0.1": {"water_scale", "amorphous_ignored"},
    "-mosaic 1 -mosaic_domains 2 -mosaic_sampling sobol": {"mosaic_float32"},
    "-gauss_xtal -N_def 1 0 0": {"gauss_metric"},
    "-lattice other.mat": set(SWITCHES),
}
"""Flags that nanoBragg does not have, and the defects of C that an image cannot have with them."""


@pytest.mark.parametrize("words, names", IMPOSSIBLE.items())
def test_a_defect_that_is_not_possible_has_a_line_that_says_why(words, names, run, tmp_path):
    np.savetxt(tmp_path / "other.mat", np.diag([0.02, 0.015, 0.013]))
    status, lines, errors = run(f"explain -- {FLAGS} {words}")
    assert status == 0, errors
    refused = {line.split()[0]: line for line in lines if "is not possible with these flags: " in line}
    assert set(refused) == names and all("allowed: " in line for line in refused.values())
    assert lines[-1].endswith(f"defects change this image; {len(names)} are not possible with these flags")
