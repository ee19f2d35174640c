"""Structure factors from simulated wedges against the truth, beside DIALS' integration and scaling, by the number of wedges."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers"), str(ROOT / "bench")]

import dials  # noqa: E402
import gemmi  # noqa: E402
import merging  # noqa: E402
import numpy as np  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from shots_problem import GROUP, compared, spoil  # noqa: E402

from adjoint.merging.unique import representative  # noqa: E402
from nbnumba import StructureFactors  # noqa: E402
from nbnumba.amplitudes import expansion  # noqa: E402
from nbnumba.formats.symmetry import group_named, of_space_group  # noqa: E402

IMAGES, WIDTH_DEG = 10, 0.5
"""How many images a wedge has, and the rotation of each."""

LIGHT = "-fluence 1e26 -water 0.1"
"""A photon of background in a pixel: with next to none, DIALS gives intensities of 0 without an uncertainty."""

POLARIZATION = "-polar 0.998"
"""Kahn's factor of the fraction 0.999 that DIALS takes where NXmx files state none."""

STEPS = "-phisteps 10 -phi_sampling mid"
CELLS_DIFFER, SCALES_DIFFER = 0.001, 0.3
"""The standard deviation of edges, a part of them, and the largest decimal logarithm of a scale."""

SPOILED_DEG = 0.05
"""By how much the true orientation is off from which wedges start that DIALS does not index."""

RESOLUTION = f"d_min={merging.RESOLUTION_A}"


SCALING_MODELS = ("KB", "physical")
"""DIALS' models: one scale and one B factor for each wedge, and what it chooses itself, which vary within the wedge."""


class Reflections(NamedTuple):
    """Unique reflections, mates apart: keys (n,), increasing, amplitudes F (n,), intensities I (n,) and their sigmas."""

    key: np.ndarray
    F: np.ndarray
    I: np.ndarray
    sigma: np.ndarray

    def of(self, keys: np.ndarray) -> "Reflections":
        """Those of some keys, which all have to be there."""
        return Reflections(*(part[np.searchsorted(self.key, keys)] for part in self))


class Figures(NamedTuple):
    """How amplitudes compare with the truth; pull: of intensities, the root mean square of error over uncertainty."""

    correlation: float
    r: float
    pairs: int
    anomalous: float
    pull: float


def main() -> int:
    """Make wedges, merge and integrate the first of them, and print what came out. Returns 1 where DIALS does better."""
    options = merging.options_of(__doc__, "wedges", [1, 2, 4, 8])
    if not dials.has_dials():
        print("DIALS is absent, and nothing is compared with it: apt-get install --no-install-recommends dials")
        return 0
    with merging.kept_in(options.folder) as folder:
        return run(folder, sorted(options.wedges), options.workers)


def run(folder: Path, counts: list[int], workers: int) -> int:
    """Everything in a folder."""
    truth = merging.true_amplitudes(folder)
    make_wedges(folder, counts[-1], workers)
    with ThreadPoolExecutor(workers) as threads:
        integrated = list(threads.map(integrate, [folder / f"wedge_{number}" for number in range(1, counts[-1] + 1)]))
    rows, missed = [], []
    print(f"{'wedges':>6}  {'what':<7} {'reflections':>11} {'of both':>8} {'CC':>8} {'R':>8} {'pairs':>6} ", end="")
    print(f"{'CC anomalous':>12} {'pull':>6} {'minutes':>8}", flush=True)
    for count in counts:
        begun = time.monotonic()
        ours = reflections(merge(folder, count, workers))
        minutes = (time.monotonic() - begun) / 60.0
        parts = [n for n, done in enumerate(integrated[:count], start=1) if done]
        model, theirs, keys = by_better_model(folder, parts, count, ours, truth)
        row = {"wedges": count, "reflections": len(keys), "minutes": minutes, "model": model}
        for what, found, spent in (("merged", ours, f"{minutes:8.2f}"), ("DIALS", theirs, f"{'':8} {model}")):
            figures = figures_of(found.of(keys), truth)
            row[what] = figures._asdict() | {"own": len(found.key)}
            print(
                f"{count:6d}  {what:<7} {len(found.key):11d} {len(keys):8d} {figures.correlation:8.5f} {figures.r:8.4f} "
                f"{figures.pairs:6d} {figures.anomalous:12.4f} {figures.pull:6.3f} {spent}",
                flush=True,
            )
        rows.append(row)
        missed += judged(row)
    (folder / "figures.json").write_text(json.dumps(rows, indent=1))
    merging.draw(folder / "figures.png", rows, "wedges", "DIALS")
    print(*([f"MISSED: {line}" for line in missed] or ["all as wanted"]), sep="\n")
    return 1 if missed else 0


# ------------------------------------------------------------------------------------------------ wedges


def make_wedges(folder: Path, count: int, workers: int) -> None:
    """Make wedges by nbnumba series, each of a crystal whose orientation, cell and scale are its own."""
    for number in range(1, count + 1):
        random = np.random.default_rng([merging.SEED, number])
        angles = Rotation.from_quat(random.normal(size=4)).as_euler("xyz", degrees=True)
        edges = np.array(merging.CELL[:3]) * random.normal(1.0, CELLS_DIFFER, 3)
        scale = 10.0 ** random.uniform(-SCALES_DIFFER, SCALES_DIFFER)
        own = ["-misset", *angles, "-cell", *edges, *merging.CELL[3:], "-xtal_scale", scale]
        rotation = ["-osc", WIDTH_DEG, *POLARIZATION.split()]
        if not (folder / f"wedge_{number}" / "truth.expt").exists():
            merging.program(
                "series", "--out", folder / f"wedge_{number}", "--frames", IMAGES, "--seed", number, "--workers", workers,
                "--", "-mtz", folder / "true.mtz", *merging.GEOMETRY.split(), *flags(merging.TRUE_SPREAD_DEG), *own,
                *rotation, "-quiet",
            )  # fmt: skip


def flags(spread_deg: float) -> list[str]:
    """The flags of crystal and beam that lists of experiments do not state, with a mosaic spread."""
    return [*merging.SPOTS.split(), *LIGHT.split(), *STEPS.split(), "-mosaic", str(spread_deg)]


# ------------------------------------------------------------------------------------------------ DIALS


def integrate(wedge: Path) -> bool:
    """Integrate a wedge by DIALS, by its images, cell and space group. Returns whether it succeeded; failures are printed."""
    place = wedge.with_name(f"{wedge.name}_dials")
    place.mkdir(exist_ok=True)
    if (place / "integrated.refl").exists():
        return True
    cell = ",".join(map(str, merging.CELL))
    for words in (
        ["dials.import", wedge / "series.nxs", "output.experiments=imported.expt"],
        ["dials.find_spots", "imported.expt", "nproc=1"],
        ["dials.index", "imported.expt", "strong.refl", f"space_group={GROUP.replace(' ', '')}", f"unit_cell={cell}"],
        ["dials.refine", "indexed.expt", "indexed.refl"],
        ["dials.integrate", "refined.expt", "refined.refl", "nproc=1", f"prediction.{RESOLUTION}"],
    ):
        if not by_dials(place, words):
            return False
    return True


def by_better_model(
    folder: Path, numbers: list[int], count: int, ours: Reflections, truth: StructureFactors
) -> tuple[str, Reflections, np.ndarray]:
    """The scaling model of DIALS that comes nearer the truth, its reflections, and the keys of those that both have.

    A model may fail where wedges have few reflections in common.
    """
    found = []
    for model in SCALING_MODELS:
        path = scaled(folder, numbers, count, model)
        if path is not None:
            theirs = reflections(path)
            keys = np.intersect1d(ours.key, theirs.key)
            found.append((figures_of(theirs.of(keys), truth).r, model, theirs, keys))
    if not found:
        sys.exit(f"DIALS does not scale {count} wedges")
    _, model, theirs, keys = min(found, key=lambda one: one[0])
    return model, theirs, keys


def scaled(folder: Path, numbers: list[int], count: int, model: str) -> Path | None:
    """The name of the MTZ of wedges that DIALS scaled together and merged; None if it fails.

    The edges of the cell differ and the space group is known, so that all wedges are indexed alike without dials.cosym.
    """
    place = folder / f"dials_{count}_{model}"
    place.mkdir(exist_ok=True)
    parts = [folder / f"wedge_{number}_dials" / f"integrated.{ending}" for number in numbers for ending in ("expt", "refl")]
    done = by_dials(place, ["dials.scale", *parts, f"model={model}", "anomalous=True", RESOLUTION])
    merge_words = ["dials.merge", "scaled.expt", "scaled.refl", "anomalous=True", RESOLUTION, "output.mtz=merged.mtz"]
    return place / "merged.mtz" if done and by_dials(place, merge_words) else None


def by_dials(place: Path, words: list) -> bool:
    """Run a program of DIALS in a folder, without the packages of this Python. Returns whether it succeeded; prints why not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, words)], cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        print(f"{words[0]} of {place.name} ended with {done.returncode}: {' '.join(reason)[:200]}")
    return not done.returncode


# ------------------------------------------------------------------------------------------------ merged


def merge(folder: Path, count: int, workers: int) -> Path:
    """Merge the first wedges by the program, each image a shot. Returns the name of the MTZ."""
    starts = [start_of(folder / f"wedge_{number}") for number in range(1, count + 1)]
    out = folder / f"merged_{count}.mtz"
    merging.program("merge", "--shots", *starts, "--out", out, "--anomalous", "--resolution", merging.RESOLUTION_A,
                    "--workers", workers, "--", *flags(merging.STARTED_SPREAD_DEG))  # fmt: skip
    return out


def start_of(wedge: Path) -> Path:
    """The list of experiments that a wedge starts from: as DIALS refined it, or the true one turned where there is none."""
    by_dials_refined = wedge.with_name(f"{wedge.name}_dials") / "integrated.expt"
    if by_dials_refined.exists():
        return by_dials_refined
    listed = json.loads((wedge / "truth.expt").read_text())
    spoil(listed, np.random.default_rng(merging.SEED), SPOILED_DEG, 0.0)
    (wedge / "start.expt").write_text(json.dumps(listed))
    print(f"{wedge.name} starts from the true models, {SPOILED_DEG:g} degrees off")
    return wedge / "start.expt"


# ------------------------------------------------------------------------------------------------ figures


def reflections(path: Path) -> Reflections:
    """The amplitudes of an MTZ whose mates are apart."""
    merged = gemmi.read_mtz_file(str(path))
    hkl, symmetry = np.array(merged.make_miller_array()), of_space_group(group_named(GROUP))
    keys, columns = [], []
    for sign, mate in ((1, "+"), (-1, "-")):
        stated = [np.array(merged.column_with_label(f"{name}({mate})").array, float) for name in ("F", "I", "SIGI")]
        known = np.isfinite(stated).all(axis=0)
        keys.append(representative(sign * hkl[known], symmetry, True))
        columns.append(np.stack(stated)[:, known])
    key, first = np.unique(np.concatenate(keys), return_index=True)  # a centric reflection may be listed as both mates
    return Reflections(key, *np.concatenate(columns, axis=1)[:, first])


def figures_of(found: Reflections, truth: StructureFactors) -> Figures:
    """Amplitudes against the truth, after the one scale that suits them best."""
    hkl = expansion.of_key(found.key)
    expected = merging.true_of(truth, hkl)
    correlation, r, scale = compared(found.F, expected)
    mates = representative(-hkl, of_space_group(group_named(GROUP)), True)
    paired = (found.key < mates) & np.isin(mates, found.key)
    other = np.searchsorted(found.key, mates[paired])
    observed, true = found.F[paired] - found.F[other], expected[paired] - expected[other]
    anomalous = float(np.corrcoef(observed, true)[0, 1]) if len(true) > 2 else float("nan")
    pull = float(np.sqrt(np.mean(((found.I - (expected / scale) ** 2) / found.sigma) ** 2)))
    return Figures(correlation, r, int(paired.sum()), anomalous, pull)


def judged(row: dict) -> list[str]:
    """What of a row is not as wanted: what DIALS does better."""
    ours, theirs = row["merged"], row["DIALS"]
    found = []
    if not ours["r"] <= theirs["r"]:
        found.append(f"{row['wedges']} wedges: R {ours['r']:.4f}, and DIALS {theirs['r']:.4f}")
    if ours["pairs"] >= 30 and not ours["anomalous"] >= theirs["anomalous"]:
        found.append(f"{row['wedges']} wedges: CC anomalous {ours['anomalous']:.4f}, and DIALS {theirs['anomalous']:.4f}")
    return found


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    sys.exit(main())
