"""What merge prints: what it took from where, a line for each pass, shells of resolution, and figures of the whole."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nbnumba.cli.merging.shots import Form, Shots
from nbnumba.resolved import plural

HEADINGS = ("d (A)", "possible", "observed", "complete", "shots each", "I / sigma", "CC1/2", "R_split", "ratio", "CC anomalous")
NOT_KNOWN = "-"


def taken_lines(shots: Shots, form: Form, options: Any) -> list[str]:
    """What is merged, and where each part of it is from."""
    crystal = shots.experiments[0].crystal
    names = ["+".join(name) if not isinstance(name, str) else name for name in form.parameters]
    spreads = max(getattr(crystal, name) for name in crystal.SPREADS)
    cell = " ".join(f"{number:.6g}" for number in form.cell)
    cells = " ".join(f"{number:.4g}" for number in (crystal.n_a, crystal.n_b, crystal.n_c))
    rows = [
        ("shots", f"{plural(len(shots.sources), 'image')} of {plural(len(options.shots), 'list')}", "--shots"),
        ("cell", f"{cell}, {form.system[0]}", f"the median of the shots; {form.system[1]}"),
        ("space group", form.group.xhm(), "--space-group" if options.space_group else _stated(shots)),
        ("resolution", f"{form.resolution_A:.4g} A", "--resolution" if options.resolution else "the corners of the detector"),
        ("mates", "apart" if options.anomalous else "one reflection", "--anomalous" if options.anomalous else "by default"),
        ("spots", f"spread {spreads:.4g} degrees, {cells} cells, shape {crystal.shape}", "of the first shot"),
        ("amplitudes", "those of FLAGS" if shots.first.states_amplitudes else "all alike", "where to begin"),
        ("refined", ", ".join(names), "--parameters" if options.parameters else "by default"),
    ]
    return [f"{name:<13} {text}   [{where}]" for name, text, where in rows]


def _stated(shots: Shots) -> str:
    """Where the space group is from."""
    crystal = shots.sources[0].chosen.geometry.crystal
    return "the lists" if crystal is not None and crystal.space_group else "none is stated"


def told(line: str) -> None:
    """Print a line about a pass."""
    print(line, flush=True)


def rows(result: Any) -> list[tuple[str, ...]]:
    """The head and the rows of the table of shells, the last of which is all of them."""
    return [HEADINGS, *(_row(shell) for shell in result.shells)]


def _row(shell: Any) -> tuple[str, ...]:
    return (
        f"{shell.low_A:.2f} to {shell.high_A:.2f}", str(shell.possible), str(shell.observed), f"{shell.completeness:.3f}",
        number(shell.multiplicity, ".1f"), number(shell.i_over_sigma, ".1f"), number(shell.cc_half, ".4f"),
        number(shell.r_split, ".4f"), number(shell.ratio, ".2f"), number(shell.cc_anomalous, ".3f"),
    )  # fmt: skip


def number(value: float, form: str) -> str:
    """A number, or a dash for one that is not known."""
    return format(value, form) if np.isfinite(value) else NOT_KNOWN


def table(result: Any) -> list[str]:
    """The lines of the table of shells."""
    every = rows(result)
    widths = [max(len(row[i]) for row in every) for i in range(len(HEADINGS))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in every]


def summary(result: Any) -> list[str]:
    """Figures of the whole, and the verdict."""
    used = sum(one is not None for one in result.experiments)
    fit = f"reduced chi squared {result.chi_squared:.4g}"
    if result.misfit > 0.0:
        fit += f" with a misfit of {100 * result.misfit:.2g} % of each spot"
    return [f"{used} of {len(result.experiments)} shots, {result.passes} passes, {fit}", result.message]


def file_line(path: str, what: str) -> str:
    """A line about a file that was written."""
    return f"wrote {os.fspath(path)}: {what}"
