"""The table of parameters: what is derived from it agrees with the paths and the channels of the derivative (A0, A15)."""

import pytest

from adjoint.loops.rows import CHANNELS
from adjoint.loops.tile import Paths
from adjoint.parameters import GROUPS, IMAGE, LATTICE_MOTIONS, PARAMETERS, SOURCE_MOTIONS, names_of
from adjoint.variables import parameter_row
from nbnumba.setup.values import VECTORS


def test_every_parameter_is_of_one_group():
    assert sorted(names_of(*GROUPS)) == sorted(PARAMETERS)
    assert all(names_of(group) for group in GROUPS)


def test_every_group_takes_a_path_that_there_is():
    assert {path for path in GROUPS.values() if path is not None} == set(Paths._fields) - {"channels"}


def test_motions_have_a_channel_each():
    """A parameter that moves sources or turns lattices has a number in the cotangent of their motions."""
    assert CHANNELS["source"] == len(SOURCE_MOTIONS)
    assert CHANNELS["lattice_angles"] == len(LATTICE_MOTIONS)


@pytest.mark.parametrize("names", VECTORS.values(), ids=VECTORS)
def test_the_three_of_a_vector_have_one_row(names):
    assert len({PARAMETERS[name] for name in names}) == 1


def test_the_row_of_what_is_asked_for():
    """Of tied parameters it is that of the first, of a vector that of its components; an image's numbers have rows too."""
    assert parameter_row(("crystal.a_A", "crystal.b_A")) == PARAMETERS["crystal.a_A"]
    assert parameter_row("crystal.n_cells") == PARAMETERS["crystal.n_a"]
    assert parameter_row("image.gain") == IMAGE["image.gain"]
