"""The report of a merging: its page, with shells of resolution as a table and as pictures, and how intensities are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba.cli.report.page import document, escaped, figure_element, html_list, html_table
from nbnumba.cli.report.pictures import COLOURS, STYLE, Picture, axes_at, new_figure, png_of

MOST_POINTS = 20000
"""Points of a picture: of more reflections every so many is drawn."""


def file_contents(result: Any, rows: Sequence[Sequence[str]], summary: Sequence[str], command: str) -> dict[str, bytes]:
    """The bytes of each file of the report of a result of adjoint.merge_shots, by the file's name."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        pictures = [_agreement(result), _coverage(result), _halves(result)]
    kind, verdict = ("message", "Success") if result.success else ("message failed", "Failure")
    parts = [
        "<h1>Structure factors from many shots</h1>",
        f'<p class="{kind}"><strong>{verdict}.</strong> {escaped(result.message)}</p>',
        "<h2>Diagnosis</h2>",
        html_list("ul", result.diagnosis) or "<p>Nothing wrong was found.</p>",
        "<h2>Agreement</h2>",
        html_list("ul", summary),
        html_table(list(rows[0]), [list(row) for row in rows[1:]], len(rows[0]) - 1),
        *map(figure_element, pictures),
        "<h2>Shots that are left out</h2>" if result.left_out else "",
        html_list("ul", [f"{name}: {why}" for name, why in result.left_out.items()]),
        f"<h2>Command</h2>\n<pre>{escaped(command)}</pre>",
    ]
    page = document("Structure factors from many shots", [part for part in parts if part])
    return {"index.html": page.encode("utf-8", errors="backslashreplace")} | {one.name: one.content for one in pictures}


def _by_resolution(figure: Any, left: float, shells: Sequence[Any], label: str) -> Any:
    """Axes whose abscissa is 1 / d^2, with marks at round resolutions."""
    axes = axes_at(figure, left, 0.6, 3.6, 2.6)
    ends = [1.0 / shells[0].low_A ** 2, 1.0 / shells[-1].high_A ** 2]
    marks = np.linspace(ends[0], ends[1], 6)[1:]
    axes.set(xlabel="resolution (A)", ylabel=label, xlim=(0.0, 1.02 * ends[1]))
    axes.set_xticks(marks, [f"{1.0 / np.sqrt(mark):.3g}" for mark in marks])
    return axes


def _middles(shells: Sequence[Any]) -> list[float]:
    return [(shell.low_A**-2 + shell.high_A**-2) / 2.0 for shell in shells]


def _agreement(result: Any) -> Picture:
    """CC1/2, R_split and the anomalous correlation by resolution."""
    shells = result.shells[:-1]
    figure, at = new_figure(9.6, 3.5), _middles(shells)
    axes = _by_resolution(figure, 0.7, shells, "correlation of halves")
    axes.plot(at, [shell.cc_half for shell in shells], "o-", color=COLOURS[0], label="CC1/2")
    if result.unique.friedel_apart:
        axes.plot(at, [shell.cc_anomalous for shell in shells], "s-", color=COLOURS[1], label="anomalous differences")
    axes.set(ylim=(min(0.0, axes.get_ylim()[0]), 1.05))
    axes.legend(fontsize=8)
    axes = _by_resolution(figure, 5.4, shells, "R_split")
    axes.plot(at, [shell.r_split for shell in shells], "o-", color=COLOURS[0])
    axes.set(ylim=(0.0, None))
    return Picture("agreement.png", png_of(figure), "Halves of the shots against each other, in shells of resolution.")


def _coverage(result: Any) -> Picture:
    """Completeness, multiplicity, and how well intensities are known, by resolution."""
    shells = result.shells[:-1]
    figure, at = new_figure(9.6, 3.5), _middles(shells)
    axes = _by_resolution(figure, 0.7, shells, "shots for each reflection")
    axes.plot(at, [shell.multiplicity for shell in shells], "o-", color=COLOURS[0], label="shots")
    axes.set(ylim=(0.0, None))
    other = axes.twinx()
    other.plot(at, [shell.completeness for shell in shells], "s-", color=COLOURS[1], label="completeness")
    other.set(ylim=(0.0, 1.05), ylabel="completeness")
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize=8, loc="lower left")
    axes = _by_resolution(figure, 6.1, shells, "mean of I / sigma")
    axes.plot(at, [shell.i_over_sigma for shell in shells], "o-", color=COLOURS[0])
    axes.set(ylim=(0.0, None))
    return Picture("coverage.png", png_of(figure), "How many shots tell of a reflection, and how well its intensity is known.")


def _halves(result: Any) -> Picture:
    """The intensities of one half of the shots against those of the other."""
    known = np.flatnonzero(np.isfinite(result.half_sigmas).all(axis=0) & (result.halves > 0.0).all(axis=0))
    known = known[:: max(len(known) // MOST_POINTS, 1)]
    figure = new_figure(5.0, 4.4)
    axes = axes_at(figure, 0.9, 0.6, 3.5, 3.5)
    axes.plot(*result.halves[:, known], ".", markersize=2, color=COLOURS[0], alpha=0.5)
    ends = [float(end(result.halves[:, known])) for end in (np.min, np.max)] if len(known) else [1.0, 10.0]
    axes.plot(ends, ends, color=COLOURS[1], linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="intensity by one half of the shots", ylabel="by the other half")
    return Picture("halves.png", png_of(figure), "Intensities by each half of the shots; both would be alike on the line.")
