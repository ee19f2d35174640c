"""Every flag changes what is computed or written, or a warning names it, apart from defaults and turns by nothing."""

import dataclasses
import shlex
import warnings

import atoms
import geometry_files
import numpy as np
import pytest

from nbnumba.cli.explain import same
from nbnumba.cli.main import main
from nbnumba.errors import InputError
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.messages import in_flags
from nbnumba.flags.run import run_of
from nbnumba.flags.table import BY_NAME, FLAGS
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import smv
from nbnumba.formats.refl import write_refl
from nbnumba.setup import sampling, scene

BASE = "-cell 50 60 70 80 90 100 -default_F 100 -N 3 -detpixels 4"

VALUES = """
    -mat m.mat; -cell 41 52 63 80 95 100; -misset 10 20 30; -misset_seed 5; -N 4; -Na 4; -Nb 5; -Nc 6; -samplesize 3e-5
    -sample_thick 3e-5; -sample_width 4e-5; -sample_height 5e-5; -fudge 2; -mosaic 0.7; -mosaic_domains 3; -mosaic_seed 77
    -hkl r.hkl; -default_F 33; -dump d.bin; -lambda 1.3; -energy 9000; -fluence 1e25; -flux 1e12; -exposure 2; -beamsize 1e-5
    -polar 0.7; -beam_vector 1 .1 0; -polar_vector 0 .2 1; -divergence 2; -hdivrange 2; -vdivrange 2; -hdivstep 0.7
    -vdivstep 0.7; -divsteps 4; -hdivsteps 4; -vdivsteps 5; -dispersion 2; -dispsteps 4
    -sourcefile s.txt; -dmin 3; -spectrum x.lam; -spectrum_steps 2; -source_weights w.txt; -background b.txt; -air 9
    -ice 9; -ice_size 90; -img i.img
    -wavelength_scale 1.1; -wavelength_offset 0.1; -mosaic_sampling sobol; -phi_sampling mid
    -mask k.img; -distance 87; -close_distance 88; -pixel 0.15; -detpixels 7; -detpixels_x 7; -detpixels_y 8; -detsize 0.9
    -detsize_f 0.9; -detsize_s 0.8; -Xbeam .21; -Ybeam .31; -Xclose .22; -Yclose .33; -ORGX 2.2; -ORGY 2.3
    -detector_rotx 3; -detector_roty 4; -detector_rotz 5; -twotheta 6; -fdet_vector 0 .1 1; -sdet_vector .1 -1 0
    -odet_vector .1 1 0; -pix0_vector .1 -.0002 .0002; -pix0_vector_mm 99 -.2 .2; -detector_thick 150; -detector_abs 210
    -detector_thicksteps 3; -phi 12; -osc 2; -phistep 0.7; -phisteps 4; -oversample 2; -roi 1 2 1 2; -water 3; -stol t.stol
    -4stol t.stol; -Q t.stol; -density 2; -molecwt 30; -scale 3; -pgmscale 3; -adc 11; -seed 5; -gain 3; -readout_noise 2
    -saturation 1000; -psf 0.1; -psf_type fiber
    -calib_seed 5; -tolerance 1e6; -threads 1; -precision mixed; -c_parity phi_carryover; -c_threads 2
    -max_hours 3; -floatfile F.bin; -intfile I.img; -noisefile N.img; -pgmfile P.pgm; -pngfile P.png; -twotheta_axis 0 1 .1
    -exptfile E.expt; -nxsfile N.nxs; -nxscompression bitshuffle; -cbffile C.cbf; -predictions P.csv; -hklmap M.npz
    -pdb a.pdb; -mtz a.mtz; -cif a.cif; -refl a.refl; -column FC; -k_sol 0.3; -b_sol 30; -add_b 3; -anomalous se.txt
    -N_abc 3.5 4 5; -N_def .5 .2 .1; -mosaic_abc 1 2 3; -cell_spread .1 .2 .1; -xtal_position 1 2 3
    -bfactor_aniso 3 4 5 0 0 0; -lattice m.mat
    -expt m.expt; -xparm XPARM.XDS; -geom m.geom; -nexus m.nxs; -image 1; -experiment 0; -reindex k,h,-l
    -spindle_axis 0 .2 1; -pivot sample; -backend cpu; -stolout o; -printout_pixel 3 4
"""
VALUE = {flag.names[0]: [flag.names[0], "0.7"] for flag in FLAGS if flag.kind == "number"}
VALUE |= {words.split()[0]: words.split() for line in VALUES.strip().splitlines() for words in line.split(";")}

DEFAULTS = {"-square_xtal", "-round_div", "-nointerpolate", "-mosflm", "-backend", "-progress"}
"""What nanoBragg does without them too."""

TURNS = {"-pivot", "-twotheta_axis", "-spindle_axis", "-odet_vector"}
"""What says how a turn would be made: without one they have no effect, and no word is said of it."""

CONTEXTS = [
    "", "-osc 1", "-phisteps 3", "-phistep .5", "-osc 1 -phistep .5", "-osc 1 -phisteps 1", "-mosaic .5", "-mosaic_domains 1",
    "-hdivrange 1", "-hdivstep .3", "-hdivrange 0", "-divsteps 1", "-divergence 1 -divsteps 3", "-dispersion 1", "-dispsteps 1",
    "-sourcefile s.txt", "-water 1", "-ice 1", "-detector_thick 100", "-detector_abs inf -detector_thick 100", "-hkl r.hkl",
    "-round_xtal", "-samplesize 2e-5", "-sample_thick 2e-5", "-flux 1e11", "-xds", "-denzo", "-adxv", "-dials",
    "-fdet_vector 0 0 1", "-pix0_vector_mm 100 -1 1", "-Xbeam .1", "-Xclose .1", "-ORGX 1.5", "-close_distance 90",
    "-nopolar", "-nonoise", "-nointfile", "-nopgm", "-nonoise -nointfile", "-misset random -misset_seed 3", "-c_parity all",
    "-curved_det", "-mat m.mat", "-twotheta 5", "-pivot beam", "-pdb a.pdb", "-mtz a.mtz", "-pdb a.pdb -nosolvent",
    "-pdb a.pdb -noanomalous",
]  # fmt: skip
"""What else is on the command line."""

OVERRULED = [
    *("-N -Na -Nb -Nc -N_abc", "-samplesize -sample_thick -sample_width -sample_height", "-divergence -hdivrange -vdivrange"),
    *("-divsteps -hdivsteps -vdivsteps", "-lambda -energy", "-polar -nopolar", "-round_xtal -gauss_xtal -tophat_spots"),
    *("-detpixels -detpixels_x -detpixels_y", "-detsize -detsize_f -detsize_s", "-pix0_vector -pix0_vector_mm"),
    "-mosflm -adxv -denzo -xds -dials -fdet_vector -sdet_vector -beam_vector -polar_vector -pix0_vector_mm",
]
"""Flags of which the later one counts: the order is documented."""


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.mat").write_text("0.02 0 0\n0 0.021 0\n0 0 0.022\n")
    axis = range(-3, 4)
    (tmp_path / "r.hkl").write_text("".join(f"{h} {k} {l} {10 + h}\n" for h in axis for k in axis for l in axis))
    (tmp_path / "s.txt").write_text("-1 0 0 1 1e-10\n-1 0.01 0 2 1.1e-10\n")
    (tmp_path / "a.pdb").write_text(atoms.PDB)
    (tmp_path / "se.txt").write_text("Se 12000 -8 1\nSe 13000 -9 2\n")
    (tmp_path / "a.mtz").write_bytes(atoms.mtz([("FP", "F"), ("FC", "F")], [[1, 2, 3, 10.0, 11.0]]))
    (tmp_path / "a.cif").write_text(atoms.REFLECTIONS)
    write_refl(tmp_path / "a.refl", atoms.integrated([[1, 2, 3]], [1e4]), "-refl")
    (tmp_path / "x.lam").write_text("1.0 1\n1.1 2\n1.3 3\n")
    (tmp_path / "b.txt").write_text("stol photons\n0 1\n1 2\n")
    (tmp_path / "w.txt").write_text("1\n3\n")
    (tmp_path / "t.stol").write_text("0 3\n0.2 2\n0.5 1\n1 .5\n")
    keys = [("PIXEL_SIZE", 0.2), ("DISTANCE", 111.0), ("WAVELENGTH", 1.2), ("BEAM_CENTER_X", 0.4), ("BEAM_CENTER_Y", 0.5)]
    smv.write("i.img", np.ones((4, 4), np.uint16), keys)
    for make, name in geometry_files.FILES.values():
        (tmp_path / name).write_bytes(make())
    smv.write("k.img", np.eye(4).astype(np.uint16), [("PIXEL_SIZE", 0.1)])


def described(words):
    """Everything that determines an image and its files, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        command_line = CommandLine(words)
        run, experiment = dataclasses.replace(run_of(command_line), inputs=()), experiment_of(command_line)
        window = sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)
        built = scene.panel_scenes(experiment)
    return built, window, run, experiment.background, {in_flags(str(warning.message), words) for warning in caught}


def ineffective(words, flag):
    """Whether the words have the same effect without a flag, and no warning says so."""
    position = len(words) - 1 - words[::-1].index(flag)
    others = words[:position] + words[position + len(VALUE.get(flag, [flag])) :]
    built, window, run, background, messages = described(words)
    try:
        before, window_before, run_before, background_before, _ = described(others)
    except InputError:
        return False  # the flag was needed
    same_window = window[:2] == window_before[:2] and np.array_equal(window.mask, window_before.mask)
    if not (same(built, before) and same_window and run == run_before and background == background_before):
        return False
    return not any(flag in sentence for sentence in messages)


def overruled(flag, context):
    """Whether another flag of the context replaces this one, as documented."""
    words = {BY_NAME[word].names[0] for word in context.split() if word in BY_NAME}
    return flag in words or any(flag in group.split() and words & set(group.split()) for group in OVERRULED)


@pytest.mark.parametrize("flag", [flag.names[0] for flag in FLAGS if flag.names[0] not in DEFAULTS | TURNS])
def test_a_flag_has_an_effect_or_a_warning_names_it(flag):
    assert flag in VALUE or BY_NAME[flag].kind == "switch", "a value for the new flag"
    unexplained = []
    for context in CONTEXTS:
        try:
            if not overruled(flag, context) and ineffective([*BASE.split(), *context.split(), *VALUE.get(flag, [flag])], flag):
                unexplained.append(context)
        except InputError:
            continue  # it is refused there
    assert not unexplained


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("-noisefile a.img -nonoise", "-noisefile has no effect: -nonoise is given"),
        ("-pgmscale 3 -nopgm", "-pgmscale has no effect: -nopgm is given"),
        ("-intimage a.img -nointfile", "-intimage has no effect: -nointfile is given"),
        ("-scale 3 -nointfile", "-scale has no effect: -nointfile is given"),
        ("-adc 3 -nointfile -nonoise", "-adc has no effect: -nointfile and -nonoise are given"),
        ("-seed 3 -nonoise", "-seed has no effect: -nonoise is given, and no orientation is drawn"),
        ("-beamsize 0.05", "-beamsize has no effect: there is no -flux, no -air, and no crystal that it clips"),
        ("-Na 5 -sample_x 1e-5", "-Na has no effect: -sample_x says how many cells there are"),
        ("-N 5 -sample_x 1e-5", "-N has no effect along a: -sample_x says how many cells there are"),
        ("-N 5 -xtalsize 1e-5", "-N has no effect: -xtalsize says how many cells there are"),
        ("-hdivstep 0.3 -hdivsteps 7", "-hdivsteps has no effect: -hdivstep without -hdivrange is two steps"),
        ("-hdivstep 0.3 -divsteps 7", "-divsteps has no effect: -hdivstep without -hdivrange is two steps"),
        ("-divergence 1 -divsteps 1", "-divergence has no effect: one of -divsteps is in the middle"),
        ("-phistep 0.3 -phisteps 7", "-phisteps has no effect: -phistep without -osc is two steps"),
        ("-osc 1 -phistep 0.3 -phisteps 7", "-osc has no effect: 7 -phisteps of 0.3 degrees are 2.1"),
        ("-osc 1 -phisteps 1", "-osc has no effect: the one step of -phisteps is at its start"),
        ("-mosaicity 1 -mosaic_dom 1", "-mosaicity has no effect: the only one of -mosaic_dom is not turned"),
        ("-square_div -hdivrange 1", "-square_div has no effect: there is no divergence in both directions"),
        ("-dispersion 1 -dispsteps 1", "-dispersion has no effect: one of -dispsteps is in the middle"),
        ("-sourcefile s.txt -divergence 1", "-divergence have no effect: -sourcefile says what the sources are"),
        ("-sourcefile s.txt -wave 1.2", "-wave has no effect on the sources"),
        ("-detsize_f 3", "-detsize_f has no effect: the number of pixels is given"),
        ("-detector_abs inf -detector_thick 9 -thicksteps 3", "-thicksteps has no effect: -detector_abs is infinite"),
        ("-Xclose 0.1 -c_parity", "-Xclose has no effect: C's defect near_point_ignored is on"),
    ],
)
def test_sentences_name_the_flag_that_was_used(words, sentence, capsys):
    assert main(shlex.split(f"{BASE} -oversample 1 -noprogress {words}")) == 0
    errors = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"nbnumba: warning: {sentence}") for line in errors), errors
    assert len([line for line in errors if sentence.split()[0] in line and "no effect" in line]) == 1, errors


READ_OUT = "-scale 3 -pgmscale 3 -adc 7 -seed 9 -pngmarks -gain 3 -readout_noise 5 -saturation 99 -psf 0.2"


@pytest.mark.parametrize("command", ["explain --", "trace --pixel 1 1 --out t --", "gradcheck --parameters beam.fluence --"])
def test_commands_without_an_image_file_say_which_flags_have_no_effect(command, capsys):
    assert main(shlex.split(f"{command} {BASE} -oversample 1 {READ_OUT}")) == 0
    errors = capsys.readouterr().err
    for flag in (word for word in READ_OUT.split() if word[0] == "-"):
        assert f"nbnumba: warning: {flag} has no effect" in errors, errors


def test_a_trace_has_no_threads(capsys):
    assert main(shlex.split(f"trace --pixel 1 1 --out t -- {BASE} -oversample 1 -threads 1 -misset random -seed 5")) == 0
    errors = capsys.readouterr().err
    assert "-threads has no effect: pixels are traced one after the other" in errors and "-seed" not in errors
