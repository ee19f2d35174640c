"""The peak memory of one call on the frame of `supervisor`, in a process of its own: prints a line of JSON."""

import argparse
import json
import resource
import tempfile
import warnings
from pathlib import Path

from bench import cases, derivative

MB = 1e6


def peak_bytes() -> int:
    """The most memory that this process has had since its peak was reset, or since it began."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> bool:
    """The peak of this process is what it has now; returns whether that can be done here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measured(name: str, folder: Path, side: int | None) -> dict:
    """The peak of a job, compiled and run on a window before; the forward one is given no loss."""
    small = derivative.task(cases.supervisor(folder, derivative.WINDOW))
    for each in ("forward", "gradient"):
        derivative.job(each, small)()
    del small
    task, loss = asked(name, folder, side)
    reset = reset_peak()
    before = peak_bytes()
    kept = derivative.job(name, task)()
    peak = peak_bytes()
    del kept
    return {"reset": reset, "before_MB": before / MB, "peak_MB": peak / MB, "loss_MB": loss / MB}


def asked(name: str, folder: Path, side: int | None) -> tuple[derivative.Task, int]:
    """What the job is given, and how many bytes of it are the loss."""
    scene = cases.supervisor(folder, side)
    if name == "forward":
        return derivative.Task(scene.name, scene.experiment, None, []), 0
    task = derivative.task(scene)
    return task, task.loss.data.nbytes + task.loss.weight.nbytes


def main() -> None:
    """Measure one job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("forward", "gradient"))
    parser.add_argument("--side", type=int, help="only so many pixels along each edge are rendered")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(wanted.job, Path(folder), wanted.side)))


if __name__ == "__main__":
    main()
