"""specs/ against the program: clauses that are cited exist, tables are those of the program, names lead somewhere."""

import ast
import dataclasses
import io
import re
import subprocess
import sys
import tokenize
from importlib import util
from pathlib import Path

import numpy as np
import pytest

import adjoint
import nbnumba
from adjoint import not_differentiable
from adjoint.loops.rows import CHANNELS
from adjoint.parameters import CRYSTAL_SYSTEMS, LATTICE_MOTIONS, MATERIAL_MOTIONS, PANEL_MOTIONS, SOURCE_MOTIONS
from nbnumba.cli import output
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.flags.table import BY_NAME, FLAGS, NO_EFFECT, SUBCOMMANDS, VALUES, get_parser
from nbnumba.formats import smv
from nbnumba.group_names import MOTIONS
from nbnumba.parity import SWITCHES
from nbnumba.setup.conventions import CONVENTIONS
from nbnumba.statements import PART_NAMES, Group, Panel

ROOT = Path(__file__).parent.parent
SPECS = {path.name: path.read_text() for path in sorted((ROOT / "specs").glob("*.md"))}
PARTS = {name: part for part, name in PART_NAMES.items()}
CLAUSE = re.compile(r"\b[AFGMNPRSV]\d{1,2}[a-z]?\b")
CITED_RANGE = re.compile(r"\b([AFGMNPRSV])(\d+) to \1?(\d+)\b")

# What nanoBragg.c looks for in the words of its command line, read off its source.
NANOBRAGG = """
    -4stol -ORGX -ORGY -MW -N -Na -Nb -Nc -Q -Xbeam -Xclose -Ybeam -Yclose -adc -adxv -beam_vector -beamsize
    -binary_spots -cell -close_distance -coherent -curved_det -default_F -density -denzo -detector_abs -detector_rotx
    -detector_roty -detector_rotz -detector_thick -detector_thicksteps -detpixels -detpixels_f -detpixels_s -detpixels_x
    -detpixels_y -detsize -detsize_f -detsize_s -dials -dispersion -dispsteps -distance -divergence -divsteps -dmin
    -dump -energy -exposure -fdet_vector -floatfile -floatimage -fluence -flux -fudge -gauss_xtal -hdivrange -hdivstep
    -hdivsteps -hkl -img -interpolate -intfile -intimage -lambda -mask -mat -misset -misset_seed -mosaic -mosaic_dom
    -mosaic_seed -mosflm -noisefile -noiseimage -nointerpolate -nonoise -nopgm -nopolar -noprogress -odet_vector -osc
    -oversample -oversample_omega -oversample_polar -oversample_thick -pgmfile -pgmimage -pgmscale -phi -phistep
    -phisteps -pivot -pix0_vector -pixel -point_pixel -polar -polar_vector -printout -printout_pixel -progress -roi
    -round_div -round_xtal -sample_size -sample_thick -sample_width -sample_x -sample_y -sample_z -samplesize -scale
    -sdet_vector -seed -sourcefile -spindle_axis -square_div -square_xtal -stol -stolout -thicksteps -tophat_spots
    -twotheta -twotheta_axis -vdivrange -vdivstep -vdivsteps -water -wave -width -xds -xtal_size -xtal_thick -xtal_width
    -xtal_x -xtal_y -xtal_z -xtalsize
""".split()

# Where it looks for the beginning of a word, and the whole words that nbnumba has for that.
BEGINNINGS = {
    "-heigh": ["-height"],
    "-sample_heigh": ["-sample_height"],
    "-xtal_heigh": ["-xtal_height"],
    "-sample_den": ["-sample_density"],
    "-molec": ["-molecwt", "-molecular_weight"],
    "-mosaici": ["-mosaicity"],
    "-mosaic_spr": ["-mosaic_spread"],
    "-detector_abs": ["-detector_abs", "-detector_absorb"],
    "-wave": ["-wave", "-wavelength"],
    "-mosaic_dom": ["-mosaic_dom", "-mosaic_domains"],
    "-pix0_vector": ["-pix0_vector", "-pix0_vector_mm"],
}

# Fields whose default is None, and what that means in the words of inputs.md.
MEANS = {
    "detector.distance_mm": "100",
    "detector.close_distance_mm": "",
    "detector.xbeam_mm": "the middle",
    "detector.ybeam_mm": "the middle",
    "detector.xclose_mm": "the middle",
    "detector.yclose_mm": "the middle",
    "detector.orgx_pixels": "",
    "detector.orgy_pixels": "",
    "detector.pix0_mm": "",
    "detector.normal_axis": "fast x slow",
    "beam.hdivrange_mrad": "0",
    "beam.vdivrange_mrad": "0",
    "beam.hdivstep_mrad": "",
    "beam.vdivstep_mrad": "",
    "beam.dispersion_percent": "0",
    "goniometer.osc_deg": "0",
    "goniometer.phistep_deg": "",
    "goniometer.phi_sampling": "left; in refine mid",
    "sampling.roi": "all",
    "run.seed": "the time",
    "run.misset_seed": "that of -seed",
    "run.pngfile": "none",
    "run.exptfile": "none",
    "run.nxsfile": "none",
    "run.cbffile": "none",
    "run.predictions": "none",
    "run.hklmap": "none",
    "run.threads": "all cores",
}

# Experiments that cannot be differentiated by some parameters: what is stated, by which, and the reason, in A14's order.
_EVERY_OMEGA = {"sampling.oversample_omega": True, "sampling.c_parity": ["oversample_running_sum"]}
_SWEEPS = ["beam.dispersion_percent", "beam.hdivrange_mrad", "beam.vdivrange_mrad"]
_OWN_SPREADS = [f"crystal.mosaic_{axis}_deg" for axis in "abc"]
_CELL_SPREADS = [f"crystal.cell_spread_{axis}" for axis in "abc"]
_POSITION = [f"crystal.position_{axis}_mm" for axis in "xyz"]
_ANISOTROPIC = [f"crystal.b_{ij}_A2" for ij in (11, 22, 33, 12, 13, 23)]
_OFF_DIAGONAL = ["crystal.n_d", "crystal.n_e", "crystal.n_f"]
_PANEL = Panel("p", (4, 4), 0.1, 0.1, (0.0, 0.0, 0.0))
_SENSOR = ["detector.thickness_um", "detector.attenuation_um"]
_THROUGH_0 = {"goniometer.phi_deg": -1.0, "goniometer.osc_deg": 2.0, "sampling.c_parity": ["phi_carryover"]}
_TILTS = ["beam.direction_x_mrad", "beam.direction_y_mrad"]
_LENGTHWISE = {"detector.convention": "custom", "beam.polarization_axis": (3.0, 0.0, 0.0), "beam.polarization": 0.5}
_BY_ENERGY = {"hkl": [[1, 2, 3]], "F": [[1.0], [2.0]], "energies_eV": [9000.0, 10000.0]}
_BY_ENERGY = {f"structure_factors.{name}": value for name, value in _BY_ENERGY.items()}
REASONS = [
    ({"beam.fluence": 0.0}, list(adjoint.PARAMETERS), "the fluence is 0, and the image dark"),
    (_EVERY_OMEGA, list(adjoint.PARAMETERS), "C's defect oversample_running_sum is on, which has no derivative here (P2)"),
    ({"crystal.shape": "tophat"}, list(adjoint.PARAMETERS), "the shape tophat is a step (F8e)"),
    ({}, [*_OWN_SPREADS, *_CELL_SPREADS], "it is 0, and there are no domains to turn or to stretch"),
    ({"crystal.mosaic_spread_deg": 1.0}, _OWN_SPREADS, "it is 0, and no domains are turned about axes of the crystal"),
    ({}, _ANISOTROPIC, "crystal.b_factor_A2 is 0, and no reflection may grow (F9g)"),
    ({"detector.curved": True}, _POSITION, "the detector is curved, about the spindle (F7e)"),
    ({"sampling.c_parity": ["water_scale"]}, _POSITION, "C's defects are on, and C knows no such position (F7e)"),
    ({}, _OFF_DIAGONAL, "the crystal is not of the shape gauss (F8f)"),
    (
        {"crystal.shape": "gauss", "sampling.c_parity": ["gauss_metric"]},
        _OFF_DIAGONAL,
        "C's defect gauss_metric is on, whose metric is another one (P9)",
    ),
    ({"beam.polarized": False}, ["beam.polarization"], "the polarization factor is off"),
    (_LENGTHWISE, _TILTS, "a source runs along the E vector, where the polarization factor jumps"),
    ({"beam.sources": [(-1.0, 0.0, 0.0, 1.0, np.nan)]}, _SWEEPS, "beam.sources says what the sources are"),
    ({}, _SWEEPS, "there is none"),
    ({"beam.spectrum": [(1.0, 1.0), (1.1, 1.0)]}, _SWEEPS[:1], "beam.spectrum says what the wavelengths are"),
    ({"beam.sources": [(-1.0, 0.0, 0.0, 1.0, 1.0)]}, ["beam.wavelength_A"], "every source has a wavelength of its own"),
    ({}, ["beam.source_weights"], "there is one source, whose weight is that of all"),
    ({"detector.panels": [_PANEL]}, _SENSOR, "each panel has a sensor of its own"),
    ({"detector.attenuation_um": np.inf}, _SENSOR, "there is no sensor that absorbs"),
    (_THROUGH_0, ["goniometer.phi_deg", "goniometer.osc_deg"], "a phi step at exactly 0 carries another lattice over (P1)"),
    ({}, ["goniometer.osc_deg"], "it is 0: a still"),
    ({}, ["background.water_um", "background.air_mm", "background.ice_um"], "there is none"),
    ({}, ["background.ice_size_A"], "there is no ice"),
    ({}, ["structure_factors.F"], "there is no list of reflections"),
    (_BY_ENERGY, ["beam.wavelength_A"], "amplitudes depend on the photon energy (F9f)"),
]

# Fields that are a vector of the custom convention.
VECTORS = {
    "beam.direction": "beam",
    "beam.polarization_axis": "polarization",
    "detector.fast_axis": "fast",
    "detector.slow_axis": "slow",
    "detector.twotheta_axis": "twotheta",
    "goniometer.spindle_axis": "spindle",
}


def rows(text, columns):
    """The rows of the tables of a text that have so many columns, as lists of words."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in cells if len(row) == columns]


def section(text, title):
    """What stands under a heading, up to the next one as high."""
    level = "#" * (len(title) - len(title.lstrip("#")))
    start = text.index(f"{title}\n") + len(title)
    end = re.search(rf"^#{{1,{len(level)}}} ", text[start:], re.MULTILINE)
    return text[start : start + end.start()] if end else text[start:]


def clauses():
    """Numbers of all clauses, from the headings, with the words after them."""
    heading = re.compile(r"^##+ ([AFGMNPRSV]\d+[a-z]?) (.+)$", re.MULTILINE)
    headings = [match for text in SPECS.values() for match in heading.findall(text)]
    assert len(headings) == len({number for number, _ in headings})
    return dict(headings)


def prose(path):
    """Docstrings, comments and free-standing strings of a module."""
    source = path.read_text()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    statements = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    strings = [node.value for node in statements if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(comments + strings)


def definitions(path):
    """Names of the functions, classes and methods of a module."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def flag_rows():
    """The rows of inputs.md on flags, by the first spelling."""
    flag_table = rows(section(SPECS["inputs.md"], "## Flags"), 6)
    return {row[0].strip("`").split()[0]: row for row in flag_table if row[0].startswith("`-")}


def test_clauses_that_the_program_cites_exist():
    known, cited = clauses(), set()
    for path in [path for folder in ("nbnumba", "adjoint", "tests", "bench") for path in ROOT.glob(f"{folder}/**/*.py")]:
        numbers = set(CLAUSE.findall(prose(path)))
        for letter, first, last in CITED_RANGE.findall(prose(path)):
            numbers |= {f"{letter}{n}" for n in range(int(first), int(last) + 1)}
        assert numbers <= set(known), path
        cited |= numbers
    assert {"F1a", "F8", "F9b", "F12", "P1", "P2", "P8", "A0", "A7b", "A13"} <= cited


def test_clauses_that_the_specs_cite_exist():
    for name, text in SPECS.items():
        assert set(CLAUSE.findall(text)) <= set(clauses()), name


def test_switches_are_those_of_the_program():
    named = [words for number, words in clauses().items() if number.startswith("P")]
    assert sorted(named) == sorted(SWITCHES)


def stated(words, *switches):
    """The experiment of some flags beside a cell, with some of C's defects."""
    parity = ["-c_parity", *switches] if switches else []
    return nbnumba.Experiment.from_args(["-cell", "50", "-default_F", "1", "-detpixels", "4", *words, *parity])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_switches_that_no_reference_case_shows(tmp_path):
    """P17, P18, P20 and P21, each off and on."""
    image, reflections = str(tmp_path / "image"), tmp_path / "hkl"
    smv.write(image, np.zeros((4, 4), np.uint16), [("TWOTHETA", 5), ("CLOSE_DISTANCE", 80), ("PIXEL_SIZE", 0.1)])
    reflections.write_text("0 0 1 10\n")
    assert stated(["-img", image]).detector.twotheta_deg == 5.0
    assert stated(["-img", image], "header_twotheta").detector.twotheta_deg == 0.0
    distance = ["-img", image, "-distance", "120", "-twotheta", "0"]
    assert stated(distance).value("detector.close_distance_mm") == pytest.approx(120.0)
    assert stated(distance, "header_close_distance").value("detector.close_distance_mm") == 80.0
    depth = ["-detector_abs", "inf", "-detector_thick", "300"]
    assert nbnumba.simulate(stated(depth)).min() > 0.0
    assert nbnumba.simulate(stated(depth, "endless_depth_dark")).max() == 0.0
    sized = ["-hkl", str(reflections), "-samplesize", "1e-4"]
    assert stated(sized).value("crystal.n_cells") == (20.0, 20.0, 20.0)
    assert stated(sized).structure_factors.interpolate is None
    assert stated(sized, "interpolation_by_flag").structure_factors.interpolate is True


@pytest.mark.parametrize("name", sorted(SPECS))
def test_files_and_functions_that_the_specs_name_exist(name):
    for path, function in re.findall(r"`([\w/]+\.py)(?::(\w+))?`", SPECS[name]):
        package = "adjoint" if name in ("adjoint.md", "refine.md", "series.md", "merging.md") else "nbnumba"
        inside = ROOT / path if path.startswith(("tests/", "bench/", "nbnumba/", "adjoint/")) else ROOT / package / path
        assert inside.is_file(), path
        assert not function or function in definitions(inside), f"{path}:{function}"
    for link in re.findall(r"\]\(([^)#]+)\)", SPECS[name]):
        assert (ROOT / "specs" / link).is_file(), link


def test_reference_cases_that_the_specs_name_exist(golden):
    known = [*golden.cases, *(path.stem for path in (ROOT / "tests" / "golden" / "traces").glob("*.log"))]
    named = [text for text in SPECS["parity.md"].split("\n\n") if "reference case" in text.replace("\n", " ")]
    cases = {word for text in named for word in re.findall(r"`([a-z][a-z0-9_*]*)`", text)}
    assert len(cases) > 15
    for case in cases:
        assert any(re.fullmatch(case.replace("*", ".*"), name) for name in known), case


@pytest.mark.parametrize("name", sorted(SPECS))
def test_lines_are_short(name):
    assert max(map(len, SPECS[name].splitlines())) <= 128


def test_maps_name_what_is_there():
    listed = {row[0] for row in rows(SPECS["README.md"], 2) if row[0].startswith("[")}
    assert listed == {f"[{name}]({name})" for name in SPECS if name != "README.md"}
    readme = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
    folders = re.findall(r"^    (\w+/)  ", readme, re.MULTILINE)
    assert {"specs/", "nbnumba/", "tests/"} <= set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.names[0])
def test_row_of_a_flag(flag):
    names, values, unit, default, goes, effect = flag_rows()[flag.names[0]]
    assert names == f"`{' '.join(flag.names)}`"
    assert values.replace(", or ", " | ") == " ".join(VALUES[flag.kind])
    assert (unit, default) == (flag.unit, flag.default)
    assert effect
    if flag.sets:
        assert goes == flag.sets
    part, _, field = goes.split(",")[0].partition(".")
    if part in PARTS and field:
        assert field.split()[0] in {f.name for f in dataclasses.fields(PARTS[part])}


def test_flags_of_the_table_are_those_of_the_program():
    assert list(flag_rows()) == [flag.names[0] for flag in FLAGS]
    assert [flag.names[0] for flag in FLAGS if flag.group == "without effect"] == list(NO_EFFECT)
    named = {word for name in flag_rows().values() for word in name[0].strip("`").split()}
    assert named == set(BY_NAME)


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.sets], ids=lambda flag: flag.names[0])
def test_stated_default_is_that_of_the_program(flag):
    stated, (part, _, field) = flag.default, flag.sets.partition(".")
    if part in PARTS:
        default = {f.name: f.default for f in dataclasses.fields(PARTS[part])}[field]
    else:
        run = run_of(CommandLine("-cell 50 -default_F 1".split()))
        default = getattr(run if part == "run" else getattr(run, part), field)
    if isinstance(default, str):
        assert stated == default
    elif default is not None:
        assert float(stated) == pytest.approx(float(default), rel=1e-5), (stated, default)
    elif flag.sets in VECTORS:
        assert tuple(map(float, stated.split())) == getattr(CONVENTIONS["custom"], VECTORS[flag.sets])
    elif field in output.DEFAULTS:
        assert stated == output.DEFAULTS[field]
    else:
        assert stated == MEANS[flag.sets]


def test_what_none_means_is_what_is_computed():
    """The numbers of MEANS, and other defaults that no field of a flag states, by what an experiment without them has."""
    experiment = nbnumba.Experiment.from_args("-cell 50 -default_F 1".split())
    for name in ("detector.distance_mm", "goniometer.osc_deg"):
        assert experiment.value(name) == float(MEANS[name])
    assert experiment.detector.pixels == (1024, 1024)
    assert experiment.value("crystal.n_cells") == (1.0, 1.0, 1.0)
    assert experiment.beam.polarization == float(BY_NAME["-polar"].default)
    assert set(MEANS) | set(VECTORS) <= {flag.sets for flag in FLAGS}


def test_sections_of_the_command_line():
    stated = [row[0].strip("`") for row in rows(section(SPECS["cli.md"], "## Subcommands"), 2)]
    assert [name for name in stated if name in SUBCOMMANDS] == stated[2:]
    assert set(stated[2:]) == set(SUBCOMMANDS)
    statuses = {row[0] for row in rows(section(SPECS["cli.md"], "## Exit statuses"), 2)}
    assert {"0", "1", "2", "3", "4", "130"} <= statuses


@pytest.mark.parametrize("name", sorted({*NANOBRAGG, *BEGINNINGS}))
def test_nanobraggs_flags_are_known(name):
    for spelling in BEGINNINGS.get(name, [name]):
        assert spelling.startswith(name)
        assert spelling in BY_NAME


def test_help_lists_every_flag():
    words = get_parser().format_help().replace(",", " ").replace(";", " ").replace(":", " ").split()
    assert set(BY_NAME) <= set(words)


def test_man_page_is_made_where_nothing_is_installed():
    code = "import runpy; print(runpy.run_path('nbnumba/flags/man_page.py')['get_parser']().format_help())"
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(BY_NAME) <= set(re.sub(r"[,;:]", " ", bare).split())


@pytest.mark.skipif(util.find_spec("argparse_manpage") is None, reason="argparse-manpage is not installed")
def test_man_page_lists_every_flag():
    make = "import sys; from argparse_manpage.cli import main; sys.exit(main())"
    source = ROOT / "nbnumba" / "flags" / "man_page.py"
    command = [sys.executable, "-c", make, "--pyfile", source, "--function", "get_parser", "--prog", "nbnumba"]
    page = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = re.sub(r"\\f[BIRP]|[,;:]", " ", page.replace("\\-", "-")).replace("\\_", "_").split()
    assert set(BY_NAME) <= set(words)


@pytest.mark.parametrize("part", [*PARTS, Panel, Group])
def test_fields_of_the_python_interface(part):
    """A field without a default must be given."""
    heading = f"### {PARTS[part].__name__}, `{part}`" if part in PARTS else f"### {part.__name__}"
    table = rows(section(SPECS["inputs.md"], heading), 4)[2:]
    fields = dataclasses.fields(PARTS.get(part, part))
    assert [row[0] for row in table] == [f"`{field.name}`" for field in fields]
    for row, field in zip(table, fields):
        stated = ast.literal_eval(row[1]) if row[1] else dataclasses.MISSING
        assert stated == (field.default if field.default != frozenset() else ()), field.name
        assert row[3]


def test_parameters_of_the_derivative():
    """The tables of A15: parameters with unit, bounds and step, and crystal systems."""
    text = section(SPECS["inputs.md"], "## A15 Parameters")
    bound = {"-": np.inf}
    stated = [row for row in rows(text, 6) if row[0].startswith("`")]
    assert [row[0].strip("`") for row in stated] == list(adjoint.PARAMETERS)
    for (name, unit, low, high, step, moves), parameter in zip(stated, adjoint.PARAMETERS.values()):
        bounds = -bound[low] if low in bound else float(low), bound[high] if high in bound else float(high)
        assert (unit, bounds, float(step)) == (parameter.unit, parameter.bounds, parameter.step), name
        assert moves
    systems = {name: words for names, words in rows(text, 2)[2:] for name in names.split(", ")}
    assert set(systems) == set(CRYSTAL_SYSTEMS)
    for system, words in systems.items():
        groups = [group.split(" = ") for group in words.split(", ")]
        free_names = [[free] if isinstance(free, str) else free for free in adjoint.cell_parameters(system)]
        assert groups == [[name.split(".")[1].split("_")[0] for name in names] for names in free_names], system
    for name, components in adjoint.VECTORS.items():
        words = [component.split(".")[1] for component in components]
        assert f"`{name}` is {words[0]}, {words[1]} and {words[2]}" in text.replace("\n ", "")


def test_parameters_of_groups():
    text = section(SPECS["inputs.md"], "## A15 Parameters")
    stated = [row for row in rows(text, 3) if row[0].startswith("`")]
    assert [row[0].strip("`") for row in stated] == list(PANEL_MOTIONS) == list(MOTIONS)
    assert [row[1] for row in stated] == [parameter.unit for parameter in PANEL_MOTIONS.values()]
    assert {(parameter.step, parameter.bounds) for parameter in PANEL_MOTIONS.values()} == {(0.01, (-np.inf, np.inf))}


def test_channels_of_the_derivative():
    table = [row for row in rows(section(SPECS["adjoint.md"], "## A0 The derivative"), 3) if row[0].startswith("`")]
    one_each = {"material": len(MATERIAL_MOTIONS), "source": len(SOURCE_MOTIONS), "lattice_angles": len(LATTICE_MOTIONS)}
    counts = {row[0].strip("`"): row[1] for row in table}
    assert {name: one_each[name] if count == "one each" else int(count) for name, count in counts.items()} == CHANNELS


def test_reasons_of_the_derivative():
    """The table of A14: every reason is met by some experiment, and no other reason is in the program."""
    text = section(SPECS["adjoint.md"], "## A14 What has no derivative")
    reasons = [row[2] for row in rows(text, 3)[2:]]
    assert reasons == [reason for _, _, reason in REASONS]
    experiment = nbnumba.Experiment.from_args("-cell 50 -default_F 1".split())
    for new, names, reason in REASONS:
        reason_of = not_differentiable.reasons(experiment.replace(new))
        assert {reason_of[name] for name in names} == {reason}
        with pytest.raises(nbnumba.InputError, match=re.escape(f"{names[0]}: {reason}")):
            adjoint.vjp(experiment.replace(new), names[:1])
    tree = ast.parse((ROOT / "adjoint" / "not_differentiable.py").read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    strings = {node.value for node in constants if id(node) not in statements and " " in node.value}
    assert strings <= set(reasons)


def test_tolerances_are_argued_for():
    number = re.compile(r"\b(?:rtol|atol|rel|abs)=([0-9.]+(?:e-?[0-9]+)?)")
    for path in sorted((ROOT / "tests").glob("**/test_*.py")):
        if path == Path(__file__):
            continue
        text = path.read_text()
        if number.search(text) or "approx(" in text:
            argued = section(SPECS["tolerances.md"], f"## {path.relative_to(ROOT)}")
            for tolerance in number.findall(text):
                assert re.search(rf"(?<![\w.]){re.escape(tolerance)}(?![\w.])", argued), f"{path.name}: {tolerance}"


def test_tolerances_are_of_tests_that_exist():
    for path in re.findall(r"^## (tests/\S+)$", SPECS["tolerances.md"], re.MULTILINE):
        assert (ROOT / path).is_file(), path
