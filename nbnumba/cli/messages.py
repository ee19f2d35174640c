"""Messages in the words of the command line: every field of an experiment by the flag that states it."""

import re

from nbnumba.cli.flags import FLAGS

FIELD_FLAGS = {flag.sets: flag.names[0] for flag in FLAGS if flag.sets} | {
    "crystal.n_a": "-Na",
    "crystal.n_b": "-Nb",
    "crystal.n_c": "-Nc",
    "crystal.misset_deg": "-misset",
    "crystal.a_A": "-cell (a)",
    "crystal.b_A": "-cell (b)",
    "crystal.c_A": "-cell (c)",
    "crystal.alpha_deg": "-cell (alpha)",
    "crystal.beta_deg": "-cell (beta)",
    "crystal.gamma_deg": "-cell (gamma)",
    "crystal.mosaic_domains": "-mosaic_domains",
    "structure_factors.hkl": "-hkl",
    "beam.polarization": "-polar",
    "beam.energy_eV": "-energy",
    "beam.flux": "-flux",
    "beam.exposure_s": "-exposure",
    "background.table": "-stol",
    "beam.sources": "-sourcefile",
    "beam.hdivsteps": "-hdivsteps",
    "beam.vdivsteps": "-vdivsteps",
    "beam.dispsteps": "-dispsteps",
    "detector.attenuation_um": "-detector_abs",
    "detector.layers": "-detector_thicksteps",
    "detector.pixels": "-detpixels",
    "detector.pivot": "-pivot",
    "goniometer.phisteps": "-phisteps",
    "sampling.oversample": "-oversample",
}
"""The flag that states each field, for messages."""


def in_flags(message: str) -> str:
    """A message in which fields of an experiment are called by their flags; parameters, and what options name, keep theirs."""
    if message.startswith(("parameters:", "--")):
        return message
    names = sorted(FIELD_FLAGS, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)), lambda found: FIELD_FLAGS[found[0]], message)
