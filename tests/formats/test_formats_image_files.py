"""The images that a list of experiments names, its profile model and its space group: found, and refused where they are not."""

import json
import os

import dials
import geometry_files
import numpy as np
import pytest
import real_data

from nbnumba import InputError
from nbnumba.formats import dxtbx, symmetry, xparm
from nbnumba.formats.geometry import ProfileGeometry
from nbnumba.formats.image_files import ImageFile, template_files

STILLS = {"scan": [], "goniometer": []}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a list of experiments; the working directory is another one."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "list").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "list"


def expt(folder, imageset, **changes):
    """The path of a list of one experiment of two images, 3 and 4, with an imageset."""
    content = geometry_files.experiments(imageset=[imageset], **changes)
    path = folder / "m.expt"
    path.write_text(json.dumps(content))
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def sequence(template, **more):
    return {"__id__": "ImageSequence", "template": template, **more}


def test_images_of_a_template(folder):
    path = expt(folder, sequence("raw/a_###.cbf"))
    touch(folder, "raw/a_003.cbf", "raw/a_004.cbf", "raw/a_005.cbf")
    both = [ImageFile(str(folder / f"raw/a_00{number}.cbf"), number) for number in (3, 4)]
    assert dxtbx.images_of(path) == both
    assert dxtbx.images_of(path, numbers=[4]) == both[1:]
    assert dxtbx.images_of(path, numbers=[4, 3]) == both[::-1]


def test_images_that_are_not_there_are_left_out_unless_they_are_wanted(folder):
    path = expt(folder, sequence("a_###.cbf"))
    touch(folder, "a_004.cbf")
    assert dxtbx.images_of(path) == [ImageFile(str(folder / "a_004.cbf"), 4)]
    with pytest.raises(
        InputError, match="-expt: .*imageset.0..template, 'a_###.cbf', has no file of image 3; allowed: .* image 4$"
    ):
        dxtbx.images_of(path, numbers=[3, 4])


def test_relative_paths_are_found_from_the_working_directory_too(folder):
    touch(folder.parent, "elsewhere/a_03.cbf", "list/b_04.cbf")
    assert dxtbx.images_of(expt(folder, sequence("a_##.cbf"))) == [ImageFile("a_03.cbf", 3)]
    touch(folder, "a_04.cbf")
    assert dxtbx.images_of(expt(folder, sequence("a_##.cbf"))) == [ImageFile(str(folder / "a_04.cbf"), 4)]


def test_absolute_paths_of_another_machine_are_found_beside_the_list(folder):
    touch(folder, "a_03.cbf")
    assert dxtbx.images_of(expt(folder, sequence("/absent/of/it/a_##.cbf"))) == [ImageFile(str(folder / "a_03.cbf"), 3)]
    touch(folder.parent, "raw/a_04.cbf")
    there = str(folder.parent / "raw" / "a_##.cbf")
    assert dxtbx.images_of(expt(folder, sequence(there))) == [ImageFile(str(folder.parent / "raw/a_04.cbf"), 4)]


def test_the_last_run_of_digits_numbers_the_images(folder):
    touch(folder, "run#1/a_##_3.cbf", "run#1/a_##_4.cbf")
    assert [file.number for file in dxtbx.images_of(expt(folder, sequence("run#1/a_##_#.cbf")))] == [3, 4]


@pytest.mark.parametrize("more, places", [({}, [2, 3]), ({"single_file_indices": [2, 3]}, [2, 3])])
def test_images_in_one_file(folder, more, places):
    """dxtbx takes image n of a scan from place n - 1 of the file."""
    touch(folder, "a_master.h5")
    path = expt(folder, sequence("a_master.h5", **more))
    files = [ImageFile(f"{folder}/a_master.h5#{place}", number) for place, number in zip(places, (3, 4))]
    assert dxtbx.images_of(path) == files and dxtbx.images_of(path, numbers=[4]) == files[1:]


def test_a_scan_of_one_image_may_have_a_name_without_digits(folder):
    touch(folder, "a.img")
    scan = {"image_range": [1, 1], "oscillation": [0.0, 1.0]}
    assert dxtbx.images_of(expt(folder, sequence("a.img"), scan=[scan])) == [ImageFile(str(folder / "a.img"), 1)]


def test_stills_have_no_numbers(folder):
    touch(folder, "a.cbf", "c.h5")
    imageset = {"__id__": "ImageSet", "images": ["a.cbf", "b.cbf"]}
    assert dxtbx.images_of(expt(folder, imageset, **STILLS)) == [ImageFile(str(folder / "a.cbf"), None)]
    imageset = {"__id__": "ImageSet", "images": ["c.h5", "c.h5"], "single_file_indices": [7, 0]}
    stills = [ImageFile(f"{folder}/c.h5#{place}", None) for place in (7, 0)]
    path = expt(folder, imageset, **STILLS)
    assert dxtbx.images_of(path) == stills
    with pytest.raises(InputError, match="imageset.0. has stills, which have no numbers: 7 is not allowed"):
        dxtbx.images_of(path, numbers=[7])


def test_a_data_block_of_old_versions_has_its_images_in_its_entry(folder):
    content = geometry_files.experiments()
    models = {key: content[key] for key in ("beam", "detector", "goniometer", "scan")}
    block = {"__id__": "DataBlock", "imageset": [sequence("a_#.cbf", beam=0, detector=0, scan=0)], **models}
    (folder / "m.json").write_text(json.dumps([block]))
    touch(folder, "a_3.cbf")
    assert dxtbx.images_of(folder / "m.json") == [ImageFile(str(folder / "a_3.cbf"), 3)]


@pytest.mark.parametrize(
    "imageset, changes, numbers, sentence",
    [
        (
            sequence("a_###.cbf"),
            {},
            None,
            "template, 'a_###.cbf', has no file of images 3 to 4; allowed: images that are there",
        ),
        (sequence("a_###.cbf"), {}, [5], "'a_###.cbf', has no image 5; allowed: 3 to 4"),
        (sequence("a_###.cbf"), STILLS, None, "'a_###.cbf', is without a scan; allowed: a scan"),
        (sequence("a_" + 13 * "#"), {}, None, "has 13 # in a row; allowed: at most 12"),
        (sequence(7), {}, None, "template is 7; allowed: a text"),
        (sequence("\0##"), {}, None, "has no file of images 3 to 4"),
        (sequence("here.h5", single_file_indices=[1]), {}, None, "single_file_indices is .1.; allowed: a list of 2 numbers"),
        (sequence("here.h5", single_file_indices=[1, -1]), {}, None, "single_file_indices.1. is -1; allowed: a whole number"),
        (
            sequence("here.h5", single_file_indices=[0, 1]),
            {},
            None,
            "indices is .0, 1.; allowed: 2 to 3, where dxtbx has images 3",
        ),
        ({"__id__": "MemImageSet"}, {}, None, "names no images; allowed: an imageset with images or a template"),
        (None, {}, None, "names no images; allowed: an experiment with an imageset"),
        ({"images": ["x.cbf"]}, STILLS, None, "has no file of 1, such as 'x.cbf', that is there; allowed"),
        ({"images": []}, STILLS, None, "has no file that is there; allowed"),
        ({"images": ["here.h5"], "single_file_indices": []}, STILLS, None, "single_file_indices is ..; allowed: a list of 1"),
    ],
)
def test_images_that_cannot_be_are_refused(folder, imageset, changes, numbers, sentence):
    touch(folder, "here.h5")
    with pytest.raises(InputError, match=f"-expt: .*m.expt.*{sentence}"):
        dxtbx.images_of(expt(folder, imageset, **changes), numbers=numbers)


def test_an_experiment_that_the_list_lacks(folder):
    with pytest.raises(InputError, match="experiment has no entry 1; allowed: 0 to 0"):
        dxtbx.images_of(expt(folder, sequence("a_#")), experiment=1)


def test_template_files(folder):
    touch(folder.parent, "elsewhere/a_01.cbf", "elsewhere/a_02.cbf", "elsewhere/a_103.cbf", "elsewhere/b.nxs")
    assert template_files("a_##.cbf", range(1, 3), "--data") == [ImageFile("a_01.cbf", 1), ImageFile("a_02.cbf", 2)]
    assert template_files("a_##.cbf", [103], "--data") == [ImageFile("a_103.cbf", 103)]
    assert template_files("b.nxs", [1, 5], "--data") == [ImageFile("b.nxs#0", 1), ImageFile("b.nxs#4", 5)]


@pytest.mark.parametrize(
    "template, numbers, sentence",
    [
        ("a_##.cbf", [1, 2, 3, *range(5, 11)], "no file of images 3, 5, 6, 7, 8 and 2 others; allowed: .* images 1 to 2"),
        ("a_##.cbf", [7], "has no file of image 7; allowed: images that are there$"),
        ("a_01.cbf", [1], "has no # in its name; allowed: a # for each digit of an image's number, or an HDF5 file"),
        ("run_##/a.cbf", [1], "has no # in its name"),
        ("a_##.cbf", [], "no image is chosen; allowed: numbers of images"),
        ("a_##.cbf", [-1], "has no image -1; allowed: numbers from 0"),
        ("b.nxs", [0], "has no image 0; allowed: numbers from 1"),
        ("c.nxs", [1], "has no file of image 1"),
    ],
)
def test_templates_that_cannot_be_are_refused(folder, template, numbers, sentence):
    touch(folder.parent, "elsewhere/a_01.cbf", "elsewhere/a_02.cbf", "elsewhere/b.nxs")
    with pytest.raises(InputError, match=f"--data: '{template}'.*{sentence}"):
        template_files(template, numbers, "--data")


@pytest.mark.parametrize(
    "profile, expected",
    [
        ({"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.05, "sigma_m": 0.2}, ProfileGeometry(0.05, 0.2)),
        ({"__id__": "gaussian_rs", "sigma_b": [0.01, 0.03], "sigma_m": [0.2, 0.3]}, ProfileGeometry(0.02, 0.25)),
        ({"__id__": "ellipsoid"}, None),
    ],
)
def test_the_profile_model(folder, profile, expected):
    made = dxtbx.read(expt(folder, None, profile=[profile])).at_image(3).profile
    assert made == (expected if expected is None else pytest.approx(expected, rel=1e-12))
    assert dxtbx.read(expt(folder, None)).profile is None


@pytest.mark.parametrize("sigma", [-0.1, "x", None, [], [0.1, None]])
def test_a_damaged_profile_model_is_refused(folder, sigma):
    with pytest.raises(InputError, match=r"profile\[0\].sigma_m.* is .*; allowed: a number not below 0"):
        dxtbx.read(expt(folder, None, profile=[{"__id__": "gaussian_rs", "sigma_b": 0.1, "sigma_m": sigma}]))


def test_the_space_group_of_an_xparm_is_a_symbol_of_hall(tmp_path):
    whole = geometry_files.xparm_bytes()
    line = b"     1     30.0000"
    for number, symbol in ((b"  1", "P 1"), (b" 19", "P 2ac 2ab"), (b"  0", None), (b"999", None)):
        (tmp_path / "XPARM.XDS").write_bytes(whole.replace(line, b"   " + number + b"     30.0000"))
        assert xparm.read(tmp_path / "XPARM.XDS").crystal.space_group == symbol


def test_symbols_of_hall():
    """Those that dxtbx writes, with blanks in front and shifts of the origin."""
    assert symmetry.of_hall(" P 2ac 2ab", "it").name == "P 21 21 21"
    shifted = symmetry.of_hall(" P 61 2 (x,y,z+5/12)", "it")
    assert shifted.name == "P 61 2 2" and len(shifted.rotations) == 12
    with pytest.raises(InputError, match="m.expt is 'P 9z'; allowed: a symbol of Hall"):
        symmetry.of_hall("P 9z", "m.expt")


_OPERATIONS = """
import json, sys
from cctbx import sgtbx
groups = [sgtbx.space_group(symbol) for symbol in json.load(sys.stdin)]
parts = [[(op.r().as_double(), [x % 1.0 for x in op.t().as_double()]) for op in group] for group in groups]
print(json.dumps([sorted(operations) for operations in parts]))
"""


def test_symbols_of_hall_mean_what_they_mean_to_cctbx():
    symbols = [" P 2 2", " P 61 2 (x,y,z+5/12)", " C 2y (x+1/4,y+1/4,z)", " P 2yb (z,x,y)", '-R 3 2"', " F 4d 2 3 -1d"]
    for symbol, operations in zip(symbols, dials.answer(_OPERATIONS, given=symbols)):
        made = symmetry.of_hall(symbol, "it")
        ours = sorted((r.ravel().tolist(), (t % 1.0).tolist()) for r, t in zip(made.rotations.astype(float), made.translations))
        assert len(ours) == len(operations)
        for (rotation, shift), (expected, by) in zip(ours, operations):
            assert rotation == expected, symbol
            np.testing.assert_allclose((np.array(shift) - by + 0.5) % 1.0, 0.5, rtol=0, atol=1e-9)


_PATHS = """
import json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
answers = []
for name in sys.argv[1:]:
    images = ExperimentListFactory.from_json_file(name, check_format=False)[0].imageset
    answers.append([[images.get_path(n) for n in range(len(images))], list(images.indices())])
print(json.dumps(answers))
"""


def test_images_are_those_of_dxtbx(folder):
    """Of a scan of the images 3 and 4, as files and in one file."""
    touch(folder, "a_003.cbf", "a_004.cbf", "a.h5")
    lookups = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    lists = []
    for more in ({"template": "a_###.cbf"}, {"template": "a.h5", "single_file_indices": [2, 3]}):
        path = expt(folder, {**sequence(**more), **lookups, "params": {}})
        lists.append(path.rename(folder / f"{len(lists)}.expt"))
    (files, _), (in_one, places) = dials.answer(_PATHS, *lists)
    assert [file.name for file in dxtbx.images_of(lists[0])] == files
    assert [file.name for file in dxtbx.images_of(lists[1])] == [f"{name}#{place}" for name, place in zip(in_one, places)]


@real_data.needs(real_data.REAL / "l_cysteine")
def test_a_real_sweep():
    """Fifteen images of 1700 are there."""
    path = real_data.REAL / "l_cysteine" / "sweep01.expt"
    images = dxtbx.images_of(path)
    assert [file.number for file in images] == list(range(1, 16)) and all(os.path.isfile(file.name) for file in images)
    geometry = dxtbx.read(path)
    assert geometry.profile == pytest.approx((0.05050873608413183, 0.19426060710295123), rel=1e-12)
    assert symmetry.of_hall(geometry.crystal.space_group, "it").name == "P 2 2 2"


@real_data.needs(real_data.CSPAD)
def test_real_stills_without_images():
    stills = real_data.CSPAD / "cspad_stills.expt"
    assert dxtbx.read(stills, experiment=3).crystal.space_group == "P 61 2 (x,y,z+5/12)"
    with pytest.raises(InputError, match="names no images"):
        dxtbx.images_of(stills)
