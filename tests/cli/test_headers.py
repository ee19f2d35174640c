"""SMV headers are read back as the same geometry, and a warning says what a header cannot state."""

import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from nbnumba import Experiment, InputError, Response, read_geometry, write_smv
from nbnumba.flags import headers
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.formats import images, smv, unmeasured
from nbnumba.setup.detector import position_detector

CRYSTAL = ["-cell", "50", "-default_F", "1"]
CONVENTIONS = ("mosflm", "adxv", "denzo", "xds", "dials", "custom")
SHAPE = (30, 20)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def experiment(words):
    """The experiment of some flags, and the warnings about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = Experiment.from_args([*CRYSTAL, *(words.split() if isinstance(words, str) else words)])
    return made, [str(warning.message) for warning in caught]


def placed(made):
    return position_detector(made.detector, made.beam, made.sampling.defects)


def write(made, as_c=False, name="our.img"):
    keys = headers.entries_of(made, placed(made), 40.0, as_c)
    smv.write(name, np.zeros(made.detector.pixels[::-1], np.uint16), keys, as_c=as_c)


def pixel_positions(made):
    """The positions of pixels relative to the crystal, in pixels, and the distances that enter the solid angle."""
    placement = placed(made)
    fast, slow = (x.ravel() for x in np.meshgrid([0, 10.5, 20], [0, 7.5, 30]))
    positions = placement.origin / placement.pixel + fast[:, None] * placement.fast + slow[:, None] * placement.slow
    distances = [placement.distance / placement.pixel, placement.close_distance / placement.pixel]
    return np.concatenate([positions.ravel(), distances, placement.beam])


def geometry(rng, convention):
    """Random flags of a detector: any rotation, pivot and form of the beam centre, and any vectors in the custom convention."""
    words = f"-detpixels_x {SHAPE[1]} -detpixels_y {SHAPE[0]} -pixel 0.1234567 -energy {rng.uniform(6e3, 2e4)!r}".split()
    words += ["-phi", repr(rng.uniform(-90, 90)), "-osc", repr(rng.uniform(0.1, 1))]
    words += [f"-{convention}"] if convention != "custom" else ["-beam_vector", "1", "0.01", "0.02"]
    if convention == "custom":
        for flag in ("-twotheta_axis", "-polar_vector", "-spindle_axis"):
            words += [flag, *(repr(rng.gauss(0, 1)) for _ in "xyz")] if rng.random() < 0.5 else []
        words += rng.choice([[], "-fdet_vector 0.1 0.05 1".split()]) + rng.choice([[], "-odet_vector 1 0.1 -0.1".split()])
        words += rng.choice([[], "-pix0_vector_mm 100 1 -1".split()])
    for flag in ("-detector_rotx", "-detector_roty", "-detector_rotz", "-twotheta"):
        words += [flag, repr(rng.uniform(-20, 20))] if rng.random() < 0.6 else []
    words += rng.choice(
        [[], ["-Xbeam", "1.3"], "-Xbeam 1.3 -Ybeam 0.7".split(), "-ORGX 3 -ORGY 4".split(), "-Xclose 1 -Yclose 2".split()]
    )
    words += rng.choice([[], ["-distance", "77"], ["-close_distance", "66.6"], ["-distance", "-80"]])
    return (
        words + rng.choice([[], ["-pivot", "beam"], ["-pivot", "sample"]]) + rng.choice([[], ["-curved_det"], ["-point_pixel"]])
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_geometry_that_is_written_is_read_back(convention):
    """It is written and read three times in a row, by -img alone and with the flag of the convention."""
    rng, checked = random.Random(1), 0
    while checked < 30:
        try:
            first, _ = experiment(geometry(rng, convention))
            expected = pixel_positions(first)
        except InputError:
            continue  # it turns its back to the crystal
        made, flag = first, "" if convention == "custom" else f" -{convention}"
        for words in ("-img our.img", "-img our.img" + flag, "-img our.img"):
            write(made)
            made, messages = experiment(words)
            assert messages == []
            assert np.abs(pixel_positions(made) - expected).max() < 1e-6
        for name in ("detector.convention", "detector.curved", "detector.point_pixel", "detector.pixels", "beam.wavelength_A"):
            assert made.value(name) == first.value(name)
        for name in ("goniometer.phi_deg", "goniometer.osc_deg", "goniometer.spindle_axis", "beam.polarization_axis"):
            assert made.value(name) == first.value(name) or convention != "custom"
        checked += 1


@pytest.mark.parametrize("as_c", [False, True])
@pytest.mark.parametrize("turned", ["-twotheta 12", "-twotheta 12 -detector_rotx 3 -detector_roty 2 -detector_rotz 1"])
@pytest.mark.parametrize("convention", CONVENTIONS[:-1])
def test_corners_of_a_turned_detector_return_or_a_warning_says_what_is_lost(convention, turned, as_c):
    """To 0.01 pixels, without any flag; nanoBragg's header alone states no axis and no pivot."""
    first, _ = experiment(f"-detpixels_x 20 -detpixels_y 30 -{convention} {turned}")
    write(first, as_c)
    made, messages = experiment("-img our.img")
    moved = np.abs(pixel_positions(made) - pixel_positions(first)).max()
    assert moved < 0.01 and messages == [] or as_c and "about which axes and pivot is not known" in messages[0]


@pytest.mark.parametrize("made, keys", [
    (Response(), []),
    (Response(gain=2.5, readout_noise=3, psf_mm=0.1), ["GAIN=2.5;"]),
    (Response(saturation=1000.7), ["CCD_IMAGE_SATURATION=1000;"]),
    (Response(gain=0.5, saturation=60000), ["GAIN=0.5;", "CCD_IMAGE_SATURATION=60000;"]),
])  # fmt: skip
def test_a_header_states_the_gain_and_the_saturation_of_the_detector(made, keys):
    simulated, _ = experiment("-detpixels 8")
    write_smv("our.img", np.zeros((8, 8), np.uint16), simulated, response=made)
    lines = Path("our.img").read_bytes()[:512].decode().split("\n")
    assert lines[lines.index("ADC_OFFSET=40;") + 1 : -1] == keys
    limit = unmeasured.saturation(images.read("our.img", (8, 8), "test")).value
    assert limit == min(made.saturation // 1, 65535)
    parity, _ = experiment("-detpixels 8 -c_parity")
    as_c = headers.entries_of(parity, placed(parity), 40.0, True, made)
    assert [key for key, _ in as_c][-1] == "ADC_OFFSET"


@pytest.mark.parametrize("flag", ["", " -xds"])
def test_own_keys_of_an_image_place_the_detector_beside_a_mask(flag):
    """They overrule every form of the beam centre in the header of the mask."""
    first, _ = experiment(f"-detpixels_x {SHAPE[1]} -detpixels_y {SHAPE[0]} -xds -detector_rotx 3 -ORGX 12 -ORGY 14")
    write(first)
    write(first, name="mask.img")
    made, messages = experiment(f"-img our.img -mask mask.img{flag}")
    assert messages == []
    assert np.abs(pixel_positions(made) - pixel_positions(first)).max() < 1e-6


@pytest.mark.parametrize("flags, names", [
    ("-distance 60", {"detector.distance_mm": 60}),
    ("-close_distance 55", {"detector.close_distance_mm": 55}),
    ("-Xbeam 0.5", {"detector.xbeam_mm": 0.5}),
    ("-twotheta 3", {"detector.twotheta_deg": 3}),
    ("-detector_rotx 0", {"detector.rotx_deg": 0}),
    ("-pivot sample", {"detector.pivot": "sample"}),
    ("-lambda 1.5", {"beam.wavelength_A": 1.5}),
    ("-pixel 0.2", {"detector.pixel_mm": 0.2}),
])  # fmt: skip
def test_a_flag_overrules_what_was_written(flags, names):
    words = "-detpixels_x 20 -detpixels_y 30 -adxv -detector_rotx 5 -twotheta 10 -Xbeam 1.3 -Ybeam 0.7 -distance 90"
    write(experiment(words)[0])
    made, messages = experiment(f"-img our.img {flags}")
    again, _ = experiment(f"{words} {flags} -pivot {made.detector.pivot}")
    assert messages == []
    for name, value in names.items():
        assert made.value(name) == value
    if "-pixel" not in flags:
        assert np.abs(pixel_positions(made) - pixel_positions(again)).max() < 1e-6


@pytest.mark.parametrize("written", CONVENTIONS)
@pytest.mark.parametrize("read", CONVENTIONS)
def test_another_convention_shows_the_same_detector_unless_it_is_turned(written, read):
    chosen = {name: f"-{name}" for name in CONVENTIONS} | {"custom": "-beam_vector 1 0 0"}
    words = f"-detpixels_x 20 -detpixels_y 30 -distance 80 -ORGX 4.25 -ORGY 22.5 -lambda 1.23456789 {chosen[written]}"
    write(experiment(words)[0])
    made, messages = experiment(f"-img our.img {chosen[read]}")
    assert messages == []
    spot = np.array(placed(made).beam_spot()) / placed(made).pixel
    np.testing.assert_allclose(spot, (3.75, 22.0), atol=1e-3)
    np.testing.assert_allclose(placed(made).distance, 0.08)
    write(experiment(words + " -detector_roty 4")[0])
    _, messages = experiment(f"-img our.img {chosen[read]}")
    assert [f"turned in the convention {written}; in {read}" in line for line in messages][:1] == [True] * (written != read)


@pytest.mark.parametrize("old, new", [
    ("DISTANCE=80", "DISTANCE=90"), ("XDS_ORGX=4.25", "XDS_ORGX=9"), ("WAVELENGTH=1", "WAVELENGTH=2"), ("PHI=0", "PHI=30"),
    ("NBNUMBA_ROTX=5.0", "NBNUMBA_ROTX=7.0"),
])  # fmt: skip
def test_a_key_that_was_changed_by_hand_is_not_passed_over(old, new):
    write(experiment("-detpixels_x 20 -detpixels_y 30 -distance 80 -ORGX 4.25 -ORGY 22.5 -detector_rotx 5 -pivot sample")[0])
    content = open("our.img", "rb").read()
    assert content.count(f"\n{old};".encode()) == 1
    changed = content.replace(f"\n{old};".encode(), f"\n{new};".encode(), 1)
    open("our.img", "wb").write(changed)
    made, messages = experiment("-img our.img")
    assert len(messages) == 1 and "NBNUMBA_ keys that say other" in messages[0]
    assert made.detector.rotx_deg == 0.0


@pytest.mark.parametrize("convention", CONVENTIONS[:-1])
def test_the_header_of_nanobragg_says_what_it_does_not_know(convention):
    """Without our own keys, as nanoBragg writes it, a rotation is lost, and so is a convention that the beam centre does not
    show."""
    straight = f"-detpixels_x 20 -detpixels_y 30 -distance 80 -{convention}"
    write(experiment(straight)[0], as_c=True)
    assert experiment(f"-img our.img -{convention}")[1] == []
    _, messages = experiment("-img our.img")
    assert ["choose the convention" in line for line in messages] == [True] * (convention != "mosflm")
    assert experiment("-img our.img -Xbeam 1 -Ybeam 1")[1] == []
    write(experiment(f"{straight} -twotheta 20")[0], as_c=True)
    _, messages = experiment(f"-img our.img -{convention}")
    assert len(messages) == 1 and "was turned (TWOTHETA=20" in messages[0] and "after the turn" in messages[0]
    write(experiment(f"{straight} -detector_roty 5")[0], as_c=True)
    assert "was turned" in experiment(f"-img our.img -{convention}")[1][0]


def test_headers_of_c_have_no_own_keys():
    made, _ = experiment("-detpixels 16 -twotheta 20 -c_parity")
    keys = [key for key, _ in headers.entries_of(made, placed(made), 40.0, True)]
    assert keys[-1] == "ADC_OFFSET" and not any(key.startswith("NBNUMBA") for key in keys)
    write(experiment("-detpixels 16 -twotheta 20 -xds")[0])
    assert experiment("-img our.img -c_parity")[0].detector.convention == "mosflm"


def test_the_gain_and_the_saturation_of_an_image_are_those_of_the_next():
    """-img reads them for the noise image, as it places the detector; flags count before them, and c-parity knows neither."""
    simulated, _ = experiment("-detpixels 8")
    write_smv("our.img", np.zeros((8, 8), np.uint16), simulated, response=Response(gain=2.5, saturation=1000.7))
    words = [*CRYSTAL, "-img", "our.img"]
    assert run_of(CommandLine(words)).response == Response(gain=2.5, saturation=1000.0)
    assert run_of(CommandLine([*words, "-gain", "3"])).response == Response(gain=3.0, saturation=1000.0)
    assert run_of(CommandLine([*words, "-c_parity"])).response == Response()
    panel = read_geometry("our.img").panels[0]
    assert (panel.gain, panel.trusted_max) == (2.5, 999.0)


@pytest.mark.parametrize("key, value", [("GAIN", "low"), ("GAIN", "0"), ("CCD_IMAGE_SATURATION", "-4"), ("GAIN", "nan")])
def test_a_gain_that_is_none_is_said(key, value):
    plain(**{key: value})
    assert experiment("-img in.img")[1][0].startswith(f"-img: 'in.img' has {key}={value} in its header, which is passed over")


PLAIN = {"PIXEL_SIZE": 0.1, "DISTANCE": 80, "WAVELENGTH": 1.2, "BEAM_CENTER_X": 1.5, "BEAM_CENTER_Y": 1, "PHI": 3}


def plain(**changed):
    smv.write("in.img", np.zeros(SHAPE, np.uint16), {key: v for key, v in (PLAIN | changed).items() if v is not None})


@pytest.mark.parametrize("flag", ["-img", "-mask"])
@pytest.mark.parametrize("key, value, overruling", [
    ("PIXEL_SIZE", "0", "-pixel 0.1"), ("PIXEL_SIZE", "inf", "-pixel 0.1"), ("PIXEL_SIZE", "-1", "-pixel 0.1"),
    ("DISTANCE", "0", "-distance 80"), ("DISTANCE", "inf", "-distance 80"), ("DISTANCE", "80 mm", "-close_distance 80"),
    ("CLOSE_DISTANCE", "-5", "-distance 80"), ("WAVELENGTH", "0", "-lambda 1"), ("WAVELENGTH", "-inf", "-energy 12000"),
    ("WAVELENGTH", "1e999", "-lambda 1"), ("BEAM_CENTER_X", "1e400", "-Xbeam 1"), ("TWOTHETA", "5deg", "-twotheta 5"),
])  # fmt: skip
def test_an_impossible_value_is_refused_by_name_unless_a_flag_overrules_it(flag, key, value, overruling):
    plain(**{key: value})
    with pytest.raises(InputError, match=f"^{flag}: 'in.img' has {key}={value} in its header; allowed: .*number.*flag"):
        experiment(f"{flag} in.img")
    experiment(f"{flag} in.img {overruling}")


@pytest.mark.parametrize("value", ["nan", "", "unknown", "N/A"])
def test_a_value_that_is_not_known_is_said(value):
    plain(PHI=value)
    made, messages = experiment("-img in.img")
    assert made.goniometer.phi_deg == 0.0 and messages == [
        f"-img: 'in.img' has PHI={value} in its header, which is no number and is passed over"
    ]


@pytest.mark.parametrize("size", ["8.7", "0", "-3", "1e9", "many"])
def test_a_size_is_a_whole_number(size):
    plain()
    content = open("in.img", "rb").read().replace(b"SIZE1=20;", f"SIZE1={size};".encode())
    open("in.img", "wb").write(content)
    with pytest.raises(InputError, match=f"^-img: 'in.img' has SIZE1={size} in its header; allowed: a whole number"):
        experiment("-img in.img")


@pytest.mark.parametrize("missing, other, flag", [
    ("WAVELENGTH", {"SOURCE_WAVELENGTH": "1 0.7107"}, "-lambda"),
    ("PHI", {"ROTATION": "0.0 0.5 0.5"}, "-phi"),
    ("DISTANCE", {"PXD_GONIO_VALUES": "0 0 0 0 0 80"}, "-distance"),
    ("PIXEL_SIZE", {"PXD_SPATIAL_DISTORTION_INFO": "512 512 0.1 0.1"}, "-pixel"),
    ("BEAM_CENTER_X", {"SPATIAL_BEAM_POSITION": "512 512"}, "-Xbeam"),
    ("WAVELENGTH", {}, "-lambda"),
    ("OSC_RANGE", {"SCAN_ROTATION": "0.0 0.5 0.5"}, "-osc"),
    ("BEAM_CENTER_X", {}, "-Xbeam"),
])  # fmt: skip
def test_keys_of_other_makers_and_missing_ones_are_said(missing, other, flag):
    plain(**{missing: None, **other})
    _, messages = experiment("-img in.img")
    (message,) = [line for line in messages if f"has no {missing}" in line]
    assert flag in message and all(f"{key}={value}" in message for key, value in other.items())


def test_a_still_needs_no_keys_of_a_rotation():
    plain(PHI=None, BEAMLINE="fake")
    assert experiment("-img in.img")[1] == []
    plain(PHI=None, DISTANCE=None, CLOSE_DISTANCE=80, BEAM_CENTER_X=None, BEAM_CENTER_Y=None, XDS_ORGX=5, XDS_ORGY=5)
    assert experiment("-img in.img -xds")[1] == []


def test_a_beam_centre_far_off_the_detector_is_said():
    """Some detectors state it in pixels: on 28 mm, a centre of 246 that DENZO's keys give as 13.53 mm."""
    plain(PIXEL_SIZE=0.055, BEAM_CENTER_X=25.5, BEAM_CENTER_Y=7)
    _, messages = experiment("-img in.img")
    wanted = "xbeam_mm, from the header, is 25.5 mm, far off a detector of 1.65 mm; if it counts pixels, give 1.4025"
    assert any(wanted in line for line in messages)
    with pytest.warns(UserWarning, match=f"^read_geometry: 'in.img': detector.{wanted}"):
        read_geometry("in.img")
    assert experiment("-detpixels 100 -Xbeam -9 -Ybeam 19")[1] == []
    _, messages = experiment("-detpixels 100 -xds -ORGX 50.5 -ORGY 900")
    assert messages == ["detector.orgy_pixels is 900 pixels, far off a detector of 10 mm"]
    _, messages = experiment("-detpixels 100 -Xclose -25")
    assert messages == ["detector.xclose_mm is -25 mm, far off a detector of 10 mm"]


def test_fabio_reads_a_header_with_own_keys():
    fabio = pytest.importorskip("fabio")
    write(experiment("-detpixels_x 20 -detpixels_y 30 -beam_vector 1 0.1 0 -detector_rotx 5 -twotheta 10")[0])
    image = fabio.open("our.img")
    assert image.data.shape == SHAPE and image.header["NBNUMBA_BEAM_VECTOR"] == "1.0,0.1,0.0"


@pytest.mark.parametrize("entry", ["TWOTHETA=4e9", "WAVELENGTH=1e-30", "PHI=1e300", "DISTANCE=1e-200", "BEAM_CENTER_X=-1e30"])
def test_a_value_that_no_field_can_have_is_refused_by_key_and_file(entry):
    """The message does not name a flag that is not given. A given flag overrules the header, and then nothing is refused."""
    write(experiment("-detpixels 8")[0])
    key = entry.partition("=")[0].encode()
    lines = Path("our.img").read_bytes().split(b"\n")
    Path("our.img").write_bytes(b"\n".join(entry.encode() + b";" if line.startswith(key + b"=") else line for line in lines))
    with pytest.raises(InputError, match=rf"^-img: 'our.img' has {re.escape(entry)} in its header; allowed: "):
        experiment("-img our.img")
    experiment("-img our.img -twotheta 1 -lambda 1 -phi 0 -distance 100 -Xbeam 0")


def test_a_square_image_may_state_its_size_once():
    plain(DETECTOR_DIMENSIONS=30)
    content = open("in.img", "rb").read().replace(b"SIZE1=20;", b"SIDE1=20;").replace(b"SIZE2=30;", b"SIDE2=30;")
    open("in.img", "wb").write(content)
    made, messages = experiment("-img in.img")
    assert made.detector.pixels == (30, 30) and messages == []
    open("in.img", "wb").write(content.replace(b"DETECTOR_DIMENSIONS", b"DETECTOR_WHATEVER__"))
    _, messages = experiment("-img in.img")
    assert any("has no SIZE1 in its header: give -detpixels" in line for line in messages)
    assert experiment("-img in.img -detpixels 30")[1] == []


@pytest.mark.parametrize("words, shown", [
    ("-lambda 9.7e-11", "9.7e-11 A"), ("-energy 12.68", "977.79 A, 12.68 eV"), ("-lambda 12680", "12680 A"),
])  # fmt: skip
def test_a_wavelength_in_another_unit_is_said(words, shown):
    _, messages = experiment(words)
    assert len(messages) == 1 and shown in messages[0] and "-lambda and WAVELENGTH are in A, -energy is in eV" in messages[0]
    assert experiment("-lambda 0.02")[1] == experiment("-energy 250")[1] == []
