"""The README's sections on structure factors and refinement, whose commands run as they stand in an empty folder."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nbnumba import Experiment

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "README.md").read_text().split("## Refinement\n")[1].split("\n## ")[0]
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", SECTION, re.MULTILINE)]
TRUTH = {"crystal.a_A": 70.0, "crystal.b_A": 80.0, "crystal.c_A": 90.0, "crystal.alpha_deg": 75.0, "crystal.beta_deg": 85.0}
TRUTH |= {"crystal.gamma_deg": 95.0, "detector.xbeam_mm": 20.0, "detector.ybeam_mm": 5.0}
MISSET = (10.0, 20.0, 30.0)


def run(*words, folder):
    """Run Python with this package in a folder. Returns the text that it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder in which the commands were run. The text of the last one is in the file `printed`."""
    path = tmp_path_factory.mktemp("readme")
    commands = [line for block in BLOCKS for line in block.splitlines() if line.startswith("nbnumba ")]
    assert len(commands) == 2
    for command in commands:
        printed = run("-m", *shlex.split(command), folder=path)
    (path / "printed").write_text(printed)
    return path


def test_the_truth_is_found(folder):
    """Every number is within four of its small uncertainties, the verdict is good, and the report exists."""
    fit = json.loads((folder / "refined.json").read_text())
    assert fit["success"] and abs(fit["chi_squared"] - 1.0) < 0.05
    for name, truth in TRUTH.items():
        value, sigma = fit["values"][name], fit["uncertainties"][name]
        assert 0.0 < sigma < 0.2 and abs(value - truth) < 4.0 * sigma, (name, value, sigma)
    off = np.subtract(fit["values"]["crystal.misset_deg"], MISSET) / fit["uncertainties"]["crystal.misset_deg"]
    assert np.abs(off).max() < 4.0
    assert (folder / "report" / "index.html").stat().st_size > 1000


def test_the_flags_can_be_pasted(folder):
    """The last line of flags makes an experiment of the refined values."""
    flags = [line for line in (folder / "printed").read_text().splitlines() if line.startswith("nbnumba ")][-1]
    experiment = Experiment.from_args(shlex.split(flags)[1:])
    refined = json.loads((folder / "refined.json").read_text())["values"]
    for name in TRUTH:
        assert experiment.value(name) == refined[name]


def test_the_python_runs(tmp_path):
    """It converges and prints the orientation that made the image, which has no noise."""
    code = next(block for block in BLOCKS if block.startswith("import nbnumba"))
    printed = run("-W", "error::RuntimeWarning", "-c", code, folder=tmp_path)
    numbers = [float(x) for x in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", printed)]
    assert printed.startswith("converged") and np.abs(np.subtract(numbers[:3], MISSET)).max() < 1e-3


PDB = """CRYST1   20.000   24.000   28.000  90.00  90.00  90.00 P 21 21 21
ATOM      1  N   ALA A   1       1.000   2.000   3.000  1.00 10.00           N
ATOM      2 SE   MSE A   2       4.000   9.000   7.000  1.00 12.00          SE
"""


def test_the_way_from_a_pdb_file_to_a_frame(tmp_path):
    """The command line runs, with fewer pixels, and the Python runs as it is; both have the same cell."""
    (tmp_path / "1orc.pdb").write_text(PDB)
    section = (ROOT / "README.md").read_text().split("## From a PDB file to a frame\n")[1].split("\n## ")[0]
    command, code = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)]
    run("-m", *shlex.split(command), "-detpixels", "20", "-pixel", "5", "-oversample", "1", folder=tmp_path)
    assert np.fromfile(tmp_path / "floatimage.bin", np.float32).max() > 0.0
    assert "20.0, 24.0, 28.0" in run("-c", f"import nbnumba\n{code}\nprint(factors.cell)", folder=tmp_path)
