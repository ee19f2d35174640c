"""The flat records that setup fills and the kernels read. Lengths in m, reciprocal lengths and cells in A."""

from typing import NamedTuple

import numpy as np


class Panel(NamedTuple):
    """A panel of the detector in the laboratory frame (F1 to F4, F1d).

    origin: corner of the first pixel, in m. fast, slow, normal: unit axes. beam: unit vector along the beam. pixel_fast,
    pixel_slow: edges of a pixel, in m. close_distance: from the crystal to the nearest point of the plane, in m. distance:
    along the beam, in m, which a curved detector alone needs; that of a flat one is in its origin.
    layer: depth of one sensor layer, in m. absorption: of the sensor, in 1/m. sensor: whether it absorbs. curved: whether the
    detector is a sphere about the crystal. point_pixel: whether solid angles are the inverse square of the distance alone.
    """

    origin_x: float
    origin_y: float
    origin_z: float
    fast_x: float
    fast_y: float
    fast_z: float
    slow_x: float
    slow_y: float
    slow_z: float
    normal_x: float
    normal_y: float
    normal_z: float
    beam_x: float
    beam_y: float
    beam_z: float
    pixel_fast: float
    pixel_slow: float
    distance: float
    close_distance: float
    layer: float
    absorption: float
    sensor: bool
    curved: bool
    point_pixel: bool


class Intensity(NamedTuple):
    """What all sources of the beam share: polarization, resolution limit and scales of intensity (F6, F10 to F12).

    polarized: whether the polarization factor counts. kahn: K of Kahn's factor, -1 to 1. axis: the E vector. dmin: resolution
    cut-off in A, 0 for none. photons: r_e^2 fluence / steps, in photons per electron^2 and sr. background_each: scale of the
    background at every sample, in electrons^2. background_once: what is added once to the sum of a pixel, in electrons^2 (P19).
    unlit_dark: whether a pixel whose samples are all left out by dmin is dark, as in C with its water (P19). fading: the
    crystal's intensity falls by exp(-fading q^2) (F9g), in A^2. fades: whether it does, or the derivative by it is asked for.
    """

    polarized: bool
    kahn: float
    axis_x: float
    axis_y: float
    axis_z: float
    dmin: float
    photons: float
    background_each: float
    background_once: float
    unlit_dark: bool
    fading: float
    fades: bool


class Sources(NamedTuple):
    """The n sources of the incident beam (F5a).

    direction (n, 3): unit vectors along the beam. wavelength (n,): in A. weight (n,): without a unit, of mean 1.
    """

    direction: np.ndarray
    wavelength: np.ndarray
    weight: np.ndarray


class Amorphous(NamedTuple):
    """How the background of a sample varies with sin(theta) / lambda (F12).

    per_stol: steps of the table per 1/A of sin(theta) / lambda, in A. value (n,): the table at even steps from 0: electrons^2
    of a molecule, or without a unit where the background is the same everywhere.
    """

    per_stol: float
    value: np.ndarray


class Crystal(NamedTuple):
    """The size and shape of the crystal (F8).

    n_a, n_b, n_c: numbers of unit cells along a, b and c. shape: a number of shapes.py. fudge: factor of the squared distance
    to a reflection. metric: the symmetric matrix that this distance is measured by (F8b), without a unit. least: the diagonal
    of a diagonal matrix that the metric is not below (F10a). disorder: the symmetric matrix of the B factors that weaken each
    term (F9g), without a unit. disordered: whether there are any, or they are asked for. most_remote: the largest remoteness at
    which a term counts (F10a), without a unit; 0: every term counts. remote_per_omega: the same for each unit of solid angle of
    the pixel, in 1/sr, or in m^2 for point pixels.
    """

    n_a: float
    n_b: float
    n_c: float
    shape: int
    fudge: float
    metric_hh: float
    metric_kk: float
    metric_ll: float
    metric_hk: float
    metric_hl: float
    metric_kl: float
    least_hh: float
    least_kk: float
    least_ll: float
    disorder_hh: float
    disorder_kk: float
    disorder_ll: float
    disorder_hk: float
    disorder_hl: float
    disorder_kl: float
    disordered: bool
    most_remote: float
    remote_per_omega: float


ONE_BOX = np.zeros(1)
"""Where the only box of amplitudes begins."""


class Structure(NamedTuple):
    """Structure-factor amplitudes of a box of Miller indices (F9).

    h_min to l_max: the smallest and largest Miller indices of the box. outside: index into `amplitude` of the entry for every
    reflection outside the box, the last one. amplitude (n,): in electrons, l fastest, h slowest. interpolate: whether an
    amplitude between reflections is interpolated (F9b). latch (4,): row, fast pixel, pass and lattice of the evaluation from
    which on nothing is interpolated (P8). Where amplitudes depend on the photon energy, `amplitude` holds several boxes, one
    after another, before the last entry (F9f). first (sources,): where the box of each source begins; of size 1 where there is
    one box. skipped: where the box that is looked up begins (stages/structure.py:of_source).
    """

    h_min: float
    h_max: float
    k_min: float
    k_max: float
    l_min: float
    l_max: float
    outside: float
    amplitude: np.ndarray
    interpolate: bool
    latch: np.ndarray
    first: np.ndarray = ONE_BOX
    skipped: float = 0.0


class Orientations(NamedTuple):
    """The table of lattices: one for every phi step and mosaic domain, phi outside (F7b).

    lattice (steps * domains, 9): real-space vectors a, b, c one after another, in A, for every pass but the fresh ones.
    fresh_lattice (steps * domains, 9): the same for the first pass of each emulated thread of nanoBragg (P1). fresh_pass (slow,
    2): for each row the fast pixel and the number of the pass that is fresh, or -1; (0, 2) if none is. group, group_reach
    (groups, 9): the centre of each GROUP lattices, one after another, and how far these lie from it, in A (F10a).
    """

    lattice: np.ndarray
    fresh_lattice: np.ndarray
    fresh_pass: np.ndarray
    group: np.ndarray
    group_reach: np.ndarray


class Sampling(NamedTuple):
    """How finely a pixel is sampled, and which factors are taken anew at every sample (F10).

    layers: number of layers of the sensor. oversample: number of sub-pixels along an edge. every_capture, every_polarization,
    every_omega: whether that factor is taken at every sample, else once for the pixel. running_product: whether these multiply
    the sum so far, as in C (P2). last_capture: whether the last layer's capture fraction counts for the pixel (P13).
    """

    layers: int
    oversample: int
    every_capture: bool
    every_polarization: bool
    every_omega: bool
    running_product: bool
    last_capture: bool


class Scene(NamedTuple):
    """Everything that determines an image: the records above, one of each.

    panel: the detector. beam: what all sources share. amorphous: how the background varies. sources: directions and
    wavelengths of the beam. crystal: its size and shape. structure: the amplitudes. orientations: the table of lattices.
    sampling: how finely a pixel is sampled.
    """

    panel: Panel
    beam: Intensity
    amorphous: Amorphous
    sources: Sources
    crystal: Crystal
    structure: Structure
    orientations: Orientations
    sampling: Sampling
