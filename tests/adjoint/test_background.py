"""Background from water, or a flat or sloped one, does not affect what a refinement learns about spots (specs/refine.md,
R7)."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import readme_crystal
from refining import counts, crystal, moved

import adjoint
from adjoint.refinement import coarse_subset, frames
from adjoint.refinement.phases import Phase
from adjoint.refinement.spot_widths import spot_widths
from adjoint.refinement.unknowns import unknowns
from nbnumba import simulate

WATER, BELOW = (0.11, 0.3, 0.6, 1.0), (1.0, 30.0, 300.0, 1000.0)
"""Edges of the water (um; 1, 21, 170 and 770 photons in a pixel) and flat backgrounds (photons in a pixel)."""
SEEDS, HOME, WITHIN = 24, 22, 5.0
"""Of so many draws of noise at least so many end within so many standard uncertainties of the truth, and no other succeeds."""


@pytest.mark.parametrize("seed", [0, 5])
def test_a_crystal_in_water(seed):
    """This is README's refinement with a hundred times as much water, which scatters 770 photons into every pixel."""
    success, off = readme_crystal.refined_over_background("water", 1.0, seed)
    assert success and off < WITHIN


@pytest.fixture(scope="module")
def pool():
    """A pool of as many processes as there are cores, each with one thread."""
    readme_crystal.experiment(readme_crystal.TRUE)
    with ProcessPoolExecutor(min(2, multiprocessing.cpu_count()), multiprocessing.get_context("spawn")) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("kind, level", [*(("water", level) for level in WATER), *(("flat", level) for level in BELOW)])
def test_no_false_success_over_any_background(pool, kind, level):
    """24 draws of noise, at four levels of water and of a flat background."""
    ends = list(pool.map(readme_crystal.refined_over_background, *zip(*((kind, level, seed) for seed in range(SEEDS)))))
    false = [seed for seed, (success, off) in enumerate(ends) if success and not off < WITHIN]
    assert not false, ends
    assert sum(success for success, _ in ends) >= HOME, ends


# ---------------------------------------------------------------------------------------------- what phases see


DRY, WET = crystal(), crystal("-water 0.4")
MOVING = ["crystal.misset_deg", "crystal.a_A", "detector.distance_mm"]


def coarse(experiment, data, names=(), broader=1.0, **keywords):
    """The subset of a refinement of one image that a coarse phase sees, the unknowns of the refinement, and its start."""
    refined = unknowns([experiment], [*MOVING, *names], None)
    image = keywords.get("image")
    frame = frames.frame(experiment, data, image=image, parameters=refined.parameters, image_names=refined.image)
    start = frames.start_of([frame], refined)
    free = np.full(refined.count, -np.inf), np.full(refined.count, np.inf)
    restraints = start, np.zeros(refined.count)
    subset = coarse_subset.coarse_subset(
        [frame], refined, bounds=free, restraints=restraints, x=start, phase=Phase("", broader)
    )
    return subset, refined, start


def test_widths_of_spots_are_those_of_the_crystal():
    """They depend neither on the amount of water nor on the uniform part of the crystal's own image."""
    wanted = spot_widths(DRY, MOVING)
    np.testing.assert_array_equal(spot_widths(WET, MOVING), wanted)
    assert simulate(WET).min() > 0.1 * simulate(DRY).max()
    step = wanted[0]
    one, other = (simulate(moved(DRY, misset_x_deg=by)) for by in (-step / 2, step / 2))
    assert 0.5 < np.linalg.norm(one - other) / np.linalg.norm(one - one.mean()) < 1.5


@pytest.mark.parametrize("broader", [1.0, 2.0])
@pytest.mark.parametrize("more", ["", "-stol {}"])
def test_a_phase_sees_spots_alone(more, broader, tmp_path):
    """The image of a coarse phase has no water, and its data contain a flat background in place of the water's."""
    table = tmp_path / "water.stol"
    s = np.linspace(0.0, 0.6, 50)
    np.savetxt(table, np.column_stack([s, 2.0 + 3.0 * np.exp(-(((s - 0.12) / 0.03) ** 2))]))
    wet = crystal("-water 0.4 " + more.format(table))
    subset, refined, start = coarse(wet, simulate(wet) + 5.0, broader=broader, image={"background": 5.0})
    plain = coarse(DRY, simulate(DRY) + 5.0, broader=broader, image={"background": 5.0})[0]
    light = simulate(wet) - simulate(DRY)
    assert light.min() > 0.1 * simulate(DRY).max() and np.ptp(light) > 50.0
    (frame,), (wet_frame,), (dry_frame,) = subset.frames, subset.coarse_frames, plain.frames
    assert frame.experiment.background.water_um == 0.0
    assert wet_frame.water_factor == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(wet_frame.water_light, light, rtol=1e-9)
    assert np.abs(frame.data - dry_frame.data - np.mean(frame.data - dry_frame.data)).max() < 0.2 * np.ptp(light)
    np.testing.assert_allclose(subset.merged(refined, start, subset.start)[:5], start[:5], rtol=1e-12)


def test_what_a_phase_finds_of_the_light():
    """The amount of water, the fluence and the background follow from what the phase has found, even after a start that is
    far off."""
    wet = crystal("-water 0.2")
    data = simulate(wet) + 5.0
    start = wet.replace({"background.water_um": 0.1})
    subset, refined, x = coarse(start, data, ["background.water_um"], image={"background": 5.0})
    amount = refined.by_name(subset.merged(refined, x, subset.start))["background.water_um"]
    assert amount == pytest.approx(0.2, rel=0.1)
    start = wet.replace({"beam.fluence": wet.beam.fluence / 4.0})
    names = ["beam.fluence", "background.water_um", "image.background"]
    subset, refined, x = coarse(start, data, names, image={"background": 1.0})
    values = {name: float(np.squeeze(value)) for name, value in refined.by_name(subset.merged(refined, x, subset.start)).items()
              if name in names}  # fmt: skip
    assert values["beam.fluence"] == pytest.approx(wet.beam.fluence, rel=0.2)
    below = values.pop("image.background")
    assert (simulate(start.replace(values)) + below).mean() == pytest.approx(data.mean(), rel=0.1)


def test_counts_in_water_that_is_refined():
    """The amount of water is refined from half of its value, together with an orientation and a fluence."""
    wet = crystal("-water 0.4")
    data = counts(wet, below=0.0)
    start = moved(wet, misset_x_deg=0.15, misset_y_deg=-0.1, misset_z_deg=0.1).replace({"background.water_um": 0.2})
    done = adjoint.refine(start, data, ["crystal.misset_deg", "background.water_um", "beam.fluence"])
    assert done.success, (done.message, done.phases)
    truth = {name: np.array(wet.value(name)) for name in done.values}
    for name, value in done.values.items():
        assert (np.abs(value - truth[name]) < 4.0 * done.uncertainties[name]).all(), name
