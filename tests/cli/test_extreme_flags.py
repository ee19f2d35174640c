"""Flags with numbers at the limits of a computer's: a run writes its files, or is refused in one sentence."""

import os
import random
import re

import pytest

from nbnumba.cli.main import main
from nbnumba.flags.table import BY_NAME, FLAGS

NUMBERS = "0 -0.0 5e-324 1e-300 1e-200 1e-100 1e-30 1e-12 1e-6 1e6 1e12 1e30 1e200 1e308 1e400 -1 -1e30 -1e308".split()
NUMBERS += ["2147483648", "99999999999999999999", "nan", "inf"]
FEW = ("5e-324", "1e308", "99999999999999999999")
KINDS = {"number": 1, "whole": 1, "vector": 3, "region": 4, "cell": 6, "misset": 3}
TAKE_NUMBERS = [*(flag for flag in FLAGS if flag.kind in KINDS), BY_NAME["-detector_abs"]]
BASE = "-cell 50 60 70 80 90 100 -default_F 100 -N 3 -detpixels 3 -pixel 1 -oversample 1 -max_hours 1e-4 -noprogress".split()
OTHERS = ("", "-xds", "-gauss_xtal", "-curved_det", "-c_parity", "-water 1", "-detector_thick 100", "-mosaic 1", "-osc 1")


def ways(flag, number):
    """The values of a flag that contain that number."""
    count = KINDS.get(flag.kind, 1)
    if flag.kind == "region":
        return ([number, number, "0", "1"],)
    return ([number] * count,) if count == 1 else ([number] * count, ["0"] * (count - 1) + [number])


def ends_well(words, capsys):
    """Check that a run either writes files without NaN, or is refused in a sentence that names a flag."""
    for name in os.listdir():
        os.remove(name)
    status = main([*BASE, *words])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert all(line.startswith("nbnumba: ") for line in lines), (words, err)
    if status == 0:
        assert not re.search(r"\b(nan|inf)\b", out), (words, out)
        return
    (sentence,) = (line for line in lines if not line.startswith("nbnumba: warning: "))
    assert status == 2 and os.listdir() == [] and len(sentence) < 500, (words, err)
    assert re.search(r"(?<!\w)-[a-zA-Z]", sentence), sentence


@pytest.mark.parametrize("flag", TAKE_NUMBERS, ids=lambda flag: flag.names[0])
def test_one_flag(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in FEW:
        for values in ways(flag, number):
            ends_well([flag.names[0], *values], capsys)


@pytest.mark.long
def test_every_number_and_several_flags(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for flag in TAKE_NUMBERS:
        for number in NUMBERS:
            for values in ways(flag, number):
                ends_well([flag.names[0], *values], capsys)
    seed = int(os.environ.get("NBNUMBA_FUZZ_SEED", 20261128))
    drawn = random.Random(seed)
    for _ in range(3000):
        words = drawn.choice(OTHERS).split()
        for flag in drawn.sample(TAKE_NUMBERS, drawn.choice([2, 3])):
            words += [drawn.choice(flag.names), *drawn.choice(ways(flag, drawn.choice(NUMBERS)))]
        try:
            ends_well(words, capsys)
        except BaseException:
            print(f"seed {seed}")
            raise
