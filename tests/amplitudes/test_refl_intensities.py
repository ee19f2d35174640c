"""Amplitudes of DIALS' intensities: which rows and columns count, how they are corrected and merged, and what is refused."""

import json
import warnings

import geometry_files
import numpy as np
import pytest
import real_data
from real_data import needs

from nbnumba import InputError, StructureFactors
from nbnumba.formats.messagepack import packed
from nbnumba.formats.refl import DIALS_TYPES, write_refl

SUM, PRF, SCALED = 1 << 8, (1 << 8) + (1 << 9), 1 << 26
HKL = [[1, 2, 3], [1, 2, 3], [-1, -2, 3], [4, 0, 0], [0, 0, 0], [2, 2, 2]]
VALUES = np.array([1e6, 4e6, 2e6, 9e6, 5e6, 7e6])
SIGMAS = np.array([1e3, 2e3, 1e3, 1e3, 1e3, 1e3])


def columns(**changes):
    """A table of six rows whose intensities are far above their uncertainties; changes: columns, or None for none of them."""
    made = {
        "miller_index": ("cctbx::miller::index<>", np.array(HKL)),
        "id": ("int", np.zeros(6)),
        "flags": ("std::size_t", np.array([PRF, PRF, PRF, PRF, PRF, SUM])),
        "intensity.prf.value": ("double", VALUES),
        "intensity.prf.variance": ("double", SIGMAS**2),
    }
    made |= {name.replace("__", "."): value for name, value in changes.items()}
    stated = {name: value for name, value in made.items() if value is not None}
    return {name: value if isinstance(value, tuple) else ("double", np.array(value, float)) for name, value in stated.items()}


@pytest.fixture
def refl(tmp_path):
    """A function that writes a table of columns, and returns its amplitudes by index, and what is said."""

    def amplitudes(table, expt=None, experiment=None, **fields):
        write_refl(tmp_path / "t.refl", table, "-predictions")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            factors = StructureFactors.from_refl(tmp_path / "t.refl", expt, experiment, **fields)
        found = dict(zip(map(tuple, factors.hkl.tolist()), factors.F.tolist()))
        return found, " ".join(str(warning.message) for warning in caught), factors.cell

    return amplitudes


def expt(tmp_path, symbol=" P 2 2", identifiers=("",)):
    """The path of a list of experiments, of a crystal of the cell 30 40 50 and this space group."""
    content = geometry_files.experiments()
    content["crystal"][0] |= {"space_group_hall_symbol": symbol}
    content["experiment"] = [{**content["experiment"][0], "identifier": identifier} for identifier in identifiers]
    (tmp_path / "m.expt").write_text(json.dumps(content))
    return tmp_path / "m.expt"


def root(found, hkl):
    return found[hkl] ** 2 / 1e6


def test_repeats_are_merged_by_their_variances_and_expanded_by_the_space_group(refl, tmp_path):
    """1 2 3 and -1 -2 3 are equivalent in P 2 2 2: the mean of 1, 4 and 2 with the weights 1, 1/4 and 1 is 4 / 2.25."""
    found, said, cell = refl(columns(), expt(tmp_path))
    assert cell == pytest.approx((30.0, 40.0, 50.0, 90.0, 90.0, 90.0), rel=1e-12)
    assert set(found) == {(h * 1, k * 2, l * 3) for h in (1, -1) for k in (1, -1) for l in (1, -1)} | {(4, 0, 0), (-4, 0, 0)}
    assert root(found, (1, 2, 3)) == root(found, (-1, 2, -3)) == root(found, (1, 2, -3)) == pytest.approx(4 / 2.25, rel=1e-5)
    assert root(found, (4, 0, 0)) == pytest.approx(9.0, rel=1e-5)
    assert "profile-fitted intensities of DIALS are read; F is estimated by French and Wilson's method" in said
    assert "2 unique reflections of P 2 2 2 are 10 of P1" in said


def test_without_a_list_p1_is_said(refl):
    found, said, cell = refl(columns(), cell=(30, 40, 50, 90, 90, 90))
    assert "no .expt states the space group: P1 is assumed" in said
    assert len(found) == 6 and root(found, (1, 2, 3)) == pytest.approx(2 / 1.25, rel=1e-5)
    assert root(found, (-1, -2, 3)) == pytest.approx(2.0, rel=1e-5)
    assert "has not a unit cell" in refl(columns())[1]


def test_friedel_mates_are_kept_apart(refl, tmp_path):
    changed = columns(miller_index=("cctbx::miller::index<>", np.array([[1, 2, 3], [-1, -2, -3], *HKL[2:]])))
    found, _, _ = refl(changed, expt(tmp_path, "P 1"))
    assert [root(found, hkl) for hkl in ((1, 2, 3), (-1, -2, -3))] == pytest.approx([1.0, 4.0], rel=1e-5)


def test_corrections(refl, tmp_path):
    """lp multiplies and qe divides, uncertainties likewise; dqe is an old name of qe, and sums are over the partiality."""
    lp, qe, part = np.full(6, 0.5), np.full(6, 0.8), np.array([1.0, 1, 1, 0.992, 1, 1])
    found, _, _ = refl(columns(lp=lp, qe=qe, partiality=part), expt(tmp_path))
    assert root(found, (4, 0, 0)) == pytest.approx(9.0 * 0.5 / 0.8, rel=1e-5)
    assert root(refl(columns(dqe=qe), expt(tmp_path))[0], (4, 0, 0)) == pytest.approx(9.0 / 0.8, rel=1e-5)
    summed = {"intensity__sum__value": VALUES, "intensity__sum__variance": SIGMAS**2, "flags": ("std::size_t", np.full(6, SUM))}
    found, said, _ = refl(columns(lp=lp, partiality=part, **summed), expt(tmp_path))
    assert "summed intensities of DIALS are read" in said
    assert root(found, (4, 0, 0)) == pytest.approx(9.0 * 0.5 / 0.992, rel=1e-5) and (2, 2, 2) in found
    uneven = np.array([2.0, 1, 1, 1, 1, 1])  # the intensities are 2, 4 and 2, and their uncertainties 2, 2 and 1
    found, _, _ = refl(columns(lp=uneven), expt(tmp_path))
    assert root(found, (1, 2, 3)) == pytest.approx((2 / 4 + 4 / 4 + 2) / 1.5, rel=1e-5)


def test_scaled_intensities_count_first(refl, tmp_path):
    """Over their inverse scale factor, of all experiments, without lp and qe; and not those that scaling left out."""
    scaled = columns(
        intensity__scale__value=VALUES, intensity__scale__variance=SIGMAS**2, lp=np.full(6, 9.0), partiality=np.full(6, 0.5),
        inverse_scale_factor=[1.0, 1.0, 2.0, 3.0, 1.0, 1.0], id=("int", np.array([0, 1, 0, 1, 0, -1])),
        flags=("std::size_t", np.array([SCALED, 1, SCALED, SCALED, SCALED, SCALED])),
    )  # fmt: skip
    for experiment in (None, 0):
        found, said, _ = refl(scaled, expt(tmp_path), experiment)
        assert set(map(lambda hkl: abs(hkl[0]), found)) == {1, 4}
        assert root(found, (4, 0, 0)) == pytest.approx(3.0, rel=1e-5)
        assert root(found, (1, 2, 3)) == pytest.approx((1 + 1 * 4) / 5, rel=1e-5)
        assert "scaled intensities" in said and "2 experiments, which are on one scale, all count" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"partiality": [1, 1, 1, 0.98, 1, 1]}, {"lp": [1, 1, 1, 0, 1, 1]}, {"qe": [1, 1, 1, 0, 1, 1]},
        {"qe": [1, 1, 1, -1, 1, 1]},
        {"lp": [1, 1, 1, np.nan, 1, 1]}, {"intensity__prf__variance": [1e6, 4e6, 1e6, 0, 1e6, 1e6]},
        {"intensity__prf__variance": [1e6, 4e6, 1e6, -1, 1e6, 1e6]},
        {"intensity__prf__variance": [1e6, 4e6, 1e6, 1e300, 1e6, 1e6]},
        {"intensity__prf__value": [1e6, 4e6, 2e6, np.inf, 1, 1]}, {"intensity__prf__value": [1e6, 4e6, 2e6, 1e200, 1, 1]},
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used_are_left_out_with_a_count(refl, tmp_path, changes):
    found, said, _ = refl(columns(**changes), expt(tmp_path))
    assert (4, 0, 0) not in found and len(found) == 8
    assert "1 of 4 are left out, because they are partial or lack a variance or an efficiency" in said


def test_several_experiments(refl, tmp_path):
    """Of unscaled intensities those of one count: of the first with a remark, or of the one that is chosen."""
    several = columns(id=("int", np.array([0, 1, 0, 1, 0, -1])))
    listed = expt(tmp_path, identifiers=("", ""))
    found, said, _ = refl(several, listed)
    assert "of 2 experiments number 0 counts" in said and len(found) == 8 and (4, 0, 0) not in found
    found, said, _ = refl(several, listed, 1)
    assert "counts" not in said and len(found) == 10 and root(found, (1, 2, 3)) == pytest.approx(4.0, rel=1e-5)
    with pytest.raises(InputError, match="from_refl: .*t.refl' has no reflections of experiment 5; allowed: .* has, 0, 1"):
        refl(several, None, 5)


def test_experiments_are_known_by_their_identifiers(tmp_path):
    """The table calls the second experiment of the list 7."""
    table = columns(id=("int", np.full(6, 7)))
    data = {
        name: [kind, [6, np.ascontiguousarray(array).astype(DIALS_TYPES[kind][0]).tobytes()]]
        for name, (kind, array) in table.items()
    }
    content = ["dials::af::reflection_table", 1, {"identifiers": {7: "second"}, "nrows": 6, "data": data}]
    (tmp_path / "t.refl").write_bytes(packed(content))
    listed = expt(tmp_path, identifiers=("first", "second"))
    with pytest.warns(UserWarning, match="2 unique reflections"):
        assert len(StructureFactors.from_refl(tmp_path / "t.refl", listed, 1).hkl) == 10
    with pytest.raises(InputError, match="has no reflections of an experiment 'first', as the .expt calls it; allow"):
        StructureFactors.from_refl(tmp_path / "t.refl", listed, 0)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"intensity__prf__value": None}, "has no integrated intensities; allowed: an integrated.refl or scaled.refl of DIALS"),
        ({"flags": ("std::size_t", np.full(6, 1))}, "has no integrated intensities"),
        ({"flags": None}, "has no column flags; allowed"),
        ({"miller_index": None}, "has no column miller_index"),
        ({"intensity__prf__variance": None}, "has no column intensity.prf.variance"),
        ({"flags": np.ones(6)}, "has a column flags of float64; allowed: whole numbers"),
        ({"miller_index": ("vec3<double>", np.ones((6, 3)))}, "has a column miller_index of float64; allowed: whole numbers"),
        ({"lp": ("vec2<double>", np.ones((6, 2)))}, "has a column lp of the wrong type"),
        ({"lp": np.zeros(6)}, "has 4 profile-fitted intensities, of which none can be used"),
        ({"miller_index": ("cctbx::miller::index<>", np.full((6, 3), 2**21))}, "has an index of 2097152; allowed: at most"),
    ],
)
def test_tables_without_what_it_takes_are_refused(refl, changes, sentence):
    with pytest.raises(InputError, match=f"from_refl: .*t.refl' {sentence}"):
        refl(columns(**changes))


@pytest.mark.parametrize("experiment", ["x", -1, 0.5, float("nan"), [1, 2]])
def test_an_experiment_that_is_no_number_is_refused(refl, experiment):
    with pytest.raises(InputError, match="from_refl.experiment: .* allowed: a whole number from 0"):
        refl(columns(), None, experiment)


def test_names_that_are_none_are_refused(refl, tmp_path):
    with pytest.raises(InputError, match="from_refl: int is not the name of a file"):
        StructureFactors.from_refl(5)
    with pytest.raises(InputError, match="from_refl: expt: int is not the name of a file"):
        refl(columns(), 5)


def test_a_space_group_that_is_none_is_refused(refl, tmp_path):
    with pytest.raises(InputError, match="the space group of .*m.expt' is 'P 9z'; allowed: a symbol of Hall"):
        refl(columns(), expt(tmp_path, "P 9z"))


@needs(real_data.REAL / "l_cysteine")
def test_intensities_of_one_real_sweep_are_those_of_all(tmp_path):
    """DIALS' intensities of L-cysteine: their amplitudes correlate with those that were merged from all sweeps."""
    folder = real_data.REAL / "l_cysteine"
    recorded = np.load(folder / "sweep01_integrated.npz")
    count = len(recorded["hkl"])
    table = {
        "miller_index": ("cctbx::miller::index<>", recorded["hkl"]),
        "id": ("int", np.zeros(count)),
        "flags": ("std::size_t", np.full(count, PRF)),
        "intensity.prf.value": ("double", recorded["intensity_profile"]),
        "intensity.prf.variance": ("double", recorded["variance"]),
    }
    table |= {name: ("double", recorded[name]) for name in ("lp", "qe", "partiality")}
    write_refl(tmp_path / "s.refl", table, "-predictions")
    with pytest.warns(UserWarning, match="unique reflections of P 2 2 2"):
        found = StructureFactors.from_refl(tmp_path / "s.refl", folder / "sweep01.expt")
    rows = np.loadtxt(folder / "P1.hkl")
    merged = {tuple(row[:3].astype(int).tolist()): row[3] for row in rows}
    known = [merged.get(tuple(hkl), np.nan) for hkl in found.hkl.tolist()]
    common = np.isfinite(known)
    assert common.sum() > 10000
    assert np.corrcoef(found.F[common] ** 2, np.array(known)[common] ** 2)[0, 1] > 0.99
