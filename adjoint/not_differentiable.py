"""Why an image cannot be differentiated by a parameter: what is a choice, a step, a jump, or has no effect (A14)."""

import math
from collections.abc import Iterable

from adjoint.parameters import AMPLITUDES, PARAMETERS, WEIGHTS, names_of
from adjoint.setup.orientations import jumps
from adjoint.stages.lattice import MIRRORED, NOT_MIRRORED
from nbnumba.crystal_names import name_of
from nbnumba.experiment import Experiment
from nbnumba.setup import sources
from nbnumba.setup.crystals import each_alone
from nbnumba.setup.detector import beam_direction, polarization_axis, sensor
from nbnumba.setup.orientations import is_mosaic
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import Crystal


def reasons(experiment: Experiment, others: Iterable[str] = ()) -> dict[str, str]:
    """The parameters that the image of an experiment cannot be differentiated by, each with the reason, as a clause.

    others: names that are looked at besides PARAMETERS: those of groups of panels, and of crystals beside the first.
    """
    reasons = _of_first_crystal(experiment, others)
    for number, alone in enumerate(each_alone(experiment)[1:], start=1):
        named = _of_first_crystal(alone)
        reasons |= {name_of(number, name): reason for name, reason in named.items() if name.startswith("crystal.")}
        reasons = _energies(alone) | reasons  # of an F of its own, which the wavelengths of all move
        everything = None if experiment.beam.fluence == 0.0 else _everything(alone)  # such as a shape without a derivative
        reasons |= {} if everything is None else dict.fromkeys([*PARAMETERS, *others], everything)
    return reasons


def _of_first_crystal(experiment: Experiment, others: Iterable[str] = ()) -> dict[str, str]:
    """The reasons that lie in everything but the crystals beside the first."""
    everything = _everything(experiment)
    reasons = {} if everything is None else dict.fromkeys([*PARAMETERS, *others], everything)
    for check in (_crystal, _beam, _detector, _goniometer, _background, _amplitudes, _energies):
        for name, reason in check(experiment).items():
            reasons.setdefault(name, reason)
    return reasons


def _everything(experiment) -> str | None:
    """The reason why the image cannot be differentiated by anything, or None."""
    sampling = experiment.sampling
    if experiment.beam.fluence == 0.0:
        return "the fluence is 0, and the image dark"
    every = sampling.oversample_thick or sampling.oversample_polarization or sampling.oversample_omega
    if every and sampling.defects.oversample_running_sum:
        return "C's defect oversample_running_sum is on, which has no derivative here (P2)"
    shape = SHAPES[experiment.crystal.shape]
    if shape.not_differentiable:
        return shape.not_differentiable
    return None if shape.number in MIRRORED else NOT_MIRRORED


def _crystal(experiment) -> dict[str, str]:
    reasons = _still_domains(experiment)
    if experiment.crystal.b_factor_A2 == 0.0:
        anisotropic = [f"crystal.{name}" for name in Crystal.ANISOTROPIC]
        reasons |= dict.fromkeys(anisotropic, "crystal.b_factor_A2 is 0, and no reflection may grow (F9g)")
    position = [f"crystal.{name}" for name in Crystal.POSITION]
    if experiment.detector.curved:
        reasons |= dict.fromkeys(position, "the detector is curved, about the spindle (F7e)")
    elif experiment.sampling.c_parity:
        reasons |= dict.fromkeys(position, "C's defects are on, and C knows no such position (F7e)")
    off_diagonal = [f"crystal.{name}" for name in Crystal.OFF_DIAGONAL]
    if experiment.crystal.shape != "gauss":
        reasons |= dict.fromkeys(off_diagonal, "the crystal is not of the shape gauss (F8f)")
    elif experiment.sampling.defects.gauss_metric:
        reasons |= dict.fromkeys(off_diagonal, "C's defect gauss_metric is on, whose metric is another one (P9)")
    return reasons


def _still_domains(experiment) -> dict[str, str]:
    """The mosaic spreads that are 0, where no domain is turned, and those of the cell (A7b).

    The image has a derivative by a spread of 0 where another one makes domains; about axes of the crystal, one about these.
    """
    crystal = experiment.crystal
    if not is_mosaic(crystal):
        return dict.fromkeys(names_of("mosaic", "cell_spread"), "it is 0, and there are no domains to turn or to stretch")
    own = [f"crystal.{name}" for name in Crystal.ABOUT_AXES]
    if all(experiment.value(name) == 0.0 for name in own):
        return dict.fromkeys(own, "it is 0, and no domains are turned about axes of the crystal")
    return {}


def _beam(experiment) -> dict[str, str]:
    beam, reasons = experiment.beam, {}
    if not beam.polarized:
        reasons["beam.polarization"] = "the polarization factor is off"
    for name in ("dispersion_percent", "hdivrange_mrad", "vdivrange_mrad"):
        if beam.sources is not None:
            reasons[f"beam.{name}"] = "beam.sources says what the sources are"
        elif name == "dispersion_percent" and beam.spectrum is not None:
            reasons[f"beam.{name}"] = "beam.spectrum says what the wavelengths are"
        elif not getattr(beam, name):
            reasons[f"beam.{name}"] = "there is none"
    if beam.polarized and beam.polarization != 0.0 and _lengthwise(experiment):
        jumps = "a source runs along the E vector, where the polarization factor jumps"
        reasons |= dict.fromkeys(("beam.direction_x_mrad", "beam.direction_y_mrad"), jumps)
    own_wavelengths = beam.sources is not None and not any(math.isnan(row[4]) for row in beam.sources)
    if own_wavelengths or beam.spectrum is not None:
        reasons["beam.wavelength_A"] = "every source has a wavelength of its own"
    if sources.number(beam, experiment.sampling.defects) == 1:
        reasons[WEIGHTS] = "there is one source, whose weight is that of all"
    return reasons


def _lengthwise(experiment) -> bool:
    """Whether any source runs along the E vector."""
    detector, beam = experiment.detector, experiment.beam
    electric, direction = polarization_axis(detector, beam), beam_direction(detector, beam)
    made = sources.beam_sources(beam, direction, electric, experiment.sampling.defects)
    return bool(sources.along(made.direction, electric).any())


def _detector(experiment) -> dict[str, str]:
    if experiment.detector.panels:
        return dict.fromkeys(names_of("sensor"), "each panel has a sensor of its own")
    if sensor(experiment.detector, experiment.sampling.defects)[2] == 0.0:
        return dict.fromkeys(names_of("sensor"), "there is no sensor that absorbs")
    return {}


def _goniometer(experiment) -> dict[str, str]:
    reasons = dict(jumps(experiment))
    if experiment.value("goniometer.osc_deg") == 0.0:
        reasons["goniometer.osc_deg"] = "it is 0: a still"
    return reasons


def _background(experiment) -> dict[str, str]:
    amounts = ("background.water_um", "background.air_mm", "background.ice_um")
    reasons = {name: "there is none" for name in amounts if experiment.value(name) == 0.0}
    if "background.ice_um" in reasons:
        reasons["background.ice_size_A"] = "there is no ice"
    return reasons


def _amplitudes(experiment) -> dict[str, str]:
    """The amplitudes, where there are none."""
    return {AMPLITUDES: "there is no list of reflections"} if experiment.structure_factors.F is None else {}


def _energies(experiment) -> dict[str, str]:
    """What moves wavelengths, where amplitudes depend on these (F9f)."""
    factors = experiment.structure_factors
    if factors.energies_eV is None or len(factors.energies_eV) == 1:
        return {}
    moves = [name for name in PARAMETERS if name.startswith(("beam.wavelength", "beam.dispersion"))]
    return dict.fromkeys(moves, "amplitudes depend on the photon energy (F9f)")
