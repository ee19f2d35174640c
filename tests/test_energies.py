"""Amplitudes that depend on the photon energy (F9f): images, derivatives, predictions and flags."""

import dataclasses

import atoms
import numpy as np
import pytest

import adjoint
from adjoint import not_differentiable
from nbnumba import Beam, Experiment, InputError, StructureFactors, hkl_map, predict, simulate
from nbnumba.constants import HC_EV_A
from nbnumba.cost import cost
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.setup.structure import box, energy_weights
from nbnumba.trace import trace

BASE = "-cell 40 50 60 80 85 95 -default_F 3 -N 3 -lambda 1 -distance 60 -detpixels 24 -pixel 3 -oversample 1 -nointerpolate "
HKL = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

pytestmark = pytest.mark.filterwarnings("ignore:.*sampling.oversample:UserWarning", "ignore:.*reach from:UserWarning")


def factors(energies, seed=1, **more):
    F = np.random.default_rng(seed).uniform(10.0, 100.0, (len(energies), len(HKL)))
    return {f"structure_factors.{name}": value for name, value in {"hkl": HKL, "F": F, "energies_eV": energies, **more}.items()}


def sources(energies, weights):
    return {"beam.sources": [(-1.0, 0.0, 0.0, weight, HC_EV_A / energy) for energy, weight in zip(energies, weights)]}


def made(energies, of_sources, more="", **fields):
    weights = np.random.default_rng(3).uniform(0.5, 2.0, len(of_sources))
    return Experiment.from_args(BASE + more).replace(factors(energies, **fields) | sources(of_sources, weights)), weights


@pytest.mark.parametrize(
    "count, more", [(50, ""), (5, "-gauss_xtal -N 6"), (5, "-interpolate -cell 9 10 11 80 85 95")]
)
def test_fifty_energies_are_fifty_images(count, more):
    """Each source has the amplitudes of its own energy, whatever the order of the sources."""
    energies = np.linspace(11000.0, 13500.0, count)
    order = np.random.default_rng(5).permutation(count)
    experiment, weights = made(energies, energies[order], more)
    image, total = simulate(experiment), 0.0
    for number, weight in zip(order, weights):
        one = {"structure_factors.energies_eV": None, "structure_factors.F": experiment.structure_factors.F[number]}
        total += weight / weights.sum() * simulate(experiment.replace(one | sources([energies[number]], [1.0])))
    np.testing.assert_allclose(image, total, rtol=1e-12, atol=1e-12 * total.max())
    of_first = {"structure_factors.energies_eV": None, "structure_factors.F": experiment.structure_factors.F[0]}
    assert np.abs(image - simulate(experiment.replace(of_first))).max() > 0.01 * image.max()


def test_between_two_energies_and_beyond():
    of_sources = HC_EV_A / np.array([12500.0, 9000.0, 12000.0, 12500.0, 14000.0])
    weights, of_source = energy_weights((10000.0, 12000.0, 13000.0), of_sources)
    rows = weights[of_source].tolist()
    assert rows == [pytest.approx(row) for row in ([0, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1])]
    assert len(weights) == 4
    experiment, _ = made([10000.0, 12000.0], [9000.0])
    with pytest.warns(UserWarning, match="reach from 10000 to 12000, the sources from 9000 to 9000 eV"):
        below = simulate(experiment)
    one = {"structure_factors.energies_eV": None, "structure_factors.F": experiment.structure_factors.F[0]}
    np.testing.assert_array_equal(below, simulate(experiment.replace(one)))


def test_one_energy_is_as_none():
    experiment, _ = made([10000.0], [9000.0, 11000.0])
    none = experiment.replace({"structure_factors.energies_eV": None, "structure_factors.F": experiment.structure_factors.F[0]})
    np.testing.assert_array_equal(simulate(experiment), simulate(none))


def test_a_trace_a_map_and_predictions_have_the_amplitudes_of_their_source():
    experiment, _ = made([11000.0, 12000.0], [11000.0, 12000.0], "-oversample 2")
    image = simulate(experiment)
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    pixel = trace(experiment, int(slow), int(fast))
    assert pixel["I_pixel_final"] == pytest.approx(image[slow, fast], rel=1e-12)
    mapped = hkl_map(experiment)
    np.testing.assert_array_equal(mapped.photons, image)
    table = predict(experiment, HKL)
    rows = {tuple(hkl): row for hkl, row in zip(HKL.tolist(), experiment.structure_factors.F.T)}
    for hkl, wavelength, F in zip(table.hkl.tolist(), table.wavelength_A, table.F):
        nearest = np.argmin(np.abs(HC_EV_A / wavelength - np.array([11000.0, 12000.0])))
        assert F in rows[tuple(hkl)] and (abs(HC_EV_A / wavelength - 11500.0) < 50.0 or F == rows[tuple(hkl)][nearest])
    assert len(set(table.F) & set(experiment.structure_factors.F[1])) > 3


@pytest.mark.parametrize("more", ["", "-gauss_xtal", "-interpolate -cell 9 10 11 80 85 95"])
def test_derivatives_by_every_amplitude(more):
    """In a random direction, by both energies at once; jacobian, normal equations and gradient agree."""
    experiment, _ = made([11000.0, 12000.0, 13000.0], [11200.0, 12000.0, 12700.0, 13500.0, 11200.0], more)
    third = {"structure_factors.hkl": HKL[::3], "structure_factors.F": experiment.structure_factors.F[:, ::3]}
    experiment = experiment.replace(third)
    random = np.random.default_rng(7)
    names = ["crystal.a_A", "structure_factors.F", "beam.fluence"]
    image, pullback = adjoint.vjp(experiment, names)
    cotangent, F = random.normal(size=image.shape), experiment.structure_factors.F
    gradient = pullback(cotangent)
    direction = random.normal(size=F.shape)
    assert gradient["structure_factors.F"].shape == F.shape
    assert (np.abs(gradient["structure_factors.F"]).max(axis=1) > 0.0).all()

    def along(step):
        return float((simulate(experiment.replace({"structure_factors.F": F + step * direction})) * cotangent).sum())

    slope = float((gradient["structure_factors.F"] * direction).sum())
    assert (along(0.5) - along(-0.5)) == pytest.approx(slope, rel=1e-9)  # the image is quadratic in F
    jacobian = adjoint.jacobian(experiment, names)[1]
    of_jacobian = np.einsum("sf,sfn->n", cotangent, jacobian)
    flat = np.concatenate([np.ravel(part) for part in gradient.values()])
    np.testing.assert_allclose(of_jacobian, flat, rtol=1e-10, atol=1e-10 * np.abs(flat).max())
    loss = adjoint.losses.Gaussian(image * 1.1, sigma=2.0)
    _, of_normal, normal = adjoint.normal_equations(loss, experiment, names)
    _, plain = adjoint.value_and_grad(loss, experiment, names)
    for name in names:
        np.testing.assert_allclose(of_normal[name], plain[name], rtol=1e-9, atol=1e-9 * np.abs(plain[name]).max())
    by_hand = np.einsum("sfn,sfm->nm", jacobian, jacobian) / 4.0
    np.testing.assert_allclose(normal, by_hand, rtol=1e-9, atol=1e-9 * np.abs(by_hand).max())


def test_what_moves_wavelengths_is_refused_where_only_another_crystal_has_energies():
    experiment, _ = made([11000.0, 12000.0], [11000.0, 12000.0])
    by_energy = experiment.structure_factors
    plain = StructureFactors(hkl=by_energy.hkl, F=by_energy.F[0])
    other = dataclasses.replace(experiment.crystal, structure_factors=by_energy)
    beam = Beam(wavelength_A=1.1, dispersion_percent=2.0, dispsteps=2)
    moving = Experiment([experiment.crystal, other], plain, beam=beam, detector=experiment.detector)
    for name in ("wavelength_A", "wavelength_scale", "wavelength_offset_A", "dispersion_percent"):
        with pytest.raises(InputError, match=f"beam.{name}: amplitudes depend on the photon energy"):
            adjoint.vjp(moving, [f"beam.{name}"])
    assert "structure_factors.F" not in not_differentiable.reasons(moving)


def test_what_is_refused():
    experiment, _ = made([11000.0, 12000.0], [11000.0, 12000.0])
    beam = Experiment.from_args(BASE).beam
    moving = Experiment(experiment.crystal, experiment.structure_factors, beam=beam, detector=experiment.detector)
    with pytest.raises(InputError, match="beam.wavelength_A: amplitudes depend on the photon energy"):
        adjoint.vjp(moving, ["beam.wavelength_A"])
    for wrong in ({"energies_eV": [2.0, 1.0]}, {"energies_eV": [1.0]}, {"energies_eV": None}, {"energies_eV": [0.0, 1.0]}):
        with pytest.raises(InputError, match="structure_factors"):
            experiment.replace({f"structure_factors.{name}": value for name, value in wrong.items()})
    with pytest.raises(InputError, match="no list of reflections"):
        StructureFactors(default_F=1.0, energies_eV=[1.0])
    with pytest.raises(InputError, match="several energies"):
        experiment.structure_factors.to_mtz("x.mtz", (40, 50, 60, 80, 85, 95))
    two = {"structure_factors.hkl": [[0, 0, 0], [1200, 1200, 1200]], "structure_factors.F": np.ones((2, 2))}
    large = experiment.replace(two)
    with pytest.raises(InputError, match="in each of 2 boxes"):
        box(large.structure_factors, 3.0, np.array([1.0, 2.0]))


def test_memory_is_that_of_all_boxes():
    one, _ = made([11000.0, 12000.0], [11000.0])
    many, _ = made([11000.0, 12000.0], np.linspace(11000.0, 12000.0, 21))
    assert cost(many).bytes - cost(one).bytes == 20 * (16 * 13**3 + 200)
    assert "2 rows; 21 boxes of" in repr(many)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_atoms_and_a_spectrum_on_the_command_line(tmp_path, monkeypatch):
    """A row of F for each photon energy of the sources, as from_coordinates makes them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdb").write_text(atoms.PDB)
    words = "-pdb a.pdb -lambda 0.98 -dispersion 2 -dispsteps 5 -distance 60 -detpixels 30 -pixel 1 -N 5 "
    made = Experiment.from_args(words)
    energies = HC_EV_A / (0.98 * np.linspace(1.01, 0.99, 5))
    np.testing.assert_allclose(made.structure_factors.energies_eV, energies, rtol=1e-12)
    hkl = made.structure_factors.hkl
    assert made.structure_factors.F.shape == (5, len(hkl))
    finest = 1.0 / np.linalg.norm(hkl / np.array([21.0, 24.0, 28.0]), axis=1).max() * (1.0 - 1e-9)
    several = StructureFactors.from_coordinates("a.pdb", finest, made.structure_factors.energies_eV)
    np.testing.assert_allclose(several.F, made.structure_factors.F, rtol=1e-3, atol=1e-3 * several.F.max())
    one = StructureFactors.from_coordinates("a.pdb", finest, made.structure_factors.energies_eV[3])
    np.testing.assert_array_equal(one.F, several.F[3])
    assert Experiment.from_args(words + "-noanomalous").structure_factors.F.ndim == 1
    with pytest.raises(InputError, match="-dump: structure factors of 5 photon energies"):
        experiment_of(CommandLine([*words.split(), "-dump", "d.bin"]))
