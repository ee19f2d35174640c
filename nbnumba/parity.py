"""nanoBragg.c's defects by name: each can be switched on, to get the image that C makes (specs/parity.md)."""

from collections.abc import Iterable

from nbnumba.errors import InputError, shown

SWITCHES: dict[str, str] = {
    "phi_carryover": "where phi is exactly 0 the lattice is not reset: it is the one that the step before left behind",
    "oversample_running_sum": "-oversample_thick/_polar/_omega multiply the whole sum so far at every step, not the new term",
    "pix0_ignored": "the values of -pix0_vector and -pix0_vector_mm never reach the geometry",
    "pivot_ignored": "-pivot has no effect except in the custom convention, where the last flag that implies a pivot wins",
    "near_point_ignored": "xds and dials ignore -Xbeam and -Xclose; mosflm, adxv and denzo ignore -Xclose and -ORGX",
    "normal_not_derived": "custom fast and slow axes without a normal keep the normal 1 0 0",
    "triclinic_angles": "a -cell with two or more oblique angles gets others: 0.04 degrees off at 75 85 95, 2 at 60 60 60",
    "mosaic_float32": "the angles of the mosaic domains are rounded to float32",
    "misset_random": "-misset random passes 90 as radians, and is not uniform",
    "capture_last_layer": "the sum over the sensor's layers is multiplied by the last layer's capture fraction",
    "thick_layers": "a sensor of thickness T in n layers has layers of T/(n-1), and at least two",
    "endless_depth_dark": "a thickness after -detector_abs inf gives a sensor that absorbs nothing, and a dark image",
    "interpolation_latch": "one index out of range turns interpolation off for the rest of the run",
    "interpolation_by_flag": "whether to interpolate is chosen from -N alone, before -samplesize says how many cells there are",
    "header_overflow": "an SMV header that needs more than 512 bytes says 512 all the same",
    "source_weights": "the weights of a -sourcefile are not used",
    "gauss_metric": "GAUSS and TOPHAT measure the distance to a reflection by |dr*| Na Nb Nc",
    "one_step_means_two": "-dispsteps 1 or -hdivsteps 1 with a range becomes 2",
    "header_twotheta": "TWOTHETA of an -img or -mask header is not used",
    "header_close_distance": "CLOSE_DISTANCE of an -img or -mask header overrules -distance",
    "amorphous_ignored": "-stol, -4stol, -Q, -density and -molecwt are read and not used",
    "documented_flags_ignored": "-detsize_x and _y, -hdiv, -vdiv, -xdet_vector, _y and _z do nothing; its README has them",
    "water_scale": "the water term, already in photons, is multiplied by r_e^2 fluence / steps again",
}
"""Name of each switch: what C does when it is on."""


def switches(wanted: Iterable[str] | str) -> frozenset[str]:
    """The set of switches that are on: a name, names, "all", or an empty collection.

    Raises InputError for an unknown name.
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
