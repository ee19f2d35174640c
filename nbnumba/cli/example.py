"""The subcommand example: a rotation frame of a real protein, with nothing to prepare."""

import shlex
from collections.abc import Sequence
from importlib import resources

from nbnumba.cli.simulate import report
from nbnumba.cli.statement import Statement

ABOUT = """\
A rotation frame of the Cro repressor (PDB 1ORC) on a 2463 x 2527 detector of 0.172 mm pixels, assuming
  a crystal of 60 x 52 x 42 unit cells (about 2 um), mosaic spread 0.2 degrees in 10 domains, 1 degree in 10 steps,
  10 s of 1e13 photons/s of 1 A in a beam of 2 um, polarized at a synchrotron, 0.45 um of water, and photon noise.
Structure factors are computed from the coordinates, to 1.8 A; beyond, nothing scatters but the water."""

FLAGS = """
    -cell 34.77 39.17 48.31 90 90 90 -misset 12 35 57 -Na 60 -Nb 52 -Nc 42 -mosaic 0.2 -mosaic_domains 10
    -phi 0 -osc 1 -phisteps 10 -lambda 1.0 -flux 1e13 -exposure 10 -beamsize 0.002 -polar 0.95
    -distance 300 -pixel 0.172 -detpixels_x 2463 -detpixels_y 2527 -oversample 1 -nointerpolate -water 0.45 -seed 1
    -floatfile example.bin -noisefile example.img -pngfile example.png -nopgm -nointfile
"""


def main(args: Sequence[str]) -> int:
    """Render the example; flags given on the command line come after its own. Returns the exit status."""
    if args[:1] in (["-h"], ["--help"]):
        print(ABOUT)
        return 0
    with resources.as_file(resources.files("nbnumba.data") / "1orc_P1.hkl.gz") as amplitudes:
        words = ["-hkl", str(amplitudes), *shlex.split(FLAGS), *args]
        statement = Statement(words)
        run, experiment = statement.run(), statement.experiment()
        if not run.quiet:
            print(ABOUT, "", "The same as", f"  nbnumba {shlex.join(words)}", "", sep="\n")
        report(experiment, run)
    return 0
