"""The subcommand refine with --expt: a small series with known truth, its files, what it refuses, and a real one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import nbnumba
from nbnumba import StructureFactors, read_geometry
from nbnumba.cli.main import main
from nbnumba.cli.refine_series import input as series_input
from nbnumba.cli.refine_series import intensities as series_intensities
from nbnumba.formats import hkl, refl, smv
from nbnumba.geometry.cell import cell_of
from tests.helpers.series_files import IMAGES, PIXELS, TRUTH, truth, write_series

REAL = Path(__file__).parents[3] / "shared" / "data" / "real" / "l_cysteine"
START = "crystal.misset_deg=0.06/-0.05/0.05,crystal.a_A=22.03"


pytestmark = pytest.mark.filterwarnings("ignore:sampling.oversample 2:UserWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the images of a series and series.expt."""
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, truth())
    (folder / "amplitudes.json").write_text("1 0 0 10\n")
    return folder


@pytest.fixture(scope="module")
def refined(files):
    """The folder after a refinement with all outputs, and its exit status."""
    before = os.getcwd()
    os.chdir(files)
    try:
        status = main(["refine", "--expt", "series.expt", "--start", START, "--out", "refined.expt", "--report", "report"])
    finally:
        os.chdir(before)
    return files, status


@pytest.fixture
def refuse(files, monkeypatch, capsys):
    """A function that runs refine --expt series.expt with more words, checks that it is refused, and returns the sentence."""
    monkeypatch.chdir(files)

    def refused(*words, expt="series.expt"):
        listed = sorted(path.name for path in files.iterdir())
        assert main(["refine", "--expt", expt, *words]) == 2
        printed = capsys.readouterr()
        assert sorted(path.name for path in files.iterdir()) == listed and not printed.out
        sentences = [line for line in printed.err.splitlines() if "warning" not in line]
        assert len(sentences) == 1 and "allowed:" in sentences[0] or "cannot write" in sentences[0] or "no such" in sentences[0]
        return sentences[0]

    return refused


# ------------------------------------------------------------------------------------------------ the result


def test_a_series_refines_to_the_truth(refined):
    folder, status = refined
    assert status == 0
    result = json.loads((folder / "refined.json").read_text())
    assert result["success"] and result["left_out"] == [] and len(result["images"]) == IMAGES
    values = dict(zip(result["names"], zip(result["values"], result["uncertainties"])))
    true = {"crystal.a_A": 22.0, "crystal.b_A": 26.0, "crystal.c_A": 30.0} | {
        name: value for name, value in TRUTH.items() if "_deg" in name and "mosaic" in name or name.startswith("crystal.n_")
    }
    for name, wanted in true.items():
        value, sigma = values[name]
        assert abs(value - wanted) < 5.0 * sigma + 0.02 * wanted * ("mosaic" in name), name
        assert sigma < 0.1 * wanted
    turns = [value for name, (value, _) in values.items() if name.startswith("crystal.misset_deg")]
    assert len(turns) == 6 and np.abs(turns).max() < 0.01
    assert max(result["shifts_after"]) < 0.05 < max(result["shifts_before"][:2])
    assert 0.9 < result["chi_squared"] < 1.15 and result["r_factor"] < 0.03
    assert result["command"][:3] == ["nbnumba", "refine", "--expt"] and "numpy" in result["environment"]


def test_the_refined_list_is_read_back_and_has_the_orientation_of_each_image(refined):
    folder, _ = refined
    before, after = read_geometry(folder / "series.expt"), read_geometry(folder / "refined.expt")
    for image in (1, IMAGES):
        old, new = before.at_image(image).crystal.vectors, after.at_image(image).crystal.vectors
        assert np.allclose(cell_of(new), (22.0, 26.0, 30.0, 90.0, 90.0, 90.0), rtol=3e-4)
        assert np.abs(new - old).max() < 0.01  # A: the list was the truth, and the start was 0.08 degrees off it
    assert after.at_image(1).panels[0].shape == (PIXELS, PIXELS)
    assert nbnumba.formats.dxtbx.images_of(folder / "refined.expt")[0].name.endswith("image_001.img")


def test_intensities_are_those_of_the_true_amplitudes_in_counts(refined):
    folder, _ = refined
    columns = refl.read_refl(folder / "refined.refl", "test").columns
    table = {name: np.asarray(columns[name]) for name in ("miller_index", "intensity.prf.value", "intensity.prf.variance")}
    factors = truth()[0].structure_factors
    true = {tuple(index): amplitude**2 for index, amplitude in zip(factors.hkl.tolist(), factors.F)}
    lp, qe = np.asarray(columns["lp"]), np.asarray(columns["qe"])
    wanted = np.array([true[tuple(index)] for index in table["miller_index"].tolist()])
    observed = table["intensity.prf.value"] * lp / qe
    sigma = np.sqrt(table["intensity.prf.variance"]) * lp / qe
    scale = np.median(observed[observed > 10 * sigma] / wanted[observed > 10 * sigma])
    assert len(wanted) > 30 and np.corrcoef(observed, wanted)[0, 1] > 0.995
    pull = (observed / scale - wanted) / (sigma / scale + 0.03 * wanted)
    assert np.sqrt(np.mean(pull**2)) < 2.0
    assert (np.asarray(columns["partiality"]) >= 0.5).all()
    counts = np.asarray(columns["intensity.sum.value"]).sum()
    assert 0.3 < counts / _photons_of_spots(folder) < 1.1
    assert StructureFactors.from_mtz(folder / "refined.mtz").hkl.shape[1] == 3


def test_its_table_of_intensities_is_read_as_amplitudes(refined):
    folder, _ = refined
    factors = nbnumba.StructureFactors.from_refl(folder / "refined.refl", folder / "refined.expt")
    assert len(factors.hkl) > 20 and (factors.F > 0.0).any()


def _photons_of_spots(folder) -> float:
    """The photons of all images above the background, of which reflections that the series cuts off have a part."""
    images = [smv.read(folder / f"image_{number:03d}.img", "image")[1] for number in range(1, IMAGES + 1)]
    return float(sum(image.sum() - 0.2 * image.size for image in images))


def test_the_report_has_a_picture_of_each_worst_box_and_image(refined):
    folder, _ = refined
    page = (folder / "report" / "index.html").read_text()
    assert "Success." in page and "reduced chi squared" in page and "nbnumba refine --expt series.expt" in page
    pictures = {path.name for path in (folder / "report").iterdir()} - {"index.html"}
    assert pictures == {f"box_{number}.png" for number in range(1, 13)} | {f"image_{n}.png" for n in range(1, IMAGES + 1)}
    assert all(f'src="{name}"' in page for name in pictures)


def test_amplitudes_given_have_one_scale(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    factors = truth()[0].structure_factors
    hkl.write(tmp_path / "true.hkl", factors.hkl, factors.F, "test")
    names = "crystal.misset_deg,crystal.scale,crystal.n_a+crystal.n_b+crystal.n_c"
    words = ["refine", "--expt", str(files / "series.expt"), "--images", "3:4", "--amplitudes", "given", "--parameters", names]
    words += ["--start", "crystal.scale=0.002,crystal.n_a=17", "--", "-hkl", "true.hkl", "-mosaic_abc", "0.1", "0.12", "0.14"]
    assert main(words) in (0, 1)
    text = capsys.readouterr().out
    assert "7948 of true.hkl, on one scale" in text and "2 images, 3 to 4 of the scan" in text
    assert "crystal.mosaic_a_deg" not in text.split("parameter ")[1]


def test_panels_and_a_gain_give_the_same_numbers(files, tmp_path, monkeypatch):
    """The same counts on one panel, and twice as many on two panels with a gain of 2."""
    monkeypatch.chdir(tmp_path)
    content = json.loads((files / "series.expt").read_text())
    (tmp_path / "one.expt").write_text(json.dumps(content))
    (panel,) = content["detector"][0]["panels"]
    lower = np.array(panel["origin"]) + 0.15 * (PIXELS // 2) * np.array(panel["slow_axis"])
    half = panel | {"image_size": [PIXELS, PIXELS // 2], "gain": 2.0}
    panels = [half | {"name": "a"}, half | {"name": "b", "origin": lower.tolist(), "raw_image_offset": [0, PIXELS // 2]}]
    content["detector"] = [{"panels": panels}]
    (tmp_path / "two.expt").write_text(json.dumps(content))
    values = []
    for name, gain in (("one", 1), ("two", 2)):
        for number in (2, 3):
            counts = smv.read(files / f"image_{number:03d}.img", "image")[1].astype(np.uint16) * np.uint16(gain)
            smv.write(tmp_path / f"{name}_{number}.img", counts, [(smv.OFFSET_KEY, 0)])
        words = ["refine", "--expt", f"{name}.expt", "--data", f"{name}_#.img", "--images", "2:3", "--out", f"out_{name}.expt"]
        words += ["--parameters", "crystal.misset_deg", "--", "-mosaic_abc", "0.1", "0.12", "0.14", "-N_abc", "20", "17", "15"]
        assert main(words) == 0
        values.append(json.loads((tmp_path / f"out_{name}.json").read_text()))
    assert np.allclose(values[0]["values"], values[1]["values"], atol=1e-9)
    assert values[0]["chi_squared"] == pytest.approx(values[1]["chi_squared"], abs=1e-6)
    assert len(read_geometry(tmp_path / "out_two.expt").panels) == 2


def test_models_are_kept_where_no_intensity_is_whole(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(series_intensities, "LEAST_PARTIALITY", 2.0)
    words = ["refine", "--expt", str(files / "series.expt"), "--images", "2:3", "--parameters", "crystal.misset_deg"]
    assert main([*words, "--out", "refined.expt"]) in (0, 1)
    assert "refined.refl is not written: no reflection has half of its rocking curve" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} >= {"refined.expt", "refined.json"}
    assert not {"refined.refl", "refined.mtz"} & {path.name for path in tmp_path.iterdir()}


# ------------------------------------------------------------------------------------------------ the start


def test_the_start_follows_from_the_profile_unless_flags_state_it(files, tmp_path):
    content = json.loads((files / "series.expt").read_text())
    content["profile"] = [{"__id__": "gaussian_rs", "n_sigma": 3, "sigma_b": 0.04, "sigma_m": 0.25}]
    content["experiment"][0]["profile"] = 0
    (files / "profile.expt").write_text(json.dumps(content))
    setup = _setup(files / "profile.expt")
    crystal = setup.middle.crystal
    assert (crystal.mosaic_a_deg, crystal.mosaic_c_deg, crystal.shape) == (0.25, 0.25, "gauss")
    assert setup.middle.value("crystal.n_b") == pytest.approx(0.56 / (np.radians(0.04) * 26.0), rel=1e-3)
    assert setup.middle.goniometer.phisteps == 2 and setup.reach_deg == 0.25 and setup.middle.sampling.oversample == 2
    stated = _setup(files / "profile.expt", "-mosaic", "0.3", "-N", "9", "-square_xtal", "-phisteps", "5").middle
    assert (stated.crystal.mosaic_spread_deg, stated.crystal.mosaic_a_deg, stated.crystal.shape) == (0.3, 0.0, "square")
    assert (stated.value("crystal.n_b"), stated.goniometer.phisteps) == (9, 5)
    (files / "profile.expt").unlink()


def _setup(path, *flags):
    """The setup of a series with no options."""
    chosen = series_input.choose(_options(path))
    return series_input.set_up(chosen, _options(path), list(flags))


def _options(path, **stated):
    from nbnumba.cli.refine_series import main as series

    words = [word for name, text in stated.items() for word in (f"--{name}", text)]
    return series.parser().parse_args(["--expt", str(path), *words])


def test_a_template_names_the_images_that_are_there(files, tmp_path):
    """Without --images, as for the template of the list; with it, all of them have to be there."""
    for number in (3, 4, 5):
        (tmp_path / f"image_{number:03d}.img").write_bytes((files / f"image_{number:03d}.img").read_bytes())
    options = _options(files / "series.expt", data=str(tmp_path / "image_###.img"))
    assert series_input.choose(options).numbers == [3, 4, 5]
    options.images = "2:4"
    with pytest.raises(nbnumba.InputError, match="has no file of image 2; allowed: images that are there"):
        series_input.choose(options)


def test_each_image_has_the_orientation_and_beam_of_its_own(files):
    """A crystal and a beam that vary within the scan: the detector stays where it is, and the cell is that of the middle."""
    content = json.loads((files / "series.expt").read_text())
    crystal, beam = content["crystal"][0], content["beam"][0]
    vectors = np.array([crystal[f"real_space_{axis}"] for axis in "abc"])
    turns = [nbnumba.geometry.rotations.about_axis(np.array([0.0, 1.0, 0.0]), 1e-3 * n) for n in range(IMAGES + 1)]
    crystal["A_at_scan_points"] = [np.linalg.inv(vectors @ turn.T).ravel().tolist() for turn in turns]
    s0 = -np.array(beam["direction"]) / beam["wavelength"]
    beam["s0_at_scan_points"] = [(turn @ s0).tolist() for turn in turns]
    (files / "varying.expt").write_text(json.dumps(content))
    experiments, geometry = _setup(files / "varying.expt").experiments, read_geometry(files / "varying.expt")
    (files / "varying.expt").unlink()
    for number in (1, IMAGES):
        alone = nbnumba.Experiment.from_geometry(geometry, number)
        one = experiments[number - 1]
        assert np.allclose(nbnumba.pixel_positions(one), nbnumba.pixel_positions(alone), atol=1e-9)
        assert np.allclose(
            nbnumba.scattering_vectors(one)[::50, ::50], nbnumba.scattering_vectors(alone)[::50, ::50], atol=1e-9
        )
        assert np.allclose(one.crystal.orientation, alone.crystal.orientation, atol=1e-9)


# ------------------------------------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--images 3:99", "--images: '3:99'"),
        ("--images x", "numbers from 1 to 8"),
        ("--images 5:3", "A not above B"),
        ("--data image_1.img", "--data: 'image_1.img' is one file for 8 images"),
        ("--data gone_###.img", "--data: 'gone_###.img' has no file of an image of the scan"),
        ("--data image_001.img,image_002.img", "2 files are named for 8 images"),
        ("--experiment 3", "--experiment: 3"),
        ("--out nowhere/x.expt", "--out"),
        ("--out series.expt", "--out: 'series.expt' is also a file that is read"),
        ("--out x.cbf", "--out: 'x.cbf' announces CBF"),
        ("--report series.expt", "--report"),
        ("--amplitudes given", "--amplitudes: given"),
        ("--start nothing=1", "--start: 'nothing'"),
        ("--start crystal.a_A=-4", "--start: crystal.a_A: -4"),
        ("--start crystal.misset_deg=1", "X/Y/Z"),
        ("--cell cubic", "--cell: crystal.a_A = 22"),
        ("--cell weird", "--cell: crystal system 'weird'"),
        ("--parameters image.scale", "--parameters: image.scale"),
        ("--parameters nothing", "--parameters: 'nothing'"),
        ("--parameters crystal.scale+", "NAME+NAME"),
        ("--own nothing", "--own: 'nothing'"),
        ("--own crystal.a_A --shared crystal.a_A", "--own: crystal.a_A is among shared"),
        ("--knots 1e-9", "--knots: 1e-09 degrees make"),
        ("--out -", "--out: '-'"),
        ("--out amplitudes.expt -- -hkl amplitudes.json", "--out: 'amplitudes.json' is also a file that is read"),
        ("--knots 0", "--knots: '0'"),
        ("--shoebox 7", "--shoebox: '7'"),
        ("--shoebox 3,3", "--shoebox: '3'"),
        ("--images -3:5", "--images: '-3:5'"),
        ("--out x.txt", "a name that ends in .expt"),
        ("--report nowhere/report", "--report: 'nowhere/report' is in no folder that is there"),
        ("--shared nothing", "--shared: 'nothing'"),
        ("--bounds crystal.scale=1:2", "'--bounds' is no option of it"),
        ("--experiments all", "--experiments: 'all'"),
        ("--intensity-sigma x", "--intensity-sigma: 'x'"),
        ("--readout-noise -1", "--readout-noise: '-1'"),
        ("--mask gone.img", "--mask"),
        ("--gap x", "--gap: 'x'"),
        ("-- -image 3", "-image: it is not allowed beside --expt"),
        ("-- -phi 3", "-phi: it is not allowed beside --expt"),
        ("-- -c_parity", "-c_parity: it is not allowed beside --expt"),
        ("-- -floatfile x.bin", "-floatfile"),
        ("-- -hkl gone.hkl", "-hkl"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(refuse, words, named):
    assert named in refuse(*words.split())


def test_a_list_that_is_no_rotation_of_a_crystal_is_refused(files, refuse):
    content = json.loads((files / "series.expt").read_text())
    without = {name: value for name, value in content["experiment"][0].items() if name != "crystal"}
    (files / "no_crystal.expt").write_text(json.dumps(content | {"experiment": [without]}))
    assert "states no crystal" in refuse(expt="no_crystal.expt")
    still = {name: value for name, value in content["experiment"][0].items() if name != "scan"}
    (files / "still.expt").write_text(json.dumps(content | {"experiment": [still]}))
    assert "without a scan" in refuse(expt="still.expt")
    for name in ("no_crystal.expt", "still.expt"):
        (files / name).unlink()


def test_images_that_do_not_fit_are_refused(files, refuse, tmp_path):
    smv.write(tmp_path / "small_1.img", np.zeros((20, 30), dtype=np.uint16), [(smv.OFFSET_KEY, 0)])
    assert "30 x 20 pixels" in refuse("--images", "1", "--data", str(tmp_path / "small_#.img"))
    smv.write(tmp_path / "empty_1.img", np.zeros((PIXELS, PIXELS), dtype=np.uint16), [(smv.OFFSET_KEY, 0)])
    smv.write(tmp_path / "mask.img", np.zeros((PIXELS, PIXELS), dtype=np.uint16), [(smv.OFFSET_KEY, 0)])
    words = ("--images", "1", "--data", str(tmp_path / "empty_#.img"), "--mask", str(tmp_path / "mask.img"))
    assert "no pixel" in refuse(*words)


def test_a_cut_file_and_pixels_without_reflections_are_refused_with_what_was_found(files, refuse, tmp_path, capsys):
    words = "-cell 22 26 30 90 90 90 -default_F 1 -detpixels_x 487 -detpixels_y 195 -pixel 0.172 -N 5"
    whole = nbnumba.Experiment.from_args(words.split())
    nbnumba.write_cbf(tmp_path / "whole.cbf", np.arange(487 * 195).reshape(195, 487) % 977, whole)
    content = (tmp_path / "whole.cbf").read_bytes()
    (tmp_path / "cut_1.cbf").write_bytes(content[: len(content) // 2])
    sentence = refuse("--images", "1", "--data", str(tmp_path / "cut_#.cbf"))
    assert "cut_1.cbf" in sentence and "AssertionError" not in sentence
    smv.write(tmp_path / "zero_1.img", np.zeros((PIXELS, PIXELS), dtype=np.uint16), [(smv.OFFSET_KEY, 0)])
    mask = np.zeros((PIXELS, PIXELS), dtype=np.uint16)
    mask[:3, :3] = 1
    smv.write(tmp_path / "corner.img", mask, [(smv.OFFSET_KEY, 0)])
    words = ["refine", "--expt", str(files / "series.expt"), "--images", "1", "--data", str(tmp_path / "zero_#.img")]
    assert main([*words, "--mask", str(tmp_path / "corner.img")]) == 2
    sentence = capsys.readouterr().err
    assert "(cell 22 26 30 90 90 90)" in sentence and "zero_1.img" in sentence and "reflections are predicted" in sentence


def test_what_a_file_states_in_vain_is_said(files, monkeypatch, capsys):
    """A sigma of 0, an unknown Hall symbol and a missing goniometer are not taken as absent in silence."""
    monkeypatch.chdir(files)
    content = json.loads((files / "series.expt").read_text())
    content["profile"] = [{"__id__": "gaussian_rs", "n_sigma": 3, "sigma_b": 0.0, "sigma_m": 0.15}]
    content["experiment"][0] = {k: v for k, v in content["experiment"][0].items() if k != "goniometer"} | {"profile": 0}
    content["crystal"][0]["space_group_hall_symbol"] = "P nonsense"
    (files / "vain.expt").write_text(json.dumps(content))
    words = ["--parameters", "crystal.scale,crystal.mosaic_a_deg", "--start", "crystal.mosaic_a_deg=0", "--images", "3"]
    main(["refine", "--expt", "vain.expt", *words])
    text = capsys.readouterr().out
    (files / "vain.expt").unlink()
    assert "of which sigma_b 0 is taken as absent" in text
    assert "the Hall symbol 'P nonsense' is unknown" in text
    assert "no goniometer is stated, and the spindle is" in text
    assert "begin with crystal.mosaic_a_deg 0.01" in text and "in place of 0" in text
    assert "reflections are predicted on the detector" in text


def test_help_tells_of_both_ways(capsys):
    assert main(["refine", "--help"]) == 0
    text = capsys.readouterr().out
    assert "nbnumba refine --data IMAGE" in text and "nbnumba refine --expt FILE" in text


# ------------------------------------------------------------------------------------------------ a real series


@pytest.mark.long
@pytest.mark.skipif(not REAL.exists(), reason="the real series of L-cysteine is not here")
def test_a_real_series(tmp_path):
    words = ["refine", "--expt", str(REAL / "sweep01.expt"), "--images", "7:9", "--out", str(tmp_path / "refined.expt")]
    assert main(words) in (0, 1)
    before, after = read_geometry(REAL / "sweep01.expt"), read_geometry(tmp_path / "refined.expt")
    for image in (7, 9):
        old, new = before.at_image(image).crystal.vectors, after.at_image(image).crystal.vectors
        assert np.allclose(cell_of(new)[:3], cell_of(old)[:3], rtol=0.004)
        units = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (old, new)]
        angles = np.degrees(np.arccos(np.clip((units[0] * units[1]).sum(axis=1), -1.0, 1.0)))
        assert angles.max() < 0.15
    assert len(refl.read_refl(tmp_path / "refined.refl", "test").columns["miller_index"]) > 3
