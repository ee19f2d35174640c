"""What a series states as a whole: the master of its images, true models, amplitudes, the table of shots, digests (V5)."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.formats import expt_writer, files, nxmx_writer
from nbnumba.formats.expt_writer import Images, Shot
from nbnumba.formats.geometry import Geometry, Scan
from nbnumba.setup.orientations import phi_steps
from nbnumba.shots import frame_files
from nbnumba.shots.frame_files import Job
from nbnumba.shots.numbers import FrameNumbers
from nbnumba.statements import StructureFactors
from nbnumba.to_geometry import SAME_ANGLE, with_crystals_of

MASTER, MODELS, SHOTS, SUMS, STATED = "series.nxs", "truth.expt", "shots.csv", "SHA256SUMS", "series.json"
"""The files of a series as a whole."""


def write(job: Job, frames: Sequence[int]) -> None:
    """Write everything that a series states as a whole, in the end SHA256SUMS, by which it is complete."""
    shots = list(_shots(job, frames))
    names = [STATED, *_write_master(job, shots), _write_models(job, shots)]
    names += [name for name, factors in amplitude_files(job.series.experiment) if _write_amplitudes(job, name, factors)]
    records = [frame_files.record_of(job, frame) or {} for frame in frames]
    names.append(_write_table(job, frames, records))
    sums = {name: digest for record in records for name, digest in record["sha256"].items()}
    sums |= {name: frame_files.sealed(job.path(name)) for name in names}
    with files.replacing(job.path(SUMS), "series") as stream:
        stream.write("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode("ascii"))


def _shots(job: Job, frames: Sequence[int]) -> Iterator[Shot]:
    """The geometry and the file of each image. Frames of equal detector and beam share what is made of them."""
    in_one, made_from, described = job.form == "nxmx", None, None
    for index, frame in enumerate(frames):
        experiment = job.series.numbers(frame).experiment
        parts = experiment.detector, experiment.beam, experiment.goniometer.spindle_axis
        if described is None or made_from != parts:
            made_from, described = parts, frame_files.geometry(job, experiment)
        rotation = experiment.goniometer
        scan = None if described.scan is None else Scan(1, 1, rotation.phi_deg, phi_steps(rotation)[2])
        described = with_crystals_of(dataclasses.replace(described, scan=scan), experiment)
        name = MASTER if in_one else job.image_name(frame)
        yield Shot(described, job.path(name), frame, index)


def _write_master(job: Job, shots: Sequence[Shot]) -> list[str]:
    """Write the master of the images, with the detector and the rotation of the series without jitter, if it has one."""
    if job.form != "nxmx":
        return []
    first = job.series.nominal(shots[0].number)
    stated = _as_scan(frame_files.geometry(job, first), len(shots))
    wavelengths = [float(shot.geometry.wavelength_A or 0.0) for shot in shots]
    differ = any(wavelength != stated.wavelength_A for wavelength in wavelengths)
    parts = [job.image_name(shot.number) for shot in shots]
    kind = np.dtype(np.int32 if job.readout.noise else np.float32)
    nxmx_writer.write_master(job.path(MASTER), parts, kind, stated, wavelengths if differ else (), "series")
    return [MASTER]


def _as_scan(geometry: Geometry, images: int) -> Geometry:
    """The geometry of the first image as that of a scan of so many; of a still as it is."""
    if geometry.scan is None:
        return geometry
    return dataclasses.replace(geometry, scan=dataclasses.replace(geometry.scan, images=images))


def _write_models(job: Job, shots: Sequence[Shot]) -> str:
    """Write the true models: of a rotation of equal frames one scan, else an experiment for each image."""
    in_one, offset = job.form == "nxmx", frame_files.pixel_readout(job).offset
    first = shots[0].geometry
    if first.scan is not None and all(_continues(shots[0], shot) for shot in shots):
        names = (shots[0].name,) if in_one else tuple(shot.name for shot in shots)
        expt_writer.write(job.path(MODELS), _as_scan(first, len(shots)), Images(names, in_one, offset), "series")
    else:
        expt_writer.write_shots(job.path(MODELS), shots, in_one, offset, "series")
    return MODELS


def _continues(first: Shot, shot: Shot) -> bool:
    """Whether an image continues the rotation of the first one, with equal models."""
    one, other = first.geometry, shot.geometry
    assert one.scan is not None and other.scan is not None
    expected = one.scan.phi_deg + shot.index * one.scan.width_deg
    follows = abs(other.scan.phi_deg - expected) <= SAME_ANGLE * max(1.0, abs(expected))
    return follows and other.scan.width_deg == one.scan.width_deg and _models(one) == _models(other)


def _models(geometry: Geometry) -> list[Any]:
    """The models of a geometry as truth.expt states them, but for its rotation."""
    crystals = [expt_writer.crystal_of(each) for each in (geometry.crystal, *geometry.other_crystals) if each is not None]
    return [expt_writer.beam_of(geometry), expt_writer.detector_of(geometry), *crystals]


def amplitude_files(experiment: Experiment) -> list[tuple[str, StructureFactors]]:
    """The names of the files of amplitudes, those of the first crystal and of others that have their own."""
    named = [("truth.mtz", experiment.structure_factors)]
    for number, crystal in enumerate(experiment.other_crystals, 1):
        if crystal.structure_factors is not None and crystal.structure_factors is not experiment.structure_factors:
            named.append((f"truth_crystal_{number}.mtz", crystal.structure_factors))
    return [(name, factors) for name, factors in named if has_amplitudes(factors)]


def has_amplitudes(factors: StructureFactors) -> bool:
    """Whether there is a list of amplitudes, for one photon energy, that an MTZ file can hold."""
    return factors.hkl is not None and factors.F is not None and factors.F.ndim == 1


def _write_amplitudes(job: Job, name: str, factors: StructureFactors) -> bool:
    """Write a file of amplitudes, with the cell of the crystal that is not jittered."""
    crystals = job.series.experiment.crystals
    owner = next((crystal for crystal in crystals if crystal.structure_factors is factors), crystals[0])
    factors.to_mtz(job.path(name), owner.cell)
    return True


def _write_table(job: Job, frames: Sequence[int], records: Sequence[Mapping[str, Any]]) -> str:
    """Write the table of shots: a row for each frame, with its files, its numbers and its record, all digits of them."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for index, (frame, record) in enumerate(zip(frames, records)):
        row = _row(job, index, job.series.numbers(frame)) | record["figures"]
        if index == 0:
            table.writerow(row)
        table.writerow(repr(value) if isinstance(value, float) else value for value in row.values())
    with files.replacing(job.path(SHOTS), "series") as stream:
        stream.write(text.getvalue().encode("ascii"))
    return SHOTS


def _row(job: Job, index: int, numbers: FrameNumbers) -> dict[str, Any]:
    """The row of a frame: its number, its place from 0, its files, the seed of its noise, phi, and what was drawn."""
    labels = {"labels": job.label_name(numbers.frame)} if job.labels else {}
    named = {"frame": numbers.frame, "index": index, "image": job.image_name(numbers.frame), **labels}
    drawn = {"noise_seed": numbers.noise_seed, "goniometer.phi_deg": numbers.experiment.goniometer.phi_deg, **numbers.values}
    return named | drawn
