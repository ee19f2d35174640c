"""DIALS as a client of a series: it imports and indexes the images, and its spots are where their labels are."""

import dials
import numpy as np
import pytest

import nbnumba
from nbnumba.cli.main import main
from nbnumba.formats.geometry import lab

h5py = pytest.importorskip("h5py")

FRAMES = 20
FLAGS = (
    "-cell 31 36.5 41 82 97 104 -misset 20 35 50 -lambda 1.2 -distance 70 -detpixels_x 487 -detpixels_y 407 -pixel 0.172 "
    "-twotheta 10 -polar 0.998 -osc 1 -phisteps 10 -phi_sampling mid -N 14 -gauss_xtal -mosaic 0.1 -mosaic_domains 5 "
    "-water 0.06 -fluence 8e27 -oversample 2 -tolerance 0.001 -quiet"
)
LEAST = 0.99
"""The share of the strong indexed spots on pixels that are labelled with their hkl."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with amplitudes by Wilson's statistics."""
    if not dials.has_dials():
        pytest.skip("DIALS is absent: apt-get install --no-install-recommends dials")
    path = tmp_path_factory.mktemp("labels")
    hkl = np.stack(np.mgrid[-19:20, -22:23, -25:26], axis=-1).reshape(-1, 3)
    drawn = np.sqrt(np.random.default_rng(1).exponential(1.0, len(hkl))) * 100 + 5
    nbnumba.write_hkl(path / "P1.hkl", hkl, np.where(np.arange(len(hkl)) < len(hkl) // 2, drawn, drawn[::-1]))
    return path


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_strong_spots_of_dials_lie_on_pixels_with_their_label(folder):
    """99 % of those that it indexes, in the basis of the true crystal, which is that of DIALS up to whole numbers."""
    series = folder / "rotation"
    args = ["series", "--out", str(series), "--frames", str(FRAMES), "--labels", "--seed", "2", "--workers", "2", "--"]
    assert main([*args, "-hkl", str(folder / "P1.hkl"), *FLAGS.split()]) == 0
    place = folder / "dials"
    place.mkdir()
    found = dials.index(place, series / "series.nxs")
    true = nbnumba.read_geometry(series / "truth.expt").crystal.vectors
    change = true @ lab(found["matrix"].T).T
    whole = np.rint(change)
    assert np.abs(change - whole).max() < 0.01 and abs(round(np.linalg.det(whole))) == 1
    hkl = (found["hkl"] @ whole.T).astype(int)
    fast, slow, number = np.floor(found["place"]).astype(int).T
    labels = []
    for frame in range(FRAMES):
        with h5py.File(series / "labels" / f"frame_{frame + 1:06d}.h5") as file:
            labels.append(file["hkl"][()])
    on_label = (np.array(labels)[number, slow, fast] == hkl).all(axis=1)
    assert len(hkl) > 1000 and len(hkl) > 0.9 * found["found"]
    assert on_label.mean() >= LEAST, on_label.mean()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dials_reads_the_images_and_the_true_models_of_stills(folder):
    """Through the master, and through the list of true models, image by image."""
    (folder / "jitter.toml").write_text('[orientation]\ndistribution = "uniform"\n[detector.distance_mm]\n'
                                        'distribution = "normal"\nsigma = 0.1\n')  # fmt: skip
    series = folder / "stills"
    still = [word for word in FLAGS.replace("-osc 1 -phisteps 10 -phi_sampling mid ", "").split()]
    args = ["series", "--out", str(series), "--frames", "3", "--jitter", str(folder / "jitter.toml"), "--workers", "1", "--"]
    assert main([*args, "-hkl", str(folder / "P1.hkl"), *still]) == 0
    sums, cells = dials.answer(_READ, series / "series.nxs", series / "truth.expt")
    experiment = nbnumba.Experiment.from_args(["-hkl", str(folder / "P1.hkl"), *still[:-1]])
    made = nbnumba.frames(experiment, 3, jitter=folder / "jitter.toml")
    expected = [int(frame.pixels.astype(int).sum()) - 40 * frame.pixels.size for frame in made]
    assert sums == [expected, expected]
    assert len(cells) == 3


_READ = """
import json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
by_master = ExperimentListFactory.from_filenames([sys.argv[1]])
models = ExperimentListFactory.from_json_file(sys.argv[2])
sums = [[int(sum(each.imageset.get_raw_data(0)[0])) for each in experiments] for experiments in (by_master, models)]
print(json.dumps([sums, [each.crystal.get_A() for each in models]]))
"""
