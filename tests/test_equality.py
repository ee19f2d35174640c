"""Experiments and their parts are equal if their numbers are, with arrays and NaN, in other processes and as keys."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from nbnumba import Background, Beam, Crystal, Detector, Experiment, Goniometer, Sampling, StructureFactors, simulate

NAN = float("nan")


def full():
    """A new experiment with every kind of field."""
    return Experiment(
        Crystal(50.0, 60.0, 70.0, misset_deg=(1, 2, 3), n_a=3, orientation=np.eye(3)),
        StructureFactors(np.array([[0, 0, 1], [1, 2, 3]]), np.array([10.0, 20.0]), default_F=1.0),
        Beam(sources=[(-10, 0, 0, NAN, NAN), (-10, 0.1, 0, 1.0, 1.1)]),
        Detector(pixels=(6, 4), pixel_mm=1.0),
        Goniometer(osc_deg=1.0),
        Background(water_um=1.0, table=[(0.0, 2.0), (0.1, 3.0)]),
        Sampling(5, mask=np.ones((4, 6), np.uint8), c_parity={"phi_carryover"}),
    )


PARTS = [field.name for field in dataclasses.fields(Experiment)]


def test_equal_by_value():
    one, other = full(), full()
    assert one == other and not one != other and hash(one) == hash(other)
    assert {one, other} == {one} and {one: "image"}[other] == "image"
    for name in PARTS:
        assert getattr(one, name) == getattr(other, name) and hash(getattr(one, name)) == hash(getattr(other, name))


@pytest.mark.parametrize(
    "changed",
    [
        {"structure_factors.F": [10.0, 20.000001]}, {"structure_factors.hkl": [[0, 0, 1], [1, 2, 4]]}, {"crystal.a_A": 50.1},
        {"structure_factors.hkl": [[0, 0, 1]], "structure_factors.F": [10.0]}, {"sampling.mask": np.zeros((4, 6))},
        {"beam.sources": [(-10, 0, 0, NAN, NAN), (-10, 0.1, 0, NAN, 1.1)]}, {"sampling.c_parity": ()},
        {"background.table": [(0.0, 2.0), (0.1, 3.5)]}, {"goniometer.osc_deg": 2.0}, {"detector.pixel_mm": 0.5},
    ],
)  # fmt: skip
def test_other_numbers_are_not_equal(changed):
    assert full().replace(changed) != full()


def test_equal_to_nothing_else():
    one = full()
    assert one != "Experiment" and one != 1 and one is not None and one.beam != one.detector
    assert one.crystal != dataclasses.astuple(one.crystal)


def test_the_kind_of_numbers_does_not_count():
    one = full()
    assert one.replace({"sampling.mask": np.ones((4, 6), bool)}) == one
    assert one.replace({"crystal.misset_deg": [1.0, 2.0, 3.0]}) == one
    assert one.replace({"structure_factors.F": np.array([10, 20])}) == one
    zeros = [one.replace({"structure_factors.F": np.array([zero, 20.0])}) for zero in (0.0, -0.0)]
    assert zeros[0] == zeros[1] and hash(zeros[0]) == hash(zeros[1])


@pytest.mark.parametrize(
    "again", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, copy.copy], ids=["pickle", "deep", "copy"]
)
def test_copies_are_equal_frozen_and_make_the_same_image(again):
    one = full()
    other = again(one)
    assert other == one and hash(other) == hash(one)
    with pytest.raises(ValueError, match="read-only"):
        other.structure_factors.F[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.crystal.a_A = 1.0
    np.testing.assert_array_equal(simulate(other), simulate(one))
