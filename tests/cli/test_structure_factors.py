"""-pdb, -mtz, -cif, -refl and -hkl on the command line: the cell, the resolution, what is said and refused, refined flags."""

import json
import shlex
from pathlib import Path

import atoms
import geometry_files
import numpy as np
import pytest

from nbnumba import Beam, Crystal, Experiment, InputError, StructureFactors, resolution
from nbnumba.cli.main import main
from nbnumba.constants import HC_EV_A
from nbnumba.flags import structure_factors
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.from_experiment import refined_flags
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats.refl import write_refl
from nbnumba.setup.remarks import remarks

PLACE = "-lambda 0.9795 -distance 60 -detpixels 60 -pixel 1 -N 5"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdb").write_text(atoms.PDB)
    (tmp_path / "a.cif").write_text(atoms.REFLECTIONS)
    (tmp_path / "a.mtz").write_bytes(atoms.mtz([("FP", "F"), ("PHI", "P")], [[1, 2, 3, 10.0, 30.0], [0, 0, 4, 7.0, 90.0]]))
    write_refl(tmp_path / "a.refl", atoms.integrated([[1, 2, 3], [0, 0, 4]], [1e4, 4e4]), "-refl")
    content = geometry_files.experiments()
    content["crystal"][0]["space_group_hall_symbol"] = " P 2 2"
    (tmp_path / "a.expt").write_text(json.dumps(content))
    (tmp_path / "s.hkl").write_text("   1   2   3  100.00    1.00   1\n   2   0   0   -1.00    3.00   1\n")


def experiment(words):
    return Experiment.from_args(f"{PLACE} {words}")


def said(words, match):
    with pytest.warns(UserWarning, match=match):
        return experiment(words)


def test_atoms_to_the_corners():
    made = said("-pdb a.pdb", "structure factors of P 21 21 21 to .*bulk solvent of 0.35.*f' and f'' at 12657")
    assert [made.value(f"crystal.{name}") for name in ("a_A", "b_A", "c_A", "gamma_deg")] == [21.0, 24.0, 28.0, 90.0]
    corners = resolution(made).min()
    star = np.linalg.norm(made.structure_factors.hkl / np.array([21.0, 24.0, 28.0]), axis=1)
    assert 1.0 / star.max() < 1.0 / (1.0 / corners + 0.5 * (1 / 21 + 1 / 24 + 1 / 28)) < corners
    same = StructureFactors.from_coordinates("a.pdb", 1.0 / star.max() * (1 - 1e-9), 12398.42 / 0.9795)
    assert abs(np.sort(same.F)[-1] / made.structure_factors.F.max() - 1.0) < 1e-4
    region = said("-pdb a.pdb -roi 30 31 30 31", "structure factors")
    np.testing.assert_array_equal(region.structure_factors.F, made.structure_factors.F)
    coarser = said("-pdb a.pdb -dmin 3", "structure factors")
    assert len(coarser.structure_factors.hkl) < len(made.structure_factors.hkl)


def test_flags_of_atoms_reach_them():
    plain = said("-pdb a.pdb", "bulk solvent").structure_factors.F
    for flags, match in (
        ("-nosolvent", "without bulk solvent"), ("-k_sol 0.2", "bulk solvent of 0.2"), ("-b_sol 90", "B 90 A"),
        ("-add_b 5", "bulk solvent"), ("-noanomalous", "without f' and f''"), ("-energy 12660", "at 12660 eV"),
    ):  # fmt: skip
        other = said(f"-pdb a.pdb {flags}", match).structure_factors
        assert other.F.shape != plain.shape or np.abs(other.F - plain).max() > 1e-3, flags


@pytest.mark.parametrize("count", [3, 1001])
def test_atoms_at_the_energies_of_a_spectrum(tmp_path, count):
    """Each wavelength of a spectrum has its f' and f'', after scale and offset; very many have those of their range."""
    wavelengths = np.linspace(0.97, 0.99, count)
    (tmp_path / "s.txt").write_text("wavelength_A weight\n" + "".join(f"{x!r} 1\n" for x in wavelengths.tolist()))
    most = structure_factors.MOST_ENERGIES
    assert most == 1000
    made = said("-pdb a.pdb -dmin 8 -spectrum s.txt -wavelength_scale 1.01 -wavelength_offset -0.001", "f' and f''")
    energies = HC_EV_A / (1.01 * wavelengths - 0.001)[::-1]
    wanted = energies if count <= most else np.linspace(energies[0], energies[-1], most)
    np.testing.assert_allclose(made.structure_factors.energies_eV, wanted, rtol=1e-12)
    assert made.structure_factors.F.shape[0] == min(count, most)
    spread = np.ptp(made.structure_factors.F, axis=0)
    assert spread.max() > 1e-3


def test_a_spectrum_beyond_the_energies_is_said():
    factors = StructureFactors(hkl=[[1, 0, 0]], F=[[1.0], [2.0]], energies_eV=(12000.0, 13000.0))
    beam = Beam(wavelength_A=1.0, spectrum=((0.8, 1.0), (1.0, 1.0)))
    made = Experiment(crystal=Crystal(30.0), structure_factors=factors, beam=beam)
    assert any("the sources from 12398.4 to 15498 eV" in sentence for sentence in remarks(made))
    within = made.replace({"beam.wavelength_A": 5.0, "beam.spectrum": ((0.97, 1.0), (1.0, 1.0))})
    assert not any("beyond its ends" in sentence for sentence in remarks(within))


def test_the_cell_of_a_list_and_another():
    assert experiment_of_mtz("").value("crystal.c_A") == 50.0
    assert experiment_of_mtz("-reindex k,h,-l").value("crystal.a_A") == 40.0
    other = said("-mtz a.mtz -cell 31 40 50", "is of the cell 30 40 50 90 90 90, and the crystal has 31 40 50 90 90 90, which")
    assert other.value("crystal.a_A") == 31.0
    assert experiment_of_mtz("-cell 30.01 40 50").value("crystal.a_A") == 30.01


def experiment_of_mtz(words):
    """The experiment of the MTZ file, of which one line is said."""
    with pytest.warns(UserWarning) as caught:
        made = experiment(f"-mtz a.mtz {words}")
    (sentence,) = [str(warning.message) for warning in caught]
    assert sentence.startswith("-mtz 'a.mtz': amplitudes FP are read; it holds phases, which are not needed; 2 unique")
    return made


def test_intensities_of_shelx_take_the_cell_of_the_crystal():
    made = said("-hkl s.hkl -cell 10 12 14", "French and Wilson")
    assert made.structure_factors.F.min() > 0.0 and len(made.structure_factors.hkl) == 4


def test_intensities_of_dials_take_the_space_group_of_the_list_beside_them():
    """And the cell of its crystal, whose a, b and c are 30, 40 and 50 A at the start of the scan."""
    with pytest.warns(UserWarning, match="2 unique reflections of P 2 2 2 are 10 of P1"):
        made = Experiment.from_args("-refl a.refl -expt a.expt -image 3 -N 5")
    assert made.structure_factors.cell == pytest.approx((30, 40, 50, 90, 90, 90), rel=1e-12)
    assert made.value("crystal.a_A") == pytest.approx(30 * 2 / (1 + 1 / 1.1), rel=1e-12)
    found = dict(zip(map(tuple, made.structure_factors.hkl.tolist()), made.structure_factors.F))
    assert found[-1, 2, -3] == pytest.approx(100.0, rel=1e-3) and len(found) == 10
    alone = said("-refl a.refl -cell 30 40 50", "no .expt states the space group: P1 is assumed; F is estimated")
    assert len(alone.structure_factors.hkl) == 4 and alone.structure_factors.cell == (30.0, 40.0, 50.0, 90.0, 90.0, 90.0)
    turned = said("-refl a.refl -cell 40 30 50 -reindex k,h,-l", "P1 is assumed").structure_factors.hkl
    assert [2, 1, -3] in turned.tolist()


def test_the_experiment_that_is_chosen_chooses_the_rows_too():
    content = json.loads(Path("a.expt").read_text())
    content["experiment"] *= 2
    Path("a.expt").write_text(json.dumps(content))
    with pytest.raises(InputError, match="-refl: 'a.refl' has no reflections of experiment 1; allowed: one .*, 0"):
        Experiment.from_args("-refl a.refl -expt a.expt -experiment 1 -image 3 -N 5")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("-refl a.refl", "no unit cell is given"),
        ("-refl a.refl -mtz a.mtz", "-mtz and -refl all state structure factors"),
        ("-refl a.mtz -cell 30 40 50", "-refl: 'a.mtz' cannot be read: it begins as another file; allowed: a reflection table"),
        ("-hkl a.refl -cell 30 40 50", "-hkl: 'a.refl' is a reflection table of DIALS; allowed: -refl for it"),
        ("-pdb a.pdb -mtz a.mtz", "-pdb and -mtz all state structure factors; allowed: one of them"),
        ("-hkl s.hkl -cif a.cif", "-hkl and -cif all state structure factors"),
        ("-hkl s.hkl", "no unit cell is given"),
        ("-mtz a.mtz -column PHI", "-column: 'PHI' of -mtz: 'a.mtz' is of type P"),
        ("-pdb a.mtz", "-pdb: 'a.mtz'"),
        ("-pdb a.cif", "-pdb: 'a.cif' is a CIF file; allowed: atoms"),
        ("-mtz a.pdb", "-mtz: 'a.pdb' is not an MTZ file"),
        ("-cif a.pdb", "-cif: 'a.pdb' cannot be read as CIF"),
        ("-pdb nothing", "-pdb: "),
        ("-pdb a.pdb -k_sol -1", "-k_sol: -1 is not allowed"),
    ],
)
def test_what_is_refused(words, sentence):
    with pytest.raises(InputError, match=sentence):
        experiment(words)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dump_beside_atoms_is_written_and_read_back():
    assert main(shlex.split(f"{PLACE} -pdb a.pdb -dump d.bin -oversample 1 -quiet")) == 0
    made, back = experiment("-pdb a.pdb"), experiment("-dump d.bin -cell 21 24 28")
    found = dict(zip(map(tuple, back.structure_factors.hkl.tolist()), back.structure_factors.F))
    assert all(found[tuple(hkl)] == F for hkl, F in zip(made.structure_factors.hkl.tolist(), made.structure_factors.F))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "source", ["-pdb a.pdb -nosolvent", "-mtz a.mtz -column FP -reindex k,h,-l", "-refl a.refl -cell 30 40 50"]
)
def test_refined_flags_of_a_file(source):
    """The distance changes how far the list of atoms reaches: the amplitudes stay those that were refined."""
    words = shlex.split(f"{PLACE} {source}")
    made = experiment_of(CommandLine(words))
    moved = made.replace({"detector.distance_mm": 61.5, "crystal.a_A": made.value("crystal.a_A") + 0.01})
    again = experiment_of(CommandLine(refined_flags(words, moved, ["detector.distance_mm"])))
    for field in ("hkl", "F"):
        np.testing.assert_array_equal(getattr(again.structure_factors, field), getattr(made.structure_factors, field))
    assert again.crystal == moved.crystal and again.value("detector.distance_mm") == 61.5
    scaled = made.replace({"structure_factors.F": made.structure_factors.F * 2.0})
    again = experiment_of(CommandLine(refined_flags(words, scaled, ["structure_factors.F"])))
    np.testing.assert_array_equal(again.structure_factors.F, scaled.structure_factors.F)
    np.testing.assert_array_equal(again.structure_factors.hkl, scaled.structure_factors.hkl)
    assert again.crystal == made.crystal
