"""The checks of images: against the oracle, against the sum of all terms, and on other numbers of threads."""

import math
from collections.abc import Callable

import numba
import numpy as np
import oracle

from bench import cases
from nbnumba import Experiment, simulate
from nbnumba.loops.patches import is_culled
from nbnumba.setup.culling import every_term
from nbnumba.setup.scene import build, panel_scenes
from nbnumba.simulate import render as render_scene

RELATIVE, OF_MAXIMUM = 1e-9, 1e-13
"""The largest difference of a pixel from the oracle, as fractions of the pixel and of the brightest compared pixel.

The oracle computes the sine of pi N h as it stands, which rounds an angle of hundreds of turns."""

BRIGHTEST, RANDOM = 16, 20
"""The numbers of pixels that are compared: the brightest ones, and random ones."""

WINDOWS, EDGE = 12, 16
"""The windows of an image that are compared with the sum of all terms, and their edges in pixels."""
UNSEEN, ROUNDING = 1e-12, 1e-11
"""Photons that a culled image may lack beside its tolerance, and the part of a pixel by which sums of other terms differ."""


class WrongImage(Exception):
    """An image that is wrong, so that it is not timed."""


def check(scene: cases.Scene, image: np.ndarray) -> float:
    """The largest error of an image on some pixels, in units of the allowed error. Raises WrongImage above 1."""
    pixels = compared_pixels(image, scene.region)
    expected = oracle.render(scene.args, pixels=pixels)
    largest = max(expected.values())
    if not largest > 0.0:
        raise WrongImage(f"{scene.name}: the oracle finds no light in {len(pixels)} pixels")
    allowed = {p: RELATIVE * value + OF_MAXIMUM * largest + scene.tolerance + UNSEEN for p, value in expected.items()}
    errors = {p: abs(image[p] - value) / allowed[p] for p, value in expected.items()}
    worst = max(errors, key=lambda p: math.inf if math.isnan(errors[p]) else errors[p])
    if not errors[worst] <= 1.0:
        raise WrongImage(f"{scene.name}: pixel {worst} (slow, fast) is {image[worst]!r}, the oracle has {expected[worst]!r}")
    return errors[worst]


def compared_pixels(image: np.ndarray, region: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """The brightest pixels of a region, its corners, and random ones, as (slow, fast)."""
    left, right, low, high = region
    part = image[low : high + 1, left : right + 1]
    brightest = np.argsort(part, axis=None)[-BRIGHTEST:]
    random = np.random.default_rng(1).choice(part.size, RANDOM, replace=False)
    slow, fast = np.unravel_index(np.concatenate([brightest, random]), part.shape)
    corners = [(s, f) for s in (low, high) for f in (left, right)]
    return sorted({*corners, *((int(s) + low, int(f) + left) for s, f in zip(slow, fast))})


def check_culled(scene: cases.Scene, image: np.ndarray) -> None:
    """Check some windows of an image against the sum of all terms, if the image may lack terms. Raises WrongImage."""
    experiment = scene.experiment
    if not is_culled(build(experiment, cases.window_of(experiment))):
        return
    for roi in windows(scene.region, image):
        inside = (slice(roi[2], roi[3] + 1), slice(roi[0], roi[1] + 1))
        lack = whole(experiment.replace({"sampling.roi": roi}))[inside] - image[inside]
        allowed = scene.tolerance + UNSEEN + ROUNDING * image[inside]
        if not (np.abs(lack) <= allowed).all():
            raise WrongImage(f"{scene.name}: a pixel within {roi} lacks {lack.max():g} photons")


def windows(region: tuple[int, int, int, int], image: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Small regions within a region: one about the brightest pixel of its image, the others at random."""
    random = np.random.default_rng(2)
    left, right, low, high = region
    slow, fast = np.unravel_index(np.argmax(image), image.shape)
    last_fast, last_slow = max(left, right - EDGE), max(low, high - EDGE)
    starts = [(min(max(left, int(fast) - EDGE // 2), last_fast), min(max(low, int(slow) - EDGE // 2), last_slow))]
    for _ in range(WINDOWS - 1):
        starts.append((int(random.integers(left, last_fast + 1)), int(random.integers(low, last_slow + 1))))
    return [(f, min(f + EDGE, right), s, min(s + EDGE, high)) for f, s in starts]


def whole(experiment: Experiment) -> np.ndarray:
    """The image of an experiment in which every term counts."""
    return renderer(experiment)()


def renderer(experiment: Experiment) -> Callable[[], np.ndarray]:
    """A function that renders an experiment, whose setup has been done, with every term."""
    panels = [panel._replace(scene=every_term(panel.scene)) for panel in panel_scenes(experiment)]
    return lambda: render_scene(panels, experiment.detector.pixels[::-1])


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images have the same bits."""
    return first.tobytes() == second.tobytes()


def render(scene: cases.Scene, threads: int) -> np.ndarray:
    """The image of a scene, rendered by that number of threads."""
    numba.set_num_threads(threads)
    return simulate(scene.experiment)


def checked(scene: cases.Scene, threads: list[int]) -> float:
    """Compile, and check the images of all numbers of threads. Returns the error as `check` does. Raises WrongImage."""
    images = [render(scene, n) for n in threads]
    error = check(scene, images[0])
    check_culled(scene, images[0])
    for n, image in zip(threads, images):
        if not same_bits(image, images[0]):
            raise WrongImage(f"{scene.name}: {n} threads give other bits than {threads[0]}")
    return error


def check_single(scene: cases.Scene, image: np.ndarray) -> None:
    """Check an image that was rounded to 4-byte floats. Raises WrongImage."""
    pixels = compared_pixels(image, scene.region)
    for pixel, expected in oracle.render(scene.args, pixels=pixels).items():
        if not abs(image[pixel] - expected) <= 1e-6 * expected:
            raise WrongImage(f"startup: pixel {pixel} (slow, fast) is {image[pixel]!r}, the oracle has {expected!r}")
