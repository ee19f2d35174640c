"""The files that merge leaves: amplitudes as MTZ, a summary, a table of the shots, their refined models, and a report."""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cli import bundle, report
from nbnumba.cli.merging import printed
from nbnumba.cli.merging.shots import Form, Shots
from nbnumba.cli.refine_series.result_files import refined_geometry
from nbnumba.cli.report import merge as of_merge
from nbnumba.errors import InputError
from nbnumba.formats import expt_refined, files, mtz

B_FACTOR = "crystal.b_factor_A2"

COLUMNS = ("name", "list", "experiment", "image", "file", "used", "why_not")
"""The first columns of the table of shots; those of the refined numbers follow."""


class Outputs(NamedTuple):
    """The names of what is to be written: MTZ, JSON, CSV, a list of refined models for each of --shots, and the report."""

    mtz: str
    json: str
    csv: str
    models: dict[str, str]
    folder: str | None

    @property
    def names(self) -> list[str]:
        """The names of the files, without those of the report."""
        return [self.mtz, self.json, self.csv, *self.models.values()]


def check(options: Any) -> Outputs:
    """The files of --out and --report. Raises InputError for those that could not be written."""
    stem, ending = os.path.splitext(options.out)
    if ending.lower() != ".mtz":
        raise InputError(f"--out: {options.out!r} is not allowed; allowed: a name that ends in .mtz")
    several = len(options.shots) > 1
    models = {path: f"{stem}_{count}.expt" if several else f"{stem}.expt" for count, path in enumerate(options.shots, start=1)}
    if len(models) < len(options.shots):
        raise InputError("--shots: a list is named twice; allowed: each list once")
    outputs = Outputs(options.out, f"{stem}.json", f"{stem}.csv", models, options.report)
    for name in outputs.names:
        files.check_writable(name, "--out")
    if options.report is not None:
        report.check(options.report)
    return outputs


def write(outputs: Outputs, shots: Shots, form: Form, result: Any, command: Sequence[str]) -> list[str]:
    """Write the files, and return a line about each."""
    unique, wavelength_A = result.unique, shots.experiments[0].beam.wavelength_A
    hkl, columns = mtz_columns(result)
    mtz.write_merged(outputs.mtz, hkl, columns, form.cell, form.group, wavelength_A, "--out")
    known = int(np.isfinite(result.F).sum())
    kind = "Friedel mates apart" if unique.friedel_apart else "Friedel mates as one"
    lines = [printed.file_line(outputs.mtz, f"{known} amplitudes, {kind}")]
    for path, name in outputs.models.items():
        refined = _models(path, shots, result)
        if refined:
            expt_refined.write_several(name, path, refined, "--out")
            lines.append(printed.file_line(name, f"refined models of {len(refined)} shots"))
    bundle.write_text(outputs.csv, shots_table(shots, result))
    bundle.write_json(outputs.json, summary(shots, result, command))
    lines += [printed.file_line(outputs.csv, "the refined numbers of each shot"), printed.file_line(outputs.json, "a summary")]
    if outputs.folder is not None:
        page = of_merge.file_contents(result, printed.rows(result), printed.summary(result), shlex.join(command))
        report.write_files(outputs.folder, page)
        lines.append(printed.file_line(outputs.folder, "a report with pictures"))
    return lines


def mtz_columns(result: Any) -> tuple[np.ndarray, dict[str, tuple[str, np.ndarray]]]:
    """Reflections (n, 3), of which no two are mates, and the columns of the MTZ, each with its type (specs/formats.md).

    Means are those of mates, weighted by their information. SIG is the stated uncertainty: that of the equations, or more where
    halves of the shots differ more; SIG_EQUATIONS is that of the equations alone.
    """
    unique = result.unique
    with np.errstate(all="ignore"):
        return _columns(result, unique)


def _columns(result: Any, unique: Any) -> tuple[np.ndarray, dict[str, tuple[str, np.ndarray]]]:
    ratio = np.where(np.isfinite(result.sigma), result.half_sigma / np.where(result.sigma > 0.0, result.sigma, 1.0), 1.0)
    values = {"I": result.intensity, "F": result.F}
    sigmas = {"I": result.sigma, "F": result.sigma_F}
    if not unique.friedel_apart:
        table = _of_one(values, sigmas, ratio, result.multiplicity)
        return unique.hkl, table
    plus, minus = unique.mates()
    alone = np.setdiff1d(np.arange(len(unique.hkl)), np.concatenate([plus, minus]))
    first, second = np.concatenate([plus, alone]), np.concatenate([minus, np.full(len(alone), -1)])
    return unique.hkl[first], _of_pairs(values, sigmas, ratio, result.multiplicity, first, second)


def _of_one(
    values: dict[str, np.ndarray], sigmas: dict[str, np.ndarray], ratio: np.ndarray, shots: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """The columns where mates are one reflection."""
    unknown = ~np.isfinite(sigmas["I"])
    table: dict[str, tuple[str, np.ndarray]] = {}
    for name, kind in (("F", "F"), ("I", "J")):
        value, sigma = (np.where(unknown, np.nan, part[name]) for part in (values, sigmas))
        table |= {name: (kind, value), f"SIG{name}": ("Q", sigma * ratio), f"SIG{name}_EQUATIONS": ("Q", sigma)}
    return table | {"SHOTS": ("I", shots)}


def _of_pairs(
    values: dict[str, np.ndarray],
    sigmas: dict[str, np.ndarray],
    ratio: np.ndarray,
    shots: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> dict[str, tuple[str, np.ndarray]]:
    """The columns where mates are apart: of first (n,) and second (n,), -1 for a centric reflection, which has one value."""
    both = second >= 0
    table: dict[str, tuple[str, np.ndarray]] = {}
    for name, kinds in (("F", "FQGL"), ("I", "JQKM")):
        value, sigma = values[name], sigmas[name] * ratio
        known = np.isfinite(value) & np.isfinite(sigma) & np.isfinite(sigmas["I"])
        value, sigma = np.where(known, value, np.nan), np.where(known, sigma, np.nan)
        mates = [(value[first], sigma[first]), *[tuple(np.where(both, part[second], np.nan) for part in (value, sigma))]]
        weights = [np.where(np.isfinite(own), 1.0 / np.where(own > 0.0, own, np.nan) ** 2, 0.0) for _, own in mates]
        total = sum(weights)
        total = np.where(total > 0.0, total, np.nan)
        mean = sum(weight * np.nan_to_num(own) for weight, (own, _) in zip(weights, mates)) / total
        table |= {name: (kinds[0], mean), f"SIG{name}": (kinds[1], 1.0 / np.sqrt(total))}
        for sign, mate in zip("+-", mates):
            own, deviation = (np.where(both, part, centric) for part, centric in zip(mate, mates[0]))
            table |= {f"{name}({sign})": (kinds[2], own), f"SIG{name}({sign})": (kinds[3], deviation)}
    return table | {"SHOTS": ("I", shots[first] + np.where(both, shots[second], 0.0))}


def _models(path: str, shots: Shots, result: Any) -> dict[int, expt_refined.Refined]:
    """The refined models of the stills of a list, by the number of their experiments."""
    found = {}
    for source, experiment in zip(shots.sources, result.experiments):
        if experiment is None or source.chosen.path != path or not source.chosen.is_still:
            continue
        found[source.chosen.number] = expt_refined.Refined(refined_geometry(source.chosen, experiment))
    return found


def shots_table(shots: Shots, result: Any) -> str:
    """The table of shots as CSV: where each is from, whether it is used, and its refined numbers."""
    stream = io.StringIO()
    names = _numbers(result)
    used_b = [one.crystal.b_factor_A2 for one in result.experiments if one is not None]
    mean = {B_FACTOR: sum(used_b) / max(len(used_b), 1)}  # the amplitudes have it (M5)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *names])
    for source, experiment in zip(shots.sources, result.experiments):
        place = source.chosen.path, source.chosen.number, source.number, source.file
        used = int(experiment is not None), result.left_out.get(source.name, "")
        numbers = ["" if experiment is None else repr(experiment.value(name) - mean.get(name, 0.0)) for name in names]
        writer.writerow([source.name, *place, *used, *numbers])
    return stream.getvalue()


def _numbers(result: Any) -> list[str]:
    """The names of the single numbers that shots have of their own."""
    return [name for variable in result.variables for name in variable.names]


def summary(shots: Shots, result: Any, command: Sequence[str]) -> dict[str, Any]:
    """The contents of the JSON file."""
    return {
        "success": bool(result.success),
        "message": str(result.message),
        "diagnosis": list(result.diagnosis),
        "shots": len(shots.sources),
        "left_out": result.left_out,
        "passes": result.passes,
        "chi_squared": result.chi_squared,
        "misfit": result.misfit,
        "friedel_apart": result.unique.friedel_apart,
        "shells": [shell._asdict() | {"completeness": shell.completeness} for shell in result.shells],
        "command": list(command),
        "environment": bundle.environment(),
    }
