"""Structure factors of atoms (F9c) against direct summation, with and without anomalous scattering and bulk solvent."""

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest
from atoms import PDB, SMALL, summed

import nbnumba
from nbnumba import StructureFactors
from nbnumba.amplitudes import atoms, expansion
from nbnumba.errors import InputError

DATA = Path(__file__).parents[3] / "shared" / "data"
WITH_DATA = pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")


def r_factor(amplitudes, reference):
    return np.abs(amplitudes - np.abs(reference)).sum() / np.abs(reference).sum()


def of_text(tmp_path, text, *args, **keywords):
    (tmp_path / "atoms").write_text(text)
    return StructureFactors.from_coordinates(tmp_path / "atoms", *args, **keywords)


@pytest.mark.parametrize("energy", [None, 12660.0, 9000.0])
def test_atoms_are_summed(tmp_path, energy):
    """P 21 21 21 with selenium, zinc, alternates and an anisotropic atom: all of P1, Friedel mates by themselves."""
    factors = of_text(tmp_path, PDB, 1.5, energy, solvent=False)
    reference = summed(gemmi.read_pdb_string(PDB), factors.hkl, energy)
    assert r_factor(factors.F, reference) < 1e-4
    assert factors.cell == (21.0, 24.0, 28.0, 90.0, 90.0, 90.0)
    mates = dict(zip(map(tuple, factors.hkl.tolist()), factors.F))
    differences = [abs(F - mates[-h, -k, -l]) for (h, k, l), F in mates.items()]
    assert max(differences) == 0.0 if energy is None else max(differences) > 0.5


def test_all_reflections_are_there(tmp_path):
    factors = of_text(tmp_path, PDB, 2.0)
    group = gemmi.SpaceGroup("P 21 21 21")
    unique = gemmi.make_miller_array(gemmi.UnitCell(21, 24, 28, 90, 90, 90), group, 2.0)
    equivalents = {
        tuple(sign * i for i in operation.apply_to_hkl(hkl))
        for hkl in unique.tolist() for operation in group.operations() for sign in (1, -1)
    }  # fmt: skip
    assert set(map(tuple, factors.hkl.tolist())) == equivalents - {(0, 0, 0)}
    assert len(factors.hkl) == len(equivalents)


def test_mmcif_and_packed_files_are_as_pdb(tmp_path):
    structure = gemmi.read_pdb_string(PDB)
    structure.setup_entities()
    made = of_text(tmp_path, structure.make_mmcif_document().as_string(), 2.0, 12000.0)
    np.testing.assert_allclose(made.F, of_text(tmp_path, PDB, 2.0, 12000.0).F, rtol=1e-4, atol=1e-3)
    (tmp_path / "packed").write_bytes(gzip.compress(PDB.encode()))
    packed = StructureFactors.from_coordinates(tmp_path / "packed", 2.0, 12000.0)
    np.testing.assert_array_equal(packed.F, of_text(tmp_path, PDB, 2.0, 12000.0).F)


@WITH_DATA
@pytest.mark.parametrize("energy", [None, 12398.42])
def test_a_real_protein_is_summed(energy):
    path = DATA / "1orc.pdb"
    factors = StructureFactors.from_coordinates(path, 2.0, energy, solvent=False)
    some = np.random.default_rng(1).choice(len(factors.hkl), 2000, replace=False)
    structure = gemmi.read_pdb_string(path.read_text())
    assert r_factor(factors.F[some], summed(structure, factors.hkl[some], energy)) < 1e-3


@WITH_DATA
def test_measured_amplitudes_of_a_peptide():
    measured = listed_by_index(StructureFactors.from_mtz, DATA / "5e5z.mtz")
    calculated = StructureFactors.from_coordinates(DATA / "5e5z.pdb", 1.66, 12398.42)
    pairs = [(measured[hkl], F) for hkl, F in zip(map(tuple, calculated.hkl.tolist()), calculated.F) if hkl in measured]
    assert len(pairs) > 1300 and np.corrcoef(np.array(pairs).T)[0, 1] > 0.9


def listed_by_index(read, path):
    with pytest.warns(UserWarning, match="no phases"):
        factors = read(path)
    return dict(zip(map(tuple, factors.hkl.tolist()), factors.F))


@WITH_DATA
def test_the_solvent_of_a_protein():
    """It has the opposite sign of the protein, at low resolution alone, and k_sol 0 is none."""
    path = DATA / "1orc.pdb"
    with_solvent, without = (StructureFactors.from_coordinates(path, 2.5, solvent=given) for given in (True, False))
    d = 1.0 / np.sqrt(gemmi.UnitCell(*with_solvent.cell).calculate_1_d2_array(with_solvent.hkl))
    ratio = [(with_solvent.F[part].sum() / without.F[part].sum()) for part in (d > 8.0, d < 2.7)]
    assert ratio[0] < 0.8 and abs(ratio[1] - 1.0) < 0.01
    none = StructureFactors.from_coordinates(path, 2.5, k_sol=0.0)
    np.testing.assert_array_equal(none.F, without.F)


def test_added_b(tmp_path):
    plain, damped = of_text(tmp_path, PDB, 2.0, 12660.0), of_text(tmp_path, PDB, 2.0, 12660.0, add_b_A2=7.0, k_sol=0.0)
    plain = of_text(tmp_path, PDB, 2.0, 12660.0, k_sol=0.0)
    squared = gemmi.UnitCell(*plain.cell).calculate_1_d2_array(plain.hkl)
    np.testing.assert_allclose(damped.F, plain.F * np.exp(-7.0 / 4.0 * squared), rtol=1e-12)


@pytest.mark.parametrize("energy", [None, 7500.0])
def test_a_small_molecule(tmp_path, energy):
    """gemmi's own sum over sites; iron stands on the centre, so that it counts once of four times."""
    factors = of_text(tmp_path, SMALL, 0.9, energy)
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(SMALL)[0])
    small.setup_cell_images()
    small.change_occupancies_to_crystallographic()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    if energy is not None:
        for element in ("Fe", "Cl", "C"):
            f_prime, f_double = gemmi.cromer_liberman(gemmi.Element(element).atomic_number, energy)
            calculator.addends.set(gemmi.Element(element), f_prime)
    real = np.array([calculator.calculate_sf_from_small_structure(small, hkl) for hkl in factors.hkl.tolist()])
    if energy is not None:
        both = real.copy()
        for element in ("Fe", "Cl", "C"):
            f_prime, f_double = gemmi.cromer_liberman(gemmi.Element(element).atomic_number, energy)
            calculator.addends.set(gemmi.Element(element), f_prime + f_double)
        both = np.array([calculator.calculate_sf_from_small_structure(small, hkl) for hkl in factors.hkl.tolist()])
        real = real + 1j * (both - real)
    assert r_factor(factors.F, real) < 1e-5


def test_a_table_near_an_edge(tmp_path):
    """It counts between its first and last energy, and Cromer and Liberman elsewhere, and for other elements."""
    (tmp_path / "se.txt").write_text("# chooch\nSE 12650, -8, 0.5\nSe 12660 -11 4 ! peak\n")
    table = nbnumba.formats.anomalous.read(tmp_path / "se.txt", "-anomalous")
    assert atoms.anomalous("Se", 12655.0, table) == (-9.5, 2.25)
    assert atoms.anomalous("Se", 12670.0, table) == gemmi.cromer_liberman(34, 12670.0)
    assert atoms.anomalous("Zn", 12655.0, table) == gemmi.cromer_liberman(30, 12655.0)
    assert atoms.anomalous("Zn", None, table) == (0.0, 0.0)
    own = of_text(tmp_path, PDB, 2.0, 12655.0, anomalous=tmp_path / "se.txt")
    assert np.abs(own.F - of_text(tmp_path, PDB, 2.0, 12655.0).F).max() > 1.0


@pytest.mark.parametrize(
    "text, why",
    [
        ("Xx 12650 1 1", "not an element"), ("Se 12650 1", "f' and f''"), ("Se -1 1 1", "above 0"), ("", "is empty"),
        ("Se 1e4 1 -1", "not below 0"), ("Se 1e4 1 1\nSe 1e4 1 1", "twice"), ("Se 1e4 x 1", "f' and f''"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused(tmp_path, text, why):
    (tmp_path / "se.txt").write_text(text)
    with pytest.raises(InputError, match=why):
        of_text(tmp_path, PDB, 2.0, 12655.0, anomalous=tmp_path / "se.txt")


@pytest.mark.parametrize(
    "text, why",
    [
        ("1 2 3 4\n", "holds no atoms"),
        (PDB.replace("P 21 21 21", "P 9"), "unknown space group"),
        ("\n".join(PDB.split("\n")[1:]), "no unit cell"),
        (PDB.split("\n")[0] + "\n", "no atoms"),
        (PDB.replace("          SE\n", "           X\n").replace("SE   MSE", " X   UNX"), "unknown element"),
        (SMALL.replace("x,y,z", "x,y,w"), "cannot be read"),
        ("data_x\nloop_\n_refln.index_h\n1\n", "-cif and -mtz"),
        (SMALL.replace("_cell_length_a 6.1\n", ""), "no unit cell"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        of_text(tmp_path, text, 2.0)


@pytest.mark.parametrize(
    "keywords", [{"resolution_A": x} for x in (0.0, 100.0, 0.01)] + [{"resolution_A": 2.0, "energy_eV": -1.0}]
)
def test_wrong_numbers_are_refused(tmp_path, keywords):
    with pytest.raises(InputError, match="allowed"):
        of_text(tmp_path, PDB, **keywords)


def test_too_many_energies_are_refused(tmp_path):
    with pytest.raises(InputError, match="at each of 100000 photon energies are too many"):
        of_text(tmp_path, PDB, 1.8, np.linspace(10000.0, 11000.0, 100000))


def test_an_element_without_anomalous_scattering_is_said(tmp_path):
    text = PDB.replace("ZN    ZN", "NP    NP").replace("          ZN\n", "          NP\n")
    with pytest.warns(UserWarning, match="no f' and f'' are known of Np"):
        of_text(tmp_path, text, 2.5, 12000.0)


def test_several_models_and_copies_are_said(tmp_path):
    lines = PDB.split("\n")
    models = "\n".join([lines[0], "MODEL        1", *lines[1:-1], "ENDMDL", "MODEL        2", *lines[1:-1], "ENDMDL", ""])
    with pytest.warns(UserWarning, match="2 models, of which the first counts"):
        factors = of_text(tmp_path, models, 2.0)
    np.testing.assert_array_equal(factors.F, of_text(tmp_path, PDB, 2.0).F)
    copies = "".join(
        f"MTRIX{row}   1{x:10.6f}{y:10.6f}{z:10.6f}     {5.0 if row == 1 else 0.0:10.5f}\n"
        for row, (x, y, z) in zip((1, 2, 3), np.eye(3))
    )
    with pytest.warns(UserWarning, match="copies by non-crystallographic symmetry"):
        assert np.abs(of_text(tmp_path, lines[0] + "\n" + copies + "\n".join(lines[1:]), 2.0).F - factors.F).max() > 1.0


def test_absent_reflections_of_a_screw_axis():
    symmetry = nbnumba.formats.symmetry.of_space_group(gemmi.SpaceGroup("P 21 21 21"))
    hkl = np.array([[1, 0, 0], [2, 0, 0], [0, 3, 0], [1, 1, 0]])
    assert expansion.absent(hkl, symmetry).tolist() == [True, False, True, False]
