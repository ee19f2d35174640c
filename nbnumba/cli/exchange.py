"""The files of a run for other programs: the geometry as .expt, and the image as NXmx and as miniCBF."""

import warnings
from collections.abc import Iterator

import numpy as np

from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.run import Run
from nbnumba.formats import expt_writer, files, minicbf_writer, nxmx_writer
from nbnumba.formats.geometry import Geometry
from nbnumba.noise import LARGEST_PIXEL
from nbnumba.to_geometry import Readout, geometry_of, noise_readout

DESCRIBED = ("cbffile", "nxsfile", "noisefile", "intfile")
"""The images that an -exptfile may describe: the first of these that is written."""


def described(experiment: Experiment, run: Run, paths: dict[str, str]) -> dict[str, Geometry]:
    """The geometry for each of the files by its kind: exptfile, nxsfile, cbffile.

    paths: the names of all files of the run, by kind. Warns of what a file cannot state. Raises InputError for a file that
    cannot be written of this experiment.
    """
    geometries = {}
    for kind in ("cbffile", "nxsfile", "exptfile"):
        if kind not in paths:
            continue
        source = described_image(experiment, paths) if kind == "exptfile" else kind
        if kind != "exptfile":
            _check_readout(run, kind)
        geometries[kind] = geometry_of(experiment, readout_of(source, run), f"-{kind}")
    if "nxsfile" in geometries:
        nxmx_writer.check(geometries["nxsfile"], run.nxscompression)
        _warn("-nxsfile", nxmx_writer.losses(geometries["nxsfile"]))
    if "cbffile" in geometries:
        minicbf_writer.check(geometries["cbffile"])
        _warn("-cbffile", minicbf_writer.losses(geometries["cbffile"]))
    if "exptfile" in geometries:
        expt_writer.check(geometries["exptfile"], _images(experiment, run, paths))
    return geometries


def _images(experiment: Experiment, run: Run, paths: dict[str, str]) -> expt_writer.Images:
    """The image that an -exptfile describes."""
    kind = described_image(experiment, paths)
    return expt_writer.Images(() if kind is None else (paths[kind],), kind == "nxsfile", readout_of(kind, run).offset)


def _warn(flag: str, losses: list[str]) -> None:
    if losses:
        state = "its readers do not learn from it"
        warnings.warn(f"{flag}: {state} {', '.join(losses)}; -exptfile states it all", stacklevel=3)


def _check_readout(run: Run, kind: str) -> None:
    """Raise InputError for an image whose pixels, less the offset, are no counts in this format."""
    if kind == "cbffile" and not run.noise:
        raise InputError("-cbffile holds counts, and -nonoise is given; allowed: -cbffile with the noise image, or -nxsfile")
    if run.noise and run.adc != int(run.adc):
        why = f"is not allowed with -{kind}, from whose pixels it is subtracted"
        raise InputError(f"-adc: {run.adc:g} {why}; allowed: a whole number")
    if kind == "cbffile" and run.response.readout_noise > 0.0 and run.adc > 0.0:
        why = "makes counts below 0, which stand for gaps in a miniCBF"
        raise InputError(f"-readout_noise: {run.response.readout_noise:g} {why}; allowed with -cbffile: 0, or -adc 0")


def described_image(experiment: Experiment, paths: dict[str, str]) -> str | None:
    """The kind of the image that an -exptfile describes; None if none is written to a file. Only NXmx holds several panels."""
    kinds = ("nxsfile",) if experiment.detector.panels else DESCRIBED
    return next((kind for kind in kinds if kind in paths and not files.is_stdout(paths[kind])), None)


def readout_of(kind: str | None, run: Run) -> Readout:
    """How the pixels of an image relate to photons; kind: of the file."""
    if kind == "noisefile":
        return noise_readout(run.response, run.adc)
    if kind == "intfile":
        return Readout(1.0, run.adc, 1.0 if run.adc > 0.0 else 0.0, LARGEST_PIXEL - 1.0)
    if kind is None or not run.noise:
        return Readout()
    return noise_readout(run.response, run.adc, subtracted=True)


def written(
    image: np.ndarray,
    counts: np.ndarray | None,
    geometries: dict[str, Geometry],
    experiment: Experiment,
    run: Run,
    paths: dict[str, str],
) -> Iterator[str]:
    """Write the files one after another, and yield a line of text about each.

    image: expected photons, a sheet. counts: the noise image less its offset, None without noise. geometries: those of
    described().
    """
    if "cbffile" in geometries and counts is not None:
        minicbf_writer.write(paths["cbffile"], counts, geometries["cbffile"])
        yield f"wrote {paths['cbffile']}: miniCBF"
    if "nxsfile" in geometries:
        pixels = image if counts is None else counts
        nxmx_writer.write(paths["nxsfile"], pixels[np.newaxis], geometries["nxsfile"], run.nxscompression)
        yield f"wrote {paths['nxsfile']}: NXmx"
    if "exptfile" in geometries:
        images = _images(experiment, run, paths)
        expt_writer.write(paths["exptfile"], geometries["exptfile"], images)
        yield f"wrote {paths['exptfile']}: geometry{f' of {images.names[0]}' if images.names else ''}"
