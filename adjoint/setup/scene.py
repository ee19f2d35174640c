"""From the cotangent of a scene to the gradient by what a user states: the mirror of nbnumba's setup (specs/adjoint.md)."""

import numpy as np

from adjoint.parameters import LATTICE_MOTIONS, SOURCE_MOTIONS
from adjoint.setup import orientations, sources
from adjoint.setup.background import scale_adj
from adjoint.setup.crystal import orient_adj, record_adj
from adjoint.setup.detector import position_detector_adj, sensor_adj
from adjoint.stages.records import Cotangent, Motions
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import beam_direction, polarization_axis, spindle_axis
from nbnumba.stages.records import Scene
from nbnumba.statements import Statements


def motions(experiment: Statements) -> Motions:
    """How sources and lattices move with the parameters that move them one by one (A5a, A7b)."""
    beam, detector, switches = experiment.beam, experiment.detector, experiment.sampling.c_parity
    source = sources.motions(beam, beam_direction(detector, beam), polarization_axis(detector, beam), switches)
    spindle = spindle_axis(detector, experiment.goniometer.spindle_axis)
    return Motions(source, *orientations.motions(experiment.crystal, experiment.goniometer, spindle, switches))


def pull(experiment: Statements, scene: Scene, cotangent: Cotangent) -> dict[str, np.ndarray]:
    """The gradient by every scalar parameter (...,), per unit that it is stated in; `scene` is that of the experiment.

    The beam of the Panel record is the convention's: no parameter moves it.
    """
    switches = experiment.sampling.c_parity
    placement = (cotangent.origin, cotangent.fast, cotangent.slow, cotangent.normal)
    distances = (cotangent.distance, cotangent.close_distance)
    return {
        **_crystal(experiment, cotangent),
        **{name: cotangent.source[..., k] for k, name in enumerate(SOURCE_MOTIONS)},
        "beam.polarization": cotangent.kahn,
        **scale_adj(experiment, scene, cotangent.photons, cotangent.background_each),
        **position_detector_adj(experiment.detector, experiment.beam, switches, *placement, *distances),
        **sensor_adj(experiment.detector, switches, cotangent.layer, cotangent.absorption),
        **{name: cotangent.angles[..., k] for k, name in enumerate(LATTICE_MOTIONS)},
    }


def _crystal(experiment: Statements, cotangent: Cotangent) -> dict[str, np.ndarray]:
    """Cell, missetting and numbers of cells. The metric may depend on the cell both by the vectors and by itself (P9)."""
    crystal, switches = experiment.crystal, experiment.sampling.c_parity
    vectors = orient(crystal, switches)
    found, vectors_bar = record_adj(crystal, vectors, switches, cotangent.cells, cotangent.metric)
    by_vectors = cotangent.vectors.reshape(vectors_bar.shape) + vectors_bar
    for name, gradient in orient_adj(crystal, switches, by_vectors).items():
        found[name] = found.get(name, 0.0) + gradient
    return found
