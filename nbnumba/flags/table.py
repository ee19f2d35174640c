"""nanoBragg's flags as one table, a row each, and the help that is made from it. No dependency is imported (man_page.py)."""

import argparse
from typing import NamedTuple

from nbnumba.stages.shapes import SHAPES

VALUES = {
    "switch": (),
    "number": ("NUMBER",),
    "whole": ("WHOLE",),
    "file": ("FILE",),
    "word": ("WORD",),
    "vector": ("X", "Y", "Z"),
    "region": ("XMIN", "XMAX", "YMIN", "YMAX"),
    "pixel": ("FAST", "SLOW"),
    "cell": ("A", "[B C AL BE GA]"),
    "misset": ("X Y Z | random",),
    "tensor": ("B11", "B22", "B33", "B12", "B13", "B23"),
    "names": ("[NAME ...]",),
    "lattices": ("FILE [SCALE [X Y Z]] ...",),
}
"""The kinds of values that a flag takes, and how the help shows them."""


class Flag(NamedTuple):
    """A row of the table.

    names: the flag and its other spellings. kind: of its values (VALUES). sets: the field of the experiment, or of the run,
    that the value goes to as it is; None: to_experiment.py or run.py says where it goes. pivot: what the flag implies in the
    custom convention. default: as specs/inputs.md and the help state it.
    """

    group: str
    names: tuple[str, ...]
    kind: str
    help: str
    unit: str = ""
    default: str = ""
    sets: str | None = None
    pivot: str | None = None


def _row(group, names, kind, help, unit="", default="", sets=None, pivot=None):
    return Flag(group, tuple(names.split()), kind, help, unit, default, sets, pivot)


FLAGS: tuple[Flag, ...] = (
    _row("crystal", "-mat -matrix", "file", "matrix: columns a* b* c* times the wavelength, as MOSFLM writes it"),
    _row("crystal", "-cell", "cell", "unit cell; a length that is missing or 0 is a, an angle 90", "A, deg"),
    _row("crystal", "-misset", "misset", "turn the crystal about x, then y, then z; or a random orientation", "deg", "0 0 0"),
    _row("crystal", "-misset_seed", "whole", "seed of -misset random", default="that of -seed", sets="run.misset_seed"),
    _row("crystal", "-N", "whole", "number of unit cells along a, b and c; 0 counts as 1", default="1"),
    _row("crystal", "-Na", "whole", "number of unit cells along a", default="1"),
    _row("crystal", "-Nb", "whole", "number of unit cells along b", default="1"),
    _row("crystal", "-Nc", "whole", "number of unit cells along c", default="1"),
    _row("crystal", "-N_abc", "vector", "the same, which need not be whole", "", "1 1 1"),
    _row("crystal", "-N_def", "vector", "of -gauss_xtal: elements ab, bc and ac of the matrix of cells", "", "0 0 0"),
    _row("crystal", "-samplesize -sample_size -xtalsize -xtal_size", "number", "edges of the crystal, instead of -N", "mm"),
    _row("crystal", "-sample_thick -sample_x -xtal_thick -xtal_x", "number", "edge along a, instead of -Na", "mm"),
    _row("crystal", "-sample_width -sample_y -xtal_width -xtal_y -width", "number", "edge along b, instead of -Nb", "mm"),
    _row(
        "crystal", "-sample_height -sample_z -xtal_height -xtal_z -height", "number", "edge along c, instead of -Nc", "mm",
    ),
    *(_row("crystal", shape.flags, "switch", shape.help) for shape in SHAPES.values()),
    _row("crystal", "-fudge", "number", "other shapes: factor of the squared distance to a spot", "", "1", "crystal.fudge"),
    _row(
        "crystal", "-mosaic -mosaicity -mosaic_spread", "number", "isotropic mosaic spread; 90 is a powder", "deg", "0",
        "crystal.mosaic_spread_deg",
    ),
    _row("crystal", "-mosaic_abc", "vector", "mosaic spread about each axis of the crystal, beside -mosaic", "deg", "0 0 0"),
    _row(
        "crystal", "-cell_spread", "vector", "largest fractions by which a, b and c of mosaic domains differ, 0 to 0.5", "",
        "0 0 0",
    ),
    _row("crystal", "-mosaic_domains -mosaic_dom", "whole", "number of mosaic domains", "", "1, or 10 with -mosaic"),
    _row("crystal", "-mosaic_seed", "whole", "seed of the mosaic domains", "", "12345678", "crystal.mosaic_seed"),
    _row("crystal", "-xtal_scale", "number", "factor of the photons of the crystal", "", "1", "crystal.scale"),
    _row("crystal", "-xtal_position", "vector", "where the crystal is at phi = 0, in the laboratory frame", "mm", "0 0 0"),
    _row("crystal", "-bfactor", "number", "B factor: amplitudes times exp(-B / (4 d^2))", "A^2", "0", "crystal.b_factor_A2"),
    _row("crystal", "-bfactor_aniso", "tensor", "B factors on the reciprocal axes, added to -bfactor", "A^2", "0"),
    _row("crystal", "-lattice", "lattices", "more crystals: matrices as -mat, or all of an .expt, with scale and position"),
    _row(
        "crystal", "-mosaic_sampling", "word", "how mosaic domains are drawn: random, or sobol, which spreads them evenly", "",
        "random", "crystal.mosaic_sampling",
    ),
    _row("crystal", "-hkl", "file", "structure factors as text: h k l F for every reflection, no symmetry applied"),
    _row("crystal", "-pdb", "file", "structure factors of atoms: PDB, mmCIF, or CIF of a small molecule"),
    _row("crystal", "-mtz", "file", "structure factors from an MTZ file, expanded by its space group"),
    _row("crystal", "-cif", "file", "the same from a CIF file of reflections"),
    _row("crystal", "-refl", "file", "the same from DIALS' intensities, .refl, expanded by the space group of -expt"),
    _row("crystal", "-column", "word", "column of -mtz or -cif with amplitudes or intensities", "", "measured F, if there"),
    _row("crystal", "-k_sol", "number", "density of the bulk solvent of -pdb", "electrons/A^3", "0.35"),
    _row("crystal", "-b_sol", "number", "B of the bulk solvent of -pdb", "A^2", "46"),
    _row("crystal", "-nosolvent", "switch", "no bulk solvent with -pdb"),
    _row("crystal", "-add_b", "number", "added to the B of every atom of -pdb", "A^2", "0"),
    _row("crystal", "-anomalous", "file", "f', f'' of -pdb by element and energy (eV); the default: Cromer and Liberman's"),
    _row("crystal", "-noanomalous", "switch", "no f' and f'' with -pdb"),
    _row("crystal", "-reindex", "word", "the crystal's h,k,l by those of -hkl or another file, such as k,h,-l", "", "h,k,l"),
    _row(
        "crystal", "-default_F", "number", "amplitude of every reflection not listed", "electrons", "0",
        "structure_factors.default_F",
    ),
    _row("crystal", "-interpolate", "switch", "interpolate structure factors; the default up to 2 unit cells"),
    _row("crystal", "-nointerpolate", "switch", "take the structure factor of the nearest reflection; the default above"),
    _row("crystal", "-dump", "file", "with -hkl write, without read structure factors, as nanoBragg's Fdump.bin"),
    _row("beam", "-lambda -wave -wavelength", "number", "wavelength", "A", "1", "beam.wavelength_A"),
    _row("beam", "-energy", "number", "photon energy, instead of -lambda", "eV"),
    _row("beam", "-fluence", "number", "photons per area", "photons/m^2", "1.25932e+29", "beam.fluence"),
    _row("beam", "-flux", "number", "with -exposure and -beamsize, instead of -fluence; 0 means not given", "photons/s"),
    _row("beam", "-exposure", "number", "exposure time", "s", "1"),
    _row("beam", "-beamsize", "number", "edge of the square beam", "mm", "0.1", "beam.size_mm"),
    _row("beam", "-polar", "number", "Kahn's polarization factor, -1 to 1", "", "0"),
    _row("beam", "-nopolar", "switch", "no polarization factor"),
    _row("beam", "-beam_vector", "vector", "direction of the beam; custom convention", "", "1 0 0", "beam.direction"),
    _row(
        "beam", "-polar_vector", "vector", "direction of the E vector; custom convention", "", "0 0 1",
        "beam.polarization_axis",
    ),
    _row("beam", "-divergence", "number", "-hdivrange and -vdivrange", "mrad", "0"),
    _row("beam", "-hdivrange -hdiv", "number", "horizontal divergence, full range", "mrad", "0", "beam.hdivrange_mrad"),
    _row("beam", "-vdivrange -vdiv", "number", "vertical divergence, full range", "mrad", "0", "beam.vdivrange_mrad"),
    _row("beam", "-hdivstep", "number", "step of the horizontal divergence", "mrad", "", "beam.hdivstep_mrad"),
    _row("beam", "-vdivstep", "number", "step of the vertical divergence", "mrad", "", "beam.vdivstep_mrad"),
    _row("beam", "-divsteps", "whole", "-hdivsteps and -vdivsteps", "", "1, or 2 with a range"),
    _row("beam", "-hdivsteps", "whole", "steps of the horizontal divergence", "", "1, or 2 with a range"),
    _row("beam", "-vdivsteps", "whole", "steps of the vertical divergence", "", "1, or 2 with a range"),
    _row("beam", "-round_div", "switch", "leave out the corners of the divergence; the default"),
    _row("beam", "-square_div", "switch", "keep the corners of the divergence"),
    _row("beam", "-dispersion", "number", "spectral width, full range", "percent", "0", "beam.dispersion_percent"),
    _row("beam", "-dispsteps", "whole", "wavelengths in it", "", "1, or 2 with -dispersion"),
    _row("beam", "-spectrum", "file", "wavelengths, a line each: wavelength (A) or photon energy (eV), weight"),
    _row("beam", "-spectrum_steps", "whole", "wavelengths of equal weight that stand for those of -spectrum", "", "all"),
    _row("beam", "-sourcefile", "file", "sources, a line each: x y z (any unit), weight, wavelength (m)"),
    _row("beam", "-source_weights", "file", "weights of all sources, a line each, in place of their own"),
    _row("beam", "-wavelength_scale", "number", "factor of all wavelengths", "", "1", "beam.wavelength_scale"),
    _row("beam", "-wavelength_offset", "number", "added to all wavelengths", "A", "0", "beam.wavelength_offset_A"),
    _row("beam", "-dmin", "number", "leave out what is of finer resolution", "A", "0", "beam.dmin_A"),
    _row("geometry", "-expt", "file", "dxtbx's experiments: detector, beam, rotation and crystal that no flag gives"),
    _row("geometry", "-xparm", "file", "the same from an XPARM.XDS or GXPARM.XDS of XDS"),
    _row("geometry", "-geom", "file", "detector and photon energy from a .geom of CrystFEL"),
    _row("geometry", "-nexus", "file", "detector, beam and rotation from an NXmx master (HDF5)"),
    _row("geometry", "-image", "whole", "the image of the scan in a file of geometry, by its number there"),
    _row("geometry", "-experiment", "whole", "which experiment of -expt, from 0", "", "0"),
    _row("detector", "-img", "file", "image, SMV or CBF, whose header gives what no flag gives"),
    _row("detector", "-mask", "file", "SMV image that is 0 where a pixel is not wanted; its header is used like that of -img"),
    _row("detector", "-distance", "number", "distance along the beam", "mm", "100", "detector.distance_mm", "beam"),
    _row(
        "detector", "-close_distance", "number", "distance to the nearest point of the detector", "mm", "",
        "detector.close_distance_mm", "sample",
    ),
    _row("detector", "-pixel", "number", "edge of a pixel", "mm", "0.1", "detector.pixel_mm"),
    _row("detector", "-detpixels", "whole", "number of pixels along both axes", "pixels", "1024"),
    _row("detector", "-detpixels_x -detpixels_f", "whole", "number of pixels along the fast axis", "pixels", "1024"),
    _row("detector", "-detpixels_y -detpixels_s", "whole", "number of pixels along the slow axis", "pixels", "1024"),
    _row("detector", "-detsize", "number", "size along both axes, instead of -detpixels", "mm", "102.4"),
    _row("detector", "-detsize_f -detsize_x", "number", "size along the fast axis", "mm", "102.4"),
    _row("detector", "-detsize_s -detsize_y", "number", "size along the slow axis", "mm", "102.4"),
    _row("detector", "-Xbeam", "number", "direct beam, x of the convention", "mm", "the middle", "detector.xbeam_mm", "beam"),
    _row("detector", "-Ybeam", "number", "direct beam, y of the convention", "mm", "the middle", "detector.ybeam_mm", "beam"),
    _row("detector", "-Xclose", "number", "nearest point, fast", "mm", "the middle", "detector.xclose_mm", "sample"),
    _row("detector", "-Yclose", "number", "nearest point, slow", "mm", "the middle", "detector.yclose_mm", "sample"),
    _row("detector", "-ORGX", "number", "nearest point, fast, as XDS has it", "pixels", "", "detector.orgx_pixels", "sample"),
    _row("detector", "-ORGY", "number", "nearest point, slow, as XDS has it", "pixels", "", "detector.orgy_pixels", "sample"),
    _row("detector", "-mosflm", "switch", "MOSFLM's convention, the default"),
    _row("detector", "-adxv", "switch", "ADXV's convention"),
    _row("detector", "-denzo", "switch", "DENZO's convention"),
    _row("detector", "-xds", "switch", "XDS's convention"),
    _row("detector", "-dials", "switch", "DIALS's convention"),
    _row("detector", "-pivot", "word", "what stays in place when the detector turns: beam or sample"),
    _row("detector", "-detector_rotx", "number", "turn about x, first", "deg", "0", "detector.rotx_deg"),
    _row("detector", "-detector_roty", "number", "turn about y, second", "deg", "0", "detector.roty_deg"),
    _row("detector", "-detector_rotz", "number", "turn about z, third", "deg", "0", "detector.rotz_deg"),
    _row("detector", "-twotheta", "number", "swing about -twotheta_axis, last", "deg", "0", "detector.twotheta_deg", "sample"),
    _row("detector", "-twotheta_axis", "vector", "custom convention", "", "0 1 0", "detector.twotheta_axis"),
    _row("detector", "-fdet_vector -xdet_vector", "vector", "fast axis; custom convention", "", "0 0 1", "detector.fast_axis"),
    _row("detector", "-sdet_vector -ydet_vector", "vector", "slow axis; custom convention", "", "0 -1 0", "detector.slow_axis"),
    _row(
        "detector", "-odet_vector -zdet_vector", "vector", "normal; 0 0 0 is not given; custom convention", "", "fast x slow",
        "detector.normal_axis",
    ),
    _row("detector", "-pix0_vector", "vector", "corner of the first pixel; custom convention", "m"),
    _row("detector", "-pix0_vector_mm", "vector", "corner of the first pixel; custom convention", "mm", "", "detector.pix0_mm"),
    _row("detector", "-point_pixel", "switch", "the inverse square of the distance instead of the solid angle"),
    _row("detector", "-curved_det", "switch", "all pixels at the same distance"),
    _row("detector", "-detector_thick", "number", "thickness of the sensor", "um", "0", "detector.thickness_um"),
    _row("detector", "-detector_abs -detector_absorb", "word", "attenuation depth of the sensor, or inf", "um", "as thick"),
    _row("detector", "-detector_thicksteps -thicksteps", "whole", "layers of the sensor", "", "2"),
    _row("rotation", "-phi", "number", "start of the rotation", "deg", "0", "goniometer.phi_deg"),
    _row("rotation", "-osc", "number", "range of the rotation", "deg", "0", "goniometer.osc_deg"),
    _row("rotation", "-phistep", "number", "step of the rotation", "deg", "", "goniometer.phistep_deg"),
    _row("rotation", "-phisteps", "whole", "number of steps; 0 counts as 1", "", "1, or 2 with -osc"),
    _row(
        "rotation", "-phi_sampling", "word", "where in its step each step is rendered: left, its edge, or mid, its middle", "",
        "left; in refine mid", "goniometer.phi_sampling",
    ),
    _row("rotation", "-spindle_axis", "vector", "custom convention", "", "0 0 1", "goniometer.spindle_axis"),
    _row("sampling", "-oversample", "whole", "sub-pixels along each edge of a pixel", "", "as the crystal needs"),
    _row("sampling", "-oversample_thick", "switch", "the capture fraction anew for every sub-pixel"),
    _row("sampling", "-oversample_polar", "switch", "the polarization factor anew for every sub-pixel"),
    _row("sampling", "-oversample_omega", "switch", "the solid angle anew for every sub-pixel"),
    _row(
        "sampling", "-tolerance", "number", "the most photons that a pixel may lack: faint terms are left out", "photons", "0",
        "sampling.tolerance",
    ),
    _row("sampling", "-roi", "region", "render only these pixels, both ends included", "pixels", "all", "sampling.roi"),
    _row("background", "-background", "file", "photons that are added: an image, or a table by angle whose first line says so"),
    _row("background", "-water", "number", "edge of a cube of water, or other material", "um", "0", "background.water_um"),
    _row("background", "-air", "number", "path of the beam through air; with -beamsize", "mm", "0", "background.air_mm"),
    _row("background", "-ice", "number", "edge of a cube of hexagonal ice, a powder", "um", "0", "background.ice_um"),
    _row("background", "-ice_size", "number", "diameter of its crystallites", "A", "500", "background.ice_size_A"),
    _row("background", "-water_table", "switch", "F of liquid water by angle, from the table that ships, in place of 2.57"),
    _row("background", "-stol", "file", "structure factor of its molecules: a table of sin(theta)/lambda (1/A), F", "", "2.57"),
    _row("background", "-4stol", "file", "the same by 4 sin(theta)/lambda (1/A)"),
    _row("background", "-Q", "file", "the same by 4 pi sin(theta)/lambda (1/A)"),
    _row(
        "background", "-density -sample_density", "number", "its density", "g/cm^3", "1", "background.density_g_per_cm3",
    ),
    _row("background", "-molecwt -molecular_weight -MW", "number", "its molar mass", "g", "18", "background.molar_mass_g"),
    _row("output", "-floatfile -floatimage", "file", "image, 4-byte floats", "", "floatimage.bin", "run.floatfile"),
    _row("output", "-intfile -intimage", "file", "scaled image, SMV", "", "intimage.img", "run.intfile"),
    _row("output", "-noisefile -noiseimage", "file", "image with photon noise, SMV", "", "noiseimage.img", "run.noisefile"),
    _row("output", "-pgmfile -pgmimage", "file", "picture, PGM", "", "image.pgm", "run.pgmfile"),
    _row("output", "-pngfile", "file", "picture of the region, PNG, noisy unless -nonoise", "", "none", "run.pngfile"),
    _row("output", "-pngmarks", "switch", "draw the beam centre, and rings of resolution in A, into the -pngfile"),
    _row("output", "-exptfile", "file", "geometry of the image for dxtbx and DIALS, JSON", "", "none", "run.exptfile"),
    _row("output", "-nxsfile", "file", "noise image, or expected photons with -nonoise, NXmx", "", "none", "run.nxsfile"),
    _row(
        "output", "-nxscompression", "word", "of the -nxsfile: gzip, or bitshuffle with LZ4", "", "gzip", "run.nxscompression",
    ),
    _row("output", "-cbffile", "file", "noise image of a PILATUS or EIGER, miniCBF", "", "none", "run.cbffile"),
    _row(
        "output", "-predictions", "file", "table of the reflections on the detector: CSV, or for DIALS if it ends in .refl", "",
        "none", "run.predictions",
    ),
    _row(
        "output", "-hklmap", "file", "for each pixel the reflection that gives most photons, and its share: NumPy's .npz", "",
        "none", "run.hklmap",
    ),
    _row("output", "-nonoise", "switch", "no noise image"),
    _row("output", "-nopgm", "switch", "no PGM picture"),
    _row("output", "-nointfile", "switch", "no scaled image"),
    _row("output", "-scale", "number", "scale of the -intfile; 0 lets the brightest pixel be 55000", "", "0", "run.scale"),
    _row("output", "-pgmscale", "number", "scale of the -pgmfile; 0 chooses one", "", "0", "run.pgmscale"),
    _row("output", "-adc -adcoffset", "number", "added to every pixel of the SMV images", "", "40", "run.adc"),
    _row("output", "-seed", "whole", "seed of the photon noise", "", "the time", "run.seed"),
    _row(
        "response", "-gain", "number", "noise image: what a photon adds to a pixel", "ADU/photon", "1", "response.gain",
    ),
    _row(
        "response", "-readout_noise -readnoise", "number", "noise image: rms of the Gaussian noise of the read-out", "ADU", "0",
        "response.readout_noise",
    ),
    _row(
        "response", "-saturation", "number", "noise image: the largest value of a pixel, -adc included", "ADU", "65535",
        "response.saturation",
    ),
    _row(
        "response", "-psf", "number", "noise image: width at half height of the point spread", "mm", "0",
        "response.psf_mm",
    ),
    _row(
        "response", "-psf_type", "word", "shape of the point spread: gauss, or fiber with long wings", "", "gauss",
        "response.psf_type",
    ),
    _row(
        "response", "-flicker_noise", "number", "noise image: rms fluctuation of expected photons, a fraction", "", "0",
        "response.flicker",
    ),
    _row(
        "response", "-calibration_noise", "number", "noise image: rms error of each pixel, a fraction", "", "0",
        "response.calibration",
    ),
    _row(
        "response", "-calib_seed", "whole", "seed of the errors of pixels, the same in every image", "", "123456789",
        "response.calibration_seed",
    ),
    _row("run", "--dry-run -dry_run", "switch", "show what the flags come to and what it costs; compute and write nothing"),
    _row("run", "-quiet --quiet", "switch", "print nothing but warnings and errors"),
    _row("run", "-progress", "switch", "show progress, if the terminal can; the default"),
    _row("run", "-noprogress", "switch", "show no progress"),
    _row("run", "-threads", "whole", "number of threads; the image does not depend on it", "", "all cores", "run.threads"),
    _row("run", "-max_hours", "number", "what takes longer by the estimate is refused", "h", "24", "run.max_hours"),
    _row("run", "-backend", "word", "what computes: cpu, or cuda for an NVIDIA card", "", "cpu", "run.backend"),
    _row(
        "run", "-precision", "word", "double; mixed or paired: 1e-5 of a pixel; single: for looks", "", "double",
        "run.precision",
    ),
    _row("run", "-c_parity", "names", "reproduce nanoBragg.c's defects: all, or those named", "", "none"),
    _row("run", "-c_threads", "whole", "threads of the run of nanoBragg.c to reproduce", "", "1", "sampling.c_threads"),
    _row("without effect", "-coherent", "switch", "nanoBragg has it, and adds intensities all the same"),
    _row("without effect", "-stolout", "word", "nanoBragg has it, and writes nothing"),
    _row("without effect", "-printout", "switch", "nanoBragg prints pixels; see nbnumba trace"),
    _row("without effect", "-printout_pixel", "pixel", "nanoBragg prints a pixel; see nbnumba trace"),
)

DOCUMENTED = frozenset("-detsize_x -detsize_y -hdiv -vdiv -xdet_vector -ydet_vector -zdet_vector".split())
"""Spellings that nanoBragg's README has and nanoBragg.c passes over (P23)."""

NO_EFFECT = {
    "-coherent": "nanoBragg reads it and adds intensities all the same, and so does nbnumba",
    "-stolout": "nanoBragg reads it and writes nothing, and so does nbnumba",
    "-printout": "nanoBragg prints pixels; nbnumba trace --pixel SLOW FAST writes every factor of one",
    "-printout_pixel": "nanoBragg prints a pixel; nbnumba trace --pixel SLOW FAST writes every factor of one",
}
"""Flags of nanoBragg that change no image, and why."""

BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in flag.names}
"""Every spelling of every flag."""

SUBCOMMANDS = {
    "simulate": "render an image; the default",
    "explain": "how much each of nanoBragg.c's defects changes an image",
    "gradcheck": "check the derivative of an image against differences",
    "refine": "refine parameters of an experiment against measured images",
    "series": "make many images: a rotation, stills in random orientations, training sets with labels",
    "merge": "structure factors from many shots, every pixel of which is modelled",
    "example": "render a rotation frame of a real protein, with nothing to prepare",
    "trace": "write the scaling chain of pixels, factor by factor",
    "compare-traces": "compare two such chains, nanoBragg's or our own",
    "compare": "run another program on the same flags and compare the images",
}
"""What nbnumba can do besides, by the first word of the command line."""


def get_parser() -> argparse.ArgumentParser:
    """The help of the command line as argparse shows it; the man page is made from it too."""
    parser = argparse.ArgumentParser(
        prog="nbnumba",
        usage="nbnumba [simulate] FLAGS\n       nbnumba example",
        description="X-ray diffraction of small crystals, on an absolute scale. Takes nanoBragg's flags as they are.",
        epilog="Subcommands: "
        + "; ".join(f"{name}: {text}" for name, text in SUBCOMMANDS.items())
        + ". Without effect: "
        + "; ".join(f"{name}: {why}" for name, why in NO_EFFECT.items())
        + ".",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    groups = {}
    for flag in FLAGS:
        group = groups.setdefault(flag.group, parser.add_argument_group(flag.group) if flag.group not in groups else None)
        group.add_argument(*flag.names, **_argument(flag))
    return parser


def _argument(flag: Flag) -> dict:
    notes = [note for note in (flag.unit, f"default: {flag.default}" if flag.default else "") if note]
    text = flag.help + (f" ({'; '.join(notes)})" if notes else "")
    shown = VALUES[flag.kind]
    if not shown:
        return {"action": "store_true", "help": text}
    return {"nargs": len(shown), "metavar": shown if len(shown) > 1 else shown[0], "help": text}
