"""From an experiment to the records that a kernel reads (F0): the one place where all of setup comes together."""

import math
import warnings
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.setup import background, crystal, crystals, culling, latch, orientations, sampling, sources, structure
from nbnumba.setup.boxes import Boxes
from nbnumba.setup.detector import Plane, polarization_axis, sensor, spindle_axis
from nbnumba.setup.panels import planes, planes_from
from nbnumba.setup.remarks import remarks, remarks_of_crystal
from nbnumba.setup.sampling import Window, windows
from nbnumba.setup.sheet import sheet_of
from nbnumba.stages import records
from nbnumba.statements import Beam, Crystal, Statements

MADE_FROM = {
    "panel": "detector.pixel_mm, distance_mm and the beam centre",
    "panel.layer": "detector.thickness_um, layers",
    "panel.absorption": "detector.thickness_um, attenuation_um",
    "beam": "beam.polarization_axis, polarization, dmin_A",
    "beam.photons": "beam.fluence, crystal.scale",
    "beam.fading": "crystal.b_factor_A2",
    "beam.background_each": "background.water_um, density_g_per_cm3, molar_mass_g",
    "beam.background_once": "background.water_um, density_g_per_cm3, molar_mass_g",
    "amorphous": "background.table, air_mm, ice_um",
    "sources": "beam.sources, wavelength_A and the divergences",
    "crystal": "crystal.n_a, n_b, n_c, fudge",
    "structure": "structure_factors.F, default_F",
    "orientations": "crystal.a_A, b_A, c_A, misset_deg and goniometer.phi_deg, osc_deg",
}
"""The fields of an experiment that every record of a scene, or a number of it, is made from."""

MOST_FRINGES = 2**45
"""The largest product of unit cells and Miller index; of a larger one float64 has too few digits within a fringe (F0)."""

BRIGHTEST_CULLED = 1e200
"""The largest pixel of a scene that is culled, in electrons^2 and in photons: no sum of a pixel is too large for float64."""


class PanelScene(NamedTuple):
    """A panel of a contribution to an image: its scene, the pixels that are computed, and its rows and columns in the sheet.

    crystal: the number of the crystal, or crystals.BACKGROUND. contribution: its number. The images of several contributions
    add up (F7d, F7e).
    """

    scene: records.Scene
    window: Window
    place: tuple[slice, slice]
    crystal: int = 0
    contribution: int = 0

    @property
    def steps(self) -> int:
        """Its steps_per_pixel."""
        return steps_per_pixel(self.scene)


def steps_per_pixel(scene: records.Scene) -> int:
    """Return the number of samples of a pixel times the numbers of sources and of lattices."""
    samples = scene.sampling.layers * scene.sampling.oversample**2
    return samples * scene.sources.weight.size * len(scene.orientations.lattice)


def panel_scenes(
    experiment: Statements, moved: Collection[int] = (), boxes: Boxes | None = None
) -> tuple[PanelScene, ...]:
    """Return the panels of the image of an experiment (F0), those of one contribution after another (F7d, F7e).

    moved: numbers of crystals whose position is to change (crystals.contributions). boxes: those of images before. Crystals
    with the same structure factors share their amplitudes in memory. Raises InputError for what is impossible, and warns of
    what is assumed.
    """
    every_plane = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
    return scenes_of(experiment, crystals.contributions(experiment, moved), every_plane, boxes)


def scenes_of(
    experiment: Statements,
    contributions: Sequence[crystals.Contribution],
    every_plane: tuple[Plane, ...],
    boxes: Boxes | None = None,
) -> tuple[PanelScene, ...]:
    """Return what panel_scenes does, of an experiment whose contributions, and the planes of whose panels, are known."""
    wanted, places = windows(experiment.detector, experiment.sampling), list(sheet_of(experiment.detector).places())
    boxes = Boxes() if boxes is None else boxes
    return tuple(
        PanelScene(scene, window, place, contribution.crystal, number)
        for number, contribution in enumerate(contributions)
        for scene, window, place in zip(_build(contribution, every_plane, wanted, boxes), wanted, places, strict=True)
    )


def build(experiment: Statements, wanted: Window) -> records.Scene:
    """Return the scene of an experiment with one panel and one contribution (F0).

    wanted: the pixels that are computed, which decide where emulated threads of nanoBragg begin. Raises InputError for what is
    impossible, and warns of what is assumed.
    """
    every_plane = planes(experiment.detector, experiment.beam, experiment.sampling.defects)
    return _build(crystals.Contribution(experiment), every_plane, (wanted,), Boxes())[0]


def _build(
    contribution: crystals.Contribution,
    every_plane: tuple[Plane, ...],
    wanted: Sequence[Window],
    boxes: Boxes,
) -> list[records.Scene]:
    """Return a scene for each panel. They differ in panel, intensity, sampling and limits, and share all other records.

    every_plane: where the panels are. boxes: those of the crystals, or of the images, before; that of this
    crystal is added.
    """
    experiment, defects = contribution.experiment, contribution.experiment.sampling.defects
    for sentence in _remarks(contribution):
        warnings.warn(sentence, stacklevel=4)
    _check_statements(experiment)
    every_plane = planes_from(every_plane, contribution.position)
    vectors = crystal.orient(experiment.crystal, defects)
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    rotation = experiment.goniometer
    carried, fresh = orientations.table(experiment.crystal, rotation, spindle, vectors, defects, contribution.phi_step)
    lattices = orientations.number_of_lattices(experiment.crystal, rotation)
    electric = polarization_axis(experiment.detector, experiment.beam)
    source = sources.beam_sources(experiment.beam, every_plane[0].beam, electric, defects)
    lengthwise = sources.along(source.direction, electric)
    if lengthwise.all():
        electric = np.zeros(3)  # so that no rounding says what psi is (F6)
    directed = [*sources.downstream(source, every_plane[0].beam), *_polarization_without_plane(experiment.beam, lengthwise)]
    for sentence in directed if contribution.crystal == 0 and contribution.is_first else ():
        warnings.warn(sentence, stacklevel=4)
    water, material = background.all_materials(experiment.background, experiment.beam.size_mm, defects.amorphous_ignored)
    crystal_record = crystal.record(experiment.crystal, vectors, defects)
    numbers = (experiment.crystal.n_a, experiment.crystal.n_b, experiment.crystal.n_c)
    box = boxes.box(experiment.structure_factors, min(numbers), source.wavelength)
    largest = boxes.largest(experiment.structure_factors)
    groups, scenes = culling.groups(carried), []
    for plane, window in zip(every_plane, wanted, strict=True):
        layers, depth, absorption = sensor(experiment.detector, defects, plane.panel)
        samples = sampling.samples(experiment, plane, vectors, layers)
        panel = panel_record(experiment, plane, depth, absorption, samples)
        steps = len(source.weight) * samples.oversample**2 * lattices
        own_captures = panel.sensor and not (samples.every_capture or samples.last_capture)
        beam = _beam(experiment, electric, steps, lattices, samples, water, material.value[0], own_captures)
        rows, threads = plane.pixels[1], defects.c_threads if defects.phi_carryover else 0
        passes = sampling.fresh_passes(rows, threads, window, panel, beam, source, samples)
        cells = crystal_record
        if not experiment.sampling.c_parity:
            cells = culled(crystal_record, experiment, panel, source, largest, box.interpolate, layers)
        if not scenes or defects.phi_carryover:
            table = records.Orientations(carried, fresh, passes, *groups)
        built = records.Scene(panel, beam, material, source, cells, box, table, samples)
        check_finite(built, besides=scenes[0] if scenes else None, finite=box.amplitude if math.isfinite(largest) else None)
        if not scenes:
            _check_fringes(built)
        if defects.interpolation_latch and box.interpolate:
            built = built._replace(structure=box._replace(latch=latch.find(built, window)))
        scenes.append(built)
    return scenes


def _remarks(contribution: crystals.Contribution) -> list[str]:
    """Return what is assumed of a crystal, with its first contribution, and of beam and detector, with the first crystal."""
    if contribution.crystal == crystals.BACKGROUND or not contribution.is_first:
        return []
    experiment = contribution.experiment
    of_crystal = remarks_of_crystal(experiment.crystal, contribution.crystal) if contribution.crystal else remarks(experiment)
    return [*of_crystal, *structure.nearly_empty(experiment.structure_factors)]


SINGLE_PANEL = {
    "phi_carryover": "which lattices are carried over depends on the order of the rows of one panel (P1)",
    "interpolation_latch": "where interpolation ends depends on the order of the pixels of one panel (P8)",
}
"""The defects of C that are those of an image of one panel, with the reason."""


def _check_statements(experiment: Statements) -> None:
    """Raise InputError for defects of C that an image of several panels cannot have, and for as many samplings as no panels."""
    defects = experiment.sampling.defects
    if experiment.goniometer.phi_sampling == "mid" and defects.phi_carryover:
        why = "phi_carryover is about steps at their left edges (P1)"
        raise InputError(f"goniometer.phi_sampling: mid is not allowed with that defect of C: {why}; allowed: left")
    for name in ("water_scale", "amorphous_ignored"):
        for field in ("air_mm", "ice_um"):
            if getattr(experiment.background, field) and getattr(defects, name):
                why = f"{name} is about the only background that C has"
                raise InputError(f"background.{field} is not allowed with that defect of C: {why}; allowed: 0")
    if experiment.crystal.mosaic_sampling == "sobol" and defects.mosaic_float32:
        why = "mosaic_float32 rounds the domains that C draws (P22)"
        raise InputError(f"crystal.mosaic_sampling: sobol is not allowed with that defect of C: {why}; allowed: random")
    for name in Crystal.CELL_SPREADS if defects.mosaic_float32 else ():
        if getattr(experiment.crystal, name) != 0.0:
            why = "mosaic_float32 is about the domains of C, all of which have one cell (P22)"
            raise InputError(f"crystal.{name} is not allowed with that defect of C: {why}; allowed: 0")
    oversample, panels = experiment.sampling.oversample, max(len(experiment.detector.panels), 1)
    if isinstance(oversample, tuple) and len(oversample) != panels:
        raise InputError(f"sampling.oversample: {len(oversample)} numbers for {panels} panels; allowed: one, or as many")
    wrong = sorted(experiment.sampling.c_parity & SINGLE_PANEL.keys()) if len(experiment.detector.panels) > 1 else []
    if wrong:
        count, others = len(experiment.detector.panels), "a detector of one panel, or other defects"
        raise InputError(f"sampling.c_parity: {wrong[0]} with {count} panels: {SINGLE_PANEL[wrong[0]]}; allowed: {others}")


def culled(
    crystal_record, experiment: Statements, panel, source, largest: float, interpolate: bool, layers: int
) -> records.Crystal:
    """Return the Crystal record with the largest remoteness at which a term counts (F10a); 0 for pixels that are too bright.

    largest: of the amplitudes, in electrons, between which it is larger where they are interpolated. A polarization factor is
    at most 1, capture fractions of the layers add up to at most 1, and the mean weight of a source
    is 1.
    """
    amplitude = culling.with_overshoot(largest, interpolate) * math.sqrt(experiment.crystal.scale)
    lattice = crystal_record.n_a * crystal_record.n_b * crystal_record.n_c
    scale = background.photons_per_electron_squared(experiment.beam.fluence) * float(np.abs(source.weight).mean())
    omega = culling.largest_solid_angle(panel, layers)
    peak = (amplitude * lattice) * (amplitude * lattice)
    bounded = omega < math.inf and peak * max(scale * omega, 1.0) < BRIGHTEST_CULLED
    limit = culling.most_remote(crystal_record, scale * omega * peak if bounded else math.inf, experiment.sampling.tolerance)
    return crystal_record._replace(most_remote=limit, remote_per_omega=limit / omega)


def check_finite(
    scene: records.Scene, besides: records.Scene | None = None, finite: np.ndarray | None = None
) -> None:
    """Raise InputError, with the fields that it is made from, for a number of a scene that is not finite (F0).

    besides: a scene that has been checked. Records that it shares are not looked at again. finite: an array that is known to
    be.
    """
    for part, record in scene._asdict().items():
        for name, value in record._asdict().items() if besides is None or record is not getattr(besides, part) else ():
            if value is not finite and not _is_finite(value):
                made_from = MADE_FROM.get(f"{part}.{name}", MADE_FROM.get(part, part))
                why = f"a number that is made from it ({part}.{name}) is too large, or not a number"
                raise InputError(f"{made_from}: {why}; allowed: numbers nearer to usual ones")


def _is_finite(value) -> bool:
    """Whether a number is finite, or all numbers of an array are; for a single number in a tenth of NumPy's time."""
    return math.isfinite(value) if isinstance(value, (float, int)) else bool(np.isfinite(value).all())


def fringes(scene: records.Scene) -> tuple[float, float]:
    """Return the largest number of unit cells along an edge, and the largest Miller index of all, 2 |a| / lambda (F0)."""
    longest = np.sqrt((scene.orientations.lattice.reshape(-1, 3) ** 2).sum(axis=1).max())
    return max(scene.crystal[:3]), 2.0 * longest / scene.sources.wavelength.min()


def _check_fringes(scene: records.Scene) -> None:
    """Raise InputError where float64 has no digits left for the phase between the cells of a crystal (F0)."""
    cells, reach = fringes(scene)
    if cells * reach > MOST_FRINGES:
        why = f"{cells:.3g} unit cells along an edge, at Miller indices of up to {reach:.3g}, have no digits left in float64"
        allowed = f"cells times index of at most {float(MOST_FRINGES):.3g}"
        raise InputError(f"crystal.n_a, n_b, n_c, a_A, b_A, c_A and beam.wavelength_A: {why}; allowed: {allowed}")


def panel_record(experiment: Statements, plane: Plane, depth: float, absorption: float, samples: records.Sampling):
    """Return the Panel record of a panel, or of the whole detector (F1 to F4).

    depth: of a layer, in m. absorption: in 1/m. Without a sensor C takes the capture fraction of no depth, which is 0, where it
    is taken anew at every sample (P2).
    """
    vectors = (plane.origin, plane.fast, plane.slow, plane.normal, plane.beam)
    return records.Panel(
        *(float(x) for vector in vectors for x in vector),
        pixel_fast=plane.pixel_fast,
        pixel_slow=plane.pixel_slow,
        distance=plane.distance,
        close_distance=plane.close_distance,
        layer=depth,
        absorption=absorption,
        sensor=depth > 0.0 or (samples.every_capture and samples.running_product),
        curved=experiment.detector.curved,
        point_pixel=experiment.detector.point_pixel,
    )


def _polarization_without_plane(beam: Beam, lengthwise: np.ndarray) -> list[str]:
    """Return a sentence where a polarization is stated and a beam runs along its E vector (F6).

    lengthwise: for each source, whether it does.
    """
    if not lengthwise.any() or beam.polarization == 0.0 or not beam.polarized:
        return []
    why = "the E vector runs along the beam, so that there is no plane of polarization, and cos 2psi counts as 1"
    return [f"beam.polarization and beam.polarization_axis mean nothing: {why}"]


def _beam(
    experiment: Statements,
    electric: np.ndarray,
    steps: int,
    lattices: int,
    samples: records.Sampling,
    water: float,
    relative: float,
    own_captures: bool,
) -> records.Intensity:
    """Return the Intensity record (F6, F10 to F12).

    electric: unit vector along E, or 0. steps: sources times samples of a layer times lattices. lattices: of the table. water:
    electrons^2, or molecules, of the background. relative: first value of its table. own_captures: whether each layer has a
    capture fraction of its own.

    The scale is one number in float64, because its factors overflow in float32. That of the crystal is a part of it, by which
    the background is divided, because it does not scale with the crystal (F7d). With -oversample_polar C polarizes even where
    polarization is switched off (P2). C starts its sum with the background, which it scales once more (P19). In a running
    product (P2) the sum has to start so; else the same share for every sample gives the same image. Where every layer of a
    sensor has its own capture fraction, which is not so in C (P13), it is a share for every sample in a running product, too.
    """
    beam = experiment.beam
    scale = background.photons_per_electron_squared(beam.fluence)
    twice_scaled = experiment.sampling.defects.water_scale
    starts = twice_scaled and samples.running_product and not own_captures
    background_once = water * relative * scale if starts else 0.0
    background_each = 0.0 if background_once else water * lattices
    if twice_scaled:
        background_each *= scale / steps / (samples.layers if samples.last_capture else 1)
    of_crystal, fading = experiment.crystal.scale, crystal.fading(experiment.crystal, experiment.sampling.defects)
    return records.Intensity(
        beam.polarized or (samples.every_polarization and samples.running_product),
        beam.polarization,
        *(float(x) for x in electric),
        dmin=beam.dmin_A,
        photons=scale / steps * of_crystal,
        background_each=background_each / of_crystal,
        background_once=background_once / of_crystal,
        unlit_dark=twice_scaled,
        fading=fading,
        fades=fading != 0.0,
    )
