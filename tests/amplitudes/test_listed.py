"""Reflections of files, merged and expanded to P1 (F9d): against gemmi's operations, and what is said and refused."""

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest
from atoms import CELL, REFLECTIONS, integrated, mtz

import nbnumba
from nbnumba import StructureFactors
from nbnumba.amplitudes import expansion, listed
from nbnumba.errors import InputError
from nbnumba.formats.refl import write_refl
from nbnumba.formats.reflection_data import ReflectionData
from nbnumba.formats.symmetry import of_space_group

DATA = Path(__file__).parents[3] / "shared" / "data"


def write_mtz(path, columns, rows):
    path.write_bytes(mtz(columns, rows))
    return path


def by_index(factors):
    return dict(zip(map(tuple, factors.hkl.tolist()), factors.F.tolist()))


@pytest.mark.parametrize("name", ["P 1", "P 21 21 21", "C 1 2 1", "P 63 2 2", "R 3 :H", "F d -3 m :2", "P 41 3 2"])
@pytest.mark.parametrize("friedel", [True, False])
def test_expansion_against_the_operations(name, friedel):
    group = gemmi.SpaceGroup(name)
    cell = {"R 3 :H": (20, 20, 30, 90, 90, 120), "P 63 2 2": (20, 20, 30, 90, 90, 120), "C 1 2 1": (20, 21, 22, 90, 97, 90)}
    cell = gemmi.UnitCell(*cell.get(name, (20, 20, 20, 90, 90, 90)))
    unique = gemmi.make_miller_array(cell, group, 4.0)
    random = np.random.default_rng(5)
    expected, rows, values = {}, [], []
    for hkl in unique.tolist():
        plus, minus = random.random(2) + 1.0
        if friedel or group.operations().is_reflection_centric(hkl):
            minus = plus
        rows += [hkl, [-i for i in hkl]] if not friedel else [hkl]
        values += [plus, minus] if not friedel else [plus]
        for operation in group.operations():
            turned = operation.apply_to_hkl(hkl)
            expected[tuple(turned)], expected[tuple(-i for i in turned)] = plus, minus
    data = ReflectionData(np.array(rows), np.array(values), None, False, friedel, of_space_group(group), None, ())
    found = listed.of_data(data, "-mtz: 'x'")
    assert dict(zip(map(tuple, found.hkl.tolist()), found.F.tolist())) == expected


def test_absences_multiplicity_and_centric_reflections_against_gemmi():
    hkl = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[hkl.any(axis=1)]
    for name in ("P 21 21 21", "C 1 2 1", "I 41 2 2", "F d -3 m :2"):
        group, symmetry = gemmi.SpaceGroup(name).operations(), of_space_group(gemmi.SpaceGroup(name))
        np.testing.assert_array_equal(expansion.absent(hkl, symmetry), group.systematic_absences(hkl.astype(np.int32)))
        np.testing.assert_array_equal(
            expansion.multiplicity(hkl, symmetry), group.epsilon_factor_without_centering_array(hkl.astype(np.int32))
        )
        np.testing.assert_array_equal(expansion.centric(hkl, symmetry), group.centric_flag_array(hkl.astype(np.int32)))


PAIR = [("FP", "F"), ("F(+)", "G"), ("F(-)", "G"), ("I", "J"), ("SIGI", "Q"), ("FC", "F"), ("FWT", "F"), ("PHWT", "P")]
ROWS = [[1, 2, 3, 10, 11, 9, 100, 2, 12, 13, 30], [0, 0, 4, 7, 8, np.nan, 49, 2, 6, 5, 30], [0, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1]]


def test_pairs_are_kept_apart_and_what_was_taken_is_said(tmp_path):
    path = write_mtz(tmp_path / "in.mtz", PAIR, ROWS)
    with pytest.warns(UserWarning) as said:
        factors = StructureFactors.from_mtz(path)
    (sentence,) = [str(warning.message) for warning in said]
    for words in ("F(+) and F(-)", "phases, which are not needed", "1 of 6 have no value", "absent by symmetry", "P 21 21 21"):
        assert words in sentence
    found = by_index(factors)
    assert found[1, 2, 3] == found[-1, -2, 3] == 11.0 and found[-1, -2, -3] == found[1, 2, -3] == 9.0
    assert found[0, 0, 4] == found[0, 0, -4] == 8.0 and len(found) == 10 and factors.cell == CELL


@pytest.mark.parametrize(
    "columns, column, value",
    [
        (range(8), "FP", 10.0), ([0, 3, 4, 5, 6, 7], None, 10.0), ([3, 4, 5, 6, 7], None, 12.0 + 1.0), ([6, 7, 0], None, 10.0),
        (range(8), "FWT", 30.0), (range(8), "F(-)", 11.0), (range(8), "FC", 13.0),
    ],
)  # fmt: skip
def test_the_column_that_is_taken(tmp_path, columns, column, value):
    rows = [[*row[:3], *(([*row[3:8], row[9], row[10], 50.0])[i] for i in columns)] for row in ROWS]
    path = write_mtz(tmp_path / "in.mtz", [PAIR[i] for i in columns], rows)
    with pytest.warns(UserWarning, match="are read"):
        assert by_index(StructureFactors.from_mtz(path, column))[1, 2, 3] == value


@pytest.mark.parametrize(
    "column, why", [("nothing", "is not a column"), ("PHWT", "is of type P"), ("SIGI", "is of type Q")]
)
def test_a_wrong_column_is_refused(tmp_path, column, why):
    path = write_mtz(tmp_path / "in.mtz", PAIR, [[*row[:8], *row[9:], 50.0] for row in ROWS])
    with pytest.raises(InputError, match=rf"-column: '{column}'.*{why}.*allowed: FP, F\(\+\), F\(-\), I, FC, FWT"):
        StructureFactors.from_mtz(path, column)


def test_negative_amplitudes_and_empty_columns_are_refused(tmp_path):
    with pytest.raises(InputError, match="has F -999"):
        StructureFactors.from_mtz(write_mtz(tmp_path / "in.mtz", [("FP", "F")], [[1, 2, 3, -999.0]]))
    with pytest.raises(InputError, match="no reflection with a value"):
        StructureFactors.from_mtz(write_mtz(tmp_path / "in.mtz", [("FP", "F")], [[1, 2, 3, np.nan]]))
    with pytest.raises(InputError, match="no column of amplitudes"):
        StructureFactors.from_mtz(write_mtz(tmp_path / "in.mtz", [("PHI", "P")], [[1, 2, 3, 4.0]]))
    (tmp_path / "in.mtz").write_text("no MTZ")
    with pytest.raises(InputError, match="is not an MTZ file"):
        StructureFactors.from_mtz(tmp_path / "in.mtz")


@pytest.mark.parametrize("anomalous", [False, True])
def test_a_written_mtz_is_read_back(tmp_path, anomalous):
    hkl = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[hkl.any(axis=1)]
    F = np.float32(np.random.default_rng(2).random(len(hkl)) + 1.0).astype(float)
    F = F if anomalous else np.maximum(F, F[::-1])
    factors = StructureFactors(hkl=hkl, F=F)
    with pytest.raises(InputError, match="no unit cell is known"):
        factors.to_mtz(tmp_path / "out.mtz")
    factors.to_mtz(tmp_path / "out.mtz", CELL)
    assert gemmi.read_mtz_file(str(tmp_path / "out.mtz")).spacegroup.hm == "P 1"
    (tmp_path / "out.mtz.gz").write_bytes(gzip.compress((tmp_path / "out.mtz").read_bytes()))
    for name in ("out.mtz", "out.mtz.gz"):
        with pytest.warns(UserWarning):
            back = StructureFactors.from_mtz(tmp_path / name)
        assert by_index(back) == by_index(factors) and back.cell == CELL


XDS = """!FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW={law}
!OUTPUT_FILE=XDS_ASCII.HKL        DATE= 1-Jan-2020
!Generated by CORRECT   (VERSION Jan 31, 2020)
!SPACE_GROUP_NUMBER=   19
!UNIT_CELL_CONSTANTS=    30.00    40.00    50.00  90.000  90.000  90.000
!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=12
!ITEM_H=1
!ITEM_K=2
!ITEM_L=3
!ITEM_IOBS=4
!ITEM_SIGMA(IOBS)=5
!ITEM_XD=6
!ITEM_YD=7
!ITEM_ZD=8
!ITEM_RLP=9
!ITEM_PEAK=10
!ITEM_CORR=11
!ITEM_PSI=12
!END_OF_HEADER
1 2 3 1.0E+04 1.0E+01 10.0 10.0 1.0 0.1 100 50 10.0
-1 -2 3 4.0E+04 2.0E+01 10.0 10.0 1.0 0.1 100 50 10.0
-1 -2 -3 9.0E+04 1.0E+01 10.0 10.0 1.0 0.1 100 50 10.0
1 2 4 1.0E+04 -1.0E+01 10.0 10.0 1.0 0.1 100 50 10.0
2 2 4 -1.0E+01 1.0E+01 10.0 10.0 1.0 0.1 100 50 10.0
!END_OF_DATA
"""


def test_intensities_of_xds_are_merged(tmp_path):
    """16000 is the mean of 10000 and 40000 by 1 / sigma^2, and F within a part in 1e5 of its root."""
    (tmp_path / "XDS_ASCII.HKL").write_text(XDS.format(law="FALSE"))
    with pytest.warns(UserWarning, match="1 that XDS rejected.*1 intensities are below 0"):
        factors = StructureFactors.from_hkl(tmp_path / "XDS_ASCII.HKL")
    found = by_index(factors)
    assert found[1, 2, 3] == pytest.approx(np.sqrt(16000.0), rel=1e-5)
    assert found[-1, -2, -3] == pytest.approx(300.0, rel=1e-5)
    assert (1, 2, 4) not in found and 0.0 < found[2, 2, 4] < np.sqrt(10.0) and factors.cell == CELL
    (tmp_path / "XDS_ASCII.HKL").write_text(XDS.format(law="TRUE"))
    with pytest.warns(UserWarning):
        merged = by_index(StructureFactors.from_hkl(tmp_path / "XDS_ASCII.HKL"))
    assert merged[1, 2, 3] == merged[-1, -2, -3] == pytest.approx(np.sqrt((1.0e4 + 1.0e4 + 9e4) / 2.25), rel=1e-4)
    with pytest.warns(UserWarning):
        assert len(nbnumba.read_hkl(tmp_path / "XDS_ASCII.HKL")[0]) == len(merged)


SHELX = "   1   2   3  100.00    1.00   1\n   1   2   3  104.00    1.00   1\n   2   0   0{:8.2f}    3.00   1\n"
SHELX += "   0   0   0    0.00    0.00   0\n 9 9 9\n"


def test_intensities_of_shelx(tmp_path):
    (tmp_path / "s.hkl").write_text(SHELX.format(64.0))
    with pytest.warns(UserWarning, match="square root of the intensity"):
        found = by_index(StructureFactors.from_hkl(tmp_path / "s.hkl"))
    assert found == pytest.approx({(1, 2, 3): 102.0**0.5, (-1, -2, -3): 102.0**0.5, (2, 0, 0): 8.0, (-2, 0, 0): 8.0})
    (tmp_path / "s.hkl").write_text(SHELX.format(-1.0))
    with pytest.raises(InputError, match="1 intensities below 0"):
        StructureFactors.from_hkl(tmp_path / "s.hkl")
    with pytest.warns(UserWarning, match="French and Wilson"):
        assert 0.0 < by_index(StructureFactors.from_hkl(tmp_path / "s.hkl", cell=CELL))[2, 0, 0] < 3.0


def test_reflections_of_cif(tmp_path):
    (tmp_path / "in.cif").write_text(REFLECTIONS)
    with pytest.warns(UserWarning, match="F_meas_au are read; it holds no phases.*1 of status x.*1 of 2 have no value"):
        factors = StructureFactors.from_cif(tmp_path / "in.cif")
    found = by_index(factors)
    assert set(found.values()) == {10.5} and len(found) == 8 and factors.cell == CELL
    with pytest.warns(UserWarning, match="F_calc_au are read"):
        assert by_index(StructureFactors.from_cif(tmp_path / "in.cif", "F_calc_au"))[-3, 3, 3] == 13.0
    for text, column, why in (
        (REFLECTIONS, "F_meas_sigma_au", "no amplitude or intensity"),
        (REFLECTIONS.replace("_symmetry.space_group_name_H-M 'P 21 21 21'\n", ""), None, "no space group"),
        (REFLECTIONS.replace("F_meas", "x").replace("F_calc", "y"), None, "no amplitudes or intensities"),
        ("data_x\n_a.b 1\n", None, "without reflections"),
        ("data_x\nloop_\n_atom_site.Cartn_x\n1\n", None, "-pdb for atoms"),
        ("not a cif", None, "cannot be read as CIF"),
        (REFLECTIONS.replace("1 2 3 o", "1.5 2 3 o"), None, "no whole number"),
    ):
        (tmp_path / "in.cif").write_text(text)
        with pytest.raises(InputError, match=why):
            StructureFactors.from_cif(tmp_path / "in.cif", column)


def test_structure_factors_of_the_pdb_are_as_their_mtz(tmp_path):
    """By gemmi's own conversion."""
    rows = [[1, 2, 3, 10.5, 0.1], [2, 0, 0, 7.0, 0.1]]
    made = gemmi.read_mtz_file(str(write_mtz(tmp_path / "in.mtz", [("FP", "F"), ("SIGFP", "Q")], rows)))
    (tmp_path / "in.cif").write_text(gemmi.MtzToCif().write_cif_to_string(made))
    with pytest.warns(UserWarning):
        of_mtz, of_cif = StructureFactors.from_mtz(tmp_path / "in.mtz"), StructureFactors.from_cif(tmp_path / "in.cif")
    assert by_index(of_cif) == pytest.approx(by_index(of_mtz), rel=1e-5) and of_cif.cell == of_mtz.cell


def test_small_molecules_in_cif(tmp_path):
    """F squared counts before calculated values; a list of SHELX within the file has its cell and symmetry."""
    head = REFLECTIONS.split("loop_")[0].replace("_cell.", "_cell_").replace("_symmetry.", "_symmetry_")
    loop = "loop_\n_refln_index_h\n_refln_index_k\n_refln_index_l\n_refln_F_squared_calc\n_refln_F_squared_meas\n"
    loop += "_refln_F_squared_sigma\n1 2 3 90 10000 1\n"
    (tmp_path / "in.cif").write_text(head + loop)
    with pytest.warns(UserWarning, match="intensities F_squared_meas are read"):
        assert by_index(StructureFactors.from_cif(tmp_path / "in.cif"))[-1, 2, 3] == pytest.approx(100.0, rel=1e-4)
    (tmp_path / "in.cif").write_text(f"{head}_shelx_hkl_file\n;\n{SHELX.format(64.0)};\n")
    with pytest.warns(UserWarning, match="SHELX"):
        found = by_index(StructureFactors.from_cif(tmp_path / "in.cif"))
    assert found[1, -2, -3] == pytest.approx(102.0**0.5, rel=1e-3) and len(found) == 10


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
def test_the_recorded_amplitudes_of_a_peptide():
    with pytest.warns(UserWarning, match="it holds no phases, which are not needed"):
        found = by_index(StructureFactors.from_mtz(DATA / "5e5z.mtz"))
    read, expected = gemmi.read_mtz_file(str(DATA / "5e5z.mtz")), {}
    for hkl, F in zip(read.make_miller_array().tolist(), np.array(read.column_with_label("FP")).tolist()):
        for operation in read.spacegroup.operations() if F == F else ():
            turned = operation.apply_to_hkl(hkl)
            expected[tuple(turned)] = expected[tuple(-i for i in turned)] = F
    assert found == expected and len(found) == 1424
    with pytest.warns(UserWarning, match="French and Wilson"):
        estimated = by_index(StructureFactors.from_mtz(DATA / "5e5z.mtz", "I"))
    assert np.corrcoef([(found[hkl], estimated[hkl]) for hkl in found if hkl in estimated], rowvar=False)[0, 1] > 0.9999


def of_dials(path, what):
    return listed.from_refl(path, what, None, CELL)


@pytest.mark.parametrize("kind", ["mtz", "cif", "xds", "refl"])
def test_damaged_files_are_refused_in_a_sentence(tmp_path, kind):
    texts = {"cif": REFLECTIONS.encode(), "xds": XDS.format(law="TRUE").encode()}
    write_refl(tmp_path / "in.refl", integrated([[1, 2, 3], [2, 0, 0]] * 20, np.linspace(1e3, 1e5, 40)), "-refl")
    texts["refl"] = (tmp_path / "in.refl").read_bytes()
    content = texts.get(kind) or write_mtz(tmp_path / "in.mtz", PAIR, [[*row[:8], *row[9:], 50.0] for row in ROWS]).read_bytes()
    read = {"mtz": listed.from_mtz, "cif": listed.from_cif, "xds": listed.from_hkl, "refl": of_dials}[kind]
    random, refused = np.random.default_rng(3), 0
    for _ in range(150):
        damaged = bytearray(content[: random.integers(10, len(content))] if random.random() < 0.3 else content)
        for place in random.integers(0, len(damaged), random.integers(0, 6)):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "damaged").write_bytes(bytes(damaged))
        try:
            read(tmp_path / "damaged", "-flag")
        except InputError as error:
            refused += 1
            assert str(error).startswith("-flag: ") and "\n" not in str(error) and len(str(error)) < 600
    assert refused > 20
