"""The page of a report: index.html, from the result of a refinement and its pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbnumba.cli.refined_table import cells
from nbnumba.cli.report.pictures import LARGEST_MATRIX, Picture, flat
from nbnumba.cli.report.spots import residual_of

IMAGES = 8
"""So many images get pictures."""

ROWS = 50
"""So many numbers are in the table of parameters."""

OF_SPOTS = ("R factor of spots", "median shift of spots (pixels)", "calculated spots that are seen")

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


def index(
    result: Any, title: str, images: list[list[Picture]], whole: list[Picture], flags: Sequence[tuple[str, str]] = ()
) -> str:
    """index.html; flags: titles, and command lines that stand under them."""
    parts = [
        f"<h1>{_escaped(title)}</h1>",
        _message(result),
        "<h2>Parameters</h2>",
        _parameters(result),
        *(f"<h2>{_escaped(_capital(name))}</h2>\n<pre>{_escaped(line)}</pre>" for name, line in flags),
        "<h2>Phases</h2>",
        _list("ol", result.phases) or "<p>None is recorded.</p>",
        *_convergence_part(result, whole),
        *_images_part(result, images),
    ]
    head = f'<meta charset="utf-8">\n<title>{_escaped(title)}</title>\n<style>{CSS}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'


def _escaped(text: Any) -> str:
    return html.escape(str(text))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(kind: str, lines) -> str:
    items = "\n".join(f"<li>{_escaped(line)}</li>" for line in lines)
    return f"<{kind}>\n{items}\n</{kind}>" if items else ""


def _table(head: list[str], rows: list[list[str]], numbers: int) -> str:
    """A table; the last `numbers` columns are right-aligned."""

    def line(kind, cells):
        first = len(cells) - numbers
        number = ' class="number"'
        return "<tr>" + "".join(f"<{kind}{number * (i >= first)}>{_escaped(c)}</{kind}>" for i, c in enumerate(cells)) + "</tr>"

    return "\n".join(["<table>", line("th", head), *(line("td", row) for row in rows), "</table>"])


def _message(result: Any) -> str:
    """Whether it succeeded, what is wrong, and the figures of the whole."""
    kind = "message" if result.success else "message failed"
    verdict = "Success" if result.success else "Failure"
    figures = [
        ["reduced chi squared", _figure_of(result.chi_squared)],
        ["pixels that count", str(int(result.pixels))],
        ["contrast of the image that is accounted for", _share(result.explained)],
        ["loss", f"{result.fun:.8g}"],
        ["evaluations", str(int(result.nfev))],
    ]
    spots = _spots(result)
    if len(spots) == 1:
        figures += [list(pair) for pair in zip(OF_SPOTS, _of_spots(spots[0]))]
    wrong = _list("ul", result.diagnosis) or "<p>Nothing is ill-determined, and nothing wrong was found.</p>"
    return "\n".join(
        [
            f'<p class="{kind}"><strong>{verdict}.</strong> {_escaped(result.message)}</p>',
            "<h2>Diagnosis</h2>",
            wrong,
            _table(["figure", "value"], figures, 1),
        ]
    )


def _spots(result: Any) -> Sequence[Any]:
    """How the spots of each image agree with those that are calculated; nothing where the result does not say."""
    return getattr(result, "spots", None) or ()


def _of_spots(spots: Any) -> list[str]:
    """R factor, shift and numbers of spots, in the order of OF_SPOTS."""
    return [_figure_of(spots.r_factor), _figure_of(spots.shift), f"{spots.found} of {spots.calculated}"]


def _figure_of(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "not determined"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %" if np.isfinite(value) else "not determined"


def _parameters(result: Any) -> str:
    """The table of parameters, with at most ROWS numbers."""
    columns = flat(result, result.start), flat(result, result.values), flat(result, result.uncertainties)
    rows = []
    for name, unit, start, value, uncertainty in list(zip(result.names, result.units, *columns))[:ROWS]:
        rows.append([name, unit, *cells(start, value, uncertainty)[:3]])
    table = _table(["name", "unit", "start", "refined", "uncertainty"], rows, 3)
    more = len(result.names) - len(rows)
    return table + (f"\n<p>{more} more are not shown.</p>" if more else "")


def _convergence_part(result: Any, whole: list[Picture]) -> list[str]:
    count = len(result.names)
    parts = [_shown(picture) for picture in whole]
    if count > LARGEST_MATRIX:
        parts.append(
            f"<p>The correlations of {count} numbers are not drawn: {LARGEST_MATRIX} are the most that can be read.</p>"
        )
    return ["<h2>Convergence and correlation</h2>", *parts] if parts else []


def _images_part(result: Any, images: list[list[Picture]]) -> list[str]:
    """A table of all images where there are several, and the pictures of each that has some."""
    several, count = len(result.frames) > 1, len(result.frames)
    parts = []
    if several:
        rows = [[f"image {i}", *_of_frame(fit)] for i, fit in enumerate(result.frames, start=1)]
        head = ["image", "pixels that count", "mean squared residual"]
        if _spots(result):
            head, rows = [*head, *OF_SPOTS], [[*row, *_of_spots(each)] for row, each in zip(rows, _spots(result))]
        parts += ["<h2>Images</h2>", _table(head, rows, len(head) - 1)]
    if count > IMAGES:
        left = f"Image {count} has" if count == IMAGES + 1 else f"Images {IMAGES + 1} to {count} have"
        parts.append(f"<p>{left} no pictures here: the report shows the first {IMAGES}.</p>")
    for number, pictures in enumerate(images, start=1):
        parts.append(f"<h2>Image {number}</h2>" if several else "<h2>Image</h2>")
        parts += [*map(_shown, pictures)] or ["<p>No pixel of it counts.</p>"]
        if pictures and not any(picture.name.startswith("peaks") for picture in pictures):
            parts.append("<p>No peak of it stands out of its surroundings.</p>")
    return parts


def _of_frame(fit: Any) -> list[str]:
    residual = residual_of(fit.data, fit.after, fit.sigma)
    known = np.isfinite(residual)
    mean = np.square(residual, out=residual, where=known).mean(where=known) if known.any() else np.nan
    return [str(int(np.isfinite(fit.data).sum())), _figure_of(float(mean))]


def _shown(picture: Picture) -> str:
    name, caption = _escaped(picture.name), _escaped(picture.caption)
    alternative = name.removesuffix(".png").replace("_", " ")
    return f'<figure>\n<img src="{name}" alt="{alternative}">\n<figcaption>{caption}</figcaption>\n</figure>'
