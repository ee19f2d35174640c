"""The files that the refinement of a series leaves: the refined list of experiments, intensities, a summary, and the report."""

from __future__ import annotations

import dataclasses
import os
import shlex
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli import bundle, report
from nbnumba.cli.refine_series import printed
from nbnumba.cli.refine_series.input import Chosen, Reader
from nbnumba.cli.refine_series.intensities import intensities
from nbnumba.cli.report import series as of_series
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import endings, files
from nbnumba.formats.expt_refined import Refined, Source, write_refined
from nbnumba.formats.geometry import Geometry
from nbnumba.integrated_files import write_intensities
from nbnumba.setup.crystal import orient
from nbnumba.to_geometry import Readout, geometry_of

ENDINGS = (".refl", ".mtz", ".json")
"""What is written beside the refined list, under its name."""


class Outputs(NamedTuple):
    """The names of the files of --out, by their endings, and the folder of --report; None for what is not wanted."""

    names: dict[str, str] | None
    folder: str | None


def check(options: Any) -> Outputs:
    """The files that are to be written. Raises InputError for one that could not be, before anything is computed."""
    names = None
    if options.out is not None:
        endings.check(options.out, "--out", "models of DIALS", ("JSON",))
        stem = os.path.splitext(options.out)[0]
        names = {".expt": options.out} | {ending: f"{stem}{ending}" for ending in ENDINGS}
        if options.out == "-":
            raise InputError("--out: '-' is not allowed, for several files are written; allowed: a name that ends in .expt")
        if os.path.splitext(options.out)[1].lower() != ".expt":
            raise InputError(f"--out: {options.out!r} is not allowed; allowed: a name that ends in .expt")
        for name in names.values():
            files.check_writable(name, "--out")
    files.check_writable(f"{flags_name(names)}.mat", "--out" if names is not None else "refine")
    if options.report is not None:
        if not os.path.isdir(os.path.dirname(os.path.abspath(options.report))):
            allowed = "a folder in one that exists, as for --out"
            raise InputError(f"--report: {options.report!r} is in no folder that is there; allowed: {allowed}")
        report.check(options.report)
    return Outputs(names, options.report)


def check_not_read(outputs: Outputs, read: Iterable[str]) -> None:
    """Raise InputError if a file that is to be written is one of those that are read."""
    written = [*(outputs.names or {}).values(), f"{flags_name(outputs.names)}.mat"]
    bundle.check_not_read(written, read, "refine" if outputs.names is None else "--out")


def flags_name(names: dict[str, str] | None) -> str:
    """What the names of files begin with that the refined flags of the middle image read."""
    return "refined_flags" if names is None else f"{os.path.splitext(names['.expt'])[0]}_flags"


class Told(NamedTuple):
    """What was printed, for the report: what was taken from where; the command; and the flags of the refined middle image."""

    taken: Sequence[str]
    command: Sequence[str]
    flags: Sequence[str]


def write(outputs: Outputs, chosen: Chosen, reader: Reader, result: Any, told: Told) -> list[str]:
    """Write the files and return a line about each."""
    lines: list[str] = []
    if outputs.names is not None:
        lines += _write_result(outputs.names, chosen, result, told)
    if outputs.folder is not None:
        _write_report(outputs.folder, chosen, reader, result, told)
        lines.append(f"wrote {outputs.folder}")
    return lines


def _write_report(folder: str, chosen: Chosen, reader: Reader, result: Any, told: Told) -> None:
    """Write the page of the report and its pictures."""
    report.write_files(folder, report_contents(chosen, reader, result, told))


def report_contents(chosen: Chosen, reader: Reader, result: Any, told: Told) -> dict[str, bytes]:
    """The page of the report and its pictures, by the names of their files."""
    images = [
        of_series.Shown(index, number, os.path.basename(file.name), reader.reading(index))
        for index, (number, file) in enumerate(zip(chosen.numbers, chosen.images))
    ]
    texts = of_series.Texts(
        title=f"Refinement of {chosen.name}, {len(images)} images",
        taken=told.taken,
        parameters=printed.table_rows(result),
        summary=[*printed.summary_lines(result), *printed.outlier_lines(chosen, result)],
        boxes=printed.box_rows(chosen, result),
        flags=[("command", shlex.join(told.command)), (_flags_title(chosen), shlex.join(["nbnumba", *told.flags]))],
    )
    return of_series.file_contents(result, texts, images)


def _flags_title(chosen: Chosen) -> str:
    return f"flags of image {chosen.middle}"


def _write_result(names: dict[str, str], chosen: Chosen, result: Any, told: Told) -> list[str]:
    geometry = refined_geometry(chosen, result.experiments[len(result.experiments) // 2])
    source = Source(chosen.path, chosen.number)
    refined = Refined(geometry)
    if not chosen.is_still:
        vectors = np.array([orient(one.crystal, one.sampling.defects) for one in result.experiments])
        refined = Refined(geometry, np.array(chosen.numbers), vectors)
    write_refined(names[".expt"], source, refined, "--out")
    table = intensities(chosen, result, geometry)
    whole = dataclasses.replace(geometry, scan=chosen.geometry.scan)
    identifier = chosen.geometry.identifier or ""
    lines = [f"wrote {names['.expt']}: refined models" + ("" if chosen.is_still else ", with a crystal for each image")]
    for ending in (".refl", ".mtz"):
        try:
            if not table.integrated.any():
                raise InputError("--out: no reflection has half of its rocking curve in the images; allowed: more images")
            write_intensities(names[ending], table, whole, identifier=identifier, what="--out")
        except InputError as error:  # a refinement is worth keeping without its intensities
            warnings.warn(f"{names[ending]} is not written: {str(error).removeprefix('--out: ')}", stacklevel=2)
            continue
        lines.append(
            f"wrote {names[ending]}: {np.count_nonzero(table.integrated)} intensities" + ", merged" * (ending == ".mtz")
        )
    bundle.write_json(names[".json"], summary(chosen, result, told))
    return [*lines, f"wrote {names['.json']}"]


def refined_geometry(chosen: Chosen, experiment: Experiment) -> Geometry:
    """The geometry of a refined image, with the space group of the file."""
    geometry = geometry_of(experiment, Readout(), "--out")
    assert geometry.crystal is not None and chosen.geometry.crystal is not None
    crystal = dataclasses.replace(geometry.crystal, space_group=chosen.geometry.crystal.space_group)
    return dataclasses.replace(geometry, crystal=crystal)


def summary(chosen: Chosen, result: Any, told: Told) -> dict[str, Any]:
    """The contents of the JSON file, with arrays as lists."""
    figures = result.figures
    return {
        "success": bool(result.success),
        "message": str(result.message),
        "diagnosis": list(result.diagnosis),
        "names": result.unknowns.labels(),
        "units": result.unknowns.units(),
        "start": result.start.tolist(),
        "values": result.x.tolist(),
        "uncertainties": result.errors.sigma.tolist(),
        "uncertainties_by_counting": result.errors.counting.sigma.tolist(),
        "covariance": result.errors.covariance.tolist() if len(result.x) <= bundle.MOST_COVARIANCES else None,
        "images": [{"number": number, "file": file.name} for number, file in zip(chosen.numbers, chosen.images)],
        "left_out": list(result.left_out),
        "chi_squared": figures.chi_squared,
        "chi_squared_with_misfit": figures.with_misfit,
        "misfit": float(result.stages[-1].problem.rules.misfit),
        "pixels": figures.pixels,
        "chi_squared_by_resolution": [list(row) for row in figures.by_d],
        "chi_squared_by_photons": [list(row) for row in figures.by_photons],
        "chi_squared_of_strengths": figures.strengths,
        "r_factor": figures.r_factor,
        "shifts_before": list(result.before.rms),
        "shifts_after": list(figures.shifts.rms),
        "image_scales": figures.scale.tolist(),
        "evidence": result.seen._asdict(),
        "stages": list(result.lines),
        "flags": list(told.flags),
        "command": list(told.command),
        "environment": bundle.environment(),
    }
