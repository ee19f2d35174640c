"""The subcommand explain: how much each of nanoBragg.c's defects changes an image, and how far the image is from converged."""

import math
import warnings
from collections.abc import Sequence

import numpy as np

from nbnumba import convergence
from nbnumba.backends import Machine
from nbnumba.backends.threads import thread_count
from nbnumba.cli.progress import bar
from nbnumba.cli.simulate import use_threads
from nbnumba.cost import check, cost, hours_granted
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.flags.subcommand import command_line_of, with_seed
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.parity import SWITCHES
from nbnumba.resolved import duration
from nbnumba.setup import culling, scene
from nbnumba.setup.scene import PanelScene
from nbnumba.simulate import render
from nbnumba.stages.records import Scene

Panels = tuple[PanelScene, ...]

OTHERS = {
    "-tolerance": "every term counts, as it does where a defect is on",
    "-background": "no defect changes photons that are added",
}
"""Flags without effect here, and why."""

HELP = """usage: nbnumba explain -- FLAGS

Renders the image of FLAGS without and with each defect of nanoBragg.c. It prints a line for every defect that changes the
image: the change of the total, the largest change of a pixel relative to the brightest, the correlation, and what C does.
A defect that is not possible with FLAGS has a line that says why.
Before these lines it renders the image with twice as many mosaic domains, energies, phi steps and sub-pixels, one after the
other, and prints how much each doubling changes, in photons."""


def main(args: Sequence[str]) -> int:
    """Render the images and print the lines. Returns the exit status."""
    words = list(args[1:] if args[:1] == ["--"] else args)
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return 0 if words else 2
    if "-c_parity" in words:
        raise InputError("-c_parity is not allowed here: explain switches on one defect after the other")
    command_line = command_line_of(words, OTHERS)
    run, experiment = run_of(command_line), experiment_of(command_line)
    use_threads(run.threads)
    machine = run.machine
    price = check(experiment, machine, thread_count(), run.max_hours, command=True, images=1 + len(SWITCHES))
    words = with_seed(words, command_line, experiment)
    experiment = experiment_of(CommandLine(words))
    finer = list(convergence.doublings(experiment))
    seconds = _seconds(finer, machine) + (1 + len(SWITCHES)) * price.seconds
    hours = hours_granted(run.max_hours, "-max_hours")
    if seconds > 3600.0 * hours:
        needed = f"about {duration(seconds)} for {len(finer)} finer images besides those of the defects"
        raise InputError(f"the image would take {needed}; allowed: at most {hours:g} hours, or as many as -max_hours grants")
    longest = "" if math.isnan(seconds) else f", in roughly {duration(seconds)} or less"
    print(f"{'images':24} {len(finer)} finer ones and up to {1 + len(SWITCHES)}{longest}", flush=True)
    right = _scenes(experiment)
    image = _render("spec", right, run.progress, machine)
    print(f"{'total':24} {image.sum():.6g} photons, brightest pixel {image.max():.6g}")
    for one in finer:
        title = f"{one.name} {one.before} -> {one.after}"
        changed = convergence.change(image, _render(title, _scenes(one.experiment), run.progress, machine))
        print(f"{title:24} changes a pixel by up to {changed.largest:.3g} photons, rms {changed.rms:.3g}")
    applying = refused = 0
    for number, (name, meaning) in enumerate(SWITCHES.items(), start=1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrong = _scenes(experiment_of(CommandLine([*words, "-c_parity", name])))
        except InputError as error:  # The image has what C cannot be asked for with this defect.
            refused += 1
            print(f"{name:24} is not possible with these flags: {' '.join(str(error).split())}")
            continue
        title = f"{number}/{len(SWITCHES)} {name}"
        is_same = all(same(one.scene, other.scene) for one, other in zip(right, wrong))
        line = None if is_same else compare(image, _render(title, wrong, run.progress, machine))
        if line is not None:
            applying += 1
            print(f"{name:24} {line}  {meaning}")
    impossible = f"; {refused} are not possible with these flags" if refused else ""
    print(f"{applying} of {len(SWITCHES)} defects change this image{impossible}")
    return 0


def _seconds(finer: Sequence[convergence.Doubled], machine: Machine) -> float:
    """The estimated time of finer images; NaN where it is not known."""
    return sum(cost(one.experiment, machine, thread_count(), command=True).seconds for one in finer)


def compare(right: np.ndarray, wrong: np.ndarray) -> str | None:
    """The words that describe what a defect changes; None if it changes nothing."""
    if right.shape != wrong.shape:
        return f"{wrong.shape[1]} x {wrong.shape[0]} pixels in place of {right.shape[1]} x {right.shape[0]}"
    if np.array_equal(right, wrong):
        return None
    total = 100 * (wrong.sum() - right.sum()) / right.sum() if right.sum() else np.inf
    largest = 100 * np.abs(wrong - right).max() / max(right.max(), wrong.max())
    spread = right.std() * wrong.std()
    correlation = float(((right - right.mean()) * (wrong - wrong.mean())).mean() / spread) if spread else float("nan")
    return f"total {total:+.3g} %, largest {largest:.3g} %, correlation {correlation:.6f}"


def same(one: Scene, other: Scene) -> bool:
    """Whether two scenes are equal, so that their images are the same."""
    return all(np.array_equal(a, b) for r, s in zip(one, other) for a, b in zip(r, s))


def _scenes(experiment: Experiment) -> Panels:
    """The panels of the image of an experiment. Every term counts, as it does where a defect is on (F10a)."""
    return tuple(panel._replace(scene=culling.every_term(panel.scene)) for panel in scene.panel_scenes(experiment))


def _render(title: str, panels: Panels, with_progress: bool, machine: Machine) -> np.ndarray:
    shape = panels[-1].place[0].start + panels[-1].window.rows[1], max(panel.window.columns[1] for panel in panels)
    with bar(title, with_progress) as progress:
        return render(panels, shape, progress, machine)
