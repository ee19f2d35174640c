"""Messages in the words of the command line: every field of an experiment by the flag that states it."""

import re
from collections.abc import Sequence

from nbnumba.flags.table import BY_NAME, FLAGS
from nbnumba.stages.shapes import SHAPES
from nbnumba.statements import Crystal

BESIDES = {
    "crystal.n_a": "-Na -N -samplesize -sample_thick",
    "crystal.n_b": "-Nb -N -samplesize -sample_width",
    "crystal.n_c": "-Nc -N -samplesize -sample_height",
    "crystal.mosaic_a_deg": "-mosaic_abc",
    "crystal.mosaic_b_deg": "-mosaic_abc",
    "crystal.mosaic_c_deg": "-mosaic_abc",
    **{f"crystal.cell_spread_{axis}": "-cell_spread" for axis in "abc"},
    **{f"crystal.position_{axis}_mm": "-xtal_position" for axis in "xyz"},
    **{f"crystal.b_{ij}_A2": "-bfactor_aniso" for ij in (11, 22, 33, 12, 13, 23)},
    "crystal.n_d": "-N_def",
    "crystal.n_e": "-N_def",
    "crystal.n_f": "-N_def",
    "crystal.misset_deg": "-misset",
    "crystal.shape": " ".join(shape.flags.split()[0] for shape in SHAPES.values()),
    "crystal.mosaic_domains": "-mosaic_domains",
    "structure_factors.hkl": "-hkl -pdb -mtz -cif -refl -dump",
    "structure_factors.energies_eV": "-pdb",
    "structure_factors.F": "-hkl -pdb -mtz -cif -refl -dump",
    "structure_factors.interpolate": "-interpolate -nointerpolate",
    "beam.wavelength_A": "-lambda -energy",
    "beam.energy_eV": "-energy",
    "beam.fluence": "-fluence -flux",
    "beam.flux": "-flux",
    "beam.exposure_s": "-exposure",
    "beam.polarization": "-polar",
    "beam.polarized": "-nopolar",
    "beam.spectrum": "-spectrum",
    "beam.sources": "-sourcefile",
    "beam.source_weights": "-source_weights",
    "beam.round_divergence": "-square_div -round_div",
    "beam.hdivrange_mrad": "-hdivrange -divergence",
    "beam.vdivrange_mrad": "-vdivrange -divergence",
    "beam.hdivsteps": "-hdivsteps -divsteps",
    "beam.vdivsteps": "-vdivsteps -divsteps",
    "beam.dispsteps": "-dispsteps",
    "detector.attenuation_um": "-detector_abs",
    "detector.layers": "-detector_thicksteps",
    "detector.pixels": "-detpixels -detpixels_x -detpixels_y -detsize -detsize_f -detsize_s",
    "detector.size_mm": "-detsize -detsize_f -detsize_s",
    "detector.pix0_mm": "-pix0_vector_mm -pix0_vector",
    "detector.pivot": "-pivot",
    "detector.convention": "-mosflm -adxv -denzo -xds -dials",
    "detector.curved": "-curved_det",
    "detector.point_pixel": "-point_pixel",
    "goniometer.phisteps": "-phisteps",
    "background.image": "-background",
    "background.radial": "-background",
    "background.table": "-water_table -stol -4stol -Q",
    "sampling.oversample": "-oversample",
    "sampling.oversample_thick": "-oversample_thick",
    "sampling.oversample_polarization": "-oversample_polar",
    "sampling.oversample_omega": "-oversample_omega",
    "sampling.mask": "-mask",
    "sampling.c_parity": "-c_parity",
}
"""The flags that state fields that no flag sets as they are; the first is the usual one."""

CELL = {field: field.partition("_")[0] for field in Crystal.CELL}
"""The fields that -cell states together, and what each is called there."""

FIELD_FLAGS: dict[str, list[str]] = {flag.sets: list(flag.names) for flag in FLAGS if flag.sets}
FIELD_FLAGS |= {field: [name for flag in flags.split() for name in BY_NAME[flag].names] for field, flags in BESIDES.items()}
"""Every spelling of the flags that state each field; the first is the usual one."""

BETWEEN = re.compile(", | and | or ")


def _pattern() -> re.Pattern:
    """Fields by "part.field", and after one the others of its part by their names alone."""
    by_part: dict[str, list[str]] = {}
    for field in (*FIELD_FLAGS, *(f"crystal.{name}" for name in CELL)):
        part, _, name = field.partition(".")
        by_part.setdefault(part, []).append(name)
    patterns = []
    for part, names in by_part.items():
        any_name = "|".join(sorted(names, key=len, reverse=True))
        patterns.append(rf"{part}\.(?:{any_name})\b(?:(?:{BETWEEN.pattern})(?:{part}\.)?(?:{any_name})\b)*")
    return re.compile("|".join(patterns))


FIELDS = _pattern()
"""Where a message names fields."""


def in_flags(message: str, words: Sequence[str] = ()) -> str:
    """A message in which fields of an experiment are called by their flags; parameters, and what options name, keep theirs.

    words: those of the command line. Of several flags that state a field the last one that is among them is named.
    """
    if message.startswith(("parameters:", "--")):
        return message

    return FIELDS.sub(lambda match: _translated(match[0], words), message)


def _translated(fields: str, words: Sequence[str]) -> str:
    """Fields of one part, such as "crystal.n_a, n_b and n_c", by their flags; several that one flag states are one."""
    part, separators = fields.partition(".")[0], BETWEEN.findall(fields)
    names = [f"{part}.{field.removeprefix(part + '.')}" for field in BETWEEN.split(fields)]
    flags = list(dict.fromkeys(_flag(name, words) for name in names))
    return "".join(before + flag for before, flag in zip(["", *separators], flags))


def _flag(field: str, words: Sequence[str]) -> str:
    name = field.partition(".")[2]
    if name in CELL:
        return f"-cell ({CELL[name]})"
    spellings = FIELD_FLAGS[field]
    return next((word for word in reversed(words) if word in spellings), spellings[0])
