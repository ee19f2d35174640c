"""The subcommand example: it renders a rotation frame of a real protein from data that come with nbnumba."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import resources

import numpy as np

from nbnumba.cli.simulate import report
from nbnumba.flags.command_line import CommandLine
from nbnumba.flags.run import run_of
from nbnumba.flags.to_experiment import experiment_of
from nbnumba.formats import files, smv

USAGE = """\
usage: nbnumba example [FLAGS]

Renders the example and writes example.bin, example.img and example.png, and the mask example_mask.img, in the working
directory. FLAGS are those of nbnumba simulate (nbnumba --help lists them); they come after the example's own, and overrule
them: -fluence 1e27, -distance 250, -seed 2, --dry-run.
"""

ABOUT = """\
A rotation frame of the Cro repressor (PDB 1ORC) on a detector of 1475 x 1679 pixels of 0.172 mm, assuming
  a crystal of 2.8 um: 70000 blocks of 20 x 17 x 14 unit cells (0.07 um) with Gaussian spots, which differ by a mosaic spread of
  0.2 degrees; their intensities add, so that one stands for all in 70000 times the beam,
  a beam of 1 A and 1e10 photons/um^2, 5 MGy, which a crystal survives, polarized at a synchrotron; 1 degree in 10 steps,
  10 um^3 of water (0.052 um about a block), a beamstop, the gaps of the detector, and photon noise.
Structure factors are computed from the coordinates, to 1.8 A; beyond, nothing scatters but the water."""

FLAGS = """
    -cell 34.77 39.17 48.31 90 90 90 -misset 12 35 57 -Na 20 -Nb 17 -Nc 14 -gauss_xtal -mosaic 0.2 -mosaic_domains 10
    -phi 0 -osc 1 -phisteps 10 -lambda 1.0 -fluence 7e26 -polar 0.95 -distance 180 -pixel 0.172
    -detpixels_x 1475 -detpixels_y 1679 -Xbeam 146 -Ybeam 124 -oversample 2 -nointerpolate -water 0.052 -seed 1
    -floatfile example.bin -noisefile example.img -pngfile example.png -pngmarks -nopgm -nointfile
"""

MASK = "example_mask.img"
SHAPE, BEAM = (1679, 1475), (848.0, 721.0)
"""The size of the detector and the spot of the direct beam in pixels: slow, fast."""

MODULE, GAP = (195, 487), (17, 7)
"""The size of a module of the detector and of the gap between two modules in pixels: slow, fast."""

STOP, ARM = 24, 7
"""The radius of the beamstop, and half the width of the arm that holds it from below, in pixels."""


def main(args: Sequence[str]) -> int:
    """Render the example with the user's flags after its own. Returns the exit status."""
    if args[:1] in (["-h"], ["-help"], ["--help"]):
        print(USAGE, ABOUT, "", "Its own flags:", FLAGS.rstrip(), sep="\n")
        return 0
    with ExitStack() as stack:
        stack.enter_context(files.together())
        data = [resources.files("nbnumba.data") / name for name in ("1orc_P1.hkl.gz", "water.stol")]
        amplitudes, water = (str(stack.enter_context(resources.as_file(resource))) for resource in data)
        smv.write(MASK, mask(), [], "example")
        words = ["-hkl", amplitudes, "-stol", water, "-mask", MASK, *shlex.split(FLAGS), *args]
        command_line = CommandLine(words)
        run, experiment = run_of(command_line), experiment_of(command_line)
        if not run.quiet:
            print(ABOUT, "", "The same as", f"  nbnumba {shlex.join(words)}", "", sep="\n")
        report(experiment, run)
        if run.dry:
            files.discard()
    return 0


def mask() -> np.ndarray:
    """The mask (slow, fast), uint16: 0 in the gaps between modules, behind the beamstop and behind its arm, else 1."""
    slow, fast = np.ogrid[: SHAPE[0], : SHAPE[1]]
    on_module = (slow % (MODULE[0] + GAP[0]) < MODULE[0]) & (fast % (MODULE[1] + GAP[1]) < MODULE[1])
    stop = np.hypot(slow - BEAM[0], fast - BEAM[1]) <= STOP
    arm = (slow >= BEAM[0]) & (abs(fast - BEAM[1]) <= ARM)
    return (on_module & ~stop & ~arm).astype(np.uint16)
