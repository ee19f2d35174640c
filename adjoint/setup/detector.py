"""The mirror of nbnumba's detector: from a placed detector and its sensor to what is stated (specs/adjoint.md, A1a, A4a)."""

import numpy as np

from adjoint.geometry.rotations import about_axis_adj, about_xyz_adj
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN, about_axis, about_xyz, radians
from nbnumba.setup.conventions import CONVENTIONS, Convention, to_detector
from nbnumba.setup.detector import Placement, honours_pix0, pivot_of, position_detector, sensor, sizes, twotheta_axis
from nbnumba.setup.values import BEAM_CENTRE, NEAR_POINT
from nbnumba.statements import Beam, Detector


def position_detector_adj(
    detector: Detector,
    beam: Beam,
    switches: frozenset[str],
    origin_bar: np.ndarray,
    fast_bar: np.ndarray,
    slow_bar: np.ndarray,
    normal_bar: np.ndarray,
    distance_bar: np.ndarray,
    close_distance_bar: np.ndarray,
) -> dict[str, np.ndarray]:
    """Of a Placement (vectors (..., 3), distances (...,), m): of what places the detector (...,), per mm and degree (A1a).

    With o' the corner before the detector turns, A = W T, and r = i . T n':

        f, s, n = A f', A s', A n';    o = A o' or D i - F f - S s;    close_distance = o . n;    distance = close_distance / r

    It is the derivative for what is stated: 0 for a distance or beam centre that does not count, by the rules of F1a. Where no
    distance is stated, or no form of a beam centre, it is that by the value which the placement has, as if it were stated.
    """
    at, degrees = position_detector(detector, beam, switches), (detector.rotx_deg, detector.roty_deg, detector.rotz_deg)
    turn = about_xyz(degrees)
    axis, angle = twotheta_axis(detector), radians(detector.twotheta_deg)
    swing = about_axis(axis, angle)
    facing = at.normal @ swing
    ratio = at.beam @ facing

    near_bar = close_distance_bar + distance_bar / ratio
    ratio_bar = -distance_bar * at.close_distance / ratio**2
    origin_bar = origin_bar + near_bar[..., None] * at.normal
    normal_bar = normal_bar + near_bar[..., None] * at.origin

    stated_bar, more = _distance_adj(detector, switches, at, ratio, origin_bar)
    # The turned vectors times W T are those before the detector turns.
    turned_bar = _turned_adj(detector, switches, at, origin_bar, fast_bar, slow_bar, normal_bar) @ (swing @ turn)
    # r = i . T n' depends on the rotations of T, not on the swing: T n' = W^T n, n' = T^T W^T n.
    turn_bar = swing.T @ turned_bar + (ratio_bar + more)[..., None, None] * np.outer(at.beam, facing @ turn)
    rotations = about_xyz_adj(degrees, turn_bar)
    swing_bar = about_axis_adj(axis, angle, turned_bar @ turn.T) / DEGREES_PER_RADIAN
    return {
        "detector.distance_mm": stated_bar,
        **_centre_adj(detector, switches, at, origin_bar),
        **{f"detector.rot{axis}_deg": rotations[..., k] for k, axis in enumerate("xyz")},
        "detector.twotheta_deg": swing_bar,
    }


def _turned_adj(detector: Detector, switches: frozenset[str], at: Placement, origin_bar, fast_bar, slow_bar, normal_bar):
    """Sum of v_bar v^T (..., 3, 3) over the vectors v that turn with the detector.

    Pivot sample: f, s, n and o. Pivot beam: f, s and n; o = D i - F f - S s follows f and s.
    """
    if pivot_of(detector, switches) == "sample":
        vectors, bars = [at.fast, at.slow, at.normal, at.origin], [fast_bar, slow_bar, normal_bar, origin_bar]
    else:
        spot = to_detector(CONVENTIONS[detector.convention], at.xbeam, at.ybeam, at.pixel, sizes(detector)[1])
        vectors = [at.fast, at.slow, at.normal]
        bars = [fast_bar - spot[0] * origin_bar, slow_bar - spot[1] * origin_bar, normal_bar]
    return np.stack(bars, axis=-1) @ np.array(vectors)


def _distance_adj(detector: Detector, switches: frozenset[str], at: Placement, ratio: float, origin_bar: np.ndarray):
    """Of the origin: of distance_mm and of r, through the distances D and D0 before the swing.

        pivot sample: do = n dD0;    pivot beam: do = i dD;    D0 = |r| |distance|,  D = D0 / r = sign(r) |distance|

    With a close distance that is stated D0 is constant, and D = D0 / r.
    """
    zero = np.zeros(origin_bar.shape[:-1])
    if honours_pix0(detector, switches):
        return zero, zero
    stated_mm = 1000 * at.stated_distance if detector.distance_mm is None else detector.distance_mm
    if pivot_of(detector, switches) == "sample":
        moved = origin_bar @ at.normal * at.stated_close_distance
        return (moved / stated_mm, moved / ratio) if detector.close_distance_mm is None else (zero, zero)
    moved = origin_bar @ at.beam * at.stated_distance
    return (moved / stated_mm, zero) if detector.close_distance_mm is None else (zero, -moved / ratio)


def _centre_adj(detector: Detector, switches: frozenset[str], at: Placement, origin_bar: np.ndarray):
    """Of the origin: of xbeam_mm and ybeam_mm. o moves by -f with F and by -s with S, whatever the pivot.

    F or S is one of x and y, up to an offset, or Size - y.
    """
    convention = CONVENTIONS[detector.convention]
    upwards = {"fast": at.fast, "slow": -at.slow if convention.flipped else at.slow}
    axes = ("slow", "fast") if convention.swapped else ("fast", "slow")
    found = {}
    for name, axis in zip(BEAM_CENTRE, axes):
        counts = _counts(detector, convention, switches, name, axis)
        found[f"detector.{name}"] = -(origin_bar @ upwards[axis]) / 1000 if counts else np.zeros(origin_bar.shape[:-1])
    return found


def _counts(detector: Detector, convention: Convention, switches: frozenset[str], name: str, axis: str) -> bool:
    """Whether this beam centre says where the detector is along its axis, stated or as the default (F1a, P3, P5)."""
    if honours_pix0(detector, switches):
        return False
    near_ignored = "near_point_ignored" in switches
    if near_ignored and detector.convention != "custom" and pivot_of(detector, switches) == "sample":
        return False
    if near_ignored and convention.default_pixels is not None:
        return True
    near = any(getattr(detector, form) is not None for form in NEAR_POINT[axis])
    return getattr(detector, name) is not None or not near


def sensor_adj(
    detector: Detector, switches: frozenset[str], layer_bar: np.ndarray, absorption_bar: np.ndarray
) -> dict[str, np.ndarray]:
    """Of the depth of a layer in m and the absorption in 1/m (...,): of thickness and attenuation depth, per um (A4a).

        L = T / n,    mu = 1 / depth, or 1 / T where no depth is stated

    n is n - 1 with thick_layers. Without a sensor 0.
    """
    _, layer, absorption = sensor(detector, switches)
    if layer == 0.0:
        return {"detector.thickness_um": 0.0 * layer_bar, "detector.attenuation_um": 0.0 * absorption_bar}
    thickness_bar = layer_bar * (layer / detector.thickness_um)
    depth_bar = -absorption_bar * absorption**2 * 1e-6
    if detector.attenuation_um is None:
        return {"detector.thickness_um": thickness_bar + depth_bar, "detector.attenuation_um": 0.0 * depth_bar}
    return {"detector.thickness_um": thickness_bar, "detector.attenuation_um": depth_bar}
