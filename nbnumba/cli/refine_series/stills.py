"""The subcommand refine with an --expt of stills, each a crystal and an image of its own, refined one after another (S11)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli import bundle, report
from nbnumba.cli.option_lists import comma_list
from nbnumba.cli.refine_series import printed, result_files
from nbnumba.cli.refine_series.input import Chosen, Reader, check_experiment, is_still
from nbnumba.cli.refine_series.intensities import intensities, measures
from nbnumba.errors import InputError
from nbnumba.flags.arguments import number as number_of_text
from nbnumba.formats import dxtbx, expt_refined, files, geometry_files
from nbnumba.formats.image_files import ImageFile
from nbnumba.formats.text import excerpt
from nbnumba.integrated_files import OfExperiment, write_several

NOT_OF_STILLS = ("images", "knots", "own", "shared")
"""Options that say what images of a rotation have in common, or which they are."""

WITH_WAVELENGTH, OTHER_WAVELENGTH = ("CBF", "NXmx"), 0.005
"""Images whose headers state a wavelength, and the part of it by which that of the list differs from it if it is another."""

HEADINGS = ("still", "image", "reflections", "shift before", "after (pixels)", "turned (deg)", "cell (A, deg)", "spread (deg)")
HEADINGS += ("cells", "chi squared", "of strengths", "result")


class RefinedStill(NamedTuple):
    """A still that was refined: what was chosen, its reader, and the result of adjoint.refine_series."""

    chosen: Chosen
    reader: Reader
    result: Any


class LeftOut(NamedTuple):
    """A still that is left out: the number of its experiment, the name of its file, and why, in words."""

    number: int
    name: str
    why: str


# ------------------------------------------------------------------------------------------------ which


def choose(options: Any) -> tuple[list[Chosen], list[LeftOut]] | None:
    """The stills of --expt, --experiment or --experiments, and --data, and those whose images are missing; None: a rotation.

    Raises InputError for a file, an experiment or an image that is not there, and for options that stills do not have.
    """
    check_experiment(options)
    count = dxtbx.number_of_experiments(options.expt, "--expt")
    numbers = _numbers(options, count)
    first = dxtbx.read(options.expt, "--expt", numbers[0])
    if not is_still(first):
        if options.experiments is not None:
            allowed = "--experiment K for a rotation, whose images are refined as one"
            raise InputError(f"--experiments: {excerpt(options.experiments)} is not allowed; allowed: {allowed}")
        return None
    for name in NOT_OF_STILLS:
        if getattr(options, name) is not None:
            allowed = "--experiment or --experiments, which choose stills" if name == "images" else "neither for stills"
            raise InputError(f"--{name}: it is not allowed for the stills of {options.expt!r}; allowed: {allowed}")
    named = None if options.data is None else comma_list("--data", options.data)
    if named is not None and len(named) != len(numbers):
        what = f"{len(named)} files are named for {len(numbers)} stills"
        raise InputError(f"--data: {what}; allowed: a file for each, which --experiment or --experiments chooses")
    chosen, left_out = [], []
    for index, number in enumerate(numbers):
        geometry = dxtbx.read(options.expt, "--expt", number)
        if geometry.crystal is None or not is_still(geometry):
            what = "states no crystal" if geometry.crystal is None else "is a rotation, and others are stills"
            raise InputError(f"--expt: experiment {number} of {options.expt!r} {what}; allowed: stills with a crystal each")
        try:
            file = _image(options.expt, number) if named is None else _named(named[index])
        except InputError as error:
            if len(numbers) == 1 or named is not None:
                raise
            left_out.append(LeftOut(number, "", str(error)))
            continue
        chosen.append(Chosen(options.expt, number, geometry, [ImageFile(file, number)]))
    if not chosen:
        allowed = "--data, a file for each, or a list that names images that are there"
        raise InputError(f"--expt: no image of the {len(numbers)} stills is there ({left_out[0].why}); allowed: {allowed}")
    return chosen, left_out


def _numbers(options: Any, count: int) -> list[int]:
    """The numbers of experiments: of --experiment, of --experiments, or all of a list of stills."""
    if options.experiment is not None:
        if options.experiments is not None:
            raise InputError("--experiments: it is not allowed beside --experiment; allowed: one of them")
        return [options.experiment]
    text = options.experiments
    if text is None or text == "all":
        return list(range(max(count, 1)))
    first, colon, last = text.partition(":")
    ends = [number_of_text(end) if end else None for end in (first, last if colon else first)]
    least, most = (default if end is None else end for end, default in zip(ends, (0, count - 1)))
    wrong = any(end is None and word for end, word in zip(ends, (first, last))) or text.strip() in ("", ":")
    if wrong or least != round(least) or most != round(most) or not 0 <= least <= most < count:
        allowed = f"all, A:B, A: or :B, numbers from 0 to {count - 1}, A not above B"
        raise InputError(f"--experiments: {excerpt(text)} is not allowed; allowed: {allowed}")
    return list(range(int(least), int(most) + 1))


def _named(name: str) -> str:
    """A file of --data. Raises InputError for one that is not there."""
    if not os.path.exists(name.partition("#")[0]):
        raise InputError(f"--data: {name!r} is not there; allowed: image files that are there")
    return name


def _image(path: str, number: int) -> str:
    """The name of the file of a still. Raises InputError if the list names none, or several."""
    images = dxtbx.images_of(path, "--expt", number)
    if len(images) != 1:
        what = f"experiment {number} of {path!r} names {len(images)} images"
        raise InputError(f"--expt: {what}; allowed: one image for each still, or --data")
    return images[0].name


def warn_of_another_wavelength(chosen: Chosen) -> None:
    """Warn of an image whose own header states another wavelength than the list: it may be that of another experiment."""
    path, stated = files.name_of(chosen.images[0].name.partition("#")[0], "--data"), chosen.geometry.wavelength_A
    try:
        kind = geometry_files.kind_of(path, "--data")
        flag = geometry_files.FLAGS[kind] if kind in WITH_WAVELENGTH else None
        own = None if flag is None else geometry_files.read(path, flag).wavelength_A
    except InputError:  # a header that states no geometry; what is wrong with its pixels is said when they are read
        return
    if own is not None and stated is not None and abs(own - stated) > OTHER_WAVELENGTH * stated:
        finding = f"{path} states a wavelength of {own:.6g} A, and experiment {chosen.number} of the list {stated:.6g} A"
        warnings.warn(f"{finding}: it may be the image of another one", stacklevel=2)


# ------------------------------------------------------------------------------------------------ table


def table(done: Sequence[RefinedStill]) -> list[str]:
    """The lines of the table: a row for each still that was refined."""
    rows = [HEADINGS, *(_row(one) for one in done)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


def _row(one: RefinedStill) -> tuple[str, ...]:
    result = one.result
    experiment, figures = result.experiments[0], result.figures
    before, after = (f"{np.hypot(*shifts.rms[:2]):.2f}" for shifts in (result.before, figures.shifts))
    turned = np.linalg.norm(np.subtract(experiment.value("crystal.misset_deg"), result.begun.value("crystal.misset_deg")))
    cell = " ".join(f"{edge:.5g}" for edge in experiment.crystal.cell)
    spread = max(getattr(experiment.crystal, name) for name in experiment.crystal.SPREADS)
    cells = "/".join(dict.fromkeys(f"{experiment.value(f'crystal.n_{axis}'):.4g}" for axis in "abc"))
    used = len(np.unique(np.concatenate([model.boxes.reflection for model in result.stages[-1].problem.models])))
    return (
        str(one.chosen.number), os.path.basename(one.chosen.images[0].name), str(used), before, after, f"{turned:.3f}", cell,
        f"{spread:.3g}", cells, f"{figures.chi_squared:.3g}", printed.number(figures.strengths),
        "converged" if result.success else "not successful",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ files


def write(
    outputs: result_files.Outputs, done: Sequence[RefinedStill], left_out: Sequence[LeftOut], told: result_files.Told
) -> list[str]:
    """Write the files of several stills and return a line about each; those that are left out keep their old models."""
    lines: list[str] = []
    names = outputs.names
    if names is not None and done:
        geometries = [result_files.refined_geometry(one.chosen, one.result.experiments[0]) for one in done]
        refined = {one.chosen.number: expt_refined.Refined(geometry) for one, geometry in zip(done, geometries)}
        expt_refined.write_several(names[".expt"], done[0].chosen.path, refined, "--out")
        lines.append(f"wrote {names['.expt']}: refined models of {len(done)} stills")
        common = float(np.median([measures(one.chosen, one.result, of).per_unit for one, of in zip(done, geometries)]))
        tables = [
            OfExperiment(
                one.chosen.number, intensities(one.chosen, one.result, of, common), of, one.chosen.geometry.identifier or ""
            )
            for one, of in zip(done, geometries)
        ]
        lines += _write_tables(names, tables)
    if names is not None:
        content = {
            "stills": [
                {"experiment": one.chosen.number} | result_files.summary(one.chosen, one.result, told._replace(flags=()))
                for one in done
            ],
            "left_out": [one._asdict() for one in left_out],
            "command": list(told.command),
            "environment": bundle.environment(),
        }
        bundle.write_json(names[".json"], content)
        lines.append(f"wrote {names['.json']}")
    if outputs.folder is not None:
        for one in done:
            folder = os.path.join(outputs.folder, f"still_{one.chosen.number}")
            report.write_files(folder, result_files.report_contents(one.chosen, one.reader, one.result, told))
        lines.append(f"wrote {outputs.folder}: a folder for each of {len(done)} stills")
    return lines


def _write_tables(names: dict[str, str], tables: Sequence[OfExperiment]) -> list[str]:
    """Write the tables of intensities, .refl and .mtz, and return a line about each."""
    lines, count = [], sum(int(np.count_nonzero(one.intensities.integrated)) for one in tables)
    for ending in (".refl", ".mtz"):
        try:
            if not count:
                raise InputError("--out: no reflection has an intensity; allowed: --amplitudes each")
            write_several(names[ending], tables, "--out")
        except InputError as error:  # a refinement is worth keeping without its intensities
            warnings.warn(f"{names[ending]} is not written: {str(error).removeprefix('--out: ')}", stacklevel=2)
            continue
        lines.append(f"wrote {names[ending]}: {count} intensities" + ", merged" * (ending == ".mtz"))
    return lines


def left_out_line(one: LeftOut) -> str:
    """A sentence about a still that is left out."""
    return f"still {one.number}{f' ({os.path.basename(one.name)})' if one.name else ''} is left out: {one.why}"


def make_folders(outputs: result_files.Outputs) -> None:
    """Make the folder of the report, in which each still has a folder."""
    if outputs.folder is not None:
        files.make_folder(outputs.folder, report.FLAG)
