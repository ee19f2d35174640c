"""The output of a run: images in nanoBragg's files, and nanoBragg's lines of statistics."""

import math
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbnumba import noise, reflection_files, response
from nbnumba.cli import exchange
from nbnumba.cli.marks import marks
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags import headers
from nbnumba.flags.run import Run, time_seed
from nbnumba.formats import endings, fdump, files, pgm, png, raw, smv
from nbnumba.formats.geometry import Geometry
from nbnumba.formats.png import Marks
from nbnumba.hkl_maps import HklMap
from nbnumba.predictions import Predictions
from nbnumba.response import PHOTON_COUNTER, Response
from nbnumba.setup.detector import Placement
from nbnumba.setup.orientations import noise_generator
from nbnumba.setup.sampling import Window
from nbnumba.setup.sheet import sheet_of

DEFAULTS = {
    "floatfile": "floatimage.bin",
    "intfile": "intimage.img",
    "noisefile": "noiseimage.img",
    "pgmfile": "image.pgm",
}
"""The default names of nanoBragg's files."""

WRITTEN = {
    "floatfile": "4-byte floats",
    "intfile": "SMV",
    "noisefile": "SMV",
    "pgmfile": "PGM",
    "pngfile": "PNG",
    "exptfile": "models of DIALS",
    "nxsfile": "HDF5",
    "cbffile": "CBF",
    "predictions": "CSV",
    "hklmap": "arrays of NumPy",
    "dump": "a dump of structure factors",
}
"""The format of each file, as formats/endings.py names it."""

TOLERATED = {"dump": ("4-byte floats",), "exptfile": ("JSON",), "predictions": (endings.REFLECTIONS_OF_DIALS,)}
"""Other formats that the name of a file may announce."""

ON_REQUEST = ("pngfile", "exptfile", "nxsfile", "cbffile", "predictions", "hklmap", "dump")
"""The files that are written only where they are named."""


class Reflections(NamedTuple):
    """What is known of the reflections of an image, where it is to be written: a table, and a map. None: not wanted."""

    predictions: Predictions | None = None
    hkl_map: HklMap | None = None


class Statistics(NamedTuple):
    """nanoBragg's statistics of an image: the brightest pixel and its position (m), and mean, rms and rms deviation."""

    largest: float
    fast_m: float
    slow_m: float
    mean: float
    rms: float
    rmsd: float

    def lines(self) -> list[str]:
        """The lines that nanoBragg prints."""
        return [
            f"max_I = {self.largest:g}  at {self.fast_m:g} {self.slow_m:g}",
            f"mean= {self.mean:g} rms= {self.rms:g} rmsd= {self.rmsd:g}",
        ]


def statistics(image: np.ndarray, window: Window, experiment: Experiment, oversample: int) -> Statistics:
    """N6: the statistics of an image, a sheet (slow, fast), over a window.

    The position of the brightest pixel is that of its last sub-pixel, as in C; of several panels it is that in its panel.
    """
    region = image[slice(*window.rows), slice(*window.columns)].astype(np.float64)
    lit = window.mask[slice(*window.rows), slice(*window.columns)] != 0 if window.mask.size else np.ones(region.shape, bool)
    count = max(int(lit.sum()), 1)
    mean = float(region.sum()) / count
    rms = math.sqrt(float((region * region).sum()) / max(count - 1, 1))
    rmsd = math.sqrt(float(((region - mean) ** 2).sum()) / max(region.size - 1, 1))
    largest = float(region.max())
    if largest <= 0.0:
        return Statistics(0.0, 0.0, 0.0, mean, rms, rmsd)
    slow, fast = np.unravel_index(int(np.argmax(region)), region.shape)
    detector, (panel, row) = experiment.detector, sheet_of(experiment.detector).panel_of(window.rows[0] + int(slow))
    edges = (detector.pixel_mm, detector.pixel_mm)
    if detector.panels:
        edges = detector.panels[panel].pixel_fast_mm, detector.panels[panel].pixel_slow_mm
    numbers = window.columns[0] + int(fast), row
    position = [(number + 1 - 0.5 / oversample) * (edge / 1000) for number, edge in zip(numbers, edges)]
    return Statistics(largest, *position, mean, rms, rmsd)


def names(run: Run) -> dict[str, str]:
    """The names of the files that a run writes, by kind. Raises InputError if one of them cannot be written."""
    written = {"floatfile": True, "intfile": run.integers, "pgmfile": run.pgm, "noisefile": run.noise}
    chosen = {kind: getattr(run, kind) for kind in (*written, *ON_REQUEST)}
    paths = {kind: DEFAULTS[kind] if chosen[kind] is None else chosen[kind] for kind in written if written[kind]}
    paths |= {kind: chosen[kind] for kind in ON_REQUEST if chosen[kind] is not None}
    taken = {_target(path): flag for flag, path in run.inputs if flag != "-dump" or not run.dump}
    for kind, path in paths.items():
        files.check_writable(path, f"-{kind}")
        target = _target(path)
        if target in taken and target != os.devnull:
            raise InputError(f"-{kind}: {path!r} is also the {taken[target]}; allowed: a name of its own")
        taken[target] = f"-{kind}"
        _check_name(kind, path)
    return paths


def _check_name(kind: str, path: str) -> None:
    """Raise InputError for a name that announces another format, and for stderr, which is kept for messages."""
    endings.check(path, f"-{kind}", WRITTEN[kind], TOLERATED.get(kind, ()))
    if files.is_stderr(path):
        raise InputError(f"-{kind}: {path!r} is where messages go; allowed: a file, or - for the standard output")


def _target(path: str) -> str:
    """The real path of a file; for the standard output that of the terminal, pipe or file that it is connected to."""
    try:
        return os.path.realpath("/dev/stdout" if files.is_stdout(path) else path)
    except (OSError, ValueError):
        return path


def as_float32(image: np.ndarray) -> np.ndarray:
    """The image as float32. Raises InputError if a pixel is too bright for that."""
    with np.errstate(over="ignore"):
        single = image.astype(np.float32)
    if not np.isfinite(single).all():
        raise InputError(f"-fluence: the brightest pixel has {image.max():g} photons; allowed in 4-byte floats: at most 3.4e38")
    return single


def write(
    image: np.ndarray,
    experiment: Experiment,
    placement: Placement,
    window: Window,
    stats: Statistics,
    run: Run,
    described: dict[str, Geometry],
    reflections: Reflections,
) -> list[str]:
    """Write the files of a run, all or none, and return a line of text about each.

    image: float32. described: what exchange.described() says of the experiment.
    """
    with files.together():
        lines = list(_written(image, experiment, placement, window, stats, run, described))
        return [*lines, *_reflections_written(experiment, run, reflections)]


def _reflections_written(experiment: Experiment, run: Run, reflections: Reflections) -> Iterator[str]:
    """Write the files about reflections that are wanted, and yield a line of text about each."""
    if reflections.predictions is not None:
        reflection_files.write_predictions(run.predictions, reflections.predictions, experiment, "-predictions")
        yield f"wrote {run.predictions}: {len(reflections.predictions)} predictions"
    if reflections.hkl_map is not None:
        reflection_files.write_hkl_map(run.hklmap, reflections.hkl_map, "-hklmap")
        yield f"wrote {run.hklmap}: the brightest reflection of each pixel"


def _marks(experiment: Experiment, placement: Placement, window: Window, run: Run) -> Marks | None:
    """The marks of the picture, if they are wanted."""
    return marks(experiment, placement, window) if run.pngmarks else None


def _keys(experiment: Experiment, placement: Placement, run: Run, as_c: bool, shown: Response = PHOTON_COUNTER) -> list[tuple]:
    """The keys of the header of an SMV file; that of several panels does not say where they are.

    shown: the response of its image.
    """
    if not experiment.detector.panels:
        return headers.entries_of(experiment, placement, run.adc, as_c, shown)
    if run.integers or run.noise:
        why = "the header of SMV describes a detector without panels, which lie one below another in the file"
        warnings.warn(f"the files of integers hold no geometry: {why}; an -nxsfile holds it", stacklevel=2)
    return [(smv.OFFSET_KEY, run.adc)]


def _written(image, experiment, placement, window, stats, run, described) -> Iterator[str]:
    """Write one file after another, and yield a line of text about each."""
    paths = names(run)
    roi = (window.columns[0], window.columns[1] - 1, window.rows[0], window.rows[1] - 1)
    as_c = experiment.sampling.defects.header_overflow
    keys = _keys(experiment, placement, run, as_c)
    if "dump" in paths:
        factors = experiment.structure_factors
        fdump.write(paths["dump"], factors.hkl, factors.F, factors.default_F)
        yield f"wrote {paths['dump']}: structure factors"
    raw.write(paths["floatfile"], image)
    yield f"wrote {paths['floatfile']}: 4-byte floats"
    pixels, scale = noise.scaled_integers(image, run.scale, run.adc, roi)
    if "intfile" in paths:
        smv.write(paths["intfile"], pixels, keys, "-intfile", as_c)
        yield f"intfile_scale = {scale:g}"
        yield f"wrote {paths['intfile']}: SMV"
    if "pgmfile" in paths:
        chosen = run.pgmscale or (250.0 / (5.0 * stats.rmsd) if stats.rmsd > 0.0 else scale)
        pgm.write(paths["pgmfile"], image, chosen)
        yield f"wrote {paths['pgmfile']}: picture, pgm_scale = {chosen:g}"
    seen, counts = image, None
    if "noisefile" in paths:
        seed = time_seed() if run.seed is None else run.seed
        generator = noise_generator(experiment.crystal, seed)
        noisy = response.measure_sheet(experiment, image, generator, run.response, run.adc)
        keys = _keys(experiment, placement, run, as_c, response.response_of_panel(run.response, experiment.detector, run.adc))
        smv.write(paths["noisefile"], noisy.pixels, keys, "-noisefile", as_c)
        yield f"{noisy.photons:.0f} photons on noise image ({noisy.overloads} overloads), seed {seed}"
        yield f"wrote {paths['noisefile']}: SMV"
        seen = noisy.pixels - np.float32(run.adc)
        counts = noisy.pixels.astype(np.int32) - int(run.adc)
    yield from exchange.written(image, counts, described, experiment, run, paths)
    if "pngfile" in paths:
        region = slice(*window.rows), slice(*window.columns)
        unmeasured = window.mask[region] == 0 if window.mask.size else None
        drawn = _marks(experiment, placement, window, run)
        scale = png.write(paths["pngfile"], seen[region], what="-pngfile", unmeasured=unmeasured, marks=drawn)
        yield f"wrote {paths['pngfile']}: picture, white up to {scale.white:g} and black from {scale.black:g}"
