"""The subcommand refine with an --expt of stills: three with known truth, one of them blank, their files, what it refuses."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nbnumba import StructureFactors, read_geometry
from nbnumba.cli.main import main
from nbnumba.cli.refine_series import main as series
from nbnumba.cli.refine_series import stills as still_files
from nbnumba.formats import hkl, refl
from nbnumba.geometry.cell import cell_of
from nbnumba.setup.crystal import orient
from tests.helpers.still_files import BLANK, MISSETS, truths, write_stills

CSPAD = Path(__file__).parents[3] / "shared" / "data" / "real" / "geometry" / "cspad_stills.expt"

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the images, stills.expt and the true amplitudes."""
    folder = tmp_path_factory.mktemp("stills")
    write_stills(folder)
    factors = truths()[0].structure_factors
    hkl.write(folder / "true.hkl", factors.hkl, factors.F, "test")
    return folder


@pytest.fixture(scope="module")
def refined(files, tmp_path_factory):
    """The folder after a refinement of all stills with all outputs, and its exit status."""
    before = os.getcwd()
    os.chdir(files)
    try:
        status = main(["refine", "--expt", "stills.expt", "--out", "refined.expt", "--report", "report"])
    finally:
        os.chdir(before)
    return files, status


def test_a_blank_still_is_left_out_and_the_others_are_right(refined):
    folder, status = refined
    assert status == 0
    result = json.loads((folder / "refined.json").read_text())
    assert [one["experiment"] for one in result["stills"]] == [n for n in range(len(MISSETS)) if n != BLANK]
    (left_out,) = result["left_out"]
    assert left_out["number"] == BLANK and left_out["why"]
    for one in result["stills"]:
        assert one["success"] and max(one["shifts_after"][:2]) < 0.15
        values = dict(zip(one["names"], zip(one["values"], one["uncertainties"])))
        for name, wanted in (("crystal.a_A", 22.0), ("crystal.b_A", 26.0), ("crystal.c_A", 30.0)):
            value, sigma = values[name]
            assert abs(value - wanted) < 5.0 * sigma + 1e-4 * wanted


def test_the_list_has_the_refined_crystals_and_keeps_what_was_left_out(refined):
    folder, _ = refined
    for number in range(len(MISSETS)):
        old, new = (read_geometry(folder / name, experiment=number) for name in ("stills.expt", "refined.expt"))
        true = truths()[number]
        if number == BLANK:
            assert np.array_equal(old.crystal.vectors, new.crystal.vectors)
            continue
        assert np.allclose(cell_of(new.crystal.vectors)[:3], (22.0, 26.0, 30.0), rtol=1e-3)
        wanted = orient(true.crystal)
        assert np.abs(new.crystal.vectors - wanted).max() < 0.3 * np.abs(old.crystal.vectors - wanted).max()
    content = json.loads((folder / "refined.expt").read_text())
    assert len(content["detector"]) == len(content["beam"]) == 1 and len(content["crystal"]) == len(MISSETS)


def test_intensities_of_stills_have_their_experiment_and_follow_the_truth(refined):
    folder, _ = refined
    table = refl.read_refl(folder / "refined.refl", "test")
    columns = {name: np.asarray(column) for name, column in table.columns.items()}
    assert set(columns["id"].tolist()) == {0, 2} and table.identifiers == {0: "still0", 2: "still2"}
    assert (columns["partiality"] >= 0.1).all() and (columns["xyzcal.px"][:, 2] == 0.0).all()
    factors = truths()[0].structure_factors
    true = {tuple(index): amplitude**2 for index, amplitude in zip(factors.hkl.tolist(), factors.F)}
    wanted = np.array([true.get(tuple(index), 0.0) for index in columns["miller_index"].tolist()])
    observed = columns["intensity.prf.value"] * columns["lp"] / columns["qe"]
    assert len(wanted) > 50 and np.corrcoef(observed, wanted)[0, 1] > 0.98
    assert StructureFactors.from_mtz(folder / "refined.mtz").hkl.shape[1] == 3
    assert sorted(path.name for path in (folder / "report").iterdir()) == ["still_0", "still_2"]
    assert "Success." in (folder / "report" / "still_0" / "index.html").read_text()


def test_one_still_prints_its_table_and_the_spectrum_that_replaces_the_wavelength(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["refine", "--expt", str(files / "stills.expt"), "--experiment", "2", "--amplitudes", "given", "--out", "one.expt"]
    assert main([*words, "--", "-hkl", str(files / "true.hkl"), "-dispersion", "0.2", "-dispsteps", "3"]) in (0, 1)
    text = capsys.readouterr().out
    assert "3 wavelengths from 0.999 to 1.001 A, 1 A in the mean" in text and "the still of experiment 2" in text
    assert "crystal.misset_deg[0]" in text and "flags of the still:" in text and "images in phi" not in text
    assert json.loads((tmp_path / "one.json").read_text())["values"]
    (tmp_path / "spectrum.lam").write_text("1.01 1\n1.02 1\n")
    assert main([*words[:5], "--", "-spectrum", "spectrum.lam"]) in (0, 1)
    assert "2 wavelengths from 1.01 to 1.02 A, 1.015 A in the mean, in place of 1 A of the file" in capsys.readouterr().out


def test_a_damaged_image_among_several_is_left_out(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.img").write_bytes((files / "still_0.img").read_bytes()[:5000])
    shutil.copy(files / "still_2.img", tmp_path / "whole.img")
    words = ["--experiments", "0:1", "--data", f"cut.img,{files / 'still_0.img'}"]
    content = json.loads((files / "stills.expt").read_text())
    content["experiment"] = [content["experiment"][0] | {"identifier": name} for name in ("a", "b")]
    (tmp_path / "stills.expt").write_text(json.dumps(content))
    assert main(["refine", "--expt", "stills.expt", *words]) == 0
    printed = capsys.readouterr()
    assert "still 0 (cut.img) is left out" in printed.err and "1 of 2 stills are refined" in printed.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--experiments 1:7", "--experiments: '1:7'"),
        ("--experiments -1:2", "--experiments: '-1:2'"),
        ("--experiments x", "--experiments: 'x'"),
        ("--experiment 0 --experiments all", "--experiments: it is not allowed beside --experiment"),
        ("--images 1", "--images: it is not allowed for the stills"),
        ("--knots 2", "--knots: it is not allowed for the stills"),
        ("--data still_0.img", "--data: 1 files are named for 3 stills"),
        ("--experiment 0 --data gone.img", "--data: 'gone.img' is not there"),
        ("--intensity-sigma 0", "--intensity-sigma: '0'"),
        ("--intensity-sigma 1 --amplitudes given -- -hkl true.hkl", "--intensity-sigma: it is not allowed with --amplitudes"),
        ("--parameters nothing", "--parameters: 'nothing'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(files, monkeypatch, capsys, words, named):
    monkeypatch.chdir(files)
    listed = sorted(path.name for path in files.iterdir())
    assert main(["refine", "--expt", "stills.expt", *words.split()]) == 2
    printed = capsys.readouterr()
    sentences = [line for line in printed.err.splitlines() if "warning" not in line]
    assert len(sentences) == 1 and named in sentences[0] and "allowed:" in sentences[0] and not printed.out
    assert sorted(path.name for path in files.iterdir()) == listed


@pytest.mark.skipif(not CSPAD.exists(), reason="the real stills are not here")
def test_an_image_of_another_experiment_is_noticed():
    """The real images of thermolysin were taken at 1.2726 A, and the ten real experiments at 1.8163 A."""
    image = CSPAD.parents[1] / "images" / "idx-20130301060858401.cbf"
    options = series.parser().parse_args(["--expt", str(CSPAD), "--experiment", "0", "--data", str(image)])
    options.experiment = 0
    ((chosen,), left_out) = still_files.choose(options)
    assert left_out == [] and chosen.is_still
    with pytest.warns(UserWarning, match="states a wavelength of 1.27261 A, and experiment 0 of the list 1.8163 A"):
        still_files.warn_of_another_wavelength(chosen)
