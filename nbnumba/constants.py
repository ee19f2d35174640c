"""Physical constants, with the values that nanoBragg.c uses; specs/constants.md compares them with better ones."""

R_E_SQR_M2 = 7.94079248018965e-30
"""The squared classical electron radius r_e^2, which is Thomson's cross section, in m^2 per steradian (nanoBragg; F11)."""

HC_EV_A = 12398.42
"""Photon energy times wavelength, h c, in eV A (nanoBragg; CODATA 2018 has 12398.4198)."""

AVOGADRO = 6.02214179e23
"""Molecules per mole, in 1/mol (CODATA 2006, as nanoBragg; F12)."""

WATER_F = 2.57
"""Structure factor of a water molecule, taken at all angles as in forward scattering, in electrons (nanoBragg; F12)."""

AIR_PER_M3 = 2.503476e25
"""Molecules of air in a cubic metre, at 20 degrees C and 101325 Pa: p / (k T) (F12b)."""

ICE_CELL_A3 = 128.23486867
"""The volume of the unit cell of ice, in A^3: sqrt(3)/2 a^2 c, with a 4.497 A and c 7.322 A, at 100 K (F12c)."""

ICE_PER_CELL = 4
"""Molecules in the unit cell of ice (F12c)."""

ICE_SIZES_A = 10.0, 2000.0
"""The smallest and the largest crystallites of ice, in A: of a few cells, and those whose rings a table resolves (F12c)."""

WATER_G_PER_MOL = 18.0
"""Molar mass of water, in g/mol (nanoBragg; F12)."""

WATER_G_PER_CM3 = 1.0
"""Density of water, in g/cm^3 (nanoBragg; F12)."""
