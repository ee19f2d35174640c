"""Uncertainties of series over many draws, and that no wrong result is called right (S10); under 8 minutes on two cores."""

import numpy as np
import pytest
import series_problems as problems

from adjoint.refine_series import refine_series

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:sampling.oversample")]

CASES = [(0.03, 3.0), (0.03, 30.0), (1.0, 20.0), (1.0, 300.0), (30.0, 30.0), (30.0, 300.0), (1000.0, 100.0), (1000.0, 300.0)]
"""Photons per pixel of background, and those of bright spots."""

DRAWS = 6
"""Of each case: 13 numbers each make some 600 pulls of each kind of amplitudes, which hang together within a draw."""


def refined(made, data, amplitudes):
    return refine_series(problems.images_of(made, data), problems.NAMES, amplitudes=amplitudes, reach_deg=0.15)


@pytest.mark.parametrize("amplitudes", ["each", "given"])
def test_pulls(amplitudes):
    """Of numbers, between 0.9 and 1.1 together, and of each within what 48 draws tell; of factors likewise; all are right."""
    numbers, factors, wrong, failed = {}, [], [], 0
    for case, (background, photons) in enumerate(CASES):
        for draw in range(DRAWS):
            made, data, random = problems.series(1000 * case + draw, background, photons)
            result = refined(problems.spoiled(made, random), data, amplitudes)
            failed += not result.success
            deviations, of_factors = problems.pulls_by_name(result, made)
            if result.success and max(abs(value) for value in deviations.values()) > 5.0:
                wrong.append((background, photons, draw, deviations))
            for label, value in deviations.items():
                numbers.setdefault(label, []).append(value)
            factors.append(of_factors)
    count = len(CASES) * DRAWS
    assert not wrong
    assert failed <= 0.03 * count
    rms = {label: float(np.sqrt(np.mean(np.square(values)))) for label, values in numbers.items()}
    whole = np.sqrt(np.mean(np.square(np.concatenate(list(numbers.values())))))
    sizes = f"{amplitudes}: {whole:.3f} of numbers, {failed} without success of {count}"
    print(sizes, {label: round(value, 2) for label, value in rms.items()})
    assert 0.9 < whole < 1.1, rms
    spread = 5.0 / np.sqrt(2.0 * count)
    assert all(1.0 - spread < value < 1.0 + spread for value in rms.values()), rms
    if amplitudes == "each":
        of_factors = np.concatenate(factors)
        assert 0.85 < np.sqrt(np.mean(of_factors**2)) < 1.15
        assert abs(np.mean(of_factors)) < 0.2


@pytest.mark.parametrize("size", [2.5, 4.0, 10.0])
@pytest.mark.parametrize("background", [0.03, 1000.0])
def test_far_starts_are_right_or_no_success(size, background):
    for draw in range(3):
        made, data, random = problems.series(5000 + draw, background, 30.0 if background < 1.0 else 100.0)
        result = refined(problems.spoiled(made, random, size), data, "each")
        deviations, _ = problems.pulls_by_name(result, made)
        assert not result.success or max(abs(value) for value in deviations.values()) < 5.0


@pytest.mark.parametrize("background", [0.03, 1.0, 30.0, 1000.0])
def test_noise_and_other_crystals_are_no_success(background):
    for draw in range(2):
        made, data, random = problems.series(6000 + draw, background, 50.0)
        start = problems.spoiled(made, random)
        noise = [random.poisson(np.full(image.shape, background)).astype(np.float64) for image in data]
        assert not refined(start, noise, "each").success
        other = problems.series(7000 + draw, background, 300.0)[1]
        assert not refined(start, other, "each").success
