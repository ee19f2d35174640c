"""What each precision means (G1): the types that kernels compute in, and the numbers of a scene in them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.stages.elementary import SIN_PI
from nbnumba.stages.records import Scene


class Precision(NamedTuple):
    """real: what interference is computed in. wide: all else. pairs: Miller indices are made in pairs of `real`."""

    real: type
    wide: type
    pairs: bool


PRECISIONS = {
    "double": Precision(np.float64, np.float64, False),
    "mixed": Precision(np.float32, np.float64, False),
    "paired": Precision(np.float32, np.float64, True),
    "single": Precision(np.float32, np.float32, False),
}
MOST_CELLS_IN_PAIRS = 2**20
"""With more cells than this, the first part of a pair has no binary digit of N d behind the point."""
MOST_INDEX_IN_PAIRS = 2**22
"""The first part of a pair has no binary digit behind the point of a Miller index that is larger than this."""
WHOLE_FLOAT32 = 2**24
"""float32 holds every whole number up to this one."""


def words(precision: str) -> dict:
    """Those words of the stages that depend on the precision."""
    real, wide, _ = PRECISIONS[precision]
    tiny = real(1e-60) if real is np.float64 else real(1e-10)
    far = wide(708.0) if wide is np.float64 else wide(87.0)
    slack = wide(1e-12) if real is np.float64 else wide(2e-6)
    coefficients = tuple(real(c) for c in SIN_PI)
    return {
        "real": real, "wide": wide, "index_type": wide, "tiny": tiny, "far": far, "slack": slack, "SIN_PI": coefficients,
    }  # fmt: skip


def cast(scene: Scene, precision: str) -> Scene:
    """The same scene in the types that kernels of a precision read. Raises InputError for what float32 cannot hold."""
    if precision == "double":
        return scene
    real, wide, pairs = PRECISIONS[precision]
    if wide is np.float32 and scene.structure.amplitude.size > WHOLE_FLOAT32:
        size, allowed = scene.structure.amplitude.size - 1, f"at most {WHOLE_FLOAT32 - 1}, or precision mixed"
        raise InputError(f"structure_factors.hkl: in single precision {size} reflections are too many; allowed: {allowed}")
    largest = abs(scene.structure.l_min) + scene.structure.outside  # where l_min is counted from the last box (slot)
    if wide is np.float32 and scene.structure.first.size > 1 and largest > WHOLE_FLOAT32:
        what = f"in single precision {scene.structure.amplitude.size - 1} amplitudes are too many"
        raise InputError(f"structure_factors.energies_eV: {what}; allowed: fewer energies, or precision mixed")
    if pairs:
        _check_pairs(scene)
    table = scene.orientations
    lattices = [in_pairs(cells) if pairs else cells.astype(wide) for cells in (table.lattice, table.fresh_lattice)]
    parts = {name: in_type(part, wide) for name, part in scene._asdict().items()}
    parts["structure"] = parts["structure"]._replace(amplitude=scene.structure.amplitude.astype(real))
    parts["orientations"] = parts["orientations"]._replace(lattice=lattices[0], fresh_lattice=lattices[1])
    return Scene(**parts)


def cast_all(scenes: Sequence[Scene], precision: str) -> list[Scene]:
    """The same scenes of panels in those types. Records that scenes share are cast once, and shared again."""
    if precision == "double":
        return list(scenes)
    first = cast(scenes[0], precision)
    own_kind = PRECISIONS[precision].wide
    return [first, *(_cast_like(scenes[0], first, scene, own_kind) for scene in scenes[1:])]


def _cast_like(first: Scene, cast_first: Scene, scene: Scene, kind: type) -> Scene:
    """A scene like `first` in the types of cast_first; its structure and its lattices are those of `first`."""
    assert scene.structure is first.structure and scene.orientations is first.orientations
    pairs = zip(scene, first, cast_first)
    return Scene(*(known if record is same else in_type(record, kind) for record, same, known in pairs))


def _check_pairs(scene: Scene) -> None:
    """Raise InputError for more cells, or larger Miller indices, than float pairs have digits for."""
    cells = max(scene.crystal[:3])
    if cells > MOST_CELLS_IN_PAIRS:
        allowed = f"at most {MOST_CELLS_IN_PAIRS}, or precision mixed"
        raise InputError(f"crystal: {cells:g} cells along an edge are too many for float pairs; allowed: {allowed}")
    largest = np.linalg.norm(scene.orientations.lattice.reshape(-1, 3), axis=1).max()
    reach = 2.0 * largest / scene.sources.wavelength.min()
    if reach > MOST_INDEX_IN_PAIRS:
        allowed = f"at most {MOST_INDEX_IN_PAIRS}, or precision mixed"
        raise InputError(f"crystal: Miller indices of up to {reach:.3g} are too large for float pairs; allowed: {allowed}")


def in_type(record: tuple, kind: type) -> tuple:
    """The record with its real numbers, and tables of them, in a floating-point type. Raises InputError for overflow."""
    with np.errstate(over="ignore"):
        converted = {name: _converted(value, kind) for name, value in record._asdict().items()}
    for name, value in converted.items() if kind is np.float32 else ():
        if np.isinf(value).any() and not np.isinf(getattr(record, name)).any():
            why = f"a number of the experiment ({name}) is too large for float32"
            raise InputError(f"precision: {why}; allowed: precision double")
    return record._replace(**converted)


def in_pairs(lattices: np.ndarray) -> np.ndarray:
    """A table of lattices (n, 9) in float pairs (n, 18), the larger parts first: stages/pairs.py:entry."""
    above = lattices.astype(np.float32)
    return np.concatenate([above, (lattices - above).astype(np.float32)], axis=1)


def _converted(value, kind):
    if isinstance(value, np.ndarray):
        return value.astype(kind, copy=False) if value.dtype == np.float64 else value
    return kind(value) if isinstance(value, (float, np.floating)) else value
