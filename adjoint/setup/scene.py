"""The mirror of nbnumba's scene: from the cotangent of a scene to the gradient by parameters, with all of setup (A0)."""

from collections.abc import Sequence

import numpy as np

from adjoint.parameters import LATTICE_MOTIONS, SOURCE_MOTIONS, names_of
from adjoint.setup import orientations, sources
from adjoint.setup.background import NO_MOTION, material_motions, scale_adj
from adjoint.setup.crystal import b_factors_adj, orient_adj, record_adj
from adjoint.setup.crystals import position_adj
from adjoint.setup.detector import position_detector_adj, sensor_adj
from adjoint.setup.panels import PanelMirror, plane_from_adj
from adjoint.stages.records import Cotangent, Motions
from nbnumba.setup.crystal import orient
from nbnumba.setup.crystals import BACKGROUND, Contribution
from nbnumba.setup.detector import Placement, Plane, beam_direction, polarization_axis, spindle_axis
from nbnumba.setup.orientations import own_turns
from nbnumba.setup.panels import planes_from
from nbnumba.stages.records import Scene
from nbnumba.statements import Statements

CELL_SPREADS = names_of("cell_spread")


def motions(contribution: Contribution, with_materials: bool = True) -> Motions:
    """Return how sources, lattices and the table of the background move, each of whose parts moves differently (A5a, A7b).

    contribution: to an image; the lattices are those that count there. with_materials: whether the table of the background is
    to move with the amounts of materials, which takes time.
    """
    experiment = contribution.experiment
    beam, detector, defects = experiment.beam, experiment.detector, experiment.sampling.defects
    source = sources.motions(beam, beam_direction(detector, beam), polarization_axis(detector, beam), defects)
    spindle = spindle_axis(detector, experiment.goniometer.spindle_axis)
    lattices = orientations.motions(experiment.crystal, experiment.goniometer, spindle, defects, contribution.phi_step)
    sweeps = orientations.sweeps(experiment.crystal, experiment.goniometer, defects, contribution.phi_step)
    stretches = orientations.stretches(experiment.crystal, len(contribution.phi_steps))
    material = material_motions(experiment) if with_materials else NO_MOTION
    spindle_motions = orientations.spindle_motions(experiment.crystal, spindle, defects)
    return Motions(source, *lattices, material, *stretches, sweeps, spindle_motions)


def pull(
    contribution: Contribution,
    placement: Placement,
    every_plane: tuple[Plane, ...],
    scenes: Sequence[Scene],
    cotangent: Cotangent,
) -> list[dict[str, np.ndarray]]:
    """Return for each panel the gradient by every scalar parameter (...), per unit in which it is stated, by name (A0).

    contribution: to an image. placement: of the detector. every_plane, scenes: those of its panels. cotangent: of any of these
    scenes. The beam of the Panel record is that of the convention, which no parameter moves. The background alone has no
    parameters of the crystal.
    """
    experiment = contribution.experiment
    shared = {
        **_crystal(experiment, not scenes[0].beam.fades, cotangent),
        **{name: cotangent.source[..., k] for k, name in enumerate(SOURCE_MOTIONS)},
        **{name: cotangent.cell_spreads[..., k] for k, name in enumerate(CELL_SPREADS)},
        "beam.polarization": cotangent.kahn,
    }
    for k, name in enumerate(LATTICE_MOTIONS):
        shared[name] = shared.get(name, 0.0) + cotangent.lattice_angles[..., k]
    if own_turns(experiment.crystal) is None:
        spindle = spindle_axis(experiment.detector, experiment.goniometer.spindle_axis)
        motions_of_vectors = orientations.spindle_motions(experiment.crystal, spindle, experiment.sampling.defects)[1:]
        shared["goniometer.phi_deg"] = cotangent.vectors @ motions_of_vectors.ravel()
    mirror = PanelMirror(experiment.detector, placement, every_plane) if experiment.detector.panels else None
    seen, gradients = planes_from(every_plane, contribution.position), []
    for number, scene in enumerate(scenes):
        plane = cotangent.origin, cotangent.normal, cotangent.close_distance
        origin_bar, normal_bar, position_bar = plane_from_adj(seen[number], *plane)
        own = cotangent
        if contribution.position.any():
            nothing = np.zeros_like(cotangent.close_distance)
            own = cotangent._replace(origin=origin_bar, normal=normal_bar, close_distance=nothing)
        gradient = {
            **shared,
            **scale_adj(experiment, scene, cotangent.photons, cotangent.background_each, cotangent.material),
            **(_panel(experiment, placement, mirror, number, own) if mirror else _whole_detector(experiment, placement, own)),
        }
        for name, by_place in position_adj(contribution, position_bar).items():
            gradient[name] = gradient.get(name, 0.0) + by_place
        gradients.append(gradient)
    if contribution.crystal == BACKGROUND:
        return [{n: bars for n, bars in gradient.items() if not n.startswith("crystal.")} for gradient in gradients]
    return gradients


def _whole_detector(experiment: Statements, placement: Placement, cotangent: Cotangent) -> dict[str, np.ndarray]:
    """Return the gradient by the parameters of a detector without panels, by name (A1a, A4a)."""
    detector, defects = experiment.detector, experiment.sampling.defects
    vectors = (cotangent.origin, cotangent.fast, cotangent.slow, cotangent.normal)
    distances = (cotangent.distance, cotangent.close_distance)
    return {
        **position_detector_adj(detector, placement, defects, *vectors, *distances),
        **sensor_adj(detector, defects, cotangent.layer, cotangent.absorption),
    }


def _panel(
    experiment: Statements, placement: Placement, mirror: PanelMirror, number: int, cotangent: Cotangent
) -> dict[str, np.ndarray]:
    """Return the gradient by the parameters of the frame of the panels, and of groups, by name (A1a, A1d)."""
    plane = (cotangent.origin, cotangent.fast, cotangent.slow, cotangent.normal, cotangent.close_distance)
    frame, of_groups = mirror.plane_adj(number, *plane)
    nothing = np.zeros_like(cotangent.close_distance)
    defects = experiment.sampling.defects
    return {**position_detector_adj(experiment.detector, placement, defects, *frame, nothing, nothing), **of_groups}


def _crystal(experiment: Statements, in_matrix: bool, cotangent: Cotangent) -> dict[str, np.ndarray]:
    """Return the gradient by cell, missetting, numbers of unit cells and B factors, by name (A7a, A8b, A9d).

    in_matrix: as for b_factors_adj. With gauss_metric the metric depends on the cell through the vectors and directly (P9).
    """
    crystal, defects = experiment.crystal, experiment.sampling.defects
    vectors = orient(crystal, defects)
    gradients, vectors_bar = record_adj(crystal, vectors, defects, cotangent.cells, cotangent.metric)
    by_vectors = cotangent.vectors.reshape(vectors_bar.shape) + vectors_bar
    b_factors = b_factors_adj(crystal, in_matrix, cotangent.fading, cotangent.disorder)
    for part in (orient_adj(crystal, defects, by_vectors), b_factors):
        for name, gradient in part.items():
            gradients[name] = gradients.get(name, 0.0) + gradient
    return gradients
