"""C's interpolation latch: the first evaluation whose index is out of range, from which on C interpolates no more (P8)."""

import numpy as np

from nbnumba.setup.orientations import fresh_of
from nbnumba.setup.sampling import Window, directions, sample_order
from nbnumba.setup.structure import NEVER
from nbnumba.stages.beam import scattering_vector, within_resolution
from nbnumba.stages.crystal import index, nearest
from nbnumba.stages.lattice import TOPHAT_RADIUS_SQUARED, distance_squared
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import TOPHAT
from nbnumba.stages.structure import surrounded


def find(scene: Scene, wanted: Window) -> np.ndarray:
    """Return row, fast pixel, pass and lattice (4,) of that evaluation, in the order of the loops of C in one thread (P8).

    wanted: the pixels that are computed.
    """
    columns = np.arange(*wanted.columns)
    for row in range(*wanted.rows):
        allowed = wanted.mask[row, columns] != 0 if wanted.mask.size else np.ones(len(columns), dtype=bool)
        first = _first_of_row(scene, row, columns, allowed)
        if first is not None:
            return np.array([row, *first], dtype=np.int64)
    return NEVER


def _first_of_row(scene, row, columns, allowed):
    """Return fast pixel, pass and lattice of the first evaluation of a row that is out of range, or None (P8).

    columns: the fast pixels. allowed: which of them are computed.
    """
    first = None
    for number, (q, live) in enumerate(_passes(scene, row, columns)):
        for m in range(len(scene.orientations.lattice)):
            out = allowed & live & ~_in_range(scene, q, scene.orientations.lattice[m])
            fresh_at, fresh_number = fresh_of(scene.orientations, row)
            if fresh_number == number and columns[0] <= fresh_at <= columns[-1]:
                lane = fresh_at - columns[0]
                out[lane] = (allowed & live & ~_in_range(scene, q, scene.orientations.fresh_lattice[m]))[lane]
            if out.any():
                candidate = (int(columns[np.argmax(out)]), number, m)
                first = candidate if first is None else min(first, candidate)
    return first


def _passes(scene, row, columns):
    """Yield, for every pass, the scattering vectors of the pixels of a row, in 1/A, and which of them dmin leaves in."""
    for layer, sub_slow, sub_fast in sample_order(scene.sampling):
        diffracted = directions(scene.panel, scene.sampling, row, columns, layer, sub_slow, sub_fast)
        for direction, wavelength in zip(scene.sources.direction, scene.sources.wavelength):
            q = scattering_vector(diffracted, direction, wavelength)
            yield q, within_resolution(scene.beam, q)


def _in_range(scene, q, lattice):
    """Return where nothing is out of range: inside the box, or not evaluated because the lattice factor is 0 (P8).

    q: scattering vectors, in 1/A. lattice: the nine components of a, b, c, in A.
    """
    hkl = [index(*lattice[3 * axis : 3 * axis + 3], q) for axis in range(3)]
    inside = surrounded(scene.structure, *hkl)
    if scene.crystal.shape != TOPHAT or scene.beam.background_each + scene.beam.background_once > 0.0:
        return inside
    r_squared = distance_squared(scene.crystal, *(nearest(h)[0] for h in hkl)) * scene.crystal.fudge
    return inside | (r_squared >= TOPHAT_RADIUS_SQUARED)
