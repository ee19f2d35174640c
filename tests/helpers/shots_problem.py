"""Simulated stills of a crystal whose coordinates are known, with what was true of each shot, small enough for a test."""

import dataclasses
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from adjoint.series.images import SeriesImage
from nbnumba import Experiment, StructureFactors, simulate

CELL = (16.0, 20.0, 24.0, 90.0, 90.0, 90.0)
GROUP = "P 21 21 21"
WAVELENGTH_A = 1.38
"""Just above the L3 edge of ytterbium, whose f'' is large there."""


def write_coordinates(path: Path, seed: int, cell: tuple[float, ...] = CELL, atoms: int = 40) -> Path:
    """A model of random atoms, of which one is ytterbium, as PDB."""
    random = np.random.default_rng(seed)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*cell), GROUP
    model, chain = gemmi.Model(1) if gemmi.__version__ >= "0.7" else gemmi.Model("1"), gemmi.Chain("A")
    for number in range(atoms):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "GLY", gemmi.SeqId(number + 1, " ")
        atom.name = atom_name = "YB" if number < 1 else str(random.choice(["C", "C", "C", "N", "O"]))
        atom.element, atom.occ = gemmi.Element(atom_name), 1.0
        atom.b_iso = float(random.uniform(12.0, 25.0))
        x, y, z = random.random(3)
        atom.pos = structure.cell.orthogonalize(gemmi.Fractional(x, y, z))
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.write_pdb(str(path))
    return path


def stills(
    folder, seed, count, cell=CELL, atoms=40, resolution_A=2.0, photons=1000.0, background=1.0, pixels=300, pixel_mm=0.25
):
    """The true experiments of random stills, the images that were measured, and the random generator.

    Scales differ by up to a factor of 10, cells by 0.1 %; the beam has a spectrum of 0.2 %, the crystal a mosaic spread.
    """
    random = np.random.default_rng(seed)
    model = write_coordinates(Path(folder) / "model.pdb", seed, cell, atoms)
    energy_eV = 12398.42 / WAVELENGTH_A
    amplitudes = StructureFactors.from_coordinates(model, 0.97 * resolution_A, energy_eV=energy_eV, solvent=False)
    flags = f"-cell {' '.join(map(str, cell))} -default_F 1 -lambda {WAVELENGTH_A} -distance 50 -detpixels {pixels} "
    flags += f"-pixel {pixel_mm} -N_abc {' '.join(str(round(450.0 / edge)) for edge in cell[:3])} -gauss_xtal -oversample 1 "
    flags += "-dispersion 0.2 -dispsteps 8 -mosaic 0.15 -mosaic_domains 20 -mosaic_sampling sobol -nointerpolate"
    base = dataclasses.replace(Experiment.from_args(flags.split()), structure_factors=amplitudes)
    made = []
    for _ in range(count):
        edges = {f"crystal.{axis}_A": edge * random.normal(1.0, 0.001) for axis, edge in zip("abc", cell)}
        turn = {"crystal.misset_deg": _angles(random), "crystal.scale": 10.0 ** random.uniform(-0.5, 0.5)}
        made.append(base.replace(edges | turn))
    bright = simulate(made[0].replace({"crystal.scale": 1.0}))
    factor = photons / np.sort(np.ravel(bright))[-20]
    made = [experiment.replace({"beam.fluence": experiment.beam.fluence * factor}) for experiment in made]
    data = [random.poisson(simulate(experiment) + background).astype(np.float64) for experiment in made]
    return made, data, random


def _angles(random):
    """The angles about x, y and z of a random rotation, in degrees, such as -misset takes."""
    return tuple(Rotation.from_quat(random.normal(size=4)).as_euler("xyz", degrees=True).tolist())


def shots_of(made, data):
    """The shots as they are given to a refinement, named by their numbers."""
    return [
        SeriesImage(str(number), experiment, lambda image=image: image)
        for number, (experiment, image) in enumerate(zip(made, data))
    ]


def spoiled(made, random, turn_deg=0.1, cell=0.003):
    """The experiments off in orientation (in degrees) and cell (a part of each edge), with one scale for all."""
    found = []
    for experiment in made:
        by = random.normal(size=3)
        by *= turn_deg / np.linalg.norm(by)
        changed = {
            name: experiment.value(name) + angle for name, angle in zip((f"crystal.misset_{axis}_deg" for axis in "xyz"), by)
        }
        for axis in "abc":
            changed[f"crystal.{axis}_A"] = experiment.value(f"crystal.{axis}_A") * (1.0 + cell * random.choice([-1.0, 1.0]))
        found.append(experiment.replace(changed | {"crystal.scale": 1.0}))
    return found


def true_amplitudes(made, hkl):
    """The true amplitudes (n,) of reflections hkl (n, 3)."""
    listed = made[0].structure_factors
    known = dict(zip(map(tuple, np.asarray(listed.hkl).tolist()), np.abs(listed.F).tolist()))
    return np.array([known[tuple(one)] for one in np.asarray(hkl).tolist()])


def compared(F, truth):
    """Correlation and R of amplitudes (n,) with the true ones, after the one scale that suits them best; and that scale."""
    scale = float(F @ truth / (F @ F))
    return float(np.corrcoef(F, truth)[0, 1]), float(np.abs(scale * F - truth).sum() / truth.sum()), scale


def spoil(listed, random, turn_deg=0.1, stretch=0.003):
    """Turn the crystals of a list of experiments, stretch their edges, and state the space group, in place."""
    for crystal in listed["crystal"]:
        turn = random.normal(size=3)
        turned = Rotation.from_rotvec(np.radians(turn_deg) * turn / np.linalg.norm(turn))
        for axis in "abc":
            edge = turned.apply(crystal[f"real_space_{axis}"]) * (1.0 + stretch * random.choice([-1.0, 1.0]))
            crystal[f"real_space_{axis}"] = edge.tolist()
        crystal["space_group_hall_symbol"] = gemmi.SpaceGroup(GROUP).hall
