"""Spectra: their files, how few wavelengths stand for many, and images and sources that are made of them (F5a, F5b)."""

import numpy as np
import oracle
import pytest
from real_data import REAL, needs

import nbnumba
from nbnumba import Beam, Experiment, InputError, resolved, simulate, write_smv
from nbnumba.constants import HC_EV_A
from nbnumba.formats import spectrum
from nbnumba.setup.scene import panel_scenes
from nbnumba.setup.sources import main_wavelength, resampled

REAL_SPECTRUM = REAL / "text" / "spectrum.lam"
ROWS = [(1.02, 0.5), (1.03, 2.0), (1.05, 1.0)]
SMALL = "-cell 30 40 50 80 95 100 -misset 10 20 30 -N 4 -default_F 100 -distance 50 -detpixels 6 -pixel 4 -oversample 1 "
FORMS = {
    "blanks": "  1.02   0.5\r\n  1.03   2.0\r\n 1.05 1.0\r\n",
    "commas": "1.02,0.5\n1.03,2\n1.05,1\n",
    "a comma and a blank": "1.02, 0.5\n1.03, 2\n1.05, 1\n",
    "comments": "# made by hand\n1.02 0.5 # first\n\n1.03\t2.0\n1.05;1.0\n",
    "simtbx": "wavelengths, weights\n1.02,0.5\n1.03,2\n1.05,1\n",
    "a heading in another order": "weight wavelength_A\n0.5 1.02\n2 1.03\n1 1.05\n",
    "a heading as a comment": "# wavelength (nm), intensity\n0.102 0.5\n0.103 2\n0.105 1\n",
    "energies": "".join(f"{HC_EV_A / wavelength!r} {weight}\n" for wavelength, weight in ROWS),
    "energies in keV": "energy_keV,flux\n" + "".join(f"{HC_EV_A / w / 1000!r},{weight}\n" for w, weight in ROWS),
    "metres": "wavelength_m weight\n1.02e-10 .5\n1.03e-10 2\n1.05e-10 1\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_forms_of_a_file(tmp_path, text):
    (tmp_path / "x.lam").write_bytes(text.encode())
    np.testing.assert_allclose(nbnumba.read_spectrum(tmp_path / "x.lam"), ROWS, rtol=1e-14)


REFUSED = {
    "12.4 1\n12.5 1\n": "no heading",
    "800 1\n999 1\n": "no heading",
    "1.02e-10 1\n": "no heading",
    "1.0 2.0 3.0\n": "3 numbers, as a -sourcefile has",
    "1.0\n": "1 numbers",
    "1.0 -0.1\n": "weight must not be negative",
    "energy weight\n0 1\n": "energy must be positive",
    "1.0 0\n": "no weight above 0",
    "1.0 x\n": "'x'",
    "wavelength energy\n1 2\n": "heading",
    "wavelength_eV weight\n1 2\n": "heading",
    "# nothing\n": "no numbers",
}


@pytest.mark.parametrize("text, words", REFUSED.items())
def test_what_is_unclear_is_refused(tmp_path, text, words):
    (tmp_path / "x.lam").write_text(text)
    with pytest.raises(InputError, match=words):
        spectrum.read(tmp_path / "x.lam")


@needs(REAL_SPECTRUM)
def test_the_real_spectrum_is_read_as_it_is():
    path = REAL_SPECTRUM
    table = nbnumba.read_spectrum(path)
    assert table.shape == (141, 2) and table[0].tolist() == [1.02, 0.0268]
    experiment = Experiment.from_args([*SMALL.split(), "-spectrum", str(path)])
    assert len(experiment.beam.spectrum) == 141
    assert experiment.beam.wavelength_A == pytest.approx(np.average(table[:, 0], weights=table[:, 1]), rel=1e-15)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
@pytest.mark.parametrize("kind", ["lines", "spikes", "two"])
def test_few_wavelengths_have_the_mean_and_the_width_of_many(steps, kind):
    random = np.random.default_rng(3)
    many = np.column_stack([random.uniform(0.9, 1.1, 100), random.gamma(0.3, 1.0, 100)])
    many[:, 1] *= {"lines": 1.0, "spikes": (random.random(100) < 0.1) + 0.0, "two": np.arange(100) < 2}[kind]
    few = resampled(many, steps)
    assert few.shape == (steps, 2) and np.ptp(few[:, 1]) == 0.0 and few[:, 1].sum() == pytest.approx(many[:, 1].sum())
    mean = np.average(many[:, 0], weights=many[:, 1])
    assert few[:, 0].mean() == pytest.approx(mean, rel=1e-14)
    width = np.average((many[:, 0] - mean) ** 2, weights=many[:, 1])
    assert ((few[:, 0] - mean) ** 2).mean() == pytest.approx(width if steps > 1 else 0.0, rel=1e-12, abs=1e-30)
    assert (np.diff(few[:, 0]) >= -1e-15).all()


def test_one_wavelength_stays_alone():
    np.testing.assert_array_equal(resampled(np.array([[1.1, 3.0]]), 3), [[1.1, 1.0]] * 3)


def test_few_wavelengths_on_the_command_line_and_in_python(tmp_path):
    np.savetxt(tmp_path / "x.lam", np.column_stack([np.linspace(1.0, 1.1, 50), np.linspace(1.0, 2.0, 50)]))
    beam = Experiment.from_args([*SMALL.split(), "-spectrum", str(tmp_path / "x.lam"), "-spectrum_steps", "5"]).beam
    assert beam == Beam(wavelength_A=beam.wavelength_A, spectrum=nbnumba.read_spectrum(tmp_path / "x.lam", 5))
    with pytest.warns(UserWarning, match="-spectrum_steps has no effect: -spectrum has 50"):
        Experiment.from_args([*SMALL.split(), "-spectrum", str(tmp_path / "x.lam"), "-spectrum_steps", "50"])


@pytest.mark.parametrize("more", ["", "-wavelength_scale 1.01 -wavelength_offset -0.02", "-divergence 5 -divsteps 3",
                                  "-source_weights {weights}", "-water 300 -polar 0.4 -oversample_polar"])  # fmt: skip
@pytest.mark.parametrize("kind", ["-spectrum {lam}", "-dispersion 5 -dispsteps 3 -lambda 1.1", "-sourcefile {sources}"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images_equal_the_oracle(tmp_path, kind, more):
    np.savetxt(tmp_path / "lam", ROWS)
    np.savetxt(tmp_path / "sources", [(-1, 0.001 * n, 0, w, x * 1e-10) for n, (x, w) in enumerate(ROWS)])
    np.savetxt(tmp_path / "weights", [0.5, 3.0, 1.0])
    files = {name: tmp_path / name for name in ("lam", "sources", "weights")}
    words = f"{SMALL}{kind} {more}".format(**files).split()
    image, expected = simulate(Experiment.from_args(words)), oracle.render(words)
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-12 * expected.max())
    if more and not ("sourcefile" in kind and "divergence" in more):
        assert np.abs(image / oracle.render(f"{SMALL}{kind}".format(**files).split()) - 1.0).max() > 1e-3


def test_a_spectrum_is_the_weighted_mean_of_its_wavelengths():
    """Without polarization, which is that of the first source."""
    base = Experiment.from_args(SMALL + "-nopolar")
    random = np.random.default_rng(5)
    rows = np.column_stack([random.uniform(0.95, 1.05, 50), random.gamma(0.5, 1.0, 50)])
    together = simulate(base.replace({"beam.spectrum": rows}))
    apart = [simulate(base.replace({"beam.spectrum": [row]})) for row in rows]
    np.testing.assert_allclose(together, np.average(apart, axis=0, weights=rows[:, 1]), rtol=1e-12)


def test_what_states_the_wavelengths_twice_is_refused(tmp_path):
    np.savetxt(tmp_path / "x.lam", ROWS)
    np.savetxt(tmp_path / "s", [(-1, 0, 0, 1, 1e-10)])
    words = [*SMALL.split(), "-spectrum", str(tmp_path / "x.lam")]
    for flags in ("-dispersion 1", "-dispsteps 3", f"-sourcefile {tmp_path / 's'}"):
        with pytest.raises(InputError, match=f"-spectrum and {flags.split()[0]}: both say"):
            Experiment.from_args([*words, *flags.split()])
    with pytest.raises(InputError, match="-spectrum_steps: 0"):
        Experiment.from_args([*words, "-spectrum_steps", "0"])
    with pytest.warns(UserWarning, match="-lambda has no effect on the sources"):
        Experiment.from_args([*words, "-lambda", "1.5"])
    with pytest.raises(InputError, match="beam.spectrum and beam.sources"):
        Beam(spectrum=ROWS, sources=[(-1.0, 0.0, 0.0, 1.0, 1.0)])


def test_a_spectrum_as_sources_is_told_where_it_belongs(tmp_path):
    np.savetxt(tmp_path / "two", ROWS)
    np.savetxt(tmp_path / "five", [(-1, 0, 0, w, x) for x, w in ROWS])
    for name in ("two", "five"):
        with pytest.raises(InputError, match="-spectrum"):
            Experiment.from_args([*SMALL.split(), "-sourcefile", str(tmp_path / name)])


@pytest.mark.parametrize("fields, words", [
    ({"spectrum": [(1.0, 0.0)]}, "one above"), ({"spectrum": [(0.0, 1.0)]}, "positive"), ({"spectrum": [1.0]}, "rows"),
    ({"source_weights": [1.0, -1.0]}, "none below 0"), ({"source_weights": []}, "each source"),
    ({"wavelength_scale": 0.0}, "positive"), ({"wavelength_offset_A": np.nan}, "number"),
])  # fmt: skip
def test_impossible_beams(fields, words):
    with pytest.raises(InputError, match=words):
        Beam(**fields)


def test_beams_that_do_not_fit_their_sources():
    base = Experiment.from_args(SMALL)
    for values, words in (
        ({"beam.source_weights": [1.0, 2.0]}, "2 numbers for 1 sources"),
        ({"beam.wavelength_offset_A": -1.0}, "allowed: what leaves it above 0"),
    ):
        with pytest.raises(InputError, match=words):
            simulate(base.replace(values))


def test_what_is_stated_beside_a_spectrum_has_no_effect(tmp_path):
    """The resolution, sub-pixels and headers are those of the mean wavelength, with the weights, the scale and the offset."""
    stated = "-cell 50 60 70 -default_F 1 -N 40 -distance 60 -detpixels 20 -pixel 0.2 -lambda 1.2"
    plain = Experiment.from_args(stated)
    spectrum = {"beam.spectrum": ((1.0, 1.0), (1.3, 2.0)), "beam.wavelength_A": 5.0}
    doubled = plain.replace(spectrum | {"beam.wavelength_scale": 2.0, "beam.wavelength_offset_A": -1.2})
    weighed = plain.replace(spectrum | {"beam.hdivrange_mrad": 1.0, "beam.source_weights": (1.0, 3.0, 2.0, 3.0)})
    both = [*panel_scenes(plain), *panel_scenes(plain.replace(spectrum))]
    assert both[0].scene.sampling.oversample == both[1].scene.sampling.oversample > 1
    assert main_wavelength(plain.beam) == 1.2
    for made, mean in ((plain.replace(spectrum), 1.2), (doubled, 1.2), (weighed, 1.2)):
        assert main_wavelength(made.beam) == pytest.approx(mean, rel=1e-15)
        pixels = np.array([0, 7, 19]), np.array([3, 18, 1])
        np.testing.assert_allclose(resolved.resolutions(made, *pixels), resolved.resolutions(plain, *pixels), rtol=1e-14)
    write_smv(tmp_path / "s.img", np.zeros((20, 20), np.uint16), experiment=plain.replace(spectrum))
    assert "WAVELENGTH=1.2;" in (tmp_path / "s.img").read_bytes()[:512].decode("latin-1").replace(" ", "")
    read = Experiment.from_args(["-img", str(tmp_path / "s.img"), *stated.split()[:-2]])
    assert read.beam.wavelength_A == pytest.approx(1.2, rel=1e-15)
