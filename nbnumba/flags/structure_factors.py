"""Structure factors of a command line: from -hkl, -pdb, -mtz, -cif, -refl or -dump, and the unit cell that such a file has."""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from nbnumba import resolved
from nbnumba.amplitudes import atoms, listed
from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.experiment import Experiment
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.geometry_files import STATED
from nbnumba.flags.run import FACTORS
from nbnumba.formats import anomalous, dxtbx, fdump
from nbnumba.geometry.cell import SAME_CELL, cell_of, standard_setting
from nbnumba.geometry.indices import change_of_basis, reindexed
from nbnumba.setup import sources
from nbnumba.statements import Beam, Crystal, Detector, Sampling, StructureFactors

OF_ATOMS = ("-k_sol", "-b_sol", "-nosolvent", "-add_b", "-anomalous", "-noanomalous")
"""The flags that count only with -pdb."""

SURROUNDINGS = 2.5
"""How far beyond the corner of the detector reflections are calculated, in cells of the reciprocal lattice: half a one to the
nearest, and two more around a point that is interpolated (F9b)."""


MOST_ENERGIES = 1000
"""The largest number of photon energies at which structure factors are calculated; between these they are interpolated."""


class FromFile(NamedTuple):
    """Reflections of a file, the cell that it states, or None, and the photon energies of the rows of F, or None (F9f)."""

    hkl: np.ndarray
    F: np.ndarray
    cell: tuple[float, ...] | None
    energies_eV: tuple[float, ...] | None = None


def flag_of(command_line: CommandLine) -> str | None:
    """The flag that names the file of structure factors; None without one. Raises InputError for more than one."""
    named = [flag for flag in FACTORS if flag in command_line.last]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} all state structure factors; allowed: one of them")
    return named[0] if named else None


def structure_factors(
    command_line: CommandLine, beam: Beam, detector: Detector, crystal: Crystal | None, cells: dict[str, float]
) -> StructureFactors:
    """Reflections from a file or a dump, what the others have, and whether to interpolate.

    crystal: None where no flag and no file of geometry states the cell, so that the file has to.
    cells: the numbers of unit cells.
    """
    fields = command_line.fields("structure_factors")
    flag = flag_of(command_line)
    chosen = command_line.choice(("-interpolate", "-nointerpolate"))
    if chosen is not None:
        fields["interpolate"] = chosen == "-interpolate"
    elif command_line.defects.interpolation_by_flag and (flag is not None or "-dump" in command_line.last):
        fields["interpolate"] = min(cells.get(f"n_{axis}", 1) for axis in "abc") <= 2
    if flag is None and "-dump" in command_line.last:
        warnings.warn(f"structure factors are read from -dump {command_line.last['-dump']!r}", stacklevel=2)
        dump = fdump.read(command_line.last["-dump"], "-dump")
        return StructureFactors(hkl=_reindexed(command_line, dump.hkl), F=dump.amplitudes, **fields)
    if flag is None:
        if not fields.get("default_F"):
            others = "".join(f"{name} FILE, " for name in (*FACTORS, "-dump"))
            raise InputError(f"nothing scatters; allowed: {others}or -default_F other than 0")
        return StructureFactors(**fields)
    if flag == "-pdb":
        found = _of_atoms(command_line, beam, detector, crystal)
    else:
        found = _of_list(command_line, flag, crystal)
    cell = _rebased_cell(command_line, found.cell)
    if crystal is not None and cell is not None:
        _compare(f"{flag} {command_line.last[flag]!r}", cell, crystal)
    fields |= {"cell": cell, "energies_eV": found.energies_eV}
    return StructureFactors(hkl=_reindexed(command_line, found.hkl), F=found.F, **fields)


def unused(command_line: CommandLine) -> list[tuple[bool, str, str]]:
    """Whether each flag that counts only beside others has no effect, and why."""
    has = command_line.last.__contains__
    rows = [(has(flag) and not has("-pdb"), flag, "no -pdb is given") for flag in OF_ATOMS]
    rows.append((has("-column") and not (has("-mtz") or has("-cif")), "-column", "no -mtz and no -cif is given"))
    rows += [(has(flag) and has("-nosolvent"), flag, "-nosolvent is given") for flag in ("-k_sol", "-b_sol")]
    rows.append((has("-anomalous") and has("-noanomalous"), "-anomalous", "-noanomalous is given"))
    none = flag_of(command_line) is None and not has("-dump")
    rows.append((has("-reindex") and none, "-reindex", f"no {', '.join(FACTORS)} or -dump is given"))
    return rows


def _of_list(command_line: CommandLine, flag: str, crystal: Crystal | None) -> FromFile:
    """The reflections of a list, with a warning of each remark."""
    path = command_line.last[flag]
    if flag == "-hkl":
        found = listed.from_hkl(path, flag, None if crystal is None else _cell(crystal))
    elif flag == "-refl":
        found = _of_dials(command_line, crystal)
    else:
        read = listed.from_mtz if flag == "-mtz" else listed.from_cif
        found = read(path, flag, command_line.last.get("-column"))
    for note in found.notes:
        warnings.warn(f"{flag} {path!r}: {note}", stacklevel=2)
    return FromFile(found.hkl, found.F, found.cell)


def _of_dials(command_line: CommandLine, crystal: Crystal | None) -> listed.Amplitudes:
    """The reflections of -refl, with the space group and the cell of the crystal of -expt, where there is one."""
    last, cell = command_line.last, None if crystal is None else _cell(crystal)
    if "-expt" not in last:
        return listed.from_refl(last["-refl"], "-refl", None, cell)
    experiment = last.get("-experiment")
    geometry = dxtbx.read(last["-expt"], "-expt", experiment, frozenset(STATED))
    return listed.from_refl(last["-refl"], "-refl", geometry, cell, experiment)


def _of_atoms(command_line: CommandLine, beam: Beam, detector: Detector, crystal: Crystal | None) -> FromFile:
    """The reflections of atoms, as far as the corners of the detector, with a warning that says how they were made."""
    path = command_line.last["-pdb"]
    coordinates = atoms.read(path, "-pdb")
    model = _model(command_line, beam)
    resolution_A = _resolution(command_line, beam, detector, crystal, coordinates.cell)
    found = atoms.from_coordinates(coordinates, f"-pdb: {path!r}", resolution_A, model)
    for note in (*found.notes, atoms.described(coordinates, resolution_A, model)):
        warnings.warn(f"-pdb {path!r}: {note}", stacklevel=2)
    energies = model.energies_eV if len(model.energies_eV) > 1 else None
    if energies is not None and "-dump" in command_line.last:
        why = f"-dump: structure factors of {len(energies)} photon energies do not fit into it"
        raise InputError(f"{why}; allowed: one wavelength, or -noanomalous")
    return FromFile(found.hkl, found.F, found.cell, energies)


def _model(command_line: CommandLine, beam: Beam) -> atoms.Model:
    """What flags say of the structure factors of atoms."""
    last = command_line.last
    for flag in ("-k_sol", "-b_sol"):
        if last.get(flag, 0.0) < 0.0:
            raise InputError(f"{flag}: {last[flag]:g} is not allowed; allowed: a number not below 0")
    solvent = atoms.Solvent(last.get("-k_sol", atoms.K_SOL), last.get("-b_sol", atoms.B_SOL_A2))
    table = anomalous.read(last["-anomalous"], "-anomalous") if "-anomalous" in last and "-noanomalous" not in last else {}
    return atoms.Model(
        () if "-noanomalous" in last else _energies(command_line, beam),
        None if "-nosolvent" in last else solvent,
        last.get("-add_b", 0.0),
        table,
    )


def _energies(command_line: CommandLine, beam: Beam) -> tuple[float, ...]:
    """The photon energies of the sources, ascending; MOST_ENERGIES from the lowest to the highest where they are more."""
    defects = command_line.defects
    if sources.number_of_wavelengths(beam, defects) <= MOST_ENERGIES:
        return tuple((HC_EV_A / sources.wavelengths(beam, defects))[::-1].tolist())
    shortest, longest = sources.wavelength_range(beam, defects)
    return tuple(np.linspace(HC_EV_A / longest, HC_EV_A / shortest, MOST_ENERGIES).tolist())


def _resolution(command_line: CommandLine, beam: Beam, detector: Detector, crystal: Crystal | None, cell) -> float:
    """The resolution, in A and of the cell of the atoms, that the corners of the detector need, or -dmin.

    A list must have what lies around the corners, too (SURROUNDINGS). Where the crystal has longer edges than the cell of the
    file, its reflections of the same resolution have larger indices.
    """
    whole = Experiment(
        crystal=Crystal(100.0), structure_factors=StructureFactors(default_F=1.0), beam=beam, detector=detector,
        sampling=Sampling(c_parity=command_line.defects.names),
    )  # fmt: skip
    finest = max(resolved.resolution(whole).finest, beam.dmin_A)
    vectors = standard_setting(*cell)
    stretch = 1.0
    if crystal is not None and "-reindex" not in command_line.last:
        stretch = max(1.0, *(own / edge for own, edge in zip(_cell(crystal)[:3], cell[:3])))
    around = SURROUNDINGS * float(np.linalg.norm(np.linalg.inv(vectors), axis=0).sum())
    if not math.isfinite(finest):
        return 1.0 / around
    return 1.0 / (stretch / finest + around)


def _cell(crystal: Crystal) -> Any:
    """The six numbers of the cell of a crystal."""
    return tuple(getattr(crystal, name) for name in Crystal.CELL)


def _rebased_cell(command_line: CommandLine, cell: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The cell of a file in the basis of -reindex: edges change as Miller indices do (F7c)."""
    words = command_line.last.get("-reindex")
    if cell is None or words is None:
        return cell
    vectors = change_of_basis(words) @ standard_setting(*cell)
    return tuple(float(number) for number in cell_of(vectors))


def _compare(name: str, cell: tuple[float, ...], crystal: Crystal) -> None:
    """Warn where the cell of the crystal is not that of the file of its structure factors."""
    used = _cell(crystal)
    if not np.allclose(cell, used, rtol=SAME_CELL, atol=0.0):
        shown = [" ".join(f"{x:.6g}" for x in numbers) for numbers in (cell, used)]
        warnings.warn(f"{name} is of the cell {shown[0]}, and the crystal has {shown[1]}, which counts", stacklevel=2)


def _reindexed(command_line: CommandLine, indices: np.ndarray) -> np.ndarray:
    """The indices of a list of amplitudes in the basis of the crystal, which -reindex states where it is another one."""
    words = command_line.last.get("-reindex")
    if words is None:
        return indices
    try:
        return reindexed(indices, words)
    except InputError as error:
        raise InputError(str(error).replace("change of basis", "-reindex", 1)) from None
