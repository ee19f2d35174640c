"""nbnumba compare-traces: the factors that diverge, the first of them, and the bundle of the comparison."""

import json
import re
import subprocess

import pytest
from golden_cases import GOLDEN

from nbnumba.cli.compare_traces import FLOORS, difference, floor, merged, numbered, read
from nbnumba.cli.main import main

LAYERS, ROCKED = (GOLDEN / "traces" / f"{name}.log" for name in ("absorption_70_20", "phi0_50_31"))


def compared(tmp_path, ours, *options, reference=None):
    """The exit status and the metrics of a comparison."""
    status = main(["compare-traces", str(reference or LAYERS), str(ours), "--out", str(tmp_path / "d"), *options])
    return status, json.loads((tmp_path / "d" / "metrics.json").read_text())


def tampered(tmp_path, path, name, number, factor, word=0):
    """A copy of a trace in which a value of one occurrence of a factor is multiplied."""
    lines = path.read_text().splitlines()
    place = [i for i, line in enumerate(lines) if line.startswith(f"TRACE_C: {name} ")][number]
    head, key, *values = lines[place].split()
    values[word] = f"{float(values[word]) * factor:.17g}"
    lines[place] = " ".join([head, key, *values])
    copy = tmp_path / "tampered.log"
    copy.write_text("\n".join(lines) + "\n")
    return copy


def test_a_trace_agrees_with_itself(tmp_path, capsys):
    status, metrics = compared(tmp_path, LAYERS)
    assert (status, metrics["first_divergence"], metrics["num_divergent"], metrics["tolerance_rel"]) == (0, None, 0, 1e-6)
    assert {tuple(factor) for factor in metrics["factors"]} == {
        ("name", "reference", "ours", "abs_delta", "rel_delta", "status", "floor")
    }
    assert len(metrics["factors"]) == 4 * (26 - 1 + 4 + 1) + 14
    assert {factor["status"] for factor in metrics["factors"]} == {"ok"}
    assert "agree" in capsys.readouterr().out


NAMES = [
    ("pixel_pos_meters", 0, 1), ("R_distance_meters", 0, 0), ("scattering_vec_A_inv", 2, 0), ("rot_b_star_A_inv", 0, 2),
    ("hkl_frac", 3, 2), ("F_latt_c", 1, 0), ("F_latt", 0, 0), ("F_cell", 0, 0), ("I_before_scaling", 0, 0),
    ("fluence_photons_per_m2", 0, 0), ("capture_fraction", 0, 0), ("polar", 0, 0), ("I_pixel_final", 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("name, number, word", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_two_in_a_million_diverges_and_half_of_one_does_not(tmp_path, name, number, word, sign):
    status, metrics = compared(tmp_path, tampered(tmp_path, LAYERS, name, number, 1 + sign * 2e-6, word))
    key = name + (f"[{number}]" if number else "")
    assert (status, metrics["first_divergence"], metrics["num_divergent"]) == (1, key, 1)
    wrong = next(factor for factor in metrics["factors"] if factor["status"] != "ok")
    assert wrong["name"] == key and wrong["rel_delta"] == pytest.approx(2e-6, rel=1e-4)
    status, metrics = compared(tmp_path, tampered(tmp_path, LAYERS, name, number, 1 + sign * 5e-7, word))
    assert (status, metrics["first_divergence"], metrics["num_divergent"]) == (0, None, 0)
    assert max(factor["rel_delta"] for factor in metrics["factors"]) == pytest.approx(5e-7, rel=1e-3)


def test_a_phi_step_diverges(tmp_path):
    copy = tmp_path / "t.log"
    text = ROCKED.read_text()
    copy.write_text(re.sub(r"(phi_tic=3 .*F_latt_b=)(\S+)", lambda m: m[1] + repr(float(m[2]) * (1 + 2e-6)), text))
    status, metrics = compared(tmp_path, copy, reference=ROCKED)
    assert (status, metrics["first_divergence"], metrics["num_divergent"]) == (1, "phi[3].F_latt_b", 1)


def test_the_tolerance_is_what_was_asked_for(tmp_path):
    copy = tampered(tmp_path, LAYERS, "polar", 0, 1 + 2e-6)
    assert compared(tmp_path, copy, "--tolerance", "3e-6")[0] == 0
    assert compared(tmp_path, copy, "--tolerance", "1e-9")[0] == 1
    assert compared(tmp_path, LAYERS, "--tolerance", "0")[0] == 0


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name, number", [("F_cell", 0), ("F_cell", 3), ("r_e_sqr", 0)])
def test_what_only_one_has_diverges(tmp_path, name, number, swapped):
    """If a factor occurs several times in one trace, the last occurrence is the missing one."""
    lines = LAYERS.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith(f"TRACE_C: {name} ")]
    del lines[places[number]]
    copy = tmp_path / "t.log"
    copy.write_text("\n".join(lines))
    pair = (copy, LAYERS) if swapped else (LAYERS, copy)
    status, metrics = compared(tmp_path, pair[1], reference=pair[0])
    last = f"{name}[{len(places) - 1}]" if len(places) > 1 else name
    assert (status, metrics["num_divergent"], metrics["first_divergence"]) == (1, 1, last)
    wrong = next(factor for factor in metrics["factors"] if factor["name"] == last)
    assert wrong["status"] == f"only in {'ours' if swapped else 'reference'}"
    assert wrong["reference" if swapped else "ours"] is None


def test_a_vector_of_another_length_diverges(tmp_path):
    copy = tmp_path / "t.log"
    copy.write_text(LAYERS.read_text().replace("TRACE_C: sdet_vec 0 -1 0", "TRACE_C: sdet_vec 0 -1", 1))
    status, metrics = compared(tmp_path, copy)
    assert (status, metrics["first_divergence"]) == (1, "sdet_vec")


def test_what_is_not_a_number_diverges_from_one(tmp_path):
    copy = tmp_path / "t.log"
    copy.write_text(LAYERS.read_text().replace("TRACE_C: F_cell 56", "TRACE_C: F_cell -nan", 1))
    status, metrics = compared(tmp_path, copy)
    assert (status, metrics["first_divergence"]) == (1, "F_cell")
    assert next(factor for factor in metrics["factors"] if factor["name"] == "F_cell")["ours"] == "nan"
    assert compared(tmp_path, copy, reference=copy)[0] == 0


def test_difference_and_floor():
    assert difference(0.0, -0.0, 0.0) == (0.0, 0.0)
    assert difference(1e-13, -1e-13, 1e-12) == (2e-13, 0.0)
    assert difference(1e-13, -1e-13, 1e-13) == (2e-13, 2.0)
    assert difference(float("inf"), 1.0, 1.0)[1] == float("inf")
    assert floor("phi[3].domain[2].F_latt[1]") == FLOORS["F_latt"]
    assert floor("pixel[685,1039].hkl_frac") == FLOORS["hkl_frac"]
    assert floor("F_cell") == floor("fluence_photons_per_m2") == 0.0


def test_floors_hide_nothing_in_the_reference_traces():
    """2e-6 of the smallest value in a reference trace, other than rounding errors of 0, is above the floor."""
    for path in sorted((GOLDEN / "traces").glob("*.log")):
        for name, values in numbered(read(str(path), "t"), False).items():
            for value in values:
                assert value == 0.0 or abs(value) * 2e-6 > floor(name), name


def test_a_name_that_only_one_has_stays_where_it_was():
    assert merged(["a", "b", "d"], ["a", "c", "d"]) == ["a", "b", "c", "d"]
    assert merged(["a", "d"], ["x", "a", "b", "c", "d", "e"]) == ["x", "a", "b", "c", "d", "e"]


def write(path, *chains):
    """Write a trace of pixels, each with a value of one factor."""
    path.write_text("".join(
        f"TRACE_CONFIG: tracing pixel (spixel={s}, fpixel={f})\nTRACE_NB: polar {v}\n" for s, f, v in chains
    ))  # fmt: skip
    return path


def test_several_pixels(tmp_path):
    several = write(tmp_path / "a", (1, 2, 0.5), (1, 3, 0.6))
    other = write(tmp_path / "b", (1, 2, 0.5), (1, 3, 0.7))
    one = write(tmp_path / "c", (1, 3, 0.6))
    status, metrics = compared(tmp_path, other, reference=several)
    assert (status, metrics["first_divergence"], metrics["num_divergent"]) == (1, "pixel[1,3].polar", 1)
    status, metrics = compared(tmp_path, several, reference=one)
    assert (status, metrics["first_divergence"]) == (1, "pixel[1,2].polar")
    assert compared(tmp_path, several, "--pixel", "1", "3", reference=one)[0] == 0
    assert compared(tmp_path, other, "--pixel", "1", "3", reference=several)[0] == 1


def test_further_domains_count_unless_one_trace_says_nothing_of_them(tmp_path):
    line = "TRACE_NB_PHI phi_tic=0 {}phi_deg=0 k_frac={} F_latt_b=1 F_latt=1\n"
    paths = [tmp_path / name for name in "abc"]
    paths[0].write_text(line.format("", 1))
    paths[1].write_text(line.format("domain=0 ", 1) + line.format("domain=1 ", 2))
    paths[2].write_text(line.format("domain=0 ", 1) + line.format("domain=1 ", 3))
    assert compared(tmp_path, paths[1], reference=paths[0])[0] == 0
    status, metrics = compared(tmp_path, paths[2], reference=paths[1])
    assert (status, metrics["first_divergence"]) == (1, "phi[0].domain[1].k_frac")


def test_other_output_among_the_lines_is_left_alone(tmp_path):
    copy = tmp_path / "t.log"
    copy.write_text("\n".join(f"{line}\nnanoBragg says {{this}}" for line in LAYERS.read_text().splitlines()))
    assert compared(tmp_path, copy)[0] == 0


def test_bundle(tmp_path):
    copy = tampered(tmp_path, LAYERS, "hkl_frac", 1, 1 + 2e-6)
    compared(tmp_path, copy)
    directory = tmp_path / "d"
    assert sorted(path.name for path in directory.iterdir()) == [
        "SHA256SUMS", "commands.txt", "environment.json", "metrics.json", "trace_diff.md",
    ]  # fmt: skip
    assert (directory / "commands.txt").read_text() == f"nbnumba compare-traces {LAYERS} {copy} --out {directory}\n"
    sums = (directory / "SHA256SUMS").read_text()
    assert str(LAYERS) in sums and str(copy) in sums and "metrics.json" in sums
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=False).returncode == 0
    report = (directory / "trace_diff.md").read_text()
    assert "1 of 134 factors diverge beyond 1e-06, first hkl_frac[1]" in report
    assert len(re.findall(r"^\| \*\*hkl_frac\[1\]\*\* \|.*\| diverges \|$", report, re.M)) == 1
    assert report.count("| ok |") == 133


def chain(entry):
    return f'{{"chains": [{{"spixel": 1, "fpixel": 1, "trace": [{entry}]}}]}}'


def test_numbers_that_are_not_finite_are_compared(tmp_path, capsys):
    """An infinite number equals itself and diverges from all others, and NaN diverges from numbers."""
    pairs = (("inf", "inf", 0), ("inf", "-inf", 1), ("inf", "1e308", 1), ("nan", "nan", 0), ("nan", "1", 1))
    for first, second, status in pairs:
        for name, value in (("a", first), ("b", second)):
            (tmp_path / name).write_text(f"TRACE_C: polar {value}\n")
        assert main(["compare-traces", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "d")]) == status
        json.loads((tmp_path / "d" / "metrics.json").read_text())


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("no trace\n", "holds no factor"),
        ("TRACE_C: polar wet\n", "line 1: 'TRACE_C: polar wet' is not a line of a trace"),
        ("TRACE_C_PHI phi_tic\n", "line 1"),
        ('{"chains": 5}', "is no JSON of a trace"),
        ('{"chains": [', "is no JSON of a trace"),
        ('{"chains": ' + "[" * 100000 + "]" * 100000 + "}", "is no JSON of a trace"),
        ('{"chains": [{"spixel": Infinity, "fpixel": 1, "trace": []}]}', "is no JSON of a trace"),
        (chain('{"name": "polar", "values": [1' + "0" * 400 + "]}"), "is no JSON of a trace"),
        (chain('{"name": "polar", "values": [1' + "0" * 5000 + "]}"), "is no JSON of a trace"),
        (chain('{"phi": {"phi_tic": 1e999, "F_latt": 1}}'), "is no JSON of a trace"),
        (chain('{"phi": {"phi_tic": 1, "domain": NaN, "F_latt": 1}}'), "is no JSON of a trace"),
        (chain('{"name": "\\ud800", "values": [1]}'), "the name of a factor is '\\ud800'"),
        (chain('{"name": "a\\nb | c", "values": [1]}'), "the name of a factor is"),
        (chain('{"name": 5, "values": [1]}'), "the name of a factor is"),
        (chain('{"name": "polar", "values": 5}'), "is no JSON of a trace"),
        ("TRACE_C_PHI phi_tic=inf F_latt=1\n", "line 1"),
        ("TRACE_C: polar " + "x" * 10000, "line 1"),
    ],
)
def test_what_is_no_trace(tmp_path, capsys, content, sentence):
    path = tmp_path / "t.log"
    path.write_text(content)
    assert main(["compare-traces", str(LAYERS), str(path), "--out", str(tmp_path / "d")]) == 2
    message = capsys.readouterr().err
    assert f"OURS: {str(path)!r}" in message and sentence in message and message.count("\n") == 1
    assert len(message) < 600 + len(str(path))
    assert not (tmp_path / "d").exists()


def test_what_is_refused(tmp_path, capsys):
    for arguments, sentence in [
        ([str(LAYERS), str(ROCKED)], "its pixel is 50 31, that of REFERENCE 70 20"),
        ([str(LAYERS), str(tmp_path / "none")], "no such file"),
        ([str(LAYERS)], "OURS"),
        ([str(LAYERS), str(LAYERS), "--tolerance", "-1"], "--tolerance: '-1'"),
        ([str(LAYERS), str(LAYERS), "--tolerance", "nan"], "--tolerance: 'nan'"),
        (
            [str(LAYERS), str(LAYERS), "--pixel", "1", "2"],
            "--pixel: 1 2 is not in REFERENCE; allowed: one of its pixels, 70 20",
        ),
    ]:
        assert main(["compare-traces", *arguments, "--out", str(tmp_path / "d")]) == 2
        assert sentence in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["compare-traces", str(LAYERS), str(LAYERS), "--out", str(tmp_path / "file")]) == 2
    assert "/file' is a file; allowed: a folder" in capsys.readouterr().err
