"""What a terminal shows of work that takes long: the part that is done, the time that is left, and what is compiled."""

import io
import logging
import sys

import pytest

import adjoint
from nbnumba import Experiment
from nbnumba.cli import progress
from nbnumba.cli.main import main

FLAGS = "-cell 50 60 70 80 90 100 -default_F 10 -lambda 2 -N 3 -detpixels 8 -distance 50 -oversample 1".split()


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True

    def shown(self):
        """What was drawn, one after another, without what only clears the line."""
        return [part.rstrip() for part in self.getvalue().split("\r") if part.strip()]


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes stderr a terminal, and returns it: pytest sets stderr anew when a test begins."""

    def made():
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return made


def test_a_bar_shows_the_part_that_is_done_and_the_time_that_is_left(terminal, monkeypatch):
    stream = terminal()
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("rendering") as bar:
        for now[0], done in ((110.0, 1), (1100.0, 10), (1190.0, 119), (1200.0, 120)):
            bar(done, 120)
    shown = stream.shown()
    said = [line.rpartition("] ")[2].strip() for line in shown]
    assert said == ["0 %, 20 min left", "8 %, 3.1 h left", "99 %, 9 s left", "100 %, 0 s left"]
    assert [line.count("#") for line in shown] == [0, 3, 39, 40] and stream.getvalue().endswith(f"\r{'':<79}\r")


def test_no_bar_is_drawn_where_there_is_no_terminal_or_none_is_wanted(terminal, monkeypatch):
    terminal()
    with progress.bar("rendering", shown=False) as bar:
        assert bar is None
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.bar("rendering") as bar:
        assert bar is None


def test_a_compilation_is_announced_once_for_each_kind_of_kernel(terminal, monkeypatch):
    stream = terminal()
    log = logging.getLogger("nbnumba.compiling")
    monkeypatch.setattr(log, "disabled", False)
    with progress.compilation_announced():
        for name in ("render_double", "render_mixed_culled", "differentiate_double_culled", "kernel"):
            log.info("compiling %s", name)
        log.debug("compiling %s", "draw_counts")
    log.info("compiling %s", "render_single")
    image, derivative, card = stream.getvalue().splitlines()
    assert "the kernel of an image for this machine, some 10 s;" in image
    assert "the kernel of a derivative for this machine, some 20 s;" in derivative and "of a card" in card


def test_a_check_of_gradients_counts_its_lines():
    """A vector has three lines, and what has no derivative one."""
    told, lines = [], []
    experiment = Experiment.from_args(FLAGS)
    names = ["crystal.misset_deg", "beam.fluence"]
    options = {"directions": 1, "report": lines.append, "progress": lambda done, total: told.append((done, total))}
    adjoint.gradcheck(experiment, names, **options)
    assert told == [(done, 5) for done in range(1, 6)] and len(lines) == 5


def test_the_lines_of_a_check_stand_above_its_bar(terminal, capsys):
    stream = terminal()
    assert main(["gradcheck", "--parameters", "beam.fluence", "--directions", "1", "--", *FLAGS]) == 0
    bars = [line for line in stream.shown() if line.startswith("checking")]
    assert len(bars) == 2 and "50 %" in bars[0] and "100 %" in bars[1] and " left" in bars[0]
    assert "beam.fluence" in capsys.readouterr().out
    stream.truncate(0)
    assert main(["gradcheck", "--parameters", "beam.fluence", "--directions", "1", "--", *FLAGS, "-noprogress"]) == 0
    assert "checking" not in stream.getvalue()
