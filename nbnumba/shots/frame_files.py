"""The files of one frame of a series: its image, its labels, and the record that both are whole (specs/shots.md, V5)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbnumba import files as public_files
from nbnumba.backends import CPU, Machine
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.formats import arrays_hdf5, files, minicbf_writer, nxmx_writer
from nbnumba.formats.arrays_hdf5 import Described
from nbnumba.formats.geometry import Geometry
from nbnumba.setup.sheet import sheet_of
from nbnumba.shots.frame import NOISE, Frame, Labels, Readout
from nbnumba.shots.numbers import Series
from nbnumba.to_geometry import Readout as PixelReadout
from nbnumba.to_geometry import geometry_of, noise_readout
from nbnumba.version import VERSION

FORMATS = {"nxmx": "h5", "smv": "img", "cbf": "cbf"}
"""The formats of images, and the endings of their files."""

IMAGES, LABELS, RECORDS = "images", "labels", "records"
"""The folders of a series: images, labels, and records of the frames that are whole."""

DESCRIPTIONS = {
    "lattice": ("number of the crystal whose reflection gives most photons of the pixel, from 0; -1: no label", ""),
    "hkl": ("Miller indices of that reflection; 0 0 0 without a label", ""),
    "hkl_share": ("photons of that reflection over those of all crystals in the pixel; 0 without a label", ""),
    "bragg_share": ("expected photons of all crystals over all expected photons of the pixel; 0 without a label", ""),
    "bragg": ("expected photons of all crystals; 0 without a label", "photons"),
    "background": ("expected photons of everything but the crystals", "photons"),
}
"""What each array of a file of labels holds, and its unit."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to make any frame of a series: the series, the folder, and how frames are computed and written.

    form: a word of FORMATS. threads: how many compute a frame. digest: tells one series from another. version: that of
    nbnumba.
    """

    series: Series
    folder: str
    readout: Readout = NOISE
    labels: bool = False
    form: str = "nxmx"
    compression: str = "gzip"
    machine: Machine = CPU
    threads: int = 1
    digest: str = ""
    version: str = VERSION

    def image_name(self, frame: int) -> str:
        """The name of the file of an image, relative to the folder."""
        return f"{IMAGES}/{_stem(frame)}.{FORMATS[self.form]}"

    def label_name(self, frame: int) -> str:
        """The name of the file of labels, relative to the folder."""
        return f"{LABELS}/{_stem(frame)}.h5"

    def record_name(self, frame: int) -> str:
        """The name of the record of a frame, relative to the folder."""
        return f"{RECORDS}/{_stem(frame)}.json"

    def names(self, frame: int) -> list[str]:
        """The names of all files of a frame that stay."""
        return [self.image_name(frame), *([self.label_name(frame)] if self.labels else [])]

    def with_digest(self, digest: str) -> Job:
        """The same job, with the digest of its series."""
        return dataclasses.replace(self, digest=digest)

    def path(self, name: str) -> str:
        """The path of a file of the series."""
        return os.path.join(self.folder, name)


def _stem(frame: int) -> str:
    return f"frame_{frame:06d}"


def geometry(job: Job, experiment: Experiment) -> Geometry:
    """The geometry of a frame, as its file states it. Raises InputError, and warns, as to_geometry.geometry_of does."""
    return geometry_of(experiment, pixel_readout(job), "series")


def pixel_readout(job: Job) -> PixelReadout:
    """How the pixels of the files relate to photons."""
    if not job.readout.noise:
        return PixelReadout()
    return noise_readout(job.readout.response, job.readout.adc, subtracted=job.form != "smv")


def check_format(job: Job, experiment: Experiment) -> list[str]:
    """Raise InputError where images of this experiment cannot be written in the format; return what it cannot state."""
    described = geometry(job, experiment)
    if job.labels:
        nxmx_writer.check_package("h5py", "labels")
    if job.readout.noise and job.form != "smv" and job.readout.adc != int(job.readout.adc):
        stated = f"{job.readout.adc:g} is not allowed with format {job.form}, from whose pixels it is subtracted"
        raise InputError(f"adc: {stated}; allowed: a whole number")
    if job.form == "nxmx":
        nxmx_writer.check(described, job.compression, "series")
        return nxmx_writer.losses(described)
    if not job.readout.noise:
        raise InputError(f"format: {job.form} holds counts, and there is no noise; allowed: noise, or format nxmx")
    if job.form == "cbf":
        if job.readout.response.readout_noise > 0.0 and job.readout.adc > 0.0:
            why = "makes counts below 0, which stand for gaps in a miniCBF"
            raise InputError(f"response.readout_noise: {job.readout.response.readout_noise:g} {why}; allowed: 0, or adc 0")
        minicbf_writer.check(described, "series")
        return minicbf_writer.losses(described)
    if experiment.detector.panels:
        raise InputError("format: smv describes a detector without panels; allowed: nxmx")
    return []


def write_frame(job: Job, frame: Frame, described: Geometry) -> None:
    """Write the files of a frame, and then the record with their digests, by which it is whole.

    described: the geometry of the series, for the pixels that are not rendered, which no frame changes.
    """
    _write_image(job, frame, described)
    if frame.labels is not None:
        write_labels(job.path(job.label_name(frame.number)), frame.labels, frame)
    sums = {name: sealed(job.path(name)) for name in job.names(frame.number)}
    figures: dict[str, float] = {"photons": _sum(frame.image)}
    if frame.labels is not None:
        figures["bragg_photons"] = _sum(frame.labels.bragg)
    record = {"sha256": sums, "figures": figures}
    with files.replacing(job.path(job.record_name(frame.number)), "series") as stream:
        stream.write(json.dumps(record).encode("ascii"))


def _sum(image: Any) -> float:
    return float(sum(part.sum(dtype=np.float64) for part in (image if isinstance(image, list) else [image])))


def _write_image(job: Job, frame: Frame, described: Geometry) -> None:
    """Write the image of a frame: the noise image, or without noise the expected photons."""
    path, experiment, sheet = job.path(job.image_name(frame.number)), frame.experiment, sheet_of(frame.experiment.detector)
    if frame.pixels is None:
        nxmx_writer.write_part(path, sheet.sheet("image", frame.image, 0.0), described, job.compression, "series")
        return
    if job.form == "smv":
        public_files.write_smv(path, frame.pixels, experiment, job.readout.adc, job.readout.response)
        return
    counts = sheet.sheet("image", frame.pixels, 0).astype(np.int32) - int(job.readout.adc)
    if job.form == "cbf":
        minicbf_writer.write(path, counts, geometry(job, experiment), "series")
    else:
        nxmx_writer.write_part(path, counts, described, job.compression, "series")


def write_labels(path: files.PathName, labels: Labels, frame: Frame) -> None:
    """Write the labels of a frame as HDF5. Of panels of different shapes the arrays of each have its number in their names."""
    arrays: dict[str, Described] = {}
    for name, (description, unit) in DESCRIPTIONS.items():
        values = getattr(labels, name)
        parts = {f"{name}_{number}": part for number, part in enumerate(values)} if isinstance(values, list) else {name: values}
        arrays |= {part: Described(value, description, unit) for part, value in parts.items()}
    arrays_hdf5.write(path, arrays, {"frame": frame.number}, "series")


def sealed(path: str) -> str:
    """The SHA-256 of a file, after it is on the disk."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.sha256(stream.read()).hexdigest()


def sum_of(path: str) -> str | None:
    """The SHA-256 of a file; None if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return None


def record_of(job: Job, frame: int) -> Mapping[str, Any] | None:
    """The record of a frame; None if there is none, or no whole one."""
    try:
        with open(job.path(job.record_name(frame)), "rb") as stream:
            record = json.loads(stream.read())
        return record if isinstance(record["sha256"], dict) and isinstance(record["figures"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(job: Job, frame: int) -> bool:
    """Whether a frame has a record, and all of its files are as that says."""
    record = record_of(job, frame)
    if record is None or sorted(record["sha256"]) != sorted(job.names(frame)):
        return False
    return all(sum_of(job.path(name)) == digest for name, digest in record["sha256"].items())
