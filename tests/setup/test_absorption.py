"""Attenuation depths of sensors from NIST's coefficients (F4b)."""

import math

import pytest

from nbnumba.constants import HC_EV_A
from nbnumba.setup.absorption import COEFFICIENTS, DENSITY, attenuation_um


@pytest.mark.parametrize("material", COEFFICIENTS)
def test_at_the_energies_of_the_table(material):
    """The depth is that of the coefficient; at an edge the larger coefficient counts from there on."""
    rows = COEFFICIENTS[material]
    for (energy, coefficient), (following, _) in zip(rows, rows[1:]):
        if energy < following:
            depth = 1e4 / (coefficient * DENSITY[material])
            assert attenuation_um(material, HC_EV_A / (1000.0 * energy * (1 + 1e-9))) == pytest.approx(depth, rel=1e-6)
    assert list(rows) == sorted(rows, key=lambda row: row[0])


def test_between_them_it_follows_a_power():
    low, high = 15.0, 20.0
    middle = attenuation_um("Si", HC_EV_A / (1000.0 * math.sqrt(low * high)))
    assert middle == pytest.approx(1e4 / (math.sqrt(10.34 * 4.464) * 2.33), rel=1e-12)


def test_what_is_not_known():
    assert attenuation_um("Pb", 1.0) is None and attenuation_um("Si", 100.0) is None and attenuation_um("Si", 0.01) is None
