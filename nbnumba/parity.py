"""The defects of nanoBragg.c by name. Each can be switched on, to get the image that C makes (specs/parity.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from nbnumba.errors import InputError, shown


def _switch(meaning: str) -> bool:
    """A field of Defects, False by default. meaning: what C does, and the program too where the field is True."""
    return field(default=False, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Defects:
    """Which defects of nanoBragg.c are reproduced. c_threads: the number of threads of that run of C, for phi_carryover."""

    phi_carryover: bool = _switch("where phi is exactly 0, the lattice is not reset, and remains that of the phi step before")
    oversample_running_sum: bool = _switch(
        "-oversample_thick/_polar/_omega multiply the whole sum so far at every step, not the new term"
    )
    pix0_ignored: bool = _switch("the values of -pix0_vector and -pix0_vector_mm never reach the geometry")
    pivot_ignored: bool = _switch(
        "-pivot has no effect except in the custom convention, where the last flag that implies a pivot wins"
    )
    near_point_ignored: bool = _switch(
        "xds and dials ignore -Xbeam and -Xclose; mosflm, adxv and denzo ignore -Xclose and -ORGX"
    )
    normal_not_derived: bool = _switch("custom fast and slow axes without a normal keep the normal 1 0 0")
    triclinic_angles: bool = _switch(
        "a -cell with two or more oblique angles has other angles: 0.04 degrees off at 75 85 95, 2 at 60 60 60"
    )
    mosaic_float32: bool = _switch("the angles of the mosaic domains are rounded to float32")
    misset_random: bool = _switch("-misset random passes 90 degrees as radians, and the orientations are not uniform")
    capture_last_layer: bool = _switch("the sum over the sensor's layers is multiplied by the last layer's capture fraction")
    thick_layers: bool = _switch("a sensor of thickness T in n layers has layers of T/(n-1), and at least two of them")
    endless_depth_dark: bool = _switch(
        "a thickness after -detector_abs inf gives a sensor that absorbs nothing, and so a dark image"
    )
    interpolation_latch: bool = _switch("one index out of range turns interpolation off for the rest of the run")
    interpolation_by_flag: bool = _switch(
        "whether to interpolate is chosen from -N alone, before -samplesize says how many cells there are"
    )
    header_overflow: bool = _switch("an SMV header that needs more than 512 bytes states a length of 512 all the same")
    source_weights: bool = _switch("the weights of a -sourcefile are not used")
    gauss_metric: bool = _switch("the shapes GAUSS and TOPHAT measure the distance to a reflection by |dr*| Na Nb Nc")
    one_step_means_two: bool = _switch("-dispsteps 1, -hdivsteps 1 or -vdivsteps 1 with a range becomes 2 steps")
    header_twotheta: bool = _switch("TWOTHETA of an -img or -mask header is not used")
    header_close_distance: bool = _switch("CLOSE_DISTANCE of an -img or -mask header overrules -distance")
    amorphous_ignored: bool = _switch("-stol, -4stol, -Q, -density and -molecwt are read and not used")
    documented_flags_ignored: bool = _switch(
        "-detsize_x and _y, -hdiv, -vdiv, -xdet_vector, _y and _z of its README have no effect"
    )
    water_scale: bool = _switch("the water term, which is already in photons, is multiplied by r_e^2 fluence / steps again")
    c_threads: int = 1

    @classmethod
    def named(cls, wanted: Iterable[str] | str, c_threads: int = 1) -> Defects:
        """The defects of a name, of names, of "all", or of an empty collection. Raises InputError for an unknown name."""
        try:
            names = [wanted] if isinstance(wanted, str) else list(wanted)
        except TypeError:
            raise InputError(f"sampling.c_parity: {shown(wanted)} is no switch; allowed: all, {', '.join(SWITCHES)}") from None
        if names == ["all"]:
            names = list(SWITCHES)
        for name in names:
            if not isinstance(name, str) or name not in SWITCHES:
                raise InputError(f"sampling.c_parity: {shown(name)} is no switch; allowed: all, {', '.join(SWITCHES)}")
        return cls(**dict.fromkeys(names, True), c_threads=c_threads)

    @property
    def names(self) -> frozenset[str]:
        """The names of the defects that are reproduced."""
        return frozenset(name for name in SWITCHES if getattr(self, name))


SWITCHES: dict[str, str] = {f.name: f.metadata["meaning"] for f in fields(Defects) if "meaning" in f.metadata}
"""The name of each switch, and what C does, in a sentence that `nbnumba explain` prints."""

NO_DEFECTS = Defects()
"""Spec mode: the image as it should be."""
