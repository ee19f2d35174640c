"""The report of a refinement: the contents of its pictures and its page, for made-up results."""

import dataclasses
import html
import io
import os
import pickle
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import nbnumba
from nbnumba import pixels, resolved, simulate
from nbnumba.cli import refined_table, report
from nbnumba.cli.report import pictures as drawings
from nbnumba.cli.report import spots
from nbnumba.cli.report.labels import labels_of_images
from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.setup import sampling, scene
from nbnumba.setup.background import without_background

pytestmark = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning")

ROWS, COLUMNS = 40, 50
PEAK, ELSEWHERE, MASKED = (12, 30), (30, 15), (20, 25)
GREY = 0xB3


def spot(row, column, height, shape=(ROWS, COLUMNS)):
    """A round peak without a background."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 2.0)


def fit(data=None, before=None, after=None, sigma=None):
    """An image with a peak at PEAK that was calculated there before and at ELSEWHERE after, with grey corners and MASKED."""
    data = 4.0 + spot(*PEAK, 400.0) if data is None else data
    before = 4.0 + spot(*PEAK, 300.0, data.shape) if before is None else before
    after = 4.0 + spot(*ELSEWHERE, 350.0, data.shape) if after is None else after
    data = data.copy()
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1), MASKED):
        data[row, column] = np.nan
    return SimpleNamespace(data=data, before=before, after=after, sigma=np.sqrt(after) if sigma is None else sigma)


def result(frames=None, **changes):
    """A result of adjoint.refine for a distance and three angles."""
    x, start, spread = np.array([231.5, 0.1, 0.2, 0.3]), np.array([232.0, 0.0, 0.0, 0.0]), np.full(4, 0.012)
    history = [
        SimpleNamespace(phase=phase, evaluation=k, loss=100.0 * 0.1**k, x=start + (x - start) * k / 5)
        for k, phase in enumerate(["9 cells", "9 cells", "as stated", "as stated", "as stated", "as stated"])
    ]
    fields = dict(
        success=True, status=1, message="Converged.", nfev=9, fun=0.001, x=x, values=named(x), start=named(start),
        uncertainties=named(spread), names=["detector.distance_mm", *(f"crystal.misset_deg[{i}]" for i in range(3))],
        units=["mm", "degree", "degree", "degree"], covariance=np.diag(spread**2), correlation=np.eye(4), history=history,
        phases=["9 cells: 2 evaluations", "as stated: 4 evaluations"], frames=[fit()] if frames is None else frames,
        chi_squared=1.01, pixels=1995, explained=0.97, diagnosis=[],
    )  # fmt: skip
    return SimpleNamespace(**fields | changes)


def named(vector):
    """The numbers of a vector by parameter."""
    return {"detector.distance_mm": vector[0], "crystal.misset_deg": vector[1:4]}


def many(count):
    """A result with that number of amplitudes."""
    x, names = np.arange(1.0, count + 1), [f"structure_factors.F[{i}]" for i in range(count)]
    history = [SimpleNamespace(phase="all", evaluation=k, loss=10.0 - k, x=x * k / 3) for k in range(4)]
    by_name = {
        name: {"structure_factors.F": value}
        for name, value in (("values", x), ("start", 0 * x), ("uncertainties", 0.1 + 0 * x))
    }
    return result([], x=x, names=names, units=["electrons"] * count, history=history, correlation=np.eye(count), **by_name)


@pytest.fixture
def written(tmp_path):
    """A function that writes the report of a result. It returns the page, and the pictures (rows, columns, 3) by name."""

    def act(result, **options):
        folder = str(tmp_path / "report")
        report.write(result, folder, **options)
        pictures = [name for name in sorted(os.listdir(folder)) if name != report.PAGE]
        with open(os.path.join(folder, report.PAGE), encoding="utf-8") as stream:
            page = stream.read()
        assert re.findall('src="([^"]+)"', page) and set(re.findall('src="([^"]+)"', page)) == set(pictures)
        return page, {name: picture(os.path.join(folder, name)) for name in pictures}

    return act


def picture(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert set(image.info) <= {"dpi"}
        return np.asarray(image.convert("RGB")).astype(int)


def panels(image, corners=4):
    """The top, bottom, left and right edges of the three panels of a picture, found by their grey corners."""
    labels, _ = ndimage.label((image == GREY).all(axis=2))
    boxes = sorted(ndimage.find_objects(labels), key=lambda box: box[1].start)
    outer = [box for box in boxes if box[0].stop - box[0].start > 3 and box[1].stop - box[1].start > 3]
    assert len(outer) == 3 * (corners + 1)
    for i in range(0, len(outer), corners + 1):
        own = outer[i : i + corners + 1]
        yield (
            min(b[0].start for b in own),
            max(b[0].stop for b in own),
            min(b[1].start for b in own),
            max(b[1].stop for b in own),
        )


def colour(image, panel, row, column):
    """The colour in the middle of a pixel of the detector."""
    top, bottom, left, right = panel
    return image[
        int(top + (row + 0.5) * (bottom - top) / ROWS),
        int(left + (column + 0.5) * (right - left) / COLUMNS),
    ]


def test_files_are_pngs_of_a_sensible_size(written):
    page, pictures = written(result())
    assert list(pictures) == ["convergence.png", "correlation.png", "image_1.png", "peaks_1.png", "residuals_1.png"]
    assert all(200 < side < 1500 for image in pictures.values() for side in image.shape[:2])
    assert "<script" not in page and "http" not in page


def test_picture_shows_what_was_measured_and_calculated(written):
    image = written(result())[1]["image_1.png"]
    measured, calculated, residual = panels(image)
    for panel, bright, dark in ((measured, PEAK, ELSEWHERE), (calculated, ELSEWHERE, PEAK)):
        red, green, blue = colour(image, panel, *bright)
        assert red > 100 and green > 180
        assert colour(image, panel, *dark).sum() < 250
    red, _, blue = colour(image, residual, *PEAK)
    assert red > blue + 40
    red, _, blue = colour(image, residual, *ELSEWHERE)
    assert blue > red + 40
    assert all(tuple(colour(image, panel, *MASKED)) == (GREY,) * 3 for panel in (measured, calculated, residual))
    assert colour(image, residual, 5, 5).min() > 240


def test_same_scale_for_measured_and_calculated():
    measured, calculated = np.array([[0.0, 5.0]]), np.array([[1.0, 900.0]])
    scale = drawings.stretch(measured, calculated, np.ones(3))
    assert (scale.low, scale.high, scale.width) == (0.025, 900.0, 1.0)
    assert scale.extend(measured, calculated) == "min"
    assert scale.extend(np.array([901.0]), calculated) == "max"
    assert scale.extend(calculated) == "neither"
    assert scale.forward(scale.level) == 0.0 and scale.inverse(0.0) == scale.level
    ticks = scale.ticks()
    assert len(ticks) > 4 and ticks == sorted(ticks) and scale.low <= ticks[0] and ticks[-1] <= scale.high


def test_picture_is_cut_to_the_pixels_that_count():
    data = np.full((300, 400), np.nan)
    data[100:140, 200:250] = fit().data
    data[100, 200] = data[139, 249] = 1.0
    whole = np.ones(data.shape)
    seen = spots.counted_part(SimpleNamespace(data=data, before=whole, after=whole, sigma=whole))
    assert (seen.row, seen.column, seen.data.shape, seen.is_measured.sum()) == (100, 200, (40, 50), 40 * 50 - 3)
    assert np.array_equal(np.isfinite(seen.residual), seen.is_measured)
    (peak,) = spots.brightest_peaks(seen)
    assert peak[:2] == PEAK
    profile = spots.peak_profile(seen, peak, 8, along=1)
    assert profile.position[np.nanargmax(profile.data)] == 200 + PEAK[1]


def test_large_pictures_keep_the_brightest_of_a_block():
    image = np.zeros((7, 5))
    image[2, 3], image[6, 4], image[0, 0] = 9.0, 4.0, np.nan
    image[3:6, 0:3] = np.nan
    expected = [[0.0, 9.0], [np.nan, 0.0], [0.0, 4.0]]
    assert np.array_equal(spots.brightest_of_blocks(image, 3), expected, equal_nan=True)
    assert spots.brightest_of_blocks(image, 1) is image


def test_residuals_of_a_block_together():
    residual = np.full((2, 8), 1.0)
    residual[:, 2:4] = [[4.0, -4.0], [6.0, -7.0]]
    residual[:, 4:6] = [[3.0, np.nan], [np.nan, np.nan]]
    residual[:, 6:] = np.nan
    assert np.array_equal(spots.residuals_of_blocks(residual, 2), [[2.0, -7.0, 3.0, np.nan]], equal_nan=True)


def test_peak_of_one_pixel_is_seen_on_a_large_detector(written):
    data = np.full((1400, 1750), 4.0)
    data[3 * 140 + 70, 2 * 350 + 175] = 5000.0
    _, pictures = written(result([fit(data=data, after=np.full(data.shape, 4.0))], history=[]))
    image = pictures["image_1.png"]
    assert image.shape[1] < 1500
    bright = np.argwhere((image[100:-200, :480, 0] > 200) & (image[100:-200, :480, 1] > 200) & (image[100:-200, :480, 2] < 80))
    assert 0 < len(bright) < 10


def test_peaks_are_separate_significant_and_count():
    data = 100.0 + np.random.default_rng(0).normal(0.0, 1.0, (80, 90))
    places = [(20, 20, 400.0), (20, 60, 300.0), (60, 70, 200.0), (62, 74, 150.0)]
    for place in places:
        data += spot(*place, data.shape)
    data[40, 40], data[70, 10] = np.nan, 1e6
    data[70, 10] = np.nan
    ones = np.ones(data.shape)
    seen = spots.counted_part(SimpleNamespace(data=data, before=ones, after=100.0 * ones, sigma=ones))
    peaks = spots.brightest_peaks(seen)
    assert [peak[:2] for peak in peaks] == [place[:2] for place in places[:3]]
    assert all(3 <= peak.width <= 5 for peak in peaks[:2])
    flat = spots.counted_part(SimpleNamespace(data=100.0 * ones, before=ones, after=100.0 * ones, sigma=ones))
    assert spots.brightest_peaks(flat) == []


def test_no_more_peaks_than_there_is_room_for():
    data = sum(spot(20 * i + 10, 20 * j + 10, 100.0 + 4 * i + j, (80, 80)) for i in range(4) for j in range(4))
    ones = np.ones(data.shape)
    peaks = spots.brightest_peaks(spots.counted_part(SimpleNamespace(data=data, before=ones, after=ones, sigma=ones)))
    assert len(peaks) == spots.PEAKS
    assert peaks[0][:2] == (70, 70)


def test_profile_sums_pixels_that_count():
    data, ones = np.ones((30, 30)), np.ones((30, 30))
    data[10, 12], data[9, 12], data[:, 14] = 50.0, np.nan, np.nan
    seen = spots.counted_part(SimpleNamespace(data=data, before=2 * ones, after=3 * ones, sigma=2 * ones))
    profile = spots.peak_profile(seen, spots.Peak(10, 12, 1), 4, along=1)
    assert np.array_equal(profile.position, np.arange(8, 17))
    assert np.array_equal(profile.data, [5, 5, 5, 5, 53, 5, np.nan, 5, 5], equal_nan=True)
    assert np.array_equal(profile.before, [10, 10, 10, 10, 8, 10, np.nan, 10, 10], equal_nan=True)
    assert np.array_equal(profile.after, 1.5 * profile.before, equal_nan=True)
    assert np.array_equal(profile.sigma, np.sqrt(2.0 * profile.before), equal_nan=True)
    edge = spots.peak_profile(seen, spots.Peak(1, 29, 1), 4, along=0)
    assert np.array_equal(edge.position, np.arange(0, 6))
    assert np.array_equal(edge.data, np.full(6, 3.0))


def test_page_says_what_was_found(written):
    page, _ = written(result(diagnosis=["a_A < b_A & more"], message='5 < 6 "quoted"'), title="lysozyme <1> & co")
    assert "<title>lysozyme &lt;1&gt; &amp; co</title>" in page
    assert "5 &lt; 6 &quot;quoted&quot;" in page and "a_A &lt; b_A &amp; more" in page
    assert "Success" in page and "Failure" not in page
    row = ["detector.distance_mm", "mm", "232.000", "231.500", "0.012"]
    assert row in rows(page)
    assert ["reduced chi squared", "1.01"] in rows(page) and ["pixels that count", "1995"] in rows(page)
    for phase in result().phases:
        assert f"<li>{phase}</li>" in page
    assert "not shown" not in page and "no pictures here" not in page


def rows(page):
    """The rows of all tables of a page, as lists of texts."""
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall("<tr>.*?</tr>", page)
    ]


def test_failure_is_said(written):
    page, _ = written(result(success=False, message="No crystal.", chi_squared=np.inf, explained=np.nan))
    assert "Failure" in page and "No crystal." in page
    assert ["reduced chi squared", "not determined"] in rows(page)


def test_what_is_not_determined(written):
    page, pictures = written(
        result(uncertainties=named(np.array([np.inf, np.nan, np.inf, np.inf])), correlation=np.full((4, 4), np.nan))
    )
    table = [row for row in rows(page) if row[0].startswith("crystal.misset_deg")]
    assert [row[-1] for row in table] == ["at a bound", "not determined", "not determined"]
    assert table[0][3] == "0.1"
    assert ["detector.distance_mm", "mm", "232", "231.5", "not determined"] in rows(page)
    assert "convergence.png" in pictures and "correlation.png" in pictures


def test_numbers_have_the_digits_of_their_uncertainty():
    cases = [
        (231.27466, 0.0123, "231.275"),
        (231.27466, np.inf, "231.2747"),
        (231.27466, 0.0, "231.2747"),
        (-1234.5, 250.0, "-1230"),
        (1.23456e24, 2.5e21, "1.2346e+24"),
        (0.0, 0.01, "0.000"),
        (1.5e-12, 2.0e-13, "1.50e-12"),
        (3.0, 40.0, "3"),
        (np.nan, 1.0, "not determined"),
    ]
    for value, uncertainty, expected in cases:
        assert refined_table.cells(value, value, uncertainty)[1] == expected


def test_thousands_of_amplitudes(written):
    page, pictures = written(many(3000))
    names = [row[0] for row in rows(page) if row[0].startswith("structure_factors.F")]
    assert names == [f"structure_factors.F[{i}]" for i in range(50)]
    assert "2950 more are not shown." in page
    assert "correlation.png" not in pictures and "convergence.png" in pictures
    assert "The correlations of 3000 numbers are not drawn" in page


@pytest.mark.parametrize("count, drawn", [(1, False), (2, True), (60, True), (61, False)])
def test_correlations_that_can_be_read_are_drawn(count, drawn, written):
    assert ("correlation.png" in written(many(count))[1]) == drawn


def test_correlations_are_where_they_belong():
    matrix = np.eye(4)
    matrix[0, 3] = matrix[3, 0] = -0.9
    (picture,) = drawings.correlation(result(correlation=matrix))
    image = np.asarray(Image.open(io.BytesIO(picture.content)).convert("RGB")).astype(int)
    blue = np.argwhere((image[:, :, 2] > image[:, :, 0] + 60)[:, :-120])
    middle = (blue.min(axis=0) + blue.max(axis=0)) / 2
    corners = blue - middle
    assert (corners[:, 0] * corners[:, 1] < 0).all()


def test_several_images(written):
    page, pictures = written(result([fit(), fit(data=np.full((ROWS, COLUMNS), np.nan)), fit()]))
    assert {"image_1.png", "image_3.png"} < set(pictures) and "image_2.png" not in pictures
    assert "No pixel of this image counts." in page
    assert ["image 2", "0", "not determined"] in rows(page)
    assert rows(page)[-3][:2] == ["image 1", str(ROWS * COLUMNS - 5)]


def test_images_that_get_no_pictures_are_named(written):
    small = [fit(data=np.full((ROWS, COLUMNS), np.nan))] * 11
    page, _ = written(result(small))
    assert "Images 9 to 11 have no pictures here" in page
    assert ["image 11", "0", "not determined"] in rows(page)
    page, _ = written(result(small[:9]))
    assert "Image 9 has no pictures here" in page


FLAT = np.full((ROWS, COLUMNS), 3.0)


@pytest.mark.parametrize(
    "frame",
    [
        fit(data=FLAT, before=FLAT, after=FLAT),
        fit(data=0 * FLAT, before=0 * FLAT, after=0 * FLAT),
        fit(data=-FLAT, before=FLAT, after=FLAT, sigma=np.inf * FLAT),
        fit(data=1e300 * FLAT, after=FLAT),
        fit(after=np.nan * FLAT, sigma=FLAT),
        fit(after=np.inf * FLAT, before=np.inf * FLAT, sigma=FLAT),
        fit(data=np.where(np.arange(COLUMNS) == 7, FLAT, np.nan)),
        fit(data=np.where(np.arange(ROWS)[:, None] == 7, 2 * FLAT, np.nan)),
        fit(data=1e9 + 1e-7 * spot(*PEAK, 1.0), after=1e9 * FLAT / 3),
    ],
    ids="flat dark negative huge unknown infinite column row even".split(),
)
def test_extreme_images(frame, written):
    assert "image_1.png" in written(result([frame], history=[]))[1]


def test_one_pixel(written):
    data = np.full((30, 30), np.nan)
    data[4, 5] = 7.0
    ones = np.ones(data.shape)
    page, pictures = written(result([SimpleNamespace(data=data, before=ones, after=ones, sigma=ones)]))
    assert {"image_1.png", "residuals_1.png"} < set(pictures) and "peaks_1.png" not in pictures
    assert "No peak of this image stands out" in page


@pytest.mark.parametrize(
    "losses", [[5.0], [5.0, 5.0], [np.inf, 3.0, 3.0], [np.nan], [np.inf], [-1e9, -1e9 + 1e-5], [1e30, 1.0, 1.0 + 1e-12]]
)
def test_histories(losses, written):
    steps = [SimpleNamespace(phase="$all_", evaluation=k, loss=loss, x=result().x) for k, loss in enumerate(losses)]
    assert "convergence.png" in written(result([], history=steps))[1]


def test_no_history(written):
    page, pictures = written(result([], history=[], phases=[]))
    assert "convergence.png" not in pictures and "No phase is recorded." in page


def test_evaluations_are_counted_on():
    assert drawings._cumulative([1, 2, 5, 1, 4, 0, 2]).tolist() == [1, 2, 5, 6, 9, 9, 11]


def test_loss_above_the_least_of_its_phase():
    loss = np.array([11.0, 3.0, 1.0, -50.0, -49.5, np.inf, 7.0])
    above = drawings._above_least(loss, [slice(0, 3), slice(3, 6), slice(6, 7)])
    assert above.tolist() == [10.0, 2.0, 0.5, 0.5, 0.5, np.inf, 0.5]
    assert drawings._above_least(np.array([2.0, np.nan, 3.0]), [slice(0, 2), slice(2, 3)]) is None


def test_same_result_same_bytes(tmp_path):
    for name in ("one", "two"):
        report.write(result(), str(tmp_path / name))
    for name in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_matplotlib_is_imported_only_to_write_and_left_as_it_was(tmp_path):
    code = f"""
import pickle, sys
from nbnumba.cli import report
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 33.0
settings = lambda: {{name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}}
before = settings()
report.write(pickle.load(open({str(tmp_path / "result")!r}, "rb")), {str(tmp_path / "report")!r})
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    (tmp_path / "result").write_bytes(pickle.dumps(result()))
    subprocess.run([sys.executable, "-c", code], check=True)
    report.write(result(), str(tmp_path / "here"))
    assert (tmp_path / "here" / "image_1.png").read_bytes() == (tmp_path / "report" / "image_1.png").read_bytes()


def test_reflections_resolutions_and_refined_flags_are_shown(written):
    """The peak is at (12, 30) in the data. Its reflection is that of the refined experiment, not of the start."""
    flags = "-cell 50 60 70 90 90 90 -default_F 1 -N 5 -distance 60 -detpixels_x 50 -detpixels_y 40 -pixel 0.5 -oversample 1"
    experiment = nbnumba.Experiment.from_args([*flags.split(), "-misset", "10", "20", "30"])
    built = scene.build(experiment, sampling.window((50, 40), None, None))
    hkl = pixels.reflection(built, *PEAK)
    label = f"{hkl[0]} {hkl[1]} {hkl[2]}, {resolved.resolution_at(experiment, PEAK[1], PEAK[0]):.3g} A"
    lines = [("refined flags", "nbnumba -cell 50 -hkl 'a<b>.hkl'")]
    page, pictures = written(result(experiment=experiment), flags=lines)
    assert f"Reflections: 1: {label}." in page
    assert "Rings join points of equal resolution" in page
    assert "<h2>Refined flags</h2>" in page and "nbnumba -cell 50 -hkl &#x27;a&lt;b&gt;.hkl&#x27;" in page
    plain_page, plain = written(result())
    assert "Reflections" not in plain_page and (plain["image_1.png"] != pictures["image_1.png"]).any(axis=2).sum() > 500


def test_a_peak_is_labelled_by_the_crystal_that_is_brightest_there():
    flags = "-cell 50 60 70 90 90 90 -default_F 1 -N 5 -distance 60 -detpixels_x 50 -detpixels_y 40 -pixel 0.5"
    one = nbnumba.Experiment.from_args([*flags.split(), "-misset", "10", "20", "30", "-water", "90"])
    other = dataclasses.replace(one.crystal, misset_deg=(40.0, 5.0, 6.0))
    for faint in range(2):
        crystals = [one.crystal, other]
        crystals[faint] = dataclasses.replace(crystals[faint], scale=1e-6)
        experiment = dataclasses.replace(one, crystal=crystals)
        (labels,) = labels_of_images(SimpleNamespace(experiment=experiment))
        image = simulate(without_background(experiment))
        slow, fast = map(int, np.unravel_index(image[:10].argmax(), (10, 50)))
        alone = scene.panel_scenes(experiment.alone(1 - faint))[0].scene
        hkl = " ".join(map(str, pixels.reflection(alone, slow, fast)))
        part, peak = SimpleNamespace(row=2, column=3), SimpleNamespace(row=slow - 2, column=fast - 3)
        assert labels.reflection(part, peak).startswith(f"{hkl} of crystal {1 - faint}, ")


def test_how_spots_agree_is_shown_beside_the_contrast(written):
    spots = [SimpleNamespace(r_factor=0.0421, shift=0.13, found=17, calculated=19, seen=18, indexed=17)] * 2
    page, _ = written(result(spots=spots[:1]))
    assert "<td>R factor of spots</td><td class=\"number\">0.0421</td>" in page
    assert "<td>median shift of spots (pixels)</td><td class=\"number\">0.13</td>" in page and "17 of 19" in page
    page, _ = written(result([fit(), fit()], spots=spots))
    assert page.count("17 of 19") == 2 and "R factor of spots" in page


def test_folders_are_made_and_others_files_stay(tmp_path):
    folder = tmp_path / "a" / "b"
    report.check(str(folder))
    assert not (tmp_path / "a").exists()
    report.write(result(), str(folder) + "/")
    (folder / "mine.txt").write_text("mine")
    report.check(str(folder))
    report.write(result(title="again"), str(folder))
    assert (folder / "mine.txt").read_text() == "mine"
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize("act", [report.check, lambda folder: report.write(result(), folder)], ids=["check", "write"])
@pytest.mark.parametrize(
    "path", ["file", "file/", "file/below", "file/far/below", "", "nul\0", "new/" + 300 * "x", "/proc/report"]
)
def test_folders_that_cannot_be(path, act, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="^--report: [^\n]+$"):
        act(path)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    for path in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match="--report"):
            report.check(str(path))
    tmp_path.chmod(0o700)


def test_failure_to_draw_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(drawings, "correlation", fail)
    with pytest.raises(MemoryError):
        report.write(result(), str(tmp_path / "a" / "b"))
    assert os.listdir(tmp_path) == []


def test_failure_to_write_leaves_what_was_there(tmp_path):
    folder = tmp_path / "report"
    (folder / "peaks_1.png").mkdir(parents=True)
    (folder / "index.html").write_text("old")
    with pytest.raises(InputError, match="--report: .*peaks_1.png"):
        report.write(result(), str(folder))
    assert sorted(os.listdir(folder)) == ["index.html", "peaks_1.png"]
    assert (folder / "index.html").read_text() == "old"


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    opened = []
    create = files._create

    def full(*args):
        stream = create(*args)
        opened.append(stream)
        if len(opened) == 5:
            stream.close()
            return open("/dev/full", "wb")
        return stream

    monkeypatch.setattr(files, "_create", full)
    monkeypatch.setattr(report, "check", lambda folder: None)
    with pytest.raises(InputError, match="--report: .*No space left"):
        report.write(result(), str(tmp_path / "report"))
    assert len(opened) >= 5 and os.listdir(tmp_path) == []
