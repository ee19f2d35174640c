"""Detector conventions: the axes of each, its pivot, and where its beam centre is measured from (specs/forward.md, F1a)."""

from typing import NamedTuple

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
MINUS_X, MINUS_Y, MINUS_Z = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)


class Convention(NamedTuple):
    """A convention's axes in the laboratory frame, its pivot, and its beam centre (F1a).

    beam, fast, slow, normal: unit vectors along the beam and of the detector. twotheta: the swing axis. polarization: the E
    vector. spindle: the axis of rotation of the crystal. pivot: "beam" or "sample". offset: by how many pixels the fast and
    slow coordinates of a beam centre (x, y) are larger. swapped: whether x is along slow and y along fast. flipped: whether y
    is counted from the far edge. default_pixels: where x and y lie by default, in half pixels beyond the middle of the
    detector; None: they are the point nearest to the crystal.
    """

    beam: tuple
    fast: tuple
    slow: tuple
    normal: tuple
    twotheta: tuple
    polarization: tuple
    spindle: tuple
    pivot: str
    swapped: bool = False
    flipped: bool = False
    offset: float = 0.0
    default_pixels: tuple[float, float] | None = None


CONVENTIONS = {
    "mosflm": Convention(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "beam", swapped=True, offset=0.5, default_pixels=(1.0, 1.0)),
    "denzo": Convention(X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "beam", swapped=True, default_pixels=(1.0, 1.0)),
    "adxv": Convention(Z, X, MINUS_Y, Z, MINUS_X, X, X, "beam", flipped=True, default_pixels=(1.0, -1.0)),
    "xds": Convention(Z, X, Y, Z, X, X, X, "sample"),
    "dials": Convention(Z, X, Y, Z, Y, Y, Y, "sample"),
    "custom": Convention(X, Z, MINUS_Y, X, Y, Z, Z, "beam"),
}


def to_detector(convention: Convention, x: float, y: float, pixel: float, slow_size: float) -> tuple[float, float]:
    """Return the fast and slow coordinates of a beam centre (x, y) (F1a).

    pixel: edge of a pixel. slow_size: size of the detector along slow. All are in one unit of length.
    """
    fast, slow = (y, x) if convention.swapped else (x, y)
    if convention.flipped:
        slow = slow_size - slow
    return fast + convention.offset * pixel, slow + convention.offset * pixel


def from_detector(convention: Convention, fast: float, slow: float, pixel: float, slow_size: float) -> tuple[float, float]:
    """Return the beam centre (x, y) at these fast and slow coordinates: the inverse of `to_detector` (F1a).

    pixel: edge of a pixel. slow_size: size of the detector along slow. All are in one unit of length.
    """
    fast, slow = fast - convention.offset * pixel, slow - convention.offset * pixel
    if convention.flipped:
        slow = slow_size - slow
    return (slow, fast) if convention.swapped else (fast, slow)
