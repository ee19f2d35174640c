"""Lit patches of many blocks share tiles (F10a): pixels keep their bits, and derivatives those of any number of threads."""

import numba
import numpy as np
import pytest

import adjoint
from adjoint.backends import cpu
from adjoint.loops.bands import SEGMENT_COLUMNS
from nbnumba import Experiment, simulate
from nbnumba.loops.blocks import BLOCK_FAST, PATCHES
from nbnumba.setup import scene
from nbnumba.setup.culling import every_term
from nbnumba.simulate import render

WIDE = SEGMENT_COLUMNS + 3 * PATCHES * BLOCK_FAST // 2
"""More than a segment of blocks, and more than one row of blocks that are bounded together, which do not end with it."""
FLAGS = (
    f"-cell 70 80 90 75 85 95 -default_F 100 -N 10 -distance 300 -detpixels_x {WIDE} -detpixels_y 27 -pixel 0.05"
    " -misset 10 20 30 -fluence 1e27 -osc 0.5 -phisteps 5 -oversample 1"
).split()
KINDS = {"gauss": "-gauss_xtal", "square": "-tolerance 1e-3", "sources": "-gauss_xtal -dispersion 2 -dispsteps 4"}
PARAMETERS = ["detector.distance_mm", "crystal.a_A", "crystal.misset_deg"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=KINDS)
def experiment(request):
    """A wide image of which some patches are lit and some are dark."""
    return Experiment.from_args([*FLAGS, *KINDS[request.param].split()])


def test_wide_images_lack_no_more_than_the_tolerance(experiment):
    panels = [panel._replace(scene=every_term(panel.scene)) for panel in scene.panel_scenes(experiment)]
    image, whole = simulate(experiment), render(panels, (27, WIDE))
    lack = whole - image
    assert 0.05 < (image == 0.0).mean() < 0.95
    assert (lack <= max(experiment.sampling.tolerance, 1e-12) + 1e-12 * whole).all() and (lack >= -1e-12 * whole).all()


def test_wide_images_have_the_same_bits_in_a_region_and_under_a_mask(experiment):
    image, mask = simulate(experiment), np.random.default_rng(3).random((27, WIDE)) < 0.4
    part = simulate(experiment, roi=(5, WIDE - 7, 3, 25), mask=mask)
    inside = np.zeros_like(mask)
    inside[3:26, 5 : WIDE - 6] = mask[3:26, 5 : WIDE - 6]
    np.testing.assert_array_equal(part, np.where(inside, image, 0.0))


def test_derivatives_have_the_same_bits_for_any_threads_and_parts(experiment, monkeypatch):
    """With short calls a band is cut into parts, where segments end."""
    data = np.random.default_rng(0).poisson(simulate(experiment) + 0.1).astype(float)
    loss, found, threads = adjoint.losses.Poisson(data, background=0.1), set(), numba.get_num_threads()
    for steps in (cpu.STEPS_PER_CALL, 2**12):
        monkeypatch.setattr(cpu, "STEPS_PER_CALL", steps)
        for count in sorted({1, threads}):
            numba.set_num_threads(count)
            value, gradient = adjoint.value_and_grad(loss, experiment, PARAMETERS)
            normal = adjoint.normal_equations(loss, experiment, PARAMETERS)[2]
            found.add((value, *(part.tobytes() for part in gradient.values()), normal.tobytes()))
    numba.set_num_threads(threads)
    assert len(found) == 1


def test_losses_of_dark_pixels_count(experiment):
    """A derivative takes them in rows, or, where the image is wanted too, in tiles."""
    image = simulate(experiment)
    data = np.random.default_rng(0).poisson(image + 0.1).astype(float)
    loss = adjoint.losses.Poisson(data, background=0.1)
    value = adjoint.value_and_grad(loss, experiment, PARAMETERS)[0]
    assert value == pytest.approx(loss.value(image), rel=1e-12)
