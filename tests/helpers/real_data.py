"""Real files beside the project, which are not part of it: where they are, and the geometry of one of them, read plainly."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nbnumba

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
CSPAD = REAL / "geometry"


def needs(path):
    """A mark that skips a test, with the reason, where a real file is absent."""
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is absent")


def to_lab(vectors):
    """Vectors (..., 3) of imgCIF's frame in nanoBragg's."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=float), -1, 0)
    return np.stack([-z, y, x], axis=-1)


def panels_of(model):
    """Origin in mm, fast and slow axis, in imgCIF's frame, and shape (slow, fast), of each panel of a hierarchical detector."""
    panels = {}

    def walk(node, turn, origin):
        axes = np.array([node["fast_axis"], node["slow_axis"], np.cross(node["fast_axis"], node["slow_axis"])]).T
        origin, turn = origin + turn @ node["origin"], turn @ axes
        for child in node["children"]:
            if "panel" in child:
                panel = model["panels"][child["panel"]]
                fast, slow = (turn @ panel[name] for name in ("fast_axis", "slow_axis"))
                panels[child["panel"]] = (origin + turn @ panel["origin"], fast, slow, tuple(panel["image_size"][::-1]))
            else:
                walk(child, turn, origin)

    walk(model["hierarchy"], np.eye(3), np.zeros(3))
    return [panels[number] for number in range(len(panels))]


def models(path):
    """The content of a file of DIALS' models."""
    return json.loads(path.read_text())


DIALS_PYTHON = "/usr/bin/python3"
"""The interpreter for which Debian installs DIALS."""


def _has_dials():
    """Whether DIALS can be imported there."""
    try:
        return subprocess.run([DIALS_PYTHON, "-c", "import dials.array_family.flex"], capture_output=True).returncode == 0
    except OSError:
        return False


needs_dials = pytest.mark.skipif(not _has_dials(), reason=f"{DIALS_PYTHON} has no DIALS")


def detector_of(model, root=(0.0, 0.0, -105.003), tilt=((1.0, 0.0, 0.0), (0.0, -1.0, 0.0))):
    """A Detector with the panels of a hierarchical one, in a frame with that corner and those axes, in imgCIF's frame."""
    columns = np.array([*tilt, np.cross(*tilt)])
    panels = []
    for number, (origin, fast, slow, shape) in enumerate(panels_of(model)):
        vectors = {"origin_mm": origin - np.array(root), "fast_axis": fast, "slow_axis": slow}
        stated = {name: tuple(columns @ vector) for name, vector in vectors.items()}
        pixel_fast, pixel_slow = model["panels"][number]["pixel_size"]
        panels.append(nbnumba.Panel(f"p{number}", shape, pixel_fast, pixel_slow, **stated))
    placed = {name: tuple(to_lab(vector)) for name, vector in zip(("pix0_mm", "fast_axis", "slow_axis"), (root, *tilt))}
    return nbnumba.Detector(convention="custom", panels=panels, **placed)
