"""The motions of the sources and of the table of lattices are compared with differences of these tables."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from differences import assert_second_order, errors, slope
from random_directions import random_direction

from adjoint.parameters import LATTICE_MOTIONS, names_of
from adjoint.setup import orientations as lattices
from adjoint.setup import sources as beams
from nbnumba import Beam, Crystal, Experiment, Goniometer, Sampling, StructureFactors
from nbnumba.geometry.rotations import DEGREES_PER_RADIAN
from nbnumba.parity import NO_DEFECTS, Defects
from nbnumba.setup import orientations, sources
from nbnumba.setup.crystal import orient

NAN = math.nan
CARRYOVER = Defects(phi_carryover=True)


# sources


def sweep_fields(random, name):
    """The fields of one of the ways to state a sweep of divergence."""
    full, steps = float(random.uniform(0.5, 30.0)), int(random.integers(1, 5))
    full_name, step_name, number = f"{name}range_mrad", f"{name}step_mrad", f"{name}steps"
    forms = [
        {},
        {full_name: 0.0, number: 3},
        {full_name: full},
        {full_name: full, step_name: 0.0},
        {number: steps},
        {step_name: full},
        {full_name: full, number: steps},
        {full_name: full, step_name: full / 2.7},
        {full_name: full, step_name: full / 3.3, number: steps},
    ]
    return forms[random.integers(len(forms))]


def source_table(random):
    rows = random.normal(size=(random.integers(1, 6), 5))
    rows[:, 3:] = random.uniform(0.5, 2.0, size=(len(rows), 2))
    rows[random.random(rows.shape) < 0.3] = NAN
    return tuple(map(tuple, rows))


def spectrum_fields(random):
    forms = [{}, {"dispersion_percent": 0.0, "dispsteps": 3}, {"dispersion_percent": 2.0}, {"dispsteps": 4}]
    forms += [{"dispersion_percent": float(random.uniform(0.1, 30.0)), "dispsteps": steps} for steps in (1, 2, 5)]
    return forms[random.integers(len(forms))]


def beam_case(seed):
    """A random beam with its direction and E vector, and the defects of C."""
    random = np.random.default_rng(seed)
    fields = {"wavelength_A": float(random.uniform(0.5, 3.0)), "round_divergence": bool(random.integers(2))}
    if random.random() < 0.7:
        fields |= {name: float(random.normal() * 40.0) for name in ("direction_x_mrad", "direction_y_mrad")}
    direction, electric = random_direction(random), random_direction(random)
    shape = random.random()
    if shape < 0.2:
        fields["sources"] = source_table(random)
    if shape < 0.9:
        fields |= {**sweep_fields(random, "hdiv"), **sweep_fields(random, "vdiv")}
    else:
        electric = direction
        forms = [{}, {"hdivsteps": 1}, {"hdivrange_mrad": 9.0, "hdivsteps": 1}, {"hdivrange_mrad": 9.0, "hdivstep_mrad": 20.0}]
        fields |= forms[random.integers(4)]
    fields |= spectrum_fields(random)
    more = np.random.default_rng([seed, 1])
    if more.random() < 0.5:
        fields |= {"wavelength_scale": float(more.uniform(0.9, 1.1)), "wavelength_offset_A": float(more.uniform(-0.1, 0.1))}
    if "sources" not in fields and more.random() < 0.3:
        rows = np.column_stack([more.uniform(0.9, 1.1, 4), more.random(4)])
        fields = {**fields, "dispersion_percent": None, "dispsteps": None, "spectrum": tuple(map(tuple, rows))}
    if fields.get("hdivsteps") == fields.get("vdivsteps") == 1 and random.random() < 0.5:
        fields["round_divergence"] = False
    defects = Defects(one_step_means_two=bool(random.integers(2)))
    return Beam(**fields), direction, electric, defects


def source_cases():
    """Random beams that have at least one source: a round divergence may leave none."""
    for seed in range(400):
        case = beam_case(seed)
        try:
            sources.beam_sources(*case)
        except ValueError:
            continue
        yield case


def source_rows(case, name, shift):
    beam, *rest = case
    moved = dataclasses.replace(beam, **{name: getattr(beam, name) + shift})
    made = sources.beam_sources(moved, *rest)
    return np.column_stack([made.direction, made.wavelength])


def step_of(name, stated):
    """The step of a difference: a fraction of a range, so that it remains a range, 4 mrad, or 0.01 A."""
    return 4.0 if name.startswith("direction") else 0.01 if name == "wavelength_offset_A" else 0.05 * stated


def test_sources_move_as_differences_say():
    """Where the ellipse gains or loses a source within the step of the difference, nothing is compared."""
    moving, edges = dict.fromkeys(beams.COLUMN, 0), 0
    for case in source_cases():
        beam, moves = case[0], beams.motions(*case)
        made = sources.beam_sources(*case)
        assert moves.shape == (len(made.weight), 8, 4)
        for name, number in beams.COLUMN.items():
            stated, moved = getattr(beam, name), moves[:, number]
            moving[name] += moved.any()
            if stated is None or (stated == 0.0 and not name.startswith(("direction", "wavelength"))):
                assert not moved.any()
                continue
            h, table = step_of(name, stated), functools.partial(source_rows, case, name)
            if len(table(-h)) != len(table(h)):
                edges += 1
                continue
            np.testing.assert_allclose(moved * h, slope(table, h, 2) * h, rtol=0, atol=1e-14)
    assert min(moving.values()) > 50 and edges < 5, (moving, edges)


def test_differences_of_sources_converge():
    """The error falls a hundredfold with a tenth of the step, as it does for a right derivative."""
    fields = {"hdivrange_mrad": 300.0, "hdivsteps": 3, "vdivrange_mrad": 200.0, "round_divergence": False}
    beam = Beam(1.3, dispersion_percent=3.0, direction_x_mrad=50.0, direction_y_mrad=-90.0, **fields)
    random = np.random.default_rng(5)
    case = beam, random_direction(random), random_direction(random), NO_DEFECTS
    moves = beams.motions(*case)
    for name, number in list(beams.COLUMN.items())[2:6]:
        falling = errors(functools.partial(source_rows, case, name), 100.0, moves[:, number])
        assert falling[2] > 0.0, name
        assert_second_order(falling, 50)


def test_a_table_moves_with_the_tilts_and_where_its_wavelength_is_missing():
    table = ((-10.0, 1.0, 0.0, 1.0, 1.1), (-10.0, 0.0, 1.0, 1.0, NAN))
    beam = Beam(sources=table, hdivrange_mrad=1.0, vdivrange_mrad=1.0, dispersion_percent=1.0)
    moves = beams.motions(beam, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), NO_DEFECTS)
    np.testing.assert_array_equal(moves[:, 0], [[0, 0, 0, 0], [0, 0, 0, 1]])
    assert not moves[:, 1:4].any()
    assert moves[:, 4:6, :3].any(axis=2).all()


def test_differences_of_weights_converge():
    stated, random = np.array([0.5, 0.0, 2.0, 1.5]), np.random.default_rng(6)
    along = random.normal(size=4) * stated
    beam = Beam(sources=[(-10.0, 0.0, 0.0, weight, 1.0) for weight in (3.0, 4.0, 5.0, 6.0)], source_weights=stated)
    where = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), NO_DEFECTS

    def weights(shift):
        return sources.beam_sources(dataclasses.replace(beam, source_weights=stated + shift * along), *where).weight

    falling = errors(weights, 0.1, beams.by_own_weights(stated) @ along)
    assert falling[2] > 0.0
    assert_second_order(falling, 50)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"hdivrange_mrad": 2.0}, [-0.5, 0.5]),
        ({"hdivrange_mrad": 2.0, "hdivsteps": 5}, [-0.5, -0.25, 0.0, 0.25, 0.5]),
        ({"hdivrange_mrad": 2.0, "hdivsteps": 1}, [0.0]),
        ({"hdivrange_mrad": 2.0, "hdivstep_mrad": 0.8}, [-0.5, -0.5, -0.5]),
        ({"hdivrange_mrad": 2.0, "hdivstep_mrad": 0.8, "hdivsteps": 2}, [-0.5, -0.5]),
        ({"hdivrange_mrad": 0.0}, [0.0]),
        ({"hdivsteps": 3}, [0.0, 0.0, 0.0]),
        ({"hdivstep_mrad": 2.0}, [0.0, 0.0]),
    ],
)
def test_what_a_range_moves(fields, expected):
    beam = Beam(**fields)
    horizontal, _, _ = sources.sweeps(beam, False)
    assert beams.rates(horizontal, beam.hdivrange_mrad, beam.hdivstep_mrad) == expected


def test_one_step_over_a_range_is_two_in_c():
    beam = Beam(hdivrange_mrad=2.0, hdivsteps=1)
    where = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    assert not beams.motions(beam, *where, NO_DEFECTS)[:, beams.COLUMN["hdivrange_mrad"]].any()
    moves = beams.motions(beam, *where, Defects(one_step_means_two=True))
    assert moves.shape == (2, 8, 4) and moves[:, beams.COLUMN["hdivrange_mrad"]].any(axis=1).all()


# the table of lattices

GONIOMETERS = [
    {},
    {"phisteps": 4},
    {"phistep_deg": 0.3},
    {"phistep_deg": 0.0, "phisteps": 3},
    {"phistep_deg": 0.3, "phisteps": 4},
    {"osc_deg": 7.0},
    {"osc_deg": 7.0, "phistep_deg": 0.0},
    {"osc_deg": 7.0, "phisteps": 5},
    {"osc_deg": 7.0, "phisteps": 1},
    {"osc_deg": 7.0, "phistep_deg": 2.0},
    {"osc_deg": 7.0, "phistep_deg": 2.0, "phisteps": 5},
    {"osc_deg": 7.0, "phistep_deg": 0.0, "phisteps": 3},
    {"osc_deg": 6.0, "phistep_deg": 2.0, "phisteps": 3},
    {"osc_deg": 0.5, "phistep_deg": 2.0},
]
OSC_MOVES = [{"phisteps": 4}, {"phistep_deg": 0.0, "phisteps": 3}, *GONIOMETERS[5:8]]
SPREADS = [name.partition(".")[2] for name in names_of("mosaic")]
"""The fields of the crystal that say how far mosaic domains turn."""

MOSAICS = [
    {},
    dict.fromkeys(SPREADS, 2.0),
    {**dict.fromkeys(SPREADS, 90.0), "mosaic_domains": 4, "mosaic_seed": -3, "misset_seed": 9},
    {**dict.fromkeys(SPREADS, 5.0), "mosaic_domains": 3, "mosaic_seed": -3, "misset_seed": -9},
    {**dict.fromkeys(SPREADS, 0.3), "mosaic_domains": 1},
    {"mosaic_domains": 7},
]


def crystal_of(fields):
    return Crystal(30.0, 40.0, 50.0, 80.0, 95.0, 100.0, **fields)


def lattice_rows(crystal, goniometer, spindle, defects=NO_DEFECTS):
    """The two tables in units of 100 A, which keeps their numbers below 1."""
    return [rows / 100 for rows in orientations.table(crystal, goniometer, spindle, orient(crystal, defects), defects)]


def turning(rotation_rates, rows):
    """The rates (parameters, rows, 9) of lattices that rotate at those rates."""
    vectors = rows.reshape(-1, 3, 3)
    rates = np.moveaxis(rotation_rates[:, :, np.newaxis], 1, 0)
    return np.array([np.cross(rate, vectors).reshape(-1, 9) for rate in rates])


def stated_slopes(crystal, goniometer, spindle, step=0.1):
    """Differences (parameters, rows, 9) of the table without carryover, by LATTICE_MOTIONS; 0 where there is no such thing.

    A step of 0 beside a number alone is not given, but beside a range it would be.
    """
    osc = orientations.phi_steps(goniometer)[2]
    if goniometer.osc_deg is None and goniometer.phistep_deg == 0.0:
        goniometer = dataclasses.replace(goniometer, phistep_deg=None)

    def table(part, name, middle):
        def shifted(h):
            new = {"crystal": crystal, "goniometer": goniometer}
            new[part] = dataclasses.replace(new[part], **{name: middle + h})
            return lattice_rows(spindle=spindle, **new)[0]

        return shifted

    still = np.zeros_like(lattice_rows(crystal, goniometer, spindle)[0])
    by_phi = slope(table("goniometer", "phi_deg", goniometer.phi_deg), step, 2)
    moves = goniometer.osc_deg or (goniometer.phisteps and not goniometer.phistep_deg)
    by_osc = slope(table("goniometer", "osc_deg", osc), step, 2) if moves else still
    slopes = {"goniometer.phi_deg": by_phi, "goniometer.osc_deg": by_osc}
    for name, field in zip(names_of("mosaic"), SPREADS):
        spread = getattr(crystal, field)
        slopes[name] = slope(table("crystal", field, spread), step, 2) if spread else still
    rotations = lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)[0].reshape(-1, 3, 3)
    for axis, name in enumerate(names_of("orientation")):  # beside the rotation of the cell vectors at phi = 0

        def turned(h, axis=axis):
            angles = [angle + h * (axis == n) for n, angle in enumerate(crystal.misset_deg)]
            moved = dataclasses.replace(crystal, misset_deg=tuple(angles))
            rows = lattice_rows(moved, goniometer, spindle)[0]
            return rows - np.einsum("mij,kj->mki", rotations, orient(moved) / 100).reshape(rows.shape)

        slopes[name] = slope(turned, step, 3) if crystal.misset_seed is None else None
    return [slopes[name] for name in LATTICE_MOTIONS]


@pytest.mark.parametrize("mosaic", MOSAICS)
@pytest.mark.parametrize("fields", GONIOMETERS)
@pytest.mark.parametrize("phi", [0.0, 77.7])
def test_lattices_move_as_differences_say(phi, fields, mosaic):
    crystal, goniometer = crystal_of(mosaic), Goniometer(phi_deg=phi, **fields)
    spindle = random_direction(np.random.default_rng(7))
    carried, _ = lattice_rows(crystal, goniometer, spindle)
    rotations, rotation_rates, *fresh = lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)
    assert rotations.shape == carried.shape
    assert [rotations.tobytes(), rotation_rates.tobytes()] == [part.tobytes() for part in fresh]
    made = np.einsum("mij,kj->mki", rotations.reshape(-1, 3, 3), orient(crystal) / 100).reshape(-1, 9)
    np.testing.assert_allclose(made, carried, rtol=0, atol=1e-15)
    expected = stated_slopes(crystal, goniometer, spindle)
    for derived, stated in zip(turning(rotation_rates, carried), expected, strict=True):
        if stated is not None:
            np.testing.assert_allclose(derived, stated, rtol=0, atol=1e-13)
    by_phi, by_osc, *by_spread = np.moveaxis(rotation_rates, 1, 0)
    assert by_phi.any(axis=1).all()
    assert by_osc.any() == (fields in OSC_MOVES)
    assert np.any(by_spread) == (SPREADS[0] in mosaic and mosaic.get("mosaic_domains") != 1)


SPREAD_CELLS = {"cell_spread_a": 0.2, "cell_spread_b": 0.1, "cell_spread_c": 0.3, "mosaic_domains": 4, "mosaic_a_deg": 3.0}


@pytest.mark.parametrize("fields", [SPREAD_CELLS, SPREAD_CELLS | {"mosaic_sampling": "sobol", "mosaic_seed": -7}])
def test_lattices_stretch_as_differences_say(fields):
    """The lattices are rotations of stretched vectors, whose logarithms change at the rates; these are there at 0, too."""
    crystal, goniometer = crystal_of(fields), Goniometer(phi_deg=12.0, osc_deg=5.0, phisteps=3)
    spindle = random_direction(np.random.default_rng(3))
    rows = lattice_rows(crystal, goniometer, spindle)[0]
    rotations = lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)[0].reshape(-1, 3, 3)
    factors, rates = lattices.stretches(crystal, 3)
    made = np.einsum("mij,mk,kj->mki", rotations, factors, orient(crystal) / 100)
    np.testing.assert_allclose(made.reshape(-1, 9), rows, rtol=0, atol=1e-15)
    for axis, name in enumerate(Crystal.CELL_SPREADS):
        for middle in (0.0, fields[name]):
            base = dataclasses.replace(crystal, **{name: middle})
            of_axis = lattices.stretches(base, 3)[1][:, axis]

            def length(h, base=base, name=name, middle=middle, axis=axis):
                moved = dataclasses.replace(base, **{name: middle + h})
                vectors = lattice_rows(moved, goniometer, spindle)[0].reshape(-1, 3, 3)
                return np.log(np.linalg.norm(vectors[:, axis], axis=1))

            one_sided = (-3.0 * length(0.0) + 4.0 * length(1e-5) - length(2e-5)) / 2e-5
            np.testing.assert_allclose(of_axis, one_sided, rtol=0, atol=1e-8)
            assert np.abs(of_axis).max() > 0.3
    still = lattices.stretches(crystal_of({}), 3)
    assert [part.tolist() for part in still] == [[[1.0] * 3], [[0.0] * 3]]


def test_differences_of_lattices_converge():
    crystal, spindle = crystal_of(MOSAICS[2]), random_direction(np.random.default_rng(8))
    goniometer = Goniometer(phi_deg=10.0, osc_deg=50.0, phisteps=3)
    rows = lattice_rows(crystal, goniometer, spindle)[0]
    derived = turning(lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)[1], rows)

    def phi(h):
        return lattice_rows(crystal, dataclasses.replace(goniometer, phi_deg=10.0 + h), spindle)[0]

    def osc(h):
        return lattice_rows(crystal, dataclasses.replace(goniometer, osc_deg=50.0 + h), spindle)[0]

    def spread(field, h):
        return lattice_rows(dataclasses.replace(crystal, **{field: 90.0 + h}), goniometer, spindle)[0]

    for table, expected in zip((phi, osc, *(functools.partial(spread, field) for field in SPREADS)), derived):
        falling = errors(table, 10.0, expected)
        assert falling[2] > 0.0
        assert_second_order(falling, 50)


def acted_out(angles, fresh):
    """The step whose lattice each step of a pass sees, by nanoBragg's loop, in the first pass or in a later one."""
    lattice, seen = None, []
    for _ in range(1 if fresh else 2):
        seen = []
        for step, angle in enumerate(angles):
            lattice = step if angle != 0.0 else lattice
            seen.append(step if lattice is None else lattice)
    return seen


def assert_steps_move_as_their_sources(crystal, goniometer, spindle, angles):
    """Check that with carryover every step moves as the step of its lattice does without, in both kinds of pass."""
    own = lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)[:2]
    rotations, rotation_rates = (part.reshape(len(angles), -1, *part.shape[1:]) for part in own)
    found = lattices.motions(crystal, goniometer, spindle, CARRYOVER)
    carried, fresh = acted_out(angles, False), acted_out(angles, True)
    for part, expected in zip(found, (rotations[carried], rotation_rates[carried], rotations[fresh], rotation_rates[fresh])):
        np.testing.assert_array_equal(part, expected.reshape(part.shape))
    vectors = orient(crystal) / 100
    for rotations, rows in zip(found[::2], lattice_rows(crystal, goniometer, spindle, CARRYOVER)):
        made = np.einsum("mij,kj->mki", rotations.reshape(-1, 3, 3), vectors).reshape(-1, 9)
        np.testing.assert_allclose(made, rows, rtol=0, atol=1e-15)


@pytest.mark.parametrize("phi, osc, steps", [(-0.5, 1.0, 4), (-3.0, 6.0, 2), (0.0, 5.0, 7), (0.0, 0.0, 3), (1.0, 2.0, 3)])
def test_steps_that_carry_over_move_as_their_source(phi, osc, steps):
    goniometer = Goniometer(phi_deg=phi, osc_deg=osc, phisteps=steps)
    spindle = random_direction(np.random.default_rng(9))
    assert_steps_move_as_their_sources(crystal_of(MOSAICS[1]), goniometer, spindle, orientations.phi_angles(goniometer))


@pytest.mark.parametrize("angles", [[0.0, 0.0, 0.1, 0.0, -0.0, 0.3, 0.0], [0.2, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.4]])
def test_several_steps_at_zero(monkeypatch, angles):
    """Steps of one size never contain several zeros, so that they are put in here."""
    monkeypatch.setattr(orientations, "phi_angles", lambda goniometer: np.array(angles))
    goniometer = Goniometer(phi_deg=0.0, osc_deg=5.0, phisteps=len(angles))
    spindle = random_direction(np.random.default_rng(10))
    assert_steps_move_as_their_sources(crystal_of(MOSAICS[1]), goniometer, spindle, angles)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rounded_domains_move_as_their_product_in_double_precision():
    crystal, spindle = crystal_of(MOSAICS[1]), random_direction(np.random.default_rng(11))
    goniometer = Goniometer(phi_deg=3.0, osc_deg=5.0, phisteps=2)
    rounded = Defects(mosaic_float32=True)
    rotations, rotation_rates, _, _ = lattices.motions(crystal, goniometer, spindle, rounded)
    exact_rotations, exact_rates, _, _ = lattices.motions(crystal, goniometer, spindle, NO_DEFECTS)
    np.testing.assert_array_equal(rotation_rates[:, 2], exact_rates[:, 2])
    np.testing.assert_allclose(rotation_rates[:, 3:], exact_rates[:, 3:], rtol=0, atol=1e-8)
    made = np.einsum("mij,kj->mki", rotations.reshape(-1, 3, 3), orient(crystal) / 100).reshape(-1, 9)
    np.testing.assert_allclose(made, lattice_rows(crystal, goniometer, spindle, rounded)[0], rtol=0, atol=1e-15)
    assert 1e-11 < np.abs(rotations - exact_rotations).max() < 1e-8


def test_spins_by_hand():
    """The first domain rotates with the spindle, and its rates are radians per degree."""
    spindle, goniometer = np.array([0.0, 0.6, -0.8]), Goniometer(phi_deg=20.0, osc_deg=4.0, phisteps=4)
    _, rotation_rates, _, _ = lattices.motions(crystal_of({}), goniometer, spindle, NO_DEFECTS)
    for step, rates in enumerate(rotation_rates * DEGREES_PER_RADIAN):
        np.testing.assert_allclose(rates[:2], [spindle, step / 4 * spindle], rtol=0, atol=1e-15)
        assert not rates[2:].any()


JUMPS = [  # the goniometer, and what jumps
    ({"phi_deg": 0.0}, ""),
    ({"phi_deg": 0.0, "osc_deg": 5.0, "phisteps": 7}, "phi"),
    ({"phi_deg": -0.5, "osc_deg": 1.0, "phisteps": 4}, "phi osc"),
    ({"phi_deg": -0.5, "phisteps": 4}, "phi osc"),
    ({"phi_deg": -0.5, "osc_deg": 1.0, "phistep_deg": 0.25}, "phi"),
    ({"phi_deg": -3.0, "osc_deg": 6.0}, "phi osc"),
    ({"phi_deg": 0.0, "osc_deg": 0.0, "phisteps": 3}, ""),
    ({"phi_deg": 1.0, "osc_deg": 5.0, "phisteps": 7}, ""),
]


@pytest.mark.parametrize("fields, expected", JUMPS)
def test_what_the_image_jumps_in(fields, expected):
    goniometer = Goniometer(**fields)
    factors = StructureFactors(default_F=1.0)
    experiment = Experiment(crystal_of({}), factors, goniometer=goniometer, sampling=Sampling(c_parity=CARRYOVER.names))
    names = [f"goniometer.{name}_deg" for name in expected.split()]
    found = lattices.jumps(experiment)
    assert list(found) == names and all("exactly 0" in reason for reason in found.values())
    assert lattices.jumps(dataclasses.replace(experiment, sampling=Sampling())) == {}


@pytest.mark.parametrize("fields, expected", JUMPS)
def test_tables_jump_where_that_is_said(fields, expected):
    """A tiny change of a parameter moves the lattices little, or the program says that they jump."""
    crystal, spindle = crystal_of({}), random_direction(np.random.default_rng(12))
    here = lattice_rows(crystal, Goniometer(**fields), spindle, CARRYOVER)[0]
    full = orientations.phi_steps(Goniometer(**fields))[2]
    for name, stated in (("phi", fields["phi_deg"]), ("osc", full)):
        if not stated and (name == "osc" or len(here) == 1):
            continue
        moved = {**fields, f"{name}_deg": stated + 1e-7}
        there = lattice_rows(crystal, Goniometer(**moved), spindle, CARRYOVER)[0]
        jumped = len(there) == len(here) and np.abs(there - here).max() > 1e-6
        assert jumped == (name in expected.split())
