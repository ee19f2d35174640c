"""How far an image is from converged: an experiment with twice the domains, wavelengths, phi steps or sub-pixels (F16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nbnumba.cost import samples_of_panels
from nbnumba.crystal_names import name_of
from nbnumba.experiment import Experiment
from nbnumba.setup import orientations, sources


class Doubled(NamedTuple):
    """An experiment in which one number is doubled. name: what it counts. before, after: how many there are of it."""

    name: str
    before: int
    after: int
    experiment: Experiment


class Change(NamedTuple):
    """What a doubling changes, in photons: the largest difference of a pixel, and the root of the mean square of all pixels."""

    largest: float
    rms: float


def doublings(experiment: Experiment) -> Iterator[Doubled]:
    """Yield the experiment with twice as many mosaic domains, wavelengths, phi steps and sub-pixels along an edge (F16).

    What there is one of for want of a range, and the rows of a table of sources, cannot be doubled and are left out.
    """
    mosaic = {
        name_of(number, "crystal.mosaic_domains"): orientations.number_of_domains(crystal)
        for number, crystal in enumerate(experiment.crystals)
        if orientations.is_mosaic(crystal)
    }
    if mosaic:
        domains, finer = sum(mosaic.values()), {name: 2 * number for name, number in mosaic.items()}
        yield _with("domains", domains, 2 * domains, experiment, finer)
    yield from _wavelengths(experiment)
    steps, step, full = orientations.phi_steps(experiment.goniometer)
    if step > 0.0:
        finer = {"goniometer.osc_deg": full, "goniometer.phistep_deg": step / 2, "goniometer.phisteps": 2 * steps}
        yield _with("phi steps", steps, 2 * steps, experiment, finer)
    oversample = [along_an_edge for along_an_edge, _ in samples_of_panels(experiment)]
    several = tuple(2 * along_an_edge for along_an_edge in oversample)
    finer = {"sampling.oversample": several[0] if len(set(several)) == 1 else several}
    yield _with("sub-pixels", max(oversample), max(several), experiment, finer)


def _wavelengths(experiment: Experiment) -> Iterator[Doubled]:
    """Yield the experiment with twice as many wavelengths, or one less than that between those of a spectrum."""
    beam = experiment.beam
    if beam.sources is not None or beam.source_weights is not None:
        return
    count = sources.numbers(beam, experiment.sampling.defects)[2]
    if beam.spectrum is not None and count > 1:
        finer = in_between(np.array(beam.spectrum))
        yield _with("energies", count, len(finer), experiment, {"beam.spectrum": finer})
    elif beam.spectrum is None and beam.dispersion_percent:
        yield _with("energies", count, 2 * count, experiment, {"beam.dispsteps": 2 * count})


def in_between(spectrum: np.ndarray) -> np.ndarray:
    """Return a spectrum (2 n - 1, 2) with a wavelength in the middle of every two neighbours, whose weight is their mean.

    spectrum (n, 2): wavelengths and weights.
    """
    ordered = spectrum[np.argsort(spectrum[:, 0], kind="stable")]
    finer = np.empty((2 * len(ordered) - 1, 2))
    finer[::2], finer[1::2] = ordered, (ordered[1:] + ordered[:-1]) / 2
    return finer


def _with(name: str, before: int, after: int, experiment: Experiment, values: dict[str, Any]) -> Doubled:
    return Doubled(name, before, after, experiment.replace(values))


def change(image: np.ndarray, finer: np.ndarray) -> Change:
    """Return what differs between two images of one shape, in photons."""
    difference = finer - image
    return Change(float(np.abs(difference).max()), float(np.sqrt(np.mean(difference * difference))))
