"""The background: photons per steradian that water scatters isotropically (specs/forward.md, F12)."""

from nbnumba.constants import AVOGADRO, R_E_SQR_M2, WATER_F, WATER_G_PER_M3, WATER_G_PER_MOL
from nbnumba.experiment import Background


def water_electrons_squared(background: Background) -> float:
    """F12: sum of F^2 over the molecules of a cube of water of the given edge, electrons^2."""
    edge_m = background.water_um * 1e-6
    return WATER_F * WATER_F * edge_m * edge_m * edge_m * WATER_G_PER_M3 * AVOGADRO / WATER_G_PER_MOL


def photons_per_electron_squared(fluence: float) -> float:
    """F11: photons/sr of one electron^2 in a beam of that fluence."""
    return R_E_SQR_M2 * fluence
