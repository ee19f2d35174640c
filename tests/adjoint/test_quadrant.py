"""A quadrant of a detector that is not where it is stated to be, refined from noisy stills (A15, R1, R5)."""

import dataclasses

import numpy as np
import panelled
import pytest

import adjoint
from nbnumba import simulate
from nbnumba.setup.values import group_parameter

pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample")

WORDS = "-cell 70 80 90 75 85 95 -default_F 100 -lambda 1 -fluence 1e28 -N 20 -mosaic 0.3 -mosaic_domains 5 -dispersion 0.5 "
WORDS += "-dispsteps 3 -distance 100 -detpixels 128 -Xbeam 6.4 -Ybeam 6.4 -oversample 1"
PIXEL, MIDDLE, STOP = 0.1, 6.4, 1.0
"""The edge of a pixel, the beam's place along both edges of the detector, and the radius of the shadow of the beam stop, in
mm."""
OFF = {
    group_parameter("q1", "shift_fast_mm"): 0.3 * PIXEL,
    group_parameter("q1", "shift_slow_mm"): -0.3 * PIXEL,
    group_parameter("q1", "turn_normal_deg"): 0.01,
}
MISSET = "crystal.misset_deg"
MISSETS = np.array([(10.0, 20.0, 30.0), (-40.0, 15.0, 70.0), (25.0, -60.0, 5.0)])
OF_THE_IMAGE = {"image.scale": 1.0, "image.background": 1.0}
NAMES = [*OFF, MISSET, *OF_THE_IMAGE]
DRAWS = 50


def stated():
    """The experiment with four quadrants of two panels each, where they are stated to be."""
    return panelled.grid(WORDS, 4, 2, (64, 32), PIXEL)


def off(made):
    """The experiment with the panels of q1 where they are: put there one by one, and not by a motion of their group."""
    fast, slow, degrees = OFF.values()
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    centre = np.array([1.5 * MIDDLE, 0.5 * MIDDLE, 0.0])
    panels = [
        dataclasses.replace(
            panel,
            origin_mm=centre + turned @ (np.array(panel.origin_mm) - centre) + (fast, slow, 0.0),
            fast_axis=turned[:, 0],
            slow_axis=turned[:, 1],
        )
        if panel.path.startswith("q1/")
        else panel
        for panel in made.detector.panels
    ]
    return made.replace({"detector.panels": panels})


def lit(made):
    """Which pixels (panel, slow, fast) are not in the shadow of the beam stop."""
    corners = np.array([panel.origin_mm for panel in made.detector.panels]) - MIDDLE
    slow, fast = ((np.arange(n) + 0.5) * PIXEL for n in made.detector.panels[0].shape)
    fast, slow = corners[:, 0, None, None] + fast, corners[:, 1, None, None] + slow[:, None]
    return fast**2 + slow**2 > STOP**2


def stills(random):
    """Experiments whose orientations are off by some 0.03 degrees, the expected photons of each, and the mask of all."""
    made = stated()
    expected = [simulate(off(made).replace({MISSET: misset})) + OF_THE_IMAGE["image.background"] for misset in MISSETS]
    return [made.replace({MISSET: misset + random.normal(0.0, 0.03, 3)}) for misset in MISSETS], expected, lit(made)


def refined(starts, counts, mask, **keywords):
    """What is found of the quadrant, of the orientation of each still, and of the scale and background of all."""
    given = {"mask": mask, "per_image": [MISSET], "phases": "exact", **keywords}
    found = adjoint.refine(starts, counts, NAMES, **given)
    assert found.success and not found.diagnosis, (found.message, found.diagnosis)
    return found


@pytest.mark.long
def test_a_quadrant_is_recovered_within_its_uncertainties():
    """It is moved by 0.3 pixel along fast and along slow, and turned by 0.01 degrees, in three stills, drawn 50 times.

    Cell, wavelength, distance and the other quadrants are known; they say where the moved one is. Orientations, scale and
    background are refined with it, since no still is without them, and their pulls are as good a test of the refinement.
    """
    random = np.random.default_rng(5)
    starts, expected, mask = stills(random)
    of_quadrant, of_others = [], []
    for _ in range(DRAWS):
        counts = [random.poisson(mean).astype(float) for mean in expected]
        found = refined(starts, counts, mask)
        sigma = found.uncertainties
        # The motion is seen: it is some times what it is uncertain by.
        assert all(4.0 * sigma[name] < abs(true) for name, true in OFF.items())
        of_quadrant.append([(found.values[name] - true) / sigma[name] for name, true in OFF.items()])
        others = [(found.values[MISSET] - MISSETS) / sigma[MISSET]]
        others += [(found.values[name] - true) / sigma[name] for name, true in OF_THE_IMAGE.items()]
        of_others.append(np.concatenate([np.ravel(pull) for pull in others]))
    pulls, everything = np.array(of_quadrant), np.hstack((of_quadrant, of_others))
    assert pulls.shape == (DRAWS, 3) and everything.shape == (DRAWS, 14)
    assert np.abs(pulls).max() < 3.0 and np.abs(everything).max() < 4.5
    assert 0.9 < np.sqrt(np.mean(pulls**2)) < 1.1
    assert 0.9 < np.sqrt(np.mean(everything**2)) < 1.1
    assert (np.abs(np.mean(everything, axis=0)) < 4.0 / np.sqrt(DRAWS)).all()


def test_a_restraint_to_the_start_is_one_more_measurement():
    """Restraints of a quadrant to where it is stated have the weights of their sigmas, in the numbers and uncertainties."""
    random = np.random.default_rng(6)
    starts, expected, mask = stills(random)
    counts = [random.poisson(mean).astype(float) for mean in expected]
    free = refined(starts, counts, mask)
    # They pull by about two uncertainties, within which the loss is quadratic.
    sigmas = {name: float(np.sqrt(abs(true) * free.uncertainties[name] / 2.0)) for name, true in OFF.items()}
    held = refined(starts, counts, mask, restraints={name: (None, sigma) for name, sigma in sigmas.items()})
    assert free.names[: len(OFF)] == list(OFF) and all(held.start[name] == 0.0 for name in OFF)
    weights = np.array([sigmas[name] ** -2 if name in OFF else 0.0 for name in free.names])
    both = np.linalg.inv(np.linalg.inv(free.covariance) + np.diag(weights))
    by_hand = free.x - both @ (weights * free.x)
    sure = np.sqrt(np.diag(both))
    assert (np.abs(held.x - by_hand) < 0.1 * sure).all()
    np.testing.assert_allclose(np.sqrt(np.diag(held.covariance)), sure, rtol=0.02)
    assert (np.abs(held.x - free.x) > sure)[: len(OFF)].all()
