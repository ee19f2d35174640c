"""Absorption of X-rays in the materials of sensors: attenuation depths from NIST's mass attenuation coefficients (F4b)."""

import math

from nbnumba.constants import HC_EV_A

DENSITY = {"Si": 2.33, "CdTe": 6.2, "GaAs": 5.32, "Ge": 5.323}
"""Density of each material, in g/cm^3, as NIST has it beside the coefficients."""

COEFFICIENTS: dict[str, tuple[tuple[float, float], ...]] = {
    "Si": (
        (3.0, 978.4), (4.0, 452.9), (5.0, 245.0), (6.0, 147.0), (8.0, 64.68), (10.0, 33.89), (15.0, 10.34), (20.0, 4.464),
        (30.0, 1.436), (40.0, 0.7012), (50.0, 0.4385), (60.0, 0.3207), (80.0, 0.2228), (100.0, 0.1835), (150.0, 0.1448),
    ),
    "CdTe": (
        (5.0, 839.2), (6.0, 528.6), (8.0, 249.2), (10.0, 138.1), (15.0, 46.57), (20.0, 21.44), (26.711, 9.834), (26.711, 29.43),
        (30.0, 21.82), (31.814, 18.73), (31.814, 34.92), (40.0, 19.3), (50.0, 10.67), (60.0, 6.542), (80.0, 3.019),
        (100.0, 1.671),
    ),
    "GaAs": (
        (3.0, 970.2), (4.0, 453.9), (5.0, 249.5), (6.0, 152.4), (8.0, 69.6), (10.0, 37.8), (10.3671, 34.25), (10.3671, 126.0),
        (11.0916, 105.9), (11.8667, 88.99), (11.8667, 168.5), (15.0, 92.2), (20.0, 42.58), (30.0, 13.97), (40.0, 6.262),
        (50.0, 3.365), (60.0, 2.042), (80.0, 0.9587), (100.0, 0.5598), (150.0, 0.2509),
    ),
    "Ge": (
        (3.0, 961.3), (4.0, 449.7), (5.0, 247.2), (6.0, 150.9), (8.0, 68.9), (10.0, 37.42), (11.1031, 28.11),
        (11.1031, 198.1), (15.0, 91.52), (20.0, 42.22), (30.0, 13.85), (40.0, 6.207), (50.0, 3.335), (60.0, 2.023),
        (80.0, 0.9501), (100.0, 0.555), (150.0, 0.2491),
    ),
}  # fmt: skip
"""Photon energy in keV, and mass attenuation coefficient in cm^2/g, of each material; twice at an edge."""


def attenuation_um(material: str, wavelength_A: float) -> float | None:
    """Return the depth at which 1/e of the photons are left, in um; None for an unknown material or energy (F4b).

    The coefficient is interpolated linearly in its logarithm over that of the energy.
    """
    energy_keV = HC_EV_A / wavelength_A / 1000.0
    table = COEFFICIENTS.get(material, ())
    for (low, at_low), (high, at_high) in zip(table, table[1:]):
        if low <= energy_keV < high:
            share = math.log(energy_keV / low) / math.log(high / low)
            coefficient = at_low * (at_high / at_low) ** share
            return 1e4 / (coefficient * DENSITY[material])
    return None
