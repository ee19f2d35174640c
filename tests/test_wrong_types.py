"""Every public function refuses what Python passes by mistake with an InputError of one sentence."""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest

import adjoint
import nbnumba
from nbnumba import Experiment, InputError, simulate
from nbnumba.statements import PART_NAMES, Beam, Crystal, Sampling
from nbnumba.trace import trace, traces

WORDS = "-cell 20 -default_F 1 -N 2 -detpixels 4 -oversample 1"
EXPERIMENT = Experiment.from_args(WORDS.split())
ODD = [None, "x", 5, -1, 2.5, [], {}, object(), math.nan, math.inf, b"x", np.array([1.0, 2.0]), np.zeros((4, 4)), "", (1, 2)]
ODD += [[[1]], True, 10**400, 1j, {"x"}, np.complex128(1 + 1j), [np.complex64(1j)], np.eye(3) + 0j, np.ones((4, 4), complex)]
PARTS = {name: part for part, name in PART_NAMES.items()}
FIELDS = [f"{name}.{field.name}" for name, part in PARTS.items() for field in dataclasses.fields(part)]


def door(name):
    """A public function of one odd value, by its name."""
    image, names = np.ones((4, 4)), ["beam.fluence"]
    losses, loss = adjoint.losses, adjoint.losses.Gaussian(image)
    doors = {
        "noise_image seed": lambda odd: nbnumba.noise_image(EXPERIMENT, image, odd),
        "from_args": Experiment.from_args,
        "a word": lambda odd: Experiment.from_args(["-cell", odd, "-default_F", 1]),
        "simulate": simulate,
        "progress": lambda odd: simulate(EXPERIMENT, progress=odd),
        "roi": lambda odd: simulate(EXPERIMENT, roi=odd),
        "mask": lambda odd: simulate(EXPERIMENT, mask=odd),
        "c_parity": lambda odd: simulate(EXPERIMENT, c_parity=odd),
        "c_threads": lambda odd: simulate(EXPERIMENT, c_threads=odd),
        "tolerance": lambda odd: simulate(EXPERIMENT, tolerance=odd),
        "backend": lambda odd: simulate(EXPERIMENT, backend=odd),
        "precision": lambda odd: simulate(EXPERIMENT, precision=odd),
        "pixel_positions": nbnumba.pixel_positions,
        "points": lambda odd: nbnumba.scattering_vectors(EXPERIMENT, odd),
        "frame": lambda odd: nbnumba.pixel_positions(EXPERIMENT, frame=odd),
        "resolution": nbnumba.resolution,
        "two_theta points": lambda odd: nbnumba.two_theta(EXPERIMENT, odd),
        "predict": nbnumba.predict,
        "predict hkl": lambda odd: nbnumba.predict(EXPERIMENT, odd),
        "predict least_excitation": lambda odd: nbnumba.predict(EXPERIMENT, least_excitation=odd),
        "predict d_min_A": lambda odd: nbnumba.predict(EXPERIMENT, d_min_A=odd),
        "hkl_map": nbnumba.hkl_map,
        "least_part": lambda odd: nbnumba.hkl_map(EXPERIMENT, least_part=odd),
        "write_predictions": lambda odd: nbnumba.write_predictions(os.devnull, odd, EXPERIMENT),
        "write_hkl_map": lambda odd: nbnumba.write_hkl_map(os.devnull, odd),
        "predict max_hours": lambda odd: nbnumba.predict(EXPERIMENT, max_hours=odd),
        "rows of predictions": lambda odd: nbnumba.predict(EXPERIMENT)[odd],
        "value": EXPERIMENT.value,
        "replace": EXPERIMENT.replace,
        "a name": lambda odd: EXPERIMENT.replace({odd: 1} if odd.__hash__ else {5: 1}),
        "trace": lambda odd: trace(odd, 1, 1),
        "trace slow": lambda odd: trace(EXPERIMENT, odd, 1),
        "traces": lambda odd: traces(EXPERIMENT, odd),
        "traces pixel": lambda odd: traces(EXPERIMENT, [odd]),
        "from_matrix": lambda odd: Crystal.from_matrix(odd, 1.0),
        "from_matrix wavelength": lambda odd: Crystal.from_matrix(0.02 * np.eye(3), odd),
        "wavelength_from_energy": Beam.wavelength_from_energy,
        "fluence_from_flux": lambda odd: Beam.fluence_from_flux(odd, 1.0, 1.0),
        "noise_image": lambda odd: nbnumba.noise_image(EXPERIMENT, odd, 1),
        "noise_image adc": lambda odd: nbnumba.noise_image(EXPERIMENT, image, 1, adc=odd),
        "scaled_image": lambda odd: nbnumba.scaled_image(EXPERIMENT, odd),
        "Response": lambda odd: nbnumba.Response(psf_mm=odd),
        "Gaussian": losses.Gaussian,
        "Gaussian of an image": loss.value,
        "Gaussian's derivative": loss.derivative,
        "Gaussian saturation": lambda odd: losses.Gaussian(image, saturation=odd),
        "Poisson": losses.Poisson,
        "Poisson background": lambda odd: losses.Poisson(image, background=odd),
        "vjp": lambda odd: adjoint.vjp(odd, names),
        "vjp names": lambda odd: adjoint.vjp(EXPERIMENT, odd),
        "value_and_grad": lambda odd: adjoint.value_and_grad(odd, EXPERIMENT, names),
        "jacobian": lambda odd: adjoint.jacobian(odd, names),
        "normal_equations": lambda odd: adjoint.normal_equations(loss, odd, names),
        "pack": lambda odd: adjoint.pack(EXPERIMENT, odd),
        "unpack": lambda odd: adjoint.unpack(EXPERIMENT, names, odd),
        "refine": lambda odd: adjoint.refine(odd, image, names),
        "refine offset": lambda odd: adjoint.refine(EXPERIMENT, image, names, offset=odd, method="nothing"),
        "refine saturation": lambda odd: adjoint.refine(EXPERIMENT, image, names, saturation=odd, method="nothing"),
        "refine method": lambda odd: adjoint.refine(EXPERIMENT, image, names, method=odd),
    }
    return doors if name is None else doors[name]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", list(door(None)))
def test_doors(name):
    for odd in ODD:
        try:
            door(name)(odd)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1500, error


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FIELDS)
def test_fields(name):
    for odd in ODD:
        try:
            EXPERIMENT.replace({name: odd})
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1500, error


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_parts(part):
    with pytest.raises(InputError, match=f"{part}: 'x' is no {PARTS[part].__name__}; allowed"):
        dataclasses.replace(EXPERIMENT, **{part: "x"})


def test_numbers_and_paths_are_words_and_a_line_is_cut_as_a_shell_does(tmp_path):
    reflections = tmp_path / "two words.hkl"
    reflections.write_text("0 0 1 10\n")
    words = ["-cell", 50, 60.5, np.float64(70), "-N", np.int64(3), "-hkl", Path(reflections), "-misset", -1.5, 0, 1e-300]
    of_words = Experiment.from_args(words)
    assert of_words == Experiment.from_args(f"-cell 50 60.5 70.0 -N 3 -hkl '{reflections}' -misset -1.5 0 1e-300")
    assert of_words.crystal.misset_deg == (-1.5, 0.0, 1e-300) and of_words.crystal.n_a == 3
    with pytest.raises(InputError, match="cannot be cut into words"):
        Experiment.from_args("-cell 50 '")
    with pytest.raises(InputError, match=r"True.*bool.*is not allowed"):
        Experiment.from_args(["-N", True])


def test_a_region_that_is_cut_is_warned_of():
    for roi, kept in (((0, 99, 0, 99), "0 3 0 3"), ((1, 4, 2, 2), "1 3 2 2"), ((1, 2, 2, 9), "1 2 2 3")):
        shown = " ".join(map(str, roi))
        with pytest.warns(UserWarning, match=f"roi {shown} is cut to {kept}: the detector has 4 x 4 pixels"):
            simulate(EXPERIMENT, roi=roi)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("roi", [(0, 3, 0, 3), (-1, -1, -1, -1), (2, 3, 0, 0)])
def test_a_region_that_is_not_cut_is_not(roi):
    simulate(EXPERIMENT, roi=roi)


def test_a_switch_that_is_none_is_named_in_the_words_of_its_door():
    """By its flag in a line of flags, by its field elsewhere."""
    with pytest.raises(InputError, match="^-c_parity: 'x' is no switch"):
        Experiment.from_args("-cell 50 -default_F 1 -c_parity x")
    with pytest.raises(InputError, match=r"^sampling\.c_parity: 'x' is no switch"):
        Sampling(c_parity="x")
