"""The same experiment gives the same bits on any number of threads, in any region, chunk or mask."""



import numba
import numpy as np
import pytest

from nbnumba import Experiment, simulate
from nbnumba.backends import cpu

FAST, SLOW = 300, 150
ARGS = (
    "-cell 70 80 90 75 85 95 -misset 10 20 30 -lambda 1.2 -Na 5 -Nb 60 -Nc 7 -default_F 50 -distance 60 -oversample 2 "
    f"-detpixels_x {FAST} -detpixels_y {SLOW} -phi 0 -osc 1 -phisteps 2 -mosaic 0.5 -mosaic_domains 2 -polar 0.3"
).split()
REGIONS = [
    (first, last, 3, 5)
    for first in (0, 1, 126, 127, 128, 129)
    for last in (126, 127, 128, 129, 255, 299)
    if first <= last
]
REGIONS += [(0, 299, 0, 0), (0, 299, 149, 149), (0, 0, 0, 149), (299, 299, 0, 149), (128, 128, 77, 77), (0, 0, 0, 0)]


def random_regions(count):
    random = np.random.default_rng(5)
    for _ in range(count):
        width, height = (int(random.integers(1, n)) for n in (FAST + 1, 40))
        x, y = int(random.integers(0, FAST - width + 1)), int(random.integers(0, SLOW - height + 1))
        yield x, x + width - 1, y, y + height - 1


@pytest.fixture(scope="module")
def experiment():
    return Experiment.from_args(ARGS)


@pytest.fixture(scope="module")
def full(experiment):
    image = simulate(experiment)
    assert image.shape == (SLOW, FAST) and (image > 0).all()
    image.setflags(write=False)
    return image


@pytest.fixture
def threads():
    """A function that sets the number of threads, which is restored afterwards."""
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


def same_bits(one, other):
    return one.tobytes() == other.tobytes()


@pytest.mark.parametrize("options", [{}, {"c_parity": "all", "c_threads": 3}, {"roi": (5, 200, 9, 90)}])
def test_one_thread_and_two(experiment, threads, options):
    assert numba.config.NUMBA_NUM_THREADS >= 2
    images = []
    for count in (1, 2, 2):
        threads(count)
        images.append(simulate(experiment, **options))
    assert images[0].any()
    assert same_bits(images[0], images[1]) and same_bits(images[1], images[2])


@pytest.mark.parametrize("roi", [*REGIONS, *random_regions(25)])
def test_a_region_is_part_of_the_full_frame(experiment, full, roi):
    expected = np.zeros_like(full)
    inside = slice(roi[2], roi[3] + 1), slice(roi[0], roi[1] + 1)
    expected[inside] = full[inside]
    assert same_bits(simulate(experiment, roi=roi), expected)


@pytest.mark.parametrize("share", [0.5, 0.001, 1.0])
def test_a_mask_leaves_the_other_pixels_as_they_are(experiment, full, share):
    mask = np.random.default_rng(6).random(full.shape) < share
    assert same_bits(simulate(experiment, mask=mask), np.where(mask, full, 0.0))
    inside = np.zeros_like(mask)
    inside[4:80, 100:260] = True
    image = simulate(experiment, mask=mask.astype(np.int64) * 7, roi=(100, 259, 4, 79))
    assert same_bits(image, np.where(mask & inside, full, 0.0))


def test_a_mask_of_one_pixel_and_of_none(experiment, full):
    mask = np.zeros(full.shape, dtype=bool)
    assert not simulate(experiment, mask=mask).any()
    mask[77, 128] = True
    assert same_bits(simulate(experiment, mask=mask), np.where(mask, full, 0.0))


@pytest.mark.parametrize("options", [{}, {"c_parity": "all", "c_threads": 4}, {"roi": (0, 50, 10, 148)}])
def test_chunks(experiment, monkeypatch, options):
    whole, calls = simulate(experiment, **options), []
    monkeypatch.setattr(cpu, "STEPS_PER_CALL", 1)
    assert same_bits(simulate(experiment, **options, progress=lambda *rows_done: calls.append(rows_done)), whole)
    assert len(calls) > 1


def test_progress_is_told_rows_up_to_the_total(experiment, full, monkeypatch):
    monkeypatch.setattr(cpu, "STEPS_PER_CALL", 1)
    for options, rows in (({}, SLOW), ({"roi": (0, 9, 20, 119)}, 100)):
        calls = []
        simulate(experiment, **options, progress=lambda *rows_done, calls=calls: calls.append(rows_done))
        done = [rows_done for rows_done, _ in calls]
        assert {total for _, total in calls} == {rows}
        assert done == sorted(set(done)) and done[0] > 0 and done[-1] == rows and len(done) > 1


def test_an_exception_in_progress_is_passed_on(experiment, monkeypatch):
    monkeypatch.setattr(cpu, "STEPS_PER_CALL", 1)
    calls = []

    def progress(done, total):
        calls.append(done)
        raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        simulate(experiment, progress=progress)
    assert len(calls) == 1


def test_the_experiment_is_not_changed_by_rendering_it(experiment, full):
    simulate(experiment, c_parity="all", c_threads=2, roi=(0, 5, 0, 5))
    assert same_bits(simulate(experiment), full)
