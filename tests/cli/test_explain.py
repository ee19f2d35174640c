"""nbnumba explain prints the defects of C that change an image, and no others."""

import shlex

import pytest

from nbnumba.cli.main import main
from nbnumba.flags.run import time_seed

FLAGS = "-cell 50 60 70 -default_F 10 -N 3 -detpixels 8 -oversample 1 -noprogress"


def changed(words, capsys):
    """The defects that change an image, by name."""
    assert main(["explain", "--", *shlex.split(words)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("defects change this image")
    return {line.split()[0] for line in lines[1:-1] if "total" in line}


@pytest.mark.parametrize("module", ["nbnumba.flags.to_experiment", "nbnumba.cli.output"])
def test_a_random_orientation_without_a_seed_is_drawn_once(capsys, monkeypatch, module):
    drawn = iter(range(1000))
    monkeypatch.setattr(f"{module}.time_seed", lambda: time_seed() + 17 * next(drawn))
    random = changed(f"{FLAGS} -misset random", capsys)
    assert random - {"misset_random"} <= changed(f"{FLAGS} -misset 10 20 30", capsys)
