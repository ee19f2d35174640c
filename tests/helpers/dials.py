"""DIALS of this machine, in a process of its own: what it reads from a file of geometry, and what it makes of images."""

import functools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

PYTHON = Path("/usr/bin/python3")
"""The Python of Debian, for which its packages of DIALS are."""

_CORNERS = """
import json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
answers = []
for name in sys.argv[1:]:
    if name.endswith(".expt"):
        experiment = ExperimentListFactory.from_json_file(name, check_format=False)[0]
    else:
        experiment = ExperimentListFactory.from_filenames([name])[0]
    panels = []
    for panel in experiment.detector:
        (fast, slow), (across, along) = panel.get_image_size(), panel.get_pixel_size()
        corners = [(0, 0), (fast * across, 0), (0, slow * along)]
        places = [panel.get_lab_coord(corner) for corner in corners]
        panels.append([[fast, slow], places, panel.get_mu(), panel.get_thickness()])
    goniometer, scan, crystal = experiment.goniometer, experiment.scan, experiment.crystal
    axis, turn = None, None
    if goniometer:
        from scitbx import matrix
        setting = matrix.sqr(goniometer.get_setting_rotation())
        axis = (setting * matrix.col(goniometer.get_rotation_axis_datum())).elems
        turn = (setting * matrix.sqr(goniometer.get_fixed_rotation())).elems
    answers.append({
        "panels": panels, "wavelength": experiment.beam.get_wavelength(),
        "towards": experiment.beam.get_sample_to_source_direction(),
        "axis": axis, "turn": turn, "oscillation": scan and scan.get_oscillation(), "A": crystal and crystal.get_A(),
    })
print(json.dumps(answers))
"""


@functools.cache
def has_dials():
    """Whether DIALS, and so dxtbx, can be imported there."""
    command = [PYTHON, "-c", "import dials.array_family.flex"]
    return PYTHON.exists() and subprocess.run(command, capture_output=True).returncode == 0


def require():
    """Skip the test, with the reason, where DIALS is absent."""
    if not has_dials():
        pytest.skip("DIALS is absent: apt-get install --no-install-recommends dials")


def answer(code, *arguments, given=None):
    """What Python code with DIALS prints as JSON in its last line; it finds `given`, as JSON, in its input."""
    require()
    command = [PYTHON, "-c", code, *map(str, arguments)]
    ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def read(*paths):
    """What dxtbx reads from files: a dictionary for each. Skips the test, with the reason, where DIALS is absent."""
    return answer(_CORNERS, *paths)


_INTEGRATED = """
import sys
import numpy as np
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory
experiment = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)[0]
table = flex.reflection_table.from_file(sys.argv[2])
table = table.select(table.get_flags(table.flags.integrated_sum))
columns = {name: table[column].as_numpy_array() for name, column in (
    ("intensity", "intensity.sum.value"), ("lp", "lp"), ("partiality", "partiality"))}
np.savez(sys.argv[3], hkl=np.array(table["miller_index"]), matrix=np.array(experiment.crystal.get_A()).reshape(3, 3), **columns)
"""


_REDUCED = """
import json, sys
from dials.array_family import flex
from dials.util.filter_reflections import filtered_arrays_from_experiments_reflections
from dxtbx.model.experiment_list import ExperimentListFactory
experiments = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)
table = flex.reflection_table.from_file(sys.argv[2])
array = filtered_arrays_from_experiments_reflections(experiments, [table])[0]
print(json.dumps([list(array.indices()), list(array.data()), list(array.sigmas())]))
"""


def reduced(experiments, reflections):
    """Indices, intensities and uncertainties, in proportion to |F|^2, that DIALS takes of the reflections of one experiment."""
    return (np.array(part) for part in answer(_REDUCED, experiments, reflections))


_STRONG = """
import sys
import numpy as np
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory
experiment = ExperimentListFactory.from_json_file(sys.argv[1], check_format=False)[0]
table = flex.reflection_table.from_file(sys.argv[2])
indexed = table.select(table.get_flags(table.flags.indexed))
np.savez(sys.argv[3], hkl=np.array(indexed["miller_index"]), place=np.array(indexed["xyzobs.px.value"]), found=len(table),
    matrix=np.array(experiment.crystal.get_A()).reshape(3, 3))
"""


def index(folder, master, *options):
    """Imports, finds and indexes the spots of a master of images, and returns what was indexed, by name.

    hkl (n, 3), place (n, 3): fast, slow and frame of the strong spots that are indexed; found: the number of strong spots;
    matrix (3, 3): A in the frame of dxtbx. Skips the test where DIALS is absent, with the reason.
    """
    require()
    for command in (
        ["dials.import", str(master), "output.experiments=imported.expt"],
        ["dials.find_spots", "imported.expt", "nproc=1"],
        ["dials.index", "imported.expt", "strong.refl", "space_group=P1", *options],
        [PYTHON, "-c", _STRONG, "indexed.expt", "indexed.refl", "strong.npz"],
    ):
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, (command, ran.stdout[-2000:], ran.stderr[-2000:])
    with np.load(Path(folder) / "strong.npz") as arrays:
        return dict(arrays)


def process(folder, *imported):
    """Imports, indexes, refines and integrates images in a folder, and returns what was integrated, by name.

    imported: arguments of dials.import, or an .expt with images, which takes its place. The only hint is the space group, P1.
    hkl (n, 3), intensity, lp and partiality (n,), matrix (3, 3): A in the frame of dxtbx. Skips the test where DIALS is
    absent, with the reason.
    """
    require()
    first = ["dials.import", *map(str, imported), "output.experiments=imported.expt"]
    ready = len(imported) == 1 and str(imported[0]).endswith(".expt")
    experiments = str(imported[0]) if ready else "imported.expt"
    for command in (
        *([] if ready else [first]),
        ["dials.find_spots", experiments, "nproc=1"],
        ["dials.index", experiments, "strong.refl", "space_group=P1"],
        ["dials.refine", "indexed.expt", "indexed.refl", "scan_varying=False"],
        ["dials.integrate", "refined.expt", "refined.refl", "nproc=1"],
        [PYTHON, "-c", _INTEGRATED, "refined.expt", "integrated.refl", "integrated.npz"],
    ):
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, (command, ran.stdout[-2000:], ran.stderr[-2000:])
    with np.load(Path(folder) / "integrated.npz") as arrays:
        return dict(arrays)
