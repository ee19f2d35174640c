"""DIALS as a client: from files of this program alone it finds the crystal and the amplitudes of the images."""

import dials
import numpy as np
import pytest

import nbnumba
from nbnumba.formats import refl_intensities
from nbnumba.formats.geometry import lab
from nbnumba.geometry.cell import cell_of

FRAMES = 30
CELL = (31.0, 36.5, 41.0, 82.0, 97.0, 104.0)
GEOMETRY = (
    "-cell 31 36.5 41 82 97 104 -misset 20 35 50 -lambda 1.2 -distance 70 -detpixels_x 487 -detpixels_y 407 -pixel 0.172 "
    "-twotheta 10 -detector_rotx 2 -detector_roty -3 -detector_rotz 1 -polar 0.998 -osc 1"
)
"""A tilted detector at two-theta 10. NXmx readers assume this polarization."""

CONTENT = "-N 14 -gauss_xtal -water 0.06 -fluence 8e27 -oversample 3 -phisteps 20 -tolerance 0.001"
"""What no geometry states. Half a phi step is 0.025 degrees."""


def amplitudes():
    """Indices (n, 3) as far as the detector reaches, and amplitudes (n,) by Wilson's statistics, the same for Friedel mates."""
    axes = [np.arange(-most, most + 1) for most in (19, 22, 25)]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    drawn = np.sqrt(np.random.default_rng(1).exponential(1.0, len(hkl))) * 100 + 5
    return hkl, np.where(np.arange(len(hkl)) < len(hkl) // 2, drawn, drawn[::-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 30 frames as SMV, an .expt of them, and the same frames as NXmx."""
    if not dials.has_dials():
        pytest.skip("DIALS is absent: apt-get install --no-install-recommends dials")
    pytest.importorskip("h5py")
    path = tmp_path_factory.mktemp("dials")
    hkl, factors = amplitudes()
    nbnumba.write_hkl(path / "P1.hkl", hkl, factors)
    first = nbnumba.Experiment.from_args([*GEOMETRY.split(), *CONTENT.split(), "-hkl", path / "P1.hkl"])
    series = [first.replace({"goniometer.phi_deg": float(phi)}) for phi in range(FRAMES)]
    names, frames = [path / f"frame_{number:03d}.img" for number in range(1, FRAMES + 1)], []
    for number, (name, experiment) in enumerate(zip(names, series)):
        image = nbnumba.simulate(experiment)
        frames.append(nbnumba.noise_image(experiment, image, seed=number + 1).pixels)
        nbnumba.write_smv(name, frames[-1], experiment)
    nbnumba.write_expt(path / "geometry.expt", series, names)
    nbnumba.write_nxmx(path / "frames.nxs", np.array(frames), series)
    return path


def change_of_basis(folder, matrix):
    """The indices of the amplitudes by those of DIALS, (3, 3), nearly whole numbers; matrix (3, 3): A as DIALS refined it."""
    return nbnumba.read_geometry(folder / "geometry.expt").crystal.vectors @ lab(matrix.T).T


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:sampling.oversample")
@pytest.mark.parametrize("kind", ["smv", "nxmx", "expt"])
def test_dials_finds_crystal_and_amplitudes(folder, kind):
    """Cell to 1e-4, intensities of whole reflections times the Lorentz and polarization factor against F^2.

    By SMV with the .expt as reference geometry, by NXmx alone, and by the .expt as the experiments. DIALS chooses a basis of
    its own, in which the sense of two axes is the other one here, unless the .expt tells it: indices and cell are compared in
    the basis of the amplitudes.
    """
    place = folder / kind
    place.mkdir()
    if kind == "smv":
        found = dials.process(place, *sorted(folder.glob("frame_*.img")), f"reference_geometry={folder / 'geometry.expt'}")
    else:
        found = dials.process(place, folder / {"nxmx": "frames.nxs", "expt": "geometry.expt"}[kind])
    change = change_of_basis(folder, found["matrix"])
    whole = np.rint(change)
    assert np.abs(change - whole).max() < 0.002 and abs(round(np.linalg.det(whole))) == 1
    cell = cell_of(whole @ np.linalg.inv(lab(found["matrix"].T)).T)
    assert np.abs(np.array(cell) / CELL - 1.0).max() < 1e-4
    known = {tuple(index): factor for index, factor in zip(*(part.tolist() for part in amplitudes()))}
    squares = np.array([known[tuple(index)] ** 2 for index in (found["hkl"] @ whole.T).astype(int).tolist()])
    complete = found["partiality"] > 0.999
    assert complete.sum() > 1500
    assert np.corrcoef((found["intensity"] * found["lp"])[complete], squares[complete])[0, 1] > 0.997
    read_what_was_integrated(place, whole, known)
    render_what_was_refined(folder, place / "refined.expt", whole)


def read_what_was_integrated(place, whole, known):
    """DIALS' table without DIALS: the intensities that DIALS takes of it, and amplitudes against those of the images."""
    geometry = nbnumba.read_geometry(place / "refined.expt")
    read = refl_intensities.read(place / "integrated.refl", "-refl", geometry)
    hkl, intensities, sigmas = dials.reduced(place / "refined.expt", place / "integrated.refl")
    ours, theirs = np.lexsort((read.values, *read.hkl.T)), np.lexsort((intensities, *hkl.T))
    np.testing.assert_array_equal(read.hkl[ours], hkl[theirs])
    np.testing.assert_allclose(read.values[ours], intensities[theirs], rtol=1e-12)
    np.testing.assert_allclose(read.sigmas[ours], sigmas[theirs], rtol=1e-12)
    with pytest.warns(UserWarning, match="profile-fitted intensities of DIALS are read.* unique reflections of P 1 are"):
        factors = nbnumba.StructureFactors.from_refl(place / "integrated.refl", place / "refined.expt")
    expected = [known[tuple(index)] for index in (factors.hkl @ whole.T).astype(int).tolist()]
    assert len(expected) > 1500 and np.corrcoef(factors.F, expected)[0, 1] > 0.99


def render_what_was_refined(folder, refined, whole):
    """The refined models render a frame that they were refined on: correlation above 0.99, the sum of photons to 0.5 %."""
    rows = (np.round(np.linalg.inv(whole))).astype(int)
    basis = ",".join("".join(f"{number:+d}{name}" for number, name in zip(row, "hkl") if number) for row in rows)
    words = [*CONTENT.split(), "-hkl", folder / "P1.hkl", "-reindex", basis, "-expt", refined, "-image", 15]
    rendered = nbnumba.simulate(nbnumba.Experiment.from_args(words))
    original = nbnumba.simulate(
        nbnumba.Experiment.from_args([*GEOMETRY.split(), *CONTENT.split(), "-hkl", folder / "P1.hkl", "-phi", 14])
    )
    assert np.corrcoef(rendered.ravel(), original.ravel())[0, 1] > 0.99
    assert abs(rendered.sum() / original.sum() - 1.0) < 0.005
