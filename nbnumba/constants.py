"""Physical constants, with the values that nanoBragg uses (specs/constants.md)."""

R_E_SQR_M2 = 7.94079248018965e-30
"""Thomson cross section per steradian: the classical electron radius squared, m^2."""

HC_EV_A = 12398.42
"""Photon energy times wavelength, eV A."""

AVOGADRO = 6.02214179e23
"""Molecules per mole."""

WATER_F = 2.57
"""Forward-scattering structure factor of a water molecule, electrons."""

WATER_G_PER_MOL = 18.0
"""Molar mass of water."""

WATER_G_PER_CM3 = 1.0
"""Density of water."""
