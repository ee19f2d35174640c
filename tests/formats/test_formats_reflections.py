"""Files of reflections: text with commas, DIALS' tables in MessagePack, and NumPy's arrays, read back by other programs."""

import csv
import dataclasses
import json
import shlex

import dials
import numpy as np
import pytest

import nbnumba
from nbnumba import Experiment, InputError
from nbnumba.cli.main import main
from nbnumba.formats.messagepack import packed
from nbnumba.geometry.rotations import about_axis
from nbnumba.reflection_files import dials_columns
from nbnumba.setup.crystal import orient
from nbnumba.setup.detector import spindle_axis

WORDS = "-cell 50 60 70 80 85 95 -misset 10 20 30 -default_F 100 -distance 100 -detpixels 60 -pixel 1 -N 12 -oversample 1 "
ROTATION = WORDS + "-osc 2 -phisteps 40 -phi 5 "

READ = """
import json, sys
from dials.array_family import flex
table = flex.reflection_table.from_file(sys.argv[1])
print(json.dumps({name: [list(x) if hasattr(x, "__iter__") else x for x in table[name]] for name in table.keys()}))
"""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_text_has_the_numbers_of_the_table(tmp_path):
    experiment = Experiment.from_args(WORDS)
    table = nbnumba.predict(experiment)
    nbnumba.write_predictions(tmp_path / "p.csv", table, experiment)
    with open(tmp_path / "p.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(table) > 10
    assert list(rows[0])[:6] == ["h", "k", "l", "panel", "fast", "slow"]
    assert [[int(row[index]) for index in "hkl"] for row in rows] == table.hkl.tolist()
    for name in ("fast", "photons", "width_slow", "d_A", "F"):
        np.testing.assert_allclose([float(row[name]) for row in rows], getattr(table, name), rtol=1e-9)
    assert {row["lorentz"] for row in rows} == {""}


@pytest.mark.parametrize(
    "value, expected",
    [
        (0, b"\x00"), (127, b"\x7f"), (128, b"\xcf\0\0\0\0\0\0\0\x80"), ("a", b"\xa1a"), ("b" * 32, b"\xd9\x20" + b"b" * 32),
        (b"x", b"\xc4\x01x"), (b"x" * 300, b"\xc5\x01\x2c" + b"x" * 300), ([1, "a"], b"\x92\x01\xa1a"), ({}, b"\x80"),
        ({"k": []}, b"\x81\xa1k\x90"), ([0] * 16, b"\xdc\x00\x10" + b"\0" * 16),
        (b"x" * 70000, b"\xc6\x00\x01\x11\x70" + b"x" * 70000),
    ],
)  # fmt: skip
def test_messagepack_by_its_definition(value, expected):
    assert packed(value) == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("flags", [WORDS, ROTATION])
def test_dials_reads_its_table(flags, tmp_path):
    experiment = Experiment.from_args(flags)
    table = nbnumba.predict(experiment)
    nbnumba.write_predictions(tmp_path / "p.refl", table, experiment)
    read = {name: np.array(column) for name, column in dials.answer(READ, tmp_path / "p.refl").items()}
    np.testing.assert_array_equal(read["miller_index"], table.hkl)
    np.testing.assert_array_equal(read["xyzcal.px"][:, :2], np.stack([table.fast, table.slow], axis=1))
    np.testing.assert_allclose(read["xyzcal.mm"][:, 0], table.fast, rtol=1e-12)
    x, y, z = table.s1.T
    np.testing.assert_array_equal(read["s1"], np.stack([z, y, -x], axis=1))
    np.testing.assert_array_equal(read["photons"], table.photons)
    if flags == ROTATION:
        np.testing.assert_allclose(read["xyzcal.mm"][:, 2], np.radians(table.phi_deg), rtol=1e-12)
        np.testing.assert_allclose(read["xyzcal.px"][:, 2], (table.phi_deg - 5.0) / 2.0, rtol=1e-12, atol=1e-12)
        assert 0.3 < read["entering"].mean() < 0.7


def of_two_crystals(flags=ROTATION):
    one = Experiment.from_args(flags)
    return dataclasses.replace(one, crystal=[one.crystal, dataclasses.replace(one.crystal, misset_deg=(-40.0, 75.0, 12.0))])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_crystal_of_each_row(tmp_path):
    """CSV has a last column for it; in a table of DIALS it is the number of the experiment of an .expt that is written."""
    experiment = of_two_crystals()
    table = nbnumba.predict(experiment)
    nbnumba.write_predictions(tmp_path / "p.csv", table, experiment)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert list(rows[0])[-1] == "crystal" and [int(row["crystal"]) for row in rows] == table.crystal.tolist()
    assert set(table.crystal) == {0, 1}
    columns = dials_columns(table, experiment)
    assert columns["id"][0] == "int" and columns["id"][1].tolist() == table.crystal.tolist()


CRYSTALS_OF_DIALS = """
import json, sys
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory
experiments = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)
table = flex.reflection_table.from_file(sys.argv[2])
shared = all(other.beam is experiments[0].beam and other.scan is experiments[0].scan for other in experiments)
print(json.dumps({"A": [e.crystal.get_A() for e in experiments], "id": list(table["id"]), "shared": shared}))
"""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dials_reads_several_crystals(tmp_path):
    """Its experiments share all but the crystal, whose number the rows of the table have."""
    experiment = of_two_crystals()
    table = nbnumba.predict(experiment)
    nbnumba.write_expt(tmp_path / "m.expt", experiment)
    nbnumba.write_predictions(tmp_path / "p.refl", table, experiment)
    read = dials.answer(CRYSTALS_OF_DIALS, tmp_path / "m.expt", tmp_path / "p.refl")
    assert read["shared"] and len(read["A"]) == 2 and read["id"] == table.crystal.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("flags", [WORDS + "-phi 7", ROTATION])
def test_crystals_of_a_written_list_are_read_again(flags, tmp_path, monkeypatch):
    """An experiment for each, with the same beam, detector and scan: -expt takes the first crystal, -lattice the others."""
    monkeypatch.chdir(tmp_path)
    experiment = of_two_crystals(flags)
    nbnumba.write_expt("m.expt", experiment)
    content = json.loads((tmp_path / "m.expt").read_text())
    assert [part["crystal"] for part in content["experiment"]] == [0, 1] and len(content["crystal"]) == 2
    assert {part["beam"] for part in content["experiment"]} == {0} and len(content["beam"]) == 1
    read = Experiment.from_args("-expt m.expt -experiment 0 -lattice m.expt -N 12 -default_F 100 -oversample 1 -phisteps 40")
    assert len(read.crystals) == 2
    turned = 7.0 if flags != ROTATION else 0.0
    about = about_axis(spindle_axis(experiment.detector, None), np.radians(turned))
    for own, other in zip(experiment.crystals, read.crystals):
        expected = orient(own, experiment.sampling.defects) @ about.T
        np.testing.assert_allclose(orient(other, read.sampling.defects), expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tables_without_rows(tmp_path):
    experiment = Experiment.from_args(WORDS + "-energy 1")
    table = nbnumba.predict(experiment)
    assert len(table) == 0
    nbnumba.write_predictions(tmp_path / "p.csv", table, experiment)
    assert (tmp_path / "p.csv").read_text().startswith("h,k,l,") and (tmp_path / "p.csv").read_text().count("\n") == 1
    nbnumba.write_predictions(tmp_path / "p.refl", table, experiment)
    read = dials.answer(READ, tmp_path / "p.refl")
    assert "miller_index" in read and not any(read.values())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_command_line_writes_both(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = f"{ROTATION} -nonoise -nopgm -nointfile -noprogress -predictions p.csv -hklmap m.npz"
    assert main(shlex.split(command)) == 0
    printed = capsys.readouterr().out
    experiment = Experiment.from_args(ROTATION)
    table, found = nbnumba.predict(experiment), nbnumba.hkl_map(experiment)
    assert f"wrote p.csv: {len(table)} predictions" in printed and "wrote m.npz" in printed
    nbnumba.write_predictions("q.csv", table, experiment)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()
    arrays = np.load("m.npz")
    np.testing.assert_array_equal(arrays["hkl"], found.hkl)
    np.testing.assert_array_equal(arrays["share"], found.share.astype(np.float32))
    np.testing.assert_array_equal(arrays["photons"], found.photons.astype(np.float32))
    nbnumba.write_hkl_map("n.npz", found)
    nbnumba.write_hkl_map("o.npz", nbnumba.hkl_map(experiment))
    assert (tmp_path / "n.npz").read_bytes() == (tmp_path / "o.npz").read_bytes()


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ("-predictions p.img", "-predictions: 'p.img' announces SMV, but it would hold CSV"),
        ("-hklmap m.npy", "-hklmap: 'm.npy' announces NumPy, but it would hold arrays of NumPy"),
        ("-predictions p.csv -osc 400", "-osc: 400 is not allowed; allowed: at most 360 degrees for predictions"),
        ("-hklmap m.npz -c_parity phi_carryover", "-c_parity: phi_carryover is not allowed for a map of reflections"),
        ("-predictions same.x -hklmap same.x", "-hklmap: 'same.x' is also the -predictions"),
    ],
)
@pytest.mark.parametrize("dry", ["", " --dry-run"])
def test_what_cannot_be_written_is_refused_before_anything_is(flags, sentence, dry, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(f"{WORDS} -nonoise {flags}{dry}")) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_is_no_table_is_refused(tmp_path):
    experiment = Experiment.from_args(WORDS)
    with pytest.raises(InputError, match="^predictions: 'x' are not Predictions"):
        nbnumba.write_predictions(tmp_path / "p.csv", "x", experiment)
    with pytest.raises(InputError, match="^hkl_map: 'x' is not an HklMap"):
        nbnumba.write_hkl_map(tmp_path / "m.npz", "x")
