"""Photons that are added to an image as they are stated: a background image, or a radial table (F12a)."""

from __future__ import annotations

import numpy as np

from nbnumba.experiment import Experiment
from nbnumba.setup import sampling
from nbnumba.setup.sheet import sheet_of
from nbnumba.setup.view import pixel_numbers, positions, view_of
from nbnumba.stages.beam import scattering_vector


def added_photons(experiment: Experiment) -> np.ndarray | None:
    """Return the photons (slow, fast), a sheet, that the background image and the radial table add; None without any (F12a).

    They are 0 where a pixel is not rendered. The table is taken at the centre of a pixel, in the mean beam, linearly between
    its rows, and beyond its ends as there. Raises InputError for an image that does not fit the detector.
    """
    stated, sheet = experiment.background, sheet_of(experiment.detector)
    if stated.image is None and stated.radial is None:
        return None
    photons = np.zeros(sheet.shape)
    if stated.image is not None:
        image = list(stated.image) if isinstance(stated.image, tuple) else stated.image
        photons += sheet.sheet("background.image", image, 0.0)
    if stated.radial is not None:
        view, (stol, photons_of_row) = view_of(experiment), np.array(stated.radial).T
        for place, panel, shape in zip(sheet.places(), view.panels, sheet.shapes):
            position = np.moveaxis(positions(panel, *pixel_numbers(shape)), -1, 0)
            q = scattering_vector(position / np.linalg.norm(position, axis=0), view.direction, view.wavelength)
            photons[place] += np.interp(0.5 * np.linalg.norm(np.stack(q), axis=0), stol, photons_of_row)
    photons[~sampling.rendered(experiment.detector, experiment.sampling)] = 0.0
    return photons


def with_added(experiment: Experiment, image: np.ndarray) -> np.ndarray:
    """Return a sheet (slow, fast) with the photons of added_photons; without any the same array."""
    photons = added_photons(experiment)
    return image if photons is None else image + photons
