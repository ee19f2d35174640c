"""The HTML page of a report, made from the result of a refinement and its pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba.cli.refined_table import cells, in_order
from nbnumba.cli.report.pictures import LARGEST_MATRIX, Picture
from nbnumba.cli.report.spots import residual_of

MOST_IMAGES = 8
"""The largest number of images that get pictures."""

MOST_ROWS = 50
"""The largest number of rows in the table of parameters."""

SPOT_FIGURES = ("R factor of spots", "median shift of spots (pixels)", "calculated spots found in the data")
"""The headings of the figures that compare the spots of an image with the calculated ones."""

CSS = """
body { font: 16px/1.45 system-ui, sans-serif; color: #1a1a1a; background: white; margin: 0; }
main { max-width: 1400px; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
.message { border-left: 6px solid #0072b2; padding: .3rem .8rem; } .failed { border-color: #d55e00; }
table { border-collapse: collapse; } th, td { padding: .15rem .9rem .15rem 0; text-align: left; }
th { border-bottom: 1px solid #888; } td { border-bottom: 1px solid #e4e4e4; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; display: block; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .6rem .8rem; max-width: 60rem; }
figcaption { color: #444; font-size: .9rem; max-width: 60rem; margin-top: .3rem; }
"""


def index_html(
    result: Any, title: str, by_image: list[list[Picture]], overall: list[Picture], flags: Sequence[tuple[str, str]] = ()
) -> str:
    """The text of the page.

    by_image: the pictures of each image; overall: those of the whole refinement; flags: titles and the command lines that
    stand below them.
    """
    parts = [
        f"<h1>{escaped(title)}</h1>",
        _message(result),
        "<h2>Parameters</h2>",
        _parameter_table(result),
        *(f"<h2>{escaped(capitalized(name))}</h2>\n<pre>{escaped(line)}</pre>" for name, line in flags),
        "<h2>Phases of the refinement</h2>",
        html_list("ol", result.phases) or "<p>No phase is recorded.</p>",
        *_convergence_section(result, overall),
        *_images_section(result, by_image),
    ]
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """The text of a page with a title, of elements of HTML."""
    head = f'<meta charset="utf-8">\n<title>{escaped(title)}</title>\n<style>{CSS}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'


def escaped(text: Any) -> str:
    """Text as HTML shows it."""
    return html.escape(str(text))


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def html_list(kind: str, lines) -> str:
    """A list of the kind ul or ol; nothing for no line."""
    items = "\n".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<{kind}>\n{items}\n</{kind}>" if items else ""


def html_table(head: list[str], rows: list[list[str]], numbers: int) -> str:
    """A table; the last `numbers` columns are right-aligned."""

    def line(kind, cells):
        first = len(cells) - numbers
        style = ' class="number"'
        return "<tr>" + "".join(f"<{kind}{style * (i >= first)}>{escaped(c)}</{kind}>" for i, c in enumerate(cells)) + "</tr>"

    return "\n".join(["<table>", line("th", head), *(line("td", row) for row in rows), "</table>"])


def _message(result: Any) -> str:
    """The verdict, the diagnosis, and a table of the figures of the whole refinement."""
    kind = "message" if result.success else "message failed"
    verdict = "Success" if result.success else "Failure"
    figures = [
        ["reduced chi squared", _four_digits(result.chi_squared)],
        ["pixels that count", str(int(result.pixels))],
        ["contrast of the image that the model explains", _percentage(result.explained)],
        ["loss", f"{result.fun:.8g}"],
        ["evaluations", str(int(result.nfev))],
    ]
    spots = _spots(result)
    if len(spots) == 1:
        figures += [list(pair) for pair in zip(SPOT_FIGURES, _spot_figures(spots[0]))]
    diagnosis = html_list("ul", result.diagnosis) or "<p>All parameters are well determined, and nothing wrong was found.</p>"
    return "\n".join(
        [
            f'<p class="{kind}"><strong>{verdict}.</strong> {escaped(result.message)}</p>',
            "<h2>Diagnosis</h2>",
            diagnosis,
            html_table(["figure", "value"], figures, 1),
        ]
    )


def _spots(result: Any) -> Sequence[Any]:
    """The comparison of the spots of each image with the calculated ones; empty if the result has none."""
    return getattr(result, "spots", None) or ()


def _spot_figures(spots: Any) -> list[str]:
    """The R factor, the shift and the numbers of spots of an image, in the order of SPOT_FIGURES."""
    return [_four_digits(spots.r_factor), _four_digits(spots.shift), f"{spots.found} of {spots.calculated}"]


def _four_digits(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "not determined"


def _percentage(value: float) -> str:
    return f"{100 * value:.3g} %" if np.isfinite(value) else "not determined"


def _parameter_table(result: Any) -> str:
    """The table of parameters, with at most MOST_ROWS numbers."""
    columns = map(in_order, (result.start, result.values, result.uncertainties))
    rows = []
    for name, unit, start, value, uncertainty in list(zip(result.names, result.units, *columns))[:MOST_ROWS]:
        rows.append([name, unit, *cells(start, value, uncertainty)[:3]])
    table = html_table(["name", "unit", "start", "refined", "uncertainty"], rows, 3)
    more = len(result.names) - len(rows)
    return table + (f"\n<p>{more} more are not shown.</p>" if more else "")


def _convergence_section(result: Any, overall: list[Picture]) -> list[str]:
    """The section with the pictures of the whole refinement; empty if there are none."""
    count = len(result.names)
    parts = [figure_element(picture) for picture in overall]
    if count > LARGEST_MATRIX:
        parts.append(
            f"<p>The correlations of {count} numbers are not drawn, since a picture can show at most {LARGEST_MATRIX}.</p>"
        )
    return ["<h2>Convergence and correlation</h2>", *parts] if parts else []


def _images_section(result: Any, by_image: list[list[Picture]]) -> list[str]:
    """A table of all images if there are several, and the pictures of the first ones."""
    several, count = len(result.frames) > 1, len(result.frames)
    parts = []
    if several:
        rows = [[f"image {i}", *_image_figures(fit)] for i, fit in enumerate(result.frames, start=1)]
        head = ["image", "pixels that count", "mean squared residual"]
        if _spots(result):
            head, rows = [*head, *SPOT_FIGURES], [[*row, *_spot_figures(spots)] for row, spots in zip(rows, _spots(result))]
        parts += ["<h2>Images</h2>", html_table(head, rows, len(head) - 1)]
    if count > MOST_IMAGES:
        subject = f"Image {count} has" if count == MOST_IMAGES + 1 else f"Images {MOST_IMAGES + 1} to {count} have"
        parts.append(f"<p>{subject} no pictures here: the report shows the first {MOST_IMAGES} images.</p>")
    for number, pictures in enumerate(by_image, start=1):
        parts.append(f"<h2>Image {number}</h2>" if several else "<h2>Image</h2>")
        parts += [*map(figure_element, pictures)] or ["<p>No pixel of this image counts.</p>"]
        if pictures and not any(picture.name.startswith("peaks") for picture in pictures):
            parts.append("<p>No peak of this image stands out from its surroundings.</p>")
    return parts


def _image_figures(fit: Any) -> list[str]:
    """The number of pixels of an image that count, and the mean of its squared residuals."""
    residual = residual_of(fit.data, fit.after, fit.sigma)
    known = np.isfinite(residual)
    mean = np.square(residual, out=residual, where=known).mean(where=known) if known.any() else np.nan
    return [str(int(np.isfinite(fit.data).sum())), _four_digits(float(mean))]


def figure_element(picture: Picture) -> str:
    """The HTML element that shows a picture with its caption."""
    name, caption = escaped(picture.name), escaped(picture.caption)
    alternative = name.removesuffix(".png").replace("_", " ")
    return f'<figure>\n<img src="{name}" alt="{alternative}">\n<figcaption>{caption}</figcaption>\n</figure>'
