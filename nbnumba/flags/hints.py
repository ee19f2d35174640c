"""Which flag was meant by a spelling that is none: by its letters, by what its words mean, and last by what looks like it."""

import difflib

from nbnumba.flags.table import BY_NAME

MEANINGS = {
    "-Xbeam and -Ybeam": "beamcenter beamcentre beamxy directbeam center centre origin",
    "-Xbeam": "beamx beamcenterx beamcentrex xbeamcenter xcenter xcentre centerx centrex",
    "-Ybeam": "beamy beamcentery beamcentrey ybeamcenter ycenter ycentre centery centrey",
    "-ORGX and -ORGY": "org orgxy",
    "-mat": "a amat amatrix matfile matrixfile ub orientation crystalmatrix",
    "-cell": "unitcell ucell abc",
    "-N": "ncells cells numcells ncell nabc",
    "-misset": "missets missetting missettingangles misorientation",
    "-hkl": "sf fhkl reflections structurefactors fobs fcalc hklfile hklin",
    "-default_F": "f defaultamplitude amplitude",
    "-cell_spread": "unitcellspread cellvariation spreadofcell",
    "-xtal_position": "position xtalpos crystalposition samplepos sampleposition",
    "-mosaic_domains": "domains mosdomains mosaicblocks nmosaic",
    "-mosaic": "mos mosaicspreaddeg eta",
    "-lambda": "wl lam wavelengtha angstrom",
    "-energy": "ev photonenergy",
    "-fluence": "photons photonsperarea intensity",
    "-flux": "photonspersecond",
    "-exposure": "exposuretime exptime time seconds",
    "-beamsize": "beam beamdiameter focus spotsize beamwidth",
    "-polar": "polarization polarisation kahn polarizationfactor",
    "-polar_vector": "polaraxis polarizationvector evector",
    "-dispersion": "bandwidth bandpass spectralwidth dispersionpercent deltalambda",
    "-dispsteps": "dispersionsteps wavelengths",
    "-spectrum": "lam spectrumfile spectrafile wavelengthfile",
    "-sourcefile": "sources source",
    "-dmin": "resolution res highres dhigh maxres",
    "-distance": "dist detectordistance detdistance sampledistance",
    "-pixel": "pixelsize pixels pixelmm pixsize",
    "-detpixels": "size npixels imagesize framesize",
    "-detpixels_x": "width fastpixels nfast nx xpixels detpixelsfast",
    "-detpixels_y": "height slowpixels nslow ny ypixels detpixelsslow",
    "-detsize": "detectorsize",
    "-detsize_f": "detsizefast detsizewidth detectorsizex detectorwidth",
    "-detsize_s": "detsizeslow detsizeheight detectorsizey detectorheight",
    "-fdet_vector": "fast fastaxis fastvector fdet",
    "-sdet_vector": "slow slowaxis slowvector sdet",
    "-odet_vector": "normal normalvector odet",
    "-detector_rotx": "rotx tiltx",
    "-detector_roty": "roty tilty",
    "-detector_rotz": "rotz tiltz",
    "-twotheta": "tth theta 2theta swing",
    "-detector_thick": "thickness thick sensorthickness sensor detectorthickness",
    "-detector_abs": "absorption attenuation mu attenuationlength detectorabsorption",
    "-spindle_axis": "spindle rotationaxis phiaxis omegaaxis",
    "-phi": "omega phi0 phistart startphi rotation start",
    "-osc": "oscillation oscrange oscillationrange range phirange deltaphi oscwidth",
    "-phisteps": "steps nphi phistepsize rotationsteps",
    "-oversample": "supersample subpixels oversampling",
    "-roi": "region window",
    "-water": "background solvent waterthickness",
    "-ice": "icering icerings hexagonalice",
    "-water_table": "watertable waterscattering liquidwater",
    "-stol": "bg bgfile",
    "-floatfile": "o out output outfile outputfile bin float floatout",
    "-intfile": "smv imgout int",
    "-noisefile": "noise noiseout",
    "-pgmfile": "pgm",
    "-pngfile": "png picture",
    "-predictions": "predict predicted refl reflectionfile spots csv",
    "-hklmap": "indexmap hklimage map",
    "-adc": "offset pedestal",
    "-saturation": "overload maxadu",
    "-readout_noise": "readnoiserms sigmaread",
    "-psf": "pointspread blur",
    "-seed": "randomseed rngseed",
    "-threads": "j nthreads numthreads cores cpus jobs nproc",
    "-backend cuda": "gpu cuda device",
    "-quiet": "q silent noverbose",
    "--dry-run": "n norun check",
    "-nopolar": "nopolarization unpolarized",
    "-nonoise": "noiseless",
    "--version": "version v",
    "--help": "usage",
}
"""Flags that mean what other words say: the words without dashes, underscores and capitals."""

DIFFUSE = "diffuse scattering is not modelled: its halo around every reflection is never dark (specs/forward.md, F10b)"

ABSENT = dict.fromkeys("diffuse usediffuse usediffusemodels diffusegamma diffusesigma gamma sigma".split(), DIFFUSE)
"""What other programs have and this one has not, and why: the words without dashes, underscores and capitals."""

BY_WORD = {word: flag for flag, words in MEANINGS.items() for word in words.split()}
AXES = {"x": "xf", "f": "xf", "fast": "xf", "y": "ys", "s": "ys", "slow": "ys", "z": "z", "a": "a", "b": "b", "c": "c"}
"""The axes that the last word of a spelling names, and how flags spell them."""

LIKENESS = 0.7


def absent(spelling: str) -> str | None:
    """The reason why there is nothing like a flag of another program; None if that is not known (F10b)."""
    return ABSENT.get(_letters(spelling))


def meant(spelling: str) -> str | None:
    """The flag, or the flags, that a spelling most likely meant; None if there is no telling."""
    letters = _letters(spelling)
    same = [name for name in BY_NAME if _letters(name) == letters]
    if same:
        return same[0]
    if letters in BY_WORD:
        return BY_WORD[letters]
    others = {_letters(name): name for name in BY_NAME if _of_same_axis(spelling, name)}
    close = difflib.get_close_matches(letters, others, n=1, cutoff=LIKENESS)
    return others[close[0]] if close else None


def _letters(spelling: str) -> str:
    return "".join(letter for letter in spelling.lower() if letter.isalnum())


def _axis(spelling: str) -> str:
    """The axis that the last word of a spelling names, if it has several words; else nothing."""
    words = spelling.lower().strip("-").split("_")
    return AXES.get(words[-1], "") if len(words) > 1 else ""


def _of_same_axis(spelling: str, name: str) -> bool:
    """Whether a flag names the axis that a spelling names; an axis is never taken for another one."""
    return _axis(spelling) == _axis(name)
