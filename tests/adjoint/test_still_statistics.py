"""Uncertainties of stills over many draws, and that no wrong result is called right (S12); under 2 minutes."""

import numpy as np
import pytest
import still_problems as stills

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:sampling.oversample"),
    pytest.mark.filterwarnings("ignore:goniometer.phi_sampling"),
]

DRAWS = 14
SPECTRUM = "-dispersion 0.5 -dispsteps 9"


@pytest.mark.parametrize(
    ("amplitudes", "flags", "photons", "background"),
    [
        ("each", "", 300.0, 1.0),
        ("each", "", 10.0, 0.05),
        ("each", "", 300.0, 100.0),
        ("each", SPECTRUM, 300.0, 1.0),
        ("given", "", 300.0, 1.0),
        ("given", SPECTRUM, 300.0, 1.0),
    ],
)
def test_pulls(amplitudes, flags, photons, background):
    """Of all numbers together near 1, of each within what the draws tell; every result is a success and right."""
    every = []
    for draw in range(DRAWS):
        truth, data, random = stills.still(1000 + draw, photons, background, flags=flags)
        start = stills.spoiled(truth, random, known=amplitudes == "given")
        result = stills.refined([start], [data], amplitudes)
        assert result.success, (draw, result.message)
        every.append(stills.pulls(result, [truth]))
    rms = np.sqrt(np.nanmean(np.square(every), axis=0))
    whole = np.sqrt(np.nanmean(np.square(every)))
    print(f"{amplitudes} {flags} {photons} {background}: {whole:.3f}, each {rms.round(2)}")
    assert 0.8 < whole < 1.25
    spread = 5.0 / np.sqrt(2.0 * DRAWS)
    assert ((1.0 - spread < rms) & (rms < 1.0 + spread)).all()
    assert (np.abs(np.nanmean(every, axis=0)) < 4.0 / np.sqrt(DRAWS)).all()


@pytest.mark.parametrize("amplitudes", ["each", "given"])
@pytest.mark.parametrize("size", [3.0, 5.0, 10.0])
def test_far_starts_are_right_or_no_success(size, amplitudes):
    for draw in range(4):
        truth, data, random = stills.still(2000 + draw)
        start = stills.spoiled(truth, random, size, known=amplitudes == "given")
        result = stills.refined([start], [data], amplitudes, size=size)
        assert not result.success or np.nanmax(np.abs(stills.pulls(result, [truth]))) < 5.0, draw
