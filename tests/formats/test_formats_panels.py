"""Pixels of several panels: sections of a full CBF, modules of an NXmx master, stacked images; CBFlib's packed format."""

import json
import subprocess
from pathlib import Path

import geometry_files
import numpy as np
import pytest
from geometry_files import FAST, SLOW
from real_data import REAL, needs

import nbnumba
from nbnumba import Experiment, InputError
from nbnumba.cli import measured
from nbnumba.formats import cbf_data, cif, images, unmeasured
from nbnumba.formats.cif import Section
from nbnumba.formats.geometry import PanelGeometry, with_data_origins

SHAPES = [(SLOW, FAST)] * 2
ROWS = np.arange(2 * SLOW * FAST).reshape(2 * SLOW, FAST)


def section(data, kind="x-CBF_PACKED", shape=(3, 4), **fields):
    names = ("fastest", "second", "third")
    sizes = {f"x-binary-size-{name}-dimension": str(n) for name, n in zip(names, reversed(shape))}
    return Section({"conversions": kind, "x-binary-size": str(len(data)), **sizes, **fields}, data)


def packed(steps, width=16, code=6):
    """Differences in chunks of one number of 16 bits each, after the head of packed data."""
    bits = 0
    for index, step in enumerate(steps):
        bits |= ((code << 3) | ((step % (1 << width)) << 6)) << index * (width + 6)
    size = len(steps).to_bytes(8, "little") + bytes(24)
    return size + bits.to_bytes((len(steps) * (width + 6) + 7) // 8, "little")


def steps_of(values):
    """The differences of packed data from the rule for neighbours, written down once more, slowly: in a plane."""
    slow, fast = values.shape
    steps = []
    for y in range(slow):
        for x in range(fast):
            left, up = values[y, x - 1] if x else None, values[y - 1, x] if y else None
            if y == 0:
                mean = 0 if left is None else left
            elif x == 0:
                mean = (up + values[y - 1, 1] + 1) // 2
            elif x == fast - 1:
                mean = (left + up + 1) // 2
            else:
                mean = (left + values[y - 1, x - 1] + up + values[y - 1, x + 1] + 2) // 4
            steps.append(int(values[y, x] - mean))
    return steps


def test_packed_pixels():
    values = np.random.default_rng(3).integers(-500, 5000, (3, 4))
    assert np.array_equal(cbf_data.decoded(section(packed(steps_of(values)))), values)
    assert np.array_equal(cbf_data.decoded(section(packed([0] * 12, 0, 0))), np.zeros((3, 4)))


def test_byte_offsets():
    """Differences of 1, 2 and 4 bytes."""
    values = np.array([1, 2, 200, 70000, -5, -5, 3, 2_000_000_000, 0, 1, 2, 3])
    data = b""
    for step in np.diff(values, prepend=0).tolist():
        if abs(step) < 128:
            data += step.to_bytes(1, "little", signed=True)
        elif abs(step) < 32768:
            data += b"\x80" + step.to_bytes(2, "little", signed=True)
        else:
            data += b"\x80\x00\x80" + step.to_bytes(4, "little", signed=True)
    assert np.array_equal(cbf_data.decoded(section(data, "x-CBF_BYTE_OFFSET")).ravel(), values)
    whole = section(values.astype(">i4").tobytes(), "", **{"x-binary-element-byte-order": "BIG_ENDIAN"})
    assert np.array_equal(cbf_data.decoded(whole).ravel(), values)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (section(packed([1] * 12)[:-5]), "is cut off"),
        (section(packed([1] * 11)), "states another number of elements"),
        (section(b"\1" * 5, "x-CBF_BYTE_OFFSET"), "is cut off"),
        (section(b"\1" * 12, "x-CBF_CANONICAL"), "is compressed by 'x-CBF_CANONICAL'"),
        (section(b"\1" * 12, "x-CBF_BYTE_OFFSET", (0, 4)), "has 0 elements"),
        (section(b"\1" * 12, "x-CBF_BYTE_OFFSET", (60000, 60000)), "elements in its dimensions"),
        (section(b"\1" * 12, "x-CBF_BYTE_OFFSET", **{"x-binary-element-type": "complex"}), "elements of the type 'complex'"),
    ],
)
def test_damaged_pixels(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        cbf_data.decoded(wrong)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full.cbf").write_bytes(geometry_files.full_cbf_bytes())
    geometry_files.write_nexus(tmp_path / "m.nxs")
    (tmp_path / "two.expt").write_bytes(geometry_files.expt_bytes(2))
    ROWS.astype("<f4").tofile(tmp_path / "stack.bin")


PYCBF = """
import sys
import pycbf
compression, flags, size, sign, *shape, name = sys.argv[1:]
pixels = sys.stdin.buffer.read()
handle = pycbf.cbf_handle_struct()
handle.new_datablock(b"x"); handle.new_category(b"array_data"); handle.new_column(b"data")
slow, mid, fast = map(int, shape)
how = getattr(pycbf, compression) | int(flags)
order = b"little_endian"
handle.set_integerarray_wdims_fs(how, 1, pixels, int(size), int(sign), slow * mid * fast, order, fast, mid, slow, 0)
handle.write_widefile(name.encode(), pycbf.CBF, pycbf.MIME_HEADERS, 0)
"""
"""A program for Debian's Python that packs numbers by CBFlib: its own bits are the reference of ours."""

DEBIAN = "/usr/bin/python3"


def packed_by_cbflib(array, compression, flags=0):
    """The section of an array (third, slow, fast) that CBFlib packs."""
    words = [compression, flags, array.itemsize, int(array.dtype.kind == "i"), *array.shape, "made.cbf"]
    command = [DEBIAN, "-c", PYCBF, *map(str, words)]
    done = subprocess.run(command, input=array.tobytes(), capture_output=True, env={"PATH": "/usr/bin"}, check=False)
    assert done.returncode == 0, done.stderr
    return cif.read("made.cbf", "test").sections[0]


def has_pycbf():
    """Whether Debian's CBFlib is installed."""
    command = [DEBIAN, "-c", "import pycbf"]
    return Path(DEBIAN).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_cbflib = pytest.mark.skipif(not has_pycbf(), reason="Debian's python3-pycbf, which packs the numbers, is not installed")


@needs_cbflib
@pytest.mark.parametrize("compression", ["CBF_PACKED", "CBF_PACKED_V2"])
@pytest.mark.parametrize(
    "kind, least, most", [("<i4", -2, 50), ("<i4", -(2**31), 2**31 - 1), ("<u4", 0, 2**32 - 1), ("<i4", 0, 2**20)]
)
def test_numbers_that_cbflib_packs(tmp_path, monkeypatch, compression, kind, least, most):
    monkeypatch.chdir(tmp_path)
    for shape in ((1, 9, 11), (3, 6, 7), (2, 1, 5)):
        array = np.random.default_rng(2).integers(least, most, shape, endpoint=True).astype(kind)
        array[0, 0, :2] = (0, most)
        decoded = cbf_data.decoded(packed_by_cbflib(array, compression))
        assert np.array_equal(decoded.reshape(shape), array)


@needs_cbflib
def test_packed_numbers_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flat, uncorrelated = 512, 256
    array = np.arange(24, dtype="<i4").reshape(2, 3, 4)
    for flags, sentence in ((flat, "packed as 'flat'"), (uncorrelated, "packed as 'uncorrelated_sections'")):
        with pytest.raises(ValueError, match=sentence):
            cbf_data.decoded(packed_by_cbflib(array, "CBF_PACKED", flags))
    assert np.array_equal(cbf_data.decoded(packed_by_cbflib(array[:1], "CBF_PACKED_V2", uncorrelated)), array[0])
    for other in (array.astype("<u2"), np.ascontiguousarray(array[:, :, :1])):
        with pytest.raises(ValueError, match="elements of other than 32 bits, or planes of one column"):
            cbf_data.decoded(packed_by_cbflib(other, "CBF_PACKED"))


def test_panels_are_a_sheet(files):
    full, first = images.read_panels("full.cbf", SHAPES, "--data"), images.read_panels("m.nxs#0", SHAPES, "--data")
    assert np.array_equal(full.pixels, ROWS) and full.masked is None
    assert np.array_equal(first.pixels, ROWS) and np.array_equal(first.masked, np.arange(FAST) == np.ones((2 * SLOW, 1)))
    assert np.array_equal(images.read_panels("m.nxs#1", SHAPES, "--data").pixels, ROWS + ROWS.size)
    assert np.array_equal(images.read_panels("stack.bin", SHAPES, "--data").pixels, ROWS)


@pytest.mark.filterwarnings("ignore")
def test_panels_are_cut_out_of_one_array(files):
    """By the rows and columns that a .geom or an .expt states; a sheet of the same panels is one, too."""
    layout = "p1/min_fs = 8\np1/max_fs = 13\np1/min_ss = 1\np1/max_ss = 5\n"
    Path("m.geom").write_text(geometry_files.geom_bytes().decode() + layout)
    content = geometry_files.experiments(2)
    for panel, offset in zip(content["detector"][0]["panels"], ([0, 0], [8, 1])):
        panel["raw_image_offset"] = offset
    Path("m.expt").write_text(json.dumps(content))
    whole = np.arange(6 * 14, dtype=np.uint16).reshape(6, 14)
    nbnumba.write_smv("whole.img", whole)
    nbnumba.write_smv("sheet.img", ROWS.astype(np.uint16))
    for words in ("-geom m.geom -cell 50 60 70", "-expt m.expt -image 3"):
        experiment = Experiment.from_args(f"{words} -default_F 1".split())
        assert [panel.data_origin for panel in experiment.detector.panels] == [(0, 0), (1, 8)]
        shapes, origins = [panel.shape for panel in experiment.detector.panels], [(0, 0), (1, 8)]
        cut = images.read_panels("whole.img", shapes, "--data", origins)
        assert np.array_equal(cut.pixels, np.concatenate([whole[:5, :6], whole[1:, 8:]])) and cut.masked is None
        for name in ("sheet.img", "stack.bin"):
            assert np.array_equal(images.read_panels(name, shapes, "--data", origins).pixels, ROWS)
        data = measured.read("whole.img", experiment, None, None, 0.0).data * 2.0
        assert data[0, 2, 3] == whole[2, 3] and data[1, 2, 3] == whole[3, 11]
    nbnumba.write_smv("other.img", np.zeros((6, 13), np.uint16))
    with pytest.raises(InputError, match="'other.img' has 13 x 6 pixels; allowed: 14 x 6, fast x slow"):
        images.read_panels("other.img", shapes, "--data", origins)


def test_a_virtual_dataset_whose_file_is_missing_names_it(files):
    """HDF5 by itself would fill the image with a number that looks like a gap. Images in files that are there can be read."""
    import h5py

    with h5py.File("m.nxs", "r+") as file:
        pixels = file["/entry/data/data"][()]
        del file["/entry/data/data"]
        layout = h5py.VirtualLayout(pixels.shape, pixels.dtype)
        for number in range(len(pixels)):
            layout[number] = h5py.VirtualSource(f"part_{number}.h5", "data", pixels.shape[1:])
        file["/entry/data"].create_virtual_dataset("data", layout, fillvalue=-1)
    with h5py.File("part_1.h5", "w") as file:
        file["data"] = pixels[1]
    assert np.array_equal(images.read_panels("m.nxs#1", SHAPES, "--data").pixels, ROWS + ROWS.size)
    with pytest.raises(InputError, match="has the pixels of image #0 in part_0.h5, which is not there"):
        images.read_panels("m.nxs#0", SHAPES, "--data")


def test_a_master_whose_data_file_is_missing_names_it(files):
    """With modules, or without as those of EIGER; the data file beside it makes it whole again."""
    import h5py

    with h5py.File("m.nxs", "r+") as file:
        pixels = file["/entry/data/data"][()]
        del file["/entry/data/data"]
        file["/entry/data/data_000001"] = h5py.ExternalLink("x_data_000001.h5", "/entry/data/data")
    sentence = "has its images in x_data_000001.h5, which cannot be opened; allowed: a master with its data files beside it"
    for read in (lambda: images.read_panels("m.nxs", SHAPES, "--data"), lambda: images.read("m.nxs", ROWS.shape, "--data")):
        with pytest.raises(InputError, match=f"--data: 'm.nxs' {sentence}"):
            read()
    with h5py.File("x_data_000001.h5", "w") as file:
        file["/entry/data/data"] = pixels
    assert np.array_equal(images.read_panels("m.nxs#1", SHAPES, "--data").pixels, ROWS + ROWS.size)
    assert np.array_equal(images.read("m.nxs#1", ROWS.shape, "--data").pixels, ROWS + ROWS.size)
    with h5py.File("m.nxs", "r+") as file:
        file["/entry/data/data_000002"] = pixels[:1] + 1
    assert np.array_equal(images.read_panels("m.nxs#2", SHAPES, "--data").pixels, ROWS + 1)
    with pytest.raises(InputError, match="holds 3 images, and number 3 is not among them; allowed: FILE#K, K from 0 to 2"):
        images.read_panels("m.nxs#3", SHAPES, "--data")


def test_our_own_nxmx_of_one_panel_holds_one_image(files):
    """Its gain, which stands beside the pixels, is no image; its mask and its limits count."""
    made = Experiment.from_args("-cell 50 -default_F 1 -detpixels_x 6 -detpixels_y 5 -roi 1 5 0 4".split())
    counts = np.arange(30, dtype=np.uint16).reshape(5, 6) + 40
    nbnumba.write_nxmx("own.nxs", counts, made, adc=40.0, response=nbnumba.Response(gain=2.5, saturation=68.0))
    image = images.read("own.nxs", (5, 6), "--data")
    assert (
        np.array_equal(image.pixels[:, 1:], counts[:, 1:] - 40.0) and image.masked[:, 0].all() and not image.masked[:, 1:].any()
    )
    assert unmeasured.saturation(image).reached(image.pixels)[4].tolist() == [False] * 4 + [True] * 2
    assert nbnumba.read_geometry("own.nxs").panels[0].gain == 2.5


def test_panels_that_overlap_in_one_array_have_no_place_in_it():
    def placed(*origins):
        panels = [PanelGeometry(f"p{n}", (5, 6), 0.1, 0.1, np.zeros(3), *np.eye(3)[:2]) for n in range(len(origins))]
        return [panel.data_origin for panel in with_data_origins(panels, list(origins))]

    assert placed((0, 0), (5, 0), (0, 6)) == [(0, 0), (5, 0), (0, 6)]
    assert placed((0, 0), (0, 0)) == placed((0, 0), (4, 5)) == placed((0, 0), None) == [None, None]
    assert placed((3, 3)) == [None]


@pytest.mark.parametrize(
    "name, shapes, sentence",
    [
        (
            "full.cbf",
            SHAPES * 2,
            "has 2 panels of 6 x 5 pixels; allowed: 4 panels of 6 x 5, fast x slow, as the detector has them",
        ),
        ("m.nxs#0", [(SLOW, 7)] * 2, "has 2 panels of 6 x 5 pixels; allowed: 2 panels of 7 x 5"),
        ("m.nxs#2", SHAPES, "holds 2 images, and number 2 is not among them; allowed: FILE#K, K from 0 to 1"),
        ("m.nxs", SHAPES, "holds 2 images, and none of them is chosen; allowed: FILE#K, K from 0 to 1"),
        ("stack.bin", [(SLOW, FAST), (SLOW, 7)], "is one array; allowed for panels of different widths: a full CBF or an NXmx"),
        ("none.cbf", SHAPES, "--data: no such file"),
    ],
)
def test_panels_that_do_not_fit(files, name, shapes, sentence):
    with pytest.raises(InputError, match=sentence):
        images.read_panels(name, shapes, "--data")


@pytest.mark.filterwarnings("ignore")
def test_measured_panels(files):
    """Counts over the gain of the panels; the mask of the file and the limits of the panels leave pixels out."""
    experiment = Experiment.from_args("-expt two.expt -image 3 -default_F 1".split())
    found = measured.read("m.nxs#0", experiment, None, None, None)
    assert found.data.shape == (2, SLOW, FAST) and np.isnan(found.data[:, :, 1]).all()
    assert np.nanmax(np.abs(found.data.reshape(2 * SLOW, FAST) - ROWS / 2.0)) == 0.0
    assert found.left_out["masked by the file"] == 2 * SLOW and found.counted == 2 * SLOW * (FAST - 1)
    assert "2 panels of 6 x 5 pixels, 50 counted" in found.line()
    mask = np.ones((2, SLOW, FAST))
    mask[0] = 0
    assert measured.read("full.cbf", experiment, mask, 50.0, None).left_out["saturated"] == 9


@needs(REAL / "images" / "idx-20130301060858401.cbf")
def test_a_cspad_is_decoded():
    """64 sections of four packed arrays; numbers that dxtbx reads there."""
    image = images.read_panels(str(REAL / "images" / "idx-20130301060858401.cbf"), [(185, 194)] * 64, "--data")
    assert image.pixels[0, :6].tolist() == [12, 78, 22, 34, 36, 42] and image.pixels[1, :6].tolist() == [20, 28, 65, 30, 13, 23]
    assert image.pixels[185, :4].tolist() == [13, 36, 18, 52]
    assert image.header == {"_array_intensities.overload": "90000", "_array_intensities.undefined_value": "-400"}
