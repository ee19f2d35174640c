"""The header of an SMV image: the keys that a run writes, and what -img and -mask read from them (specs/cli.md)."""

import dataclasses
import math
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.flags.arguments import number
from nbnumba.formats.smv import GAIN_KEY, OFFSET_KEY, SATURATION_KEY
from nbnumba.formats.text import printable
from nbnumba.noise import LARGEST_PIXEL
from nbnumba.parity import NO_DEFECTS, Defects
from nbnumba.response import ALLOWED as RESPONSES_ALLOWED
from nbnumba.response import PHOTON_COUNTER, Response
from nbnumba.setup.conventions import CONVENTIONS, from_detector, to_detector
from nbnumba.setup.detector import Placement, pivot_of, position_detector, sizes
from nbnumba.setup.orientations import phi_steps
from nbnumba.setup.sources import main_wavelength
from nbnumba.statements import CONVENTIONS as CONVENTION_NAMES
from nbnumba.statements import PART_NAMES, PIVOTS, Beam, Detector, Goniometer, Sampling, Statements

FIELDS = {
    "PIXEL_SIZE": "detector.pixel_mm",
    "DISTANCE": "detector.distance_mm",
    "CLOSE_DISTANCE": "detector.close_distance_mm",
    "WAVELENGTH": "beam.wavelength_A",
    "PHI": "goniometer.phi_deg",
    "OSC_RANGE": "goniometer.osc_deg",
    "TWOTHETA": "detector.twotheta_deg",
}
"""nanoBragg's keys that state one field each."""

_POSITIVE = ("a positive number", lambda value: value > 0.0)
_COUNT = ("a whole number from 1 to 65535", lambda value: 1 <= value <= 65535 and value == round(value))

ALLOWED = {
    "PIXEL_SIZE": _POSITIVE,
    "CLOSE_DISTANCE": _POSITIVE,
    "WAVELENGTH": _POSITIVE,
    "DISTANCE": ("a number other than 0", lambda value: value != 0.0),
    "OSC_RANGE": ("a number not below 0", lambda value: value >= 0.0),
    "SIZE1": _COUNT,
    "SIZE2": _COUNT,
    "DETECTOR_DIMENSIONS": _COUNT,
}
"""The values that a key may have, where some finite numbers are not allowed."""

BEAM_CENTER = ("BEAM_CENTER_X", "BEAM_CENTER_Y")
SIZES, SQUARE = ("SIZE1", "SIZE2"), "DETECTOR_DIMENSIONS"

CENTRES = {
    "mosflm": ("MOSFLM_CENTER_X", "MOSFLM_CENTER_Y"),
    "adxv": ("ADXV_CENTER_X", "ADXV_CENTER_Y"),
    "denzo": ("DENZO_X_BEAM", "DENZO_Y_BEAM"),
    "custom": ("DENZO_Y_BEAM", "DENZO_X_BEAM"),
}
"""Where nanoBragg writes the beam centre of each convention, whatever the image's own is."""

EXPECTED = {
    "PIXEL_SIZE": ("detector.pixel_mm", "-pixel", re.compile(r"PIXEL_?SIZE.*|.*SPATIAL_DISTORTION_INFO", re.I)),
    "DISTANCE": ("detector.distance_mm", "-distance", re.compile(r"\w+_DISTANCE|.*_?GONIO_VALUES", re.I)),
    "WAVELENGTH": ("beam.wavelength_A", "-lambda", re.compile(r"\w+_WAVELENGTH|LAMBDA|.*ENERGY.*", re.I)),
    "BEAM_CENTER_X": ("detector.xbeam_mm", "-Xbeam and -Ybeam", re.compile(r".*BEAM(?!LINE).*|.*SPATIAL_DISTORT.*", re.I)),
    "SIZE1": ("detector.pixels", "-detpixels", re.compile(r"\w*DIMENSION\w*|SIZE\d?", re.I)),
    "PHI": ("goniometer.phi_deg", "-phi and -osc", re.compile(r"\w*ROTATION|OSC_START|OMEGA.*|\w+_PHI|AXIS", re.I)),
    "OSC_RANGE": ("goniometer.osc_deg", "-osc", re.compile(r"\w*ROTATION|OSC_WIDTH|\w*_(?:WIDTH|INCREMENT)", re.I)),
}
"""Keys that are missed where a header lacks them: field, flags that state it, and keys of other programs for the same."""

TURNS = ("detector.rotx_deg", "detector.roty_deg", "detector.rotz_deg", "detector.twotheta_deg")

OWN = {
    "NBNUMBA_CONVENTION": "detector.convention",
    "NBNUMBA_PIVOT": "detector.pivot",
    "NBNUMBA_PIXEL_SIZE": "detector.pixel_mm",
    "NBNUMBA_DISTANCE": "detector.distance_mm",
    "NBNUMBA_CLOSE_DISTANCE": "detector.close_distance_mm",
    "NBNUMBA_XBEAM": "detector.xbeam_mm",
    "NBNUMBA_YBEAM": "detector.ybeam_mm",
    "NBNUMBA_PIX0": "detector.pix0_mm",
    **{f"NBNUMBA_{field.partition('.')[2].removesuffix('_deg').upper()}": field for field in TURNS},
    "NBNUMBA_FAST_AXIS": "detector.fast_axis",
    "NBNUMBA_SLOW_AXIS": "detector.slow_axis",
    "NBNUMBA_NORMAL_AXIS": "detector.normal_axis",
    "NBNUMBA_TWOTHETA_AXIS": "detector.twotheta_axis",
    "NBNUMBA_POINT_PIXEL": "detector.point_pixel",
    "NBNUMBA_CURVED": "detector.curved",
    "NBNUMBA_WAVELENGTH": "beam.wavelength_A",
    "NBNUMBA_BEAM_VECTOR": "beam.direction",
    "NBNUMBA_POLAR_VECTOR": "beam.polarization_axis",
    "NBNUMBA_PHI": "goniometer.phi_deg",
    "NBNUMBA_OSC_RANGE": "goniometer.osc_deg",
    "NBNUMBA_SPINDLE_AXIS": "goniometer.spindle_axis",
}
"""nbnumba's own keys: the position of the detector before it turns, with all digits. A field of default value has no key."""

MARK = "NBNUMBA_CONVENTION"
"""The key that every header with nbnumba's own keys has."""

READOUT = {GAIN_KEY: "response.gain", SATURATION_KEY: "response.saturation"}
"""The keys of the response of the detector, and their fields."""

TOLERANCE = "NBNUMBA_TOLERANCE"
"""The key of the photons that a pixel may lack (F10a); an image to which every term was added has none."""

WORDS = {"detector.convention": CONVENTION_NAMES, "detector.pivot": PIVOTS}
"""The fields that nbnumba's own keys state by a word."""

SAME = {"detector.distance_mm": ("detector.close_distance_mm",), "detector.xbeam_mm": ("detector.orgx_pixels",)}
"""Other forms of fields of EXPECTED."""

ROTATION = ("PHI", "OSC_RANGE")
"""Keys that are missing in the header of a still."""

AXES = ("fast_axis", "slow_axis", "normal_axis", "twotheta_axis")
VECTORS = tuple(f"detector.{name}" for name in (*AXES, "pix0_mm"))
VECTORS += ("beam.direction", "beam.polarization_axis", "goniometer.spindle_axis")

FORMS = ("distance_mm", "close_distance_mm", "xbeam_mm", "ybeam_mm", "xclose_mm", "yclose_mm", "orgx_pixels", "orgy_pixels")
FORMS += ("pix0_mm", "size_mm")
"""The fields of the detector that state its position in one form or another."""

POSITION = tuple(f"detector.{form}" for form in FORMS)
"""The same fields by their full names."""

COMPARED = (*FIELDS, *BEAM_CENTER, "XDS_ORGX", "XDS_ORGY", "DIALS_ORIGIN")
"""nanoBragg's keys that have to agree with nbnumba's own."""

_NOT_KNOWN = re.compile(r"[+-]?nan|unknown|none|n/?a|null|-*", re.IGNORECASE)


# ------------------------------------------------------------------------------------------------ written


def entries_of(
    experiment: Statements, placement: Placement, adc: float, as_c: bool, response: Response = PHOTON_COUNTER
) -> list[tuple]:
    """The keys of a header in nanoBragg's order, the pedestal as ADC_OFFSET, those of a response, and nbnumba's own.

    The latter two are left out as_c. Those of the geometry are left out where nanoBragg's keys alone bring it back, so that its
    header keeps its length. The wavelength is that of the beam as a whole (F5b).
    """
    whole = dataclasses.replace(experiment.beam, wavelength_A=main_wavelength(experiment.beam))
    experiment = dataclasses.replace(experiment, beam=whole)
    stated = _nanobragg_entries(experiment.detector, experiment.beam, experiment.goniometer, placement)
    keys = [*stated, ("DETECTOR_SN", "000"), ("BEAMLINE", "fake"), (OFFSET_KEY, adc)]
    if as_c:
        return keys
    own = [] if _suffice(stated, experiment, placement) else _own_entries(experiment, placement)
    return keys + _response_entries(response) + own + _tolerance_entry(experiment.sampling)


def _response_entries(response: Response) -> list[tuple[str, float]]:
    """The gain in ADU per photon, and the smallest saturated value of a pixel, where they are not those of a photon counter."""
    entries = [(GAIN_KEY, response.gain), (SATURATION_KEY, math.floor(response.saturation))]
    defaults = (PHOTON_COUNTER.gain, PHOTON_COUNTER.saturation)
    return [entry for entry, default in zip(entries, defaults) if entry[1] != default]


def _suffice(keys: Iterable[tuple], experiment: Statements, placement: Placement) -> bool:
    """Whether -img without other flags reads this geometry from nanoBragg's keys, which have six digits."""
    entries = {key: f"{value:g}" for key, value in keys if np.ndim(value) == 0}
    try:
        fields = nanobragg_fields(Header(entries, "", (), NO_DEFECTS), Detector.convention, False)
        detector, beam, goniometer = parts_of(fields | {"detector.pixels": placement.pixels})
        placed = position_detector(detector, beam, NO_DEFECTS)
    except InputError:
        return False
    wanted, turn = experiment.detector, experiment.goniometer
    rest = (detector.convention, detector.curved, detector.point_pixel, detector.twotheta_deg)
    same = rest == (wanted.convention, wanted.curved, wanted.point_pixel, wanted.twotheta_deg)
    same = same and (beam.wavelength_A, goniometer.phi_deg) == (experiment.beam.wavelength_A, turn.phi_deg)
    same = same and phi_steps(goniometer)[2] == phi_steps(turn)[2]
    return same and _same_position(placed, placement)


def _nanobragg_entries(detector: Detector, beam: Beam, goniometer: Goniometer, placement: Placement) -> list[tuple]:
    """nanoBragg's keys of the geometry. Distance and beam centres are those of the detector after it has turned."""
    pixel, centres = placement.pixel, placement.centres()
    return [
        ("PIXEL_SIZE", pixel * 1000),
        ("DISTANCE", placement.distance * 1000),
        ("WAVELENGTH", beam.wavelength_A),
        ("BEAM_CENTER_X", placement.xbeam * 1000),
        ("BEAM_CENTER_Y", placement.ybeam * 1000),
        ("ADXV_CENTER_X", centres.adxv[0]),
        ("ADXV_CENTER_Y", centres.adxv[1]),
        ("MOSFLM_CENTER_X", centres.mosflm[0]),
        ("MOSFLM_CENTER_Y", centres.mosflm[1]),
        ("DENZO_X_BEAM", centres.denzo[0]),
        ("DENZO_Y_BEAM", centres.denzo[1]),
        ("DIALS_ORIGIN", centres.dials),
        ("XDS_ORGX", centres.xds[0]),
        ("XDS_ORGY", centres.xds[1]),
        ("CLOSE_DISTANCE", placement.close_distance * 1000),
        ("PHI", goniometer.phi_deg),
        ("OSC_START", goniometer.phi_deg),
        ("OSC_RANGE", phi_steps(goniometer)[2]),
        ("TWOTHETA", detector.twotheta_deg),
    ]


def _own_entries(experiment: Statements, placement: Placement) -> list[tuple[str, str]]:
    """nbnumba's own keys with all digits; none if they would not position the detector here."""
    stated = _positioning_fields(experiment, placement)
    if stated is None:
        return []
    return [(key, _text(stated[field])) for key, field in OWN.items() if key == MARK or stated[field] != DEFAULTS[field]]


def _tolerance_entry(sampling: Sampling) -> list[tuple[str, str]]:
    """The key of the tolerance, if the image was computed with one."""
    return [] if sampling.tolerance == 0.0 or sampling.c_parity else [(TOLERANCE, _text(sampling.tolerance))]


def _positioning_fields(experiment: Statements, placement: Placement) -> dict[str, Any] | None:
    """The fields of OWN that position the detector where it stands; None if no fields do.

    The fields are tested without C's defects, because a header is read without them.
    """
    detector, beam, goniometer = experiment.detector, experiment.beam, experiment.goniometer
    if detector.convention != "custom":
        detector = dataclasses.replace(detector, **dict.fromkeys(AXES))
        beam = dataclasses.replace(beam, direction=None, polarization_axis=None)
        goniometer = dataclasses.replace(goniometer, spindle_axis=None)
    pivot = pivot_of(detector, experiment.sampling.defects)
    x, y = _centre_on_pixels(detector, placement)
    by_centre = dict.fromkeys(FORMS) | {"xbeam_mm": x * 1000, "ybeam_mm": y * 1000}
    if pivot == "beam":
        by_centre["distance_mm"] = placement.stated_distance * 1000
    else:
        by_centre["close_distance_mm"] = placement.stated_close_distance * 1000
    by_corner = dict.fromkeys(FORMS) | {"pix0_mm": detector.pix0_mm}
    for form in (by_centre, by_corner) if detector.pix0_mm is not None else (by_centre,):
        try:
            moved = dataclasses.replace(detector, **form, pivot=pivot)
            placed = position_detector(moved, beam, NO_DEFECTS)
        except InputError:  # this form would need a number that no flag may state
            continue
        if _same_position(placed, placement):
            return _fields(moved, beam, goniometer) | {"goniometer.osc_deg": phi_steps(goniometer)[2] or None}
    return None


def _fields(detector: Detector, beam: Beam, goniometer: Goniometer) -> dict[str, Any]:
    """The values of the fields of OWN."""
    parts = {"detector": detector, "beam": beam, "goniometer": goniometer}
    return {field: getattr(parts[field.partition(".")[0]], field.partition(".")[2]) for field in OWN.values()}


def parts_of(fields: Mapping[str, Any]) -> tuple[Detector, Beam, Goniometer]:
    """The parts of an experiment that have these fields."""
    parts: dict[str, dict[str, Any]] = {"detector": {}, "beam": {}, "goniometer": {}, "sampling": {}}
    for field, value in fields.items():
        parts[field.partition(".")[0]][field.partition(".")[2]] = value
    return Detector(**parts["detector"]), Beam(**parts["beam"]), Goniometer(**parts["goniometer"])


PARTS = {name: part for part, name in PART_NAMES.items()}
"""The parts of an experiment by their names."""


def _refused(field: str, value: float) -> str | None:
    """The values that a field may have, if this value is not allowed; else None."""
    part, _, name = field.partition(".")
    try:
        PARTS[part](**{name: value})
    except InputError as error:
        return str(error).rpartition("allowed: ")[2]
    return None


DEFAULTS = _fields(Detector(), Beam(), Goniometer())
"""The value of a field for which a header has no key."""


def _centre_on_pixels(detector: Detector, placement: Placement) -> tuple[float, float]:
    """The beam centre in the convention's terms, of a detector that is as large as its pixels; m."""
    convention, pixel = CONVENTIONS[detector.convention], placement.pixel
    spot = to_detector(convention, placement.xbeam, placement.ybeam, pixel, sizes(detector)[1])
    return from_detector(convention, *spot, pixel, placement.pixels[1] * pixel)


def _same_position(one: Placement, other: Placement) -> bool:
    """Whether two detectors stand at the same position, to a billionth of a pixel."""
    names = ("origin", "fast", "slow", "normal", "beam", "distance", "close_distance")
    return all(np.allclose(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-13) for name in names)


def _text(value: Any) -> str:
    """A value with all its digits: a word, 1 or 0, a number, or numbers joined by commas."""
    if isinstance(value, (str, bool)):
        return str(int(value)) if isinstance(value, bool) else value
    return ",".join(repr(float(x)) for x in np.atleast_1d(value))


# ------------------------------------------------------------------------------------------------ read


class Header(NamedTuple):
    """The entries of a header; flag and file, for messages; the fields that flags state; C's defects to reproduce."""

    entries: Mapping[str, str]
    name: str
    overruled: Collection[str]
    defects: Defects

    def number(self, key: str, field: str) -> float | None:
        """The number that a key states of a field; None if it is not there. InputError: one that is not allowed."""
        text = self.entries.get(key, "").strip()
        value, (allowed, test) = number(text), ALLOWED.get(key, ("a finite number", lambda _: True))
        if value is not None and test(value):
            allowed = None if field in self.overruled or key in (*SIZES, SQUARE) else _refused(field, value)
            if allowed is None:
                return value
        if key not in self.entries or field in self.overruled:
            return None
        if not _NOT_KNOWN.fullmatch(text):
            raise InputError(f"{self.name} has {self.shown([key])} in its header; allowed: {allowed}, or a flag that states it")
        self.warn(f"has {self.shown([key])} in its header, which is no number and is passed over")
        return None

    def shown(self, keys: Iterable[str]) -> str:
        """Entries as they stand in the header, each on one line that can be printed."""
        return ", ".join(f"{printable(key)}={printable(self.entries[key].strip())}" for key in keys if key in self.entries)

    def warn(self, sentence: str) -> None:
        """Warn of something in this header."""
        warnings.warn(f"{self.name} {sentence}", stacklevel=2)


def fields_of(header: Header, convention: str | None, flipped: bool) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that a header states: those of the geometry, and the tolerance.

    convention: the one that flags choose, if they do. flipped: BEAM_CENTER_Y counts from the far edge (-mask). InputError: an
    impossible value.
    """
    tolerance = None if header.defects.header_overflow else header.number(TOLERANCE, "sampling.tolerance")
    return _geometry(header, convention, flipped) | ({} if tolerance is None else {"sampling.tolerance": tolerance})


def readout_of(header: Header) -> dict[str, float]:
    """Fields of the response by "part.field" that a header states: its gain, and the value from which on it is saturated.

    None of them where nanoBragg's keys alone count. Warns of a value that neither can be, which is passed over: other programs
    have a key GAIN with a word, or 0.
    """
    fields = {}
    for key, field in {} if header.defects.header_overflow else READOUT.items():
        text = header.entries.get(key, "").strip()
        allowed, test = RESPONSES_ALLOWED[field.partition(".")[2]]
        value = number(text)
        if not text or field in header.overruled or (value is not None and value > LARGEST_PIXEL and key == SATURATION_KEY):
            continue
        if value is None or not test(value):
            header.warn(f"has {header.shown([key])} in its header, which is passed over; allowed: {allowed}")
        else:
            fields[field] = value
    return fields


def _geometry(header: Header, convention: str | None, flipped: bool) -> dict[str, Any]:
    """Fields of the geometry by "part.field" that a header states. convention: the one that flags choose, if they do.

    flipped: BEAM_CENTER_Y counts from the far edge (-mask). nbnumba's own keys count where nanoBragg's agree with them and
    flags choose no other convention. Warns of what a header cannot say; InputError: an impossible value.
    """
    if MARK not in header.entries or header.defects.header_overflow:
        fields = nanobragg_fields(header, convention or Detector.convention, flipped)
        _warn_of_what_is_not_known(header, convention or Detector.convention, fields)
        return fields
    own = _own_fields(header)
    stated = own["detector.convention"]
    if convention not in (None, stated):
        if any(own[field] for field in TURNS):
            header.warn(f"is of a detector that is turned in the convention {stated}; in {convention} its turns are not known")
        return nanobragg_fields(header, convention, False, CENTRES.get(convention))
    changed = _changed(header, own)
    if not changed:
        return own | _pixels(header)
    header.warn(f"has {header.shown(changed)} and NBNUMBA_ keys that say other: nanoBragg's keys count, which know no turns")
    return nanobragg_fields(header, stated, False) | {"detector.convention": stated}


def nanobragg_fields(header: Header, convention: str, flipped: bool, centre: tuple[str, str] | None = None) -> dict[str, Any]:
    """The fields of the experiment by "part.field" that nanoBragg's keys state.

    The beam centre of xds and dials is XDS_ORGX and XDS_ORGY where they are there, else, as of every other convention,
    BEAM_CENTER_X and BEAM_CENTER_Y, or the keys `centre`.
    """
    unused = {"TWOTHETA"} if header.defects.header_twotheta else set()
    stated = {field: header.number(key, field) for key, field in FIELDS.items() if key not in unused}
    fields = {field: value for field, value in stated.items() if value is not None} | _pixels(header)
    if convention in ("xds", "dials"):
        origin = header.number("XDS_ORGX", "detector.orgx_pixels"), header.number("XDS_ORGY", "detector.orgy_pixels")
        if None not in origin:
            return fields | {"detector.orgx_pixels": origin[0], "detector.orgy_pixels": origin[1]}
    for key, field in zip(centre or BEAM_CENTER, ("detector.xbeam_mm", "detector.ybeam_mm")):
        value = header.number(key, field)
        if value is not None:
            fields[field] = value
    if flipped and "detector.ybeam_mm" in fields:
        height = fields.get("detector.pixel_mm", Detector.pixel_mm) * fields.get("detector.pixels", (0, 0))[1]
        fields["detector.ybeam_mm"] = height - fields["detector.ybeam_mm"]
    return fields


def _pixels(header: Header) -> dict[str, tuple[int, int]]:
    """The number of pixels, where both sizes are there, or that of a square."""
    keys = [key if key in header.entries else SQUARE for key in SIZES]
    sizes = [header.number(key, "detector.pixels") for key in keys]
    return {} if None in sizes else {"detector.pixels": (int(sizes[0]), int(sizes[1]))}


def _warn_of_what_is_not_known(header: Header, convention: str, fields: Mapping[str, Any]) -> None:
    """Warn of what nanoBragg's keys leave open: how the detector was turned, the convention, and what is not known."""
    distance, close_distance = fields.get("detector.distance_mm"), fields.get("detector.close_distance_mm")
    tilted = distance and close_distance and abs(abs(distance) - close_distance) > 1e-4 * close_distance
    if (tilted or fields.get("detector.twotheta_deg")) and not {*TURNS, "detector.pivot"} & set(header.overruled):
        keys = header.shown(("TWOTHETA", "DISTANCE", "CLOSE_DISTANCE"))
        unknown = "about which axes and pivot is not known, and its distance and beam centre are those after the turn"
        header.warn(f"is of a detector that was turned ({keys}): {unknown}; state them by flags")
    elif convention in CENTRES and not {"detector.xbeam_mm", "detector.ybeam_mm"} & set(header.overruled):
        _warn_of_another_convention(header, convention, fields.get("detector.pixel_mm", Detector.pixel_mm))
    for key, (field, flags, others) in EXPECTED.items():
        known = key in header.entries or not {field, *SAME.get(field, ())}.isdisjoint(fields)
        if not known and field not in header.overruled and header.name.startswith("-img"):
            unread = header.shown([other for other in header.entries if others.fullmatch(other)][:3])
            if key in ROTATION and not unread:
                continue
            header.warn(f"has no {key} in its header{f', and {unread} is not read' if unread else ''}: give {flags}")


def _warn_of_another_convention(header: Header, convention: str, pixel_mm: float) -> None:
    """Warn where the beam centre is not what the header says it is in this convention."""
    agreeing = [name for name in CENTRES if _agrees(header, CENTRES[name], pixel_mm)]
    if all(key in header.entries for key in (*BEAM_CENTER, *CENTRES[convention])) and convention not in agreeing:
        other = f"that of {' or '.join(agreeing)}" if agreeing else "of another convention or unit"
        keys = f"{header.shown(BEAM_CENTER)} and, for {convention}, {header.shown(CENTRES[convention])}"
        header.warn(f"has {keys}: its beam centre is {other}; choose the convention, or state -Xbeam and -Ybeam")


def _agrees(header: Header, keys: tuple[str, str], pixel_mm: float) -> bool:
    """Whether these keys are there and are the beam centre, to a tenth of a pixel."""
    values = [number(header.entries.get(key, "").strip()) for key in (*BEAM_CENTER, *keys)]
    return None not in values and all(abs(x - y) <= 0.1 * pixel_mm for x, y in zip(values[:2], values[2:]))


def _own_fields(header: Header) -> dict[str, Any]:
    """All fields of OWN as a header states them. InputError: a value that none can be."""
    return {field: _own_value(header, key, field) for key, field in OWN.items()}


def _own_value(header: Header, key: str, field: str) -> Any:
    text, default = header.entries.get(key), DEFAULTS[field]
    if text is None:
        return default
    if field in WORDS:
        if text not in WORDS[field]:
            raise InputError(f"{header.name} has {header.shown([key])} in its header; allowed: {', '.join(WORDS[field])}")
        return text
    values = [number(word) for word in text.split(",")]
    wanted = 3 if field in VECTORS else 1
    if None in values or len(values) != wanted:
        raise InputError(f"{header.name} has {header.shown([key])} in its header; allowed: {wanted} finite numbers")
    return tuple(values) if wanted == 3 else bool(values[0]) if isinstance(default, bool) else values[0]


def _changed(header: Header, own: Mapping[str, Any]) -> list[str]:
    """The keys of nanoBragg that say other than what nbnumba wrote beside its own: somebody has changed one or the other."""
    made = parts_of(own | _pixels(header))
    keys = _nanobragg_entries(*made, position_detector(*made[:2], NO_DEFECTS))
    compared = [(key, value) for key, value in keys if key in COMPARED and key in header.entries]
    return [key for key, value in compared if not _as_written(header, key, value, own["detector.pixel_mm"])]


def _as_written(header: Header, key: str, value: Any, pixel_mm: float) -> bool:
    """Whether a key has this value in the header, in six digits; a size of no whole number of pixels has another centre."""
    wanted = np.atleast_1d(value)
    numbers = [number(word) for word in header.entries.get(key, "").split(",")]
    slack = 0.75 * pixel_mm if key in BEAM_CENTER else 1e-9
    return None not in numbers and len(numbers) == len(wanted) and np.allclose(numbers, wanted, rtol=1e-5, atol=slack)


def distant_centres(detector: Detector, header: Mapping[str, Any]) -> list[str]:
    """A sentence for a beam centre that lies farther from the detector than the detector is long; header: what one says."""
    lengths, sentences = [1000 * size for size in sizes(detector)], []
    swapped = CONVENTIONS[detector.convention].swapped
    centres = (("xbeam_mm", int(swapped)), ("ybeam_mm", int(not swapped)), ("xclose_mm", 0), ("yclose_mm", 1))
    for name, axis in (*centres, ("orgx_pixels", 0), ("orgy_pixels", 1)):
        stated, length = getattr(detector, name), lengths[axis]
        unit, scale = ("mm", 1.0) if name.endswith("_mm") else ("pixels", detector.pixel_mm)
        if stated is None or -length <= stated * scale <= 2 * length:
            continue
        hint = ""
        if unit == "mm" and 0 < stated <= detector.pixels[axis]:
            hint = f"; if it counts pixels, give {stated * detector.pixel_mm:g}"
        whose = ", from the header," if header.get(f"detector.{name}") == stated else ""
        sentences.append(f"detector.{name}{whose} is {stated:g} {unit}, far off a detector of {length:g} mm{hint}")
    return sentences
