"""refine refuses impossible arguments in a sentence, and reports ill-posed problems, wrong crystals and empty images."""

import re

import numpy as np
import pytest
from refining import BACKGROUND, Cauchy, counts, crystal, moved

import adjoint
from nbnumba import InputError, simulate

MISSET = "crystal.misset_deg"
TRUTH = crystal()
START = moved(TRUTH, misset_x_deg=0.1, misset_y_deg=-0.05)
SHAPE = (72, 72)
NAMES = [MISSET, "image.scale", "image.background"]
GIVEN = {"image": {"background": 1.0}}

PLAN = [adjoint.Phase("sharp"), adjoint.Phase("all", exact=True)]
"""The first of what "auto" tries in turn, without broad spots."""

# ---------------------------------------------------------------------------------------------- what cannot be determined


def refused(done, *named):
    """Check that a refinement without success says so in its message and its diagnosis, and names what is wrong."""
    assert not done.success and done.status == 0
    assert done.message != "converged" and done.diagnosis
    for name in named:
        assert name in done.message, done.message
        assert any(name in sentence for sentence in done.diagnosis)
    return done


CUBIC = crystal("-cell 56 56 56 90 90 90")
ALONG = {
    "cubic": (CUBIC, [("crystal.a_A", "crystal.b_A", "crystal.c_A")]),
    "triclinic": (TRUTH, ["crystal.a_A", "crystal.b_A", "crystal.c_A"]),
}


@pytest.mark.parametrize("phases", ["auto", "exact"])
@pytest.mark.parametrize("cell", ALONG)
def test_the_wavelength_with_all_edges_of_the_cell(cell, phases):
    """The image depends only on their ratio. There is no success, both are named, and neither has a finite uncertainty."""
    truth, edges = ALONG[cell]
    names = ["beam.wavelength_A", *edges, "image.scale"]
    done = adjoint.refine(moved(truth, misset_x_deg=0.0), counts(truth), names, phases=phases, **GIVEN)
    keys = [name if isinstance(name, str) else name[0] for name in edges]
    refused(done, "beam.wavelength_A", *keys)
    assert "ill-posed" in done.message
    assert all(np.isinf(done.uncertainties[name]) for name in ("beam.wavelength_A", *keys))
    assert np.isfinite(done.uncertainties["image.scale"])
    np.testing.assert_allclose(done.values[keys[0]] / done.values["beam.wavelength_A"], truth.crystal.a_A / 1.1, rtol=1e-4)


def test_a_restraint_makes_it_posed():
    """A restrained wavelength has the uncertainty of its restraint, and so has the cell; both are still named."""
    names = ["beam.wavelength_A", *ALONG["cubic"][1], "image.scale"]
    done = adjoint.refine(CUBIC, counts(CUBIC), names, restraints={"beam.wavelength_A": (1.1, 0.001)}, **GIVEN)
    assert done.success and done.uncertainties["beam.wavelength_A"] == pytest.approx(0.001, rel=0.05)
    assert done.uncertainties["crystal.a_A"] == pytest.approx(0.001 * 56 / 1.1, rel=0.05)
    assert any("beam.wavelength_A" in sentence and "crystal.a_A" in sentence for sentence in done.diagnosis)


def test_the_distance_with_the_cell():
    """Near the beam they have almost the same effect. A sentence names them, and their uncertainties are large."""
    truth = crystal("-cell 56 56 56 90 90 90 -Xbeam 8 -Ybeam 8")
    names = ["detector.distance_mm", ("crystal.a_A", "crystal.b_A", "crystal.c_A"), "image.scale", "image.background"]
    done = adjoint.refine(truth, counts(truth), names, **GIVEN)
    sentences = [s for s in done.diagnosis if "detector.distance_mm" in s and "crystal.a_A" in s]
    assert len(sentences) == 1 and "hardly" in sentences[0] and "image.scale" not in sentences[0]
    alone = adjoint.refine(truth, counts(truth), names[:1] + names[2:], **GIVEN)
    assert alone.diagnosis == []
    assert done.uncertainties[names[0]] > 10.0 * alone.uncertainties[names[0]]


def test_a_parameter_that_does_nothing():
    """Where the sensor stops every photon, the attenuation is named and infinitely uncertain.

    There is no success; the others are found.
    """
    truth = crystal("-detector_thick 20000 -detector_abs 10 -detector_thicksteps 1")
    names = [MISSET, "detector.attenuation_um", "image.scale", "image.background"]
    data = counts(truth)
    start = truth.replace({"detector.attenuation_um": 9.0, MISSET: START.value(MISSET)})
    done = refused(adjoint.refine(start, data, names, **GIVEN), "detector.attenuation_um")
    assert "does not depend" in done.message and np.isinf(done.uncertainties["detector.attenuation_um"])
    assert done.values["detector.attenuation_um"] == 9.0
    assert (np.abs(done.values[MISSET] - truth.crystal.misset_deg) < 4.0 * done.uncertainties[MISSET]).all()


def test_gain_and_background_without_a_known_fluence():
    """The data determine only two of gain, scale and background: a gain needs a known fluence."""
    data = counts(TRUTH, gain=2.0)
    refused(adjoint.refine(TRUTH, data, ["image.gain", "image.scale", "image.background"], **GIVEN), "image.gain")


# ---------------------------------------------------------------------------------------------- what shows no such crystal


@pytest.mark.parametrize("sigma", [None, 5.0])
def test_a_wrong_crystal(sigma):
    """The image of another cell in another orientation is refused for its explained contrast, also with the Gaussian loss."""
    other = crystal("-cell 61 43 70 92 88 110 -misset 50 15 5")
    given = {"loss": "gaussian", "sigma": sigma, "phases": PLAN} | GIVEN
    done = refused(adjoint.refine(START, counts(other), NAMES, **given), "not one of this crystal", "% of the contrast")
    assert done.explained < 0.35


def test_a_wrong_crystal_by_a_robust_loss():
    """A loss that tolerates misfits does not turn a wrong crystal into a success."""
    data = counts(crystal("-cell 61 43 70 92 88 110 -misset 50 15 5"))
    refused(adjoint.refine(START, data, NAMES, loss=Cauchy(data, 3.0), phases=PLAN, **GIVEN))


@pytest.mark.parametrize(("seed", "bright"), [(0, 0.003), (1, 0.003), (2, 0.02), (3, 0.1), (4, 1.0)])
def test_wrong_crystals_whatever_their_spots(seed, bright):
    """Cells and orientations are random, and spots range from hardly visible ones to ones that outshine everything."""
    random = np.random.default_rng(seed)
    cell = [*random.uniform(40, 75, 3), *random.uniform(82, 104, 3)]
    other = crystal("-cell {} {} {} {} {} {} -misset {} {} {}".format(*cell, *random.uniform(-180, 180, 3)))
    image = simulate(other)
    data = random.poisson(image * bright * 3000.0 / image.max() + BACKGROUND)
    done = adjoint.refine(START, data, NAMES, phases="auto" if bright == 0.02 else PLAN, **GIVEN)
    refused(done)
    assert "not one of this crystal" in done.message or "stands out" in done.message
    ends = [float(x) for line in done.phases for x in re.findall("reduced chi squared ([^:]+): once more", line)]
    assert bool(ends) == (bright == 0.02) and all(done.chi_squared <= 1.01 * squares for squares in ends)


def test_a_bright_background_hides_no_wrong_crystal():
    """Contrast that the background explains does not count for the crystal."""
    other = crystal("-cell 61 43 70 92 88 110 -misset 50 15 5")
    below = 1000.0 * np.linspace(0.7, 1.3, 72)[:, None] * np.ones(72)
    data = np.random.default_rng(1).poisson(0.3 * simulate(other) + below)
    done = adjoint.refine(START, data, [*NAMES, "image.background_y"], image={"background": 900.0}, phases=PLAN)
    refused(done, "not one of this crystal")


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_a_blank_image(level, loss):
    """In an image of one value, or of 0, nothing stands out, and no library fails."""
    for names in (NAMES, ["beam.fluence", MISSET]):
        refused(adjoint.refine(START, np.full(SHAPE, level), names, loss=loss, phases=PLAN, **GIVEN))


@pytest.mark.parametrize("below", [0.05, 3.0, 300.0])
def test_pure_noise(below):
    """Counts of a background alone are refused, whatever is refined."""
    for seed, names in enumerate((NAMES, [MISSET, "detector.distance_mm", "image.scale"], ["crystal.a_A", "image.background"])):
        data = np.random.default_rng(seed).poisson(below, SHAPE)
        done = refused(adjoint.refine(START, data, names, image={"background": below}, phases="auto" if seed == 0 else PLAN))
        assert "noise" in done.message or "not one of this crystal" in done.message or "ill-posed" in done.message


def test_noise_below_0():
    """The data are differences of dark images of an integrating detector, without a photon."""
    data = np.random.default_rng(1).normal(0.0, 5.0, SHAPE)
    done = adjoint.refine(START, data, [MISSET, "image.scale"], loss="gaussian", sigma=5.0)
    refused(done, "stands out from noise")


def test_a_start_that_is_too_far_off():
    """A refinement that does not find the crystal says so."""
    done = adjoint.refine(moved(TRUTH, misset_x_deg=20.0, misset_z_deg=30.0), counts(TRUTH), NAMES, phases=PLAN, **GIVEN)
    refused(done, "not one of this crystal")


# ---------------------------------------------------------------------------------------------- what does not fit


DATA = counts(TRUTH).astype(float)


def listed(experiment):
    """The experiment with some reflections."""
    hkl = np.array([[1, 2, 3], [2, 3, 4]])
    return experiment.replace({"structure_factors.hkl": hkl, "structure_factors.F": np.array([10.0, 20.0])})


def call(experiment=START, measured=DATA, parameters=NAMES, **more):
    """A function that calls refine with some arguments replaced."""
    return lambda: adjoint.refine(experiment, measured, parameters, **more)


TWO = [START, moved(START, distance_mm=0.3)]
"""Two experiments with detectors at different distances."""
SOME = np.where(DATA > 3.0, -1.0, DATA)

BAD = {
    "experiment": (call(experiment="x.json"), "experiment: str is not allowed|experiment: allowed"),
    "experiment none": (call(experiment=None), "experiment: NoneType"),
    "experiments none": (call(experiment=[], measured=[]), "experiment.*at least one"),
    "experiments of something": (call(experiment=[START, 3], measured=[DATA, DATA]), "experiment"),
    "fewer images": (call(experiment=TWO, measured=[DATA]), "measured: 1 images of 2 experiments"),
    "shape": (call(measured=DATA[1:]), r"measured of shape \(71, 72\).*\(72, 72\)"),
    "one row": (call(measured=DATA[0]), "measured"),
    "a cube": (call(measured=DATA[None]), "measured"),
    "complex": (call(measured=DATA + 1j), "measured.*real"),
    "words": (call(measured="image.img"), "measured"),
    "nothing": (call(measured=None), "measured"),
    "negative": (call(measured=SOME), "measured: -1 is not allowed in a Poisson loss.*'gaussian' with readout"),
    "below the offset": (call(offset=100.0), "measured: -100.*Poisson"),
    "offset": (call(offset="a"), "offset.*number"),
    "saturation": (call(saturation="high"), "saturation: 'high' is not a number"),
    "saturation low": (call(saturation=0), "measured: no pixel counts"),
    "masked": (call(mask=np.zeros(SHAPE)), "measured: no pixel counts.*at least one"),
    "all missing": (call(measured=np.full(SHAPE, np.nan)), "measured: no pixel counts"),
    "mask shape": (call(mask=np.ones((3, 3))), r"mask of shape \(3, 3\)"),
    "mask words": (call(mask="half"), "mask"),
    "outside the region": (
        call(measured=np.where(np.arange(72) < 40, DATA, np.nan), roi=(50, 71, 0, 71)),
        "measured: no pixel counts",
    ),
    "parameters none": (call(parameters=[]), "parameters: none is named.*at least one"),
    "parameters nothing": (call(parameters=None), "parameters"),
    "unknown": (call(parameters=["crystal.d_A"]), "parameters: 'crystal.d_A' is no parameter.*crystal.a_A"),
    "unknown of the image": (call(parameters=["image.foo"]), "parameters: 'image.foo'.*image.scale"),
    "twice": (call(parameters=[MISSET, "crystal.misset_x_deg"]), "parameters: crystal.misset_x_deg is there twice"),
    "image twice": (call(parameters=["image.scale", "image.scale"]), "parameters: image.scale is there twice"),
    "tied image": (call(parameters=[("image.scale", "image.gain")]), "parameters: image.scale cannot be tied"),
    "scale and fluence": (call(parameters=["image.scale", "beam.fluence"]), "image.scale and beam.fluence"),
    "no derivative": (call(parameters=["crystal.mosaic_spread_deg"]), "parameters.*mosaic_spread_deg"),
    "no list": (call(parameters=["structure_factors.F"]), "structure_factors.F"),
    "image": (call(image={"foo": 1}), "image: 'image.foo'.*scale, image.background"),
    "image gain": (call(image={"gain": 0}), "image: image.gain 0 .*above 0"),
    "image no dict": (call(image=3.0), "image"),
    "image word": (call(image={"scale": "1"}), "image: image.scale.*number"),
    "loss": (call(loss="likelihood"), "loss: 'likelihood'.*poisson, gaussian"),
    "loss array": (call(loss=np.ones(SHAPE)), "loss"),
    "loss none": (call(loss=None), "loss"),
    "loss without": (call(loss=object()), "loss: object has no value"),
    "loss with a mask": (call(loss=Cauchy(DATA, 3.0), mask=np.ones(SHAPE)), "loss: Cauchy does not know of a mask"),
    "loss of another shape": (call(loss=adjoint.losses.Poisson(np.ones((3, 3)))), r"loss: data of \(slow, fast\) = \(3, 3\)"),
    "losses": (call(loss=["poisson", "poisson"]), "loss"),
    "sigma of poisson": (call(sigma=1.0), "sigma.*loss='gaussian'"),
    "readout of poisson": (call(readout_noise=1.0), "readout_noise: it is given without the gaussian loss"),
    "readout beside sigma": (call(readout_noise=1.0, sigma=2.0, loss="gaussian"), "readout_noise: it is given beside sigma"),
    "readout below 0": (call(readout_noise=-1.0, loss="gaussian"), "readout_noise: -1 is not allowed; allowed: .* not below 0"),
    "readout nan": (call(readout_noise=np.nan, loss="gaussian"), "readout_noise: nan"),
    "readouts": (call(readout_noise=[1.0, 2.0], loss="gaussian"), "readout_noise: 2 of them for 1"),
    "sigma 0": (call(sigma=0.0, loss="gaussian"), "sigma.*positive"),
    "sigma nan": (call(sigma=np.nan, loss="gaussian"), "sigma.*positive"),
    "sigma below 0": (call(sigma=-1.0, loss="gaussian"), "sigma.*positive"),
    "sigma tiny": (call(sigma=1e-150, loss="gaussian"), "sigma: 1e-150 is not allowed"),
    "data huge": (call(measured=np.full(SHAPE, 1e150)), "measured: 1e\\+150 is not allowed; allowed: .* 1e\\+100"),
    "restraint huge": (call(restraints={"image.scale": (1e150, 1)}), "restraints: image.scale 1e\\+150"),
    "sigma infinite": (call(sigma=np.inf, loss="gaussian"), "no pixel counts"),
    "sigma shape": (call(sigma=np.ones(5), loss="gaussian"), "sigma of shape"),
    "sigma word": (call(sigma="1", loss="gaussian"), "sigma"),
    "sigmas": (call(experiment=TWO, measured=[DATA] * 2, parameters=NAMES, loss="gaussian", sigma=[1.0]), "sigma: 1 .* 2"),
    "masks": (call(experiment=TWO, measured=[DATA] * 2, parameters=NAMES, mask=[None] * 3), "mask: 3 .* 2"),
    "bounds reversed": (call(bounds={"image.scale": (2, 1)}), r"bounds: image.scale from 2 to 1.*below the largest"),
    "bounds equal": (call(bounds={"image.scale": (1, 1)}), "bounds: image.scale"),
    "bounds unknown": (call(bounds={"image.gain": (1, 2)}), "bounds: 'image.gain' is not refined.*image.scale"),
    "bounds one": (call(bounds={"image.scale": 3}), "bounds: image.scale 3.*least and a largest"),
    "bounds three": (call(bounds={"image.scale": (1, 2, 3)}), "bounds: image.scale"),
    "bounds words": (call(bounds={"image.scale": ("a", "b")}), "bounds: image.scale"),
    "bounds nan": (call(bounds={"image.scale": (np.nan, 2)}), "bounds: image.scale"),
    "bounds no dict": (call(bounds=[(0, 1)]), "bounds"),
    "bounds outside": (call(bounds={"image.scale": (2, 3)}), "bounds: image.scale starts at 1; allowed: from 2 to 3"),
    "bounds of three": (call(bounds={MISSET: ([0, 1], [3, 4])}), f"bounds: {MISSET}"),
    "mask nan": (call(mask=np.full((72, 72), np.nan)), "mask: 5184 of its numbers are NaN"),
    "restraint sigma": (call(restraints={"image.scale": (1, 0)}), "restraints: image.scale with sigma 0.*above 0"),
    "restraint sigma below 0": (call(restraints={"image.scale": (1, -1)}), "restraints: image.scale.*above 0"),
    "restraint sigma infinite": (call(restraints={"image.scale": (1, np.inf)}), "restraints: image.scale"),
    "restraint sigma nan": (call(restraints={"image.scale": (1, np.nan)}), "restraints: image.scale"),
    "restraint one": (call(restraints={"image.scale": 1}), "restraints: image.scale 1.*value and its sigma"),
    "restraint unknown": (call(restraints={"image.gain": (1, 1)}), "restraints: 'image.gain' is not refined"),
    "restraint nan": (call(restraints={"image.scale": (np.nan, 1)}), "restraints: image.scale.*finite"),
    "restraint word": (call(restraints={"image.scale": ("a", 1)}), "restraints: image.scale"),
    "restraint no dict": (call(restraints="image.scale"), "restraints"),
    "phases": (call(phases="fast"), "phases: 'fast'.*auto, exact"),
    "phases none": (call(phases=[]), "phases"),
    "phases nothing": (call(phases=None), "phases"),
    "phases word": (call(phases=["exact"]), "phases.*adjoint.Phase"),
    "phases one": (call(phases=adjoint.Phase("a", exact=True)), "phases"),
    "phases not exact": (call(phases=[adjoint.Phase("a", broader=2.0)]), "phases.*last is exact"),
    "phases narrow": (call(phases=[adjoint.Phase("a", broader=0.5), adjoint.Phase("b", exact=True)]), "phases.*broader"),
    "phases level": (call(phases=[adjoint.Phase("a", level=0.0), adjoint.Phase("b", exact=True)]), "phases.*level"),
    "phases evaluations": (call(phases=[adjoint.Phase("b", exact=True, evaluations=0)]), "phases.*evaluations"),
    "method": (call(method="simplex"), "method: 'simplex'.*least_squares, L-BFGS-B"),
    "method nothing": (call(method=None), "method: None"),
    "method list": (call(method=["L-BFGS-B"]), "method"),
    "per_image": (call(per_image=["image.gain"]), "per_image: 'image.gain' is not refined.*image.scale"),
    "per_image number": (call(per_image=3), "per_image"),
    "shared": (
        call(experiment=TWO, measured=[DATA] * 2, parameters=["detector.distance_mm"]),
        "detector.distance_mm of image 2 is not that of the first.*per_image",
    ),
    "not there": (
        call(experiment=TWO, measured=[DATA] * 2, parameters=["beam.dispersion_percent"]),
        "cannot be differentiated by beam.dispersion_percent: there is none",
    ),
    "keyword": (call(threads=2), "threads"),
    "roi": (call(roi=(5, 3, 0, 71)), "roi"),
    "c_parity": (call(c_parity=("nothing",)), "c_parity"),
    "progress": (call(progress=3), "progress"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(case):
    """InputError has one sentence that names the field and what is allowed, and nothing else is raised."""
    refine, named = BAD[case]
    with pytest.raises(InputError, match=named) as raised:
        refine()
    message = str(raised.value)
    assert "\n" not in message and len(message) < 2000
    if case not in ("roi", "c_parity", "no derivative", "not there"):
        assert "allowed" in message


def test_what_fits():
    """The same call without a mistake succeeds."""
    assert call()().success
    assert call(experiment=listed(START), parameters=["image.background"], image={"background": 1.0})().nfev > 0
