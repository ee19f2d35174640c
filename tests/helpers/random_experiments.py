"""Random command lines, and the precision with which their images have to agree with the oracle."""

import functools
import itertools
import math

import numpy as np
import oracle

from nbnumba.parity import SWITCHES

MOST_TERMS = 200
"""Terms of a pixel that the oracle can follow."""
PIXELS = 12
"""Pixels of an image that are compared."""

KNOWN = tuple(sorted(set(SWITCHES) & set(oracle.PARITY_SWITCHES)))
"""The defects of C that both programs reproduce."""


class Maker:
    """A generator of random command lines, which depend only on the seed."""

    def __init__(self, seed, folder, full=False):
        self.random = np.random.default_rng(seed)
        self.apart = np.random.default_rng([seed, 1])  # for what was added later, so that the rest is drawn as before
        self.further = np.random.default_rng([seed, 2])  # and later still
        self.folder = folder
        self.flags = []
        self.make(full)

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *values):
        return values[self.random.integers(len(values))]

    def uniform(self, low, high):
        return float(self.random.uniform(low, high))

    def spread(self, low, high):
        """A number whose logarithm is uniformly distributed."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def add(self, flag, *values):
        self.flags.append([flag, *(repr(float(v)) if isinstance(v, float) else str(v) for v in values)])

    def make(self, full):
        self.fast, self.slow = (int(self.random.integers(1, 40)) for _ in range(2))
        if self.chance(0.1):
            self.fast = int(self.random.integers(100, 300))
        self.pixel, self.distance = self.spread(0.02, 2.0), self.spread(10.0, 1e4)
        self.detector()
        self.orientation_of_detector()
        self.crystal()
        self.beam()
        self.rotation()
        self.sampling()
        if full:
            self.disorder()
            self.shape()
            self.sources()
            self.sensor()
            self.position()
        order = self.random.permutation(len(self.flags))
        self.args = [word for i in order for word in self.flags[i]]

    def detector(self):
        self.add("-detpixels_x", self.fast)
        self.add(self.pick("-detpixels_y", "-detpixels_s"), self.slow)
        self.add("-pixel", self.pixel)
        self.add(self.pick("-distance", "-distance", "-close_distance"), self.distance)
        self.convention = self.pick("", "-mosflm", "-denzo", "-adxv", "-xds", "-dials", "custom", "custom")
        if self.convention == "custom":
            self.custom()
        elif self.convention:
            self.add(self.convention)
        width, height = self.fast * self.pixel, self.slow * self.pixel
        for axis, size in (("X", width), ("Y", height)):
            middle = self.uniform(-0.5, 1.5) * size
            form = self.pick("", "", "beam", "close", "ORG")
            if form == "ORG":
                self.add("-ORG" + axis, middle / self.pixel)
            elif form:
                self.add(f"-{axis}{form}", middle)
            if form and self.chance(0.1):
                self.add(f"-{axis}close", middle + self.pixel)

    def direction(self):
        vector = self.random.normal(size=3)
        return vector / np.linalg.norm(vector)

    def custom(self):
        """A random frame with the beam within 40 degrees of its normal. Its vectors need not have length 1."""
        fast = self.direction()
        slow = np.cross(self.direction(), fast)
        slow /= np.linalg.norm(slow)
        normal = np.cross(fast, slow)
        tilt = self.uniform(0.0, math.radians(40.0))
        beam = math.cos(tilt) * normal + math.sin(tilt) * (math.cos(1.0) * fast + math.sin(1.0) * slow)
        self.add("-fdet_vector", *(fast * self.pick(1.0, 2.5)))
        self.add("-sdet_vector", *(slow * self.pick(1.0, 0.3)))
        self.add("-beam_vector", *(beam * self.pick(1.0, 7.0)))
        if self.chance(0.6):
            self.add("-odet_vector", *(normal * self.pick(1.0, 3.0)))
        for flag in ("-polar_vector", "-spindle_axis", "-twotheta_axis"):
            if self.chance(0.5):
                self.add(flag, *self.direction())
        if self.chance(0.5):
            corner = self.distance * normal - self.uniform(0, 9.0) * fast - self.uniform(0, 9.0) * slow
            if self.chance(0.5):
                self.add("-pix0_vector_mm", *corner)
            else:
                self.add("-pix0_vector", *(corner / 1000))

    def orientation_of_detector(self):
        for flag in ("-detector_rotx", "-detector_roty", "-detector_rotz", "-twotheta"):
            if self.chance(0.35):
                self.add(flag, self.pick(self.uniform(-70.0, 70.0), self.uniform(-2.0, 2.0)))
        if self.chance(0.4):
            self.add("-pivot", self.pick("beam", "sample"))

    def angles(self):
        """The angles of a cell that is not flat."""
        while True:
            kind = self.pick("orthogonal", "monoclinic", "triclinic", "triclinic")
            al, be, ga = {"orthogonal": (90.0, 90.0, 90.0), "monoclinic": (90.0, self.uniform(60, 120), 90.0)}.get(
                kind, tuple(self.uniform(50, 130) for _ in range(3))
            )
            ca, cb, cg = (math.cos(math.radians(x)) for x in (al, be, ga))
            if 1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg > 0.06:
                return al, be, ga

    def crystal(self):
        self.wavelength = self.spread(0.1, 6.2)
        cell = [self.spread(3.0, 300.0) for _ in range(3)] + list(self.angles())
        if self.chance(0.3):
            self.matrix(cell)
        else:
            self.add("-cell", *(cell if self.chance(0.9) else cell[:4]))
        if self.chance(0.1):
            self.add("-misset", "random")
            self.add("-misset_seed", int(self.random.integers(-99999, 99999)))
        elif self.chance(0.8):
            self.add("-misset", *(self.uniform(-360.0, 360.0) for _ in range(3)))
        self.add("-N", int(self.spread(1.0, 1000.0)))
        for flag in ("-Na", "-Nb", "-Nc"):
            if self.chance(0.6):
                self.add(flag, int(self.spread(1.0, 1001.0)))
        self.add("-nointerpolate")
        if self.chance(0.5):
            self.reflections()
        self.add("-default_F", self.uniform(1.0, 500.0))
        if self.chance(0.3):
            self.add("-mosaic", self.pick(90.0, self.spread(0.001, 5.0)))
            if self.chance(0.9):
                self.add(self.pick("-mosaic_domains", "-mosaic_dom"), int(self.random.integers(1, 5)))
            if self.chance(0.5):
                self.add("-mosaic_seed", int(self.random.integers(-9999, 9999)))

    def disorder(self):
        """B factors of reflections that are seen, and mosaic spreads about axes of the crystal."""
        if self.apart.random() < 0.2 and "triclinic_angles" not in self.switches:
            self.add("-mosaic_abc", *self.apart.uniform(0.0, 3.0, 3))
            if not any(words[0].startswith("-mosaic_dom") for words in self.flags):
                self.add("-mosaic_domains", 3)
        if self.further.random() < 0.2 and "mosaic_float32" not in self.switches:
            self.add("-cell_spread", *self.further.uniform(0.0, 0.1, 3))
            if not any(words[0].startswith("-mosaic_dom") for words in self.flags):
                self.add("-mosaic_domains", 3)
        if self.apart.random() < 0.3:
            self.add("-bfactor", float(self.apart.uniform(1.0, 50.0)) * (self.wavelength / 2.0) ** 2)

    def matrix(self, cell):
        """A matrix file with the columns a* b* c* of the cell in a random orientation, times the wavelength."""
        cosines = [math.cos(math.radians(x)) for x in cell[3:]]
        metric = np.outer(cell[:3], cell[:3]) * np.array(
            [[1.0, cosines[2], cosines[1]], [cosines[2], 1.0, cosines[0]], [cosines[1], cosines[0], 1.0]]
        )
        turn, _ = np.linalg.qr(self.random.normal(size=(3, 3)))
        turn *= np.linalg.det(turn)
        columns = turn @ np.linalg.inv(np.linalg.cholesky(metric)) * self.wavelength
        path = self.folder / "matrix"
        np.savetxt(path, columns, fmt="%.17g")
        self.add("-mat", path)

    def reflections(self):
        hkl = self.random.integers(-6, 7, size=(300, 3))
        path = self.folder / "hkl"
        np.savetxt(path, np.column_stack([hkl, self.random.uniform(0, 100, 300)]), fmt=["%d", "%d", "%d", "%.4f"])
        self.add("-hkl", path)

    def beam(self):
        if self.chance(0.2) and ["-mat"] != [words[0] for words in self.flags if words[0] == "-mat"]:
            self.add("-energy", oracle.EV_ANGSTROM / self.wavelength)
        else:
            self.add(self.pick("-lambda", "-wave", "-wavelength"), self.wavelength)
        if self.chance(0.4):
            self.add("-polar", self.uniform(-1.0, 1.0))
        if self.chance(0.15):
            self.add("-nopolar")
        if self.chance(0.3):
            self.add("-flux", self.spread(1e10, 1e20))
            if self.chance(0.5):
                self.add("-exposure", self.spread(0.01, 10.0))
            if self.chance(0.5):
                self.add("-beamsize", self.spread(0.001, 1.0))
        elif self.chance(0.3):
            self.add("-fluence", self.spread(1e15, 1e30))

    def rotation(self):
        """Starts, ranges and steps in all combinations, many of which pass through 0."""
        steps = int(self.random.integers(1, 7))
        osc = self.pick(self.spread(0.001, 5.0), 1.0, 2.0)
        step = osc / steps
        if self.chance(0.7):
            start = self.pick(
                0.0, 0.0, -step * int(self.random.integers(0, steps)), -osc / 2, self.uniform(-180.0, 180.0)
            )
            self.add("-phi", start)
        if self.chance(0.6):
            self.add("-osc", self.pick(osc, osc, osc, 0.0))
        if self.chance(0.3):
            self.add("-phistep", self.pick(step, 0.25 * osc, osc * 0.3))
        if self.chance(0.6):
            self.add("-phisteps", self.pick(steps, steps, steps, 0))

    def sampling(self):
        self.add("-oversample", int(self.random.integers(1, 4)))
        for flag in ("-oversample_polar", "-oversample_omega", "-point_pixel"):
            if self.chance(0.15):
                self.add(flag)
        if self.chance(0.15):
            self.add("-water", self.spread(1.0, 1000.0))
        if self.chance(0.4):
            x, y = (sorted(self.random.integers(0, n, 2)) for n in (self.fast, self.slow))
            self.add("-roi", *x, *y)
        self.threads = int(self.random.integers(1, 8))
        some = [name for name in KNOWN if self.chance(0.4)]
        self.switches = self.pick((), KNOWN, tuple(some), tuple(some))

    def shape(self):
        """Other shapes, small crystals, sizes in mm and interpolation."""
        if self.chance(0.6):
            self.add(self.pick("-round_xtal", "-gauss_xtal", "-tophat_spots", "-binary_spots", "-square_xtal"))
            if self.chance(0.4):
                self.add("-fudge", self.spread(0.1, 10.0))
            if ["-gauss_xtal"] in self.flags and "gauss_metric" not in self.switches:
                self.add("-N_def", *self.apart.uniform(-0.3, 0.3, 3))
        if self.chance(0.3):
            for flag in self.pick(("-samplesize",), ("-sample_x", "-sample_y"), ("-xtalsize",), ("-sample_z",)):
                self.add(flag, self.spread(1e-6, 1e-3))
        if self.chance(0.3) and ["-nointerpolate"] in self.flags:
            self.flags.remove(["-nointerpolate"])
            if self.chance(0.6):
                self.add("-interpolate")

    def sources(self):
        if self.chance(0.15):
            rows = [[*(-3 * self.direction()), self.uniform(0.1, 2.0), self.wavelength * 1e-10] for _ in range(3)]
            path = self.folder / "sources"
            path.write_text(
                "".join(" ".join(map(repr, map(float, row[: self.pick(5, 5, 4, 3)]))) + "\n" for row in rows)
            )
            self.add("-sourcefile", path)
            return
        for axis in "hv":
            extent = self.spread(0.1, 20.0)
            for ending, draw in (("range", extent), ("step", extent * self.uniform(0.4, 1.0))):
                if self.chance(0.25):
                    self.add(f"-{axis}div{ending}", draw)
            if self.chance(0.4):
                self.add(f"-{axis}divsteps", int(self.random.integers(0, 4)))
        if self.chance(0.1):
            self.add("-divergence", self.spread(0.1, 20.0))
            self.add("-divsteps", int(self.random.integers(1, 4)))
        if self.chance(0.4):
            self.add("-dispersion", self.spread(0.01, 20.0))
            if self.chance(0.7):
                self.add("-dispsteps", int(self.random.integers(0, 4)))
        if self.chance(0.4):
            self.add(self.pick("-round_div", "-square_div"))

    def sensor(self):
        """A sensor with layers, a curved detector, or a cut-off."""
        if self.chance(0.4):
            self.add("-detector_thick", self.spread(10.0, 1000.0))
            if self.chance(0.8):
                self.add("-detector_abs", self.pick(self.spread(50.0, 5000.0), 500, "inf"))
            if self.chance(0.7):
                self.add("-detector_thicksteps", int(self.random.integers(1, 4)))
        if self.chance(0.3):
            self.add("-oversample_thick")
        if self.chance(0.15):
            self.add("-curved_det")
        if self.chance(0.25):
            self.add("-dmin", self.spread(0.2, 50.0))


    def position(self):
        """A crystal that is not where the detector is placed about."""
        if self.further.random() < 0.4 and not self.switches and ["-curved_det"] not in self.flags:
            self.add("-xtal_position", *(self.further.uniform(-0.2, 0.2, 3) * self.distance))


class Shaken(oracle.Model):
    """The oracle with every lattice factor as large as rounding could make it."""

    def terms(self, slow, fast):
        terms = super().terms(slow, fast)
        for term in terms:
            deltas = rounding(self, term.ray.wavelength)
            gap = (
                self.sincg_gap(term.hkl, deltas)
                if self.crystal.shape == "SQUARE"
                else self.peak_gap(term.hkl, deltas)
            )
            term.f_latt = abs(term.f_latt) + gap
            if self.interpolate:
                term.f_cell = abs(term.f_cell) + 10 * self.amplitudes_at_most * sum(deltas)
        return terms

    @functools.cached_property
    def amplitudes_at_most(self):
        return max(self.amplitudes.default, *self.amplitudes.table.values())

    def sincg_gap(self, hkl, deltas):
        """The largest change of the product of three sincgs by rounding."""
        least, most = 1.0, 1.0
        for h, n, delta in zip(hkl, self.crystal.cells, deltas):
            if n > 1:
                size, sine = abs(oracle.sincg(math.pi * h, n)), abs(math.sin(math.pi * h))
                least, most = least * size, most * (size + 2 * math.pi * n * delta / (sine or 2 / (math.pi * n)))
        return most - least

    def peak_gap(self, hkl, deltas):
        """By how much rounding can change a factor that depends on the distance to the reflection: at the corners of
        the box of h, k and l, and where the transform of a sphere cancels."""
        middle, number = self.crystal.lattice_factor(hkl), math.prod(self.crystal.cells)
        signs = itertools.product((-1, 1), repeat=3)
        corners = ([h + sign * delta for h, sign, delta in zip(hkl, each, deltas)] for each in signs)
        return max(abs(self.crystal.lattice_factor(corner) - middle) for corner in corners) + 1e-9 * (
            number if self.crystal.shape == "ROUND" and abs(middle) > 0.5 * number else abs(middle)
        )


def obliquity(model):
    """|n . i|, before and after the detector swings."""
    settings, detector = model.settings, model.detector
    tilt = oracle.rotation_xyz((settings.rotx, settings.roty, settings.rotz))
    bare = oracle.Detector.__new__(oracle.Detector)
    bare.settings = settings
    bare.choose_axes(model.parity)
    unturned = abs(oracle.dot(bare.beam, oracle.turned(tilt, bare.normal)))
    return unturned, abs(oracle.dot(detector.beam, detector.normal))


def rounding(model, wavelength):
    """The delta of the module's docstring for h, k and l."""
    edges = [oracle.length(vector) for vector in model.crystal.lattice]
    a, b, c = model.crystal.lattice
    skew = math.prod(edges) / abs(oracle.dot(a, oracle.cross(b, c)))
    tilt = min(obliquity(model))
    return [64 * 2.2e-16 * edge / wavelength * skew / tilt for edge in edges]


def is_impossible(model):
    """Whether the detector faces away from the crystal, wherever that is, or the beam runs along it."""
    detectors = [part.detector for part in model.displaced_parts()] if any(model.settings.xtal_position) else []
    faces_away = any(detector.close_distance <= 0.0 for detector in [model.detector, *detectors])
    return faces_away or obliquity(model)[0] < 1e-12


def chosen_pixels(random, image, model, threads):
    """The pixels (slow, fast) that are compared: brightest ones, corners of the region, starts of threads, random ones."""
    rows, columns = model.region()
    brightest = np.unravel_index(np.argsort(image, axis=None)[-3:], image.shape)
    corners = [(s, f) for s in (rows[0], rows[-1]) for f in (columns[0], columns[-1])]
    starts = [
        (max(block[0], rows[0]), columns[0]) for block in oracle.thread_rows(image.shape[0], threads) if len(block)
    ]
    inside = [pixel for pixel in starts if pixel[0] in rows]
    some = [inside[i] for i in random.permutation(len(inside))[:2]]
    drawn = [(int(random.choice(rows)), int(random.choice(columns))) for _ in range(PIXELS - 9)]
    return {(int(s), int(f)) for s, f in [*zip(*brightest), *corners, *some, *drawn] if s in rows and f in columns}


def unseen(model):
    """The photons that a pixel may lack (F10a): 1e-12, or 1e-16 of the brightest pixel possible; none where all terms count."""
    crystal, detector = model.crystal, model.detector
    if crystal.shape == "SQUARE" or model.parity:
        return 0.0
    nearest = detector.distance if model.settings.curved else detector.close_distance
    nearest -= model.layers * model.layer_thickness
    omega = (1.0 if model.settings.point_pixel else detector.pixel**2 * detector.close_distance / nearest) / nearest**2
    amplitude = max(abs(model.amplitudes.default), *map(abs, model.amplitudes.table.values()), 0.0)
    brightest = oracle.CLASSICAL_RADIUS_SQR * model.fluence * omega * (1.25**3 * amplitude * math.prod(crystal.cells)) ** 2
    return min(1e-12, 1e-16 * brightest) if nearest > 0.0 else 1e-12


def few_enough(args, switches):
    """The command line with so few samples that the oracle can compute it."""
    for fewer in ([], ["-oversample", "1"], ["-phisteps", "1", "-mosaic_domains", "1"]):
        args = args + fewer
        geometry = oracle.geometry(args, switches)
        if geometry["steps"] * geometry["layers"] <= MOST_TERMS:
            break
    return args


def assert_equals(image, model, upper, random, threads, description, relative=1e-11, least=0.0):
    """A dozen pixels of an image are what the oracle says, as nearly as the docstring of the module derives.

    least: what a number that is written with fewer digits can be off besides.
    """
    assert image.shape == (model.detector.spixels, model.detector.fpixels)
    relative /= min(obliquity(model))
    least += unseen(model)
    for slow, fast in chosen_pixels(random, image, model, threads):
        expected = model.pixel(slow, fast)["I_pixel"]
        tolerance = abs(upper.pixel(slow, fast)["I_pixel"] - expected) + relative * abs(expected) + least
        assert abs(image[slow, fast] - expected) <= tolerance, (slow, fast, image[slow, fast], expected, tolerance, description)
