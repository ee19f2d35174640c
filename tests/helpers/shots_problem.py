"""Simulated stills of a crystal whose coordinates are known, with what was true of each shot, small enough for a test."""

import dataclasses
from pathlib import Path

import gemmi
import numpy as np

from adjoint.series.images import SeriesImage
from nbnumba import Experiment, StructureFactors, simulate

CELL = (30.0, 36.0, 44.0, 90.0, 90.0, 90.0)
GROUP = "P 21 21 21"
WAVELENGTH_A = 1.38
"""Just above the L3 edge of ytterbium, whose f'' is large there."""


def write_coordinates(path: Path, seed: int, atoms: int = 160) -> Path:
    """A model of random atoms, of which two are of ytterbium, as PDB."""
    random = np.random.default_rng(seed)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*CELL), GROUP
    model, chain = gemmi.Model(1) if gemmi.__version__ >= "0.7" else gemmi.Model("1"), gemmi.Chain("A")
    for number in range(atoms):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "GLY", gemmi.SeqId(number + 1, " ")
        atom.name = atom_name = "YB" if number < 2 else str(random.choice(["C", "C", "C", "N", "O"]))
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


def stills(folder, seed, count, resolution_A=2.2, bandwidth=0.002, photons=3000.0, background=1.0, pixels=480, pixel_mm=0.2, **changed):
    """The true experiments of random stills, the images that were measured, and the random generator.

    Scales differ by up to a factor of 10, cells by 0.1 %.
    """
    random = np.random.default_rng(seed)
    amplitudes = StructureFactors.from_coordinates(
        write_coordinates(Path(folder) / "model.pdb", seed), resolution_A * 0.97, energy_eV=12398.42 / WAVELENGTH_A, solvent=False
    )
    flags = f"-cell {' '.join(map(str, CELL))} -default_F 1 -lambda {WAVELENGTH_A} -distance 60 -detpixels {pixels} -pixel {pixel_mm}"
    flags += f" -N 12 -gauss_xtal -oversample 1 -dispersion {100 * bandwidth} -dispsteps 8 -mosaic 0.1 -mosaic_domains 20"
    flags += " -mosaic_sampling sobol -nointerpolate"
    base = dataclasses.replace(Experiment.from_args(flags.split()), structure_factors=amplitudes).replace(changed)
    made = []
    for _ in range(count):
        quaternion = random.normal(size=4)
        turn = _angles(quaternion / np.linalg.norm(quaternion))
        cell = {f"crystal.{axis}_A": edge * random.normal(1.0, 0.001) for axis, edge in zip("abc", CELL)}
        scale = 10.0 ** random.uniform(-0.5, 0.5)
        made.append(base.replace({"crystal.misset_deg": turn, "crystal.scale": scale, **cell}))
    bright = simulate(made[0].replace({"crystal.scale": 1.0}))
    factor = photons / np.sort(np.ravel(bright))[-20]
    made = [experiment.replace({"beam.fluence": experiment.beam.fluence * factor}) for experiment in made]
    data = [random.poisson(simulate(experiment) + background).astype(np.float64) for experiment in made]
    return made, data, random


def _angles(quaternion):
    """The angles about x, y and z of a rotation, in degrees, such as -misset takes."""
    from scipy.spatial.transform import Rotation

    return tuple(Rotation.from_quat(quaternion).as_euler("xyz", degrees=True).tolist())


def shots_of(made, data):
    """The shots as they are given to a refinement, named by their numbers."""
    return [
        SeriesImage(str(number), experiment, lambda image=image: image)
        for number, (experiment, image) in enumerate(zip(made, data))
    ]


def spoiled(made, random, turn_deg=0.1, cell=0.003):
    """The experiments off in orientation and cell, with one scale for all."""
    found = []
    for experiment in made:
        by = random.normal(size=3)
        by *= turn_deg / np.linalg.norm(by)
        changed = {
            f"crystal.misset_{axis}_deg": experiment.value(f"crystal.misset_{axis}_deg") + angle for axis, angle in zip("xyz", by)
        }
        changed |= {f"crystal.{axis}_A": edge * (1.0 + cell * random.choice([-1.0, 1.0])) for axis, edge in zip("abc", CELL)}
        found.append(experiment.replace(changed | {"crystal.scale": 1.0}))
    return found
