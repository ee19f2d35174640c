"""What the header of an SMV image, given by -img or -mask, says about an experiment (specs/cli.md)."""

import math
from collections.abc import Mapping
from typing import Any

from nbnumba.cli.arguments import number

FIELDS = {
    "PIXEL_SIZE": "detector.pixel_mm",
    "DISTANCE": "detector.distance_mm",
    "CLOSE_DISTANCE": "detector.close_distance_mm",
    "WAVELENGTH": "beam.wavelength_A",
    "PHI": "goniometer.phi_deg",
    "OSC_RANGE": "goniometer.osc_deg",
    "TWOTHETA": "detector.twotheta_deg",
}
"""Keys that state one field each."""

SWITCHED_OFF = {"TWOTHETA": "header_twotheta"}
"""Keys that C reads and does not use."""


def statements(header: Mapping[str, str], convention: str, flipped: bool, switches: frozenset[str]) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that a header states; flipped: BEAM_CENTER_Y counts from the far edge (-mask).

    The beam centre of xds and dials is XDS_ORGX and XDS_ORGY where they are there, else, as of every other convention,
    BEAM_CENTER_X and BEAM_CENTER_Y.
    """
    found = {}
    for key, field in FIELDS.items():
        if key in header and SWITCHED_OFF.get(key) not in switches and _value(header, key) is not None:
            found[field] = _value(header, key)
    size = [_value(header, key) for key in ("SIZE1", "SIZE2")]
    if None not in size:
        found["detector.pixels"] = (int(size[0]), int(size[1]))
    origin = [_value(header, key) for key in ("XDS_ORGX", "XDS_ORGY")]
    if convention in ("xds", "dials") and None not in origin:
        return found | {"detector.orgx_pixels": origin[0], "detector.orgy_pixels": origin[1]}
    x, y = (_value(header, key) for key in ("BEAM_CENTER_X", "BEAM_CENTER_Y"))
    if x is not None:
        found["detector.xbeam_mm"] = x
    if y is not None:
        height = found.get("detector.pixel_mm", 0.1) * found.get("detector.pixels", (0, 0))[1]
        found["detector.ybeam_mm"] = height - y if flipped else y
    return found


def _value(header, key) -> float | None:
    value = number(header.get(key, "").strip())
    return None if value is None or math.isnan(value) else value
