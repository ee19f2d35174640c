"""The physical model again, in plain Python: what the tests compare every command line against.

Nothing here is shared with the package under test. It is slow (tens of microseconds per term of the sum) and meant
to be read from top to bottom: vectors, command line, detector, crystal, random rotations, sampling of beam, spindle
and sensor, the sum of one pixel, and at the end the three entry points `render`, `trace` and `geometry`.

`c_parity` names the defects of nanoBragg.c to reproduce (PARITY_SWITCHES); without it every one of them is put right.
Lengths are metres and angles radians unless a name says otherwise; wavelengths, cell vectors and d-spacings are in
Angstrom, q in 1/Angstrom. Vectors are tuples of three floats and a matrix is a tuple of its three rows; a lattice is
the matrix whose rows are the cell vectors a, b and c.
"""

import copy
import math
import shlex
import struct
from pathlib import Path

import numpy as np

PARITY_SWITCHES = (
    "phi_carryover", "oversample_running_sum", "capture_last_layer", "thick_layers", "water_scale",
    "interpolation_latch", "misset_random", "pix0_ignored", "pivot_ignored", "header_twotheta", "source_weights",
    "gauss_metric", "one_step_means_two", "triclinic_angles", "near_point_ignored", "normal_not_derived",
    "mosaic_float32", "header_close_distance", "amorphous_ignored",
    "interpolation_by_flag", "endless_depth_dark", "header_overflow",  # the last changes no pixel
    "documented_flags_ignored",  # of flags that the oracle does not have
)

CLASSICAL_RADIUS_SQR = 7.94079248018965e-30  # m^2
AVOGADRO = 6.02214179e23
WATER_F, WATER_MOLECULAR_WEIGHT, WATER_DENSITY = 2.57, 18.0, 1e6  # electrons, g/mol, g/m^3
EV_ANGSTROM = 12398.42
DEGREES = 180.0 * (1.0 / math.pi)  # in one radian; angles are divided by it, so that phi = 0 is hit as in C
SMALLEST = 2.2250738585072014e-308

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
IDENTITY = (X, Y, Z)


# ---------------------------------------------------------------------------------------------------------- vectors

def dot(u, v):
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


def cross(u, v):
    return (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])


def scaled(v, factor):
    return (factor * v[0], factor * v[1], factor * v[2])


def added(*vectors):
    return tuple(sum(components) for components in zip(*vectors))


def length(v):
    return math.sqrt(dot(v, v))


def unit(v):
    """The direction of v; a zero vector stays as it is."""
    norm = length(v)
    return scaled(v, 1.0 / norm) if norm else v


def turned(matrix, v):
    """matrix . v"""
    return (dot(matrix[0], v), dot(matrix[1], v), dot(matrix[2], v))


def product(second, first):
    """The matrix that applies `first`, then `second`."""
    columns = tuple(zip(*first))
    return tuple(tuple(dot(row, column) for column in columns) for row in second)


def rotation(axis, angle):
    """Right-handed rotation about a unit vector: cos I + (1 - cos) n n' + sin [n]x."""
    c, s = math.cos(angle), math.sin(angle)
    x, y, z = axis
    v = 1.0 - c
    return ((c + v * x * x, v * x * y - s * z, v * x * z + s * y),
            (v * y * x + s * z, c + v * y * y, v * y * z - s * x),
            (v * z * x - s * y, v * z * y + s * x, c + v * z * z))


def rotation_xyz(angles):
    """Rotation about the laboratory axes: x first, then y, then z."""
    about_x, about_y, about_z = (rotation(axis, angle) for axis, angle in zip(IDENTITY, angles))
    return product(about_z, product(about_y, about_x))


def turned_lattice(matrix, lattice):
    return tuple(turned(matrix, vector) for vector in lattice)


# ----------------------------------------------------------------------------------------------------- command line

# flag: (setting, divisor into the unit of the setting)
NUMBER_FLAGS = {
    "-Na": ("Na", None), "-Nb": ("Nb", None), "-Nc": ("Nc", None),
    "-sample_thick": ("sample_x", 1e3), "-sample_x": ("sample_x", 1e3),
    "-sample_width": ("sample_y", 1e3), "-sample_y": ("sample_y", 1e3), "-width": ("sample_y", 1e3),
    "-sample_height": ("sample_z", 1e3), "-sample_z": ("sample_z", 1e3), "-height": ("sample_z", 1e3),
    "-xtal_thick": ("sample_x", 1e3), "-xtal_x": ("sample_x", 1e3),
    "-xtal_width": ("sample_y", 1e3), "-xtal_y": ("sample_y", 1e3),
    "-xtal_height": ("sample_z", 1e3), "-xtal_z": ("sample_z", 1e3),
    "-Xbeam": ("Xbeam", 1e3), "-Ybeam": ("Ybeam", 1e3), "-Xclose": ("Xclose", 1e3), "-Yclose": ("Yclose", 1e3),
    "-ORGX": ("ORGX", 1), "-ORGY": ("ORGY", 1),
    "-distance": ("distance", 1e3), "-close_distance": ("close_distance", 1e3),
    "-detector_thick": ("thickness", 1e6), "-detector_thicksteps": ("layers", None), "-thicksteps": ("layers", None),
    "-twotheta": ("twotheta", DEGREES), "-detector_rotx": ("rotx", DEGREES), "-detector_roty": ("roty", DEGREES),
    "-detector_rotz": ("rotz", DEGREES),
    "-detsize_f": ("detsize_f", 1e3), "-detsize_s": ("detsize_s", 1e3),
    "-detpixels_f": ("fpixels", None), "-detpixels_x": ("fpixels", None),
    "-detpixels_s": ("spixels", None), "-detpixels_y": ("spixels", None),
    "-pixel": ("pixel", 1e3), "-polar": ("kahn", 1), "-oversample": ("oversample", None),
    "-lambda": ("wavelength", 1), "-wave": ("wavelength", 1), "-wavelength": ("wavelength", 1),
    "-fluence": ("fluence", 1), "-flux": ("flux", 1), "-exposure": ("exposure", 1), "-beamsize": ("beamsize", 1e3),
    "-mosaic": ("mosaic", DEGREES), "-mosaici": ("mosaic", DEGREES), "-mosaicity": ("mosaic", DEGREES),
    "-mosaic_spread": ("mosaic", DEGREES), "-mosaic_spr": ("mosaic", DEGREES),
    "-mosaic_dom": ("domains", None), "-mosaic_domains": ("domains", None),
    "-wavelength_scale": ("wavelength_scale", 1), "-wavelength_offset": ("wavelength_offset", 1),
    "-dispersion": ("dispersion", 100), "-dispsteps": ("dispsteps", None),
    "-hdivrange": ("hdivrange", 1e3), "-hdivstep": ("hdivstep", 1e3), "-hdivsteps": ("hdivsteps", None),
    "-vdivrange": ("vdivrange", 1e3), "-vdivstep": ("vdivstep", 1e3), "-vdivsteps": ("vdivsteps", None),
    "-phi": ("phi", DEGREES), "-osc": ("osc", DEGREES), "-phistep": ("phistep", DEGREES),
    "-phisteps": ("phisteps", None), "-dmin": ("dmin", 1), "-default_F": ("default_F", 1), "-fudge": ("fudge", 1),
    "-air": ("air", 1e3), "-ice": ("ice", 1e6), "-ice_size": ("ice_size", 1), "-water": ("water", 1e6),
    "-density": ("density", 1e-6), "-sample_den": ("density", 1e-6),
    "-molecwt": ("molecular_weight", 1), "-MW": ("molecular_weight", 1),
    "-seed": ("seed", None), "-mosaic_seed": ("mosaic_seed", None),
    "-misset_seed": ("misset_seed", None),
}
# one number for several settings
SPREAD_FLAGS = {
    "-N": ("-Na", "-Nb", "-Nc"),
    "-detsize": ("-detsize_f", "-detsize_s"), "-detpixels": ("-detpixels_f", "-detpixels_s"),
    "-divergence": ("-hdivrange", "-vdivrange"), "-divsteps": ("-hdivsteps", "-vdivsteps"),
    "-samplesize": ("-sample_x", "-sample_y", "-sample_z"), "-sample_size": ("-sample_x", "-sample_y", "-sample_z"),
    "-xtalsize": ("-sample_x", "-sample_y", "-sample_z"), "-xtal_size": ("-sample_x", "-sample_y", "-sample_z"),
}
SWITCH_FLAGS = {
    "-water_table": ("water_table", True),
    "-curved_det": ("curved", True), "-point_pixel": ("point_pixel", True), "-nopolar": ("nopolar", True),
    "-oversample_thick": ("oversample_thick", True), "-oversample_polar": ("oversample_polar", True),
    "-oversample_omega": ("oversample_omega", True), "-round_div": ("round_div", True),
    "-square_div": ("round_div", False),
    "-interpolate": ("interpolate", True), "-nointerpolate": ("interpolate", False),
    "-square_xtal": ("shape", "SQUARE"), "-round_xtal": ("shape", "ROUND"), "-gauss_xtal": ("shape", "GAUSS"),
    "-tophat_spots": ("shape", "TOPHAT"), "-binary_spots": ("shape", "TOPHAT"),
}
VECTOR_FLAGS = {
    "-fdet_vector": "fast", "-sdet_vector": "slow", "-odet_vector": "normal", "-beam_vector": "beam",
    "-polar_vector": "polar_axis", "-spindle_axis": "spindle", "-twotheta_axis": "twotheta_axis",
    "-pix0_vector": "pix0", "-pix0_vector_mm": "pix0",
}
FILE_FLAGS = {"-mat": "mat_file", "-hkl": "hkl_file", "-sourcefile": "source_file", "-spectrum": "spectrum_file",
              "-source_weights": "weights_file", "-mask": "mask_file",
              "-img": "img_file"}
STOL_FLAGS = {"-stol": 1.0, "-4stol": 4.0, "-Q": 4.0 * math.pi}  # units of sin(theta) / lambda
IGNORED_FLAGS = {  # they change no pixel of the float image; how many values they take
    "-floatfile": 1, "-floatimage": 1, "-intfile": 1,
    "-intimage": 1, "-pgmfile": 1, "-pgmimage": 1, "-noisefile": 1, "-noiseimage": 1, "-dump": 1, "-adc": 1,
    "-scale": 1, "-pgmscale": 1, "-nonoise": 0, "-nopgm": 0, "-noprogress": 0, "-progress": 0, "-printout": 0,
    "-printout_pixel": 2, "-trace_pixel": 2,
}
# A beam centre on the detector face turns the detector about the beam; a nearest point, about the crystal.
IMPLIED_PIVOTS = {"-Xbeam": "BEAM", "-Ybeam": "BEAM", "-distance": "BEAM", "-Xclose": "SAMPLE", "-Yclose": "SAMPLE",
                  "-ORGX": "SAMPLE", "-ORGY": "SAMPLE", "-close_distance": "SAMPLE", "-twotheta": "SAMPLE"}
BEAM_CENTRE_FLAGS = ("-Xbeam", "-Ybeam", "-Xclose", "-Yclose", "-ORGX", "-ORGY")

AXES = ("beam", "fast", "slow", "normal", "twotheta_axis", "polar_axis", "spindle")
MINUS_X, MINUS_Y, MINUS_Z = scaled(X, -1.0), scaled(Y, -1.0), scaled(Z, -1.0)
CONVENTIONS = {  # the axes in the order of AXES, then the pivot
    "ADXV": (Z, X, MINUS_Y, Z, MINUS_X, X, X, "BEAM"),
    "MOSFLM": (X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "BEAM"),
    "DENZO": (X, Z, MINUS_Y, X, MINUS_Z, Z, Z, "BEAM"),
    "XDS": (Z, X, Y, Z, X, X, X, "SAMPLE"),
    "DIALS": (Z, X, Y, Z, Y, Y, Y, "SAMPLE"),
}


class Settings:
    """What the command line and the headers it names ask for, before any defaulting rule."""

    def __init__(self):
        self.Na = self.Nb = self.Nc = 1
        self.skew = (0.0, 0.0, 0.0)
        self.bfactor, self.bfactor_aniso = 0.0, (0.0,) * 6
        self.cell = self.misset = self.pix0 = self.roi = None
        self.sample_x = self.sample_y = self.sample_z = 0.0
        self.Xbeam = self.Ybeam = self.Xclose = self.Yclose = self.ORGX = self.ORGY = None
        self.distance, self.close_distance, self.pixel = 0.1, None, 1e-4
        self.detsize_f = self.detsize_s = 0.1024
        self.fpixels = self.spixels = 0
        self.thickness, self.layers, self.attenuation, self.is_endless = 0.0, 0, -1.0, False
        self.twotheta = self.rotx = self.roty = self.rotz = 0.0
        self.convention, self.pivot, self.asked_pivot = "MOSFLM", "BEAM", None
        self.beam, self.fast, self.slow, self.normal, self.twotheta_axis = X, Z, MINUS_Y, None, Y
        self.polar_axis, self.spindle = Z, Z
        self.beam_centre_given = False
        self.kahn, self.nopolar, self.curved, self.point_pixel = 0.0, False, False, False
        self.oversample = 0
        self.oversample_thick = self.oversample_polar = self.oversample_omega = False
        self.wavelength, self.fluence, self.flux = 1.0, 125932015286227086360700780544.0, 0.0
        self.exposure, self.beamsize = 1.0, 1e-4
        self.mosaic, self.domains = -1.0, 0
        self.mosaic_abc = (0.0, 0.0, 0.0)
        self.cell_spread = self.xtal_position = (0.0, 0.0, 0.0)
        self.dispersion, self.dispsteps, self.round_div = 0.0, 0, True
        self.wavelength_scale, self.wavelength_offset = 1.0, 0.0
        self.within_step = 0.0
        self.hdivrange = self.hdivstep = self.vdivrange = self.vdivstep = -1.0
        self.hdivsteps = self.vdivsteps = 0
        self.phi, self.osc, self.phistep, self.phisteps = 0.0, -1.0, -1.0, -1
        self.dmin, self.default_F, self.water, self.air = 0.0, 0.0, 0.0, 0.0
        self.ice, self.ice_size, self.water_table = 0.0, 500.0, False
        self.density, self.molecular_weight = WATER_DENSITY, WATER_MOLECULAR_WEIGHT
        self.stol_file, self.stol_unit = None, 1.0
        self.shape, self.fudge, self.interpolate = "SQUARE", 1.0, None
        self.mat_file = self.hkl_file = self.source_file = self.mask_file = self.img_file = None
        self.spectrum_file = self.weights_file = None
        self.seed, self.misset_seed, self.mosaic_seed = None, None, 12345678


def set_number(settings, flag, text):
    """Store the value of a numeric flag, in the unit of its setting; counts are cut to integers."""
    name, divisor = NUMBER_FLAGS[flag]
    setattr(settings, name, int(float(text)) if divisor is None else float(text) / divisor)
    settings.pivot = IMPLIED_PIVOTS.get(flag, settings.pivot)
    settings.beam_centre_given |= flag in BEAM_CENTRE_FLAGS
    if flag == "-polar":
        settings.nopolar = False


def set_axis(settings, flag, values):
    """Store a vector; any of them makes the convention CUSTOM."""
    vector = tuple(float(value) for value in values)
    setattr(settings, VECTOR_FLAGS[flag], scaled(vector, 1e-3) if flag.endswith("_mm") else vector)
    settings.convention = "CUSTOM"


def set_attenuation(settings, text):
    """The attenuation depth in um; infinite (or 0) means no sensor, in C until it gets a thickness."""
    settings.is_endless = "inf" in text or float(text) == 0.0
    if settings.is_endless:
        settings.thickness = settings.attenuation = 0.0
    else:
        settings.attenuation = 1e6 / float(text)


def take_cell(words):
    """Up to six cell parameters; the first word that starts with a dash ends the list."""
    cell = []
    while words and len(cell) < 6 and not words[0].startswith("-"):
        cell.append(float(words.pop(0)))
    return cell + [0.0] * (6 - len(cell))


def read_flag(settings, flag, words):
    """Interpret one flag and take its values from the front of `words`."""
    def take(count):
        return [words.pop(0) for _ in range(count)]

    if flag in NUMBER_FLAGS:
        set_number(settings, flag, *take(1))
    elif flag in SPREAD_FLAGS:
        value, = take(1)
        for single in SPREAD_FLAGS[flag]:
            set_number(settings, single, value)
    elif flag in SWITCH_FLAGS:
        setattr(settings, *SWITCH_FLAGS[flag])
    elif flag in VECTOR_FLAGS:
        set_axis(settings, flag, take(3))
    elif flag in STOL_FLAGS:
        settings.stol_file, settings.stol_unit = take(1)[0], STOL_FLAGS[flag]
    elif flag in FILE_FLAGS:
        setattr(settings, FILE_FLAGS[flag], *take(1))
    elif flag.lstrip("-").upper() in CONVENTIONS:
        settings.convention = flag[1:].upper()
        settings.pivot = "SAMPLE" if flag == "-xds" else "BEAM"
    elif flag == "-cell":
        settings.cell = take_cell(words)
    elif flag == "-misset":
        is_random = "rand" in words[0]
        settings.misset = take(1) and "random" if is_random else tuple(float(w) / DEGREES for w in take(3))
    elif flag == "-N_abc":
        settings.Na, settings.Nb, settings.Nc = (float(word) for word in take(3))
    elif flag == "-mosaic_abc":
        settings.mosaic_abc = tuple(float(word) / DEGREES for word in take(3))
    elif flag == "-cell_spread":
        settings.cell_spread = tuple(float(word) for word in take(3))
    elif flag == "-xtal_position":
        settings.xtal_position = tuple(float(word) / 1e3 for word in take(3))
    elif flag == "-bfactor":
        settings.bfactor = float(*take(1))
    elif flag == "-bfactor_aniso":
        settings.bfactor_aniso = tuple(float(word) for word in take(6))
    elif flag == "-N_def":
        settings.skew = tuple(float(word) for word in take(3))
    elif flag == "-phi_sampling":
        settings.within_step = {"left": 0.0, "mid": 0.5}[take(1)[0]]
    elif flag == "-pivot":
        settings.pivot = settings.asked_pivot = "SAMPLE" if "sample" in take(1)[0] else "BEAM"
    elif flag == "-roi":
        settings.roi = [int(word) for word in take(4)]
    elif flag == "-energy":
        settings.wavelength = EV_ANGSTROM / float(*take(1))
    elif flag in ("-detector_abs", "-detector_absorb"):
        set_attenuation(settings, *take(1))
    elif flag in IGNORED_FLAGS:
        take(IGNORED_FLAGS[flag])
    else:
        raise ValueError("the oracle does not know the flag " + flag)


def read_smv(path):
    """The header and the pixels of an SMV image."""
    with open(path, "rb") as handle:
        content = handle.read()
    header_bytes = int(smv_value(content[:512].decode("latin-1"), "HEADER_BYTES"))
    header = content[:header_bytes].decode("latin-1")
    shape = (int(smv_value(header, "SIZE2")), int(smv_value(header, "SIZE1")))
    order = ">u2" if "BYTE_ORDER=big_endian" in header else "<u2"
    return header, np.frombuffer(content, order, shape[0] * shape[1], header_bytes).reshape(shape)


def smv_value(header, keyword):
    """The number after the last appearance of a keyword (XDS_ORGX answers for ORGX), or None."""
    if keyword not in header:
        return None
    return float(header.rpartition(keyword)[2].partition("=")[2].partition(";")[0].split()[0])


def apply_header(settings, path, is_mask, parity):
    """Take the camera from an SMV header: what -img and -mask do before any flag is read."""
    header, pixels = read_smv(path)
    settings.spixels, settings.fpixels = pixels.shape
    fields = {"PIXEL_SIZE": ("pixel", 1e3), "DISTANCE": ("distance", 1e3), "CLOSE_DISTANCE": ("close_distance", 1e3),
              "WAVELENGTH": ("wavelength", 1), "BEAM_CENTER_X": ("Xbeam", 1e3), "BEAM_CENTER_Y": ("Ybeam", 1e3),
              "ORGX": ("ORGX", 1), "ORGY": ("ORGY", 1), "PHI": ("phi", DEGREES), "OSC_RANGE": ("osc", DEGREES)}
    if "header_twotheta" not in parity:
        fields["TWOTHETA"] = ("twotheta", DEGREES)
    for keyword, (name, divisor) in fields.items():
        value = smv_value(header, keyword)
        if value is not None:
            setattr(settings, name, value / divisor)
    if is_mask and smv_value(header, "BEAM_CENTER_Y") is not None:
        settings.Ybeam = settings.pixel * settings.spixels - settings.Ybeam
    return pixels


def read_command_line(flags, files, parity):
    """The settings of a command line, and the pixels of its mask (None without)."""
    words = shlex.split(flags) if isinstance(flags, str) else list(flags)
    settings, mask = Settings(), None
    asks_for_distance = "-distance" in words and "header_close_distance" not in parity
    for flag in ("-mask", "-img"):
        if flag in words:
            pixels = apply_header(settings, real_path(words[words.index(flag) + 1], files), flag == "-mask", parity)
            mask = pixels if flag == "-mask" else mask
            settings.close_distance = None if asks_for_distance else settings.close_distance
    while words:
        read_flag(settings, words.pop(0), words)
    return settings, mask


def real_path(name, files):
    return (files or {}).get(name, name)


# --------------------------------------------------------------------------------------------------------- detector

class Detector:
    """The detector plane in the laboratory: its axes, origin and nearest point, after all rotations."""

    def __init__(self, settings, parity):
        self.settings = settings
        self.pixel = settings.pixel
        self.count_pixels()
        self.choose_axes(parity)
        self.choose_beam_centre()
        if "near_point_ignored" not in parity:
            self.choose_reference_point()
        self.choose_pivot(parity)
        self.place(parity)

    def count_pixels(self):
        """A number of pixels wins over a size in mm."""
        s = self.settings
        self.detsize_f = s.pixel * s.fpixels if s.fpixels else s.detsize_f
        self.detsize_s = s.pixel * s.spixels if s.spixels else s.detsize_s
        self.fpixels = math.ceil(self.detsize_f / s.pixel - 0.5)
        self.spixels = math.ceil(self.detsize_s / s.pixel - 0.5)

    def choose_axes(self, parity):
        """The axes of the convention, or those given; a normal that is not of length 1 is fast x slow, and so is,
        except in C, one that is not given."""
        s = self.settings
        axes = dict(zip(AXES, CONVENTIONS[s.convention] if s.convention in CONVENTIONS else
                        [getattr(s, name) for name in AXES]))
        normal = axes.pop("normal") or (X if "normal_not_derived" in parity else (0.0, 0.0, 0.0))
        for name, axis in axes.items():
            setattr(self, name, unit(axis))
        self.normal = normal if length(normal) == 1.0 else unit(cross(self.fast, self.slow))

    def choose_beam_centre(self):
        """Fill in the beam centre, and turn it from its convention into fast and slow coordinates."""
        s, half = self.settings, 0.5 * self.pixel
        self.fclose = (s.ORGX - 0.5) * self.pixel if s.ORGX is not None else self.detsize_f / 2.0
        self.sclose = (s.ORGY - 0.5) * self.pixel if s.ORGY is not None else self.detsize_s / 2.0
        default_x, default_y = {
            "ADXV": (self.detsize_f / 2.0 + half, self.detsize_s / 2.0 - half),
            "MOSFLM": (self.detsize_s / 2.0 + half, self.detsize_f / 2.0 + half),
            "DENZO": (self.detsize_s / 2.0 + half, self.detsize_f / 2.0 + half),
        }.get(s.convention, (self.fclose if s.Xclose is None else s.Xclose,
                             self.sclose if s.Yclose is None else s.Yclose))
        self.xbeam = default_x if s.Xbeam is None else s.Xbeam
        self.ybeam = default_y if s.Ybeam is None else s.Ybeam
        self.fbeam, self.sbeam = {
            "ADXV": (self.xbeam, self.detsize_s - self.ybeam),
            "MOSFLM": (self.ybeam + half, self.xbeam + half),
            "DENZO": (self.ybeam, self.xbeam),
        }.get(s.convention, (self.xbeam, self.ybeam))
        if s.convention == "CUSTOM":
            self.fclose, self.sclose = self.xbeam, self.ybeam

    def choose_reference_point(self):
        """Let one point of the face serve as direct-beam spot and as nearest point: along each axis the beam centre
        that is given, else the nearest point that is given, else the beam centre of the convention."""
        s = self.settings
        is_swapped = s.convention in ("MOSFLM", "DENZO")
        for axis, beam, close, org in (("f", s.Ybeam if is_swapped else s.Xbeam, s.Xclose, s.ORGX),
                                       ("s", s.Xbeam if is_swapped else s.Ybeam, s.Yclose, s.ORGY)):
            if beam is None and close is not None:
                setattr(self, axis + "beam", close)
            elif beam is None and org is not None:
                setattr(self, axis + "beam", (org - 0.5) * self.pixel)
        self.fclose, self.sclose = self.fbeam, self.sbeam

    def choose_pivot(self, parity):
        """A convention brings its own pivot; one that was asked for outright wins (in C, with CUSTOM alone)."""
        s = self.settings
        self.pivot = CONVENTIONS[s.convention][-1] if s.convention in CONVENTIONS else s.pivot
        if s.asked_pivot and "pivot_ignored" not in parity:
            self.pivot = s.asked_pivot

    def place(self, parity):
        """Rotate the detector about its pivot, and measure where it ends up."""
        s = self.settings
        tilt = rotation_xyz((s.rotx, s.roty, s.rotz))
        swing = product(rotation(self.twotheta_axis, s.twotheta), tilt)
        along_beam = dot(self.beam, turned(tilt, self.normal)) or SMALLEST
        close = abs(along_beam * s.distance) if s.close_distance is None else s.close_distance
        distance = close / along_beam
        origin = added(scaled(self.fast, -self.fclose), scaled(self.slow, -self.sclose), scaled(self.normal, close))
        if s.pix0 is not None and not s.beam_centre_given and "pix0_ignored" not in parity:
            origin = s.pix0
            distance = self.take_beam_centre_from(origin)
        self.fast, self.slow, self.normal = (turned(swing, axis) for axis in (self.fast, self.slow, self.normal))
        if self.pivot == "SAMPLE":
            self.pix0 = turned(swing, origin)
        else:
            self.pix0 = added(scaled(self.beam, distance), scaled(self.fast, -self.fbeam),
                              scaled(self.slow, -self.sbeam))
        self.measure(along_beam)

    def take_beam_centre_from(self, origin):
        """The beam centre of a detector that was placed by its origin; its distance along the beam is returned."""
        distance = dot(origin, self.normal) / (dot(self.beam, self.normal) or SMALLEST)
        spot = added(scaled(self.beam, distance), scaled(origin, -1.0))
        self.xbeam = self.fbeam = dot(spot, self.fast)
        self.ybeam = self.sbeam = dot(spot, self.slow)
        return distance

    def measure(self, along_beam):
        """Nearest point, distance and direct-beam spot of the detector in its final place."""
        self.fclose, self.sclose = -dot(self.pix0, self.fast), -dot(self.pix0, self.slow)
        self.close_distance = dot(self.pix0, self.normal)
        self.distance = self.close_distance / along_beam
        spot = added(scaled(self.beam, self.distance), scaled(self.pix0, -1.0))
        self.fbeam, self.sbeam = dot(spot, self.fast), dot(spot, self.slow)

    def position(self, f, s, depth):
        """The point at coordinates f and s (m) on the face, `depth` into the sensor."""
        point = added(scaled(self.fast, f), scaled(self.slow, s), scaled(self.normal, depth), self.pix0)
        if not self.settings.curved:
            return point
        about_slow = rotation(self.slow, point[1] / self.distance)
        about_fast = rotation(self.fast, point[2] / self.distance)
        return turned(about_fast, turned(about_slow, scaled(self.beam, self.distance)))

    def solid_angle(self, point):
        """Steradians of a pixel, with its obliquity; 1 / R^2 for a point pixel."""
        r = length(point)
        if self.settings.point_pixel:
            return 1.0 / r**2
        return self.pixel**2 / r**2 * self.close_distance / r

    def seen_from(self, position):
        """The detector as a crystal sees it that is not at the origin: moved the other way."""
        moved = copy.copy(self)
        moved.pix0 = added(self.pix0, scaled(position, -1.0))
        moved.close_distance = dot(moved.pix0, moved.normal)
        return moved


# ---------------------------------------------------------------------------------------------------------- crystal

def reciprocal_from_cell(cell, is_as_in_c):
    """a*, b*, c* with a* along x and b* in the xy plane; the lengths with defaults; the cell volume.

    C takes the third component of c* from the volume of the direct cell of edges 1, in place of the reciprocal one."""
    a, b, c = cell[0], cell[1] if cell[1] > 0 else cell[0], cell[2] if cell[2] > 0 else cell[0]
    alpha, beta, gamma = (angle / DEGREES if angle > 0 else math.pi / 2 for angle in cell[3:])
    half = (alpha + beta + gamma) / 2
    skew = math.sin(half) * math.sin(half - alpha) * math.sin(half - beta) * math.sin(half - gamma)
    volume = 2.0 * a * b * c * math.sqrt(abs(skew))
    a_star, b_star, c_star = (b * c * math.sin(alpha) / volume, c * a * math.sin(beta) / volume,
                              a * b * math.sin(gamma) / volume)
    cos_alpha_star = cosine_of_opposite_angle(beta, gamma, alpha)
    cos_beta_star = cosine_of_opposite_angle(gamma, alpha, beta)
    cos_gamma_star = cosine_of_opposite_angle(alpha, beta, gamma)
    sin_gamma_star = min(1.0, c / volume / (a_star * b_star))
    along_y = (cos_alpha_star - cos_beta_star * cos_gamma_star) / sin_gamma_star
    along_z = math.sqrt(1.0 - cos_beta_star**2 - along_y**2)
    if is_as_in_c:
        along_z = volume / (a * b * c * sin_gamma_star)
    vectors = (
        (a_star, 0.0, 0.0),
        (b_star * cos_gamma_star, b_star * sin_gamma_star, 0.0),
        (c_star * cos_beta_star, c_star * along_y, c_star * along_z),
    )
    return vectors, (a, b, c), volume


def cosine_of_opposite_angle(first, second, opposite):
    """Cosine of the reciprocal angle that belongs to `opposite`, from the three direct angles."""
    cosine = (math.cos(first) * math.cos(second) - math.cos(opposite)) / (math.sin(first) * math.sin(second))
    return cosine if abs(cosine) <= 1.0 else 1.0


def read_matrix(path, wavelength):
    """a*, b*, c* from the columns of a MOSFLM matrix, which holds them multiplied by the wavelength."""
    with open(path) as handle:
        numbers = [float(word) / wavelength for word in handle.read().split()[:9]]
    return tuple(tuple(numbers[column::3]) for column in range(3))


class Crystal:
    """Direct and reciprocal cell at phi = 0, the size in unit cells and the shape transform."""

    def __init__(self, settings, files, parity, random_numbers):
        lengths = volume = reciprocal = None
        if settings.cell:
            reciprocal, lengths, volume = reciprocal_from_cell(settings.cell, "triclinic_angles" in parity)
        if settings.mat_file:
            reciprocal = read_matrix(real_path(settings.mat_file, files), settings.wavelength)
        reciprocal = turned_lattice(missetting(settings, parity, random_numbers), reciprocal)
        self.lattice = direct_from_reciprocal(reciprocal, lengths, volume)
        a, b, c = self.lattice
        self.volume = volume or dot(a, cross(b, c))
        self.reciprocal = tuple(scaled(v, 1.0 / self.volume) for v in (cross(b, c), cross(c, a), cross(a, b)))
        self.cells = count_cells(settings, self.lattice)
        self.shape, self.fudge, self.skew = settings.shape, settings.fudge, settings.skew
        self.gauss_metric_of_c = "gauss_metric" in parity
        self.bfactor, self.bfactor_aniso = settings.bfactor, settings.bfactor_aniso
        right = reciprocal if settings.mat_file else reciprocal_from_cell(settings.cell, False)[0]
        a, b, c = direct_from_reciprocal(turned_lattice(IDENTITY, right), None, None)
        volume = dot(a, cross(b, c))  # of the right cell, also where that of C is another one
        self.star = tuple(scaled(v, 1.0 / volume) for v in (cross(b, c), cross(c, a), cross(a, b)))

    def weakening(self, hkl):
        """The factor of an amplitude by the B factors, at fractional indices of the crystal's own cell."""
        s = added(*(scaled(v, x) for v, x in zip(self.star, hkl)))
        h, k, l = (x * length(v) for v, x in zip(self.star, hkl))
        b11, b22, b33, b12, b13, b23 = self.bfactor_aniso
        along = b11 * h * h + b22 * k * k + b33 * l * l + 2.0 * (b12 * h * k + b13 * h * l + b23 * k * l)
        return math.exp(-(self.bfactor * dot(s, s) + along) / 4.0)

    def lattice_factor(self, hkl):
        """F_latt: the shape transform at fractional indices, relative to the nearest lattice point."""
        if self.shape == "SQUARE":
            return math.prod(sincg(math.pi * x, n) for x, n in zip(hkl, self.cells) if n > 1)
        offset = tuple(x - nearest(x) for x in hkl)
        radius_sqr = sum((x * n)**2 for x, n in zip(offset, self.cells))
        number = math.prod(self.cells)
        if self.shape == "ROUND":
            return number * 0.723601254558268 * sphere(math.pi * math.sqrt(radius_sqr * self.fudge))
        if self.gauss_metric_of_c:
            gap = added(*(scaled(v, x) for v, x in zip(self.reciprocal, offset)))
            radius_sqr = dot(gap, gap) * number**2
        if any(self.skew):
            (a, b, c), (d, e, f) = self.cells, self.skew
            matrix = ((a, d, f), (d, b, e), (f, e, c))
            number = dot(matrix[0], cross(matrix[1], matrix[2]))
            radius_sqr = length(turned(matrix, offset))**2
        if self.shape == "GAUSS":
            return number * math.exp(-radius_sqr / 0.63 * self.fudge)
        return number if radius_sqr * self.fudge < 0.3969 else 0.0


def direct_from_reciprocal(reciprocal, lengths, volume):
    """a, b, c from a*, b*, c*; where a cell was given, its edges and volume are imposed."""
    a_star, b_star, c_star = reciprocal
    normals = (cross(b_star, c_star), cross(c_star, a_star), cross(a_star, b_star))
    if lengths:
        return tuple(scaled(unit(normal), edge) for normal, edge in zip(normals, lengths))
    return tuple(scaled(normal, 1.0 / dot(a_star, normals[0])) for normal in normals)


def count_cells(settings, lattice):
    """Na, Nb, Nc; a crystal size wins, and the beam clips it across (y, z) but not along (x)."""
    clip = settings.beamsize if settings.beamsize >= 0 else math.inf
    sizes = (settings.sample_x, min(settings.sample_y, clip), min(settings.sample_z, clip))
    counts = (settings.Na, settings.Nb, settings.Nc)
    return tuple(max(1, math.ceil(size / length(scaled(edge, 1e-10))) if size > 0 else count)
                 for size, edge, count in zip(sizes, lattice, counts))


def nearest(x):
    """The nearest integer; halves go down."""
    return math.ceil(x - 0.5)


def sincg(x, n):
    """sin(n x) / sin(x)"""
    return n if x == 0.0 else math.sin(x * n) / math.sin(x)


def sphere(x):
    """Fourier transform of a sphere, 1 at the origin; near it the closed form would cancel to noise."""
    if x < 1e-3:
        return 1.0 - x**2 / 10.0
    return 3.0 * (math.sin(x) / x - math.cos(x)) / x**2


# ------------------------------------------------------------------------------------------------- random rotations

def float32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


class Ran1:
    """Numerical Recipes' ran1: Park and Miller's generator behind a shuffle table of 32.

    The table is one for the whole program, the seeds are not: a seed of 0 or less, or the first call ever, fills it;
    a positive seed goes on with the table that is there.
    """

    MULTIPLIER, MODULUS, ENTRIES = 16807, 2147483647, 32

    def __init__(self):
        self.table, self.last = [], 0

    def advance(self, stream):
        stream[0] = self.MULTIPLIER * stream[0] % self.MODULUS
        return stream[0]

    def deviate(self, stream):
        """A float32 in (0, 1). `stream` is a list of one seed, updated in place."""
        if stream[0] <= 0 or not self.last:
            stream[0] = max(1, -stream[0])
            filled = [self.advance(stream) for _ in range(self.ENTRIES + 8)]
            self.table = filled[:7:-1]
            self.last = self.table[0]
        fresh = self.advance(stream)
        slot = self.last // (1 + (self.MODULUS - 1) // self.ENTRIES)
        self.last, self.table[slot] = self.table[slot], fresh
        return float32(min(float32(self.last / self.MODULUS), 1.0 - 1.2e-7))


def cap_rotation(random_numbers, stream, spread, is_as_in_c):
    """A random rotation by at most `spread` radians, about an axis of any direction. The angle is float32 in C; else
    only its quotient by the spread is."""
    axis, root = cap_axis_and_root(random_numbers, stream)
    return rotation(axis, float32(float32(spread) * root) if is_as_in_c else spread * root)


def cap_axis_and_root(random_numbers, stream):
    """An axis of any direction, and the random part of the angle."""
    r1, r2, r3 = (2.0 * random_numbers.deviate(stream) - 1.0 for _ in range(3))
    across = math.sqrt(1.0 - r2 * r2)
    axis = (across * math.sin(math.pi * r1), across * math.cos(math.pi * r1), r2)
    root = float(np.float32(1.0 - r3 * r3) ** np.float32(1.0 / 3.0))  # by the C library, like C
    return axis, root


def uniform_rotation(random_numbers, stream):
    """A rotation uniform over all orientations: Shoemake's random unit quaternion."""
    u1, u2, u3 = (random_numbers.deviate(stream) for _ in range(3))
    inner, outer = math.sqrt(1.0 - u1), math.sqrt(u1)
    x, y = inner * math.sin(2.0 * math.pi * u2), inner * math.cos(2.0 * math.pi * u2)
    z, w = outer * math.sin(2.0 * math.pi * u3), outer * math.cos(2.0 * math.pi * u3)
    return rotation(unit((x, y, z)), 2.0 * math.atan2(length((x, y, z)), w))


def missetting(settings, parity, random_numbers):
    """The rotation that -misset asks for."""
    if settings.misset != "random":
        return rotation_xyz(settings.misset) if settings.misset else IDENTITY
    seed = settings.seed if settings.misset_seed is None else settings.misset_seed
    if seed is None:
        raise ValueError("-misset random without -misset_seed or -seed cannot be predicted")
    if "misset_random" in parity:  # the spread is 90 radians
        return cap_rotation(random_numbers, [-seed], 90.0, True)
    return uniform_rotation(random_numbers, [-seed])


def mosaic_domains(settings, parity, random_numbers):
    """The rotation of each mosaic domain; the first one is aligned."""
    count = settings.domains if settings.domains > 0 else 10
    if settings.mosaic <= 0.0 and not any(settings.mosaic_abc) and not any(settings.cell_spread):
        count = 1
    settings.stretches = stretches(settings, count)
    stream = [-settings.mosaic_seed]
    spread, is_as_in_c = max(settings.mosaic, 0.0), "mosaic_float32" in parity
    drawn = [cap_axis_and_root(random_numbers, stream) for _ in range(count)]
    settings.own_turns = [(0.0, 0.0, 0.0)] + [
        tuple(x * root * of_axis for x, of_axis in zip(axis, settings.mosaic_abc)) for axis, root in drawn[1:]
    ]
    angles = [float32(float32(spread) * root) if is_as_in_c else spread * root for _, root in drawn]
    return [IDENTITY] + [rotation(axis, angle) for (axis, _), angle in zip(drawn[1:], angles[1:])]


def stretches(settings, count):
    """The factors of a, b and c of each mosaic domain, drawn by a generator of their own; those of the first are 1."""
    numbers, stream = Ran1(), [-(1 + (abs(settings.mosaic_seed) + 10**9) % (2**31 - 2))]
    drawn = [cap_axis_and_root(numbers, stream) for _ in range(count)]
    return [(1.0, 1.0, 1.0)] + [
        tuple(1.0 + x * root * spread for x, spread in zip(axis, settings.cell_spread)) for axis, root in drawn[1:]
    ]


def turned_about_own_axes(lattice, turn, frame):
    """The lattice turned about axes of the crystal: `turn` has the parts of the rotation about the rows of `frame`."""
    angle = length(turn)
    if angle == 0.0:
        return lattice
    axis = added(*(scaled(row, part) for row, part in zip(frame, turn)))
    return turned_lattice(rotation(unit(axis), angle), lattice)


def own_frame(lattice):
    """Unit vectors along a*, c x a* and c of a lattice."""
    _, b, c = lattice
    first = unit(cross(b, c))
    if dot(first, lattice[0]) < 0.0:
        first = scaled(first, -1.0)
    third = unit(c)
    return first, cross(third, first), third


# --------------------------------------------------------------------------------- sampling: beam, spindle and sensor

def sweep(extent, step, count, one_means_two):
    """Complete the range, step and number of a sweep: below 0 (or, a count, 0) is unset. Without an extent, or with
    one step, what is left is the centre."""
    if extent < 0.0:
        if step > 0.0:
            extent, count = step, 2
        elif count > 0:
            extent, step = 1.0, 1.0 / count
    elif count <= 0:
        step, count = (extent, 2) if step <= 0.0 else (step, math.ceil(extent / step))
    elif step <= 0.0:
        count = max(count, 2) if one_means_two else count
        step = extent / (count - 1) if count > 1 else 0.0
    return (extent, step, count) if extent > 0.0 and step > 0.0 and count > 0 else (0.0, 0.0, 1)


def swept(extent, step, count):
    """The values of a sweep that is centred when it is complete."""
    return [step * tic - extent / 2.0 for tic in range(count)]


def phi_angles(settings):
    """The spindle angle of each phi step, and the oscillation range."""
    osc, step, count = settings.osc, settings.phistep, settings.phisteps
    if osc < 0.0 and step > 0.0:
        osc, count = step, 2
    elif osc < 0.0 and count < 0:
        osc, step, count = 0.0, 0.0, 1
    elif osc < 0.0:
        count = max(count, 1)
        osc = 1.0 / DEGREES
        step = osc / count
    elif count < 0:
        step, count = (osc / 2.0, 2) if step <= 0.0 else (step, max(1, math.ceil(osc / step)))
    else:
        count = max(count, 1)
        step = osc / count if step < 0.0 else step
    return [settings.phi + step * (tic + settings.within_step) for tic in range(count)], osc


def sensor_layers(settings, parity):
    """Number and thickness of the sensor layers, and the attenuation coefficient; two layers where none is asked."""
    total, count, mu = settings.thickness, settings.layers, settings.attenuation
    if total <= 0.0 or settings.is_endless and "endless_depth_dark" not in parity:
        return 1, 0.0, mu
    mu = 1.0 / total if mu < 0.0 else mu
    if count <= 0:
        return 2, total / 2.0, mu
    if "thick_layers" in parity:
        count = max(count, 2)
        return count, total / (count - 1), mu
    return count, total / count, mu


def generated_sources(settings, detector, parity, files):
    """(direction of the beam, wavelength, weight) over divergence and the wavelengths of a spectrum or of the dispersion."""
    one_means_two = "one_step_means_two" in parity
    horizontal = sweep(settings.hdivrange, settings.hdivstep, settings.hdivsteps, one_means_two)
    vertical = sweep(settings.vdivrange, settings.vdivstep, settings.vdivsteps, one_means_two)
    spectrum = swept(*sweep(settings.dispersion, -1.0, settings.dispsteps, one_means_two))
    lights = [(settings.wavelength * (1.0 + part), 1.0) for part in spectrum]
    if settings.spectrum_file:
        lights = read_numbers(real_path(settings.spectrum_file, files))
    upright = unit(cross(detector.beam, detector.polar_axis))
    sources = []
    for hdiv in swept(*horizontal):
        for vdiv in swept(*vertical):
            if settings.round_div and outside_ellipse(hdiv, horizontal, vdiv, vertical):
                continue
            direction = turned(rotation(detector.polar_axis, vdiv), detector.beam)
            direction = unit(turned(rotation(upright, hdiv), direction))
            sources += [(direction, wavelength, weight) for wavelength, weight in lights]
    return sources


def read_numbers(path):
    """The numbers of every line of a file; what follows # is a comment."""
    with open(path) as handle:
        rows = [line.partition("#")[0].replace(",", " ").split() for line in handle]
    return [tuple(map(float, row)) for row in rows if row]


def reweighted(sources, settings, files):
    """The sources with weights of a mean of 1, those of a file if there is one, and with scaled wavelengths."""
    weights = [weight for _, _, weight in sources]
    if settings.weights_file:
        weights = [weight for weight, in read_numbers(real_path(settings.weights_file, files))]
    mean = sum(weights) / len(weights) if weights else 1.0
    scale, offset = settings.wavelength_scale, settings.wavelength_offset
    return [(direction, scale * wavelength + offset, weight / mean)
            for (direction, wavelength, _), weight in zip(sources, weights)]


def outside_ellipse(hdiv, horizontal, vdiv, vertical):
    """Whether a point of the divergence raster lies in its corners (rasters of even count are half a step wider)."""
    if horizontal[0] == 0.0 or vertical[0] == 0.0:
        return False
    radius_sqr = 0.0
    for angle, (extent, step, count) in ((hdiv, horizontal), (vdiv, vertical)):
        slack = 0.0 if count % 2 else step**2 / 4.0
        radius_sqr += (angle**2 - slack) / extent**2
    return radius_sqr * 4.0 > 1.1


def file_sources(path, settings, detector, parity):
    """Sources from the columns x y z weight wavelength (m); columns may be missing at the right."""
    with open(path) as handle:
        lines = [line.translate(str.maketrans(",;:!", "    ")).split() for line in handle]
    defaults = scaled(detector.beam, -10.0) + (1.0, settings.wavelength * 1e-10)
    rows = [[float(word) for word in line[:5]] + list(defaults[len(line):]) for line in lines if line]
    mean = 1.0 if "source_weights" in parity else sum(row[3] for row in rows) / len(rows)
    return [(unit(scaled(row[:3], -1.0)), row[4] * 1e10, 1.0 if "source_weights" in parity else row[3] / mean)
            for row in rows]


def phi_lattices(lattice, spindle, angles, carried):
    """The lattice at each phi step. If `carried`, a step at phi = 0 keeps the lattice of the step before it, and the
    first step that of the last."""
    lattices = [turned_lattice(rotation(spindle, phi), lattice) if phi else lattice for phi in angles]
    if carried and any(angles):
        first_turned = next(k for k, phi in enumerate(angles) if phi)
        for k in range(first_turned, first_turned + len(angles)):
            step = k % len(angles)
            if not angles[step]:
                lattices[step] = lattices[step - 1]
    return lattices


# ------------------------------------------------------------------------------------------------ structure factors

_amplitudes_of_text = {}


class Amplitudes:
    """F(hkl) from a file, default_F for every reflection that is not in it."""

    def __init__(self, path, default):
        self.default, self.table, self.bounds = default, {}, None
        if path is not None:
            with open(path) as handle:
                text = handle.read()
            if text not in _amplitudes_of_text:
                _amplitudes_of_text[text] = parse_hkl(text)
            self.table, self.bounds = _amplitudes_of_text[text]

    def nearest(self, hkl):
        return self.table.get(tuple(nearest(x) for x in hkl), self.default)

    def can_interpolate(self, hkl):
        """Two reflections are wanted between an index and the limits of the list."""
        return all(low + 2 <= x <= high - 2 for x, (low, high) in zip(hkl, self.bounds))

    def interpolated(self, hkl):
        """Cubic Lagrange polynomial over the 4 x 4 x 4 reflections around fractional indices."""
        floors = [math.floor(x) for x in hkl]
        weights = [lagrange_weights(x - floor) for x, floor in zip(hkl, floors)]
        total = 0.0
        for i, wh in enumerate(weights[0]):
            for j, wk in enumerate(weights[1]):
                for m, wl in enumerate(weights[2]):
                    index = (floors[0] + i - 1, floors[1] + j - 1, floors[2] + m - 1)
                    total += wh * wk * wl * self.table.get(index, self.default)
        return total


def parse_hkl(text):
    """{(h, k, l): F} and the lowest and highest h, k and l of a reflection list."""
    words = text.split()
    indices = list(zip(*(map(int, map(float, words[column::4])) for column in range(3))))
    table = dict(zip(indices, map(float, words[3::4])))
    return table, [(min(values), max(values)) for values in zip(*table)]


class Molecule:
    """What the amorphous background consists of: how many molecules in a m^3, and the structure factor of each."""

    def __init__(self, settings, files, is_water):
        density, weight = settings.density, settings.molecular_weight
        self.number_density = (WATER_DENSITY / WATER_MOLECULAR_WEIGHT if is_water else density / weight) * AVOGADRO
        self.table = shipped("water.stol") if settings.water_table else []
        if settings.stol_file and not is_water:
            with open(real_path(settings.stol_file, files)) as handle:
                rows = [[float(word) for word in line.split()] for line in handle if line.strip()]
            self.table = [(x / settings.stol_unit, f) for x, f in rows]

    def structure_factor(self, stol):
        """At sin(theta) / lambda: a cubic through two points of the table on either side; constant beyond its ends,
        where two more points are added for the cubic."""
        if not self.table:
            return WATER_F
        (low, first), (high, last) = self.table[0], self.table[-1]
        if not low < stol < high:
            return first if stol <= low else last
        span = high - low
        before = [(low - span - 1.0, first), (low - span, first)]
        points = before + self.table + [(high + span, last), (high + span + 1.0, last)]
        start = next(i for i, (x, _) in enumerate(points) if x >= stol) - 2
        nodes = points[start:start + 4]
        return sum(f * math.prod((stol - other) / (x - other) for other, _ in nodes if other != x) for x, f in nodes)


class Air(Molecule):
    """The air in a beam, at 20 degrees C and 1 atm: molecules in a m^3, and the amplitude of each by the table that ships."""

    def __init__(self):
        self.number_density = 101325.0 / (1.380649e-23 * 293.15)
        self.table = shipped("air.stol")


class Ice(Molecule):
    """A powder of hexagonal ice: the squared structure factor of a molecule, with rings as wide as those of spheres."""

    def __init__(self, diameter):
        self.volume = 4.497**2 * math.sqrt(0.75) * 7.322  # A^3, of four molecules
        self.number_density = 4e30 / self.volume
        self.diameter, self.table, self.rings = diameter, shipped("ice.stol"), shipped("ice_rings.stol")

    def profile(self, change):
        """The squared transform of a sphere, summed over a plane at a distance from its centre in 1/A; its integral is 1."""
        y = math.pi * abs(change) * self.diameter
        if y < 1e-3:
            return 0.75 * self.diameter
        sine, slope = math.sin(y) / y, (math.sin(y) / y - math.cos(y)) / y
        return 0.75 * self.diameter * (sine**2 + slope**2)

    def intensity(self, stol):
        """Electrons^2 of a molecule: what is between the rings, and the rings."""
        q, total = 2.0 * stol, 0.0
        for half, squares in self.rings:
            g = 2.0 * half
            total += squares / g * (self.profile(q - g) - self.profile(q + g))
        return self.structure_factor(stol)**2 + total / (4.0 * math.pi * q * self.volume * 4.0)


def shipped(name):
    """The pairs of numbers of a table that ships with nbnumba."""
    with open(Path(__file__).parents[2] / "nbnumba" / "data" / name) as handle:
        return [tuple(map(float, line.split())) for line in handle if not line.startswith("#")]


def lagrange_weights(t):
    """Weights of the nodes -1, 0, 1, 2 at t."""
    nodes = (-1.0, 0.0, 1.0, 2.0)
    return [math.prod((t - other) / (node - other) for other in nodes if other != node) for node in nodes]


# ---------------------------------------------------------------------------------------------------------- the sum

class Ray:
    """One sub-pixel of one sensor layer, seen from one source that -dmin does not cut."""

    def __init__(self, layer, position, diffracted, omega, capture, incident, wavelength, weight, is_fresh):
        self.layer, self.position, self.diffracted = layer, position, diffracted
        self.omega, self.capture, self.weight = omega, capture, weight
        self.incident, self.wavelength, self.is_fresh = incident, wavelength, is_fresh
        self.q = scattering_vector(diffracted, incident, wavelength)
        self.polar = None


def scattering_vector(diffracted, incident, wavelength):
    return tuple((d - i) / wavelength for d, i in zip(diffracted, incident))


class Term:
    """One element of the sum: a ray, a phi step and a mosaic domain."""

    def __init__(self, ray, phi_step, domain, hkl, f_latt):
        self.ray, self.phi_step, self.domain, self.hkl, self.f_latt = ray, phi_step, domain, hkl, f_latt
        self.f_cell = None

    def intensity(self):
        return self.ray.weight * (self.f_cell * self.f_latt)**2


class Model:
    """A command line with every default filled in."""

    def __init__(self, flags, c_parity=(), c_threads=1, files=None, mask=None):
        self.parity = frozenset(PARITY_SWITCHES if c_parity == "all" else c_parity)
        if not self.parity <= set(PARITY_SWITCHES):
            raise ValueError("unknown c_parity: " + " ".join(sorted(self.parity - set(PARITY_SWITCHES))))
        self.settings, mask_pixels = read_command_line(flags, files, self.parity)
        s = self.settings
        self.mask = mask_pixels if mask is None else mask
        random_numbers = Ran1()
        self.detector = Detector(s, self.parity)
        self.crystal = Crystal(s, files, self.parity, random_numbers)
        self.domains = mosaic_domains(s, self.parity, random_numbers)
        self.choose_sampling(files)
        self.amplitudes = Amplitudes(s.hkl_file and real_path(s.hkl_file, files), s.default_F)
        few = min(self.crystal.cells) <= 2
        if "interpolation_by_flag" in self.parity:  # a crystal size is not counted in yet
            few = min(s.Na, s.Nb, s.Nc) <= 2
        self.interpolate = bool(self.amplitudes.table) and (few if s.interpolate is None else s.interpolate)
        self.molecule = Molecule(s, files, "amorphous_ignored" in self.parity)
        self.air, self.ice = Air(), Ice(self.settings.ice_size)
        self.fresh_pixels = self.find_fresh_pixels(c_threads)
        self.latch_pixel = self.find_latch_pixel()

    def choose_sampling(self, files):
        """Sub-pixels, sensor layers, sources, phi steps with their lattices, and the scale of the image."""
        s = self.settings
        self.oversample = s.oversample if s.oversample > 0 else self.recommended_oversample()
        self.layers, self.layer_thickness, self.mu = sensor_layers(s, self.parity)
        if s.source_file:
            self.sources = file_sources(real_path(s.source_file, files), s, self.detector, self.parity)
        else:
            self.sources = generated_sources(s, self.detector, self.parity, files)
        self.sources = reweighted(self.sources, s, files)
        self.angles, self.osc = phi_angles(s)
        axis, carried = self.detector.spindle, "phi_carryover" in self.parity
        frame = own_frame(self.crystal.lattice)
        starts = [turned_about_own_axes(self.crystal.lattice, turn, frame) for turn in s.own_turns]
        starts = [tuple(scaled(v, f) for v, f in zip(start, factors)) for start, factors in zip(starts, s.stretches)]
        of_domains = [phi_lattices(start, axis, self.angles, carried) for start in starts]
        self.lattices = [
            [turned_lattice(domain, steps[step]) for domain, steps in zip(self.domains, of_domains)]
            for step in range(len(self.angles))
        ]
        self.fresh_first_step = [turned_lattice(domain, start) for domain, start in zip(self.domains, starts)]
        self.fluence = s.fluence
        if s.flux != 0.0 and s.exposure > 0.0 and s.beamsize >= 0.0:
            self.fluence = s.flux * s.exposure / s.beamsize**2
        self.steps = len(self.sources) * len(self.angles) * len(self.domains) * self.oversample**2

    def recommended_oversample(self):
        """Three sub-pixels per speckle of the crystal's longest edge."""
        edges = zip(self.crystal.lattice, self.crystal.cells, self.settings.cell_spread)
        edge = max(length(scaled(v, 1e-10)) * n * (1.0 + spread) for v, n, spread in edges)
        speckle = self.settings.wavelength / 1e10 * self.detector.distance / self.detector.pixel
        return max(1, math.ceil(3.0 * edge / speckle))

    def region(self):
        """Rows and columns to render, as ranges."""
        given = self.settings.roi or (-1, -1, -1, -1)
        limits = (0, self.detector.fpixels, 0, self.detector.spixels)
        left, right, low, high = (limit if asked < 0 else asked for asked, limit in zip(given, limits))
        return (range(low, min(high + 1, self.detector.spixels)), range(left, min(right + 1, self.detector.fpixels)))

    def pixels(self, rows=None):
        """The pixels to render, in the order of C: in the region and not masked."""
        slow_range, fast_range = self.region()
        for slow in slow_range:
            if rows is None or slow in rows:
                for fast in fast_range:
                    if self.is_rendered(slow, fast):
                        yield slow, fast

    def is_rendered(self, slow, fast):
        slow_range, fast_range = self.region()
        return (slow in slow_range and fast in fast_range
                and (self.mask is None or bool(self.mask[slow][fast])))

    def find_fresh_pixels(self, c_threads):
        """The pixels where a thread of C starts: the first of its rows that a ray reaches. Their first ray sees the
        lattice at phi = 0 as it should be, because nothing was carried over yet."""
        if "phi_carryover" not in self.parity or self.angles[0] != 0.0:
            return set()
        starts = (next((pixel for pixel in self.pixels(rows) if next(self.rays(*pixel), None)), None)
                  for rows in thread_rows(self.detector.spixels, c_threads))
        return set(starts) - {None}

    def find_latch_pixel(self):
        """The pixel in which a single thread of C gives up interpolation for good, or None."""
        if "interpolation_latch" not in self.parity or not self.interpolate:
            return None
        can = self.amplitudes.can_interpolate
        return next((pixel for pixel in self.pixels()
                     if not all(can(term.hkl) for term in self.lattice_terms(*pixel))), None)

    def position(self, slow, fast, layer=0, sub_slow=0, sub_fast=0):
        """Centre of a sub-pixel, on the front of a sensor layer."""
        size = self.detector.pixel / self.oversample
        return self.detector.position((fast * self.oversample + sub_fast + 0.5) * size,
                                      (slow * self.oversample + sub_slow + 0.5) * size, layer * self.layer_thickness)

    def capture(self, layer, point):
        """Fraction of the photons that one sensor layer absorbs."""
        if self.layer_thickness == 0.0:
            of_c = "oversample_running_sum" in self.parity and self.settings.oversample_thick
            return 0.0 if of_c else 1.0
        cosine = dot(unit(point), self.detector.normal)
        if cosine <= 0.0:  # from behind, as the rays to a curved detector may come; C has a negative fraction
            return 0.0
        path = self.layer_thickness * self.mu / cosine
        return math.exp(-layer * path) - math.exp(-(layer + 1) * path)

    def polarization(self, incident, diffracted):
        """Kahn's polarization factor, the E-vector of each source being nearest to the polarization axis."""
        recomputed = "oversample_running_sum" in self.parity and self.settings.oversample_polar
        if self.settings.nopolar and not recomputed:
            return 1.0
        cos_sqr = dot(incident, diffracted)**2
        b_axis = unit(cross(self.detector.polar_axis, incident))
        e_axis = unit(cross(incident, b_axis))
        plane = dot(diffracted, e_axis)**2 - dot(diffracted, b_axis)**2
        if not any(b_axis):  # polarized along the beam: taken to scatter in the plane of the E-vector
            plane = 1.0 - cos_sqr
        return 0.5 * (1.0 + cos_sqr - self.settings.kahn * plane)

    def is_cut(self, q):
        """Whether the d-spacing is beyond -dmin."""
        size = length(q)
        return self.settings.dmin > 0.0 and size > 0.0 and self.settings.dmin > 1.0 / size

    def rays(self, slow, fast):
        """The rays of a pixel in the order of C: layer > sub-pixel slow > fast > source."""
        side = range(self.oversample)
        is_fresh = True
        for layer in range(self.layers):
            for sub_slow, sub_fast in ((i, j) for i in side for j in side):
                point = self.position(slow, fast, layer, sub_slow, sub_fast)
                diffracted, omega, capture = unit(point), self.detector.solid_angle(point), self.capture(layer, point)
                for incident, wavelength, weight in self.sources:
                    ray = Ray(layer, point, diffracted, omega, capture, incident, wavelength, weight, is_fresh)
                    if not self.is_cut(ray.q):
                        is_fresh = False
                        ray.polar = self.polarization(incident, diffracted)
                        yield ray

    def lattice_terms(self, slow, fast):
        """The terms of a pixel, still without F_cell. Those that would add nothing are left out."""
        starts_fresh = (slow, fast) in self.fresh_pixels
        for ray in self.rays(slow, fast):
            for phi_step, lattices in enumerate(self.lattices):
                if starts_fresh and ray.is_fresh and phi_step == 0:
                    lattices = self.fresh_first_step
                for domain, lattice in enumerate(lattices):
                    hkl = turned(lattice, ray.q)
                    f_latt = self.crystal.lattice_factor(hkl)
                    if f_latt != 0.0 or self.settings.water != 0.0:
                        yield Term(ray, phi_step, domain, hkl, f_latt)

    def terms(self, slow, fast):
        """The terms of a pixel."""
        is_on = self.interpolate and (self.latch_pixel is None or (slow, fast) <= self.latch_pixel)
        terms = list(self.lattice_terms(slow, fast))
        for term in terms:
            is_possible = is_on and self.amplitudes.can_interpolate(term.hkl)
            if is_possible:
                term.f_cell = self.amplitudes.interpolated(term.hkl)
            elif is_on and "interpolation_latch" not in self.parity:
                term.f_cell = self.amplitudes.default
            else:
                term.f_cell = self.amplitudes.nearest(term.hkl)
                is_on = False
            term.f_cell *= self.crystal.weakening(term.hkl)
        return terms

    def first_captures(self, slow, fast):
        """Capture of each layer at the first sub-pixel. C knows one for all: that of the last layer."""
        captures = [self.capture(layer, self.position(slow, fast, layer)) for layer in range(self.layers)]
        return captures[-1:] * self.layers if "capture_last_layer" in self.parity else captures

    def water_intensity(self, structure_factor=WATER_F):
        """Photons per steradian that the water, or what stands in for it, scatters."""
        molecules = self.settings.water**3 * self.molecule.number_density
        return structure_factor**2 * CLASSICAL_RADIUS_SQR * self.fluence * molecules

    def air_intensity(self, amplitude):
        """Photons per steradian that the air in the beam scatters."""
        molecules = self.settings.air * self.settings.beamsize**2 * self.air.number_density
        return amplitude**2 * CLASSICAL_RADIUS_SQR * self.fluence * molecules

    def ice_intensity(self, squared):
        """Photons per steradian that the ice scatters."""
        return squared * CLASSICAL_RADIUS_SQR * self.fluence * self.settings.ice**3 * self.ice.number_density

    def summed(self, terms, captures, start):
        """The sum over the terms. A factor that is oversampled weighs each term, or, in C, the sum so far."""
        s, total = self.settings, start
        for term in terms:
            ray = term.ray
            factor = ray.capture if s.oversample_thick else 1.0
            factor *= ray.polar if s.oversample_polar else 1.0
            factor *= ray.omega if s.oversample_omega else 1.0
            value = term.intensity() * (1.0 if s.oversample_thick else captures[ray.layer])
            if "oversample_running_sum" in self.parity:
                total = (total + value) * factor
            else:
                total += value * factor
        return total

    def displaced_parts(self):
        """For a crystal that is not at the origin: a model of each phi step, without background, that sees the detector from
        where the spindle takes the crystal; and one of the background alone, at the origin."""
        parts = []
        for angle, lattices in zip(self.angles, self.lattices):
            part = copy.copy(self)
            part.settings, part.lattices = copy.copy(self.settings), [lattices]
            part.settings.xtal_position, part.settings.water, part.settings.air = (0.0, 0.0, 0.0), 0.0, 0.0
            position = turned(rotation(self.detector.spindle, angle), self.settings.xtal_position)
            part.detector = self.detector.seen_from(position)
            parts.append(part)
        background = copy.copy(self)
        background.settings, background.interpolate = copy.copy(self.settings), False
        background.settings.xtal_position = (0.0, 0.0, 0.0)
        background.amplitudes = Amplitudes(None, 0.0)
        return [*parts, background]

    def pixel(self, slow, fast):
        """Everything about one pixel; `I_pixel` is its value in the image, and of a displaced crystal alone."""
        if any(self.settings.xtal_position):
            return {"I_pixel": sum(part.pixel(slow, fast)["I_pixel"] for part in self.displaced_parts())}
        s, terms = self.settings, self.terms(slow, fast)
        first_point = self.position(slow, fast)
        omega = self.detector.solid_angle(first_point)
        polar = next((ray.polar for ray in self.rays(slow, fast)), 1.0 if s.nopolar else 0.0)
        captures = self.first_captures(slow, fast)
        is_product = "oversample_running_sum" in self.parity and (
            s.oversample_thick or s.oversample_polar or s.oversample_omega)
        own_captures = self.layer_thickness > 0.0 and not (s.oversample_thick or "capture_last_layer" in self.parity)
        starts_with_water = "water_scale" in self.parity and is_product and not own_captures
        water_as_in_c = self.water_intensity() if starts_with_water else 0.0
        water_capture = 1.0 if s.oversample_thick else captures[-1]
        total = self.summed(terms, captures, water_as_in_c * water_capture)
        scale = CLASSICAL_RADIUS_SQR * self.fluence / self.steps
        intensity = scale * total * (1.0 if s.oversample_omega else omega) * (1.0 if s.oversample_polar else polar)
        if (s.water or s.air or s.ice) and not water_as_in_c:
            counted = self.layers if "capture_last_layer" in self.parity else 1  # else each by its own
            again = scale / counted if "water_scale" in self.parity else 1.0
            intensity += again * self.water_photons(slow, fast, omega, polar, captures)
        return {"I_pixel": intensity, "I_before_scaling": self.summed(terms, [1.0] * self.layers, water_as_in_c),
                "omega": omega, "polar": polar, "captures": captures, "position": first_point, "terms": terms}

    def water_photons(self, slow, fast, omega, polar, captures):
        """What the water scatters into a pixel, which -dmin does not cut: a mean over the samples. Of the solid angle,
        the polarization and the capture those are the sample's own that are oversampled; the others the pixel's."""
        s, total = self.settings, 0.0
        if not polar and "water_scale" not in self.parity:
            polar = self.polarization(self.sources[0][0], unit(self.position(slow, fast)))
        for layer in range(self.layers):
            for sub_slow, sub_fast in ((i, j) for i in range(self.oversample) for j in range(self.oversample)):
                point = self.position(slow, fast, layer, sub_slow, sub_fast)
                factor = self.capture(layer, point) if s.oversample_thick else captures[layer]
                factor *= self.detector.solid_angle(point) if s.oversample_omega else omega
                for incident, wavelength, weight in self.sources:
                    polarization = self.polarization(incident, unit(point)) if s.oversample_polar else polar
                    q = length(scattering_vector(unit(point), incident, wavelength))
                    light = self.water_intensity(self.molecule.structure_factor(q / 2.0))
                    if s.air:
                        light += self.air_intensity(self.air.structure_factor(q / 2.0))
                    if s.ice:
                        light += self.ice_intensity(self.ice.intensity(q / 2.0))
                    total += weight * factor * polarization * light
        return total / (len(self.sources) * self.oversample**2)


def thread_rows(rows, threads):
    """The blocks of rows that C's threads take: contiguous, the first rows % threads of them one row longer."""
    size, longer = divmod(rows, threads)
    start = 0
    for thread in range(threads):
        stop = start + size + (thread < longer)
        yield range(start, stop)
        start = stop


# ----------------------------------------------------------------------------------------------------- entry points

def render(flags, pixels=None, c_parity=(), c_threads=1, files=None, mask=None):
    """The image of a nanoBragg command line, as float64 (slow, fast), or {(slow, fast): value} for some `pixels`.

    `files` maps file names of the command line to real paths; `mask` (0: leave out) replaces the pixels of -mask.
    `c_threads` is the number of threads of the run of C that phi_carryover reproduces.
    """
    model = Model(flags, c_parity, c_threads, files, mask)
    if pixels is not None:
        return {(slow, fast): model.pixel(slow, fast)["I_pixel"] if model.is_rendered(slow, fast) else 0.0
                for slow, fast in pixels}
    image = np.zeros((model.detector.spixels, model.detector.fpixels))
    for slow, fast in model.pixels():
        image[slow, fast] = model.pixel(slow, fast)["I_pixel"]
    return image


def trace(flags, slow, fast, c_parity=(), c_threads=1, files=None, mask=None):
    """How the value of one pixel comes about.

    `phi_steps` lists (phi_deg, h, k, l, F_latt, F_cell) for the first ray and the aligned mosaic domain, and `terms`
    (layer, phi_deg, domain, h, k, l, F_latt, F_cell) for the whole sum. `capture` is the factor that C applies at the
    end with capture_last_layer, else the sum over the layers; `captures` has each layer's.
    """
    model = Model(flags, c_parity, c_threads, files, mask)
    pixel = model.pixel(slow, fast)
    degrees = [phi * DEGREES for phi in model.angles]
    terms = pixel["terms"]
    first = terms[0].ray if terms else None
    diffracted = unit(pixel["position"])
    incident, wavelength, _ = model.sources[0]
    captures = pixel["captures"]
    return {
        "phi_steps": [(degrees[t.phi_step], *t.hkl, t.f_latt, t.f_cell)
                      for t in terms if t.ray is first and t.domain == 0],
        "terms": [(t.ray.layer, degrees[t.phi_step], t.domain, *t.hkl, t.f_latt, t.f_cell) for t in terms],
        "I_before_scaling": pixel["I_before_scaling"], "I_pixel": pixel["I_pixel"],
        "polar": pixel["polar"], "omega": pixel["omega"],
        "capture": captures[-1] if "capture_last_layer" in model.parity else sum(captures), "captures": captures,
        "q": first.q if first else scattering_vector(diffracted, incident, wavelength),
        "position": pixel["position"], "diffracted": diffracted, "incident": first.incident if first else incident,
        "wavelength": first.wavelength if first else wavelength, "airpath_m": length(pixel["position"]),
        "fluence": model.fluence, "steps": model.steps,
    }


def geometry(flags, c_parity=(), files=None):
    """The experiment that a command line describes: detector, beam, cell and sampling."""
    model = Model(flags, c_parity, 1, files)
    d, a_star = model.detector, model.crystal.reciprocal
    a, b, c = model.crystal.lattice
    return {
        "convention": d.settings.convention, "pivot": d.pivot, "fpixels": d.fpixels, "spixels": d.spixels,
        "pixel_mm": d.pixel * 1e3, "detsize_f_mm": d.detsize_f * 1e3, "detsize_s_mm": d.detsize_s * 1e3,
        "fast": d.fast, "slow": d.slow, "normal": d.normal, "pix0": d.pix0, "beam": d.beam,
        "polar_axis": d.polar_axis, "spindle": d.spindle, "twotheta_axis": d.twotheta_axis,
        "close_distance_m": d.close_distance, "distance_m": d.distance, "wavelength": d.settings.wavelength,
        "xbeam_mm": d.xbeam * 1e3, "ybeam_mm": d.ybeam * 1e3, "fbeam_mm": d.fbeam * 1e3, "sbeam_mm": d.sbeam * 1e3,
        "fclose_mm": d.fclose * 1e3, "sclose_mm": d.sclose * 1e3,
        "orgx": d.fclose / d.pixel + 0.5, "orgy": d.sclose / d.pixel + 0.5,
        "dials_origin_mm": (d.pix0[2] * 1e3, d.pix0[1] * 1e3, -d.pix0[0] * 1e3),
        "phi_deg": d.settings.phi * DEGREES, "osc_deg": model.osc * DEGREES,
        "phi_steps_deg": [phi * DEGREES for phi in model.angles], "twotheta_deg": d.settings.twotheta * DEGREES,
        "a": a, "b": b, "c": c, "a_star": a_star[0], "b_star": a_star[1], "c_star": a_star[2],
        "volume": model.crystal.volume, "cells": model.crystal.cells, "domains": model.domains,
        "sources": model.sources, "oversample": model.oversample, "interpolate": model.interpolate,
        "layers": model.layers, "layer_thickness_m": model.layer_thickness, "mu_per_m": model.mu,
        "fluence": model.fluence, "steps": model.steps,
    }
