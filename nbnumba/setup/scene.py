"""From an experiment to the records that a kernel reads: the one place where all of setup comes together."""

import warnings

from nbnumba.experiment import Experiment
from nbnumba.setup import background, crystal, latch, orientations, sampling, sources, structure
from nbnumba.setup.detector import Placement, place, polarization_axis, sensor, spindle_axis, without_effect
from nbnumba.setup.sampling import Window
from nbnumba.stages import records


def build(experiment: Experiment, wanted: Window) -> records.Scene:
    """The scene of an experiment; the window says which pixels are wanted, and so where emulated threads of nanoBragg begin.

    Raises InputError for what is impossible; warns of what was assumed.
    """
    switches = experiment.sampling.c_parity
    for sentence in [*without_effect(experiment.detector, switches), *_vectors_without_effect(experiment)]:
        warnings.warn(sentence, stacklevel=3)
    placement = place(experiment.detector, experiment.beam, switches)
    vectors = crystal.orient(experiment.crystal, switches)
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    carried, fresh = orientations.table(experiment.crystal, experiment.goniometer, spindle, vectors, switches)
    electric = polarization_axis(experiment.detector, experiment.beam)
    source = sources.spread(experiment.beam, placement.beam, electric, switches)
    for sentence in sources.downstream(source, placement.beam):
        warnings.warn(sentence, stacklevel=3)
    layers, depth, absorption = sensor(experiment.detector, switches)
    samples = sampling.samples(experiment, placement, vectors, layers)
    water, material = background.material(experiment.background, "amorphous_ignored" in switches)
    panel = _panel(experiment, placement, depth, absorption, samples)
    steps = len(source.weight) * samples.oversample**2 * len(carried)
    beam = _beam(experiment, steps, len(carried), samples, water, material.value[0])
    rows, threads = placement.pixels[1], experiment.sampling.c_threads if "phi_carryover" in switches else 0
    passes = sampling.fresh_passes(rows, threads, wanted, panel, beam, source, samples)
    crystal_record = crystal.record(experiment.crystal, vectors, switches)
    box = structure.box(experiment.structure_factors, min(crystal_record[:3]))
    table = records.Orientations(carried, fresh, passes)
    built = records.Scene(panel, beam, material, source, crystal_record, box, table, samples)
    if "interpolation_latch" in switches and box.interpolate:
        return built._replace(structure=box._replace(latch=latch.find(built, wanted)))
    return built


def _vectors_without_effect(experiment: Experiment) -> list[str]:
    """A sentence for every vector of the beam and the spindle that belongs to the custom convention, in another."""
    if experiment.detector.convention == "custom":
        return []
    beam, spindle = experiment.beam, experiment.goniometer.spindle_axis
    stated = {"beam.direction": beam.direction, "beam.polarization_axis": beam.polarization_axis}
    stated["goniometer.spindle_axis"] = spindle
    why = f"the convention {experiment.detector.convention} has its own"
    return [f"{name} has no effect: {why}" for name, vector in stated.items() if vector is not None]


def _panel(experiment: Experiment, placement: Placement, depth: float, absorption: float, samples: records.Sampling):
    """The detector. Without a sensor C takes the capture fraction of no depth, 0, where it is taken anew each time (P2)."""
    vectors = (placement.origin, placement.fast, placement.slow, placement.normal, placement.beam)
    return records.Panel(
        *(float(x) for vector in vectors for x in vector),
        pixel=placement.pixel,
        distance=placement.distance,
        close_distance=placement.close_distance,
        layer=depth,
        absorption=absorption,
        sensor=depth > 0.0 or (samples.every_capture and samples.running_product),
        curved=experiment.detector.curved,
        point_pixel=experiment.detector.point_pixel,
    )


def _beam(
    experiment: Experiment, steps: int, lattices: int, samples: records.Sampling, water: float, relative: float
) -> records.Beam:
    """Polarization, scale and background: electrons^2 of the water, and that of its table at 0, relative to it.

    The scale is one number in double precision: its factors overflow in single.

    C's -oversample_polar polarizes even where polarization is switched off (P2). C starts its sum with the background, scaled
    once more (P19): in a running product (P2) that has to be so, else a share for every sample is the same.
    """
    beam = experiment.beam
    scale = background.photons_per_electron_squared(beam.fluence)
    twice_scaled = "water_scale" in experiment.sampling.c_parity
    once = water * relative * scale if twice_scaled and samples.running_product else 0.0
    each = 0.0 if once else water * lattices
    if twice_scaled:
        each *= scale / steps / (samples.layers if samples.last_capture else 1)
    return records.Beam(
        beam.polarized or (samples.every_polarization and samples.running_product),
        beam.polarization,
        *(float(x) for x in polarization_axis(experiment.detector, beam)),
        dmin=beam.dmin_A,
        photons=scale / steps,
        background_each=each,
        background_once=once,
        unlit_dark=twice_scaled,
    )
