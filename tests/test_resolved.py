"""The table of resolved values agrees with the numbers of the image, is short, and never raises an error."""

import re
import shlex

import numpy as np
import pytest

from nbnumba import Experiment, resolved
from nbnumba.geometry.cell import cell_of
from nbnumba.parity import NO_DEFECTS
from nbnumba.setup import crystal, sampling, scene
from nbnumba.setup.detector import position_detector

BASE = "-cell 70 80 90 75 85 95 -default_F 100 -N 10"
FULL = (
    f"{BASE} -mosaic 1 -mosaic_domains 7 -osc 1 -phisteps 10 -xds -twotheta 20 -roi 3 5 9 1000 -water 3 -detector_thick 300 "
    "-detector_abs 200 -dispersion 1 -divergence 1 -divsteps 4 -c_parity -misset random -misset_seed 4 -curved_det -polar 0.9"
)


def experiment_of(words):
    return Experiment.from_args(shlex.split(words))


def table(words):
    """The rows of an experiment by group and name. A row without a name has that of the row before, with ", again"."""
    rows, name = {}, ""
    for row in resolved.quantities(experiment_of(words)):
        name = row.name.strip() or f"{name}, again"
        rows[row.group, name] = row
    return rows


OTHER_CENTRE = f"{BASE} -adxv -Xbeam 30 -Ybeam 40 -distance 250 -pixel 0.2 -detpixels 512"


@pytest.mark.parametrize("words", [BASE, FULL, f"{BASE} -twotheta 20", f"{BASE} -xds -twotheta 20", OTHER_CENTRE])
def test_numbers_are_those_of_the_image(words):
    experiment, rows = experiment_of(words), table(words)
    placement = position_detector(experiment.detector, experiment.beam, experiment.sampling.defects)
    vectors = crystal.orient(experiment.crystal, experiment.sampling.defects)
    wanted = sampling.window(experiment.detector.pixels, experiment.sampling.roi, None)
    built = scene.build(experiment, wanted)

    def numbers(group, name):
        return [float(x) for x in re.findall(r"-?[0-9.]+(?:e[-+]?[0-9]+)?", rows[group, name].value)]

    def close(printed, expected):
        np.testing.assert_allclose(printed, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())

    close(numbers("crystal", "unit cell"), cell_of(vectors))
    close(numbers("crystal", "b at phi 0"), vectors[1])
    close(numbers("crystal", "b* at phi 0"), crystal.reciprocal(experiment.crystal, vectors)[1])
    along, *spot = np.linalg.solve(np.transpose([placement.beam, -placement.fast, -placement.slow]), placement.origin)
    spot, near = np.array(spot), np.array(placement.near_point())
    close(numbers("detector", "distance"), [along * 1000])
    close(numbers("detector", "distance, again"), [placement.close_distance * 1000])
    close(numbers("detector", "direct beam"), spot / placement.pixel)
    close(numbers("detector", "as denzo has it"), spot[::-1] * 1000)
    close(numbers("detector", "as mosflm has it"), spot[::-1] * 1000 - 500 * placement.pixel)
    close(
        numbers("detector", "as adxv has it"),
        [spot[0] * 1000, experiment.detector.pixels[1] * placement.pixel * 1000 - spot[1] * 1000],
    )
    close(numbers("detector", "as xds has it"), near / placement.pixel + 0.5)
    close(numbers("detector", "as dials has it"), placement.origin[[2, 1, 0]] * [1000, 1000, -1000])
    close(numbers("detector", "first pixel's corner"), placement.origin * 1000)
    close(numbers("detector", "slow axis"), placement.slow)
    assert rows["beam", "sources"].value == str(len(built.sources.weight))
    assert rows["sampling", "sub-pixels"].value == f"{built.sampling.oversample} x {built.sampling.oversample}"
    waves = built.sources.wavelength
    close(numbers("beam", "wavelength"), np.unique([waves.min(), waves.max()]))


def test_a_beam_that_misses_the_plane():
    """After a swing by more than a right angle the direct beam does not meet the detector, and no centre is printed."""
    rows = table(f"{BASE} -xds -twotheta 95")
    assert rows["detector", "direct beam"].value == "the beam does not meet the plane of the detector"
    assert ("detector", "distance") not in rows and ("detector", "as mosflm has it") not in rows


def test_resolution_is_that_of_the_pixels():
    """The finest pixel, and the coarsest point of the border, follow from the scattering vectors of all corners of pixels."""
    for more in ("", "-roi 600 700 10 20", "-xds -twotheta 30", "-distance 50 -detector_rotx 30"):
        experiment = experiment_of(f"{BASE} -detpixels 64 -pixel 2 {more}".replace("-roi 600 700", "-roi 50 60"))
        placement = position_detector(experiment.detector, experiment.beam, NO_DEFECTS)
        rows, columns = sampling.region(experiment.sampling.roi, (64, 64))
        slow, fast = np.meshgrid(np.arange(rows[0], rows[1] + 1), np.arange(columns[0], columns[1] + 1), indexing="ij")
        position = placement.origin + placement.pixel * (fast[..., None] * placement.fast + slow[..., None] * placement.slow)
        change = np.linalg.norm(position / np.linalg.norm(position, axis=-1, keepdims=True) - placement.beam, axis=-1)
        seen = resolved.resolution(experiment)
        np.testing.assert_allclose(seen.finest, 1.0 / change.max(), rtol=1e-12)
        assert seen.edge <= seen.coarsest
        border = np.concatenate([change[0], change[-1], change[:, 0], change[:, -1]])
        np.testing.assert_allclose(seen.edge, 1.0 / border.min(), rtol=1e-12)
    assert resolved.resolution_at(experiment_of(f"{BASE} -Xbeam 51.2 -Ybeam 51.2"), 512, 512) > 1000.0


def test_what_was_not_stated_is_marked():
    rows = table(f"{BASE} -distance 120")
    assert not rows["crystal", "unit cell"].assumed and not rows["crystal", "size"].assumed
    assert not rows["detector", "distance"].assumed
    for name in (("beam", "wavelength"), ("beam", "fluence"), ("detector", "direct beam"), ("detector", "pixel"),
                 ("rotation", "phi"), ("sampling", "sub-pixels"), ("crystal", "mosaic spread")):  # fmt: skip
        assert rows[name].assumed, name
    lines = resolved.lines(resolved.quantities(experiment_of(BASE)))
    assert lines[-1] == resolved.FOOTNOTE
    assert next(line for line in lines if "wavelength" in line).endswith(" *")


def test_reflections_are_counted_with_their_range():
    experiment = experiment_of("-cell 100 -default_F 1 -N 5")
    experiment = experiment.replace({"structure_factors.hkl": [[0, 0, 0], [0, 0, 1], [0, 0, 10], [9, 9, 9]],
                                     "structure_factors.F": [5.0, 1.0, 2.0, 0.0]})  # fmt: skip
    row = next(row for row in resolved.quantities(experiment) if row.name == "list")
    assert row.value == "4 reflections, d from 100 to 10"
    nothing = experiment.replace({"structure_factors.F": [5.0, 0.0, 0.0, 0.0]})
    assert "none with F but 000" in repr(nothing)


@pytest.mark.parametrize("words", [BASE, FULL])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_repr_is_short_and_html_escapes(words):
    experiment = experiment_of(words)
    lines = repr(experiment).splitlines()
    assert lines[0] == "Experiment" and len(lines) <= 43 and max(map(len, lines)) <= 110
    page = experiment._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") == len(resolved.quantities(experiment))
    assert "first pixel&#x27;s corner" in page


def test_repr_is_never_an_error():
    """Rows report a detector that cannot be positioned, and counts that cannot be computed."""
    for more in ("-detector_roty 90", "-phisteps 2000000000", "-hdivrange 1 -hdivstep 1e-9"):
        assert "unit cell" in repr(experiment_of(f"{BASE} {more}"))
    assert "cannot be computed" in repr(experiment_of(f"{BASE} -detector_roty 90"))


def test_repr_of_parts_names_what_is_stated_and_arrays_by_their_size():
    experiment = experiment_of(BASE).replace(
        {"structure_factors.hkl": np.zeros((5000, 3), int), "structure_factors.F": np.ones(5000)}
    )
    assert repr(experiment.structure_factors) == "StructureFactors(hkl=<5000 x 3 int32>, F=<5000 float64>, default_F=100.0)"
    assert repr(experiment.goniometer) == "Goniometer()"
    beam = experiment.replace({"beam.sources": [(-10, 0, 0, 1, 1.0)] * 300}).beam
    assert repr(beam) == "Beam(sources=<300 rows>)"
    assert repr(experiment.replace({"sampling.mask": np.ones((1024, 1024))}).sampling) == "Sampling(mask=<1024 x 1024 float64>)"


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0.034, "0.03 s"),
        (12.3, "12 s"),
        (90, "1.5 min"),
        (7200, "2 h"),
        (2e5, "2.3 days"),
        (1e9, "32 years"),
        (1e30, "3e+22 years"),
    ],
)
def test_durations(seconds, shown):
    assert resolved.duration(seconds) == shown
    assert resolved.size(2.5e10) == "25 GB" and resolved.size(3e6) == "3 MB"
