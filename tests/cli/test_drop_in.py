"""A script of nanoBragg runs with one word changed: every documented spelling of a flag gives the image it should."""

import shlex
import warnings

import numpy as np
import pytest

from nbnumba import Experiment, InputError, simulate
from nbnumba.cli.main import main
from nbnumba.flags.hints import meant
from nbnumba.flags.table import BY_NAME

# What the README of nanoBragg and its usage text name, read off them.
DOCUMENTED = """
    -hkl -matrix -mat -cell -misset -Na -Nb -Nc -N -samplesize -sample_thick -sample_x -sample_width -sample_y -sample_height
    -sample_z -img -distance -close_distance -detsize -detsize_x -detsize_y -pixel -detpixels -detpixels_x -detpixels_y -Xbeam
    -Ybeam -Xclose -Yclose -ORGX -ORGY -detector_rotx -detector_roty -detector_rotz -twotheta -pivot -xdet_vector -ydet_vector
    -zdet_vector -beam_vector -polar_vector -spindle_axis -twotheta_axis -pix0_vector -curved_det -oversample -roi -mask -lambda
    -fluence -flux -exposure -beamsize -hdivrange -vdivrange -hdivstep -vdivstep -round_div -square_div -dispersion -dispsteps
    -sourcefile -coherent -mosaic -mosaic_domains -phi -osc -phistep -phisteps -floatfile -intfile -pgmfile -noisefile -nonoise
    -nopgm -scale -pgmscale -adcoffset -point_pixel -printout -noprogress -nointerpolate -interpolate -round_xtal -square_xtal
    -binary_spots -seed -mosaic_seed -hdiv -vdiv
    -default_F -detsize_f -detsize_s -detector_absorb -detector_thick -detector_thicksteps -mosflm -xds -xtalsize -gauss_xtal
    -tophat_spots -oversample_thick -oversample_polar -oversample_omega -energy -water -adc -polar -misset_seed -nopolar
    -fdet_vector -sdet_vector -odet_vector
""".split()

SMALL = "-detpixels 16 -pixel 0.5"
"""In place of the whole detector of the documents."""

REFLECTIONS = [(h, k, l, 10 + (7 * h + 13 * k + 29 * l) % 17) for h in range(-5, 6) for k in range(-5, 6) for l in range(-5, 6)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that command lines in the documents name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "P1.hkl").write_text("".join("{} {} {} {}\n".format(*row) for row in REFLECTIONS))
    (tmp_path / "A.mat").write_text("0.020 0.001 0.002\n-0.001 0.021 0.003\n0.002 -0.003 0.019\n")
    return tmp_path


@pytest.mark.parametrize("spelling", DOCUMENTED)
def test_every_documented_spelling_is_a_flag(spelling):
    assert spelling in BY_NAME


# Command lines as the documents have them, with a small detector, and the same in other words.
SCRIPTS = [
    ("-hkl P1.hkl -matrix A.mat -lambda 6.2 -N 10", "-hkl P1.hkl -mat A.mat -lambda 6.2 -N 10"),
    (
        "-hkl P1.hkl -matrix A.mat -lambda 6.2 -N 10 -fluence 2e22 -water 4",
        "-water 4 -fluence 2e22 -hkl P1.hkl -mat A.mat -lambda 6.2 -Na 10 -Nb 10 -Nc 10",
    ),
    (
        "-mat A.mat -hkl P1.hkl -lambda 1 -dispersion 0 -distance 1000 -hdiv 0 -vdiv 0 -fluence 1e32 -N 1",
        "-mat A.mat -hkl P1.hkl -lambda 1 -distance 1000 -fluence 1e32",
    ),
    (
        "-cell 250 250 250 90 90 90 -misset 10 20 30 -hkl P1.hkl -lambda 1 -distance 1000 -fluence 1e32 -N 1",
        "-cell 250 0 0 0 0 0 -misset 10 20 30 -hkl P1.hkl -wave 1 -distance 1000 -fluence 1e32",
    ),
]


@pytest.mark.parametrize("script, same", SCRIPTS)
def test_scripts_of_the_documents_run(folder, capsys, script, same):
    images = []
    for words in (script, same):
        assert main(shlex.split(f"{words} {SMALL} -nonoise -nopgm")) == 0
        images.append(np.fromfile("floatimage.bin", "<f4"))
    assert images[0].any()
    np.testing.assert_array_equal(*images)
    assert capsys.readouterr().err == ""


def of(more, base="-cell 50 60 70 -default_F 10 -N 3 -detpixels 8 -pixel 0.5"):
    """The experiment of some additional flags, whose image tells whether two of them are the same."""
    return Experiment.from_args(shlex.split(f"{base} {more}"))


@pytest.mark.parametrize(
    "zero, same",
    [
        ("-cell 50 0 0 0 0 0", "-cell 50"),
        ("-cell 50 60 70 0 80 0", "-cell 50 60 70 90 80 90"),
        ("-cell 50 60 70 -odet_vector 0 0 0 -beam_vector 1 0 0", "-cell 50 60 70 -beam_vector 1 0 0"),
        ("-cell 50 -distance 0 -close_distance 90", "-cell 50 -close_distance 90"),
        ("-cell 50 -osc 0 -phistep 0 -phisteps 0", "-cell 50"),
        ("-cell 50 -hdiv 0 -vdiv 0 -divsteps 0 -dispersion 0 -dispsteps 0 -mosaic 0 -mosaic_domains 0", "-cell 50"),
        ("-cell 50 -detector_thick 0 -detector_absorb 0 -detector_thicksteps 0 -oversample 0 -water 0", "-cell 50"),
        ("-cell 50 -flux 0 -exposure 0 -beamsize 0 -samplesize 0 -N 0 -Na 0", "-cell 50 -N 1"),
        ("-cell 50 -phi 0 -twotheta 0 -detector_rotx 0 -detector_roty 0 -detector_rotz 0 -dmin 0 -polar 0", "-cell 50"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_zero_means_what_it_means_in_nanobragg(zero, same):
    base = "-default_F 10 -N 3 -detpixels 8 -pixel 0.5"
    np.testing.assert_array_equal(simulate(of(zero, base)), simulate(of(same, base)))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_density_and_no_molar_mass_are_not_given():
    for more in ("-density 0", "-MW 0"):
        with pytest.warns(UserWarning, match=f"{more} is not given"):
            assert of(f"-water 10 {more}").background == of("-water 10").background


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_pixels_are_not_given():
    for more, pixels in (("-detpixels 0", (205, 205)), ("-detpixels_x 0", (205, 8)), ("-detpixels 0 -detsize 5", (10, 10))):
        assert of(more).detector.pixels == pixels
    assert of("-detsize 0").detector.pixels == (8, 8)


@pytest.mark.parametrize(
    "documented, same",
    [
        ("-detsize_x 3", "-detsize_f 3"),
        ("-detsize_y 3", "-detsize_s 3"),
        ("-hdiv 5", "-hdivrange 5"),
        ("-vdiv 5", "-vdivrange 5"),
        ("-xdet_vector 0 1 0", "-fdet_vector 0 1 0"),
        ("-ydet_vector 0 1 0", "-sdet_vector 0 1 0"),
        ("-zdet_vector 1 0 0", "-odet_vector 1 0 0"),
    ],
)
def test_what_the_readme_documents_and_c_passes_over(documented, same):
    """P23: the flag has the README's meaning, with a warning; with C's defect it has none, with a warning."""
    base = "-cell 50 60 70 -default_F 10 -N 3 -pixel 0.5 -distance 40 -Xbeam 1 -Ybeam 1 " + (
        "" if "-detsize" in documented else "-detpixels 8"
    )
    with pytest.warns(UserWarning, match=f"{documented.split()[0]} is {same.split()[0]}, as nanoBragg's README has it"):
        meant_by_readme = of(documented, base)
    expected = of(same, base)
    assert meant_by_readme.detector == expected.detector and meant_by_readme.beam == expected.beam
    with pytest.warns(UserWarning, match="documented_flags_ignored"):
        as_c = of(f"{documented} -c_parity documented_flags_ignored", base)
    assert as_c.detector == of("", base).detector and as_c.beam == of("", base).beam


@pytest.mark.parametrize("more", ["-coherent", "-printout", "-printout_pixel 3 4", "-stolout file"])
def test_flags_without_effect_run_and_say_so(more):
    with pytest.warns(UserWarning, match=f"{more.split()[0]} has no effect"):
        experiment = of(more)
    np.testing.assert_array_equal(simulate(experiment), simulate(of("")))


def test_explain_says_that_a_defect_changes_the_number_of_pixels(capsys):
    words = "-cell 50 60 70 -default_F 10 -N 3 -pixel 0.5 -detpixels_y 8 -oversample 1 -detsize_x 5"
    assert main(["explain", "--", *shlex.split(words)]) == 0
    assert "documented_flags_ignored 205 x 8 pixels in place of 10 x 8" in capsys.readouterr().out


def test_a_step_that_is_called_a_number_is_warned_of():
    with pytest.warns(UserWarning, match="-hdivstep 3 mrad is more than the range, 1 mrad: one step; -hdivsteps"):
        of("-hdivrange 1 -hdivstep 3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of("-hdivrange 1 -hdivstep 0.5 -vdivstep 3")


@pytest.mark.parametrize(
    "spelling, flag",
    [
        ("-detsize_fast", "-detsize_f"), ("-detsize_slow", "-detsize_s"), ("-det_size_x", "-detsize_x"),
        ("-detpixel_y", "-detpixels_y"), ("-xbeam", "-Xbeam"), ("-beam_y", "-Ybeam"), ("-beam_center_x", "-Xbeam"),
        ("-orgy", "-ORGY"), ("-rotx", "-detector_rotx"), ("-detector_rot_z", "-detector_rotz"), ("-pixel_size", "-pixel"),
        ("-detector_distance", "-distance"), ("-bandwidth", "-dispersion"), ("-resolution", "-dmin"), ("-hklin", "-hkl"),
        ("-unit_cell", "-cell"), ("-ncells", "-N"), ("-misset_see", "-misset_seed"), ("--lambda", "-lambda"),
        ("-wave_length", "-wavelength"), ("-nthreads", "-threads"), ("-gpu", "-backend cuda"), ("-Lambda", "-lambda"),
        ("-sample_Z", "-sample_z"), ("-png", "-pngfile"), ("-thickness", "-detector_thick"), ("-osc_range", "-osc"),
    ],
)  # fmt: skip
def test_hints_mean_the_same(spelling, flag):
    assert meant(spelling) == flag
    with pytest.raises(InputError, match=f"did you mean {flag}"):
        of(f"{spelling} 1")


@pytest.mark.parametrize("spelling", ["-xyzzy", "-dmax", "-detsize_z", "-vertical"])
def test_no_hint_is_better_than_a_wrong_one(spelling):
    assert meant(spelling) is None
