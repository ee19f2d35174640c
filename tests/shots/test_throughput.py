"""What frames cost beside their kernels, by processor time, of which other processes take none; and a series of many frames."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba.backends.threads import at_most

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.long
def test_a_jittered_frame_costs_less_than_1_15_times_its_kernels(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import shots

    with at_most(1):
        _, [bar] = shots.bench(tmp_path, shots.BARRED, 10, None)
    assert bar.met, str(bar)


FRAMES, EDGE = 60, 1024
JITTER = '[crystal.a_A]\ndistribution = "normal"\nsigma = 0.1\n[orientation]\ndistribution = "uniform"\n'
FLAGS = (
    "-hkl {hkl} -cell 70 80 90 -lambda 1.0 -N 20 -gauss_xtal -mosaic 0.1 -mosaic_domains 25 -distance 200 -pixel 0.1 "
    f"-detpixels {EDGE} -oversample 2 -tolerance 0.001 -water 1 -fluence 1e26 -quiet"
)


def words(folder, name, *own):
    jitter = ["--jitter", str(folder / "jitter.toml"), "--seed", "4", "--labels", "--frames", str(FRAMES)]
    return ["series", "--out", str(folder / name), *jitter, *own, "--", *FLAGS.format(hkl=folder / "P1.hkl").split()]


def run(folder, *args, killed_at=None):
    """Run a series; killed_at: the number of whole frames at which it is killed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "2"}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "nbnumba", *words(folder, *args)], env=environment)
    while killed_at is not None and process.poll() is None:
        if len(list((folder / args[0] / "records").glob("*.json"))) >= killed_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait(1200) == (0 if killed_at is None else -signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_many_large_frames_killed_in_the_middle_have_the_bytes_of_an_undisturbed_run(tmp_path, engine):
    """Of 1 Mpixel with labels, by two workers; 1000 frames by the same commands take minutes (specs/shots.md, V5)."""
    pytest.importorskip("h5py")
    hkl = np.stack(np.mgrid[-20:21, -20:21, -20:21], axis=-1).reshape(-1, 3)
    nbnumba.write_hkl(tmp_path / "P1.hkl", hkl, np.sqrt(np.random.default_rng(1).exponential(1.0, len(hkl))) * 100.0)
    (tmp_path / "jitter.toml").write_text(JITTER)
    run(tmp_path, "undisturbed", "--workers", "2")
    if engine == "dask":
        distributed = pytest.importorskip("distributed")
        with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
            by_cluster = "--scheduler", cluster.scheduler_address
            run(tmp_path, "killed", *by_cluster, killed_at=FRAMES // 2)
            run(tmp_path, "killed", *by_cluster, "--resume")
    else:
        run(tmp_path, "killed", "--workers", "2", killed_at=FRAMES // 2)
        run(tmp_path, "killed", "--workers", "2", "--resume")
    sums = [hashlib.sha256((tmp_path / name / "SHA256SUMS").read_bytes()).hexdigest() for name in ("undisturbed", "killed")]
    assert sums[0] == sums[1]
    for name in ("undisturbed", "killed"):
        checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / name, capture_output=True)
        assert checked.returncode == 0
