"""Regions, the threads of nanoBragg and the pixels where they begin, and the samples of a pixel."""

import numpy as np
import oracle
import pytest

from nbnumba import Experiment, InputError
from nbnumba.setup import sampling, scene

ARGS = "-cell 70 80 90 75 85 95 -default_F 50 -N 5 -lambda 1.2 -distance 30 -oversample 1 "
ARGS += "-pixel 1.5 -detpixels_x 13 -detpixels_y 11 "
PHI = "-phi 0 -osc 1 -phisteps 3 "


@pytest.mark.parametrize(
    "roi, rows, columns",
    [
        (None, (0, 11), (0, 13)), ((0, 12, 0, 10), (0, 11), (0, 13)), ((3, 5, 7, 7), (7, 8), (3, 6)),
        ((-1, 5, -1, -1), (0, 11), (0, 6)), ((4, 99, 9, 99), (9, 11), (4, 13)), ((12, 12, 10, 10), (10, 11), (12, 13)),
    ],
)  # fmt: skip
def test_region(roi, rows, columns):
    assert sampling.region(roi, (13, 11)) == (rows, columns)


@pytest.mark.parametrize("roi", [(5, 4, 0, 1), (13, 20, 0, 1), (0, 1, 11, 12), (0, 1, 3, 2)])
def test_region_without_pixels(roi):
    with pytest.raises(InputError, match="roi: .*, within 0 12 0 10$"):
        sampling.region(roi, (13, 11))


@pytest.mark.parametrize("shape", [(13, 11), (11, 12), (11,), (11, 13, 1)])
def test_mask_of_another_shape(shape):
    with pytest.raises(InputError, match="mask"):
        sampling.window((13, 11), None, np.ones(shape))


def test_rows_of_threads():
    for rows in (1, 2, 7, 96, 100):
        for threads in (1, 2, 3, 5, 11, 120):
            blocks = sampling.thread_rows(rows, threads)
            assert [list(range(*block)) for block in blocks] == [
                list(block) for block in oracle.thread_rows(rows, threads)
            ]
    assert sampling.thread_rows(96, 5) == [(0, 20), (20, 39), (39, 58), (58, 77), (77, 96)]


def fresh(args, threads, mask=None, switches=("phi_carryover",)):
    """The positions where the emulated threads begin: {(row, fast pixel): number of the pass}."""
    experiment = Experiment.from_args([*args.split(), "-c_parity", *switches, "-c_threads", str(threads)])
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, mask)
    passes = scene.build(experiment, wanted).orientations.fresh_pass
    return {(row, int(fast)): int(number) for row, (fast, number) in enumerate(passes) if fast >= 0}


def first_pass(model, slow, fast):
    """The number of the first sample of a pixel that -dmin leaves, found by looking at each sample."""
    number = 0
    for layer in range(model.layers):
        for sub_slow in range(model.oversample):
            for sub_fast in range(model.oversample):
                diffracted = oracle.unit(model.position(slow, fast, layer, sub_slow, sub_fast))
                for incident, wavelength, _ in model.sources:
                    if not model.is_cut(oracle.scattering_vector(diffracted, incident, wavelength)):
                        return number
                    number += 1
    return None


EXTRA = [
    "", "-roi 3 9 2 8 ", "-roi 12 12 10 10 ", "-dmin 4 ", "-dmin 3 -oversample 3 ", "-dmin 1e5 -Xbeam 3 -Ybeam 4.1 ",
    "-dmin 3.3 -dispersion 30 -dispsteps 3 -oversample 2 ",
    "-dmin 3 -detector_thick 500 -detector_thicksteps 3 -twotheta 20 ",
    "-dmin 2 -curved_det ", "-dmin 2.5 -roi 0 4 0 10 -hdivrange 200 -hdivsteps 3 ",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("threads", [1, 3, 4, 40])
@pytest.mark.parametrize("masked", [False, True])
def test_threads_begin_where_the_first_sample_counts(extra, threads, masked):
    mask = np.random.default_rng(4).random((11, 13)) < 0.25 if masked else None
    model = oracle.Model(ARGS + PHI + extra, ("phi_carryover",), threads, mask=mask)
    expected = {pixel: first_pass(model, *pixel) for pixel in model.fresh_pixels}
    assert fresh(ARGS + PHI + extra, threads, mask) == expected


def test_those_beginnings_are_worth_testing():
    """Some threads begin inside a pixel, and some threads have no pixel."""
    positions = [fresh(ARGS + PHI + extra, 4) for extra in EXTRA[:7]]
    assert max(max(starts.values(), default=0) for starts in positions) >= 2
    assert {len(starts) for starts in positions} >= {0, 4}


def test_oversampling_is_nanobraggs_where_it_is_not_given():
    for text in (
        "-cell 100 -N 5",
        "-cell 100 -Na 2000 -Nb 10",
        "-cell 40 50 3000 -N 90",
        "-cell 100 -N 1000 -pivot sample",
    ):
        args = f"{text} -lambda 1 -distance 100 -pixel 0.1 -detpixels 4 -default_F 1"
        experiment = Experiment.from_args(args.split())
        built = scene.build(experiment, sampling.window((4, 4), None, None))
        assert built.sampling.oversample == oracle.geometry(args)["oversample"]
