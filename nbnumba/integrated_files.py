"""Intensities of a refinement as files: a table of integrated reflections of DIALS, and merged reflections as MTZ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from nbnumba.amplitudes import expansion, french_wilson
from nbnumba.amplitudes.listed import inverse_squares
from nbnumba.errors import InputError, real, shown
from nbnumba.formats import endings, mtz, refl
from nbnumba.formats.geometry import Geometry, imgcif
from nbnumba.formats.symmetry import Symmetry, group_named, group_of_hall, of_space_group
from nbnumba.geometry.cell import cell_of

PREDICTED, INTEGRATED = 1, 256 | 512
"""The flags by which DIALS knows a predicted reflection, and one that has intensities, by a sum and by a fitted profile."""

SHAPES = {"hkl": (3,), "observed": (3,), "calculated": (3,), "s1": (3,)}
"""The shapes of one row of the columns of Intensities that are no single numbers."""

WHOLE = ("hkl", "panel", "pixels")
"""The columns of Intensities that hold whole numbers."""

NEEDED = ("hkl", "panel", "calculated", "s1", "lp", "qe", "d_A")
"""The columns of Intensities that have a finite number in every row."""

Path = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Intensities:
    """Intensities of reflections of one experiment, a row for each time that one crosses the Ewald sphere.

    hkl (n, 3): Miller indices. intensity, variance (n,): photons of the whole reflection, and their variance; a row whose
    variance is not finite and above 0 has no intensity. d_A (n,): resolution. panel (n,): number of the panel. calculated,
    observed (n, 3): the place along fast and slow, in pixels from the outer edge of the first, and the frame, in images, of
    which image n of a scan has n - 1 to n, and a still 0; where the model puts the spot, and where its photons are, or NaN.
    lp, qe (n,): what corrections() returns. s1 (n, 3): the diffracted ray, of length 1 / wavelength, in 1/A, in the laboratory.
    partiality (n,): the part of the intensity that is in the images. background (n,): photons per pixel and image. pixels (n,):
    how many were used; None where that is not known.

    Raises InputError for columns of other shapes or lengths, and for numbers that are not finite or not whole where they have
    to be.
    """

    hkl: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    d_A: np.ndarray
    panel: np.ndarray
    calculated: np.ndarray
    observed: np.ndarray
    lp: np.ndarray
    qe: np.ndarray
    s1: np.ndarray
    partiality: np.ndarray
    background: np.ndarray
    pixels: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = np.shape(self.hkl)[0] if np.ndim(self.hkl) == 2 else 0
        for field in fields(self):
            if getattr(self, field.name) is not None:
                object.__setattr__(self, field.name, _column(field.name, getattr(self, field.name), rows))

    def __len__(self) -> int:
        return len(self.hkl)

    @property
    def integrated(self) -> np.ndarray:
        """Which rows (n,) have an intensity."""
        return np.isfinite(self.intensity) & np.isfinite(self.variance) & (self.variance > 0.0)


def _column(name: str, values: object, rows: int) -> np.ndarray:
    """A column of so many rows, read-only. Raises InputError for one of another shape, and for numbers that it cannot have."""
    try:
        array = np.array(real(values), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: {shown(values)} is not allowed; allowed: numbers") from None
    shape = (rows, *SHAPES.get(name, ()))
    if array.shape != shape:
        raise InputError(f"{name}: shape {array.shape} is not allowed; allowed: {shape}, as hkl (n, 3) has {rows} rows")
    if name in NEEDED and not np.isfinite(array).all():
        raise InputError(f"{name}: row {_first(~np.isfinite(array))} is not finite; allowed: finite numbers")
    if name in WHOLE:
        odd = (array != np.round(array)) | (np.abs(array) >= 2**31) | ((array < 0) & (name != "hkl"))
        if odd.any():
            raise InputError(f"{name}: row {_first(odd)} is no whole number; allowed: whole numbers below 2^31")
        array = array.astype(np.int64)
    array.setflags(write=False)
    return array


def _first(wrong: np.ndarray) -> int:
    """The number of the first row that has something wrong."""
    return int(np.argwhere(wrong)[0][0])


def corrections(s1: np.ndarray, panel: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """The factors lp and qe (n,) of diffracted rays s1 (n, 3) on panels (n,), for which |F|^2 ~ intensity lp / qe.

        lp = L / P,  L = |u . (m x i)|,  P = (1 - 2 f) (1 - (n . u)^2) + f (1 + (i . u)^2),  qe = 1 - exp(-mu t / |u . o|)

    with the unit vectors u along s1, i along the beam, m along the spindle, n = E x i across the plane of polarization and o
    across the panel; f is the polarized fraction. For a still L is 1, and without a sensor qe is 1: the factors by DIALS'
    definition (specs/formats.md, Intensities). Raises InputError for a geometry without a beam or its polarization.
    """
    beam, spindle = _beam_and_spindle(geometry)
    fraction = geometry.polarization_fraction
    if fraction is None:
        raise InputError(f"{geometry.source!r} states no polarization of a beam; allowed: a geometry of an experiment")
    rays = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    normal = np.zeros(3) if geometry.polarization_axis is None else np.cross(geometry.polarization_axis, beam)
    polarization = (1.0 - 2.0 * fraction) * (1.0 - (rays @ normal) ** 2) + fraction * (1.0 + (rays @ beam) ** 2)
    lorentz = np.abs(rays @ np.cross(spindle, beam)) if spindle.any() else 1.0
    absorbed = np.array([
        of.thickness_um / of.attenuation_um if of.thickness_um and of.attenuation_um else np.inf for of in geometry.panels
    ])  # fmt: skip
    normals = np.array([of.normal for of in geometry.panels])[panel]
    return lorentz / polarization, -np.expm1(-absorbed[panel] / np.abs((rays * normals).sum(axis=1)))


def _beam_and_spindle(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors along the beam and along the spindle, which is 0 for a still. InputError: no beam is stated."""
    if geometry.beam_direction is None:
        raise InputError(f"{geometry.source!r} states no beam; allowed: a geometry of an experiment")
    is_still = geometry.scan is None or geometry.spindle_axis is None
    return geometry.beam_direction, np.zeros(3) if is_still else np.asarray(geometry.spindle_axis)


def write_intensities(
    path: Path,
    intensities: Intensities,
    geometry: Geometry,
    *,
    space_group: str | None = None,
    identifier: str = "",
    what: str = "write_intensities",
) -> None:
    """Write intensities of an experiment: as a table of DIALS if the name ends in .refl, as merged reflections if in .mtz.

    geometry: that of the refined experiment, with the scan of its file. space_group: its name by Hermann and Mauguin; None for
    the one that the crystal of the geometry states by its Hall symbol, or P 1. identifier: what the experiment is called in its
    .expt. Raises InputError for a name of another ending, an unknown space group, and intensities of which none is left.
    """
    if not isinstance(intensities, Intensities):
        raise InputError(f"{what}: {shown(intensities)} are not Intensities; allowed: nbnumba.integrated_files.Intensities")
    kind = endings.format_of(os.fspath(path))
    if kind == endings.REFLECTIONS_OF_DIALS:
        refl.write_refl(path, dials_columns(intensities, geometry), what, {0: identifier} if identifier else None)
    elif kind == "MTZ":
        _write_mtz(path, intensities, geometry, space_group, what)
    else:
        raise InputError(f"{what}: {os.fspath(path)!r} is no name of a table; allowed: one that ends in .refl or .mtz")


class OfExperiment(NamedTuple):
    """The intensities of one experiment of a list: its number there, its refined geometry, and its identifier, or ""."""

    number: int
    intensities: Intensities
    geometry: Geometry
    identifier: str = ""


def write_several(path: Path, several: Sequence[OfExperiment], what: str = "write_several") -> None:
    """Write intensities of experiments of a list, such as stills, in one table of DIALS (.refl), or merged (.mtz).

    The column id of the table is the number of the experiment. What is merged has to be on one scale; cell and space group are
    those of the first. Raises InputError as write_intensities does.
    """
    kind = endings.format_of(os.fspath(path))
    if kind == endings.REFLECTIONS_OF_DIALS:
        tables = []
        for one in several:
            table = dials_columns(one.intensities, one.geometry)
            tables.append(table | {"id": ("int", np.full(len(one.intensities), one.number))})
        columns = {
            name: (kind_of_column, np.concatenate([table[name][1] for table in tables]))
            for name, (kind_of_column, _) in tables[0].items()
        }
        refl.write_refl(path, columns, what, {one.number: one.identifier for one in several if one.identifier} or None)
    elif kind == "MTZ":
        joined = {
            field.name: np.concatenate([getattr(one.intensities, field.name) for one in several])
            for field in fields(Intensities)
        }
        _write_mtz(path, Intensities(**joined), several[0].geometry, None, what)
    else:
        raise InputError(f"{what}: {os.fspath(path)!r} is no name of a table; allowed: one that ends in .refl or .mtz")


def dials_columns(intensities: Intensities, geometry: Geometry) -> dict[str, tuple[str, np.ndarray]]:
    """The columns of a table of integrated reflections of DIALS, by their names, each with its type there.

    Sums, without which its programs do not run, are the part of the intensity in the images.
    """
    beam, spindle = _beam_and_spindle(geometry)
    rows, integrated, scan = len(intensities), intensities.integrated, geometry.scan
    if rows and intensities.panel.max() >= len(geometry.panels):
        raise InputError(f"panel: {intensities.panel.max()} is not allowed; allowed: 0 to {len(geometry.panels) - 1}")
    rays = intensities.s1 / np.linalg.norm(intensities.s1, axis=1, keepdims=True)
    calculated = intensities.calculated
    known = np.isfinite(intensities.observed).all(axis=1, keepdims=True)
    images = calculated[:, 2] + 1.0
    phi_deg = 0.0 * images if scan is None else scan.phi_deg + (images - scan.first_image) * scan.width_deg
    across = np.cross(rays, beam)
    zeta = across @ spindle / np.maximum(np.linalg.norm(across, axis=1), 1e-300)
    table = {
        "miller_index": ("cctbx::miller::index<>", intensities.hkl),
        "id": ("int", np.zeros(rows)),
        "imageset_id": ("int", np.zeros(rows)),
        "panel": ("std::size_t", intensities.panel),
        "flags": ("std::size_t", np.where(integrated, PREDICTED | INTEGRATED, PREDICTED)),
        "entering": ("bool", zeta < 0.0),
        "s1": ("vec3<double>", imgcif(intensities.s1)),
        "d": ("double", intensities.d_A),
        "xyzcal.px": ("vec3<double>", calculated),
        "xyzcal.mm": ("vec3<double>", np.column_stack([_front_mm(rays, intensities.panel, geometry), np.radians(phi_deg)])),
        "xyzobs.px.value": ("vec3<double>", np.where(known, intensities.observed, calculated)),
        "intensity.prf.value": ("double", np.where(integrated, intensities.intensity, 0.0)),
        "intensity.prf.variance": ("double", np.where(integrated, intensities.variance, 0.0)),
        "intensity.sum.value": ("double", np.where(integrated, intensities.intensity * intensities.partiality, 0.0)),
        "intensity.sum.variance": ("double", np.where(integrated, intensities.variance * intensities.partiality**2, 0.0)),
        "lp": ("double", intensities.lp),
        "qe": ("double", intensities.qe),
        "partiality": ("double", intensities.partiality),
        "background.mean": ("double", intensities.background),
        "zeta": ("double", zeta),
    }
    if intensities.pixels is not None:
        table["num_pixels.foreground"] = ("int", intensities.pixels)
    return table


def _front_mm(rays: np.ndarray, panel: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Where rays (n, 3) from the crystal meet the fronts of panels (n,): (n, 2) along fast and slow, in mm."""
    origins = np.array([of.origin_mm for of in geometry.panels])[panel]
    fast, slow, normal = (np.array([getattr(of, name) for of in geometry.panels])[panel] for name in (
        "fast_axis", "slow_axis", "normal"
    ))  # fmt: skip
    along = (origins * normal).sum(axis=1) / (rays * normal).sum(axis=1)
    off = along[:, np.newaxis] * rays - origins
    return np.stack([(off * fast).sum(axis=1), (off * slow).sum(axis=1)], axis=1)


def _write_mtz(path: Path, intensities: Intensities, geometry: Geometry, space_group: str | None, what: str) -> None:
    """Write intensities that are corrected and merged, and amplitudes by French and Wilson's method (F9e)."""
    if geometry.crystal is None or geometry.wavelength_A is None:
        raise InputError(f"{what}: {geometry.source!r} states no crystal, or no wavelength; allowed: a geometry with both")
    stated = geometry.crystal.space_group or "P 1"
    group = group_of_hall(stated) if space_group is None else group_named(space_group)
    symmetry, cell = of_space_group(group), cell_of(geometry.crystal.vectors)
    if symmetry is None:
        named = stated if space_group is None else space_group
        raise InputError(f"{what}: {shown(named)} is no known space group; allowed: a name such as 'P 21 21 21'")
    hkl, values, sigmas = _merged(intensities, symmetry, what)
    multiplicity, squared = expansion.multiplicity(hkl, symmetry), inverse_squares(hkl, cell)
    try:
        expected = french_wilson.mean_intensity(values, multiplicity, squared)
    except ValueError as error:
        raise InputError(f"{what}: {error}; allowed: intensities of which most are above 0") from None
    estimated = french_wilson.estimates(values, sigmas, expected, expansion.centric(hkl, symmetry))
    table = {"F": ("F", estimated[0]), "SIGF": ("Q", estimated[1]), "I": ("J", values), "SIGI": ("Q", sigmas)}
    mtz.write_merged(path, hkl, table, cell, group, geometry.wavelength_A, what)


def _merged(intensities: Intensities, symmetry: Symmetry, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reflections (n, 3) of which no two are equivalent, with mean intensity lp / qe (n,) and its uncertainty (n,)."""
    used = intensities.integrated & intensities.hkl.any(axis=1) & (intensities.lp > 0.0) & (intensities.qe > 0.0)
    used &= ~expansion.absent(intensities.hkl, symmetry)
    if not used.any():
        raise InputError(f"{what}: no intensity of {len(intensities)} is left; allowed: some that symmetry does not forbid")
    factor = intensities.lp[used] / intensities.qe[used]
    sigmas = np.sqrt(intensities.variance[used]) * factor
    merged = expansion.merged(intensities.hkl[used], intensities.intensity[used] * factor, sigmas, symmetry, friedel=True)
    assert merged.sigmas is not None
    return merged.hkl, merged.values, merged.sigmas
