"""DIALS' dxtbx of this machine, in a process of its own: what it reads from a file of geometry."""

import json
import subprocess
from pathlib import Path

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
        panels.append([[fast, slow], [panel.get_lab_coord(corner) for corner in corners], panel.get_mu(), panel.get_thickness()])
    goniometer, scan, crystal = experiment.goniometer, experiment.scan, experiment.crystal
    axis, turn = None, None
    if goniometer:
        from scitbx import matrix
        setting = matrix.sqr(goniometer.get_setting_rotation())
        axis = (setting * matrix.col(goniometer.get_rotation_axis_datum())).elems
        turn = (setting * matrix.sqr(goniometer.get_fixed_rotation())).elems
    answers.append({
        "panels": panels, "wavelength": experiment.beam.get_wavelength(), "towards": experiment.beam.get_sample_to_source_direction(),
        "axis": axis, "turn": turn, "oscillation": scan and scan.get_oscillation(), "A": crystal and crystal.get_A(),
    })
print(json.dumps(answers))
"""


def has_dials():
    """Whether dxtbx can be imported there."""
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", "import dxtbx"], capture_output=True).returncode == 0


def read(*paths):
    """What dxtbx reads from files: a dictionary for each. Skips the test, with the reason, where DIALS is absent."""
    if not has_dials():
        pytest.skip("DIALS is absent: apt-get install --no-install-recommends dials")
    command = [PYTHON, "-c", _CORNERS, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
