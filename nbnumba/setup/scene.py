"""From an experiment to the records that a kernel reads: the one place where all of setup comes together."""

from nbnumba.experiment import Experiment
from nbnumba.setup import background, crystal, orientations, sampling, sources, structure
from nbnumba.setup.detector import Placement, place, polarization_axis, spindle_axis
from nbnumba.setup.sampling import Window
from nbnumba.stages import records


def build(experiment: Experiment, wanted: Window) -> records.Scene:
    """The scene of an experiment; the window says which pixels are wanted, and so where emulated threads of nanoBragg begin.

    Raises InputError for what is impossible; warns of what was assumed.
    """
    switches = experiment.sampling.c_parity
    placement = place(experiment.detector, experiment.beam, switches)
    vectors = crystal.orient(experiment.crystal, switches)
    spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
    carried, fresh = orientations.table(experiment.crystal, experiment.goniometer, spindle, vectors, switches)
    source = sources.spread(experiment.beam, placement.beam)
    samples = sampling.samples(experiment, placement, vectors)
    panel = _panel(experiment, placement)
    beam = _beam(experiment, len(source.weight) * samples.oversample**2 * len(carried), len(carried))
    rows, threads = placement.pixels[1], experiment.sampling.c_threads
    passes = sampling.fresh_passes(rows, threads, wanted, panel, beam, source, samples)
    cells = experiment.crystal
    return records.Scene(
        panel,
        beam,
        source,
        records.Crystal(cells.n_a, cells.n_b, cells.n_c),
        structure.box(experiment.structure_factors),
        records.Orientations(carried, fresh, passes),
        samples,
    )


def _panel(experiment: Experiment, placement: Placement) -> records.Panel:
    vectors = (placement.origin, placement.fast, placement.slow, placement.normal, placement.beam)
    return records.Panel(
        *(float(x) for vector in vectors for x in vector),
        pixel=placement.pixel,
        distance=placement.distance,
        close_distance=placement.close_distance,
        layer=0.0,
        absorption=0.0,
        curved=False,
        point_pixel=experiment.detector.point_pixel,
    )


def _beam(experiment: Experiment, steps: int, lattices: int) -> records.Beam:
    """Polarization, scale and background. The scale is one number in double precision: its factors overflow in single."""
    beam = experiment.beam
    scale = background.photons_per_electron_squared(beam.fluence)
    water = background.water_electrons_squared(experiment.background)
    twice_scaled = "water_scale" in experiment.sampling.c_parity
    return records.Beam(
        beam.polarized,
        beam.polarization,
        *(float(x) for x in polarization_axis(experiment.detector, beam)),
        dmin=0.0,
        photons=scale / steps,
        background_each=0.0 if twice_scaled else water * lattices,
        background_once=water * scale if twice_scaled else 0.0,
    )
