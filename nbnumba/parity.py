"""The defects of nanoBragg.c by name. Each can be switched on, to get the image that C makes (specs/parity.md)."""

from collections.abc import Iterable

from nbnumba.errors import InputError, shown

SWITCHES: dict[str, str] = {
    "phi_carryover": "where phi is exactly 0, the lattice is not reset, and remains that of the phi step before",
    "oversample_running_sum": "-oversample_thick/_polar/_omega multiply the whole sum so far at every step, not the new term",
    "pix0_ignored": "the values of -pix0_vector and -pix0_vector_mm never reach the geometry",
    "pivot_ignored": "-pivot has no effect except in the custom convention, where the last flag that implies a pivot wins",
    "near_point_ignored": "xds and dials ignore -Xbeam and -Xclose; mosflm, adxv and denzo ignore -Xclose and -ORGX",
    "normal_not_derived": "custom fast and slow axes without a normal keep the normal 1 0 0",
    "triclinic_angles": "a -cell with two or more oblique angles has other angles: 0.04 degrees off at 75 85 95, 2 at 60 60 60",
    "mosaic_float32": "the angles of the mosaic domains are rounded to float32",
    "misset_random": "-misset random passes 90 degrees as radians, and the orientations are not uniform",
    "capture_last_layer": "the sum over the sensor's layers is multiplied by the last layer's capture fraction",
    "thick_layers": "a sensor of thickness T in n layers has layers of T/(n-1), and at least two of them",
    "endless_depth_dark": "a thickness after -detector_abs inf gives a sensor that absorbs nothing, and so a dark image",
    "interpolation_latch": "one index out of range turns interpolation off for the rest of the run",
    "interpolation_by_flag": "whether to interpolate is chosen from -N alone, before -samplesize says how many cells there are",
    "header_overflow": "an SMV header that needs more than 512 bytes states a length of 512 all the same",
    "source_weights": "the weights of a -sourcefile are not used",
    "gauss_metric": "the shapes GAUSS and TOPHAT measure the distance to a reflection by |dr*| Na Nb Nc",
    "one_step_means_two": "-dispsteps 1, -hdivsteps 1 or -vdivsteps 1 with a range becomes 2 steps",
    "header_twotheta": "TWOTHETA of an -img or -mask header is not used",
    "header_close_distance": "CLOSE_DISTANCE of an -img or -mask header overrules -distance",
    "amorphous_ignored": "-stol, -4stol, -Q, -density and -molecwt are read and not used",
    "documented_flags_ignored": "-detsize_x and _y, -hdiv, -vdiv, -xdet_vector, _y and _z of its README have no effect",
    "water_scale": "the water term, which is already in photons, is multiplied by r_e^2 fluence / steps again",
}
"""The name of each switch, and what C does, in a sentence that `nbnumba explain` prints."""


def switches(wanted: Iterable[str] | str) -> frozenset[str]:
    """Return the set of switches that are on.

    wanted: a name, several names, "all", or an empty collection. Raises InputError for an unknown name.
    """
    try:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
    except TypeError:
        raise InputError(f"sampling.c_parity: {shown(wanted)} is no switch; allowed: all, {', '.join(SWITCHES)}") from None
    if names == ["all"]:
        return frozenset(SWITCHES)
    for name in names:
        if not isinstance(name, str) or name not in SWITCHES:
            raise InputError(f"sampling.c_parity: {shown(name)} is no switch; allowed: all, {', '.join(SWITCHES)}")
    return frozenset(names)
