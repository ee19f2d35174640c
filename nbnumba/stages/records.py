"""The flat records that setup fills and the kernels read. Lengths in m, reciprocal lengths and cells in A."""

from typing import NamedTuple

import numpy as np


class Panel(NamedTuple):
    """The detector in the laboratory frame: the corner of its first pixel, its unit axes, and what a pixel is."""

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
    pixel: float
    distance: float
    close_distance: float
    layer: float
    absorption: float
    sensor: bool
    curved: bool
    point_pixel: bool


class Intensity(NamedTuple):
    """What all sources share: polarization, resolution cut-off, photons per unit of the sum, and the background (F10, F11)."""

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


class Sources(NamedTuple):
    """Incident directions (n, 3), wavelengths (n,) in A and weights (n,) of mean 1."""

    direction: np.ndarray
    wavelength: np.ndarray
    weight: np.ndarray


class Amorphous(NamedTuple):
    """How the background varies with sin(theta) / lambda (F12): values (n,) at even steps from 0, so many of them per 1/A."""

    per_stol: float
    value: np.ndarray


class Crystal(NamedTuple):
    """Numbers of unit cells along a, b and c, shape, and the metric that the distance to a reflection is measured by (F8b)."""

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


class Structure(NamedTuple):
    """Structure-factor amplitudes (n,) of a box of Miller indices, l fastest; the last one is for all outside the box.

    interpolate: between reflections (F9b), up to the evaluation `latch` (4,): row, fast pixel, pass and lattice (P8).
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


class Orientations(NamedTuple):
    """The lattices of all phi steps and mosaic domains: real-space a, b, c in A as rows (steps, 9).

    `lattice` is for every pass through the phi steps of a pixel but one per emulated thread of nanoBragg, which starts from
    `fresh_lattice` (clause P1): `fresh_pass` (slow, 2) holds the fast pixel and the number of that pass for each row, or -1.
    """

    lattice: np.ndarray
    fresh_lattice: np.ndarray
    fresh_pass: np.ndarray


class Sampling(NamedTuple):
    """How finely a pixel is sampled, and which factors are taken anew at every sample."""

    layers: int
    oversample: int
    every_capture: bool
    every_polarization: bool
    every_omega: bool
    running_product: bool
    last_capture: bool


class Scene(NamedTuple):
    """Everything that determines an image."""

    panel: Panel
    beam: Intensity
    amorphous: Amorphous
    sources: Sources
    crystal: Crystal
    structure: Structure
    orientations: Orientations
    sampling: Sampling
