"""Where panels are (F1d): against poses that are composed by hand, and against the detector that they are cut from."""

import dataclasses

import numpy as np
import panelled
import pytest

from nbnumba import Detector, Experiment, Group, InputError, Panel
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup.detector import position_detector
from nbnumba.setup.panels import planes
from nbnumba.setup.sampling import sheet_window, windows
from nbnumba.setup.sheet import Sheet, sheet_of
from nbnumba.statements import Beam, Sampling

SEEDS = range(8)
PANEL = Panel("a", (4, 4), 0.1, 0.1, (0, 0, 0))


def turned(axis, degrees):
    """The rotation about an axis, from its eigenvectors: independent of geometry/rotations.py."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    generator = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    values, vectors = np.linalg.eig(generator)
    return (vectors @ np.diag(np.exp(values * np.radians(degrees))) @ np.linalg.inv(vectors)).real


def by_hand(made, panel, points):
    """Positions (n, 3) of points (n, 2) of a panel, in pixels, fast and slow, in mm from the crystal."""
    frame = position_detector(made.detector, made.beam, NO_DEFECTS)
    steps = panel.pixel_fast_mm * np.array(panel.fast_axis), panel.pixel_slow_mm * np.array(panel.slow_axis)
    x = np.array(panel.origin_mm) + points[:, :1] * steps[0] + points[:, 1:] * steps[1]
    names = panel.path.split("/")
    for path in ["/".join(names[:count]) for count in range(len(names), 0, -1)]:
        for group in (group for group in made.detector.groups if group.path == path):
            own = panel if group.path == panel.path else None
            axes = [own.fast_axis, own.slow_axis] if own else [(1, 0, 0), (0, 1, 0)]
            axes = [group.fast_axis, group.slow_axis] if group.fast_axis else axes
            axes = np.array([*axes, np.cross(*axes)])
            middle = np.array(panelled.centre(made, group))
            for axis, degrees in zip(axes, group.turn_deg):
                x = (x - middle) @ turned(axis, degrees).T + middle
            x = x + np.array(group.shift_mm) @ axes
    return 1000 * frame.origin + x @ np.array([frame.fast, frame.slow, frame.normal])


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_are_where_motions_by_hand_put_them(seed):
    made = panelled.experiment(seed)
    outer = Group("q1", fast_axis=(0.6, 0.8, 0), slow_axis=(-0.8, 0.6, 0), shift_mm=(0.1, 0.2, 0.3), turn_deg=(1, 2, 3))
    made = made.replace({"detector.groups": [*made.detector.groups, dataclasses.replace(outer, centre_mm=(1, 2, 3))]})
    points = np.random.default_rng(seed).uniform(0, 10, (20, 2))
    for panel, plane in zip(made.detector.panels, planes(made.detector, made.beam, NO_DEFECTS), strict=True):
        across = points[:, :1] * plane.pixel_fast * plane.fast + points[:, 1:] * plane.pixel_slow * plane.slow
        np.testing.assert_allclose(1000 * (plane.origin + across), by_hand(made, panel, points), rtol=0, atol=1e-10)
        assert max(abs(plane.normal @ plane.fast), abs(plane.normal @ plane.slow)) < 1e-12
        assert plane.normal @ plane.origin == pytest.approx(plane.close_distance, rel=1e-12) and plane.close_distance > 0
        middle = by_hand(made, panel, np.array([[panel.shape[1] / 2, panel.shape[0] / 2]]))
        assert 1000 * plane.distance == pytest.approx(float(np.linalg.norm(middle)), rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_panel_in_the_place_of_the_detector_is_the_detector(seed):
    """Bit for bit, also if its group is stated, and not moved."""
    made = panelled.experiment(seed).replace({"detector.groups": (), "detector.panels": ()})
    placement = position_detector(made.detector, made.beam, NO_DEFECTS)
    panel = Panel("q0/p0", made.detector.pixels[::-1], made.detector.pixel_mm, made.detector.pixel_mm, (0, 0, 0))
    for groups in ((), (Group("q0"), Group("q0/p0", centre_mm=(1, 2, 3)))):
        stated = dataclasses.replace(made.detector, panels=(panel,), groups=groups)
        (plane,) = planes(stated, made.beam, NO_DEFECTS)
        for name in ("origin", "fast", "slow", "normal", "beam", "pixel_fast", "pixel_slow", "pixels", "close_distance"):
            np.testing.assert_array_equal(getattr(plane, name), getattr(placement, name), err_msg=name)


def test_a_normal_points_away_from_the_crystal_whatever_the_order_of_axes():
    """A panel that is turned over, and one behind the crystal."""
    over = Panel("over", (4, 4), 0.1, 0.1, (1, 0, 0), (1, 0, 0), (0, -1, 0))
    behind = Panel("behind", (4, 4), 0.1, 0.1, (1, 0, -300))
    for plane in planes(Detector(panels=(over, behind)), Beam(), NO_DEFECTS):
        assert plane.close_distance == float(plane.origin @ plane.normal) > 0.0


@pytest.mark.parametrize(
    "detector, sentence",
    [
        (Detector(panels=[Panel("a/b", (4, 4), 0.1, 0.1, (0, 0, -100))]), "panels: a/b: the crystal lies in its plane"),
        (
            Detector(convention="custom", fast_axis=(0, 0, 1), slow_axis=(0, -1, 0.1), panels=[PANEL]),
            "detector.fast_axis, slow_axis, normal_axis: the axes of the frame of the panels are not at right angles",
        ),
    ],
)
def test_panels_that_cannot_be_placed(detector, sentence):
    with pytest.raises(InputError, match=sentence):
        planes(detector, Beam(), NO_DEFECTS)


def test_motions_are_values_of_parameters():
    made = panelled.experiment(1)
    moved = made.replace({"detector.group[q1].shift_normal_mm": 0.25, "detector.group[q1].turn_fast_deg": -1.0})
    assert moved.value("detector.group[q1].shift_normal_mm") == 0.25 and moved.value("detector.group[q1].turn_fast_deg") == -1.0
    assert moved.detector.groups[:2] == made.detector.groups
    assert moved.detector.groups[2] == Group("q1", shift_mm=(0, 0, 0.25), turn_deg=(-1, 0, 0))
    assert made.value("detector.group[q1].shift_normal_mm") == 0.0
    assert made.value("detector.group[q0].shift_slow_mm") == made.detector.groups[0].shift_mm[1]
    again = moved.replace({"detector.group[q0].turn_slow_deg": 9})
    assert again.detector.groups[0].turn_deg[1] == 9.0 and again.detector.groups[0].shift_mm == made.detector.groups[0].shift_mm


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("detector.group[q7].shift_fast_mm", "no panel has a path that begins with q7; allowed: the path of a panel"),
        ("detector.group[q].shift_fast_mm", "no panel has a path that begins with q;"),
        ("detector.group[q0].shift_mm", "is no parameter; allowed: .*turn_normal_deg"),
        ("detector.group[q0", "is no parameter; allowed: "),
        ("detector.group[q0].path", "is no parameter; allowed: "),
    ],
)
def test_names_that_move_nothing(name, sentence):
    made = panelled.experiment(1)
    for call in (lambda: made.value(name), lambda: made.replace({name: 1.0})):
        with pytest.raises(InputError, match=sentence):
            call()
    with pytest.raises(InputError, match="no panel has a path .* allowed: none, as there are no panels|is no parameter"):
        Experiment.from_args("-cell 50 -default_F 1".split()).value(name)


def test_a_group_is_stated_once():
    made = panelled.experiment(1)
    with pytest.raises(InputError, match="replace: .*shift_fast_mm, detector.groups state the same"):
        made.replace({"detector.group[q0].shift_fast_mm": 1.0, "detector.groups": ()})
    with pytest.raises(InputError, match=r"detector.group\[q0\].shift_mm: .* is not a number"):
        made.replace({"detector.group[q0].shift_fast_mm": "x"})


def test_sheets():
    one, same, mixed = Sheet(((3, 4),)), Sheet(((3, 4),) * 2), Sheet(((3, 4), (2, 5)))
    assert (one.shape, same.shape, mixed.shape) == ((3, 4), (6, 4), (5, 5))
    assert (one.image_shape, same.image_shape, mixed.image_shape) == ((3, 4), (2, 3, 4), None)
    assert (one.pixels, same.pixels, mixed.pixels) == (12, 24, 22)
    image = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(same.image(same.sheet("x", image, 0)), image)
    parts = [np.ones((3, 4)), 2 * np.ones((2, 5))]
    sheet = mixed.sheet("x", parts, np.nan)
    assert np.isnan(sheet[:3, 4]).all() and np.nansum(sheet) == 32
    for part, back in zip(parts, mixed.image(sheet), strict=True):
        np.testing.assert_array_equal(part, back)
    assert mixed.image(np.zeros((5, 5, 7)))[1].shape == (2, 5, 7) and same.image(np.zeros((6, 4, 7))).shape == (2, 3, 4, 7)
    for sheet, wrong in ((one, np.zeros((4, 3))), (same, np.zeros((6, 4))), (mixed, parts[:1]), (mixed, np.zeros((5, 5)))):
        with pytest.raises(InputError, match="^x of .* does not fit; allowed: "):
            sheet.sheet("x", wrong, 0)


def test_windows_and_masks_of_panels():
    shapes = ((3, 4), (2, 5))
    detector = Detector(panels=[Panel(f"p{n}", shape, 0.1, 0.1, (n, 0, 0)) for n, shape in enumerate(shapes)])
    mask = [np.eye(3, 4), np.zeros((2, 5))]
    first, second = windows(detector, Sampling(mask=mask))
    assert first[:2] == ((0, 3), (0, 4)) and second[:2] == ((0, 2), (0, 5)) and first.mask.sum() == 3 and second.mask.sum() == 0
    assert Sampling(mask=mask) == Sampling(mask=mask) and hash(Sampling(mask=mask)) == hash(Sampling(mask=mask))
    assert all(window.mask.size == 0 for window in windows(detector, Sampling()))
    first, second = windows(detector, Sampling(roi=(1, 4, 2, 3)))
    assert first[:2] == ((2, 3), (1, 4)) and second[:2] == ((0, 1), (1, 5)) and first.mask.size == second.mask.size == 0
    first, second = windows(detector, Sampling(roi=(4, 9, 0, 9), mask=[np.ones((3, 4)), np.eye(2, 5, 4)]))
    assert not first.mask.any() and first.mask.shape == (3, 4)
    assert second[:2] == ((0, 2), (4, 5)) and second.mask.sum() == 1
    assert sheet_window(detector, Sampling(roi=(4, 9, 0, 9)))[:2] == ((0, 5), (4, 5))
    with pytest.raises(InputError, match="sampling.roi: 5 5 0 1 holds no pixel of 5 x 5"):
        windows(detector, Sampling(roi=(5, 5, 0, 1)))
    with pytest.raises(InputError, match="sampling.mask of shape .* does not fit; allowed: a list of 2 arrays"):
        windows(detector, Sampling(mask=np.ones((3, 4))))
    assert sheet_of(detector) == Sheet(shapes) and sheet_of(Detector()) == Sheet(((1024, 1024),))
