"""The named scenes of the bench: command lines, the files that they name, and the experiments that they state."""

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbnumba import Experiment
from nbnumba.setup import sampling
from nbnumba.setup.scene import build, steps_per_pixel

MATRIX = (
    (-0.02837711, -0.00305386, 0.02535816),
    (-0.02871390, 0.01019549, -0.01400049),
    (0.01050048, -0.03209440, -0.01036054),
)
"""The columns a*, b* and c* times the wavelength of a triclinic cell with edges of about 27, 32 and 34 A."""

LARGEST_INDEX = 34

COMMON = "-nonoise -nointerpolate -exposure 1 -flux 1e18 -beamsize 1.0 -lambda 0.976800 -pixel 0.172 -Na 36 -Nb 47 -Nc 29"
PLAIN_CAMERA = "-distance 231.274660"
PILATUS = """
    -spindle_axis -1 0 0 -Xbeam 217.742295 -Ybeam 213.907080 -distance 231.274660
    -odet_vector -0.000088 0.004914 -0.999988 -sdet_vector -0.005998 -0.999970 -0.004913
    -fdet_vector 0.999982 -0.005998 -0.000118 -pix0_vector_mm -216.336293 215.205512 -230.200866
    -beam_vector 0.00051387949 0.0 -0.99999986 -detector_rotx 0 -detector_roty 0 -detector_rotz 0 -twotheta 0
"""


class Scene(NamedTuple):
    """A command line, the region (first and last fast, first and last slow pixel), and what a pixel may lack, in photons."""

    name: str
    args: tuple[str, ...]
    region: tuple[int, int, int, int]
    tolerance: float = 0.0

    @property
    def experiment(self) -> Experiment:
        """The experiment that the command line states."""
        return experiment_of(self.args).replace({"sampling.tolerance": self.tolerance})

    @property
    def pixels(self) -> int:
        """The number of pixels of the region."""
        left, right, low, high = self.region
        return (right - left + 1) * (high - low + 1)

    @property
    def steps(self) -> int:
        """The number of steps of a pixel, with every layer."""
        return steps_per_pixel(build(self.experiment, window_of(self.experiment)))


@functools.lru_cache(maxsize=4)
def experiment_of(args: tuple[str, ...]) -> Experiment:
    """The experiment of a command line. Files of a scene do not change, and some are long: they are not read again."""
    return Experiment.from_args(args)


def window_of(experiment: Experiment) -> sampling.Window:
    """The pixels that an experiment asks for."""
    return sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)


def supervisor(folder: Path, side: int | None = None) -> Scene:
    """A whole frame of 2463 x 2527 pixels: a rotation of 0.1 degrees in 10 steps, one amplitude for all reflections."""
    flags = f"{PILATUS} -default_F 190.27 -oversample 1 -osc 0.1 -phi 0 -phisteps 10"
    return _scene("supervisor", folder, flags, (2463, 2527), side)


def tolerant(folder: Path, side: int | None = None) -> Scene:
    """The frame of `supervisor`, of which every pixel may lack 0.001 photons."""
    return supervisor(folder, side)._replace(name="tolerant", tolerance=1e-3)


def mosaic(folder: Path, side: int | None = None) -> Scene:
    """1024 x 1024 pixels, 10 phi steps of 10 mosaic domains, amplitudes from a list. The sum over lattices takes the time."""
    flags = f"{PLAIN_CAMERA} -hkl {reflections(folder)} -oversample 1 -osc 1 -phisteps 10 -mosaic 0.3 -mosaic_domains 10"
    return _scene("mosaic", folder, flags, (1024, 1024), side)


def torch(folder: Path, side: int | None = None) -> Scene:
    """256 x 256 pixels, 10 phi steps of 10 mosaic domains, one amplitude: the scene on which nanobrag_torch was timed."""
    flags = f"{PLAIN_CAMERA} -default_F 100 -oversample 1 -osc 1 -phisteps 10 -mosaic 0.3 -mosaic_domains 10"
    return _scene("torch", folder, flags, (256, 256), side)


def gauss(folder: Path, side: int | None = None) -> Scene:
    """The scene of `torch` with Gaussian spots. What scatters nothing is left out."""
    scene = torch(folder, side)
    return scene._replace(name="gauss", args=(*scene.args, "-gauss_xtal"))


def spheres(folder: Path, side: int | None = None) -> Scene:
    """The scene of `torch` with round crystals."""
    scene = torch(folder, side)
    return scene._replace(name="spheres", args=(*scene.args, "-round_xtal"))


def tophat(folder: Path, side: int | None = None) -> Scene:
    """The scene of `torch` with spots that have the same brightness all over."""
    scene = torch(folder, side)
    return scene._replace(name="tophat", args=(*scene.args, "-tophat_spots"))


def interpolated(folder: Path, side: int | None = None) -> Scene:
    """256 x 256 pixels, 10 phi steps, amplitudes between the reflections of a list."""
    hkl = reflections(folder)
    flags = f"{PLAIN_CAMERA} -hkl {hkl} -oversample 1 -osc 1 -phisteps 10 -interpolate"
    return _scene("interpolated", folder, flags, (256, 256), side)


def nearest(folder: Path, side: int | None = None) -> Scene:
    """The scene of `interpolated` with the amplitude of the nearest reflection."""
    scene = interpolated(folder, side)
    return scene._replace(name="nearest", args=tuple(word for word in scene.args if word != "-interpolate"))


def xfel(folder: Path, side: int | None = None) -> Scene:
    """A still of an XFEL, 4096 x 4096 pixels: 100 wavelengths over 0.5 %, 25 domains, Gaussian spots, random amplitudes."""
    scene = xfel_square(folder, side)
    return scene._replace(name="xfel", args=(*scene.args, "-gauss_xtal"))


def xfel_square(folder: Path, side: int | None = None) -> Scene:
    """The still of `xfel` with crystals that are parallelepipeds, of which nothing is left out."""
    crystal = "-cell 80 80 40 90 90 90 -misset 17 31 55 -Na 20 -Nb 20 -Nc 30 -mosaic 0.05 -mosaic_domains 25"
    beam = "-lambda 1.3 -dispersion 0.5 -dispsteps 100 -fluence 1e25"
    rest = f"-distance 100 -pixel 0.075 -oversample 1 -nonoise -nointerpolate -hkl {random_amplitudes(folder)}"
    return _of_size("xfel_square", shlex.split(f"{crystal} {beam} {rest}"), (4096, 4096), side)


def still(folder: Path, side: int | None = None) -> Scene:
    """1024 x 1024 pixels of a single lattice. The geometry of the pixels takes the time."""
    return _scene("still", folder, f"{PLAIN_CAMERA} -default_F 100 -oversample 1", (1024, 1024), side)


def oversampled(folder: Path, side: int | None = None) -> Scene:
    """512 x 512 pixels of 3 x 3 samples, 10 phi steps. Geometry and lattices take about the same time."""
    flags = f"{PLAIN_CAMERA} -default_F 100 -oversample 3 -osc 1 -phisteps 10"
    return _scene("oversampled", folder, flags, (512, 512), side)


def layers(folder: Path, side: int | None = None) -> Scene:
    """512 x 512 pixels of a thick sensor of 8 layers, each with its own capture fraction, 5 phi steps."""
    sensor = "-detector_abs 500 -detector_thick 450 -thicksteps 8 -oversample_thick"
    flags = f"{PLAIN_CAMERA} -default_F 100 -oversample 1 -osc 1 -phisteps 5 {sensor}"
    return _scene("layers", folder, flags, (512, 512), side)


def sources(folder: Path, side: int | None = None) -> Scene:
    """256 x 256 pixels of a single lattice in a divergent beam of 5 wavelengths: 285 sources."""
    flags = f"{PLAIN_CAMERA} -default_F 100 -oversample 1 -divergence 2 -divsteps 9 -dispersion 1 -dispsteps 5"
    return _scene("sources", folder, flags, (256, 256), side)


def sase(folder: Path, side: int | None = None) -> Scene:
    """512 x 512 pixels of an XFEL's pulse: 200 wavelengths over 0.4 %, of which a few dozen spikes have most of the light."""
    random, count = np.random.default_rng(2), 200
    wavelengths = np.linspace(1.2974, 1.3026, count)
    spikes = np.convolve(random.normal(size=count) + 1j * random.normal(size=count), np.hanning(7), "same")
    weights = np.abs(spikes) ** 2 * np.exp(-0.5 * ((wavelengths - 1.3) / 1e-3) ** 2)
    return _of_spectrum("sase", folder, wavelengths, weights, side)


def pink(folder: Path, side: int | None = None) -> Scene:
    """512 x 512 pixels of a pink beam: 5 % wide with a tail to long wavelengths, 40 wavelengths."""
    wavelengths = np.linspace(1.00, 1.12, 40)
    weights = np.where(wavelengths < 1.03, (wavelengths - 0.995) / 0.035, np.exp(-(wavelengths - 1.03) / 0.03))
    return _of_spectrum("pink", folder, wavelengths, weights, side)


def _of_spectrum(name, folder, wavelengths, weights, side) -> Scene:
    """A scene of Gaussian spots of 5 domains under a spectrum, which is written to a folder."""
    path = folder / f"{name}.lam"
    np.savetxt(path, np.column_stack([wavelengths, weights]), fmt="%.6f", header="wavelength_A weight")
    flags = f"-cell 80 80 40 90 90 90 -misset 17 31 55 -N 15 -mosaic 0.05 -mosaic_domains 5 -spectrum {path} -fluence 1e25"
    rest = "-distance 100 -pixel 0.15 -oversample 1 -nonoise -default_F 100 -gauss_xtal"
    return _of_size(name, shlex.split(f"{flags} {rest}"), (512, 512), side)


def curved(folder: Path, side: int | None = None) -> Scene:
    """1024 x 1024 pixels of a curved detector, all of them as far from the crystal, a single lattice."""
    return _scene("curved", folder, f"{PLAIN_CAMERA} -default_F 100 -oversample 1 -curved_det", (1024, 1024), side)


def tiny(folder: Path, side: int | None = None) -> Scene:
    """16 x 16 pixels, 10 phi steps. What a call takes besides its pixels takes the time."""
    flags = f"{PLAIN_CAMERA} -default_F 100 -oversample 1 -osc 1 -phisteps 10"
    return _scene("tiny", folder, flags, (16, 16), None if side is None or side >= 16 else side)


SCENES: dict[str, Callable[..., Scene]] = {
    "supervisor": supervisor,
    "mosaic": mosaic,
    "still": still,
    "oversampled": oversampled,
    "torch": torch,
    "tolerant": tolerant,
    "gauss": gauss,
    "spheres": spheres,
    "tophat": tophat,
    "interpolated": interpolated,
    "layers": layers,
    "sources": sources,
    "curved": curved,
    "tiny": tiny,
    "xfel": xfel,
    "sase": sase,
    "pink": pink,
}


def reflections(folder: Path) -> Path:
    """A list of all reflections up to LARGEST_INDEX, written to a folder: F = 20 + 2 ((7 h + 13 k + 29 l) mod 101)."""
    path = folder / "bench.hkl"
    if not path.exists():
        axis = np.arange(-LARGEST_INDEX, LARGEST_INDEX + 1)
        h, k, l = (x.ravel() for x in np.meshgrid(axis, axis, axis, indexing="ij"))
        amplitude = 20 + 2 * ((7 * h + 13 * k + 29 * l) % 101)
        np.savetxt(path, np.column_stack([h, k, l, amplitude]), fmt="%d")
    return path


def random_amplitudes(folder: Path) -> Path:
    """A list of the reflections of the cell of `xfel` to 1.4 A, written to a folder: F is drawn from a gamma distribution.

    This is the resolution at the edges of the frame, so that no part of it is dark for want of amplitudes."""
    path = folder / "random.hkl"
    if not path.exists():
        h, k, l = (x.ravel() for x in np.meshgrid(*(np.arange(-n, n + 1) for n in (57, 57, 28)), indexing="ij"))
        resolved = (h / 80.0) ** 2 + (k / 80.0) ** 2 + (l / 40.0) ** 2 <= 1.4**-2
        amplitude = np.random.default_rng(1).gamma(2.0, 60.0, resolved.sum())
        np.savetxt(path, np.column_stack([h[resolved], k[resolved], l[resolved], amplitude]), fmt="%d %d %d %.2f")
    return path


def _scene(name, folder, flags, size, side) -> Scene:
    """A scene of the triclinic crystal: of `size` (fast, slow) pixels, or of `side` x `side` of these."""
    matrix = folder / "bench.mat"
    matrix.write_text("".join(" ".join(map(repr, row)) + "\n" for row in MATRIX))
    return _of_size(name, ["-mat", str(matrix), *shlex.split(COMMON), *shlex.split(flags)], size, side)


def _of_size(name, words, size, side) -> Scene:
    """A scene of `size` (fast, slow) pixels, or of `side` x `side` of these pixels between the corner and the beam."""
    region = (0, size[0] - 1, 0, size[1] - 1)
    words = [*words, "-detpixels_x", str(size[0]), "-detpixels_y", str(size[1])]
    if side is not None:
        left, low = (3 * pixels // 8 for pixels in size)
        region = (left, min(left + side, size[0]) - 1, low, min(low + side, size[1]) - 1)
        words += ["-roi", *map(str, region)]
    return Scene(name, tuple(words), region)
