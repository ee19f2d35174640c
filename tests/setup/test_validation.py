"""Statements of an experiment: absurd values are refused with the name of the field, and good ones are kept."""

import dataclasses
import math
import pickle

import numpy as np
import pytest

from nbnumba import (
    Background,
    Beam,
    Crystal,
    Detector,
    Experiment,
    Goniometer,
    Group,
    InputError,
    Panel,
    Sampling,
    StructureFactors,
)
from nbnumba.parity import NO_DEFECTS, SWITCHES, Defects

PANEL = {"path": "q0/p1", "shape": (4, 5), "pixel_fast_mm": 0.1, "pixel_slow_mm": 0.2, "origin_mm": (1, 2, 3)}
PARTS = {
    "crystal": lambda **fields: Crystal(**({"a_A": 50.0} | fields)),
    "beam": Beam,
    "detector": Detector,
    "goniometer": Goniometer,
    "background": Background,
    "sampling": Sampling,
    "structure_factors": lambda **fields: StructureFactors(**({"default_F": 1.0} | fields)),
    "panel": lambda **fields: Panel(**(PANEL | fields)),
    "group": lambda **fields: Group(**({"path": "q0"} | fields)),
}
NAN, INF = math.nan, math.inf
NOT_NUMBERS = (NAN, INF, -INF, "ten", "", (1.0, 2.0), object())
NOT_POSITIVE = (*NOT_NUMBERS, 0, -1.0)
NOT_COUNTS = (*NOT_NUMBERS, 0, -2, 1.5)
NOT_VECTORS = (1.0, (1.0, 2.0), (1.0, 2.0, 3.0, 4.0), (1.0, NAN, 0.0), (INF, 0.0, 0.0), "abc", ("a", "b", "c"), ())
NOT_RECTANGLES = (5, "ab", (1, 2, 3, 4), ((1, 2, 3),), ((0, 0, 0, 1),), ((-1, 0, 1, 1),), ((0, 0, 1.5, 1),), ((0, 0, NAN, 1),),
                  ((0, 0, 1, 70000),), ((0, 0, 1j, 1),), (None,))  # fmt: skip

ABSURD = {
    ("crystal", ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")): NOT_POSITIVE,
    ("crystal", ("n_a", "n_b", "n_c")): (*NOT_POSITIVE, 0.5),
    ("crystal", ("mosaic_spread_deg",)): (*NOT_NUMBERS, -0.1),
    ("crystal", ("mosaic_domains",)): NOT_COUNTS,
    ("crystal", ("mosaic_seed",)): (*NOT_NUMBERS, 1.5, 2**31),
    ("crystal", ("misset_deg",)): NOT_VECTORS,
    ("crystal", ("orientation",)): (1.0, np.ones((3, 3)), np.eye(2), np.full((3, 3), NAN), 2 * np.eye(3), 1e200 * np.eye(3)),
    ("beam", ("wavelength_A",)): NOT_POSITIVE,
    ("beam", ("fluence", "size_mm")): (*NOT_NUMBERS, -1.0),
    ("beam", ("polarization",)): (*NOT_NUMBERS, 1.1, -1.1),
    ("beam", ("direction", "polarization_axis")): (*NOT_VECTORS, (0.0, 0.0, 0.0)),
    ("detector", ("pixel_mm", "close_distance_mm")): NOT_POSITIVE,
    ("detector", ("distance_mm",)): (*NOT_NUMBERS, 0.0),
    ("detector", ("xbeam_mm", "ybeam_mm", "xclose_mm", "yclose_mm", "orgx_pixels", "orgy_pixels")): NOT_NUMBERS,
    ("detector", ("rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg")): NOT_NUMBERS,
    ("detector", ("pix0_mm",)): NOT_VECTORS,
    ("detector", ("fast_axis", "slow_axis", "twotheta_axis")): (*NOT_VECTORS, (0.0, 0.0, 0.0)),
    ("detector", ("normal_axis",)): NOT_VECTORS,
    ("detector", ("pixels",)): (5, (5,), (5, 6, 7), (0, 5), (5, -1), (5.5, 5), (NAN, 5), (70000, 5), "ab", ("a", "b")),
    ("detector", ("convention",)): ("mosfilm", "", 3, "MOSFLM"),
    ("detector", ("pivot", "implied_pivot")): ("spindle", "", 1),
    ("goniometer", ("phi_deg",)): NOT_NUMBERS,
    ("goniometer", ("osc_deg", "phistep_deg")): (*NOT_NUMBERS, -1.0),
    ("goniometer", ("phisteps",)): NOT_COUNTS,
    ("goniometer", ("spindle_axis",)): (*NOT_VECTORS, (0.0, 0.0, 0.0)),
    ("background", ("water_um",)): (*NOT_NUMBERS, -1.0),
    ("sampling", ("c_threads",)): NOT_COUNTS,
    ("sampling", ("oversample",)): (NAN, INF, -INF, "ten", "", (), (1.0, 2.5), (0, 1), object(), 0, -2, 1.5),
    ("sampling", ("tolerance",)): (*NOT_NUMBERS, -1.0),
    ("sampling", ("roi",)): (5, (1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, NAN), (0.5, 2, 3, 4), "abcd"),
    ("structure_factors", ("default_F",)): NOT_NUMBERS,
    ("panel", ("pixel_fast_mm", "pixel_slow_mm", "gain")): NOT_POSITIVE,
    ("panel", ("thickness_um",)): (*NOT_NUMBERS, -1.0),
    ("panel", ("attenuation_um",)): (NAN, -INF, "ten", 0, -1.0),
    ("panel", ("trusted_min", "trusted_max")): NOT_NUMBERS,
    ("detector", ("trusted_min", "trusted_max")): NOT_NUMBERS,
    ("detector", ("masked",)): NOT_RECTANGLES,
    ("panel", ("masked",)): NOT_RECTANGLES,
    ("panel", ("data_origin",)): (5, (5,), (5, 6, 7), (-1, 5), (5.5, 5), (NAN, 5), (2e6, 5), "ab", ("a", "b")),
    ("panel", ("shape",)): (5, (5,), (5, 6, 7), (0, 5), (5, -1), (5.5, 5), (NAN, 5), (70000, 5), "ab", ("a", "b")),
    ("panel", ("origin_mm",)): NOT_VECTORS,
    ("panel", ("fast_axis", "slow_axis")): (*NOT_VECTORS, (0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.8, 0.6, 0.0), (1e200, 0, 0)),
    ("panel", ("path",)): ("", "/", "a/", "/a", "a//b", "a b", "a,b", "a[b]", "a=b", 3, b"a", ("a",)),
    ("panel", ("material",)): (3, b"Si", "Si\n", ("Si",)),
    ("group", ("path",)): ("", "a/", "a b", 3),
    ("group", ("shift_mm", "turn_deg", "centre_mm")): NOT_VECTORS,
    ("group", ("fast_axis", "slow_axis")): (*NOT_VECTORS, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
}
CASES = [(part, name, value) for (part, names), values in ABSURD.items() for name in names for value in values]

MUST_BE_GIVEN = {
    "crystal": (
        "alpha_deg",
        "beta_deg",
        "gamma_deg",
        "n_a",
        "n_b",
        "n_c",
        "mosaic_spread_deg",
        "mosaic_seed",
        "misset_deg",
    ),
    "beam": ("wavelength_A", "fluence", "size_mm", "polarization"),
    "detector": ("pixel_mm", "pixels", "rotx_deg", "roty_deg", "rotz_deg", "twotheta_deg", "convention"),
    "goniometer": ("phi_deg",),
    "background": ("water_um",),
    "sampling": ("c_threads", "c_parity", "tolerance"),
    "structure_factors": ("default_F",),
    "panel": ("path", "shape", "pixel_fast_mm", "pixel_slow_mm", "origin_mm", "fast_axis", "slow_axis", "thickness_um", "gain"),
    "group": ("path", "shift_mm", "turn_deg"),
}
NONE = [(part, name) for part, names in MUST_BE_GIVEN.items() for name in names]


@pytest.mark.parametrize("part, name, value", CASES, ids=lambda value: str(value)[:20])
def test_absurd_values_are_refused_by_name(part, name, value):
    with pytest.raises(InputError, match=name):
        PARTS[part](**{name: value})


@pytest.mark.parametrize("part, name", NONE)
def test_none_is_refused_where_it_does_not_mean_not_given(part, name):
    with pytest.raises(InputError, match=name):
        PARTS[part](**{name: None})


@pytest.mark.parametrize("orientation", ["abc", [[1, 0], [0, 1, 0], [0, 0, 1]]])
def test_orientations_that_are_no_numbers(orientation):
    with pytest.raises(InputError, match="orientation"):
        Crystal(50.0, orientation=orientation)


def test_a_crystal_has_a_cell():
    with pytest.raises(InputError, match="a_A"):
        Crystal()


@pytest.mark.parametrize("angles", [(90, 90, 180), (120, 120, 120), (30, 40, 71), (120, 130, 115), (170, 5, 5)])
def test_cells_without_volume(angles):
    with pytest.raises(InputError, match="alpha_deg, beta_deg, gamma_deg"):
        Crystal(50.0, 50.0, 50.0, *angles)


def test_missing_lengths_are_those_of_a():
    crystal = Crystal(50)
    assert (crystal.a_A, crystal.b_A, crystal.c_A, crystal.gamma_deg) == (50.0, 50.0, 50.0, 90.0)
    assert Crystal(50, 60).c_A == 50.0


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.ones((3, 3)), np.eye(2), np.full((3, 3), NAN)])
def test_matrices_without_a_lattice(matrix):
    with pytest.raises(InputError, match="crystal: the matrix"):
        Crystal.from_matrix(matrix, 1.0)


@pytest.mark.parametrize(
    "hkl, amplitude",
    [
        ([[1, 2, 3]], None), (None, [1.0]), ([[1, 2]], [1.0]), ([[1, 2, 3]], [1.0, 2.0]), ([[1, 2, 0.5]], [1.0]),
        ([[1, 2, 3]], [NAN]), (np.zeros((0, 3)), np.zeros(0)), ([[1, 2, NAN]], [1.0]),
    ],
)  # fmt: skip
def test_reflections_that_are_none(hkl, amplitude):
    with pytest.raises(InputError, match="structure_factors"):
        StructureFactors(hkl=hkl, F=amplitude, default_F=1.0)


def test_something_has_to_scatter():
    with pytest.raises(InputError, match="nothing scatters"):
        StructureFactors()


def test_reflections_are_copies_that_cannot_be_changed():
    hkl, amplitude = np.array([[1, 2, 3]]), np.array([5.0])
    stated = StructureFactors(hkl=hkl, F=amplitude)
    amplitude[0] = 7.0
    assert stated.F[0] == 5.0
    with pytest.raises(ValueError):
        stated.F[0] = 1.0


def test_statements_are_frozen():
    for make in PARTS.values():
        part = make()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, 1.0)


@pytest.mark.parametrize("value", [-1.0, 0.0, NAN, "x", None])
def test_wavelength_from_energy_refuses(value):
    with pytest.raises(InputError, match="energy_eV"):
        Beam.wavelength_from_energy(value)


def test_wavelength_and_fluence():
    assert Beam.wavelength_from_energy(12398.42) == 1.0
    assert Beam.fluence_from_flux(1e12, 0.1, 0.05) == pytest.approx(1e11 / 5e-5**2, rel=1e-14)
    for bad in ((-1.0, 1.0, 1.0), (1.0, NAN, 1.0), (1.0, 1.0, 0.0)):
        with pytest.raises(InputError, match="flux|exposure_s|size_mm"):
            Beam.fluence_from_flux(*bad)


def test_defects_by_name():
    assert [field.name for field in dataclasses.fields(Defects)] == [*SWITCHES, "c_threads"]
    assert Defects.named("all") == Defects.named(["all"]) == Defects(**dict.fromkeys(SWITCHES, True))
    assert Defects.named("all").names == set(SWITCHES)
    assert Defects.named(()) == NO_DEFECTS and NO_DEFECTS.names == frozenset()
    for name in SWITCHES:
        assert Defects.named(name, 3) == Defects(**{name: True}, c_threads=3)
        assert Defects.named([name]).names == {name}
    for bad in ("phi", ["phi_carryover", "nothing"], [""], "c_threads"):
        with pytest.raises(InputError, match="c_parity"):
            Defects.named(bad)


def test_defects_of_a_sampling():
    stated = Sampling(c_parity=["water_scale", "phi_carryover"], c_threads=4)
    assert stated.c_parity == {"water_scale", "phi_carryover"}
    assert stated.defects == Defects(phi_carryover=True, water_scale=True, c_threads=4)
    assert stated.defects is stated.defects
    assert pickle.loads(pickle.dumps(stated)).defects == stated.defects
    assert dataclasses.replace(stated, c_parity=(), c_threads=2).defects == Defects(c_threads=2)


def test_whole_experiment_of_default_parts():
    experiment = Experiment(Crystal(50.0), StructureFactors(default_F=1.0))
    assert experiment.detector == Detector() and experiment.beam == Beam()
    assert experiment.goniometer == Goniometer()


def panel(path, **fields):
    return Panel(**{**PANEL, "path": path, **fields})


def test_panels_and_groups_of_a_detector():
    """They are kept as stated, compared by value, and many are shown by their number."""
    stated = Detector(panels=[panel(f"q0/p{i}") for i in range(5)], groups=[Group("q0", turn_deg=(0, 0, 1))])
    assert stated.panels[3] == panel("q0/p3") != panel("q0/p3", gain=2) and stated.groups[0].turn_deg == (0.0, 0.0, 1.0)
    assert panel("p", shape=np.array([3, 4])).shape == (3, 4) and panel("p").fast_axis == (1.0, 0.0, 0.0)
    assert hash(stated) == hash(pickle.loads(pickle.dumps(stated))) and stated == dataclasses.replace(stated)
    assert repr(stated) == "Detector(panels=<5 of Panel>, groups=(Group(path='q0', turn_deg=(0.0, 0.0, 1.0)),))"
    assert panel("p", attenuation_um=INF).attenuation_um == INF


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"panels": "x"}, "detector.panels: 'x' is not allowed; allowed: nbnumba.Panels with different paths"),
        ({"panels": 5}, "detector.panels: 5 is not allowed"),
        ({"panels": [panel("a"), panel("b"), panel("a")]}, "detector.panels: the path a occurs twice"),
        ({"panels": [panel("a"), panel("a/b")]}, "detector.panels: the path a is that of a panel, and of a group; allowed"),
        ({"panels": [panel("ab/c")], "groups": [Group("a")]}, r"detector.groups: no panel .* begins with a; allowed: \['ab'\]"),
        ({"groups": [Group("a")]}, "detector.groups: no panel has a path that begins with a; allowed: none"),
        ({"panels": [panel("a")], "groups": [Group("a"), Group("a")]}, "detector.groups: the path a occurs twice"),
        ({"panels": [panel("a")], "groups": [panel("a")]}, "detector.groups: .* is not allowed; allowed: nbnumba.Groups"),
        ({"panels": [panel("a")], "curved": True}, "detector.curved: True is not allowed beside detector.panels"),
        ({"panels": [panel("a")], "point_pixel": True}, "detector.point_pixel: True is not allowed beside detector.panels"),
        ({"panels": [panel("a")], "thickness_um": 5.0}, "detector.thickness_um: 5.0 is not .* allowed: thickness_um of each"),
        ({"panels": [panel("a")], "attenuation_um": 5.0}, "detector.attenuation_um: 5.0 is not"),
    ],
)
def test_panels_that_contradict_each_other(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        Detector(**fields)


def test_axes_of_panels_and_groups():
    with pytest.raises(InputError, match="at a right angle"):
        panel("a", fast_axis=(0.8, 0.6, 0.0), slow_axis=(0.6, 0.8, 0.0))
    with pytest.raises(InputError, match=r"detector.group\[a\].*at a right angle"):
        Group("a", fast_axis=(1.0, 0.0, 0.0), slow_axis=(1.0, 0.0, 0.0))
    with pytest.raises(InputError, match="trusted_min, trusted_max: 5 and 4"):
        panel("a", trusted_min=5, trusted_max=4)
    assert Group("a", fast_axis=(0.6, 0.8, 0.0), slow_axis=(-0.8, 0.6, 0.0)).slow_axis == (-0.8, 0.6, 0.0)


class Nothing:
    """A value of a kind that no field has, with a long name of several lines."""

    def __repr__(self):
        return "nothing\n" * 1000


STRANGE = [b"x", "x", "1 2 3", [], {}, Nothing(), np.zeros((2, 2)), np.zeros((50, 50)), [[1, 2], [3]], [None] * 3, (1, 2, 3, 4)]
STRANGE += [1j, 10**400, math.inf, math.nan, -1, True, np.array(["a", "b"]), np.array([None, 1], dtype=object)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "part", [Crystal, Beam, Detector, Goniometer, StructureFactors, Background, Sampling, Panel, Group]
)
def test_a_value_of_another_kind_is_refused_in_one_short_line(part):
    """A field accepts a value from Python, or refuses it with its name."""
    least = {Crystal: {"a_A": 50.0}, StructureFactors: {"default_F": 1.0}, Panel: PANEL, Group: {"path": "q0"}}.get(part, {})
    refused = 0
    for field in dataclasses.fields(part):
        for value in STRANGE:
            try:
                part(**{**least, field.name: value})
            except InputError as error:
                refused += 1
                message = str(error)
                assert "\n" not in message and len(message.partition("; allowed: ")[0]) < 200, (field.name, message)
    assert refused > len(dataclasses.fields(part))


@pytest.mark.parametrize("word", [10**5000, 10**400, np.array(3.0)], ids=["5001 digits", "401 digits", "array"])
def test_words_that_cannot_be_written_are_refused(word):
    """The values are an int of more digits than Python writes, and an array in place of a list."""
    for args in (word, ["-cell", word]):
        with pytest.raises(InputError, match="^(from_args|-cell): .*; allowed: "):
            Experiment.from_args(args)
    with pytest.raises(InputError, match="^detector.fast_axis: .*; allowed: "):
        Detector(fast_axis=word)
