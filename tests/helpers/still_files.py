"""Stills in files, with the list of experiments that describes them: the truth is known, and one of them is blank."""

import dataclasses
import json

import numpy as np

import nbnumba
from nbnumba import Experiment, simulate
from nbnumba.formats import smv
from tests.helpers import series_files

PIXELS, BACKGROUND, BLANK = 400, 1.0, 1
MISSETS = ((20.0, -35.0, 70.0), (0.0, 10.0, 20.0), (-60.0, 15.0, 130.0))
TURN_DEG = (0.06, -0.05, 0.04)
"""By how much the orientations of the list are off."""


def truths() -> list[Experiment]:
    """The experiments of the stills."""
    still = {"goniometer.osc_deg": 0.0, "goniometer.phisteps": 1, "detector.xbeam_mm": 30.0, "detector.ybeam_mm": 30.0}
    still |= {f"crystal.mosaic_{axis}_deg": 0.15 for axis in "abc"} | {f"crystal.n_{axis}": 17.0 for axis in "abc"}
    first = series_files.truth()[0].replace(still)
    first = dataclasses.replace(first, detector=dataclasses.replace(first.detector, pixels=(PIXELS, PIXELS)))
    return [first.replace({"crystal.misset_deg": misset}) for misset in MISSETS]


def write_stills(folder) -> None:
    """Write still_0.img and so on, of which BLANK shows nothing, and stills.expt, whose crystals are turned by TURN_DEG."""
    generator, lists = np.random.default_rng(2), []
    for number, experiment in enumerate(truths()):
        name = folder / f"still_{number}.img"
        expected = simulate(experiment) * (number != BLANK) + BACKGROUND
        smv.write(name, np.minimum(generator.poisson(expected), 65000).astype(np.uint16), [(smv.OFFSET_KEY, 0)])
        names = [f"crystal.misset_{axis}_deg" for axis in "xyz"]
        turned = {name: experiment.value(name) + by for name, by in zip(names, TURN_DEG)}
        nbnumba.write_expt(folder / "one.expt", experiment.replace(turned), [name], adc=0.0)
        lists.append(json.loads((folder / "one.expt").read_text()))
    (folder / "one.expt").unlink()
    content = lists[0] | {kind: [of[kind][0] for of in lists] for kind in ("crystal", "imageset")}
    one = lists[0]["experiment"][0]
    content["experiment"] = [one | {"crystal": n, "imageset": n, "identifier": f"still{n}"} for n in range(len(lists))]
    for crystal in content["crystal"]:
        crystal["space_group_hall_symbol"] = " P 2 2"
    (folder / "stills.expt").write_text(json.dumps(content))
