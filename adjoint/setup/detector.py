"""The mirror of nbnumba's detector: from cotangents of a placed detector and its sensor to those of its fields (A1a, A4a)."""

import numpy as np

from adjoint.geometry.rotations import about_axis_adj, about_xyz_adj
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis, about_xyz, radians
from nbnumba.parity import Defects
from nbnumba.setup.conventions import CONVENTIONS, Convention, to_detector
from nbnumba.setup.detector import Placement, honours_pix0, pivot_of, sensor, sizes, twotheta_axis
from nbnumba.setup.values import BEAM_CENTRE, NEAR_POINT
from nbnumba.statements import Detector


def position_detector_adj(
    detector: Detector,
    placement: Placement,
    defects: Defects,
    origin_bar: np.ndarray,
    fast_bar: np.ndarray,
    slow_bar: np.ndarray,
    normal_bar: np.ndarray,
    distance_bar: np.ndarray,
    close_distance_bar: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the cotangents of the fields that place the detector, in mm and degree, by name (A1a).

        F1a: f, s, n = A f', A s', A n';    o = A o' (pivot sample), D i - F f - S s (pivot beam)
             close_distance = o . n,    distance = close_distance / r,    A = W T,    r = i . T n'
        A1a: o_bar += c_bar n,    n_bar += c_bar o,    c_bar = close_distance_bar + distance_bar / r
             A_bar = (sum of v_bar v^T) A,    W_bar = A_bar T^T,    T_bar = W^T A_bar + r_bar i n'^T

    placement: that of the detector. defects: those of C that are reproduced. origin_bar (..., 3), close_distance_bar and
    distance_bar (...): in m. fast_bar, slow_bar, normal_bar (..., 3): of unit axes. The sum is over the vectors v that turn
    with the detector. A dash marks a vector before it is turned. A distance or beam centre that does not count, by the rules of
    F1a, has 0. Where no distance is stated, or no form of a beam centre, the derivative is by the value that the detector has,
    as if it were stated.
    """
    degrees = (detector.rotx_deg, detector.roty_deg, detector.rotz_deg)
    turn = about_xyz(degrees)
    axis, angle = twotheta_axis(detector), radians(detector.twotheta_deg)
    swing = about_axis(axis, angle)
    facing = placement.normal @ swing
    ratio = placement.beam @ facing

    near_bar = close_distance_bar + distance_bar / ratio
    ratio_bar = -distance_bar * placement.close_distance / ratio**2
    origin_bar = origin_bar + near_bar[..., None] * placement.normal
    normal_bar = normal_bar + near_bar[..., None] * placement.origin

    stated_bar, more = _distance_adj(detector, defects, placement, ratio, origin_bar)
    # (v_bar v^T) W T = v_bar v'^T, because v = W T v'.
    turned_bar = _turned_adj(detector, defects, placement, origin_bar, fast_bar, slow_bar, normal_bar) @ (swing @ turn)
    # r = i . T n' depends on the rotations of T, not on the swing: T n' = W^T n, n' = T^T W^T n.
    turn_bar = swing.T @ turned_bar + (ratio_bar + more)[..., None, None] * np.outer(placement.beam, facing @ turn)
    rotations = about_xyz_adj(degrees, turn_bar)
    swing_bar = about_axis_adj(axis, angle, turned_bar @ turn.T) / DEGREES_PER_RADIAN
    return {
        "detector.distance_mm": stated_bar,
        **_centre_adj(detector, defects, placement, origin_bar),
        **{f"detector.rot{axis}_deg": rotations[..., k] for k, axis in enumerate("xyz")},
        "detector.twotheta_deg": swing_bar,
    }


def _turned_adj(detector: Detector, defects: Defects, placement: Placement, origin_bar, fast_bar, slow_bar, normal_bar):
    """Return the sum of v_bar v^T (..., 3, 3) over the vectors v that turn with the detector (A1a).

    Pivot sample: f, s, n and o. Pivot beam: f, s and n, where o = D i - F f - S s follows f and s.
    """
    if pivot_of(detector, defects) == "sample":
        vectors, bars = (
            [placement.fast, placement.slow, placement.normal, placement.origin],
            [fast_bar, slow_bar, normal_bar, origin_bar],
        )
    else:
        spot = to_detector(
            CONVENTIONS[detector.convention], placement.xbeam, placement.ybeam, placement.pixel, sizes(detector)[1]
        )
        vectors = [placement.fast, placement.slow, placement.normal]
        bars = [fast_bar - spot[0] * origin_bar, slow_bar - spot[1] * origin_bar, normal_bar]
    return np.stack(bars, axis=-1) @ np.array(vectors)


def _distance_adj(detector: Detector, defects: Defects, placement: Placement, ratio: float, origin_bar: np.ndarray):
    """Return the cotangents of distance_mm and of the obliquity r (...), from that of the origin, in m (A1a).

        F1a: do = n dD0 (pivot sample), i dD (pivot beam),    D0 = |r| |distance|,    D = D0 / r = sign(r) |distance|
        A1a: distance_bar = (o_bar . n) D0 / distance,    r_bar = (o_bar . n) D0 / r         pivot sample
             distance_bar = (o_bar . i) D / distance                                         pivot beam

    D0 and D are the distances before the detector swings. A close distance that is stated makes D0 constant and D = D0 / r.
    """
    zero = np.zeros(origin_bar.shape[:-1])
    if honours_pix0(detector, defects):
        return zero, zero
    stated_mm = 1000 * placement.stated_distance if detector.distance_mm is None else detector.distance_mm
    if pivot_of(detector, defects) == "sample":
        moved = origin_bar @ placement.normal * placement.stated_close_distance
        return (moved / stated_mm, moved / ratio) if detector.close_distance_mm is None else (zero, zero)
    moved = origin_bar @ placement.beam * placement.stated_distance
    return (moved / stated_mm, zero) if detector.close_distance_mm is None else (zero, -moved / ratio)


def _centre_adj(detector: Detector, defects: Defects, placement: Placement, origin_bar: np.ndarray):
    """Return the cotangents of xbeam_mm and ybeam_mm, by name, from that of the origin (..., 3), in m (A1a).

        F1a: do = -f dF - s dS, whatever the pivot
        A1a: F_bar = -o_bar . f,    S_bar = -o_bar . s

    F or S is one of x and y, up to an offset, or the size of the detector less y.
    """
    convention = CONVENTIONS[detector.convention]
    upwards = {"fast": placement.fast, "slow": -placement.slow if convention.flipped else placement.slow}
    axes = ("slow", "fast") if convention.swapped else ("fast", "slow")
    cotangents = {}
    for name, axis in zip(BEAM_CENTRE, axes):
        counts = _counts(detector, convention, defects, name, axis)
        cotangents[f"detector.{name}"] = -(origin_bar @ upwards[axis]) / 1000 if counts else np.zeros(origin_bar.shape[:-1])
    return cotangents


def _counts(detector: Detector, convention: Convention, defects: Defects, name: str, axis: str) -> bool:
    """Return whether this beam centre, stated or by default, places the detector along its axis (F1a, P3, P5)."""
    if honours_pix0(detector, defects):
        return False
    near_ignored = defects.near_point_ignored
    if near_ignored and detector.convention != "custom" and pivot_of(detector, defects) == "sample":
        return False
    if near_ignored and convention.default_pixels is not None:
        return True
    near = any(getattr(detector, form) is not None for form in NEAR_POINT[axis])
    return getattr(detector, name) is not None or not near


def sensor_adj(
    detector: Detector, defects: Defects, layer_bar: np.ndarray, absorption_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the cotangents of the thickness T and the attenuation depth, both in um, by name (A4a).

        F4a: L = T / n,    mu = 1 / depth, or 1 / T where no depth is stated
        A4a: T_bar = L_bar / n,    depth_bar = -mu^2 mu_bar, which joins T_bar where no depth is stated

    defects: those of C that are reproduced. layer_bar (...): cotangent of the depth L of a layer, in m. absorption_bar (...):
    that of mu, in 1/m. n, the number of layers, is n - 1 with thick_layers (P14). Without a sensor both are 0.
    """
    _, layer, absorption = sensor(detector, defects)
    if layer == 0.0:
        return {"detector.thickness_um": 0.0 * layer_bar, "detector.attenuation_um": 0.0 * absorption_bar}
    thickness_bar = layer_bar * (layer / detector.thickness_um)
    depth_bar = -absorption_bar * absorption**2 * 1e-6
    if detector.attenuation_um is None:
        return {"detector.thickness_um": thickness_bar + depth_bar, "detector.attenuation_um": 0.0 * depth_bar}
    return {"detector.thickness_um": thickness_bar, "detector.attenuation_um": depth_bar}
