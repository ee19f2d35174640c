"""Structure factors from many simulated stills against the truth, beside averages of summed spots, by the number of shots."""

import argparse
import csv
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import gemmi  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
from shots_problem import GROUP, WAVELENGTH_A, spoil, write_coordinates  # noqa: E402

from adjoint.merging.unique import representative  # noqa: E402
from nbnumba import Experiment, StructureFactors  # noqa: E402
from nbnumba.amplitudes import expansion  # noqa: E402
from nbnumba.formats.symmetry import group_named, of_space_group  # noqa: E402
from nbnumba.predictions import predict  # noqa: E402

CELL = (30.0, 36.0, 44.0, 90.0, 90.0, 90.0)
ATOMS, SEED = 160, 3
RESOLUTION_A = 2.2
TURN_DEG, STRETCH = 0.1, 0.003
"""By how much the starts of shots are off in orientation and along each edge."""

GEOMETRY = f"-lambda {WAVELENGTH_A} -distance 60 -detpixels 512 -pixel 0.18"
SPOTS = "-N_abc 15 13 10 -gauss_xtal -oversample 1 -mosaic_domains 24 -mosaic_sampling sobol -nointerpolate"
LIGHT = "-fluence 3e26 -water 0.0003"
EDGES = [f"crystal.{axis}_A" for axis in "abc"]
TRUE_SPREAD_DEG, STARTED_SPREAD_DEG = 0.12, 0.1

MANY = 10.0
"""Shots that tell of a reflection, in the mean of a shell, from which on it has to be right."""


class Figures(NamedTuple):
    """How amplitudes compare with the truth: correlation and R, and the correlation of anomalous differences."""

    reflections: int
    correlation: float
    r: float
    anomalous: float


def main() -> int:
    """Make stills, merge and average subsets of them, and print what came out. Returns 1 if something is not as wanted."""
    options = options_of(__doc__, "shots", [25, 50, 100, 300])
    with kept_in(options.folder) as folder:
        return run(folder, sorted(options.shots), options.workers)


def options_of(description: str | None, what: str, counts: list[int]) -> argparse.Namespace:
    """The options: how many there are of what is merged, workers, and the folder."""
    parser = argparse.ArgumentParser(description=description)
    named = f"numbers of {what} (default: {' '.join(map(str, counts))})"
    parser.add_argument(f"--{what}", type=int, nargs="+", default=counts, help=named)
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--folder", help="where files are kept (default: a temporary folder)")
    return parser.parse_args()


@contextmanager
def kept_in(stated: str | None) -> Iterator[Path]:
    """The folder that is stated, or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(stated or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def run(folder: Path, counts: list[int], workers: int) -> int:
    """Everything in a folder."""
    truth = make_stills(folder, counts[-1], workers)
    rows, missed = [], []
    print(f"{'shots':>6}  {'what':<10} {'reflections':>11} {'CC':>8} {'R':>8} {'CC anomalous':>13} ", end="")
    print(f"{'pull':>6} {'minutes':>8} {'MiB':>6}")
    for count in counts:
        begun = time.monotonic()
        largest = merge(folder, count, workers)
        minutes = (time.monotonic() - begun) / 60.0
        merged = gemmi.read_mtz_file(str(folder / f"merged_{count}.mtz"))
        ours, pull, shells = against_truth(merged, truth)
        theirs = averaged(folder, count, truth)
        rows.append({"shots": count, "merged": ours._asdict(), "averaged": theirs._asdict(), "pull": pull, "minutes": minutes})
        rows[-1]["MiB"], rows[-1]["shells"] = largest, shells
        for what, figures, others in (("merged", ours, f"{pull:6.3f} {minutes:8.2f} {largest:6d}"), ("averaged", theirs, "")):
            print(
                f"{count:6d}  {what:<10} {figures.reflections:11d} {figures.correlation:8.5f} {figures.r:8.4f} "
                f"{figures.anomalous:13.4f} {others}",
                flush=True,
            )
        missed += judged(rows[-1])
    (folder / "figures.json").write_text(json.dumps(rows, indent=1))
    draw(folder / "figures.png", rows, "shots", "averaged")
    print(*([f"MISSED: {line}" for line in missed] or ["all as wanted"]), sep="\n")
    return 1 if missed else 0


# ------------------------------------------------------------------------------------------------ shots


def make_stills(folder: Path, count: int, workers: int) -> StructureFactors:
    """Make stills by nbnumba series, and start.expt, in which they are off. Returns the true amplitudes, of P1."""
    amplitudes = true_amplitudes(folder)
    random = np.random.default_rng(SEED)
    wavelengths = WAVELENGTH_A * (1.0 + np.linspace(-0.004, 0.004, 161))
    spikes = np.exp(-((wavelengths / WAVELENGTH_A - 1.0) ** 2) / (2.0 * 0.0012**2)) * random.exponential(size=161)
    lines = [f"{wavelength:.7f},{weight:.6f}" for wavelength, weight in zip(wavelengths, spikes)]
    (folder / "spectrum.lam").write_text("\n".join(lines) + "\n")
    jitter = ['[orientation]\ndistribution = "uniform"', '[crystal.scale]\ndistribution = "lognormal"\nsigma = 0.6']
    jitter += [f'[{name}]\ndistribution = "normal"\nsigma = {0.001 * edge}' for name, edge in zip(EDGES, CELL)]
    (folder / "jitter.toml").write_text("\n".join(jitter) + "\n")
    if not (folder / "made" / "truth.expt").exists():
        program("series", "--out", folder / "made", "--frames", count, "--jitter", folder / "jitter.toml", "--workers", workers,
                "--", "-mtz", folder / "true.mtz", *GEOMETRY.split(), *flags(folder, TRUE_SPREAD_DEG), "-quiet")  # fmt: skip
    listed = json.loads((folder / "made" / "truth.expt").read_text())
    spoil(listed, np.random.default_rng(SEED + 1), TURN_DEG, STRETCH)
    (folder / "made" / "start.expt").write_text(json.dumps(listed))
    return amplitudes


def true_amplitudes(folder: Path) -> StructureFactors:
    """The amplitudes of a model with one ytterbium, of P1, which are also written to true.mtz."""
    model = write_coordinates(folder / "model.pdb", SEED, CELL, ATOMS)
    amplitudes = StructureFactors.from_coordinates(model, 0.97 * RESOLUTION_A, energy_eV=12398.42 / WAVELENGTH_A, solvent=False)
    amplitudes.to_mtz(folder / "true.mtz")
    return amplitudes


def flags(folder: Path, spread_deg: float) -> list[str]:
    """The flags of crystal and beam, with a mosaic spread."""
    spectrum = ["-spectrum", str(folder / "spectrum.lam"), "-spectrum_steps", "10"]
    return [*SPOTS.split(), *LIGHT.split(), "-mosaic", str(spread_deg), *spectrum]


def program(*words) -> None:
    """Run the program, whose messages are shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "nbnumba", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"nbnumba {words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


# ------------------------------------------------------------------------------------------------ merged and averaged


def merge(folder: Path, count: int, workers: int) -> int:
    """Merge the first shots by the program. Returns the memory of the largest process, in MiB."""
    listed = json.loads((folder / "made" / "start.expt").read_text())
    listed["experiment"] = listed["experiment"][:count]
    (folder / "made" / f"start_{count}.expt").write_text(json.dumps(listed))
    program("merge", "--shots", folder / "made" / f"start_{count}.expt", "--out", folder / f"merged_{count}.mtz", "--anomalous",
            "--resolution", RESOLUTION_A, "--workers", workers, "--", *flags(folder, STARTED_SPREAD_DEG))  # fmt: skip
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def true_of(truth: StructureFactors, hkl: np.ndarray) -> np.ndarray:
    """The true amplitudes (n,) of reflections (n, 3), which all have to be there."""
    assert truth.hkl is not None and truth.F is not None
    keys, wanted = expansion.key(truth.hkl), expansion.key(hkl)
    assert np.isin(wanted, keys).all(), "the truth is known of all reflections that the space group does not forbid"
    order = np.argsort(keys)
    return np.abs(truth.F)[order][np.searchsorted(keys[order], wanted)]


def figures_of(plus: np.ndarray, minus: np.ndarray, hkl: np.ndarray, truth: StructureFactors, known: np.ndarray) -> Figures:
    """Amplitudes of mates (n,) against the truth, after the one scale that suits them best. known (n,): of which both are."""
    true = [true_of(truth, sign * hkl) for sign in (1, -1)]
    values, expected = np.concatenate([plus[known], minus[known]]), np.concatenate([part[known] for part in true])
    scale = values @ expected / (values @ values)
    differences = (plus - minus)[known], (true[0] - true[1])[known]
    differs = np.abs(differences[1]) > 0.0
    r = float(np.abs(scale * values - expected).sum() / expected.sum())
    anomalous = float(np.corrcoef(differences[0][differs], differences[1][differs])[0, 1])
    return Figures(len(values), float(np.corrcoef(values, expected)[0, 1]), r, anomalous)


def against_truth(merged: gemmi.Mtz, truth: StructureFactors) -> tuple[Figures, float, list[dict]]:
    """Figures of merged amplitudes, the root mean square pull, and correlation and multiplicity in ten shells."""
    columns = {column.label: np.array(column.array, dtype=np.float64) for column in merged.columns}
    hkl = merged.make_miller_array()
    known = np.isfinite(columns["F(+)"]) & np.isfinite(columns["F(-)"]) & (columns["SHOTS"] >= 4)
    figures = figures_of(columns["F(+)"], columns["F(-)"], hkl, truth, known)
    pulls, squares, shells = [], [], []
    own, expected = columns["F(+)"][known], true_of(truth, hkl)[known]
    scale = own @ expected / (own @ own)
    for sign, mate in ((1, "+"), (-1, "-")):
        value, sigma = columns[f"F({mate})"], columns[f"SIGF({mate})"]
        use = np.isfinite(value) & np.isfinite(sigma)
        pulls.append((scale * value - true_of(truth, sign * hkl))[use] / (scale * sigma[use]))
    use = np.isfinite(columns["F(+)"])
    squares = gemmi.UnitCell(*CELL).calculate_1_d2_array(hkl.astype(np.int32))
    for part in np.array_split(np.flatnonzero(use)[np.argsort(squares[use])], 10):
        several = part[columns["SHOTS"][part] >= 2]
        correlation = np.corrcoef(columns["F(+)"][several], true_of(truth, hkl[several]))[0, 1]
        mean = float(columns["SHOTS"][part].mean())
        shells.append({"d_A": float(squares[part].max() ** -0.5), "shots": mean, "correlation": float(correlation)})
    return figures, float(np.sqrt(np.mean(np.concatenate(pulls) ** 2))), shells


def averaged(folder: Path, count: int, truth: StructureFactors) -> Figures:
    """Averages over shots of the photons in spots above the background, with true orientations, cells and scales."""
    symmetry = of_space_group(group_named(GROUP))
    total: dict[int, list[float]] = {}
    with open(folder / "made" / "shots.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))[:count]
    words = [*GEOMETRY.split(), *flags(folder, TRUE_SPREAD_DEG), "-cell", *map(str, CELL), "-default_F", "1"]
    base = dataclasses.replace(Experiment.from_args(words), structure_factors=truth)
    for row in rows:
        values = {name: float(row[name]) for name in (*EDGES, *(f"crystal.misset_{axis}_deg" for axis in "xyz"))}
        spots = predict(base.replace(values), least_excitation=0.1)
        image = pixels_of(folder / "made" / row["image"])
        sums = [summed(image, spot) for spot in zip(spots.centre_fast, spots.centre_slow)]
        for key, value in zip(representative(spots.hkl, symmetry, True), sums):
            total.setdefault(int(key), []).append(value / float(row["crystal.scale"]))
    keys = np.array([key for key, values in total.items() if len(values) >= 2])
    hkl = expansion.of_key(keys)
    mate = representative(-hkl, symmetry, True)
    mean = {key: max(float(np.mean(values)), 0.0) ** 0.5 for key, values in total.items()}
    several = {key for key, values in total.items() if len(values) >= 2}
    pairs = np.array([key < other and other in several for key, other in zip(keys.tolist(), mate.tolist())])
    plus, minus = (np.array([mean[int(key)] for key in part[pairs]]) for part in (keys, mate))
    return figures_of(plus, minus, hkl[pairs], truth, np.ones(int(pairs.sum()), dtype=bool))


def pixels_of(path: Path) -> np.ndarray:
    """The counts of a file of a series."""
    with h5py.File(path) as file:
        return file["entry/data/data"][0].astype(np.float64)


def summed(image: np.ndarray, place: tuple[float, float], half: int = 4, around: int = 7) -> float:
    """The photons in a box about a place, above the mean of what surrounds it; NaN at the edge of the image."""
    fast, slow = (int(np.floor(value)) for value in place)
    wide = image[max(slow - around, 0) : slow + around + 1, max(fast - around, 0) : fast + around + 1]
    spot = image[max(slow - half, 0) : slow + half + 1, max(fast - half, 0) : fast + half + 1]
    return float(spot.sum() - (wide.sum() - spot.sum()) / max(wide.size - spot.size, 1) * spot.size)


# ------------------------------------------------------------------------------------------------ verdict


def judged(row: dict) -> list[str]:
    """What of a row is not as wanted."""
    found = []
    for shell in row["shells"]:
        if shell["shots"] >= MANY and not shell["correlation"] > 0.99:
            found.append(f"{row['shots']} shots: correlation {shell['correlation']:.4f} at {shell['d_A']:.2f} A, wanted 0.99")
    if not 0.9 <= row["pull"] <= 1.1:
        found.append(f"{row['shots']} shots: pull {row['pull']:.3f}, wanted 0.9 to 1.1")
    if not row["merged"]["r"] <= row["averaged"]["r"] / 2.0:
        found.append(f"{row['shots']} shots: R {row['merged']['r']:.4f}, wanted half of {row['averaged']['r']:.4f}")
    return found


def draw(path: Path, rows: list[dict], counted: str, other: str) -> None:
    """The picture: correlation, R and anomalous correlation by the number of what is counted, merged and by another way."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, every = plt.subplots(1, 3, figsize=(11.0, 3.4), layout="constrained")
    labels = {"correlation": "1 - CC of F", "r": "R of F", "anomalous": "CC of anomalous differences"}
    for axes, (name, label) in zip(every, labels.items()):
        for what, mark in (("merged", "o-"), (other, "s--")):
            values = [1.0 - row[what][name] if name == "correlation" else row[what][name] for row in rows]
            axes.plot([row[counted] for row in rows], values, mark, label=what)
        axes.set(xscale="log", yscale="linear" if name == "anomalous" else "log", xlabel=counted, ylabel=label)
        axes.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    sys.exit(main())
