"""Fuzzing of files of geometry: damaged bytes, other values in JSON and HDF5: statements that are finite, or one sentence."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import fuzzing
import geometry_files
import h5py
import material
import numpy as np
import pytest
from fuzzing import Case, Fault, check_finite, tried

import nbnumba
from nbnumba import Experiment
from nbnumba.formats import by_fabio, hdf5_members, images
from nbnumba.setup.detector import position_detector

pytestmark = pytest.mark.long

REST = "-default_F 10 -N 2 -oversample 1".split()
FILES = {
    **{flag: [made] for flag, made in geometry_files.FILES.items()},
    "-geom": [(geometry_files.geom_bytes, "m.geom"), (geometry_files.masked_geom_bytes, "masked.geom")],
    "-xparm": [(geometry_files.xparm_bytes, "XPARM.XDS"), (geometry_files.moved_xparm_bytes, "GXPARM.XDS")],
    "-expt": [(geometry_files.expt_bytes, "m.expt"), (lambda: geometry_files.expt_bytes(2), "two.expt")],
    "-img": [
        (geometry_files.mini_cbf_bytes, "m.cbf"),
        (geometry_files.full_cbf_bytes, "full.cbf"),
        (lambda: geometry_files.full_cbf_bytes(packed=True), "packed.cbf"),
    ],
}
WORDS = "detector. beam. goniometer. crystal. panel group -image -experiment -mat -hkl -distance -lambda no unit cell".split()
WORDS += "-detector -pixel -Xbeam -Ybeam -Xclose -Yclose -phi -osc -cell -polar -beam_vector -spindle -fdet -sdet -odet".split()
PANELS = [(geometry_files.SLOW, geometry_files.FAST)] * 2
WHOLE: dict[str, bytes] = {}


def prepare() -> None:
    """Make every file. Files that fabio would read for ever are given up sooner."""
    hdf5_members.SECONDS, by_fabio.SECONDS = 10, 2
    WHOLE.update({name: make() for made in FILES.values() for make, name in made})


def case(case: Case) -> str:
    """Read a damaged file of a random format, in Python or by its flag."""
    flag = case.pick([flag for flag in FILES if flag != "-nexus"]) if case.chance(0.97) else "-nexus"
    _, name = case.pick(FILES[flag])
    content = WHOLE[name]
    if flag == "-expt" and case.chance(0.7):
        content = json.dumps(mutated(case, json.loads(content))).encode()
    elif flag == "-nexus" and case.chance(0.7):
        content = changed_hdf5(case, content)
    else:
        content = material.damaged(case, content)
    path = case.folder / name
    path.write_bytes(content)
    case.note(f"{flag} {name}: {content[:5000]!r}")
    if name in ("full.cbf", "packed.cbf", "m.nxs") and case.chance(0.6):
        outcome = tried(lambda: images.read_panels(str(path), PANELS, "--data"), ["--data"])
    elif case.chance(0.5):
        outcome = tried(lambda: check(in_python(path, flag)), [str(path), name, *WORDS])
    else:
        words = [flag, str(path), *besides(flag), *REST]
        outcome = tried(lambda: check(Experiment.from_args(words)), [flag, str(path), *WORDS])
    return f"{name} {'refused' if outcome.refusal else 'read'}"


def in_python(path: Path, flag: str) -> Experiment:
    """The experiment of a file, with a crystal beside a file that has none."""
    geometry = nbnumba.read_geometry(path)
    number = int(besides(flag)[1]) if flag in IMAGES else None
    return Experiment.from_geometry(geometry, number, crystal=None if geometry.crystal else nbnumba.Crystal(a_A=30.0))


IMAGES = {"-expt": "3", "-xparm": "3", "-nexus": "2"}
"""The image that is chosen by the flag of a file that has several."""


def besides(flag: str) -> list[str]:
    """The flags that a file needs beside it."""
    image = ["-image", IMAGES[flag]] if flag in IMAGES else []
    return [*image, *([] if flag in ("-expt", "-xparm") else ["-cell", "30", "40", "50"])]


def check(experiment: Experiment) -> None:
    """The statements are finite, and the detector stands in a place."""
    placement = position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    check_finite([placement.origin, placement.fast, placement.slow, placement.normal], "placement")
    check_finite(list(experiment.crystal.cell), "cell")
    for panel in experiment.detector.panels:
        check_finite([panel.origin_mm, panel.fast_axis, panel.slow_axis], "panel")


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    1e-300,
    1e300,
    10**400,
    -0.0,
    float("nan"),
    float("inf"),
    "",
    "a",
    "1",
    "/",
    [],
    {},
]
VALUES += [[1], [0, 0, 0], [1, 2, 3], [[1, 2, 3]], {"panel": 0}, {"type": "x"}, "x" * 500, "\u2028\n"]


def mutated(case: Case, content: Any) -> Any:
    """The content of a JSON file with one to three other values, or values that are gone, twice or exchanged."""
    for _ in range(case.pick((1, 1, 1, 2, 3))):
        places = list(places_of(content))
        holder, key = case.pick(places)
        if case.chance(0.2):
            del holder[key]
        elif case.chance(0.2):
            other, from_key = case.pick(places)
            holder[key] = json.loads(json.dumps(other[from_key]))
        else:
            holder[key] = copy.deepcopy(case.pick(VALUES))
    return content


def places_of(value: Any):
    """Every entry of the objects and lists in a value: its holder and its key."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in list(entries):
        yield value, key
        yield from places_of(entry)


def changed_hdf5(case: Case, content: bytes) -> bytes:
    """An HDF5 file with other attributes and datasets, or without some."""
    path = Path(case.folder / "changed.h5")
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(case.pick((1, 2, 4))):
            member = file.get(case.pick(names))
            if member is None:
                continue
            if case.chance(0.5) and len(member.attrs):
                key = case.pick(sorted(member.attrs))
                member.attrs[key] = case.pick(
                    ["", "m", "deg", ".", "x", 0.0, 1e300, np.zeros(3), np.ones(3), np.full(3, np.nan), -1]
                )
            elif isinstance(member, h5py.Dataset) and case.chance(0.5):
                name = member.name
                del file[name]
                file[name] = case.pick([0, -1.0, 1e300, np.nan, "x", [], [1, 2], [[1.0]]])
            else:
                del file[member.name]
    return path.read_bytes()


def test_files(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_geometry", "case", tmp_path, longest=40.0)


def test_files_that_are_whole_are_read(tmp_path, monkeypatch):
    """The files are valid before they are damaged."""
    monkeypatch.chdir(tmp_path)
    prepare()
    for flag, made in FILES.items():
        for _, name in made:
            Path(name).write_bytes(WHOLE[name])
            check(Experiment.from_args([flag, os.path.abspath(name), *besides(flag), *REST]))
            check(in_python(Path(name), flag))
            if not nbnumba.read_geometry(name).panels:
                raise Fault("a file without panels", name)
