"""Detectors with panels for tests: random ones whose poses are a little off a plane, in groups, and one cut out of a plane."""

import dataclasses

import numpy as np

from nbnumba import Experiment, Group, Panel
from nbnumba.geometry.rotations import about_axis

WORDS = "-cell 40 50 60 75 85 95 -default_F 100 -misset 10 20 30 -fluence 1e27 -lambda 1.1 -distance 60 -pixel 0.3 -N 5 "
FRAMES = (
    "-oversample 2 -twotheta 9 -detector_rotx 3",
    "-oversample 1 -adxv -detector_roty -4 -Xbeam 7 -Ybeam 4",
    "-oversample 2 -xds -ORGX 20 -ORGY 15 -detector_rotz 30",
    "-oversample 1 -dials -distance 80 -twotheta -15",
)
"""Flags of detectors whose frames are turned in several ways."""


def rotation(random, degrees):
    """A rotation about a random axis by an angle of at most so many degrees."""
    axis = random.normal(size=3)
    return about_axis(axis / np.linalg.norm(axis), np.radians(random.uniform(-degrees, degrees)))


def panel(random, path, corner, shape=(7, 11), **fields):
    """A panel near the plane of the detector, whose pixels are no squares."""
    turned = rotation(random, 15.0)
    place = np.array([*corner, random.uniform(-3.0, 3.0)])
    axes = {"origin_mm": place, "fast_axis": turned[:, 0], "slow_axis": turned[:, 1]}
    return Panel(path, shape, 0.31, 0.25, **{**axes, **fields})


def experiment(seed, shapes=((7, 11),) * 4, more=""):
    """An experiment with panels q0/p0, q0/p1, q1/p2 ... of these shapes, of which q0 and q1/p2 are moved."""
    random = np.random.default_rng(seed)
    made = Experiment.from_args(f"{WORDS} {FRAMES[seed % len(FRAMES)]} {more}".split())
    panels = [
        panel(random, f"q{n // 2}/p{n}", (4.0 * n, random.uniform(-1, 3)), shape, thickness_um=300.0, attenuation_um=400.0 + n)
        for n, shape in enumerate(shapes)
    ]
    groups = [
        Group("q0", shift_mm=random.uniform(-0.3, 0.3, 3), turn_deg=random.uniform(-2, 2, 3)),
        Group(panels[-1].path, shift_mm=random.uniform(-0.3, 0.3, 3), turn_deg=random.uniform(-2, 2, 3)),
    ]
    return made.replace({"detector.panels": panels, "detector.groups": groups})


def alone(made, number):
    """The experiment with one of its panels, and the groups of that."""
    only = made.detector.panels[number]
    groups = [group for group in made.detector.groups if f"{only.path}/".startswith(f"{group.path}/")]
    groups = [dataclasses.replace(group, centre_mm=centre(made, group)) for group in groups]
    return made.replace({"detector.panels": [only], "detector.groups": groups})


def centre(made, group):
    """The centre of a group: that which is stated, or the mean of the centres of its panels."""
    if group.centre_mm is not None:
        return group.centre_mm
    centres = [
        np.array(p.origin_mm)
        + p.shape[1] * p.pixel_fast_mm / 2 * np.array(p.fast_axis)
        + p.shape[0] * p.pixel_slow_mm / 2 * np.array(p.slow_axis)
        for p in made.detector.panels
        if f"{p.path}/".startswith(f"{group.path}/")
    ]
    return tuple(np.mean(centres, axis=0))


def grid(words, columns, rows, shape, edge_mm):
    """An experiment whose detector is cut into panels of that shape, without gaps, in quadrants q0 to q3."""
    slow, fast = shape
    panels = []
    for j in range(rows):
        for i in range(columns):
            path = f"q{2 * (j >= rows // 2) + (i >= columns // 2)}/r{j}c{i}"
            panels.append(Panel(path, shape, edge_mm, edge_mm, (i * fast * edge_mm, j * slow * edge_mm, 0.0)))
    return Experiment.from_args(words.split()).replace({"detector.panels": panels})
