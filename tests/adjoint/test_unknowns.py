"""The unknowns of a refinement: their indices in the vector, names, units, bounds and restraints (R2)."""

import numpy as np
import pytest
from refining import crystal

from adjoint.parameters import IMAGE, PARAMETERS, names_of
from adjoint.refinement.unknowns import bounds_of, restraints_of, unknowns
from nbnumba import InputError

MISSET = "crystal.misset_deg"
ONE = crystal()
LISTED = ONE.replace({"structure_factors.hkl": [[1, 2, 3], [2, 3, 4]], "structure_factors.F": [10.0, 20.0]})
NAMES = ["image.scale", MISSET, ("crystal.a_A", "crystal.b_A"), "image.gain"]
TIED = crystal("-cell 50 50 64 90 90 90")


def test_places_of_one_frame():
    """Numbers are in the requested order, and a frame has those of its experiment first."""
    found = unknowns([TIED], NAMES, None)
    assert found.count == 6 and found.parameters == (MISSET, ("crystal.a_A", "crystal.b_A"))
    assert found.image == ("image.scale", "image.gain")
    assert found.labels() == ["image.scale", *(f"{MISSET}[{i}]" for i in range(3)), "crystal.a_A", "image.gain"]
    assert found.units() == ["", "degree", "degree", "degree", "A", "per photon"]
    assert list(found.indices_of(0)) == [1, 2, 3, 4, 0, 5]


def test_places_of_several_frames():
    """Numbers that each frame has of its own are next to each other, frame by frame; shared numbers exist once."""
    found = unknowns([TIED] * 3, NAMES, None)
    assert found.count == 3 + 9 + 1 + 1
    assert [list(found.indices_of(number)) for number in range(3)] == [
        [3, 4, 5, 12, 0, 13],
        [6, 7, 8, 12, 1, 13],
        [9, 10, 11, 12, 2, 13],
    ]
    labels = found.labels()
    assert labels[1] == "image.scale (image 2)" and labels[8] == f"{MISSET}[2] (image 2)" and labels[12] == "crystal.a_A"
    assert len(found.units()) == len(set(labels)) == found.count


def test_values_by_name():
    """Values have the shapes of their parameters, after an axis of frames for those of each frame, and are no views of the
    vector."""
    vector = np.arange(14.0)
    named = unknowns([TIED] * 3, NAMES, None).by_name(vector)
    assert list(named) == ["image.scale", MISSET, "crystal.a_A", "image.gain"]
    np.testing.assert_array_equal(named["image.scale"], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(named[MISSET], np.arange(3.0, 12.0).reshape(3, 3))
    assert named["crystal.a_A"].shape == () and named["crystal.a_A"] == 12.0 and named["image.gain"] == 13.0
    named[MISSET][:] = 0.0
    assert vector[3] == 3.0


def test_what_is_shared():
    """By default each frame has its own goniometer, orientation and size of the crystal, and exposure."""
    asked = [name for name in [*PARAMETERS, *IMAGE] if name not in ("structure_factors.F", "beam.fluence")]
    own = {block.variable.key for block in unknowns([ONE] * 2, asked, None).blocks if block.own}
    assert own == {
        *(f"crystal.misset_{axis}_deg" for axis in "xyz"), *names_of("mosaic", "cell_spread", "position", "size", "disorder"),
        "crystal.scale",
        "goniometer.phi_deg", "goniometer.osc_deg", "beam.direction_x_mrad", "beam.direction_y_mrad",
        "image.scale", "image.background", "image.background_x", "image.background_y", "image.background_radial",
    }  # fmt: skip
    assert [b.own for b in unknowns([ONE] * 2, ["beam.fluence"], None).blocks] == [True]
    said = unknowns([ONE] * 2, asked, ["detector.distance_mm", "image.gain"])
    assert [block.variable.key for block in said.blocks if block.own] == ["detector.distance_mm", "image.gain"]
    assert not any(block.own for block in unknowns([ONE], asked, ["detector.distance_mm"]).blocks)


def test_amplitudes_are_many_numbers():
    """There is one number for each reflection of the list, and they are marked as amplitudes."""
    found = unknowns([LISTED], ["image.scale", "structure_factors.F"], None)
    assert found.count == 3 and list(found.amplitudes()) == [False, True, True]
    assert found.labels() == ["image.scale", "structure_factors.F[0]", "structure_factors.F[1]"]


def test_bounds():
    """They are those of the parameters, and closer ones that are stated. None stands for no bound."""
    found = unknowns([TIED] * 2, [MISSET, "crystal.n_a", "image.background"], None)
    low, high = bounds_of(found, None)
    np.testing.assert_array_equal(low, [-np.inf] * 6 + [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(high, [np.inf] * 10)
    stated = {MISSET: ([-1.0, -2.0, -3.0], 3 * [4.0]), "crystal.n_a": (-5.0, None), "image.background": (None, [3.0, 4.0])}
    low, high = bounds_of(found, stated)
    np.testing.assert_array_equal(low, [-1.0, -2.0, -3.0, -1.0, -2.0, -3.0, 1.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(high, [4.0] * 6 + [np.inf] * 2 + [3.0, 4.0])


def test_restraints():
    """A value holds for all numbers of a parameter, or there is one for each, with the weight 1 / sigma^2.

    Other numbers have none.
    """
    found = unknowns([TIED] * 2, [MISSET, "crystal.n_a", "image.background"], None)
    target, weight = restraints_of(found, {MISSET: ([1.0, 2.0, 3.0], 0.5), "image.background": (7.0, 2)})
    np.testing.assert_array_equal(target, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.0, 0.0, 7.0, 7.0])
    np.testing.assert_array_equal(weight, [4.0] * 6 + [0.0] * 2 + [0.25] * 2)
    assert not restraints_of(found, None)[1].any()


def test_a_part_of_a_vector_by_its_own_name():
    """A bound or restraint of one axis is for that axis alone, in every frame."""
    found = unknowns([TIED] * 2, [MISSET, "crystal.n_a"], None)
    target, weight = restraints_of(found, {"crystal.misset_y_deg": (33.0, 1.0)})
    np.testing.assert_array_equal(weight, [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert target[1] == target[4] == 33.0
    low, high = bounds_of(found, {"crystal.misset_z_deg": (1.0, 2.0)})
    assert list(low[:3]) == [-np.inf, -np.inf, 1.0] and list(high[3:6]) == [np.inf, np.inf, 2.0]
    weight = restraints_of(found, {MISSET: ([1.0, 2.0, 3.0], [1.0, 0.5, 0.25])})[1]
    np.testing.assert_array_equal(weight[:6], [1.0, 4.0, 16.0] * 2)


@pytest.mark.parametrize("stated", [bounds_of, restraints_of])
def test_one_number_for_three_axes_is_refused(stated):
    """A vector has three numbers, and one angle of 33 degrees is not meant for all. Nothing may be stated twice either."""
    found = unknowns([TIED], [MISSET], None)
    with pytest.raises(InputError, match=f"{MISSET} has three numbers.*crystal.misset_x_deg, crystal.misset_y_deg"):
        stated(found, {MISSET: (33.0, 41.0)})
    with pytest.raises(InputError, match="crystal.misset_y_deg is there twice"):
        stated(found, {MISSET: ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), "crystal.misset_y_deg": (1.0, 2.0)})


@pytest.mark.parametrize("given", [["crystal.a_A", "crystal.b_A"], ("crystal.a_A", "crystal.b_A")])
def test_ties_are_lists_or_tuples(given):
    """Tied names have one number, under the first name."""
    found = unknowns([TIED], [given], None)
    assert found.labels() == ["crystal.a_A"] and found.parameters == (("crystal.a_A", "crystal.b_A"),)
