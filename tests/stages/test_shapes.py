"""The table of crystal shapes: every row has a lattice factor, a mirror or a reason for none; anything else is refused."""

import math

import numpy as np
import pytest

import adjoint
from adjoint import not_differentiable
from adjoint.stages.lattice import MIRRORED, NOT_MIRRORED, lattice_factor_radial_adj
from nbnumba import Crystal, Experiment, InputError, simulate
from nbnumba.stages import records
from nbnumba.stages.lattice import COMPUTED, lattice_factor_radial
from nbnumba.stages.shapes import SHAPES, SQUARE, TOPHAT, Shape
from nbnumba.trace import trace

RADIAL = {
    "round": lambda u: 0.723601254558268 * 3 * (math.sin(_x(u)) / _x(u) - math.cos(_x(u))) / _x(u) ** 2,
    "gauss": lambda u: math.exp(-u / 0.63),
    "tophat": lambda u: 1.0 if u < 0.3969 else 0.0,
}
"""Lattice factor of one cell, by the squared distance u to a reflection, of every shape that is a function of it alone."""

SMOOTH = [shape for shape in SHAPES.values() if shape.name in RADIAL and not shape.not_differentiable]
EXPERIMENT = Experiment.from_args("-cell 50 -default_F 1 -detpixels 4 -N 3".split())
UNKNOWN = max(shape.number for shape in SHAPES.values()) + 1


def _x(u):
    return math.pi * math.sqrt(u)


def crystal_record(shape, fudge=1.0):
    metric, least = (25.0, 36.0, 49.0, 1.0, 2.0, 3.0), (20.0, 30.0, 40.0)
    return records.Crystal(5.0, 6.0, 7.0, shape, fudge, *metric, *least, *[0.0] * 6, False, 0.0, 0.0)


def test_every_row_is_complete_and_differs_from_the_others():
    """And the shapes that are not the parallelepiped are those whose lattice factors are stated above."""
    rows = SHAPES.values()
    assert list(SHAPES) == [row.name for row in rows]
    for column in ("name", "number", "flags", "noun", "help"):
        assert len({getattr(row, column) for row in rows}) == len(rows)
    assert set(RADIAL) == {row.name for row in rows if row.number != SQUARE}


def test_every_shape_is_computed_and_differentiated_unless_a_reason_is_given():
    assert sorted(COMPUTED) == sorted(row.number for row in SHAPES.values())
    assert sorted(MIRRORED) == sorted(row.number for row in SHAPES.values() if not row.not_differentiable)


@pytest.mark.parametrize("name", RADIAL)
def test_lattice_factor(name):
    """Number of cells times that of one, at a squared distance with the factor fudge."""
    for d in ((0.03, -0.02, 0.04), (0.1, 0.05, -0.06), (-0.4, 0.3, 0.45)):
        h, k, l = d
        u = 1.3 * (25 * h * h + 36 * k * k + 49 * l * l + 2 * (h * k + 2 * h * l + 3 * k * l))
        factor = lattice_factor_radial(crystal_record(SHAPES[name].number, 1.3), *d)
        assert factor == pytest.approx(210 * RADIAL[name](u), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("name", [shape.name for shape in SMOOTH])
def test_slope_along_the_distance(name):
    """Against differences of the lattice factors above, whose error falls with the square of the step."""
    number, d, axis, step = SHAPES[name].number, (0.05, -0.02, 0.04), np.array([0.6, 0.0, 0.8]), 1e-4
    slope = np.dot(lattice_factor_radial_adj(crystal_record(number), *d, 1.0)[0], axis)
    ends = [lattice_factor_radial(crystal_record(number), *(d + sign * step * axis)) for sign in (1, -1)]
    assert abs(slope) > 1.0
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("name", ["cube", "SQUARE", "", 1, ["square"]])
def test_a_name_that_is_not_in_the_table_is_refused(name):
    with pytest.raises(InputError, match=f"crystal.shape: .* is not allowed; allowed: {', '.join(SHAPES)}"):
        Crystal(50.0, shape=name)


def test_a_shape_that_no_stage_computes_is_refused_everywhere(monkeypatch):
    """A row of the table alone is not enough: kernels would take the shape for their last one."""
    monkeypatch.setitem(SHAPES, "cube", Shape("cube", UNKNOWN, "-cube_xtal", "cube", "a cube"))
    experiment = EXPERIMENT.replace({"crystal.shape": "cube"})
    message = f"crystal.shape: cube is not computed; allowed: {', '.join(name for name in SHAPES if name != 'cube')}"
    with pytest.raises(InputError, match=message):
        simulate(experiment)
    with pytest.raises(InputError, match=message):
        trace(experiment, 1, 1)
    with pytest.raises(InputError, match="cannot be differentiated by crystal.a_A: no derivative of this shape is computed"):
        adjoint.vjp(experiment, ["crystal.a_A"])


def test_a_shape_without_a_mirror_is_refused_by_the_derivative_alone(monkeypatch):
    """Its image is made; its slope would be 0."""
    monkeypatch.setitem(SHAPES, "step", Shape("step", TOPHAT, "-step_xtal", "step", "a step"))
    experiment = EXPERIMENT.replace({"crystal.shape": "step"})
    np.testing.assert_array_equal(simulate(experiment), simulate(EXPERIMENT.replace({"crystal.shape": "tophat"})))
    assert set(not_differentiable.reasons(experiment).values()) == {NOT_MIRRORED}
    with pytest.raises(InputError, match="cannot be differentiated by crystal.a_A: no derivative of this shape is computed"):
        adjoint.vjp(experiment, ["crystal.a_A"])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_flag_chooses_the_shape(shape):
    for flag in shape.flags.split():
        assert Experiment.from_args(["-cell", "50", "-default_F", "1", flag]).crystal.shape == shape.name
