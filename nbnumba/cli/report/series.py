"""The report of a refined series: its page, pictures of the worst shoeboxes, and images with the places of strong spots."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli.report.labels import Labels
from nbnumba.cli.report.page import document, escaped, figure_element, html_list, html_table
from nbnumba.cli.report.pictures import (
    COLOURS,
    DPI,
    INTENSITIES,
    LEFT_OUT,
    SIGNED,
    STYLE,
    Picture,
    axes_at,
    draw_rings,
    new_figure,
    png_of,
)
from nbnumba.cli.report.spots import CountedPart, brightest_of_blocks
from nbnumba.setup.sheet import sheet_of

MOST_IMAGES = 20
"""How many images get a picture."""

BRIGHT_SHARE, LEAST_BLACK = 99.9, 50.0
"""The percentile of the pixels of an image that is black, and the fewest counts that are: single photons are faint."""


class Texts(NamedTuple):
    """What the page says: titles and lines of text, and the rows of tables, each with its head."""

    title: str
    taken: Sequence[str]
    parameters: Sequence[Sequence[str]]
    summary: Sequence[str]
    boxes: Sequence[Sequence[str]]
    flags: Sequence[tuple[str, str]]


class Shown(NamedTuple):
    """An image that may be shown: its place in the series, its number in the scan, its name, and a function that reads it."""

    order: int
    number: int
    name: str
    read: Any


def file_contents(result: Any, texts: Texts, images: Sequence[Shown]) -> dict[str, bytes]:
    """The bytes of each file of the report of a result of adjoint.refine_series, by the file's name."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        boxes = [_box_picture(number, result, box, images) for number, box in enumerate(result.figures.worst, start=1)]
        places = [_image_picture(result, image) for image in shown_images(images)]
    page = _page(result, texts, boxes, places, len(images))
    pictures = {picture.name: picture.content for picture in (*boxes, *places)}
    return {"index.html": page.encode("utf-8", errors="backslashreplace")} | pictures


def shown_images(images: Sequence[Shown]) -> list[Shown]:
    """At most MOST_IMAGES of the images, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).round().astype(int))
    return [images[index] for index in chosen]


# ------------------------------------------------------------------------------------------------ page


def _page(result: Any, texts: Texts, boxes: list[Picture], places: list[Picture], count: int) -> str:
    """The text of the page."""
    kind, verdict = ("message", "Success") if result.success else ("message failed", "Failure")
    parts = [
        f"<h1>{escaped(texts.title)}</h1>",
        f'<p class="{kind}"><strong>{verdict}.</strong> {escaped(result.message)}</p>',
        "<h2>Diagnosis</h2>",
        html_list("ul", result.diagnosis) or "<p>All parameters are well determined, and nothing wrong was found.</p>",
        "<h2>Agreement</h2>",
        html_list("ul", texts.summary),
        "<h2>Parameters</h2>",
        html_table(list(texts.parameters[0]), [list(row) for row in texts.parameters[1:]], len(texts.parameters[0]) - 2),
        "<h2>Where it is from</h2>",
        html_list("ul", texts.taken),
        "<h2>Stages of the refinement</h2>",
        html_list("ol", result.lines),
        *(f"<h2>{escaped(name)}</h2>\n<pre>{escaped(line)}</pre>" for name, line in texts.flags),
        "<h2>Worst shoeboxes</h2>",
        html_table(list(texts.boxes[0]), [list(row) for row in texts.boxes[1:]], len(texts.boxes[0])) if texts.boxes else "",
        *map(figure_element, boxes),
        "<h2>Images</h2>",
        f"<p>{len(places)} of {count} images are shown.</p>" if len(places) < count else "",
        *map(figure_element, places),
    ]
    return document(texts.title, [part for part in parts if part])


# ------------------------------------------------------------------------------------------------ pictures


def _box_picture(number: int, result: Any, box: Any, images: Sequence[Shown]) -> Picture:
    """A shoebox: observed, calculated, and their difference in standard deviations of counting."""
    from adjoint.series.reduction import variance

    boxes, fitted = result.stages[-1].problem.models[box.image].boxes, result.point.fitted[box.image]
    own = np.flatnonzero(boxes.reflection[boxes.box] == box.reflection)
    rows, columns = boxes.rows[own], boxes.columns[own]
    row, column = int(rows.min()), int(columns.min())

    def grid(values: np.ndarray) -> np.ndarray:
        made = np.full((int(rows.max()) - row + 1, int(columns.max()) - column + 1), np.nan)
        made[rows - row, columns - column] = values
        return made

    observed, calculated = boxes.data[own], fitted.mean[own]
    rules = result.stages[-1].problem.rules._replace(misfit=0.0)
    deviation = (observed - calculated) / np.sqrt(variance(fitted, rules)[own])
    name = f"image {images[box.image].number}: {_reflection(result, box.reflection)}"
    figure = new_figure(10.2, 3.5)
    most = max(float(np.max(calculated)), float(np.percentile(observed, 99.0)), 1.0)
    extent = (column - 0.5, column + grid(observed).shape[1] - 0.5, row + grid(observed).shape[0] - 0.5, row - 0.5)
    titles = ("observed", "calculated", "(observed − calculated) / σ of counting")
    for index, (title, values) in enumerate(zip(titles, (observed, calculated, deviation))):
        axes = axes_at(figure, 0.6 + 3.25 * index, 0.5, 2.4, 2.4)
        limits = {"vmin": -5.0, "vmax": 5.0, "cmap": SIGNED} if index == 2 else {"vmin": 0.0, "vmax": most, "cmap": INTENSITIES}
        drawn = axes.imshow(grid(values), extent=extent, interpolation="nearest", aspect="auto", **limits)
        axes.set(title=title, facecolor=LEFT_OUT, xlabel="fast (pixel)", ylabel="slow (pixel)" if index == 0 else "")
        axes.tick_params(labelleft=index == 0)
        figure.colorbar(drawn, cax=axes_at(figure, 3.05 + 3.25 * index, 0.5, 0.08, 2.4))
    figure.suptitle(name, fontsize=10)
    photons = f"{box.observed:.0f} photons observed above the background, {box.calculated:.0f} calculated"
    return Picture(f"box_{number}.png", png_of(figure), f"{name}: {photons}, reduced chi squared {box.chi_squared:.3g}.")


def _reflection(result: Any, number: int) -> str:
    hkl = " ".join(str(index) for index in result.reflections.hkl[number])
    return f"{hkl}, {result.reflections.d_A[number]:.3g} A"


def _image_picture(result: Any, image: Shown) -> Picture:
    """An image with resolution rings, and the places of its strong spots as they are predicted and as they are observed."""
    experiment = result.experiments[image.order]
    sheet = sheet_of(experiment.detector)
    data = np.asarray(sheet.sheet(image.name, image.read(), np.nan), dtype=np.float64)
    rows, columns = data.shape
    unit = min(9.0 / columns, 9.0 / rows)
    wide, high = max(unit * columns, 3.0), max(unit * rows, 2.0)
    step = max(math.ceil(columns / (wide * DPI)), math.ceil(rows / (high * DPI)))
    picture = brightest_of_blocks(data, step)
    known = picture[np.isfinite(picture)]
    most = max(float(np.percentile(known, BRIGHT_SHARE)), LEAST_BLACK) if len(known) else LEAST_BLACK
    figure = new_figure(wide + 1.0, high + 0.9)
    axes = axes_at(figure, 0.75, 0.55, wide, high)
    extent = (-0.5, picture.shape[1] * step - 0.5, picture.shape[0] * step - 0.5, -0.5)
    shown = np.sqrt(np.maximum(picture, 0.0))
    axes.imshow(shown, extent=extent, cmap="Greys", vmin=0.0, vmax=math.sqrt(most), interpolation="nearest", aspect="auto")
    _draw_places(axes, result, image.order, sheet)
    part = CountedPart(0, 0, data, data, data, data, np.isfinite(data), data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draw_rings([axes], Labels(experiment, ()).rings(part))
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xlabel="fast (pixel)", ylabel="slow (pixel)")
    axes.set(facecolor=LEFT_OUT, title=f"image {image.number}")
    caption = (
        f"{image.name}: squares where the model has spots, crosses where strong ones were observed. Rings join points of equal "
        f"resolution (A).{'' if step == 1 else f' Each point shows the brightest of {step} x {step} pixels.'}"
    )
    return Picture(f"image_{image.number}.png", png_of(figure), caption)


def _draw_places(axes: Any, result: Any, index: int, sheet: Any) -> None:
    """Mark the reflections that have a box in an image, and where the strong ones of them were observed."""
    found, shifts = result.reflections, result.figures.shifts
    first_rows = np.array([place[0].start or 0 for place in sheet.places()])
    fast, slow = found.fast - 0.5, found.slow - 0.5 + first_rows[found.panel]
    here = np.unique(result.stages[-1].problem.models[index].boxes.reflection)
    marks = {"linestyle": "none", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.8}
    axes.plot(fast[here], slow[here], "s", markeredgecolor=COLOURS[0], label="predicted", **marks)
    strong = np.isin(shifts.reflection, here)
    seen = shifts.reflection[strong]
    at = fast[seen] + shifts.fast[strong], slow[seen] + shifts.slow[strong]
    axes.plot(*at, "+", markeredgecolor=COLOURS[1], label="observed", **(marks | {"markersize": 6}))
    axes.legend(loc="lower right", fontsize=8, frameon=True)
