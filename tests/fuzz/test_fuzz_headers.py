"""Fuzzing of headers: the detector that a header states is read back, or -img says what it cannot know."""

import math
import os

import fuzzing
import numpy as np
import pytest
from fuzzing import Case, Fault, tried

from nbnumba import Experiment
from nbnumba.flags import headers
from nbnumba.formats import smv
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.detector import position_detector

pytestmark = pytest.mark.long

DIGITS = 2e-5
"""Headers have six digits: of the distance, and of the coordinates of a centre."""


def case(case: Case) -> str:
    """A random detector, whose header is written and read."""
    os.chdir(case.folder)
    flags, convention = geometry(case)
    case.note(flags)
    made = tried(lambda: Experiment.from_args(flags))
    placed = None if made.refusal else tried(lambda: position_detector(made.value.detector, made.value.beam, NO_DEFECTS))
    if placed is None or placed.refusal:
        return "impossible"
    written = tried(lambda: write(made.value, placed.value))
    if written.refusal:
        return "not written"
    again = ["-cell", "30", "40", "50", "-default_F", "10", "-img", "made.img"] + (convention if case.chance(0.7) else [])
    case.note(again)
    read = tried(lambda: Experiment.from_args(again))
    if read.refusal:
        return "refused"
    placed_again = tried(lambda: position_detector(read.value.detector, read.value.beam, NO_DEFECTS))
    messages = [*read.warnings, *placed_again.warnings, *([placed_again.refusal] if placed_again.refusal else [])]
    about_the_header = [sentence for sentence in messages if "-img" in sentence or "header" in sentence]
    if placed_again.value is None:
        return warned_or_fault(about_the_header, "a header of ours describes an impossible detector", placed_again.refusal)
    off = shift(placed.value, placed_again.value)
    scale = (
        abs(placed.value.distance) + float(np.linalg.norm(placed.value.origin)) + max(placed.value.pixels) * placed.value.pixel
    )
    for name in ("beam.wavelength_A", "detector.pixel_mm"):
        if not math.isclose(made.value.value(name), read.value.value(name), rel_tol=DIGITS):
            raise Fault(f"{name} is read back as something else", f"{made.value.value(name)} {read.value.value(name)}")
    if off > DIGITS * scale:
        return warned_or_fault(about_the_header, "pixels are elsewhere after a round trip", f"{off} m of {scale} m")
    return "the same, with a warning" if about_the_header else "the same"


def warned_or_fault(about_the_header: list[str], kind: str, detail) -> str:
    """Raise Fault for a difference that no warning states."""
    if not about_the_header:
        raise Fault(kind, detail)
    return "different, and said"


def geometry(case: Case) -> tuple[list[str], list[str]]:
    """Flags of a detector, and those of its convention."""
    pixel, distance = case.spread(0.02, 2.0), case.spread(20.0, 2000.0)
    fast, slow = (int(case.random.integers(1, 50)) for _ in range(2))
    flags = ["-cell", "30", "40", "50", "-default_F", "10", "-lambda", case.spread(0.3, 3.0), "-pixel", pixel]
    flags += ["-detpixels_x", fast, "-detpixels_y", slow, case.pick(("-distance", "-close_distance")), distance]
    convention = case.pick(([], ["-mosflm"], ["-denzo"], ["-adxv"], ["-xds"], ["-dials"]))
    flags += convention
    for axis, size in (("X", fast * pixel), ("Y", slow * pixel)):
        if case.chance(0.6):
            flags += [f"-{axis}beam", float(case.random.uniform(-0.5, 1.5)) * size]
    for name, chance in (("-twotheta", 0.3), ("-detector_rotx", 0.2), ("-detector_roty", 0.2), ("-detector_rotz", 0.2)):
        if case.chance(chance):
            flags += [name, float(case.random.uniform(-30.0, 30.0))]
    if case.chance(0.2):
        flags += ["-pivot", case.pick(("beam", "sample"))]
    return [str(word) for word in flags], convention


def write(experiment: Experiment, placement) -> None:
    """An image with the header of a run."""
    pixels = np.zeros(experiment.detector.pixels[::-1], np.uint16)
    smv.write("made.img", pixels, headers.entries_of(experiment, placement, 40.0, False))


def shift(one, other) -> float:
    """The largest distance (m) between the positions of the same corner on two detectors."""
    if one.pixels != other.pixels:
        return math.inf
    (fast, slow), corners = one.pixels, []
    for placed in (one, other):
        along, up = fast * placed.pixel * placed.fast, slow * placed.pixel * placed.slow
        corners.append(np.array([placed.origin + i * along + j * up for i in (0, 1) for j in (0, 1)]))
    return float(np.abs(corners[0] - corners[1]).max())


def test_headers(tmp_path, capsys):
    with capsys.disabled():
        fuzzing.hunt("test_fuzz_headers", "case", tmp_path, share=0.5)
