"""The pictures of a report: drawings of matplotlib, which is imported only to draw, as PNG."""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli.report import labels
from nbnumba.cli.report.labels import Labels
from nbnumba.cli.report.spots import (
    EXTREME,
    NARROWEST,
    WIDEST,
    Peak,
    Profile,
    View,
    brightest,
    peaks,
    profile,
    together,
    view,
)

LARGEST_MATRIX = 60
"""The correlations of so many numbers can be read in a picture."""

CURVES = 8
"""So many numbers have a colour of their own in the picture of convergence; of the others at most GREY are grey."""

GREY = 200

STAGES = 14
"""So many phases have room in a legend."""

BESIDE = {"fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
"""A legend to the right of its axes."""

DPI = 100
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d1f")
"""Okabe and Ito's, which the colour-blind can tell apart; brown for yellow, which is faint on white."""

MEASURED, AFTER, BEFORE, LEFT_OUT, FAINT = "black", COLOURS[0], COLOURS[1], "#b3b3b3", "#c0c0c0"
INTENSITIES, SIGNED = "viridis", "RdBu_r"
RINGS = "#9a9a9a"
RINGS_CAPTION = " Rings are of equal resolution, in A; beside peaks that are calculated stand h k l and d."

HISTOGRAM = np.linspace(-6.0, 6.0, 49)

SAME = 1e-9
"""Intensities that differ by less, relatively, are drawn as one."""

FLATTEST = 1e-8
"""Losses closer to the least one than this part of the largest difference are drawn as if they were so close."""


class Picture(NamedTuple):
    """A PNG, the name of its file, and its caption."""

    name: str
    content: bytes
    caption: str


def draw(result: Any, most: int) -> tuple[list[list[Picture]], list[Picture]]:
    """The pictures of each image, of so many at most, and those of the whole refinement."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        labelled = zip(result.frames[:most], labels.of_result(result))
        images = [of_image(number, *image) for number, image in enumerate(labelled, start=1)]
        return images, [*convergence(result), *correlation(result)]


def of_image(number: int, fit: Any, named: Labels | None = None) -> list[Picture]:
    """The pictures of an image; none if no pixel counts. named: its labels, if there are any."""
    seen = view(fit)
    if seen is None:
        return []
    found = peaks(seen)
    names = [None if named is None else named.reflection(seen, peak) for peak in found]
    drawn = [_images(number, seen, found, names, None if named is None else named.rings(seen))]
    if found:
        drawn.append(_profiles(number, seen, found, names))
    if np.isfinite(seen.residual).any():
        drawn.append(_histogram(number, seen))
    return drawn


class Stretch(NamedTuple):
    """The scale of intensities: arcsinh((x - level) / width), from low to high."""

    level: float
    width: float
    low: float
    high: float

    def forward(self, x):
        """The stretched intensity."""
        return np.arcsinh((x - self.level) / self.width)

    def inverse(self, y):
        """The intensity of a stretched one."""
        return self.level + self.width * np.sinh(y)

    def ticks(self) -> list[float]:
        """Round numbers, about evenly spaced where they are drawn."""
        even = self.inverse(np.linspace(self.forward(self.low), self.forward(self.high), 8))
        found = []
        for x, gap in zip(even, np.gradient(even)):
            unit = 10.0 ** math.floor(math.log10(gap)) if gap > 0.0 else 1.0
            found.append(round(x / unit) * unit + 0.0)
        return sorted({x for x in found if self.low <= x <= self.high})

    def extend(self, *pictures: np.ndarray) -> str:
        """Whether pictures go beyond an end of the scale, in matplotlib's words."""
        low = any((picture < self.low).any() for picture in pictures)
        high = any((picture > self.high).any() for picture in pictures)
        return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither")


def stretch(measured: np.ndarray, calculated: np.ndarray, sigma: np.ndarray) -> Stretch:
    """The scale of two pictures: linear where intensities are as large as the noise, logarithmic far above it.

    It ends at the brightest that is calculated, so that a hot pixel does not leave the rest dark.
    """
    measured, calculated, sigma = (image[np.isfinite(image)] for image in (measured, calculated, sigma))
    low = min(np.percentile(measured, 0.5), calculated.min(initial=np.inf))
    high = max(np.percentile(measured, 99.9), calculated.max(initial=-np.inf))
    size = max(abs(low), abs(high))
    if not high - low > SAME * size:
        low, high = low - 0.5 * (size or 1.0), low + 0.5 * (size or 1.0)
    noise = float(np.median(sigma)) if sigma.size else 0.0
    return Stretch(float(np.median(measured)), noise or (high - low), float(low), float(high))


def _images(number: int, seen: View, found: list[Peak], names: list[str | None], rings: tuple | None) -> Picture:
    """Measured, calculated and residual, side by side, with rings of resolution; peaks are numbered as their profiles are."""
    rows, columns = seen.data.shape
    wide, high = _size(rows, columns)
    step = max(math.ceil(columns / (wide * DPI)), math.ceil(rows / (high * DPI)))
    measured, calculated = (brightest(np.where(seen.counts, image, np.nan), step) for image in (seen.data, seen.after))
    scale = stretch(measured, calculated, seen.sigma[seen.counts])
    left, gap, below = 0.75, 0.35, 1.15
    figure = _figure(left + 3 * wide + 2 * gap + 0.25, below + high + 0.4)
    panels = [_axes(figure, left + i * (wide + gap), below, wide, high) for i in range(3)]
    bars = [_axes(figure, left, 0.5, 2 * wide + gap, 0.14), _axes(figure, left + 2 * (wide + gap), 0.5, wide, 0.14)]
    _draw_intensities(panels[:2], bars[0], seen, (measured, calculated), scale, step)
    _draw_residual(panels[2], bars[1], seen, together(seen.residual, step), step)
    for axes, title in zip(panels, ("Measured", "Calculated", "Residual: (measured \u2212 calculated) / \u03c3")):
        axes.set(title=title, xlabel="fast (pixel)", facecolor=LEFT_OUT)
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("slow (pixel)")
    _number_peaks(panels[0], seen, found)
    if rings is not None:
        _draw_rings(panels, rings)
        _name_peaks(panels[1], seen, found, names)
    caption = (
        "Measured and calculated on one scale, and their difference in standard deviations; grey pixels do not count, and "
        f"numbers stand beside the peaks of the profiles{_of_blocks(step)}."
        f"{'' if rings is None else RINGS_CAPTION}"
    )
    return Picture(f"image_{number}.png", _png(figure), caption)


def _of_blocks(step: int) -> str:
    """What a caption says of blocks."""
    if step == 1:
        return ""
    return (
        f"; a point is the brightest of {step} x {step} pixels, which brightens the noise of what was measured, or their "
        f"residuals together, or one that is beyond {EXTREME:g}"
    )


def _size(rows: int, columns: int) -> tuple[float, float]:
    """Width and height, in inches, of a panel for so many pixels: pixels are square unless one side would be too short."""
    unit = min(4.1 / columns, 6.5 / rows)
    return max(unit * columns, 2.6), max(unit * rows, 1.2)


def _extent(seen: View, shape: tuple[int, int], step: int) -> tuple[float, float, float, float]:
    """Where the blocks of a picture lie on the detector: left, right, bottom, top; whole numbers are centres of pixels."""
    left, top = seen.column - 0.5, seen.row - 0.5
    return left, left + shape[1] * step, top + shape[0] * step, top


def _show(axes, seen: View, picture: np.ndarray, step: int, norm, colours: str):
    import matplotlib

    colours = matplotlib.colormaps[colours].with_extremes(bad=LEFT_OUT)
    extent = _extent(seen, picture.shape, step)
    shown = axes.imshow(picture, norm=norm, cmap=colours, extent=extent, aspect="auto", interpolation="nearest")
    rows, columns = seen.data.shape
    axes.set(xlim=(extent[0], extent[0] + columns), ylim=(extent[3] + rows, extent[3]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True, nbins=6)
    return shown


def _draw_intensities(panels, bar, seen: View, pictures, scale: Stretch, step: int) -> None:
    from matplotlib.colors import FuncNorm

    norm = FuncNorm((scale.forward, scale.inverse), vmin=scale.low, vmax=scale.high)
    for axes, picture in zip(panels, pictures):
        shown = _show(axes, seen, picture, step, norm, INTENSITIES)
    place = {"cax": bar, "orientation": "horizontal", "extend": scale.extend(*pictures)}
    colour_bar = bar.figure.colorbar(shown, ticks=scale.ticks(), format="%g", **place)
    colour_bar.minorticks_off()
    colour_bar.set_label("intensity, in the units of the data")


def _draw_residual(axes, bar, seen: View, picture, step: int) -> None:
    from matplotlib.colors import Normalize

    shown = _show(axes, seen, picture, step, Normalize(-EXTREME, EXTREME), SIGNED)
    bar.figure.colorbar(shown, cax=bar, orientation="horizontal", extend="both").set_label("standard deviations")


def _number_peaks(axes, seen: View, found: list[Peak]) -> None:
    """The number of each peak, up and to the right of it, or to the left where it is at the right edge."""
    rows, columns = seen.data.shape
    for number, peak in enumerate(found, start=1):
        inward = -1 if peak.column > 0.9 * columns else 1
        upward = -1 if peak.row < 0.1 * rows else 1
        axes.annotate(
            str(number),
            (seen.column + peak.column, seen.row + peak.row),
            (8 * inward, 8 * upward),
            textcoords="offset points",
            color="white",
            path_effects=_outlined(),
            ha="center",
            va="center",
        )


def _name_peaks(axes, seen: View, found: list[Peak], names: list[str | None]) -> None:
    """h k l and the resolution of each peak, beside it, towards the middle of the picture."""
    rows, columns = seen.data.shape
    for peak, name in zip(found, names):
        left = peak.column > 0.5 * columns
        axes.annotate(
            str(name).replace(", ", "\n"),
            (seen.column + peak.column, seen.row + peak.row),
            (-7 if left else 7, 7 if peak.row > 0.5 * rows else -7),
            textcoords="offset points",
            color="white",
            fontsize=7,
            path_effects=_outlined(),
            ha="right" if left else "left",
            va="bottom" if peak.row > 0.5 * rows else "top",
        )


def _draw_rings(panels, rings: tuple) -> None:
    """Lines where the resolution has a round value, which they are labelled with."""
    fast, slow, inverse, values = rings
    if not values or min(inverse.shape) < 2:
        return
    for axes in panels:
        lines = axes.contour(fast, slow, inverse, levels=[1.0 / d for d in values], colors=RINGS, linewidths=0.8)
        names = {1.0 / d: f"{d:g} A" for d in values}
        texts = axes.clabel(lines, fmt=names, fontsize=7, inline=False)
        for text in texts or ():
            text.set_path_effects(_outlined())
            text.set_color("white")


def _outlined() -> list:
    """What makes white text seen on any colour."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def _profiles(number: int, seen: View, found: list[Peak], names: list[str | None]) -> Picture:
    """Each peak along fast and along slow: measured, and calculated before and after."""
    reach, high = _reach(found), 0.5 + 2.35 * math.ceil(len(found) / 2)
    figure = _figure(13.4 if len(found) > 1 else 6.9, high)
    for i in range(2 * len(found)):
        line, place, along = i // 4, i % 4, 1 - i % 2
        axes = _axes(figure, 0.75 + 3.25 * place, high - 2.4 - 2.35 * line, 2.65, 1.65)
        _draw_profile(axes, profile(seen, found[i // 2], reach, along))
        title = f"Peak {i // 2 + 1}" if names[i // 2] is None else f"Peak {i // 2 + 1}: {names[i // 2]}"
        axes.set(title=title, xlabel=("slow (pixel)", "fast (pixel)")[along])
        if place == 0:
            axes.set_ylabel("summed intensity")
    figure.legend(*axes.get_legend_handles_labels(), loc="upper center", ncols=3)
    caption = (
        f"The brightest peaks along fast and along slow, in the units of the data, summed over {2 * (reach // 2) + 1} pixels "
        "across: what was measured, with its standard deviation, and what is calculated before and after the refinement."
        f"{_of_reflections(names)}"
    )
    return Picture(f"peaks_{number}.png", _png(figure), caption)


def _of_reflections(names: list[str | None]) -> str:
    """What a caption says of the reflections of peaks."""
    known = [f"{number}: {name}" for number, name in enumerate(names, start=1) if name is not None]
    return f" Reflections: {'; '.join(known)}." if known else ""


def _reach(found: list[Peak]) -> int:
    """How far the profiles of an image go: three times the width of a typical peak."""
    return int(np.clip(3 * round(float(np.median([peak.width for peak in found]))), NARROWEST, WIDEST))


def _draw_profile(axes, along: Profile) -> None:
    axes.plot(along.position, along.before, "--", color=BEFORE, label="before")
    axes.plot(along.position, along.after, "-", color=AFTER, label="after")
    points = {"fmt": "o", "markersize": 3, "elinewidth": 1, "color": MEASURED}
    axes.errorbar(along.position, along.data, along.sigma, label="measured", **points)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)


def _histogram(number: int, seen: View) -> Picture:
    """How residuals are distributed, beside the normal distribution."""
    residual = seen.residual[np.isfinite(seen.residual)]
    within = residual[np.abs(residual) <= HISTOGRAM[-1]]
    width = HISTOGRAM[1] - HISTOGRAM[0]
    ends = HISTOGRAM[0] + width / 2, HISTOGRAM[-1] - width / 2
    counts, _ = np.histogram(residual.clip(*ends), HISTOGRAM)
    figure = _figure(7.5, 4.0)
    axes = _axes(figure, 0.75, 0.55, 6.5, 3.05)
    axes.stairs(counts, HISTOGRAM, fill=True, color="#9ecae1", label="residuals")
    x = np.linspace(*HISTOGRAM[[0, -1]], 241)
    axes.plot(x, residual.size * width * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), color=MEASURED, label="normal")
    axes.set(yscale="log", xlim=HISTOGRAM[[0, -1]], ylim=(0.5, 3.0 * max(counts.max(), 1)))
    axes.set(xlabel="residual (standard deviations)", ylabel=f"pixels per {width:g}")
    axes.set_title(f"{residual.size} pixels, {residual.size - within.size} beyond 6; {_moments(within)}")
    axes.legend()
    caption = (
        "Residuals against the normal distribution, those beyond 6 in the outermost bins; where few photons are expected, they "
        "are skewed even if all is right."
    )
    return Picture(f"residuals_{number}.png", _png(figure), caption)


def _moments(residual: np.ndarray) -> str:
    if not residual.size:
        return "no others"
    return f"the others: mean {residual.mean():.3f}, standard deviation {residual.std():.3f}"


def convergence(result: Any) -> list[Picture]:
    """The loss, and the shifts of the parameters, against the evaluation; nothing without a history."""
    if not result.history:
        return []
    at = _counted_on([step.evaluation for step in result.history])
    figure = _figure(13.4, 7.4)
    upper, lower = (_axes(figure, 0.85, bottom, 9.2, 2.8) for bottom in (4.25, 0.55))
    _draw_loss(upper, result, at)
    _draw_shifts(lower, result, at)
    for axes in (upper, lower):
        axes.set_xlabel("evaluation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for start in _runs(result.history)[1:]:
            axes.axvline((at[start.start - 1] + at[start.start]) / 2, color=FAINT, linewidth=1, zorder=0)
    caption = (
        "Above: how far the loss exceeds the least one of its phase, which may differ from that of another phase; below: how "
        "far the numbers are from their final values, in their final uncertainties, those that went farthest in colour."
    )
    return [Picture("convergence.png", _png(figure), caption)]


def _counted_on(evaluations: list[int]) -> np.ndarray:
    """The numbers of evaluations, counted on where a phase begins anew."""
    counted = np.array(evaluations, dtype=float)
    before = np.where(np.diff(counted) < 0.0, counted[:-1], 0.0)
    return counted + np.concatenate([[0.0], np.cumsum(before)])


def _runs(history) -> list[slice]:
    """Which steps follow each other in one phase."""
    starts = [i for i, step in enumerate(history) if i == 0 or step.phase != history[i - 1].phase]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(history)])]


def _draw_loss(axes, result: Any, at: np.ndarray) -> None:
    """The loss, less the least one of its phase on a logarithmic axis if there is a difference to be seen."""
    loss, runs = np.array([step.loss for step in result.history], dtype=float), _runs(result.history)
    above = _above_least(loss, runs)
    for i, run in enumerate(runs):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": "o^sDv"[i // len(COLOURS) % 5], "markersize": 4}
        axes.plot(at[run], (loss if above is None else above)[run], label=_plain(result.history[run.start].phase), **style)
    if above is None:
        axes.set(ylabel="loss", title="Loss")
    else:
        axes.set(ylabel="loss \u2212 least loss of the phase", title="Loss", yscale="log")
    if len(runs) <= STAGES:
        axes.legend(**BESIDE)


def _above_least(loss: np.ndarray, runs: list[slice]) -> np.ndarray | None:
    """By how much losses exceed the least one of their phase, whose loss may be another function; None if none does.

    What exceeds it by nothing has the least difference that there is, or FLATTEST of the largest one.
    """
    known = np.where(np.isfinite(loss), loss, np.nan)
    above = np.concatenate([loss[run] - np.fmin.reduce(known[run]) for run in runs])
    some = above[np.isfinite(above) & (above > 0.0)]
    return np.maximum(above, max(some.min(), FLATTEST * some.max())) if some.size else None


def _draw_shifts(axes, result: Any, at: np.ndarray) -> None:
    shifts = _shifts(result)
    axes.set_title("Numbers, from their final values")
    if not shifts.size:
        axes.text(0.5, 0.5, "no number has a finite uncertainty", transform=axes.transAxes, ha="center")
        return
    farthest = np.argsort(-np.abs(shifts).max(axis=0), kind="stable")
    for i in farthest[CURVES : CURVES + GREY]:
        axes.plot(at, shifts[:, i], color=FAINT, linewidth=0.8, zorder=1)
    for colour, i in zip(COLOURS, farthest[:CURVES]):
        axes.plot(at, shifts[:, i], ".-", color=colour, label=_plain(_determined(result)[1][i]))
    axes.axhspan(-1.0, 1.0, color="#eeeeee", zorder=0)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylabel("(number \u2212 final) / uncertainty")
    axes.legend(**BESIDE)


def _determined(result: Any) -> tuple[np.ndarray, list[str]]:
    """Which numbers have a finite uncertainty above 0, and their names."""
    uncertainty = flat(result, result.uncertainties)
    which = np.flatnonzero(np.isfinite(uncertainty) & (uncertainty > 0.0))
    return which, [result.names[i] for i in which]


def _shifts(result: Any) -> np.ndarray:
    """(steps, numbers): how far each number that is determined is from its final value, in uncertainties."""
    which, _ = _determined(result)
    steps = np.array([np.asarray(step.x, dtype=float)[which] for step in result.history])
    return (steps - np.asarray(result.x)[which]) / flat(result, result.uncertainties)[which]


def flat(result: Any, named: dict[str, np.ndarray]) -> np.ndarray:
    """The numbers of a dict of parameters, in the order of result.names."""
    return np.concatenate([np.ravel(np.asarray(named[name], dtype=float)) for name in result.values])


def correlation(result: Any) -> list[Picture]:
    """The correlation matrix, if it has more than one number and no more than can be read."""
    n = len(result.names)
    if not 1 < n <= LARGEST_MATRIX:
        return []
    import matplotlib

    side = max(0.19 * n, min(0.5 * n, 4.0))
    left = 0.35 + 0.07 * max(map(len, result.names))
    figure = _figure(left + side + 1.2, left + side + 0.4)
    axes = _axes(figure, left, left, side, side)
    colours = matplotlib.colormaps[SIGNED].with_extremes(bad=LEFT_OUT)
    shown = axes.imshow(np.asarray(result.correlation, dtype=float), vmin=-1, vmax=1, cmap=colours, aspect="auto")
    names = [_plain(name) for name in result.names]
    axes.set_xticks(range(n), names, rotation=90)
    axes.set_yticks(range(n), names)
    axes.set_title("Correlation")
    if n <= 12:
        _write_correlations(axes, result.correlation)
    figure.colorbar(shown, cax=_axes(figure, left + side + 0.25, left, 0.16, side))
    caption = "How the refined numbers depend on each other: -1 or 1 is a combination that the data do not determine."
    return [Picture("correlation.png", _png(figure), caption)]


def _write_correlations(axes, matrix) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if row != column and np.isfinite(value):
            dark = abs(value) > 0.6
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")


def _figure(wide: float, high: float):
    """A figure of so many inches that no window knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((wide, high), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _axes(figure, left: float, bottom: float, wide: float, high: float):
    """Axes at a place in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def _png(figure) -> bytes:
    """A figure as PNG, without the name and version of what drew it."""
    stream = io.BytesIO()
    figure.canvas.print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _plain(text: str) -> str:
    """Text that a picture shows as it is, cut where it is long."""
    return (text if len(text) <= 48 else f"{text[:47]}\u2026").replace("$", r"\$")
