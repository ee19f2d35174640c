"""A pixel lacks at most the photons that the user allows: the field, the flag, the keyword, and where each is kept (F10a)."""

import shlex

import numpy as np
import pytest

import adjoint
from adjoint.gradcheck import gradcheck
from nbnumba import Experiment, InputError, resolved, simulate, write_smv
from nbnumba.cli.main import main
from nbnumba.flags import headers
from nbnumba.flags.from_experiment import refined_flags
from nbnumba.formats import smv
from nbnumba.parity import SWITCHES
from nbnumba.setup.detector import position_detector
from nbnumba.trace import trace

FLAGS = "-cell 30 40 50 90 95 100 -N 20 -default_F 100 -lambda 1 -distance 100 -pixel 0.1 -detpixels 64 -fluence 1e24"
SMALL = "-cell 30 40 50 90 95 100 -N 5 -default_F 100 -distance 100 -pixel 0.3 -detpixels 24 -fluence 1e26 -oversample 1"
SMALL += " -mosaic 0.5 -mosaic_domains 10"
NAMES = ["crystal.a_A", "detector.distance_mm"]
JUMPING = 1e-2
"""Photons; gradcheck fails for SMALL with this tolerance if terms are left out."""


def experiment(flags):
    return Experiment.from_args(shlex.split(flags))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole():
    """The image without a tolerance."""
    return simulate(experiment(FLAGS))


@pytest.mark.parametrize("tolerance", [1e-5, 1e-3])
def test_a_pixel_lacks_at_most_the_tolerance(whole, tolerance):
    image = simulate(experiment(FLAGS), tolerance=tolerance)
    lacking = whole - image
    assert lacking.min() >= 0.0 and lacking.max() <= tolerance
    assert (lacking > 0.0).mean() > 0.05
    assert np.array_equal(image, simulate(experiment(f"{FLAGS} -tolerance {tolerance!r}")))
    assert np.array_equal(image, adjoint.vjp(experiment(FLAGS), NAMES, tolerance=tolerance)[0])


def test_a_keyword_replaces_the_field_and_by_default_nothing_is_lacking(whole):
    stated = experiment(f"{FLAGS} -tolerance 1e-3")
    assert stated.sampling.tolerance == 1e-3 and experiment(FLAGS).sampling.tolerance == 0.0
    assert np.array_equal(whole, simulate(stated, tolerance=0.0))
    assert not np.array_equal(whole, simulate(stated))


def test_threads_of_c_alone_change_nothing():
    """Only a defect that is reproduced makes every term count; -c_threads without one has no effect."""
    images = [simulate(experiment(f"{FLAGS} -tolerance 1e-3"), c_threads=threads) for threads in (1, 2)]
    assert np.array_equal(*images)


def test_beside_a_defect_of_c_every_term_counts_and_a_warning_says_so(whole):
    stated = experiment(FLAGS)
    with pytest.warns(UserWarning, match="^sampling.tolerance has no effect: with sampling.c_parity every term counts$"):
        image = simulate(stated, tolerance=1e-3, c_parity="source_weights")
    assert np.array_equal(image, whole)


@pytest.mark.parametrize("words, why", [
    ("-c_parity source_weights", "with -c_parity every term counts"),
    ("-tophat_spots", "between top-hat spots there is nothing to leave out"),
])  # fmt: skip
def test_a_warning_names_the_flag_where_it_has_no_effect(words, why, capsys):
    assert main(shlex.split(f"{SMALL} {words} -tolerance 1e-3 -nonoise --dry-run")) == 0
    assert f"nbnumba: warning: -tolerance has no effect: {why}\n" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "-1e-300", "nan", "inf", "abc", "", "1e-200", "1e13"])
def test_what_is_no_tolerance_is_refused_in_one_sentence(value, capsys, tmp_path):
    assert main([*SMALL.split(), "-tolerance", value]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("nbnumba: -tolerance") and "allowed: " in sentence
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="sampling.tolerance: .*; allowed: 0, or a number from 1e-100 to 1e[+]12"):
        simulate(experiment(SMALL), tolerance=value if value in ("abc", "") else float(value))


def test_the_table_states_a_tolerance_that_has_an_effect():
    def rows(flags):
        return [row[1:4] for row in resolved.quantities(experiment(flags)) if row.name == "tolerance"]

    assert rows(f"{SMALL} -tolerance 1e-3") == [("tolerance", "0.001", "photons that a pixel may lack")]
    assert rows(SMALL) == rows(f"{SMALL} -tolerance 1e-3 -c_parity") == []


@pytest.mark.parametrize("turned", ["", "-xds -twotheta 20"])
def test_a_header_keeps_it(turned):
    """The key stands beside nbnumba's other keys and alone; a flag overrules it, and an image without a tolerance has none."""
    assert main(shlex.split(f"{SMALL} {turned} -tolerance 0.0012345678 -nopgm -seed 1 -quiet")) == 0
    for name in ("intimage.img", "noiseimage.img"):
        assert smv.read_header(name, "-img")["NBNUMBA_TOLERANCE"] == "0.0012345678"
        read = experiment(f"-cell 30 -default_F 1 -img {name}")
        assert read.sampling.tolerance == 0.0012345678 and read.detector.twotheta_deg == (20.0 if turned else 0.0)
    assert experiment(f"-cell 30 -default_F 1 -mask {name}").sampling.tolerance == 0.0012345678
    assert experiment(f"-cell 30 -default_F 1 -img {name} -tolerance 0").sampling.tolerance == 0.0
    assert experiment(f"-cell 30 -default_F 1 -img {name} -c_parity header_overflow").sampling.tolerance == 0.0
    for more in ("", "-tolerance 1 -c_parity source_weights"):
        written = experiment(f"{SMALL} {turned} {more}")
        write_smv("other.img", np.zeros((24, 24), np.uint16), written)
        assert "NBNUMBA_TOLERANCE" not in smv.read_header("other.img", "-img")


@pytest.mark.parametrize("text", ["-1", "inf", "1e300", "many"])
def test_a_header_with_an_impossible_one_is_refused_by_key_and_file(text):
    made = experiment(SMALL)
    keys = headers.entries_of(made, position_detector(made.detector, made.beam, made.sampling.defects), 40.0, False)
    smv.write("changed.img", np.zeros((24, 24), np.uint16), [*keys, ("NBNUMBA_TOLERANCE", text)])
    with pytest.raises(InputError, match=f"'changed.img' has NBNUMBA_TOLERANCE={text} in its header; allowed: "):
        experiment("-cell 30 -default_F 1 -img changed.img")
    assert experiment("-cell 30 -default_F 1 -img changed.img -tolerance 2").sampling.tolerance == 2.0


def test_refined_flags_keep_it():
    words = [*SMALL.split(), "-tolerance", "1e-3"]
    moved = experiment(shlex.join(words)).replace({"crystal.a_A": 30.5})
    assert experiment(shlex.join(refined_flags(words, moved, ["crystal.a_A"]))).sampling.tolerance == 1e-3
    changed = moved.replace({"sampling.tolerance": 0.1 + 0.2})
    assert experiment(shlex.join(refined_flags(words, changed, ["crystal.a_A"]))) == changed


def test_a_trace_has_every_lattice(capsys):
    chains = [trace(experiment(SMALL), 3, 4, tolerance=tolerance) for tolerance in (None, 1e6)]
    assert chains[0] == chains[1]
    assert main(shlex.split(f"trace --pixel 3 4 --out t -- {SMALL} -tolerance 1")) == 0
    assert "warning: -tolerance has no effect: a trace has every term" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["-square_xtal", "-round_xtal"])
def test_no_defect_of_c_is_blamed_for_terms_that_are_left_out(shape, capsys):
    """Shapes other than a parallelepiped always leave out terms, and no term is left out where a defect is on."""
    assert main(shlex.split(f"explain -- {SMALL} {shape} -tolerance {JUMPING} -noprogress")) == 0
    printed = capsys.readouterr()
    named = [line.split()[0] for line in printed.out.splitlines() if line.strip()]
    assert [name for name in named if name in SWITCHES] == ["triclinic_angles", "mosaic_float32"]
    assert "warning: -tolerance has no effect: every term counts, as it does where a defect is on" in printed.err


def test_gradcheck_leaves_no_term_out(capsys):
    lines = gradcheck(experiment(SMALL), NAMES, directions=0, tolerance=JUMPING)
    assert lines == gradcheck(experiment(SMALL), NAMES, directions=0) and {line.verdict for line in lines} == {"passed"}
    assert main(shlex.split(f"gradcheck --parameters beam.fluence -- {SMALL} -tolerance {JUMPING}")) == 0
    assert "warning: -tolerance has no effect: the image would jump where a term is left out" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["", "-gauss_xtal", "-round_xtal"])
def test_pixels_too_bright_for_a_number_are_refused_beside_a_tolerance(shape):
    """Only in double precision are the pixels of a scene that is culled known to be finite, so that no image is looked at."""
    flags = f"-cell 70 80 90 -N 5 -default_F 1e15 -distance 60 -detpixels 16 -oversample 1 -fluence 1e40 {shape}"
    experiment = Experiment.from_args(flags.split())
    image = simulate(experiment, tolerance=1e-3)
    assert np.isfinite(image).all() and image.max() > 1e39
    with pytest.raises(InputError, match="too large for float32"):
        simulate(experiment, tolerance=1e-3, precision="single")
