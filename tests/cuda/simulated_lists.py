"""The lists of lattices that threads of a block make together in Numba's simulator, and images by them; test_simulator.py runs
this."""

import sys
from types import FunctionType

import numpy as np
import pytest
from cards import share_memory_once
from numba import cuda

from nbnumba import Experiment, simulate
from nbnumba.backends import card, cuda_block
from nbnumba.backends import cuda as driver
from nbnumba.backends.binding import bind, stages
from nbnumba.backends.cuda_block import block_words
from nbnumba.loops import blocks, indices, interpolation, lattices, patches
from nbnumba.loops import rows as row_names
from nbnumba.loops.cuda_patches import LENGTH, NEXT, NO_PIXEL
from nbnumba.loops.patches import GROUP, NOTHING, beam_of, is_culled, scattered
from nbnumba.loops.rows import D_X, D_Y, D_Z, ROWS_END, TILE
from nbnumba.setup import sampling, scene
from nbnumba.simulate import with_options
from nbnumba.stages.culling import directions_in_box

if card.SIMULATED:
    share_memory_once()

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.usefixtures("dirty_memory"),
    pytest.mark.skipif(not card.SIMULATED, reason="on a card a block is a warp of 32 threads, whose ballots make the list"),
]

SHARP = "-cell 60 70 80 80 95 100 -default_F 10 -misset 10 20 30 -lambda 1.1 -N 30 -fluence 1e26 -nointerpolate -distance 60 "
SHARP += "-pixel 0.1 -detpixels_x 18 -detpixels_y 9 -oversample 1 -Xbeam 20 -Ybeam 15 -mosaic 0.5 "
CULLED = {
    "gauss": "-gauss_xtal -mosaic_domains 20",
    "square": "-tolerance 0.01 -mosaic_domains 20 -N 60",
    "round": "-round_xtal -N 60 -tolerance 1e-4 -mosaic_domains 20",
    "top hat": "-tophat_spots -N 8 -mosaic_domains 20",
    "more lattices than are asked together": "-gauss_xtal -mosaic_domains 160",
    "sources and sub-pixels": "-gauss_xtal -dispersion 1 -dispsteps 2 -oversample 2 -mosaic_domains 20 -detpixels_y 4",
    "layers, water, resolution": "-gauss_xtal -detector_thick 400 -detector_abs 200 -detector_thicksteps 2 -water 1 -dmin 2 "
    "-oversample_thick -mosaic_domains 20",
    "interpolated": "-gauss_xtal -interpolate -mosaic_domains 20",
}
CASES = [(name, "double") for name in CULLED] + [("gauss", precision) for precision in ("mixed", "paired", "single")]
LISTED = np.array([[h, k, l] for h in range(-20, 21) for k in range(-20, 21) for l in range(-8, 24)])
MASK = np.random.default_rng(3).random((9, 18)) < 0.4
MASK[:, 8:12] = False


@pytest.fixture(autouse=True)
def waiting_is_short():
    """Threads that wait hand over at once: the simulator's threads are Python's, of which one runs at a time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def made(name) -> Experiment:
    experiment = Experiment.from_args((SHARP + CULLED[name]).split())
    if name == "interpolated":
        amplitudes = np.random.default_rng(1).uniform(5.0, 50.0, len(LISTED))
        experiment = experiment.replace({"structure_factors.hkl": LISTED, "structure_factors.F": amplitudes})
    return experiment


def scene_of(experiment):
    experiment = with_options(experiment)
    return scene.build(experiment, sampling.window(experiment.detector.pixels, experiment.sampling.roi, None))


def image_of(monkeypatch, block, experiment, **keywords):
    """The image by blocks of that many pixels along the slow and the fast axis."""
    card.check()
    monkeypatch.setattr(cuda_block, "BLOCK", block)
    return simulate(experiment, backend="cuda", **keywords)


def near_always(crystal, vectors, vectors_reach, box):
    return wide(0)  # noqa: F821


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_images_do_not_depend_on_the_list(monkeypatch, name, precision):
    """Bits are those without a list, where a thread asks all lattices about its own pixel; and in double the CPU's numbers."""
    experiment = made(name)
    assert is_culled(scene_of(experiment))
    image = image_of(monkeypatch, (2, 4), experiment, precision=precision)
    if precision == "double":
        expected = simulate(experiment)
        np.testing.assert_allclose(image, expected, rtol=1e-11, atol=1e-11 * expected.max())
    assert image.max() > 0.0
    everything = FunctionType(near_always.__code__, vars(patches), "span_remoteness")
    monkeypatch.setattr(patches, "span_remoteness", everything)
    monkeypatch.setattr(driver, "kernel", driver.kernel.__wrapped__)
    assert image_of(monkeypatch, (2, 4), experiment, precision=precision).tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["gauss", "square", "more lattices than are asked together"])
def test_images_do_not_depend_on_blocks_regions_and_masks(monkeypatch, name):
    experiment = made(name)
    image = image_of(monkeypatch, (2, 4), experiment)
    for block in ((4, 8), (1, 16)):
        assert image_of(monkeypatch, block, experiment).tobytes() == image.tobytes()
        masked = image_of(monkeypatch, block, experiment, mask=MASK)
        assert masked.tobytes() == np.where(MASK, image, 0.0).tobytes()
    region = np.zeros_like(MASK)
    region[1:7, 3:15] = True
    masked = image_of(monkeypatch, (4, 4), experiment, roi=(3, 14, 1, 6), mask=MASK)
    assert masked.tobytes() == np.where(MASK & region, image, 0.0).tobytes()
    assert image[MASK & region].any()


# ---- the lists


def make_list(out, found, tiles, ray, panel, sampling, crystal, orientations):
    """Write to out[n] the n-th list that the block makes, and to found[n] its length and the group that comes next."""
    thread = cuda.threadIdx.x
    tile = tiles[thread]
    view = bound_rays(tile, panel, crystal, sampling)  # noqa: F821
    count, n = list_lattices(view, ray, crystal, orientations, 0), 0  # noqa: F821
    while count > 0:
        for i in range(thread, count, THREADS):  # noqa: F821
            out[n, i] = view[1].lattices[i]
        found[n, 0], found[n, 1] = view[1].found[LENGTH], view[1].found[NEXT]
        wait_for_block()  # noqa: F821
        count, n = list_lattices(view, ray, crystal, orientations, found[n, 1]), n + 1  # noqa: F821


def listing(block):
    """The kernel make_list for blocks of that many pixels."""
    own = {}
    names = driver.machine_words("double") | driver.one_pixel_rows(vars(row_names)) | driver.one_patch(True, by_energy=False)
    names |= block_words(own, block, driver.device_jit)
    loops = [indices, interpolation, lattices, blocks, patches]
    own |= driver.list_together(bind([*stages("double"), *loops], driver.device_jit, names))
    return driver.kernel_jit(make_list, own, "make_list")


def directions(rng, count, built):
    """Directions that are near that of a reflection of the first lattice."""
    cells, (incident, inverse) = built.orientations.lattice[0].reshape(3, 3), beam_of(0, built.sources)
    diffracted = incident + np.linalg.solve(cells, LISTED[LISTED.any(axis=1)].T).T / inverse
    off = np.abs(np.linalg.norm(diffracted, axis=1) - 1.0)
    vectors = diffracted[off.argmin()] + rng.normal(scale=2e-4, size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1)[:, np.newaxis]


@pytest.mark.parametrize("block", [(1, 1), (1, 2), (4, 2), (8, 8)])
@pytest.mark.parametrize("lattices_of", [1, 16, 17, 150, 700])
def test_the_list_has_the_near_lattices_in_order(block, lattices_of):
    """The lattices that are near the smallest box of the wanted pixels, each once, whatever the others point to."""
    built = scene_of(Experiment.from_args((SHARP + f"-gauss_xtal -mosaic 4 -mosaic_domains {lattices_of}").split()))
    threads, rng = block[0] * block[1], np.random.default_rng(lattices_of)
    tiles, wanted = np.zeros((threads, ROWS_END // TILE)), rng.random(threads) < 0.6
    wanted[threads // 2] = True
    d = np.where(wanted[:, np.newaxis], directions(rng, threads, built), [0.0, 0.0, 1.0])
    for axis, row in enumerate((D_X, D_Y, D_Z)):
        tiles[:, row // TILE] = d[:, axis]
    tiles[:, row_names.PIXEL_SLOW // TILE] = np.where(wanted, 3.0, NO_PIXEL)
    ray = beam_of(0, built.sources)
    out, found = np.full((100, threads * GROUP), -1), np.zeros((100, 2), dtype=int)
    listing(block)[1, threads](out, found, tiles, ray, built.panel, built.sampling, built.crystal, built.orientations)
    listed = [m for row, (length, _) in zip(out, found) for m in row[:length]]
    low, high = d[wanted].min(axis=0), d[wanted].max(axis=0)
    span = scattered(directions_in_box(tuple((low + high) / 2), tuple((high - low) / 2)), ray)
    table = built.orientations.lattice
    near = [patches.span_remoteness(built.crystal, tuple(row), NOTHING, span) <= built.crystal.most_remote for row in table]
    assert listed == list(np.flatnonzero(near)) and sum(near) > 0
    assert lattices_of == 1 or sum(near) < lattices_of
    assert (out[found[:, 0] == 0] == -1).all()
