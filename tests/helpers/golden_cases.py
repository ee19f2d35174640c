"""The reference cases: images and traces that nanoBragg.c made, their command lines, and the files that these name."""

import json
import shlex
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent.parent / "golden"


class Golden:
    """The reference cases: command lines, images, and paths of the files that they name."""

    def __init__(self, hkl: Path):
        self.cases = json.loads((GOLDEN / "cases.json").read_text())
        self.files = {"MAT": GOLDEN / "MAT", "SRC": GOLDEN / "SRC", "MASK": GOLDEN / "MASK", "HKL": hkl}
        self.parity = np.load(GOLDEN / "images_c_parity.npz")
        self.fixed = np.load(GOLDEN / "images_upstream_fixes.npz")

    def args(self, name: str) -> list[str]:
        """The command line of a case, with real paths."""
        return [str(self.files.get(word, word)) for word in shlex.split(self.cases[name]["args"])]


def write_reflections(path: Path) -> None:
    """Write the list of reflections that golden/README.md defines."""
    axis = np.arange(-34, 35)
    h, k, l = (x.ravel() for x in np.meshgrid(axis, axis, axis, indexing="ij"))
    amplitude = 20 + 2 * ((7 * h + 13 * k + 29 * l) % 101)
    np.savetxt(path, np.column_stack([h, k, l, amplitude]), fmt=["%d", "%d", "%d", "%.2f"])
