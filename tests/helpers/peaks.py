"""Random experiments over all conventions whose windows contain peaks, for the tests of the gradient.

The detector, the beam and the flags are drawn as in random_experiments.py. Then everything is measured by one spot: the
pixel, so that a spot is some pixels wide; osc, divergences and mosaic spread, so that they move it by about its width; the
orientation, so that a reflection is in the window (not in the middle of a sample, where an interpolated amplitude has a
kink); fluence and water, so that there are hundreds of photons, not all of them water's.
"""

import math

import numpy as np
from random_experiments import Maker

from adjoint.losses import Gaussian, Poisson
from nbnumba import Crystal, Experiment, InputError, simulate
from nbnumba.geometry.rotations import about_axis, about_xyz, unit
from nbnumba.parity import SWITCHES
from nbnumba.setup import sampling, scene
from nbnumba.setup.crystal import missetting_deg, orient
from nbnumba.stages.beam import scattering_vector

PHOTONS = 1000.0
"""Photons in the brightest pixel."""
UNUSED = ("documented_flags_ignored",)
"""Defects that concern flags of which none is drawn."""
KINKED = (92000,)
"""Seeds whose first draw of wavelengths puts a pixel half way between two reflections, where an image has a kink."""
MATERIALS = (("background.air_mm", 1.0, {}), ("background.ice_um", 1 / 3, {"background.ice_size_A": 60.0}))
"""Materials beside water: what states their amount, of which power of their light that is, and what else is stated."""

MOST, MOST_INTERPOLATED = 32, 8
"""Terms of a pixel: so few that all is done in a minute."""


class Peaked(Maker):
    """A generator of random command lines. `experiment` turns one into an experiment with a peak."""

    def __init__(self, seed, folder):
        self.table = self.cell_spread = None
        self.lights = np.random.default_rng([seed, 4 if seed in KINKED else 3])
        super().__init__(seed, folder, True)

    def make(self, full):
        self.fast, self.slow = (int(self.random.integers(18, 25)) for _ in range(2))
        self.wavelength, self.distance = self.spread(0.5, 3.0), self.spread(20.0, 1000.0)
        self.lengths = [self.spread(15.0, 120.0) for _ in range(3)]
        self.interpolated = self.chance(0.25)
        most = 6 if self.interpolated else 25
        self.numbers = [int(self.spread(3.0, most)) for _ in range(3)]
        edge = math.prod(n * a for n, a in zip(self.numbers, self.lengths)) ** (1 / 3)
        self.width = self.wavelength / edge
        self.pixel = self.distance * self.width / self.uniform(2.5, 6.0)
        for part in (self.detector, self.orientation_of_detector, self.crystal, self.beam, self.rotation, self.sampling,
                     self.shape, self.sources, self.sensor):  # fmt: skip
            part()
        self.args = [word for i in self.random.permutation(len(self.flags)) for word in self.flags[i]]

    def detector(self):
        super().detector()
        far = self.pick(0.0, 1.0, 5.0, 20.0)
        for words in self.flags:
            if words[0] in ("-Xbeam", "-Ybeam", "-Xclose", "-Yclose"):
                words[1] = repr(float(words[1]) + far * self.uniform(-1, 1) * self.fast * self.pixel)
            elif words[0] in ("-ORGX", "-ORGY"):
                words[1] = repr(float(words[1]) + far * self.uniform(-1, 1) * self.fast)

    def orientation_of_detector(self):
        for flag in ("-detector_rotx", "-detector_roty", "-detector_rotz", "-twotheta"):
            if self.chance(0.4):
                self.add(flag, self.pick(self.uniform(-30.0, 30.0), self.uniform(-2.0, 2.0)))
        if self.chance(0.4):
            self.add("-pivot", self.pick("beam", "sample"))

    def crystal(self):
        cell = self.lengths + list(self.angles())
        if self.chance(0.3):
            self.matrix(cell)
        else:
            self.add("-cell", *cell)
        if self.chance(0.1):
            self.add("-misset", "random")
            self.add("-misset_seed", int(self.random.integers(-99999, 99999)))
        else:
            self.add("-misset", *(self.uniform(-5.0, 5.0) for _ in range(3)))
        for flag, number in zip(("-Na", "-Nb", "-Nc"), self.numbers):
            self.add(flag, number)
        self.add("-interpolate" if self.interpolated else "-nointerpolate")
        self.add("-default_F", self.uniform(10.0, 300.0))
        if self.chance(0.25):
            self.add("-mosaic", math.degrees(self.width) * self.spread(0.2, 2.0))
            if self.apart.random() < 0.7:
                self.add("-mosaic_abc", *(math.degrees(self.width) * self.apart.uniform(0.2, 2.0, 3)))
            self.cell_spread = math.degrees(self.width) * self.further.uniform(0.005, 0.05, 3)
            self.add("-mosaic_domains", int(self.random.integers(2, 4)))
            self.add("-mosaic_seed", int(self.random.integers(-9999, 9999)))

    def rotation(self):
        steps, osc = int(self.random.integers(1, 4)), math.degrees(self.width) * self.spread(0.3, 3.0)
        start = self.pick(0.0, 0.0, -osc / steps * int(self.random.integers(0, steps)), -osc / 2, self.uniform(-180.0, 180.0))
        if self.chance(0.7):
            self.add("-phi", start)
        if self.chance(0.6):
            self.add("-osc", osc)
            if self.chance(0.6):
                self.add("-phisteps", steps)
        elif self.chance(0.2):
            self.add("-phistep", osc / steps)

    def sampling(self):
        if self.chance(0.8):
            self.add("-oversample", self.pick(1, 1, 2))
        for flag in ("-oversample_polar", "-oversample_omega", "-point_pixel"):
            if self.chance(0.12):
                self.add(flag)
        if self.chance(0.25):
            self.add("-water", 1.0)
            if self.chance(0.5):
                x = np.linspace(0.0, 1.5, 40)
                np.savetxt(self.folder / "stol", np.column_stack([x, 2 + 2 * np.exp(-4 * x) + 0.3 * np.sin(9 * x)]))
                self.add("-stol", self.folder / "stol")
        self.threads = int(self.random.integers(1, 5))
        some = [name for name in SWITCHES if name not in UNUSED and self.chance(0.35)]
        self.switches = self.pick((), tuple(SWITCHES), tuple(some), tuple(some))

    def shape(self):
        if self.chance(0.35):
            self.add(self.pick("-round_xtal", "-gauss_xtal"))
            if self.chance(0.3):
                self.add("-fudge", self.spread(0.5, 2.0))

    def sources(self):
        kind = self.pick("", "", "", "table", "sweeps", "sweeps", "sweeps")
        if kind == "table":
            rows = []
            for _ in range(self.pick(1, 3)):
                aside = self.direction() * self.width * self.spread(0.3, 3.0)
                rows.append([*aside, self.uniform(0.1, 2.0), self.wavelength * self.uniform(0.99, 1.01)])
            self.table, self.told = np.array(rows), self.pick(5, 5, 4)
            self.table[:, self.told :] = np.nan
        elif kind == "sweeps":
            for axis in "hv":
                if self.chance(0.6):
                    self.add(f"-{axis}divrange", 1000 * self.width * self.spread(0.3, 3.0))
                    self.add(f"-{axis}divsteps", self.pick(2, 2, 3))
            if self.chance(0.6):
                self.add("-dispersion", self.spread(0.05, 5.0))
                self.add("-dispsteps", self.pick(2, 2, 3))
            if self.chance(0.3):
                self.add("-square_div")

    def sensor(self):
        if self.chance(0.4):
            self.add("-detector_thick", self.spread(10.0, 300.0))
            if self.chance(0.7):
                self.add("-detector_abs", self.spread(30.0, 1000.0))
            if self.chance(0.7):
                self.add("-detector_thicksteps", int(self.random.integers(1, 4)))
        if self.chance(0.2):
            self.add("-oversample_thick")
        if self.chance(0.15):
            self.add("-curved_det")

    def experiment(self) -> Experiment | None:
        """The experiment; None if the drawn one is impossible or has lost its peak."""
        every = {"-oversample_thick", "-oversample_polar", "-oversample_omega"} & set(self.args)
        switches = [name for name in self.switches if name != "oversample_running_sum" or not every]
        parity = ["-c_parity", *switches] if switches else []
        stated = Experiment.from_args([*self.args, *parity, "-c_threads", str(self.threads)])
        try:
            return self.finished(stated)
        except InputError:
            return None

    def finished(self, stated):
        if self.table is not None:
            stated = self.with_sources(stated)
        stated = self.with_lights(stated)
        if terms(stated) > (MOST_INTERPOLATED if self.interpolated else MOST):
            return None
        if self.interpolated and not {"xbeam_mm", "orgx_pixels", "xclose_mm", "pix0_mm"} & given(stated.detector):
            stated = stated.replace({"detector.xbeam_mm": stated.value("detector.xbeam_mm") + 0.13 * self.pixel})
        self.place = (int(self.slow * self.uniform(0.25, 0.75)), int(self.fast * self.uniform(0.25, 0.75)))
        stated, hkl = aligned(self, stated)
        if self.chance(0.2):
            stated = stated.replace({"crystal.n_cells": tuple(n + self.uniform(0.0, 1.0) for n in self.numbers)})
        if stated.crystal.shape == "gauss" and not stated.sampling.defects.gauss_metric:
            stated = stated.replace({"crystal.n_def": oblique(stated.crystal, self.apart)})
        if self.apart.random() < 0.3:
            stated = with_b_factors(stated, 1.0 / np.linalg.norm(scattering(stated, self.place)), self.apart)
        if self.interpolated or self.chance(0.25):
            stated = self.with_reflections(stated, hkl)
        if self.chance(0.15):
            resolution = 1 / np.linalg.norm(scattering(stated, self.place))
            stated = stated.replace({"beam.dmin_A": resolution * self.pick(0.5, 0.999, 0.999)})
        if self.chance(0.3):
            left, right, first, last = self.random.integers(0, 2, 4)
            stated = stated.replace({"sampling.roi": (left, self.fast - 1 - right, first, self.slow - 1 - last)})
        if self.chance(0.3):
            stated = stated.replace({"sampling.mask": self.random.random((self.slow, self.fast)) < 0.9})
        dry = simulate(stated.replace({"background.water_um": 0.0}))
        if not dry.max() > 4 * dry.mean():
            return None
        stated = stated.replace({"beam.fluence": stated.beam.fluence * PHOTONS / dry.max()})
        return self.watered(stated) if stated.background.water_um else stated

    def with_sources(self, stated):
        """A table of sources about the beam of any convention."""
        built = scene.build(stated, window_of(stated))
        self.table[:, :3] = -2.0 * (built.sources.direction[0] + self.table[:, :3])
        return stated.replace({"beam.sources": tuple(map(tuple, self.table))})

    def with_lights(self, stated):
        """Now and then a spectrum in place of the dispersion, weights of the sources, and wavelengths that are scaled."""
        random = self.lights
        if random.random() < 0.3 and not stated.sampling.defects.phi_carryover:
            stated = stated.replace({"goniometer.phi_sampling": "mid"})
        if random.random() < 0.5 and not stated.sampling.defects.mosaic_float32:
            stated = stated.replace({"crystal.mosaic_sampling": "sobol"})
        if self.cell_spread is not None and not stated.sampling.defects.mosaic_float32:
            stated = stated.replace({f"crystal.{name}": x for name, x in zip(Crystal.CELL_SPREADS, self.cell_spread.tolist())})
        if random.random() < 0.3 and self.table is None:
            rows = np.column_stack([self.wavelength * random.uniform(0.98, 1.02, 3), random.uniform(0.1, 2.0, 3)])
            values = {"beam.dispersion_percent": None, "beam.dispsteps": None, "beam.spectrum": rows}
            stated = stated.replace(values)
        if random.random() < 0.5:
            values = {"beam.wavelength_scale": random.uniform(0.95, 1.05)}
            stated = stated.replace(values | {"beam.wavelength_offset_A": random.uniform(-0.02, 0.02)})
        if random.random() < 0.3:
            count = len(scene.build(stated, window_of(stated)).sources.weight)
            stated = stated.replace({"beam.source_weights": random.uniform(0.1, 2.0, count)})
        return stated

    def with_reflections(self, stated, hkl):
        """Reflections about the one that is in the window: of smooth amplitudes between which is interpolated, else of one
        amplitude, so that nothing jumps half way between two."""
        around = [np.arange(n - 7, n + 8) for n in hkl]
        listed = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, 3)
        amplitude = np.full(len(listed), stated.structure_factors.default_F)
        if self.interpolated:
            amplitude *= 1 + 0.5 * np.sin(listed @ self.random.normal(size=3) * 0.5 + self.uniform(0, 6))
        return stated.replace({"structure_factors.hkl": listed, "structure_factors.F": amplitude})

    def watered(self, stated):
        """The experiment with so much water that it adds a tenth, or all, of the photons of the brightest pixel."""
        added = simulate(stated.replace({"background.water_um": 1.0})) - simulate(stated.replace({"background.water_um": 0.0}))
        if not added.max() > 0:
            return None
        stated = stated.replace({"background.water_um": float((self.pick(0.1, 1.0) * PHOTONS / added.max()) ** (1 / 3))})
        defects = stated.sampling.defects
        if defects.water_scale or defects.amorphous_ignored:
            return stated
        for name, power, more in MATERIALS:
            if self.lights.random() < 0.5:
                continue
            some = stated.replace({name: 1.0} | more)
            light = (simulate(some) - simulate(stated)).max()
            if light > 0:
                stated = some.replace({name: float((0.3 * PHOTONS / light) ** power)})
        return stated


def with_b_factors(experiment, d, random):
    """The experiment with B factors that weaken a reflection of the resolution d (A) clearly, of any direction."""
    largest = float(random.uniform(2.0, 6.0)) * d * d
    experiment = experiment.replace({"crystal.b_factor_A2": largest})
    parts = random.uniform(-0.5, 0.5, 6) * largest
    while True:
        anisotropic = {f"crystal.{name}": float(x) for name, x in zip(Crystal.ANISOTROPIC, parts)}
        try:
            experiment.replace(anisotropic | {"crystal.b_factor_A2": 0.9 * largest})  # with room for steps
            return experiment.replace(anisotropic)
        except InputError:
            parts = 0.5 * parts


def oblique(crystal, random) -> tuple[float, float, float]:
    """Numbers of cells off the diagonal, which make spots clearly oblique."""
    a, b, c = crystal.n_a, crystal.n_b, crystal.n_c
    return tuple(float(random.uniform(-0.4, 0.4) * math.sqrt(product)) for product in (a * b, b * c, a * c))


def given(detector) -> set[str]:
    """The fields of a detector that are stated."""
    return {name for name, value in vars(detector).items() if value is not None}


def window_of(experiment):
    """The window of an experiment."""
    return sampling.window(experiment.detector.pixels, experiment.sampling.roi, experiment.sampling.mask)


def terms(experiment):
    """The number of terms of a pixel: samples times sources times lattices."""
    built = scene.build(experiment, window_of(experiment))
    samples = built.sampling.layers * built.sampling.oversample**2
    return samples * len(built.sources.weight) * len(built.orientations.lattice)


def scattering(experiment, place):
    """The scattering vector (1/A) in the middle of a pixel (slow, fast), for the source in the middle."""
    built = scene.build(experiment, window_of(experiment))
    half = built.sampling.oversample // 2
    towards = sampling.directions(built.panel, built.sampling, place[0], [place[1]], 0, half, half)
    source = len(built.sources.weight) // 2
    towards = tuple(float(x[0]) for x in towards)
    return np.array(scattering_vector(towards, built.sources.direction[source], built.sources.wavelength[source]))


def aligned(maker, stated):
    """The experiment with its cell scaled and its crystal rotated so that a reflection is at a pixel, and that reflection."""
    slow, fast = maker.place
    corners = [scattering(stated, place) for place in ((slow, fast), (slow + 1, fast), (slow, fast + 1))]
    q = corners[0] + maker.uniform(0.1, 0.4) * (corners[1] + corners[2] - 2 * corners[0])
    built = scene.build(stated, window_of(stated))
    lattices, domains = built.orientations.lattice, max(1, len(built.orientations.lattice) // phi_steps(stated))
    middle = lattices[len(lattices) // domains // 2 * domains].reshape(3, 3)
    defects = stated.sampling.defects
    vectors = orient(stated.crystal, defects)
    target = np.linalg.solve(vectors, middle) @ q
    turned = stated.crystal.orientation is not None or stated.crystal.misset_seed is not None
    still = {"crystal.misset_deg": (0.0, 0.0, 0.0), "crystal.orientation": tuple(map(tuple, np.eye(3))) if turned else None}
    unturned = orient(stated.replace(still).crystal, defects)
    for _ in range(100):
        hkl = np.round(unturned @ maker.direction() * np.linalg.norm(q))
        start = np.linalg.solve(unturned, hkl)
        scale = np.linalg.norm(start) / np.linalg.norm(q)
        if 0.7 < scale < 1.4:
            break
    else:
        return stated, np.zeros(3)
    start, target = unit(start), unit(target)
    across = np.cross(start, target)
    turn = about_axis(unit(across), math.atan2(np.linalg.norm(across), start @ target))
    turn = about_axis(target, maker.uniform(0, 2 * math.pi)) @ turn
    names = ("crystal.a_A", "crystal.b_A", "crystal.c_A")
    values = {name: float(scale * stated.value(name)) for name in names}
    if turned:
        missetting = about_xyz(missetting_deg(stated.crystal, defects))
        return stated.replace(values | {"crystal.orientation": tuple(map(tuple, missetting.T @ turn))}), hkl
    return stated.replace(values | {"crystal.misset_deg": angles_of(turn)}), hkl


def phi_steps(experiment):
    """The number of phi steps."""
    return experiment.value("goniometer.phisteps")


def angles_of(turn):
    """The angles (degrees) about x, y and z of a rotation matrix Rz Ry Rx."""
    about_y = math.atan2(-turn[2, 0], math.hypot(turn[0, 0], turn[1, 0]))
    about_x, about_z = math.atan2(turn[2, 1], turn[2, 2]), math.atan2(turn[1, 0], turn[0, 0])
    return tuple(math.degrees(angle) for angle in (about_x, about_y, about_z))


def judged(number, experiment, image):
    """A loss of the rendered pixels, with data that the image does not fit: Gaussian and Poisson in turns."""
    random = np.random.default_rng(number)
    wrong = image * random.uniform(0.6, 1.3, image.shape) + 0.01 * PHOTONS * random.random(image.shape)
    if number % 2:
        return Poisson(random.poisson(wrong + 3.0), background=3.0, mask=rendered(experiment))
    return Gaussian(wrong, sigma=np.sqrt(image + 10.0), mask=rendered(experiment))


def rendered(experiment):
    """Whether each pixel is rendered (slow, fast)."""
    window = window_of(experiment)
    inside = np.zeros(experiment.detector.pixels[::-1], dtype=bool)
    inside[slice(*window.rows), slice(*window.columns)] = True
    return inside & (window.mask != 0) if window.mask.size else inside


def made(number, folder) -> Experiment:
    """The experiment of a seed. Impossible ones are drawn again."""
    for attempt in range(50):
        experiment = Peaked(1000 * number + attempt, folder).experiment()
        if experiment is not None:
            return experiment
    raise AssertionError(f"experiment {number} is impossible 50 times")
