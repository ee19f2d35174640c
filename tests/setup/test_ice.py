"""A powder of hexagonal ice: its tables against the structure, and its rings against sums over atoms (F12c)."""

import math

import gemmi
import numpy as np
import pytest

import nbnumba
from adjoint.setup.ice import slope_of_molecule
from nbnumba import Experiment, InputError, simulate
from nbnumba.constants import ICE_CELL_A3, ICE_PER_CELL
from nbnumba.setup import ice, sampling
from nbnumba.setup.background import GRID, shares
from nbnumba.shipped_tables import shipped_table
from nbnumba.statements import Background

A, C = 4.497, 7.322
CELL = gemmi.UnitCell(A, A, C, 90, 90, 120)
ATOMS = [
    ("O", (1 / 3, 2 / 3, 0.06226), 1.0, 1.44),
    ("H", (1 / 3, 2 / 3, 0.178), 0.5, 2.5),
    ("H", (0.439, 0.878, 0.020), 0.5, 2.5),
]
LAST = 5.0
"""The end of the table of a background with ice, that of air, in 1/A."""


def sites():
    """Element, fractional coordinates (n, 3) in the cell, occupancy and B of each site and those that are like it."""
    for element, place, occupancy, b in ATOMS:
        found = []
        for operation in gemmi.SpaceGroup("P 63/m m c").operations():
            image = np.array(operation.apply_to_xyz(list(place))) % 1.0
            if all(np.abs((image - other + 0.5) % 1.0 - 0.5).max() > 1e-4 for other in found):
                found.append(image)
        yield element, np.array(found), occupancy, b


def form_factor(element, stol):
    """The form factor of an atom at rest, at sin(theta)/lambda (n,)."""
    factor = gemmi.Element(element).it92
    return np.array([factor.calculate_sf(float(s) ** 2) for s in stol])


def profile(change, size):
    """The squared transform of a sphere of diameter `size` over its volume, summed over a plane: of integral 1."""
    y = np.maximum(np.pi * np.abs(change) * size, 1e-4)
    sine, slope = np.sin(y) / y, (np.sin(y) / y - np.cos(y)) / y
    return 0.75 * size * (sine**2 + slope**2)


def directly(q, size):
    """The rings of a molecule at q (n,), in 1/A, ring by ring."""
    stol, squares = shipped_table("ice_rings.stol")
    g = 2.0 * stol
    change = profile(q[:, np.newaxis] - g, size) - profile(q[:, np.newaxis] + g, size)
    return (squares / g * change).sum(axis=1) / (4.0 * np.pi * q * ICE_CELL_A3 * ICE_PER_CELL)


def test_the_cell():
    assert pytest.approx(CELL.volume, rel=1e-9) == ICE_CELL_A3
    assert [(element, len(places)) for element, places, _, _ in sites()] == [("O", 4), ("H", 4), ("H", 12)]
    density = ICE_PER_CELL * 18.0153 / 6.02214076e23 / (ICE_CELL_A3 * 1e-24)
    assert density == pytest.approx(0.933, abs=0.002)
    assert ice.molecules(1.0) == pytest.approx(density * 1e-12 * 6.02214076e23 / 18.0153, rel=1e-9)


def test_the_table_of_rings_is_that_of_the_structure():
    """Every ring of 1.5 1/A or less, and no other; the d of the first are those that are known of ice at 100 K."""
    stol, squares = shipped_table("ice_rings.stol")
    n = math.ceil(3.0 * C)
    h, k, l = (index.ravel() for index in np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1])
    g = np.sqrt(4.0 / 3.0 * (h * h + h * k + k * k) / A**2 + (l / C) ** 2)
    near = (g > 0.0) & (g <= 3.0)
    h, k, l, g = h[near], k[near], l[near], g[near]
    ring = np.abs(g[:, np.newaxis] / 2.0 - stol).argmin(axis=1)
    belongs = np.abs(g / 2.0 - stol[ring]) < 1e-7
    amplitude = np.zeros(len(g), dtype=complex)
    for element, places, occupancy, b in sites():
        each = form_factor(element, g / 2.0) * np.exp(-b * g**2 / 4.0) * occupancy
        amplitude += each * np.exp(2j * np.pi * (np.stack([h, k, l], axis=1) @ places.T)).sum(axis=1)
    of_ring = np.bincount(ring[belongs], np.abs(amplitude[belongs]) ** 2, len(stol))
    np.testing.assert_allclose(squares, of_ring, rtol=2e-5)
    assert (np.abs(amplitude[~belongs]) ** 2).max() < 1e-6 * squares.max()
    assert [round(0.5 / s, 2) for s in stol[:9]] == [3.89, 3.66, 3.44, 2.67, 2.25, 2.07, 1.95, 1.92, 1.88]


def test_what_is_between_rings_and_the_rings_are_all_that_atoms_scatter():
    """At large angles a molecule scatters f_O^2 + 2 f_H^2, and by Compton's effect nearly its ten electrons."""
    stol, amplitude = shipped_table("ice.stol")
    oxygen, hydrogen = form_factor("O", stol), form_factor("H", stol)
    own = oxygen**2 * (1 - np.exp(-2.88 * stol**2)) + 2 * hydrogen**2 * (1 - np.exp(-5.0 * stol**2) / 2)
    compton = amplitude**2 - own
    assert (np.diff(compton) > -1e-4).all() and abs(compton[0]) < 1e-4 and 9.95 < compton[-1] < 10.0
    _, air = shipped_table("air.stol")
    assert compton[40] == pytest.approx(7.22, abs=0.01) and len(air) == len(amplitude)
    number = ice.entries(100.0, LAST)
    q = np.linspace(0.0, 2 * LAST, number)
    far = (q > 1.6) & (q < 2.4)
    whole = ice.rings(100.0, number, LAST)[far] + np.interp(q[far] / 2, stol, own)
    atoms = np.interp(q[far] / 2, stol, oxygen**2 + 2 * hydrogen**2)
    assert (whole * q[far] ** 2).sum() / (atoms * q[far] ** 2).sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("size", [10.0, 60.0, 300.3, 500.0, 2000.0])
def test_the_table_is_the_sum_over_rings(size):
    """On rings and between them, and where the wings of the first cancel; so is its derivative by the size."""
    number = ice.entries(size, LAST)
    rings, step = ice.rings(size, number, LAST), 2 * LAST / (number - 1)
    first = np.round(2 * shipped_table("ice_rings.stol")[0] / step).astype(int)[:20]
    entries = np.unique([*first, *(first + 1), 1, 2, 9, *np.random.default_rng(1).integers(1, number, 200)])
    np.testing.assert_allclose(rings[entries], directly(entries * step, size), atol=1e-6 * rings.max())
    assert rings[0] == pytest.approx(rings[1], rel=1e-2, abs=1e-6 * rings.max())
    change = 2e-4  # far below 1 / g, by which the wings of a ring oscillate with the size
    less, more = (ice.rings(size + sign * change, number, LAST) for sign in (-1, 1))
    slope = slope_of_molecule(size, number, LAST)
    np.testing.assert_allclose(slope, (more - less) / (2 * change), atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("size", [100.0, 500.0, 2000.0])
def test_entries_resolve_the_rings(size):
    """In the middle between two entries a linear interpolation misses 1/1024 of the highest ring at most."""
    number = ice.entries(size, LAST)
    assert number == 2 ** round(math.log2(number))
    rings, step = ice.rings(size, number, LAST), 2 * LAST / (number - 1)
    around = round(2 * shipped_table("ice_rings.stol")[0][0] / step) + np.arange(-100, 100)
    between = (rings[around] + rings[around + 1]) / 2
    error = np.abs(between - directly((around + 0.5) * step, size)).max()
    assert error < rings[around].max() / 1024


def test_the_integral_of_a_ring_is_that_of_a_powder():
    """A ring has |F|^2 / (4 pi V g^2) of a cell in its profile, over |q| (the formula of kinematic powder diffraction)."""
    size = 2000.0
    number = ice.entries(size, LAST)
    q, rings = np.linspace(0.0, 2 * LAST, number), ice.rings(size, number, LAST)
    stol, squares = shipped_table("ice_rings.stol")
    for ring in (0, 1, 2, 3, 4):
        g = 2 * stol[ring]
        near = np.abs(q - g) < 0.006
        wings = 2 * 0.75 / (np.pi**2 * size * 0.006)  # beyond, the profile is 0.75 / (pi^2 size x^2)
        expected = squares[ring] / (4 * np.pi * ICE_CELL_A3 * ICE_PER_CELL * g**2) * (1 - wings)
        found = rings[near].sum() * (q[1] - q[0])
        assert found == pytest.approx(expected, rel=0.02)


def test_rings_are_those_of_a_sum_over_the_atoms_of_crystallites():
    """Debye's formula for balls that are cut out of the crystal anywhere, 30 A wide, with a half atom at each half place.

    The mean over where they are cut is exact; that of twelve is so to some percent. What balls scatter forward is not of the
    rings: it is added here.
    """
    size, q, random = 30.0, np.linspace(0.2, 1.1, 46), np.random.default_rng(5)
    orthogonal = np.array([[A, -A / 2, 0], [0, A * math.sqrt(0.75), 0], [0, 0, C]])
    cells = np.stack(np.mgrid[-9:10, -9:10, -6:7], axis=-1).reshape(-1, 3)
    total, molecules = np.zeros(len(q)), 0.0
    weights_of = {
        (element, b): form_factor(element, q / 2) * np.exp(-b * q**2 / 4) * occupancy for element, _, occupancy, b in ATOMS
    }
    every = [(element, b, (cells[:, np.newaxis] + places).reshape(-1, 3)) for element, places, _, b in sites()]
    balls, edges = 12, np.arange(0.0, size + 1.0, 0.01)
    for _ in range(balls):
        centre, inside = orthogonal @ random.random(3), {}
        for element, b, places in every:
            xyz = places @ orthogonal.T - centre
            inside.setdefault((element, b), []).append(xyz[(xyz**2).sum(axis=1) <= size**2 / 4])
        atoms = {kind: np.concatenate(parts) for kind, parts in inside.items()}
        molecules += math.pi / 6 * size**3 / ICE_CELL_A3 * ICE_PER_CELL
        for kind, of_one in atoms.items():
            for other, of_other in atoms.items():
                apart = np.sqrt(np.maximum(((of_one[:, np.newaxis] - of_other) ** 2).sum(axis=2), 0.0))
                counts = np.histogram(apart, edges)[0]
                middles = (edges[1:] + edges[:-1]) / 2
                middles[0], kept = 0.0, counts > 0  # an atom and itself
                debye = np.sinc(2 * q[:, np.newaxis] * middles[kept]) @ counts[kept]
                total += weights_of[kind] * weights_of[other] * debye
    number = ice.entries(size, LAST)
    expected = np.interp(q, np.linspace(0.0, 2 * LAST, number), ice.rings(size, number, LAST))
    y = np.pi * q * size
    forward = (3 * (np.sin(y) - y * np.cos(y)) / y**3) ** 2 * math.pi / 6 * size**3 / ICE_CELL_A3 * ICE_PER_CELL
    per_molecule = sum(len(places) * weights_of[element, b] for element, places, _, b in sites()) / ICE_PER_CELL
    expected = expected + forward * per_molecule**2
    found = total / molecules
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.02 * expected.max())
    assert found.sum() == pytest.approx(expected.sum(), rel=0.04)  # so many more molecules are in the twelve


def test_the_table_of_a_background_is_a_sum():
    """Water, air and ice have one table, of more entries than without ice; without ice it is the table of before."""
    both = shares(Background(water_um=10, air_mm=20, ice_um=5, table="water"), 0.1, False)
    assert len(both.water) == ice.entries(500.0, LAST) and both.last == LAST
    record = both.record
    np.testing.assert_array_equal(record.value, both.water + both.air + both.ice)
    assert record.per_stol == (len(both.water) - 1) / LAST
    dry = shares(Background(water_um=10, air_mm=20, table="water"), 0.1, False)
    assert len(dry.water) == GRID and not dry.ice.any()
    grid = np.linspace(0.0, LAST, GRID)
    np.testing.assert_allclose(np.interp(grid, np.linspace(0, LAST, len(both.air)), both.air), dry.air, rtol=1e-4)
    np.testing.assert_allclose(np.interp(grid, np.linspace(0, LAST, len(both.water)), both.water), dry.water, rtol=1e-4)


def test_the_named_table_is_that_of_the_file():
    stated = Background(water_um=1.0, table="water")
    np.testing.assert_array_equal(np.array(stated.table).T, shipped_table("water.stol"))


def test_an_image_has_rings():
    """They are at their resolutions, and of the light of a cube of ice as much is elastic as of one of water."""
    words = (
        "-cell 50 -default_F 1e-3 -N 5 -distance 100 -detpixels 300 -pixel 0.6 -lambda 1 -oversample 3 -fluence 1e20 -nopolar "
    )
    frozen, wet = (Experiment.from_args(words + more) for more in ("-ice 20 -ice_size 150", "-water 20 -water_table"))
    image, water = nbnumba.simulate(frozen), nbnumba.simulate(wet)
    resolution = nbnumba.resolution(frozen)
    bright = image > 0.5 * image.max()
    of_rings = np.abs(resolution[bright][:, np.newaxis] - [3.89, 3.66, 3.44]).min(axis=1)
    assert bright.sum() > 100 and of_rings.max() < 0.1
    inside = resolution > 1.5
    assert 0.7 < image[inside].sum() / water[inside].sum() < 1.5


@pytest.mark.parametrize(
    "name, value",
    [("ice_um", -1.0), ("ice_size_A", 9.0), ("ice_size_A", 2001.0), ("ice_size_A", "x"), ("table", "ice")],
)
def test_refusals(name, value):
    with pytest.raises(InputError, match=f"^background.{name}: .*allowed: "):
        Background(**{name: value})


@pytest.mark.parametrize("switch", ["water_scale", "amorphous_ignored"])
def test_c_has_no_ice(switch):
    with pytest.raises(InputError, match="^background.ice_um is not allowed with that defect of C"):
        nbnumba.simulate(Experiment.from_args(f"-cell 50 -default_F 1 -N 5 -ice 9 -detpixels 3 -c_parity {switch}"))


def test_flags():
    base = "-cell 50 -default_F 1 -N 5 -detpixels 3 "
    with pytest.raises(InputError, match="^-water_table is not allowed with that defect of C"):
        Experiment.from_args(base + "-water 9 -water_table -c_parity amorphous_ignored")
    with pytest.warns(UserWarning, match="^-water_table has no effect: -water says"):
        Experiment.from_args(base + "-water_table")
    with pytest.warns(UserWarning, match="^-ice_size has no effect: -ice says"):
        Experiment.from_args(base + "-ice_size 90")
    stated = Experiment.from_args(base + "-ice 9 -ice_size 90 -water 2 -water_table")
    assert (stated.background.ice_um, stated.background.ice_size_A) == (9.0, 90.0)
    assert stated.background == Background(water_um=2.0, ice_um=9.0, ice_size_A=90.0, table="water")


def test_rings_have_sub_pixels():
    """Crystallites that are larger than the crystal say how many there are by default, and a smaller number is warned of."""
    flags = "-cell 50 60 70 -default_F 1 -N 2 -distance 100 -detpixels 60 -pixel 0.5 -lambda 1 -fluence 1e28 "
    few, many = (Experiment.from_args(f"{flags} -ice 10 -ice_size {size:g}".split()) for size in (100, 1990))
    assert sampling.usual_oversample(few) == 3 and sampling.usual_oversample(many) == 3 * 10
    assert sampling.usual_oversample(many.replace({"background.ice_um": 0.0})) == 3
    with pytest.warns(UserWarning, match="for crystallites of ice are 1990 A long, .*sampling.oversample 30 is recommended"):
        simulate(many.replace({"sampling.oversample": 1}))
