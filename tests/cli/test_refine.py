"""The subcommand refine: its data, the arguments of adjoint.refine, its text and files, and what it refuses."""

import json
import shlex
from types import SimpleNamespace

import fabio
import h5py
import numpy as np
import pytest
from fabio.cbfimage import CbfImage
from fabio.edfimage import EdfImage
from fabio.tifimage import TifImage

import adjoint
from adjoint.refinement.spots import Spots
from nbnumba import Experiment, InputError, simulate
from nbnumba.cli import measured, refine, refined_table
from nbnumba.cli.main import main
from nbnumba.formats import hkl, images, raw, smv

FLAGS = "-cell 50 60 70 -default_F 10 -lambda 2 -N 3 -detpixels_x 8 -detpixels_y 6 -distance 50 -oversample 1".split()
PARAMETERS = "detector.distance_mm,crystal.misset_deg,image.scale"
SHAPE = (6, 8)


@pytest.fixture
def data(tmp_path):
    """The file data.bin, an image of the detector of FLAGS."""
    raw.write(tmp_path / "data.bin", np.arange(48.0).reshape(SHAPE))
    return tmp_path / "data.bin"


def result_of(experiments, asked, keywords, moved):
    """The result of adjoint.refine, had it moved every number of the first image by `moved` uncertainties of 0.01."""
    names, units, values, sigma, start, new = [], [], {}, {}, {}, [{} for _ in experiments]
    several = len(experiments) > 1
    for name_or_tie in asked:
        tied = name_or_tie if isinstance(name_or_tie, tuple) else (name_or_tie,)
        key, own = tied[0], several and not tied[0].startswith("detector")
        default = {"image.scale": 1.0, "image.gain": keywords["image"].get("gain", 1.0)}.get(key, 0.0)
        first = [default if key.startswith("image.") else e.value(key) for e in experiments]
        start[key] = np.array(first, dtype=float) if own else np.array(first[0], dtype=float)
        values[key], sigma[key] = start[key] + 0.01 * moved, np.full_like(start[key], 0.01)
        names += [f"{key}{i}" for i in range(values[key].size)]
        units += ["mm"] * values[key].size
        for number, changed in enumerate(new):
            value = values[key][number] if own else values[key]
            if not key.startswith("image."):
                changed |= {name: value if value.ndim else float(value) for name in tied}
    refined = [e.replace(changed) for e, changed in zip(experiments, new)]
    x = refined_table.in_order(values)
    return SimpleNamespace(
        success=True, status=1, message="converged", nfev=7, fun=12.5, x=x, values=values, uncertainties=sigma, start=start,
        experiment=refined if several else refined[0], names=names, units=units, covariance=np.diag(np.full(len(x), 1e-4)),
        phases=["all parameters: loss 20 to 12.5, converged after 7 evaluations"], chi_squared=1.04, pixels=48,
        explained=float("nan"), r_factor=0.05, shift_pixels=0.1,
        spots=[Spots(12, 11, 10, 9, 8, 0.05, 0.1) for _ in experiments],
        diagnosis=["two numbers are hard to tell apart"],
    )  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    """A stand-in for adjoint.refine that records its arguments. `moved` and `change` determine its result."""
    seen = SimpleNamespace(calls=[], moved=1.0, change={}, error=None)

    def stand_in(experiment, data, parameters, *, progress=None, **keywords):
        seen.calls.append(SimpleNamespace(experiment=experiment, image=data, parameters=parameters, keywords=keywords))
        if seen.error is not None:
            raise InputError(seen.error)
        for phase, evaluation in (("broad spots", 1), ("broad spots", 2), ("all parameters", 3)):
            progress(SimpleNamespace(phase=phase, evaluation=evaluation, loss=20.0 / evaluation, x=np.zeros(1)))
        experiments = [experiment] if isinstance(experiment, Experiment) else experiment
        result = result_of(experiments, parameters, keywords, seen.moved)
        vars(result).update(seen.change)
        return result

    monkeypatch.setattr(adjoint, "refine", stand_in, raising=False)
    return seen


def command(*more, data="data.bin", parameters=PARAMETERS, flags=FLAGS):
    return ["refine", "--data", data, "--parameters", parameters, *more, "--", *flags]


# ---------------------------------------------------------------------------------------------------- what is read


def written_as(kind, pixels, folder):
    """The name of a file of some kind that holds the pixels."""
    path = str(folder / f"data.{kind}")
    if kind == "bin":
        raw.write(path, pixels)
    elif kind == "img":
        smv.write(path, pixels.astype(np.uint16), {})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = pixels.astype(np.uint32)[np.newaxis]
    else:
        stored, make = {"cbf": (np.int32, CbfImage), "tif": (np.uint16, TifImage), "edf": (np.float32, EdfImage)}[kind]
        make(data=pixels.astype(stored)).write(path)
    return path


@pytest.mark.parametrize("kind", ["bin", "img", "cbf", "tif", "edf", "h5"])
def test_formats_of_images(tmp_path, kind):
    pixels = np.arange(48.0).reshape(SHAPE)
    path = written_as(kind, pixels, tmp_path)
    image = measured.read(path, Experiment.from_args(FLAGS), None, None, None)
    np.testing.assert_array_equal(image.data, pixels)
    assert image.counted == 48 and image.line() == f"{path}: 8 x 6 pixels, 48 counted"


def test_an_image_of_several(tmp_path):
    path = str(tmp_path / "data.h5")
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.arange(3 * 48, dtype=np.uint32).reshape(3, *SHAPE)
    for name in (f"{path}#2", f"{path}::/entry/data/data#2"):
        assert images.read(name, SHAPE, "--data").pixels[0, 0] == 96
        assert images.file_of(name) == path
    for name, problem in ((path, "none of them is chosen"), (f"{path}#3", "number 3 is not among them")):
        with pytest.raises(InputError, match=f"3 images, and {problem}; allowed: FILE#K, K from 0 to 2"):
            images.read(name, SHAPE, "--data")


def test_a_compressed_image_and_its_offset(tmp_path):
    import gzip

    smv.write(tmp_path / "data.img", np.full(SHAPE, 50, np.uint16), {"ADC_OFFSET": 40.0})
    (tmp_path / "data.img.gz").write_bytes(gzip.compress((tmp_path / "data.img").read_bytes()))
    image = measured.read(str(tmp_path / "data.img.gz"), Experiment.from_args(FLAGS), None, None, None)
    assert (image.data == 10.0).all() and image.noted


def test_what_is_left_out_and_taken_off(run, fake, tmp_path):
    pixels = np.full(SHAPE, 7, np.uint16)
    pixels[0, :4] = 100, 65535, 400, 90
    smv.write(tmp_path / "data.img", pixels, {"ADC_OFFSET": 5.0})
    mask = np.ones(SHAPE, np.uint16)
    mask[0, 3] = 0
    smv.write(tmp_path / "mask.img", mask, {})
    flags = [*FLAGS, "-roi", "0", "7", "0", "4"]
    status, lines, _ = run(command("--mask", "mask.img", "--saturation", "400", data="data.img", flags=flags))
    assert status == 0
    counted_line = "data.img: 8 x 6 pixels, 37 counted, left out 8 not rendered, 1 masked, 2 saturated from 400 on"
    assert lines[0] == counted_line + "; offset 5 (ADC_OFFSET of its header) subtracted"
    image = fake.calls[0].image
    assert image[0, 0] == 95.0 and image[1, 0] == 2.0 and np.isnan(image[0, 1:4]).all() and np.isnan(image[5]).all()
    for more, offset, counted in ((["--offset", "-2.5"], -2.5, 47), (["--offset", "0"], 0.0, 47)):
        lines = run(command(*more, data="data.img"))[1]
        assert f"{counted} counted" in lines[0] and ("offset -2.5 subtracted" in lines[0]) == (offset != 0.0)
        assert fake.calls[-1].image[0, 0] == 100.0 - offset
    assert "3 saturated from 99 on" in run(command(data="data.img", flags=[*FLAGS, "-saturation", "99"]))[1][0]


def test_pixels_of_the_flags_mask_are_not_rendered(run, fake, data, tmp_path):
    mask = np.ones(SHAPE, np.uint16)
    mask[2] = 0
    smv.write(tmp_path / "mask.img", mask, {})
    flags = [*FLAGS, "-mask", "mask.img"]
    assert run(command(flags=flags))[1][0] == "data.bin: 8 x 6 pixels, 40 counted, left out 8 not rendered"


# ------------------------------------------------------------------------------------- what adjoint.refine is given


def test_options_become_arguments(run, fake, data):
    more = "--bounds detector.distance_mm=49:51,image.scale=:2 --cell tetragonal"
    more += " --restraints detector.distance_mm=50:0.1,crystal.misset_deg=1/-2/3e1:0.1"
    more += " --loss gaussian --sigma 2 --start image.background=2,image.background_x=-0.5 --phases exact --method trust-constr"
    more += " --per-image image.scale --parameters detector.rotx_deg+detector.roty_deg"
    status, *_ = run(command(*more.split(), flags=[*FLAGS, "-cell", "50", "50", "70"]))
    assert status == 0
    call = fake.calls[0]
    assert call.parameters == [
        *PARAMETERS.split(","),
        ("detector.rotx_deg", "detector.roty_deg"),
        ("crystal.a_A", "crystal.b_A"),
        "crystal.c_A",
    ]
    assert call.keywords == {
        "loss": "gaussian",
        "sigma": 2.0,
        "phases": "exact",
        "method": "trust-constr",
        "backend": "cpu",
        "precision": "double",
        "bounds": {"detector.distance_mm": (49.0, 51.0), "image.scale": (-np.inf, 2.0)},
        "restraints": {"detector.distance_mm": (50.0, 0.1), "crystal.misset_deg": ((1.0, -2.0, 30.0), 0.1)},
        "image": {"background": 2.0, "background_x": -0.5},
        "per_image": ["image.scale"],
    }
    run(command("--per-image", "none"))
    assert fake.calls[1].keywords["per_image"] == []
    run(command())
    assert "per_image" not in fake.calls[2].keywords and "sigma" not in fake.calls[2].keywords


def test_a_block_of_flags_for_all_images_or_one_each(run, fake, data):
    run(command(data="data.bin,data.bin"))
    assert [e.value("detector.distance_mm") for e in fake.calls[0].experiment] == [50.0, 50.0]
    run([*command(data="data.bin,data.bin"), "--", *FLAGS, "-misset", "1", "2", "3", "-phi", "5"])
    assert [e.value("crystal.misset_deg") for e in fake.calls[1].experiment] == [(0.0, 0.0, 0.0), (1.0, 2.0, 3.0)]
    assert len(fake.calls[1].image) == 2
    run(["refine", "--data", "data.bin", "--data", "data.bin", *command()[3:]])
    assert len(fake.calls[2].experiment) == 2


def test_the_gain_of_flags_is_the_images(run, fake, data):
    run(command(flags=[*FLAGS, "-gain", "1.5"]))
    run(command("--start", "image.gain=2", flags=[*FLAGS, "-gain", "1.5"]))
    assert [call.keywords["image"] for call in fake.calls] == [{"gain": 1.5}, {"gain": 2.0}]
    status, _, errors = run([*command(data="data.bin,data.bin"), "--", *FLAGS, "-gain", "2"])
    assert status == 2 and "-gain: the blocks of flags state different gains" in errors[0]


def test_what_is_not_modelled_is_said(run, fake, data):
    errors = run(command(flags=[*FLAGS, "-psf", "0.1"]))[2]
    assert errors[0] == "nbnumba: warning: -psf has no effect: the expected image is without it"


def test_the_noise_of_the_read_out(run, fake, data):
    """The option states it, or else the flags of each image. A warning says if the loss does not use it."""
    noisy = [*FLAGS, "-readout_noise", "3"]
    run(command("--loss", "gaussian", flags=noisy))
    run(command("--loss", "gaussian", "--readout-noise", "0", flags=noisy))
    run([*command("--loss", "gaussian", data="data.bin,data.bin", flags=noisy), "--", *FLAGS])
    assert [call.keywords["readout_noise"] for call in fake.calls] == [3.0, 0.0, [3.0, 0.0]]
    warning = run(command(flags=noisy))[2][0]
    assert warning.startswith("nbnumba: warning: -readout_noise has no effect: --loss poisson does not use it; --loss gaussian")
    warning = run(command("--loss", "gaussian", "--sigma", "2", flags=noisy))[2][0]
    assert warning.startswith("nbnumba: warning: -readout_noise has no effect: --sigma is given")
    assert all("readout_noise" not in call.keywords for call in fake.calls[3:])


# ------------------------------------------------------------------------------------------- what is printed and written


def test_what_is_printed(run, fake, data, tmp_path):
    status, lines, errors = run(command())
    assert status == 0
    assert lines[1:4] == ["phase: broad spots", "phase: all parameters", "all parameters: loss 20 to 12.5, "
                          "converged after 7 evaluations"]  # fmt: skip
    heading = next(i for i, line in enumerate(lines) if line.startswith("parameter "))
    assert lines[heading].split() == ["parameter", "unit", "start", "refined", "uncertainty", "shift"]
    assert lines[heading + 1].split() == ["detector.distance_mm0", "mm", "50.000", "50.010", "0.010", "1.0"]
    assert "reduced chi squared 1.04 of 48 pixels" in lines and "converged" in lines
    assert "10 of 12 calculated spots are where they should be, R factor 0.05, spots shifted by 0.1 pixels" in lines
    assert errors == ["nbnumba: warning: two numbers are hard to tell apart"]
    assert lines[-2] == "refined flags:"
    refined = Experiment.from_args(shlex.split(lines[-1])[1:])
    assert refined.value("detector.distance_mm") == 50.01
    assert refined.value("beam.fluence") == Experiment.from_args(FLAGS).beam.fluence * 1.01
    assert refined.value("crystal.misset_deg") == (0.01, 0.01, 0.01)
    assert {path.name for path in tmp_path.iterdir()} == {"data.bin"}


def test_steps_are_told_where_there_is_a_terminal(run, fake, data, monkeypatch):
    assert not any("loss" in line for line in run(command())[2])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert sum("loss" in line for line in run(command())[2]) == 3
    assert not any("loss" in line for line in run(command(flags=[*FLAGS, "-noprogress"]))[2])


def test_a_refinement_that_does_not_succeed(run, fake, data):
    fake.change = {"success": False, "message": "the search did not converge"}
    status, lines, _ = run(command())
    assert status == 1 and "not successful: the search did not converge" in lines


def test_flags_of_each_image(run, fake, data):
    flags = [*FLAGS, "--", *FLAGS, "-misset", "1", "2", "3"]
    raw.write("other.bin", np.ones(SHAPE))
    _, lines, _ = run(command(data="data.bin,other.bin", flags=flags))
    assert lines[-5:-3] == ["refined flags of data.bin:", lines[-4]] and lines[-2] == "refined flags of other.bin:"
    first, second = (Experiment.from_args(shlex.split(line)[1:]) for line in (lines[-4], lines[-1]))
    assert first.value("crystal.misset_deg") == (0.01, 0.01, 0.01)
    assert second.value("crystal.misset_deg") == (1.01, 2.01, 3.01)
    assert first.value("detector.distance_mm") == second.value("detector.distance_mm") == 50.01


def test_gain_and_background_in_the_flags(run, fake, data):
    status, lines, errors = run(command(parameters="image.gain,image.background", flags=[*FLAGS, "-gain", "1.5"]))
    assert status == 0 and lines[-1].endswith("-gain 1.51") and lines[-1].count("-gain") == 1
    assert any("no flag states image.background" in line for line in errors)
    fake.moved = 0.0
    _, lines, errors = run(command(parameters="image.gain,image.background"))
    assert "-gain" not in lines[-1] and not any("image.background" in line for line in errors)


def test_out_is_json_that_holds_everything(run, fake, data, tmp_path):
    fake.change = {"uncertainties": {"detector.distance_mm": np.array(np.inf)}, "covariance": np.array([[np.nan]])}
    status, lines, _ = run(command("--out", "refined.json", parameters="detector.distance_mm"))
    assert status == 0 and lines[-1] == "wrote refined.json"
    written = json.loads((tmp_path / "refined.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["success"] is True and written["message"] == "converged" and written["explained"] == "nan"
    assert written["values"] == {"detector.distance_mm": 50.01} and written["start"] == {"detector.distance_mm": 50.0}
    assert written["uncertainties"] == {"detector.distance_mm": "inf"} and written["covariance"] == [["nan"]]
    assert written["names"] == ["detector.distance_mm0"] and written["units"] == ["mm"] and written["chi_squared"] == 1.04
    assert written["diagnosis"] == ["two numbers are hard to tell apart"] and len(written["phases"]) == 1
    assert Experiment.from_args(written["flags"][0]).value("detector.distance_mm") == 50.01
    assert written["command"][:3] == ["nbnumba", "refine", "--data"] and "numpy" in written["environment"]
    assert any("not determined" in line for line in lines)


def test_what_flags_do_not_state_is_in_the_json(run, fake, data, tmp_path):
    _, lines, errors = run(command("--out", "refined.json", parameters="crystal.n_a,beam.direction_x_mrad"))
    notes = json.loads((tmp_path / "refined.json").read_text())["flags_do_not_state"]
    assert len(notes) == 1 and f"nbnumba: warning: {notes[0]}" in errors
    assert "beam.direction_x_mrad is 0.01" in notes[0]
    assert any("-N_abc 3.01" in line for line in lines)  # numbers of cells need not be whole


def test_a_new_matrix_and_new_amplitudes_stand_beside_out(run, fake, data, tmp_path):
    (tmp_path / "refined.mat").write_text("0.02 0 0\n0 0.03 0\n0 0 0.025\n")
    hkl.write(tmp_path / "my.hkl", [[0, 0, 0], [1, 0, 0]], [1.0, 2.0])
    (tmp_path / "below").mkdir()
    flags = [*FLAGS[4:], "-mat", "refined.mat", "-hkl", "my.hkl"]
    before = (tmp_path / "refined.mat").read_text()
    raw.write("other.bin", np.ones(SHAPE))
    asked = "beam.wavelength_A,structure_factors.F"
    for data_, out, expected in (
        ("data.bin", [], {"refined_2.mat", "refined.hkl"}),
        ("data.bin", ["--out", "below/all.json"], {"below/all.mat", "below/all.hkl"}),
    ):
        status, lines, errors = run(command(*out, data=data_, parameters=asked, flags=flags))
        words = shlex.split(next(line for line in lines if line.startswith("nbnumba ")))
        assert status == 0 and not any("refined flags" in line for line in errors)
        assert {words[words.index("-mat") + 1], words[words.index("-hkl") + 1]} == expected
        again = Experiment.from_args(words[1:])
        np.testing.assert_array_equal(again.structure_factors.F, [1.01, 2.01])
        np.testing.assert_allclose(again.crystal.a_A, Experiment.from_args(flags).crystal.a_A, rtol=1e-14)
    assert (tmp_path / "refined.mat").read_text() == before


def test_a_report_is_written(run, fake, data, monkeypatch):
    seen = []
    write = lambda result, folder, *, title, flags: seen.append((result.message, folder, title, flags))  # noqa: E731
    monkeypatch.setattr("nbnumba.cli.report.write", write)
    lines = run(command("--report", "report"))[1]
    assert lines[-1] == "wrote report"
    assert seen == [("converged", "report", "Refinement against data.bin", [("refined flags", lines[-2])])]


@pytest.mark.parametrize(
    "start, value, sigma, expected",
    [
        (100.0, 99.98765, 0.01234, ("100.000", "99.988", "0.012", "-1.0")),
        (0.0, 0.00996, 0.000996, ("0.0000", "0.0100", "0.0010", "10.0")),
        (1e24, 1.00349e24, 3.04e21, ("1.0000e+24", "1.0035e+24", "0.0030e+24", "1.1")),
        (1200.0, 1234.5, 12.3, ("1200", "1234", "12", "2.8")),
        (1200.0, 1234.5, 123.0, ("1200", "1230", "120", "0.3")),
        (0.0, 1.0, 1e-6, ("0.0000000", "1.0000000", "0.0000010", "1e+06")),
        (0.0, 2.5e-7, 1.04e-8, ("0.00e-07", "2.50e-07", "0.10e-07", "24.0")),
        (3.0, -5.0, 2000.0, ("0", "0", "2000", "0.0")),
        (-60.0, 5.0, 1e9, ("0.0e+09", "0.0e+09", "1.0e+09", "0.0")),
        (1.25, 1.5, np.inf, ("1.25", "1.5", "not determined", "")),
        (1.25, 0.0, np.nan, ("1.25", "0", "at a bound", "")),
    ],
)
def test_digits_of_the_table(start, value, sigma, expected):
    assert refined_table.cells(start, value, sigma) == expected


def test_long_tables_are_cut():
    n = refined_table.MOST + 30
    names = [*(f"structure_factors.F[{i}]" for i in range(n)), "image.scale (image 1)", "image.scale (image 2)"]
    values = {"structure_factors.F": np.ones(n), "image.scale": np.ones(2)}
    result = SimpleNamespace(names=names, units=[""] * (n + 2), start=values, uncertainties=values, x=np.ones(n + 2))
    lines = refined_table.table(result)
    assert len(lines) == 1 + refined_table.MOST + 2 + 1
    assert lines[-2].startswith("image.scale (image 2)")
    assert lines[-1] == "structure_factors.F: 30 more, which --out writes"


# --------------------------------------------------------------------------------------------------------- refusals

REFUSED = {  # what is added to a good command line, options or after -- flags: what the sentence has to name
    "--data nowhere.cbf": ["--data", "nowhere.cbf", "no such file"],
    "--data .": ["--data", "'.'", "directory"],
    "--data text.cbf": ["--data", "'text.cbf'", "fabio"],
    "--data small.bin": ["--data", "small.bin", "8 x 6"],
    "--data small.cbf": ["--data", "small.cbf", "4 x 3 pixels; allowed: 8 x 6"],
    "--data empty.cbf": ["--data", "48 pixels of 'empty.cbf'", "--loss gaussian", "--gap"],
    "--data empty.cbf --gap -1": ["--data", "'empty.cbf'", "48 in gaps"],
    "--gap x": ["--gap", "'x'", "LOW:HIGH"],
    "--gap 3:2": ["--gap", "'3:2'"],
    "--gap :": ["--gap", "':'"],
    "--data data.bin#4": ["--data", "data.bin"],
    "--data data.bin,": ["--data", "commas"],
    "--parameters ,": ["--parameters"],
    "--parameters crystal.a_A+": ["--parameters", "crystal.a_A"],
    "--cell cubik": ["--cell", "cubik", "cubic"],
    "--bounds detector.distance_mm": ["--bounds", "NAME=LOW:HIGH"],
    "--bounds detector.distance_mm=5": ["--bounds", "detector.distance_mm=5", "LOW:HIGH"],
    "--bounds detector.distance_mm=:": ["--bounds", "detector.distance_mm=:"],
    "--bounds detector.distance_mm=a:b": ["--bounds", "a:b"],
    "--bounds image.scale=1:2,image.scale=1:3": ["--bounds", "image.scale", "twice"],
    "--restraints image.scale=1": ["--restraints", "VALUE:SIGMA"],
    "--restraints image.scale=1:0": ["--restraints", "1:0", "positive"],
    "--restraints image.scale=x:1": ["--restraints", "x:1"],
    "--restraints crystal.misset_deg=1//3:1": ["--restraints", "1//3:1", "X/Y/Z:SIGMA"],
    "--start detector.distance_mm=5": ["--start", "detector.distance_mm", "image.scale, image.background,", "image.gain"],
    "--start image.scale=two": ["--start", "two"],
    "--loss huber": ["--loss", "huber"],
    "--sigma 2": ["--sigma", "--loss gaussian"],
    "--loss gaussian --sigma 0": ["--sigma", "'0'", "positive"],
    "--readout-noise 2": ["--readout-noise", "--loss gaussian"],
    "--loss gaussian --sigma 2 --readout-noise 2": ["--readout-noise", "together with --sigma"],
    "--loss gaussian --readout-noise -2": ["--readout-noise", "'-2'", "not below 0"],
    "--saturation -1": ["--saturation", "'-1'"],
    "--saturation high": ["--saturation", "'high'"],
    "--offset nan": ["--offset", "'nan'"],
    "--mask nowhere.img": ["--mask", "nowhere.img"],
    "--mask small.cbf": ["--mask", "small.cbf", "8 x 6"],
    "--mask nan.bin": ["--mask", "1 numbers of 'nan.bin' are NaN"],
    "--mask x.h5::/entry/instrument/detector/pixel_mask": ["--mask", "0 stands for a good pixel"],
    "--mask data.bin,data.bin": ["--mask", "2 masks are given for 1"],
    "--phases some": ["--phases", "some"],
    "--method newton": ["--method", "newton"],
    "--out nowhere/refined.json": ["--out", "nowhere/refined.json"],
    "--out .": ["--out", "'.'"],
    "--out data.bin": ["--out", "data.bin", "--data"],
    "--report data.bin": ["--report", "data.bin"],
    "--report data.bin/below": ["--report", "data.bin/below"],
    "--nothing": ["--nothing", "nbnumba refine -h"],
    "-- -- -distance 40": ["2 blocks of flags are given for 1"],
    "-- --": ["no flags stand after a --"],
    "-- -floatfile x.bin": ["-floatfile", "x.bin"],
    "-- -lambda": ["-lambda"],
    "-- -cell 50 -hkl nowhere.hkl": ["-hkl", "nowhere.hkl"],
}


@pytest.mark.parametrize("more", REFUSED)
def test_what_is_impossible_is_refused_in_one_sentence(run, fake, data, tmp_path, more):
    CbfImage(data=np.zeros((3, 4), np.int32)).write(str(tmp_path / "small.cbf"))
    CbfImage(data=np.full(SHAPE, -1, np.int32)).write(str(tmp_path / "empty.cbf"))
    (tmp_path / "small.bin").write_bytes(b"1234")
    (tmp_path / "nan.bin").write_bytes(np.append(np.nan, np.ones(47)).astype("<f4").tobytes())
    (tmp_path / "text.cbf").write_text("no image")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    own, _, flags = more.partition("-- ")
    status, lines, errors = run(command(*own.split(), flags=[*FLAGS, *flags.split()]))
    assert status == 2, lines
    assert len(errors) == 1 and errors[0].startswith("nbnumba: ")
    for word in REFUSED[more]:
        assert word in errors[0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not fake.calls


@pytest.mark.parametrize(
    "args, named",
    [
        ("refine", "no --"),
        ("refine --parameters detector.distance_mm -- -cell 50", "--data"),
        ("refine --data data.bin -- -cell 50", "--parameters"),
        ("refine --data data.bin --parameters image.scale --", "no flags"),
        ("refine --data data.bin --parameters image.scale -- -cell 50", "nothing scatters"),
        ("refine --data data.bin,data.bin --parameters image.scale -- -cell 50 --", "no flags"),
    ],
)
def test_what_is_missing_is_named(run, fake, data, args, named):
    status, _, errors = run(args)
    assert status == 2 and len(errors) == 1 and named in errors[0]


@pytest.mark.parametrize(
    "message, shown",
    [
        ("parameters: 'x' is no parameter", "--parameters: 'x' is no parameter"),
        ("bounds: detector.distance_mm starts at 1", "--bounds: detector.distance_mm starts at 1"),
        ("measured: -1 is not allowed", "--data: -1 is not allowed"),
        ("per_image: 'x' is not refined", "--per-image: 'x' is not refined"),
        ("image: 'x' is no number", "--start: 'x' is no number"),
        ("image.scale: what is that", "image.scale: what is that"),
        ("detector.distance_mm: 0 is not allowed", "-distance: 0 is not allowed"),
    ],
)
def test_refusals_of_adjoint_are_in_the_words_of_the_command_line(run, fake, data, message, shown):
    fake.error = message
    status, _, errors = run(command())
    assert (status, errors) == (2, [f"nbnumba: {shown}"])


def test_help(capsys):
    assert main(["refine", "-h"]) == 0
    printed = capsys.readouterr().out
    assert all(option in printed for option in [*refine.OPTIONS.values(), "--out", "--report", "--cell", "--offset"])


def test_an_interrupted_run_writes_nothing(run, data, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(adjoint, "refine", stop, raising=False)
    assert run(command("--out", "refined.json"))[0] == 130
    assert {path.name for path in tmp_path.iterdir()} == {"data.bin"}


def test_what_fabio_warns_of_is_not_shown(tmp_path, monkeypatch, capsys):
    import logging

    path = written_as("cbf", np.ones(SHAPE), tmp_path)
    opened = fabio.open

    def noisy(name):
        logging.getLogger("fabio.cbfimage").error("a complaint")
        return opened(name)

    monkeypatch.setattr(fabio, "open", noisy)
    images.read(path, SHAPE, "--data")
    assert capsys.readouterr().err == ""


# ----------------------------------------------------------------------------------------------------- end to end

TRUTH = "-cell 40 50 60 -default_F 60 -N 8 -distance 60 -detpixels 64 -pixel 0.4 -fluence 1e29 -oversample 1 -gauss_xtal"
TRUTH = TRUTH.split()


def noisy(run, name, misset, seed):
    """Write the image of a crystal in that orientation, with photon noise, as SMV."""
    quiet = ["-nopgm", "-nointfile", "-floatfile", "float.bin", "-seed", str(seed), "-noisefile", name]
    assert run([*TRUTH, "-misset", *map(str, misset), *quiet])[0] == 0


def within_errors(fit, name, truth):
    """Whether a refined parameter is within 5 of its uncertainties of the truth, and these are small."""
    values, sigma = np.array(fit["values"][name]), np.array(fit["uncertainties"][name])
    assert (np.abs(values - truth) < 5 * sigma).all(), (name, values, sigma)
    assert (sigma < 0.05).all()


def test_an_image_of_our_own_is_refined(run, tmp_path):
    noisy(run, "noise.img", (10, 20, 30), 1)
    flags = [*TRUTH, "-misset", "10.1", "19.95", "30.1", "-distance", "60.3"]
    options = "--data noise.img --parameters crystal.misset_deg,detector.distance_mm,image.scale --out fit.json --report report"
    status, lines, _ = run(["refine", *options.split(), "--", *flags])
    assert status == 0
    assert lines[0] == "noise.img: 64 x 64 pixels, 4096 counted; offset 40 (ADC_OFFSET of its header) subtracted"
    fit = json.loads((tmp_path / "fit.json").read_text())
    within_errors(fit, "crystal.misset_deg", (10, 20, 30))
    within_errors(fit, "detector.distance_mm", 60.0)
    within_errors(fit, "image.scale", 1.0)
    assert (tmp_path / "report").is_dir()
    printed = next(line for line in lines if line.startswith("nbnumba "))
    assert shlex.split(printed)[1:] == fit["flags"][0]
    truth = simulate(Experiment.from_args([*TRUTH, "-misset", "10", "20", "30"]))
    image = simulate(Experiment.from_args(fit["flags"][0]))
    assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > 0.999
    again = [*options.split()[:4], "--start", "image.scale=1", "--phases", "exact", "--", *fit["flags"][0]]
    status, lines, _ = run(["refine", *again])
    shift = {line.split()[0]: line.split()[-1] for line in lines if line.startswith(("crystal.", "detector.", "image."))}
    assert status == 0 and len(shift) == 5 and all(abs(float(x)) < 0.05 for x in shift.values())


def test_two_images_of_our_own_are_refined_together(run, tmp_path):
    orientations = (10.0, 20.0, 30.0), (40.0, 20.0, 70.0)
    for number, misset in enumerate(orientations):
        noisy(run, f"noise_{number}.img", misset, 5 + number)
    near = [[*TRUTH, "-distance", "60.3", "-misset", *(str(x + 0.1) for x in misset)] for misset in orientations]
    options = "--data noise_0.img,noise_1.img --parameters detector.distance_mm,crystal.misset_deg --start image.scale=1"
    status, lines, _ = run(["refine", *options.split(), "--out", "fit.json", "--", *near[0], "--", *near[1]])
    assert status == 0
    fit = json.loads((tmp_path / "fit.json").read_text())
    within_errors(fit, "crystal.misset_deg", orientations)
    within_errors(fit, "detector.distance_mm", 60.0)
    for flags, misset in zip(fit["flags"], fit["values"]["crystal.misset_deg"]):
        refined = Experiment.from_args(flags)
        assert refined.value("crystal.misset_deg") == tuple(misset)
        assert refined.value("detector.distance_mm") == fit["values"]["detector.distance_mm"]


@pytest.mark.parametrize(
    "more, named",
    [
        ("--parameters detector.distance", ["--parameters", "'detector.distance'"]),
        ("--bounds detector.distance_mm=55:56", ["--bounds", "detector.distance_mm", "50"]),
        ("--bounds detector.rotx_deg=0:1", ["--bounds", "'detector.rotx_deg'"]),
        ("--per-image detector.rotx_deg", ["--per-image", "'detector.rotx_deg'"]),
        ("--start image.colour=1", ["--start", "'image.colour'", "allowed: image.scale, "]),
        ("--start image.gain=-1", ["--start: image.gain -1 is not allowed; allowed: a number above 0"]),
        ("--restraints crystal.misset_deg=33:1", ["--restraints: crystal.misset_deg has three numbers", "misset_z_deg"]),
        ("--restraints crystal.misset_deg=3/4:1", ["--restraints: crystal.misset_deg 3.0, 4.0 is not allowed"]),
        ("--bounds crystal.misset_deg=-1:1", ["--bounds: crystal.misset_deg has three numbers"]),
        ("--bounds detector.distance_mm=5:4", ["--bounds: detector.distance_mm from 5 to 4", "below the largest"]),
        ("--bounds image.scale=-5:-4", ["--bounds: image.scale from -5 to -4 is not allowed; allowed: a part of "]),
        ("--parameters detector.rotx_deg+detector.distance_mm", ["--parameters: ", "tied and differ; allowed: one value"]),
        ("--parameters crystal.mosaic_spread_deg", ["--parameters", "crystal.mosaic_spread_deg"]),
        ("--offset 1", ["--data", "-1"]),
    ],
)
def test_what_adjoint_refuses(run, data, tmp_path, more, named):
    status, _, errors = run(command(*more.split(), "--out", "fit.json"))
    assert status == 2 and len(errors) == 1
    assert all(word in errors[0] for word in named)
    assert not any(word in errors[0] for word in ("Experiment", "adjoint.", "dict", "loss=", "None", "inf)"))
    assert {path.name for path in tmp_path.iterdir()} == {"data.bin"}
