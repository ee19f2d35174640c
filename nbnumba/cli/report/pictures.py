"""The pictures of a report, drawn by matplotlib as PNG. Functions import matplotlib when they draw."""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli.refined_table import in_order
from nbnumba.cli.report.labels import Labels, labels_of_images
from nbnumba.cli.report.spots import (
    EXTREME,
    NARROWEST,
    WIDEST,
    CountedPart,
    Peak,
    Profile,
    brightest_of_blocks,
    brightest_peaks,
    counted_part,
    peak_profile,
    residuals_of_blocks,
)

LARGEST_MATRIX = 60
"""The largest number of parameters whose correlations can be read in a picture."""

COLOURED_CURVES, GREY_CURVES = 8, 200
"""The largest numbers of curves of parameters, in colour and in grey, in the picture of convergence."""

LEGEND_PHASES = 14
"""The largest number of phases that have room in a legend."""

RIGHT_OF_AXES = {"fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
"""Keywords of a legend that stands to the right of its axes."""

DPI = 100
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d1f")
"""The colours of Okabe and Ito, which the colour-blind can tell apart. Brown replaces yellow, which is faint on white."""

MEASURED, AFTER, BEFORE, LEFT_OUT, FAINT = "black", COLOURS[0], COLOURS[1], "#b3b3b3", "#c0c0c0"
INTENSITIES, SIGNED = "viridis", "RdBu_r"
RINGS = "#9a9a9a"
RINGS_CAPTION = " Rings join points of equal resolution (A); calculated peaks are labelled with h k l and d."

HISTOGRAM_EDGES = np.linspace(-6.0, 6.0, 49)
"""The edges of the bins of the histogram of residuals, in standard deviations."""

SAME = 1e-9
"""If all intensities of a picture differ by less than this, relatively, it is drawn as uniform."""

FLATTEST = 1e-8
"""The smallest difference of a loss from the least one that is drawn, as a fraction of the largest difference."""


class Picture(NamedTuple):
    """A picture: the name of its file, the bytes of the PNG, and its caption."""

    name: str
    content: bytes
    caption: str


def pictures_of_result(result: Any, most_images: int) -> tuple[list[list[Picture]], list[Picture]]:
    """The pictures of each of the first `most_images` images, and those of the whole refinement."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        labelled = zip(result.frames[:most_images], labels_of_images(result))
        by_image = [pictures_of_image(number, fit, labels) for number, (fit, labels) in enumerate(labelled, start=1)]
        return by_image, [*convergence(result), *correlation(result)]


def pictures_of_image(number: int, fit: Any, labels: Labels | None = None) -> list[Picture]:
    """The pictures of an image; none if no pixel counts. Without labels they show neither reflections nor rings."""
    part = counted_part(fit)
    if part is None:
        return []
    peaks = brightest_peaks(part)
    names = [None if labels is None else labels.reflection(part, peak) for peak in peaks]
    pictures = [_images(number, part, peaks, names, None if labels is None else labels.rings(part))]
    if peaks:
        pictures.append(_profiles(number, part, peaks, names))
    if np.isfinite(part.residual).any():
        pictures.append(_histogram(number, part))
    return pictures


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
        """Round intensities that are about evenly spaced on the stretched scale."""
        even = self.inverse(np.linspace(self.forward(self.low), self.forward(self.high), 8))
        rounded = []
        for x, gap in zip(even, np.gradient(even)):
            unit = 10.0 ** math.floor(math.log10(gap)) if gap > 0.0 else 1.0
            rounded.append(round(x / unit) * unit + 0.0)
        return sorted({x for x in rounded if self.low <= x <= self.high})

    def extend(self, *images: np.ndarray) -> str:
        """The ends of the scale that images exceed, in the words of matplotlib: "min", "max", "both" or "neither"."""
        low = any((image < self.low).any() for image in images)
        high = any((image > self.high).any() for image in images)
        return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither")


def stretch(measured: np.ndarray, calculated: np.ndarray, sigma: np.ndarray) -> Stretch:
    """The common scale of two images: linear where intensities are as large as the noise, logarithmic far above it.

    The brightest calculated pixel sets its upper end, so that a hot measured pixel does not leave the rest dark.
    """
    measured, calculated, sigma = (image[np.isfinite(image)] for image in (measured, calculated, sigma))
    low = min(np.percentile(measured, 0.5), calculated.min(initial=np.inf))
    high = max(np.percentile(measured, 99.9), calculated.max(initial=-np.inf))
    size = max(abs(low), abs(high))
    if not high - low > SAME * size:
        low, high = low - 0.5 * (size or 1.0), low + 0.5 * (size or 1.0)
    noise = float(np.median(sigma)) if sigma.size else 0.0
    return Stretch(float(np.median(measured)), noise or (high - low), float(low), float(high))


def _images(number: int, part: CountedPart, peaks: list[Peak], names: list[str | None], rings: tuple | None) -> Picture:
    """The measured image, the calculated one and the residual, side by side, with rings; peaks have the numbers of profiles."""
    rows, columns = part.data.shape
    wide, high = _size(rows, columns)
    step = max(math.ceil(columns / (wide * DPI)), math.ceil(rows / (high * DPI)))
    counted = (np.where(part.is_measured, image, np.nan) for image in (part.data, part.after))
    measured, calculated = (brightest_of_blocks(image, step) for image in counted)
    scale = stretch(measured, calculated, part.sigma[part.is_measured])
    left, gap, below = 0.75, 0.35, 1.15
    figure = new_figure(left + 3 * wide + 2 * gap + 0.25, below + high + 0.4)
    panels = [axes_at(figure, left + i * (wide + gap), below, wide, high) for i in range(3)]
    bars = [axes_at(figure, left, 0.5, 2 * wide + gap, 0.14), axes_at(figure, left + 2 * (wide + gap), 0.5, wide, 0.14)]
    _draw_intensities(panels[:2], bars[0], part, (measured, calculated), scale, step)
    _draw_residual(panels[2], bars[1], part, residuals_of_blocks(part.residual, step), step)
    for axes, title in zip(panels, ("Measured", "Calculated", "Residual: (measured \u2212 calculated) / \u03c3")):
        axes.set(title=title, xlabel="fast (pixel)", facecolor=LEFT_OUT)
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("slow (pixel)")
    _number_peaks(panels[0], part, peaks)
    if rings is not None:
        draw_rings(panels, rings)
        _name_peaks(panels[1], part, peaks, names)
    caption = (
        "The measured and the calculated image on the same scale, and their difference in standard deviations. Grey pixels do "
        f"not count. Numbers mark the peaks whose profiles are shown.{_about_blocks(step)}"
        f"{'' if rings is None else RINGS_CAPTION}"
    )
    return Picture(f"image_{number}.png", png_of(figure), caption)


def _about_blocks(step: int) -> str:
    """The sentences of a caption about blocks of pixels; empty if every pixel is drawn."""
    if step == 1:
        return ""
    return (
        f" Each point shows the brightest of {step} x {step} pixels, which makes measured noise look brighter. In the residual "
        f"it shows their sum divided by the square root of their number, or the largest of them if that is beyond {EXTREME:g}."
    )


def _size(rows: int, columns: int) -> tuple[float, float]:
    """The width and height of a panel in inches. Pixels are square unless one side would be too short."""
    unit = min(4.1 / columns, 6.5 / rows)
    return max(unit * columns, 2.6), max(unit * rows, 1.2)


def _extent(part: CountedPart, shape: tuple[int, int], step: int) -> tuple[float, float, float, float]:
    """The edges of a picture on the detector, in pixels: left, right, bottom, top. Whole numbers are centres of pixels."""
    left, top = part.column - 0.5, part.row - 0.5
    return left, left + shape[1] * step, top + shape[0] * step, top


def _show(axes, part: CountedPart, picture: np.ndarray, step: int, norm, colours: str):
    """Draw an image on axes in pixels of the detector; returns what a colour bar needs."""
    import matplotlib

    colours = matplotlib.colormaps[colours].with_extremes(bad=LEFT_OUT)
    extent = _extent(part, picture.shape, step)
    mappable = axes.imshow(picture, norm=norm, cmap=colours, extent=extent, aspect="auto", interpolation="nearest")
    rows, columns = part.data.shape
    axes.set(xlim=(extent[0], extent[0] + columns), ylim=(extent[3] + rows, extent[3]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True, nbins=6)
    return mappable


def _draw_intensities(panels, bar, part: CountedPart, pictures, scale: Stretch, step: int) -> None:
    from matplotlib.colors import FuncNorm

    norm = FuncNorm((scale.forward, scale.inverse), vmin=scale.low, vmax=scale.high)
    for axes, picture in zip(panels, pictures):
        mappable = _show(axes, part, picture, step, norm, INTENSITIES)
    options = {"cax": bar, "orientation": "horizontal", "extend": scale.extend(*pictures)}
    colour_bar = bar.figure.colorbar(mappable, ticks=scale.ticks(), format="%g", **options)
    colour_bar.minorticks_off()
    colour_bar.set_label("intensity, in the units of the data")


def _draw_residual(axes, bar, part: CountedPart, picture, step: int) -> None:
    from matplotlib.colors import Normalize

    mappable = _show(axes, part, picture, step, Normalize(-EXTREME, EXTREME), SIGNED)
    bar.figure.colorbar(mappable, cax=bar, orientation="horizontal", extend="both").set_label("standard deviations")


def _number_peaks(axes, part: CountedPart, peaks: list[Peak]) -> None:
    """Write the number of each peak above and to the right of it; at the upper or right edge, below or to the left of it."""
    rows, columns = part.data.shape
    for number, peak in enumerate(peaks, start=1):
        inward = -1 if peak.column > 0.9 * columns else 1
        upward = -1 if peak.row < 0.1 * rows else 1
        axes.annotate(
            str(number),
            (part.column + peak.column, part.row + peak.row),
            (8 * inward, 8 * upward),
            textcoords="offset points",
            color="white",
            path_effects=dark_outline(),
            ha="center",
            va="center",
        )


def _name_peaks(axes, part: CountedPart, peaks: list[Peak], names: list[str | None]) -> None:
    """Write h k l and the resolution beside each peak, towards the middle of the picture."""
    rows, columns = part.data.shape
    for peak, name in zip(peaks, names):
        left = peak.column > 0.5 * columns
        axes.annotate(
            str(name).replace(", ", "\n"),
            (part.column + peak.column, part.row + peak.row),
            (-7 if left else 7, 7 if peak.row > 0.5 * rows else -7),
            textcoords="offset points",
            color="white",
            fontsize=7,
            path_effects=dark_outline(),
            ha="right" if left else "left",
            va="bottom" if peak.row > 0.5 * rows else "top",
        )


def draw_rings(panels, rings: tuple) -> None:
    """Draw lines where the resolution has a round value, and label each line with it."""
    fast, slow, inverse, values = rings
    if not values or min(inverse.shape) < 2:
        return
    for axes in panels:
        lines = axes.contour(fast, slow, inverse, levels=[1.0 / d for d in values], colors=RINGS, linewidths=0.8)
        level_labels = {1.0 / d: f"{d:g} A" for d in values}
        texts = axes.clabel(lines, fmt=level_labels, fontsize=7, inline=False)
        for text in texts or ():
            text.set_path_effects(dark_outline())
            text.set_color("white")


def dark_outline() -> list:
    """Path effects that make white text legible on any colour."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def _profiles(number: int, part: CountedPart, peaks: list[Peak], names: list[str | None]) -> Picture:
    """The profiles of each peak along fast and along slow: measured, and calculated before and after the refinement."""
    reach, high = _reach(peaks), 0.5 + 2.35 * math.ceil(len(peaks) / 2)
    figure = new_figure(13.4 if len(peaks) > 1 else 6.9, high)
    for i in range(2 * len(peaks)):
        row, column, along = i // 4, i % 4, 1 - i % 2
        axes = axes_at(figure, 0.75 + 3.25 * column, high - 2.4 - 2.35 * row, 2.65, 1.65)
        _draw_profile(axes, peak_profile(part, peaks[i // 2], reach, along))
        title = f"Peak {i // 2 + 1}" if names[i // 2] is None else f"Peak {i // 2 + 1}: {names[i // 2]}"
        axes.set(title=title, xlabel=("slow (pixel)", "fast (pixel)")[along])
        if column == 0:
            axes.set_ylabel("summed intensity")
    figure.legend(*axes.get_legend_handles_labels(), loc="upper center", ncols=3)
    caption = (
        "Profiles of the brightest peaks along fast and along slow, in the units of the data, summed over "
        f"{2 * (reach // 2) + 1} pixels across: the measured intensity with its standard deviation, and the calculated one "
        f"before and after the refinement.{_about_reflections(names)}"
    )
    return Picture(f"peaks_{number}.png", png_of(figure), caption)


def _about_reflections(names: list[str | None]) -> str:
    """The sentence of a caption that lists the reflections of peaks; empty if none is known."""
    numbered = [f"{number}: {name}" for number, name in enumerate(names, start=1) if name is not None]
    return f" Reflections: {'; '.join(numbered)}." if numbered else ""


def _reach(peaks: list[Peak]) -> int:
    """The distance, in pixels, from a peak to the ends of its profiles: three times the width of a typical peak."""
    return int(np.clip(3 * round(float(np.median([peak.width for peak in peaks]))), NARROWEST, WIDEST))


def _draw_profile(axes, profile: Profile) -> None:
    axes.plot(profile.position, profile.before, "--", color=BEFORE, label="before")
    axes.plot(profile.position, profile.after, "-", color=AFTER, label="after")
    points = {"fmt": "o", "markersize": 3, "elinewidth": 1, "color": MEASURED}
    axes.errorbar(profile.position, profile.data, profile.sigma, label="measured", **points)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)


def _histogram(number: int, part: CountedPart) -> Picture:
    """The histogram of the residuals, with the normal distribution."""
    edges = HISTOGRAM_EDGES
    residual = part.residual[np.isfinite(part.residual)]
    within = residual[np.abs(residual) <= edges[-1]]
    width = edges[1] - edges[0]
    outermost_centres = edges[0] + width / 2, edges[-1] - width / 2
    pixels_per_bin, _ = np.histogram(residual.clip(*outermost_centres), edges)
    figure = new_figure(7.5, 4.0)
    axes = axes_at(figure, 0.75, 0.55, 6.5, 3.05)
    axes.stairs(pixels_per_bin, edges, fill=True, color="#9ecae1", label="residuals")
    x = np.linspace(*edges[[0, -1]], 241)
    axes.plot(x, residual.size * width * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), color=MEASURED, label="normal")
    axes.set(yscale="log", xlim=edges[[0, -1]], ylim=(0.5, 3.0 * max(pixels_per_bin.max(), 1)))
    axes.set(xlabel="residual (standard deviations)", ylabel=f"pixels per {width:g}")
    axes.set_title(f"{residual.size} pixels, {residual.size - within.size} beyond 6; {_moments(within)}")
    axes.legend()
    caption = (
        "The histogram of the residuals, compared with the normal distribution. The outermost bins include residuals beyond 6 "
        "standard deviations. Where few photons are expected, residuals are skewed even if the model is right."
    )
    return Picture(f"residuals_{number}.png", png_of(figure), caption)


def _moments(residual: np.ndarray) -> str:
    """The part of a title with the mean and the standard deviation of residuals."""
    if not residual.size:
        return "no others"
    return f"the others: mean {residual.mean():.3f}, standard deviation {residual.std():.3f}"


def convergence(result: Any) -> list[Picture]:
    """The picture of the loss and of the parameters against the number of evaluations; none without a history."""
    if not result.history:
        return []
    evaluations = _cumulative([step.evaluation for step in result.history])
    figure = new_figure(13.4, 7.4)
    upper, lower = (axes_at(figure, 0.85, bottom, 9.2, 2.8) for bottom in (4.25, 0.55))
    _draw_loss(upper, result, evaluations)
    _draw_shifts(lower, result, evaluations)
    for axes in (upper, lower):
        axes.set_xlabel("evaluation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for phase in _phases(result.history)[1:]:
            boundary = (evaluations[phase.start - 1] + evaluations[phase.start]) / 2
            axes.axvline(boundary, color=FAINT, linewidth=1, zorder=0)
    caption = (
        "Above: the loss less the least loss of the same phase; phases may minimize different functions. Below: the difference "
        "of each refined number from its final value, divided by its final uncertainty; the largest differences are in colour."
    )
    return [Picture("convergence.png", png_of(figure), caption)]


def _cumulative(evaluations: list[int]) -> np.ndarray:
    """Numbers of evaluations that continue to increase where the counting of a phase starts again."""
    numbers = np.array(evaluations, dtype=float)
    before = np.where(np.diff(numbers) < 0.0, numbers[:-1], 0.0)
    return numbers + np.concatenate([[0.0], np.cumsum(before)])


def _phases(history) -> list[slice]:
    """The steps of each phase."""
    starts = [i for i, step in enumerate(history) if i == 0 or step.phase != history[i - 1].phase]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(history)])]


def _draw_loss(axes, result: Any, evaluations: np.ndarray) -> None:
    """Draw the loss less the least one of its phase, on a logarithmic axis; draw the loss itself if it never changes."""
    loss, phases = np.array([step.loss for step in result.history], dtype=float), _phases(result.history)
    above = _above_least(loss, phases)
    drawn = loss if above is None else above
    for i, phase in enumerate(phases):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": "o^sDv"[i // len(COLOURS) % 5], "markersize": 4}
        axes.plot(evaluations[phase], drawn[phase], label=_literal(result.history[phase.start].phase), **style)
    if above is None:
        axes.set(ylabel="loss", title="Loss")
    else:
        axes.set(ylabel="loss \u2212 least loss of the phase", title="Loss", yscale="log")
    if len(phases) <= LEGEND_PHASES:
        axes.legend(**RIGHT_OF_AXES)


def _above_least(loss: np.ndarray, phases: list[slice]) -> np.ndarray | None:
    """Each loss less the least one of its phase, since phases may minimize different functions; None if all are equal.

    A difference of 0 becomes the smallest positive one, or FLATTEST times the largest one, so that a logarithmic axis shows it.
    """
    finite = np.where(np.isfinite(loss), loss, np.nan)
    above = np.concatenate([loss[phase] - np.fmin.reduce(finite[phase]) for phase in phases])
    positive = above[np.isfinite(above) & (above > 0.0)]
    return np.maximum(above, max(positive.min(), FLATTEST * positive.max())) if positive.size else None


def _draw_shifts(axes, result: Any, evaluations: np.ndarray) -> None:
    """Draw the differences of the refined numbers from their final values, in uncertainties."""
    shifts = _shifts(result)
    axes.set_title("Refined numbers relative to their final values")
    if not shifts.size:
        axes.text(0.5, 0.5, "no number has a finite uncertainty", transform=axes.transAxes, ha="center")
        return
    farthest = np.argsort(-np.abs(shifts).max(axis=0), kind="stable")
    for i in farthest[COLOURED_CURVES : COLOURED_CURVES + GREY_CURVES]:
        axes.plot(evaluations, shifts[:, i], color=FAINT, linewidth=0.8, zorder=1)
    for colour, i in zip(COLOURS, farthest[:COLOURED_CURVES]):
        axes.plot(evaluations, shifts[:, i], ".-", color=colour, label=_literal(_determined(result)[1][i]))
    axes.axhspan(-1.0, 1.0, color="#eeeeee", zorder=0)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylabel("(number \u2212 final) / uncertainty")
    axes.legend(**RIGHT_OF_AXES)


def _determined(result: Any) -> tuple[np.ndarray, list[str]]:
    """The indices and the names of the numbers that have a finite uncertainty above 0."""
    uncertainty = in_order(result.uncertainties)
    indices = np.flatnonzero(np.isfinite(uncertainty) & (uncertainty > 0.0))
    return indices, [result.names[i] for i in indices]


def _shifts(result: Any) -> np.ndarray:
    """The difference of each determined number from its final value, in uncertainties, at every step: (steps, numbers)."""
    indices, _ = _determined(result)
    values = np.array([np.asarray(step.x, dtype=float)[indices] for step in result.history])
    return (values - np.asarray(result.x)[indices]) / in_order(result.uncertainties)[indices]


def correlation(result: Any) -> list[Picture]:
    """The picture of the correlation matrix; none for a single number, or for more numbers than can be read."""
    n = len(result.names)
    if not 1 < n <= LARGEST_MATRIX:
        return []
    import matplotlib

    side = max(0.19 * n, min(0.5 * n, 4.0))
    left = 0.35 + 0.07 * max(map(len, result.names))
    figure = new_figure(left + side + 1.2, left + side + 0.4)
    axes = axes_at(figure, left, left, side, side)
    colours = matplotlib.colormaps[SIGNED].with_extremes(bad=LEFT_OUT)
    mappable = axes.imshow(np.asarray(result.correlation, dtype=float), vmin=-1, vmax=1, cmap=colours, aspect="auto")
    names = [_literal(name) for name in result.names]
    axes.set_xticks(range(n), names, rotation=90)
    axes.set_yticks(range(n), names)
    axes.set_title("Correlation")
    if n <= 12:
        _write_correlations(axes, result.correlation)
    figure.colorbar(mappable, cax=axes_at(figure, left + side + 0.25, left, 0.16, side))
    caption = "The correlations of the refined numbers. The data cannot separate two numbers whose correlation is -1 or 1."
    return [Picture("correlation.png", png_of(figure), caption)]


def _write_correlations(axes, matrix) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if row != column and np.isfinite(value):
            dark = abs(value) > 0.6
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")


def new_figure(wide: float, high: float):
    """A figure of the given size in inches, which opens no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((wide, high), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure, left: float, bottom: float, wide: float, high: float):
    """Axes at a position, and of a size, that are given in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def png_of(figure) -> bytes:
    """The bytes of a figure as PNG, without the name and the version of the program that drew it."""
    stream = io.BytesIO()
    figure.canvas.print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _literal(text: str) -> str:
    """Text that matplotlib shows as it stands, without mathematical notation, cut after 48 characters."""
    return (text if len(text) <= 48 else f"{text[:47]}\u2026").replace("$", r"\$")
