"""The peak memory of one call on the frame of `supervisor`. It is run in a process of its own, and prints a line of JSON."""

import argparse
import json
import resource
import tempfile
import warnings
from pathlib import Path

from bench import cases, derivative

MB = 1e6


def peak_bytes() -> int:
    """The largest memory of this process since its peak was reset, or since it began."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> bool:
    """Set the peak of this process to its present memory. Returns whether this machine can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measured(name: str, folder: Path, side: int | None) -> dict:
    """The peak memory of a job, after all jobs were compiled and run on a window. The forward job gets no loss."""
    small = derivative.task(cases.supervisor(folder, derivative.WINDOW))
    for job in ("forward", "gradient"):
        derivative.job(job, small)()
    del small
    task, loss_bytes = task_and_bytes(name, folder, side)
    reset = reset_peak()
    before = peak_bytes()
    result = derivative.job(name, task)()
    peak = peak_bytes()
    del result
    return {"reset": reset, "before_MB": before / MB, "peak_MB": peak / MB, "loss_MB": loss_bytes / MB}


def task_and_bytes(name: str, folder: Path, side: int | None) -> tuple[derivative.Task, int]:
    """The task of a job, and the number of bytes of its loss."""
    scene = cases.supervisor(folder, side)
    if name == "forward":
        return derivative.Task(scene.name, scene.experiment, None, []), 0
    task = derivative.task(scene)
    return task, task.loss.data.nbytes + task.loss.weight.nbytes


def main() -> None:
    """Measure the job that the command line names, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("forward", "gradient"))
    parser.add_argument("--side", type=int, help="render only that many pixels along each edge")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(options.job, Path(folder), options.side)))


if __name__ == "__main__":
    main()
