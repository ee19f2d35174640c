"""The CUDA kernels in Numba's simulator, as plain Python, in a process of its own: Numba chooses when it is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbnumba

HERE = Path(__file__).parent
FEWEST = {"simulated_forward.py": 192, "simulated_adjoint.py": 74, "simulated_lists.py": 34, "simulated_shares.py": 17}
"""Tests of each module, which pytest does not collect by itself; fewer are a failure."""


def test_kernels_in_the_simulator():
    """All pass and none is skipped. Plain Python warns of what a GPU divides by zero."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", "-rA", "--tb=short"]
    here = Path(nbnumba.__file__).parents[1]  # whose kernels for the CPU are compiled
    paths = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "COLUMNS": "120", "PYTHONPATH": paths}
    command += [str(HERE / name) for name in FEWEST]
    run = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    shown = "\n".join([*run.stdout.splitlines()[-200:], run.stderr])
    assert run.returncode == 0, shown
    for name, fewest in FEWEST.items():
        assert len(re.findall(rf"^PASSED \S*{name}::", run.stdout, re.MULTILINE)) >= fewest, shown
    assert not re.search(r"^(SKIPPED|XFAIL|FAILED|ERROR)", run.stdout, re.MULTILINE), shown
