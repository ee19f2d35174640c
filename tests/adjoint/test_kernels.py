"""The parts of the derivative's kernels: the bits of numbers, and the loss of the pixels of a tile."""

import numpy as np
import pytest

from adjoint.backends.cpu import WORDS, sum_jit
from adjoint.backends.frexp import frexp
from adjoint.loops import pixels, rows, tile_sums
from adjoint.loops.pixels import PixelLoss
from adjoint.loops.rows import ALL_END, CURVATURE, DERIVATIVE, FAST, ORIGIN, TOTAL_BAR
from adjoint.loops.tile import Paths
from adjoint.stages import loss
from adjoint.stages.loss import GAUSSIAN
from nbnumba.backends.binding import bind, stage_jit
from nbnumba.backends.precision import words
from nbnumba.loops import indices
from nbnumba.loops.rows import PIXEL_FAST, PIXEL_SLOW, TILE, TOTAL


def test_fractions_and_powers_are_exact():
    powers = 2.0 ** np.arange(-1074, 1024)
    numbers = np.concatenate([powers, np.nextafter(powers, np.inf), np.nextafter(powers[1:], 0.0), [np.pi, 1e-310]])
    found = np.array([frexp(x) for x in numbers])
    np.testing.assert_array_equal(found, np.array(np.frexp(numbers)).T)


def test_pixels_that_do_not_count_get_nothing():
    """Pixels 10 to 99 of 100 form a tile. Some have no data, and lanes are left, whatever their photons and channels are."""
    parts = bind((rows, loss, indices), stage_jit, WORDS | words("double"))
    bound = bind((pixels,), stage_jit, bind((tile_sums,), sum_jit, parts))
    random, start, stop = np.random.default_rng(1), 10, 100
    data = random.uniform(0, 9, (2, stop))
    data[1, start + 3], data[:, start + 70] = np.nan, np.nan
    counts = np.zeros(TILE, bool)
    counts[: stop - start] = ~np.isnan(data[1, start:])
    tile, by_total = random.uniform(1, 9, ALL_END), random.uniform(1, 2, TILE)
    tile[PIXEL_SLOW : PIXEL_SLOW + TILE] = 1
    tile[PIXEL_FAST : PIXEL_FAST + TILE] = np.minimum(start + np.arange(TILE), stop - 1)
    photons = np.where(counts, tile[TOTAL : TOTAL + TILE], random.choice([np.nan, np.inf, 1.0], TILE))
    tile[TOTAL : TOTAL + TILE], tile[TOTAL_BAR : TOTAL_BAR + TILE] = photons, by_total
    channels = {first: np.where(counts, tile[first : first + TILE], np.inf) for first in (ORIGIN, FAST)}
    for first, row in channels.items():
        tile[first : first + TILE] = row
    pixel_loss = PixelLoss(np.zeros((0, 0), np.uint8), GAUSSIAN, data, np.full((2, stop), 0.5), np.zeros((0, 0, 0)))
    paths = Paths(True, True, True, True, False, False, False, np.array([*channels], np.uint64))
    value = bound["apply_loss"](tile, stop - start, pixel_loss, paths)
    by_sum = tile[DERIVATIVE : DERIVATIVE + TILE].copy()
    bound["apply_loss_to_photons"](tile, pixel_loss)
    off = np.where(counts, photons, 0.0)
    off[: stop - start] -= np.where(counts, 1.0, 0.0)[: stop - start] * np.nan_to_num(data[1, start:])
    assert value == pytest.approx(0.25 * np.sum(off**2), rel=1e-14)
    np.testing.assert_allclose(by_sum, np.where(counts, 0.5 * off * by_total, 0.0), rtol=1e-15)
    for first, row in {**channels, TOTAL_BAR: by_total, DERIVATIVE: 0.5 * off, CURVATURE: np.full(TILE, 0.5)}.items():
        np.testing.assert_allclose(tile[first : first + TILE], np.where(counts, row, 0.0), rtol=1e-15)
