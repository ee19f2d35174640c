"""Remarks: a sentence for everything that is stated of an experiment and has no effect on its image, or an unexpected one."""

import math
from collections.abc import Iterator

from nbnumba.constants import HC_EV_A
from nbnumba.parity import Defects
from nbnumba.setup import detector, sampling, sources, structure
from nbnumba.setup.orientations import is_mosaic, number_of_domains, phi_steps, within_step
from nbnumba.setup.sheet import sheet_of
from nbnumba.statements import Beam, Crystal, Detector, Goniometer, Sampling, Statements, StructureFactors

SWEEPS = ("hdivrange_mrad", "hdivstep_mrad", "hdivsteps", "vdivrange_mrad", "vdivstep_mrad", "vdivsteps")
SWEEPS += ("dispersion_percent", "dispsteps")
"""The fields of a beam that a table of sources overrules."""


def remarks(experiment: Statements) -> list[str]:
    """Return a sentence for everything that is stated and has no effect, in the words of the fields."""
    defects = experiment.sampling.defects
    return [
        *detector.without_effect(experiment.detector, defects),
        *_vectors(experiment),
        *_crystal(experiment.crystal),
        *_structure(experiment.structure_factors),
        *_energies(experiment.structure_factors, experiment.beam, defects),
        *_beam(experiment.beam, defects.one_step_means_two),
        *_rotation(experiment.goniometer),
        *_sensor(experiment.detector, experiment.sampling),
        *_tolerance(experiment.sampling, experiment.crystal.shape),
        *sampling.beyond_the_edge(experiment.sampling.roi, sheet_of(experiment.detector).shape[::-1]),
    ]


def _vectors(experiment: Statements) -> Iterator[str]:
    """Yield a sentence for each vector of beam and spindle that is stated in a convention which has its own."""
    stated = {
        "beam.direction": experiment.beam.direction,
        "beam.polarization_axis": experiment.beam.polarization_axis,
        "goniometer.spindle_axis": experiment.goniometer.spindle_axis,
    }
    if experiment.detector.convention != "custom":
        why = f"the convention {experiment.detector.convention} has its own"
        yield from (f"{name} has no effect: {why}" for name, vector in stated.items() if vector is not None)


def remarks_of_crystal(crystal: Crystal, number: int) -> list[str]:
    """Return a sentence for everything that is stated of the crystal of a number and has no effect."""
    return [sentence.replace("crystal.", f"crystal[{number}].") for sentence in _crystal(crystal)]


def _crystal(crystal: Crystal) -> Iterator[str]:
    """Yield a sentence for each field of the crystal that has no effect."""
    if not is_mosaic(crystal) and (crystal.mosaic_domains or 1) > 1:
        yield f"crystal.mosaic_domains has no effect: {' and '.join(f'crystal.{name}' for name in Crystal.DOMAIN_SPREADS)} is 0"
    elif is_mosaic(crystal) and number_of_domains(crystal) == 1:
        for name in (name for name in Crystal.DOMAIN_SPREADS if getattr(crystal, name) != 0.0):
            changed = "turned" if name in Crystal.SPREADS else "stretched"
            yield f"crystal.{name} has no effect: the only one of crystal.mosaic_domains is not {changed}"
    if crystal.mosaic_sampling != "random" and not is_mosaic(crystal):
        yield "crystal.mosaic_sampling has no effect: there is no mosaic spread"
    if crystal.fudge != 1.0 and crystal.shape == "square":
        yield "crystal.fudge has no effect: the crystal is a parallelepiped"


def _structure(factors: StructureFactors) -> Iterator[str]:
    """Yield a sentence where interpolation is stated and there is a single amplitude."""
    if factors.interpolate is not None and factors.hkl is None:
        yield "structure_factors.interpolate has no effect: there is one amplitude, structure_factors.default_F"


def _energies(factors: StructureFactors, beam: Beam, defects: Defects) -> Iterator[str]:
    """Yield a sentence where sources lie beyond the photon energies of the amplitudes (F9f)."""
    if factors.energies_eV is None or len(factors.energies_eV) == 1:
        return
    lowest, highest = (HC_EV_A / wavelength for wavelength in sources.wavelength_range(beam, defects)[::-1])
    first, last = factors.energies_eV[0], factors.energies_eV[-1]
    if lowest < first * (1.0 - structure.SAME_ENERGY) or highest > last * (1.0 + structure.SAME_ENERGY):
        reach = f"structure_factors.energies_eV reach from {first:g} to {last:g}"
        yield f"{reach}, the sources from {lowest:g} to {highest:g} eV: beyond its ends F is that of the nearest"


def _beam(beam: Beam, one_means_two: bool) -> Iterator[str]:
    """Yield a sentence for each field of the beam that has no effect.

    one_means_two: whether one step stands for two (P16).
    """
    if beam.sources is not None:
        stated = [f"beam.{name}" for name in SWEEPS if getattr(beam, name) is not None]
        if stated:
            verb = "have" if len(stated) > 1 else "has"
            yield f"{', '.join(stated)} {verb} no effect: beam.sources says what the sources are"
        return
    for axis in "hv":
        names = (f"{axis}divrange_mrad", f"{axis}divstep_mrad", f"{axis}divsteps")
        yield from _sweep(names, [getattr(beam, name) for name in names], one_means_two)
    if beam.dispersion_percent and beam.dispsteps == 1 and not one_means_two:
        yield "beam.dispersion_percent has no effect: one of beam.dispsteps is in the middle"
    elif not beam.dispersion_percent and (beam.dispsteps or 1) > 1:
        yield "beam.dispsteps has no effect: there is no beam.dispersion_percent"


def _sweep(names: tuple[str, str, str], values, one_means_two: bool) -> Iterator[str]:
    """Yield a sentence for what does not count of range, step and number of a divergence (F5a)."""
    (full, step, steps), (of_full, of_step, of_steps) = values, (f"beam.{name}" for name in names)
    if full == 0.0:
        stated = [name for name, value in ((of_step, step), (of_steps, steps)) if value]
        yield from (f"{name} has no effect: {of_full} is 0" for name in stated if name != of_steps or steps > 1)
    elif full is None and step and steps not in (None, 2):
        yield f"{of_steps} has no effect: {of_step} without {of_full} is two steps"
    elif full and not step and steps == 1 and not one_means_two:
        yield f"{of_full} has no effect: one of {of_steps} is in the middle"


def _rotation(goniometer: Goniometer) -> Iterator[str]:
    """Yield a sentence for what does not count of range, step and number of a rotation (F7b)."""
    osc, step, steps = goniometer.osc_deg, goniometer.phistep_deg, goniometer.phisteps
    if goniometer.phi_sampling == "mid" and phi_steps(goniometer)[1] == 0.0:
        yield "goniometer.phi_sampling has no effect: there are no steps of phi"
    if osc is None and step and steps not in (None, 2):
        yield "goniometer.phisteps has no effect: goniometer.phistep_deg without goniometer.osc_deg is two steps"
    elif osc and step and steps and not math.isclose(step * steps, osc, rel_tol=1e-6):
        yield f"goniometer.osc_deg has no effect: {steps} goniometer.phisteps of {step:g} degrees are {step * steps:g}"
    elif osc and not step and steps == 1 and not within_step(goniometer):
        yield "goniometer.osc_deg has no effect: the one step of goniometer.phisteps is at its start"


def _sensor(detector: Detector, sampling: Sampling) -> Iterator[str]:
    """Yield a sentence for what is stated of a sensor that does not exist (F4a).

    In C alone its capture fractions darken the image (P2).
    """
    parts, endless_counts = detector.panels or (detector,), sampling.defects.endless_depth_dark
    if any(part.thickness_um > 0.0 and (part.attenuation_um != math.inf or endless_counts) for part in parts):
        return
    thick = any(part.thickness_um > 0.0 for part in parts)
    why = "detector.attenuation_um is infinite" if thick else "there is no detector.thickness_um"
    if detector.panels:
        why = "no panel has a sensor that absorbs"
    if detector.layers is not None:
        yield f"detector.layers has no effect: {why}"
    if sampling.oversample_thick and not sampling.defects.oversample_running_sum:
        yield f"sampling.oversample_thick has no effect: {why}"


def _tolerance(sampling: Sampling, shape: str) -> Iterator[str]:
    """Yield a sentence where a tolerance is stated and leaves nothing out (F10a)."""
    if sampling.tolerance > 0.0 and sampling.c_parity:
        yield "sampling.tolerance has no effect: with sampling.c_parity every term counts"
    elif sampling.tolerance > 0.0 and shape == "tophat":
        yield "sampling.tolerance has no effect: between top-hat spots there is nothing to leave out"
