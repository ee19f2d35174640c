"""Counts as a miniCBF image of a PILATUS or an EIGER, written, with byte-offset compression (specs/formats.md)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import NO_SENSOR_UM, Geometry, PanelGeometry, along_the_beam
from nbnumba.geometry.rectangles import pixels_within

BAD = -1
"""The value of pixels that hold no measurement."""

SAME_POSITION = 1e-4
"""Part of a pixel, or of a unit vector, up to which the header's geometry is that of the image."""

_MATERIALS = {"Si": "Silicon", "CdTe": "CdTe"}
_START = b"\x0c\x1a\x04\xd5"
_BOUNDARY = "--CIF-BINARY-FORMAT-SECTION--"
_PADDING = 4095


class Family(NamedTuple):
    """A kind of detector: pixels of a module and of the gaps between modules, along fast and slow, and its sizes by name."""

    name: str
    module: tuple[int, int]
    gap: tuple[int, int]
    modules: dict[str, tuple[int, int]]

    def sizes(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The name and the numbers of pixels, fast and slow, of each detector of this kind."""
        for size, counts in self.modules.items():
            fast, slow = (n * pixels + (n - 1) * gap for n, pixels, gap in zip(counts, self.module, self.gap))
            yield f"{self.name} {size}", (fast, slow)


FAMILIES = (
    Family("PILATUS", (487, 195), (7, 17), {
        "100K": (1, 1), "200K": (1, 2), "300K": (1, 3), "300K-W": (3, 1), "1M": (2, 5), "2M": (3, 8), "6M": (5, 12),
    }),
    Family("EIGER", (1030, 514), (10, 37), {"500K": (1, 1), "1M": (1, 2), "4M": (2, 4), "9M": (3, 6), "16M": (4, 8)}),
    Family("EIGER2", (1028, 512), (12, 38), {"500K": (1, 1), "1M": (1, 2), "4M": (2, 4), "9M": (3, 6), "16M": (4, 8)}),
)  # fmt: skip
"""The detectors whose miniCBF files DIALS reads, by the modules along fast and slow."""


def detector_name(pixels: tuple[int, int]) -> str | None:
    """The detector that has so many pixels along fast and slow; None if there is none."""
    sizes = (size for family in FAMILIES for size in family.sizes())
    return next((name for name, size in sizes if size == pixels), None)


def check(geometry: Geometry, what: str = "-cbffile") -> None:
    """Raise InputError for a detector that no miniCBF is of: one of another size, of several panels, of rectangular pixels."""
    if len(geometry.panels) != 1:
        raise InputError(f"{what}: a detector of {len(geometry.panels)} panels is not allowed; allowed: one panel")
    panel = geometry.panels[0]
    if detector_name(panel.shape[::-1]) is None:
        known = ", ".join(f"{size[0]} x {size[1]}" for family in FAMILIES for _, size in family.sizes())
        size = f"{panel.shape[1]} x {panel.shape[0]} pixels"
        raise InputError(f"{what}: no PILATUS or EIGER has {size}; allowed (fast x slow): {known}")
    if panel.material not in (None, *_MATERIALS):
        allowed = ", ".join(_MATERIALS)
        raise InputError(f"{what}: a sensor of {panel.material} is not allowed in a miniCBF; allowed: {allowed}")


def losses(geometry: Geometry) -> list[str]:
    """What the header of a miniCBF cannot state of a geometry, which its readers therefore have differently."""
    panel, turn = geometry.panels[0], along_the_beam(geometry)
    fast, slow = turn @ panel.fast_axis, turn @ panel.slow_axis
    lost = []
    if max(abs(fast[2]), abs(slow[2])) > SAME_POSITION:
        lost.append("how the detector is turned")
    elif max(abs(fast - (1, 0, 0)).max(), abs(slow - (0, -1, 0)).max()) > SAME_POSITION:
        lost.append("the direction of its fast and slow axes to the spindle")
    if geometry.spindle_axis is not None and abs(turn @ geometry.spindle_axis - (1, 0, 0)).max() > SAME_POSITION:
        lost.append("the spindle axis")
    if panel.attenuation_um and not panel.material:
        lost.append("the attenuation depth of the sensor")
    if (panel.gain or 1.0) != 1.0:
        lost.append("the gain")
    unmeasured = geometry.mask[0] if geometry.mask else np.zeros(panel.shape, dtype=bool)
    if (pixels_within(panel.masked, panel.shape) & ~unmeasured).any():
        lost.append("which pixels are masked")
    return lost


def write(path: files.PathName, pixels: np.ndarray, geometry: Geometry, what: str = "-cbffile") -> None:
    """Write counts (slow, fast), whole numbers of 32 bits, with the geometry that the header can state.

    Pixels that the mask of the geometry excludes are BAD. Raises InputError as check() does.
    """
    check(geometry, what)
    counts = np.array(pixels, dtype=np.int32)
    for bad in geometry.mask or ():
        counts[bad] = BAD
    data = byte_offset(counts)
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
    lines = [
        "###CBF: VERSION 1.5, nbnumba",
        "",
        "data_image",
        "",
        '_array_data.header_convention "PILATUS_1.2"',
        "_array_data.header_contents",
        ";",
        *header(geometry),
        ";",
        "",
        "_array_data.data",
        ";",
        _BOUNDARY,
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(data)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {digest}",
        f"X-Binary-Number-of-Elements: {counts.size}",
        f"X-Binary-Size-Fastest-Dimension: {counts.shape[1]}",
        f"X-Binary-Size-Second-Dimension: {counts.shape[0]}",
        f"X-Binary-Size-Padding: {_PADDING}",
        "",
        "",
    ]
    with files.replacing(path, what) as stream:
        stream.write("\r\n".join(lines).encode("ascii") + _START + data)
        stream.write(bytes(_PADDING) + f"\r\n{_BOUNDARY}--\r\n;\r\n\r\n".encode("ascii"))


def header(geometry: Geometry) -> list[str]:
    """The lines of the header. Distance and beam centre are those of a detector that is perpendicular to the beam."""
    panel, scan = geometry.panels[0], geometry.scan
    distance_mm, (fast, slow) = _crossing(geometry, panel)
    start, width = (0.0, 0.0) if scan is None else (scan.phi_deg, scan.width_deg)
    material = _MATERIALS[panel.material or "Si"]
    cutoff = 2**31 - 1 if panel.trusted_max is None else int(panel.trusted_max) + 1
    wavelength = geometry.wavelength_A or 0.0
    return [
        f"# Detector: {detector_name(panel.shape[::-1])}, S/N 00-0000 simulated",
        "# 1970-01-01T00:00:00.000",
        f"# Pixel_size {_exact(panel.pixel_fast_mm / 1000)} m x {_exact(panel.pixel_slow_mm / 1000)} m",
        f"# {material} sensor, thickness {_exact((panel.thickness_um or NO_SENSOR_UM) * 1e-6)} m",
        "# Exposure_time 1.0000000 s",
        "# Exposure_period 1.0000000 s",
        "# Tau = 0 s",
        f"# Count_cutoff {cutoff} counts",
        f"# Threshold_setting: {HC_EV_A / wavelength / 2:.0f} eV",
        f"# N_excluded_pixels = {sum(int(bad.sum()) for bad in geometry.mask or ())}",
        f"# Wavelength {_exact(wavelength)} A",
        f"# Detector_distance {_exact(distance_mm / 1000)} m",
        f"# Beam_xy ({_exact(fast)}, {_exact(slow)}) pixels",
        f"# Start_angle {_exact(start)} deg.",
        f"# Angle_increment {_exact(width)} deg.",
        f"# Polarization {geometry.polarization_fraction or 0.0:.6g}",
        f"# Phi {_exact(start)} deg.",
        f"# Phi_increment {_exact(width)} deg.",
        "# Oscillation_axis PHI",
    ]


def _exact(value: float) -> str:
    """A number with so many digits that rounding in the last ones is invisible."""
    return f"{value:.12g}"


def _crossing(geometry: Geometry, panel: PanelGeometry) -> tuple[float, tuple[float, float]]:
    """The distance of the plane of a panel in mm, and where the beam meets it, or its nearest point, in pixels."""
    direction = np.array([1.0, 0.0, 0.0]) if geometry.beam_direction is None else geometry.beam_direction
    normal = panel.normal if panel.origin_mm @ panel.normal > 0.0 else -panel.normal
    distance, obliquity = float(panel.origin_mm @ normal), float(direction @ normal)
    point = distance / obliquity * direction if obliquity > 1e-3 else distance * normal
    spot = point - panel.origin_mm
    return distance, (float(spot @ panel.fast_axis) / panel.pixel_fast_mm, float(spot @ panel.slow_axis) / panel.pixel_slow_mm)


_CODES = ((b"", 1), (b"\x80", 2), (b"\x80\x00\x80", 4), (b"\x80\x00\x80\x00\x00\x00\x80", 8))
"""How differences are encoded: the bytes that announce their width, and the width in bytes."""


def byte_offset(counts: np.ndarray) -> bytes:
    """Integers of 32 bits in the byte-offset compression of CBF: each as its difference from the one before.

    A difference takes one byte; 0x80 announces one of two bytes, 0x8000 after that one of four, and 0x80000000 one of eight.
    """
    steps = np.diff(counts.ravel().astype(np.int64), prepend=0)
    size = np.abs(steps)
    lengths = np.where(size <= 127, 1, np.where(size <= 32767, 3, np.where(size <= 2**31 - 1, 7, 15)))
    ends = np.cumsum(lengths)
    encoded = np.zeros(int(ends[-1]), dtype=np.uint8)
    starts = ends - lengths
    for prefix, width in _CODES:
        chosen = lengths == len(prefix) + width
        where, values = starts[chosen], steps[chosen].astype(f"<i{width}")
        for position, byte in enumerate(prefix):
            encoded[where + position] = byte
        digits = values.view(np.uint8).reshape(-1, width)
        for position in range(width):
            encoded[where + len(prefix) + position] = digits[:, position]
    return encoded.tobytes()
