"""The scaling chain of one pixel: every factor of its intensity, under the names of nanoBragg's traces."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nbnumba.constants import R_E_SQR_M2
from nbnumba.cost import check, check_memory
from nbnumba.errors import InputError, real, shown
from nbnumba.experiment import Experiment
from nbnumba.setup import crystal, crystals, orientations, sampling, scene
from nbnumba.simulate import with_options
from nbnumba.stages.beam import fading_factor, polarization_factor, scattering_vector, within_resolution
from nbnumba.stages.crystal import index, nearest
from nbnumba.stages.detector import capture_fraction, curved_position, flat_position, sample_offset, solid_angle
from nbnumba.stages.lattice import disorder_factor, lattice_factor_radial, signed_sincg
from nbnumba.stages.pixel import amorphous, photons, sample_factor, sample_weight, term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import SQUARE
from nbnumba.stages.structure import between, of_source, slot, surrounded
from nbnumba.stages.vec3 import dot, unit

STEP_BYTES = 1000
"""The memory in bytes of one step of a chain, which is one lattice of one sample."""

Factor = tuple[str, tuple[float, ...]]


class PhiStep(NamedTuple):
    """The factors of one lattice of a sample, which belongs to a phi step and a mosaic domain.

    lattice_of: the step whose lattice is used; with P1 it may be an earlier one.
    """

    step: int
    domain: int
    phi_deg: float
    lattice_of: int
    hkl: tuple[float, float, float]
    hkl_nearest: tuple[float, float, float]
    lattice_abc: tuple[float, float, float]
    lattice: float
    amplitude: float

    @property
    def fresh(self) -> bool:
        return self.lattice_of == self.step


class Sample(NamedTuple):
    """One sample of a pixel: its factors in the order of the chain, and its lattices.

    indices: sensor layer, sub-pixel slow and fast, source. A sample that dmin excludes ends with its scattering vector.
    """

    factors: list[Factor]
    phi_steps: list[PhiStep]
    indices: tuple[int, int, int, int]


class Chain(NamedTuple):
    """The scaling chain of a pixel: its samples, and the factors from their sum to the photons.

    panel: its number, from 0. crystal: the number of the crystal whose photons these are; the first has the background, unless
    it is displaced: then a chain of the number -1 has it. phi_step: the only phi step whose photons these are, of a displaced
    crystal that the spindle moves; None where they are those of all (F7e).
    """

    slow: int
    fast: int
    samples: list[Sample]
    factors: list[Factor]
    panel: int = 0
    crystal: int = 0
    phi_step: int | None = None

    def __getitem__(self, name):
        """The value of a factor of the pixel, or else of the first sample that has a factor of this name."""
        if isinstance(name, int):
            return tuple.__getitem__(self, name)
        for key, values in itertools.chain(self.factors, *(sample.factors for sample in self.samples)):
            if key == name:
                return values[0] if len(values) == 1 else values
        raise KeyError(name)


def trace(experiment: Experiment, slow: int, fast: int, panel: int | str | None = None, **keywords: Any) -> Chain:
    """The chain of the pixel (slow, fast), as `traces` returns it with the same keywords; of several, the first.

    panel: its number, from 0, or its path; of one panel it may be left out.
    """
    return traces(experiment, [(slow, fast) if panel is None else (panel, slow, fast)], **keywords)[0]


def traces(
    experiment: Experiment,
    pixels: Sequence[tuple[int, int] | tuple[int | str, int, int]],
    *,
    backend: str = "cpu",
    precision: str = "double",
    roi: tuple[int, int, int, int] | None = None,
    mask: np.ndarray | None = None,
    c_parity: Iterable[str] | str | None = None,
    c_threads: int | None = None,
    tolerance: float | None = None,
) -> list[Chain]:
    """The chains of the pixels (slow, fast), each as it is in `simulate` with the same keywords, stale lattices included.

    A pixel of a detector with panels is (panel, slow, fast), by the number of the panel, from 0, or by its path. Of several
    crystals a pixel has a chain each, one after another, and its photons are the sum of theirs (F7d). A displaced crystal that
    the spindle moves has a chain for each phi step, with the detector as it sees it there (F7e). A chain has every
    lattice, whatever the tolerance, so also those whose terms `simulate` leaves out (F10a). Raises InputError for what
    `simulate` refuses, and for a pixel that the region or the mask excludes.
    """
    if (backend, precision) != ("cpu", "double"):
        why = "a trace is computed on the CPU in double precision"
        raise InputError(f"backend {backend!r}, precision {precision!r}: {why}; allowed: cpu, double")
    options = {"roi": roi, "mask": mask, "c_parity": c_parity, "c_threads": c_threads, "tolerance": tolerance}
    experiment = with_options(experiment, **options)
    for name in ("image", "radial"):
        if getattr(experiment.background, name) is not None:
            warnings.warn(f"background.{name} is not in the chain of a pixel: its photons are added at the end", stacklevel=2)
    windows = sampling.windows(experiment.detector, experiment.sampling)
    wanted = [_pixel(experiment, pixel) for pixel in _listed(pixels)]
    for panel, slow, fast in wanted:
        if not rendered(windows[panel], slow, fast):
            where = f"panel {panel}, " if len(windows) > 1 else ""
            allowed = "a pixel of the region and the mask"
            raise InputError(f"pixel: {where}slow {slow}, fast {fast} is not rendered; allowed: {allowed}")
    steps = len(wanted) * check(experiment, max_hours=math.inf).steps_per_pixel
    check_memory(f"trace: {steps:.4g} steps of {len(wanted)} pixels", steps * STEP_BYTES)
    panels, contributions = scene.panel_scenes(experiment), crystals.contributions(experiment)
    of_each = len(panels) // len(contributions)
    return [
        _Walk(contribution, panels[number * of_each + panel].scene, slow, fast).chain()._replace(panel=panel)
        for panel, slow, fast in wanted
        for number, contribution in enumerate(contributions)
    ]


def _listed(pixels) -> list:
    if isinstance(pixels, (str, bytes)) or not isinstance(pixels, Iterable):
        raise InputError(f"pixels: {shown(pixels)} is not allowed; allowed: a list of pairs (slow, fast)")
    return list(pixels)


def _pixel(experiment: Experiment, pixel) -> tuple[int, int, int]:
    """The number of the panel, and two ints. Raises InputError unless it is a pair of whole numbers, after a panel if any."""
    paths = [panel.path for panel in experiment.detector.panels]
    try:
        *panel, slow, fast = pixel
        if real(slow) != int(slow) or real(fast) != int(fast):
            raise ValueError
        numbers = [paths.index(panel[0]) if isinstance(panel[0], str) else panel[0]] if panel else [0]
        if len(panel) > 1 or (len(paths) > 1) > len(panel) or numbers[0] not in range(max(len(paths), 1)):
            raise ValueError
        return int(numbers[0]), int(slow), int(fast)
    except (TypeError, ValueError, OverflowError):
        allowed = "two whole numbers, slow and fast"
        allowed += f", after the number of a panel, 0 to {len(paths) - 1}, or its path" if len(paths) > 1 else ""
        raise InputError(f"pixel: {shown(pixel)} is not allowed; allowed: {allowed}") from None


def rendered(window: sampling.Window, slow: int, fast: int) -> bool:
    """Whether a pixel lies in a window and its mask."""
    inside = window.rows[0] <= slow < window.rows[1] and window.columns[0] <= fast < window.columns[1]
    return inside and not (window.mask.size and not window.mask[slow, fast])


class _Walk:
    """The loop over the samples of a pixel, in the same order as in the kernels; it records every factor."""

    def __init__(self, contribution: crystals.Contribution, built: Scene, slow: int, fast: int):
        self.contribution, self.scene, self.slow, self.fast = contribution, built, slow, fast
        self.experiment = experiment = contribution.experiment
        defects = experiment.sampling.defects
        self.steps = contribution.phi_steps
        self.angles = orientations.phi_angles(experiment.goniometer)[self.steps]
        self.vectors = crystal.orient(experiment.crystal, defects)
        self.carries = defects.phi_carryover
        self.total, self.water, self.ever_resolved = built.beam.background_once, 0.0, False
        self.omega = self.polarization = self.capture = self.cos_2theta = 1.0

    def chain(self) -> Chain:
        layout, sources = self.scene.sampling, self.scene.sources
        samples = []
        for layer in range(layout.layers):
            for sub_slow in range(layout.oversample):
                for sub_fast in range(layout.oversample):
                    ray = self._trace_ray(layer, sub_slow, sub_fast)
                    for source in range(len(sources.weight)):
                        indices = (layer, sub_slow, sub_fast, source)
                        samples.append(self._sample(ray, indices, len(samples)))
        chain = Chain(self.slow, self.fast, samples, self._scaling())
        return chain._replace(crystal=self.contribution.crystal, phi_step=self.contribution.phi_step)

    def _trace_ray(self, layer, sub_slow, sub_fast):
        panel, layout = self.scene.panel, self.scene.sampling
        first = sub_slow == 0 and sub_fast == 0
        of_axes = ((panel.pixel_fast, self.fast, sub_fast), (panel.pixel_slow, self.slow, sub_slow))
        offsets = [sample_offset(edge, layout.oversample, pixel, sub) for edge, pixel, sub in of_axes]
        position = flat_position(panel, *offsets, layer * panel.layer)
        position = curved_position(panel, position) if panel.curved else position
        diffracted, airpath = unit(position)
        if layout.every_omega or (first and layer == 0):
            self.omega = solid_angle(panel, airpath)
        if panel.sensor and (layout.every_capture or first):
            self.capture = capture_fraction(panel, layer, diffracted)
        return position, airpath, diffracted

    def _sample(self, ray, indices, number) -> Sample:
        position, airpath, diffracted = ray
        beam, layout, panel, source = self.scene.beam, self.scene.sampling, self.scene.panel, indices[3]
        incident = tuple(self.scene.sources.direction[source])
        wavelength = self.scene.sources.wavelength[source]
        q = scattering_vector(diffracted, incident, wavelength)
        resolved = bool(within_resolution(beam, q))
        self.cos_2theta = dot(incident, diffracted)
        if beam.polarized and (number == 0 or layout.every_polarization or (resolved and not self.ever_resolved)):
            self.polarization = polarization_factor(beam, diffracted, incident)
        self.ever_resolved = self.ever_resolved or resolved
        self.background = float(amorphous(self.scene.amorphous, beam, q))
        phi_steps = self._lattices(q, number, of_source(self.scene.structure, source)) if resolved else []
        self._add(phi_steps, resolved, self.scene.sources.weight[source])
        factors = [
            ("pix0_vector_meters", (panel.origin_x, panel.origin_y, panel.origin_z)),
            ("fdet_vec", (panel.fast_x, panel.fast_y, panel.fast_z)),
            ("sdet_vec", (panel.slow_x, panel.slow_y, panel.slow_z)),
            ("pixel_pos_meters", position),
            ("R_distance_meters", (airpath,)),
            ("omega_pixel_sr", (self.omega,)),
            ("close_distance_meters", (panel.close_distance,)),
            ("obliquity_factor", (panel.close_distance / airpath,)),
            ("diffracted_vec", diffracted),
            ("incident_vec", incident),
            ("lambda_meters", (wavelength * 1e-10,)),
            ("lambda_angstroms", (wavelength,)),
            ("scattering_vec_A_inv", tuple(x * 1e10 for x in q)),
            *(self._cell_factors(phi_steps[0], number) if resolved else ()),
        ]
        return Sample([(name, tuple(float(v) for v in values)) for name, values in factors], phi_steps, indices)

    def _cell_factors(self, step: PhiStep, number) -> list[Factor]:
        lattice = self._table(number)[0].reshape(3, 3)
        star = crystal.reciprocal(self.experiment.crystal, self.vectors)
        return [
            *((f"rot_{name}_angstroms", tuple(row)) for name, row in zip("abc", lattice)),
            *((f"rot_{name}_star_A_inv", tuple(row)) for name, row in zip("abc", star)),
            ("hkl_frac", step.hkl),
            ("hkl_rounded", step.hkl_nearest),
            *((f"F_latt_{name}", (value,)) for name, value in zip("abc", step.lattice_abc)),
            ("F_latt", (step.lattice,)),
            ("F_cell", (step.amplitude,)),
        ]

    def _table(self, number) -> np.ndarray:
        """The lattices of a pass: the fresh ones in the first pass of an emulated thread (P1)."""
        fresh = orientations.fresh_of(self.scene.orientations, self.slow) == (self.fast, number)
        return self.scene.orientations.fresh_lattice if fresh else self.scene.orientations.lattice

    def _lattices(self, q, number, structure) -> list[PhiStep]:
        fresh = orientations.fresh_of(self.scene.orientations, self.slow) == (self.fast, number)
        used = orientations.carried_from(self.angles, fresh) if self.carries else list(range(len(self.angles)))
        table = self._table(number)
        domains = len(table) // len(self.angles)
        phi_steps = []
        for m, lattice in enumerate(table):
            hkl = tuple(float(index(*lattice[3 * axis : 3 * axis + 3], q)) for axis in range(3))
            step = m // domains
            latched = (self.slow, self.fast, number, m) >= tuple(structure.latch)
            numbers = self.steps[step], m % domains, self.steps[used[step]]
            phi_steps.append(self._phi_step(numbers, self.angles[step], q, hkl, structure, latched))
        return phi_steps

    def _phi_step(self, numbers, angle, q, hkl, structure, latched) -> PhiStep:
        step, domain, used = numbers
        near = [nearest(h) for h in hkl]
        whole = tuple(float(h0) for _, h0 in near)
        sizes = self.scene.crystal[:3]
        factors = tuple(signed_sincg(n, d, h0) for n, (d, h0) in zip(sizes, near))
        square = self.scene.crystal.shape == SQUARE
        total = math.prod(factors) if square else float(lattice_factor_radial(self.scene.crystal, *(d for d, _ in near)))
        amplitude = self._amplitude(structure, hkl, whole, latched)
        if self.scene.crystal.disordered:
            amplitude *= float(disorder_factor(self.scene.crystal, *hkl))
        if self.scene.beam.fades:
            amplitude *= math.sqrt(fading_factor(self.scene.beam, q))
        return PhiStep(step, domain, math.degrees(angle), used, hkl, whole, factors, total, amplitude)

    @staticmethod
    def _amplitude(structure, hkl, whole, latched) -> float:
        if structure.interpolate and not latched:
            return float(between(structure, *hkl) if surrounded(structure, *hkl) else structure.amplitude[-1])
        return float(structure.amplitude[int(slot(structure, *whole))])

    def _add(self, phi_steps, resolved, share):
        layout = self.scene.sampling
        factor = sample_factor(layout, self.capture, self.polarization, self.omega)
        weight = sample_weight(layout, share, self.capture)
        terms = [term(step.amplitude, step.lattice) for step in phi_steps]
        self.water += self.background * (weight * factor)
        if not layout.running_product:
            self.total += sum(terms) * resolved * (weight * factor)
        elif resolved:
            has_background = self.scene.beam.background_each + self.scene.beam.background_once > 0.0
            for step, intensity in zip(phi_steps, terms):
                if has_background or step.lattice != 0.0:
                    self.total = (self.total + intensity * weight) * factor

    def _scaling(self) -> list[Factor]:
        beam, layout = self.scene.beam, self.scene.sampling
        dark = not self.ever_resolved and beam.polarized and beam.unlit_dark
        polarization = 0.0 if dark else self.polarization
        result = photons(beam, layout, self.total + self.water, self.capture, polarization, self.omega)
        fluence = self.experiment.beam.fluence
        lattices = orientations.number_of_lattices(self.experiment.crystal, self.experiment.goniometer)
        steps = len(self.scene.sources.weight) * layout.oversample**2 * lattices
        return [
            ("I_before_scaling", (self.total + self.water,)),
            ("r_e_meters", (math.sqrt(R_E_SQR_M2),)),
            ("r_e_sqr", (R_E_SQR_M2,)),
            ("fluence_photons_per_m2", (fluence,)),
            *([] if self.experiment.crystal.scale == 1.0 else [("crystal_scale", (self.experiment.crystal.scale,))]),
            ("steps", (float(steps),)),
            ("oversample_thick", (float(layout.every_capture),)),
            ("oversample_polar", (float(layout.every_polarization),)),
            ("oversample_omega", (float(layout.every_omega),)),
            ("capture_fraction", (self.capture,)),
            ("polar", (float(polarization),)),
            ("omega_pixel", (float(self.omega),)),
            ("cos_2theta", (float(self.cos_2theta),)),
            ("I_pixel_final", (float(result),)),
            ("floatimage_accumulated", (float(np.float32(result)),)),
        ]
