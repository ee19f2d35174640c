"""A command line as it was read: the last value of every flag, the order of the flags, and what headers add to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbnumba.flags import geometry_files, headers
from nbnumba.flags.arguments import Given, read
from nbnumba.flags.table import DOCUMENTED
from nbnumba.formats import smv
from nbnumba.parity import Defects
from nbnumba.statements import Detector

CONVENTION_FLAGS = {"-mosflm": "beam", "-adxv": "beam", "-denzo": "beam", "-xds": "sample", "-dials": "beam"}
"""The flags that choose a convention, and the pivot that each implies if a later flag makes the convention custom."""

CUSTOM_FLAGS = (
    "-fdet_vector",
    "-sdet_vector",
    "-odet_vector",
    "-beam_vector",
    "-polar_vector",
    "-spindle_axis",
    "-twotheta_axis",
    "-pix0_vector",
    "-pix0_vector_mm",
)
"""The flags that make the convention custom, unless a convention is chosen after them."""

OVERRULED = (
    (("-energy",), ("beam.wavelength_A",)),
    (("-flux", "-exposure"), ("beam.fluence",)),
    (("-distance", "-close_distance"), ("detector.distance_mm", "detector.close_distance_mm")),
    (("-Xbeam", "-Xclose", "-ORGX", "-pix0_vector", "-pix0_vector_mm"), ("detector.xbeam_mm",)),
    (("-Ybeam", "-Yclose", "-ORGY", "-pix0_vector", "-pix0_vector_mm"), ("detector.ybeam_mm",)),
    (("-detpixels", "-detpixels_x", "-detpixels_y"), ("detector.pixels",)),
)
"""Flags that state fields in another form, which a header or another flag may state too."""


class CommandLine:
    """The flags of a command line in their order, the last value of each, and the fields that headers state."""

    def __init__(self, args: Sequence[str]):
        given = read(args)
        stated = {g.flag.names[0]: g.value for g in given}
        names = (stated["-c_parity"] or "all") if "-c_parity" in stated else ()
        self.defects = Defects.named(names, stated.get("-c_threads", 1))
        passed_over = DOCUMENTED if self.defects.documented_flags_ignored else ()
        self.given: list[Given] = [g for g in given if g.spelling not in passed_over]
        self.passed_over: list[str] = [g.spelling for g in given if g.spelling in passed_over]
        self.last: dict[str, Any] = {g.flag.names[0]: g.value for g in self.given}
        self.spelling: dict[str, str] = {g.flag.names[0]: g.spelling for g in self.given}
        self.mask: np.ndarray | None = None
        self.header: dict[str, Any] = self._headers()

    def fields(self, part: str) -> dict[str, Any]:
        """The fields of a part, or of the run, that a header states or flags set directly; flags overrule a header."""
        fields = {name.partition(".")[2]: value for name, value in self.header.items() if name.startswith(part + ".")}
        for given in self.given:
            if given.flag.sets and given.flag.sets.startswith(part + "."):
                fields[given.flag.sets.partition(".")[2]] = given.value
        return fields

    def _headers(self) -> dict[str, Any]:
        """What the headers of -mask and -img say, the latter counting more."""
        fields: dict[str, Any] = {}
        geometry_flag = geometry_files.flag_of(self.last)
        if "-mask" in self.last:
            header, self.mask = smv.read(self.last["-mask"], "-mask")
            mask_header, convention = self._header(header, "-mask"), self._chosen_convention()
            if geometry_flag is None and "-img" in self.last:
                fields |= headers.nanobragg_fields(mask_header, convention or Detector.convention, True)
            elif geometry_flag is None:
                fields |= headers.fields_of(mask_header, convention, True)
        if geometry_flag is not None:
            return fields | self._geometry_file(geometry_flag)
        if "-img" in self.last:
            header = smv.read_header(self.last["-img"], "-img")
            of_image = headers.fields_of(self._header(header, "-img"), self._chosen_convention(), False)
            of_image |= headers.readout_of(self._header(header, "-img"))
            if "detector.convention" in of_image:  # nbnumba's own keys, which place the detector by themselves
                fields = {field: value for field, value in fields.items() if field not in headers.POSITION}
            fields |= of_image
        return fields

    def _geometry_file(self, flag: str) -> dict[str, Any]:
        """What the file of geometry says that a flag names, and a sentence about the flags that count before it."""
        fields = geometry_files.fields_of(flag, self.last, self._chosen_convention())
        overruling = {given.flag.sets: given.spelling for given in self.given if given.flag.sets}
        for flags, overruled in OVERRULED:
            stated = [given.spelling for given in self.given if given.flag.names[0] in flags]
            overruling |= dict.fromkeys(overruled, stated[-1]) if stated else {}
        geometry_files.warn_of_overruled(flag, self.last[flag], fields, overruling)
        return fields

    def _header(self, entries: Mapping[str, str], flag: str) -> headers.Header:
        """The header of the file that a flag names, and the fields that flags state in any form."""
        overruled = {given.flag.sets for given in self.given if given.flag.sets}
        overruled |= {field for flags, fields in OVERRULED for field in fields if self.order(flags) >= 0}
        return headers.Header(entries, f"{flag}: {self.last[flag]!r}", overruled, self.defects)

    def convention(self) -> str:
        """The detector convention: the one that flags choose, else that of a header, else MOSFLM's."""
        return self._chosen_convention() or self.header.get("detector.convention", "mosflm")

    def _chosen_convention(self) -> str | None:
        """The last convention that a flag names, custom after a flag that makes it so; None without any."""
        chosen = self.choice(CONVENTION_FLAGS)
        if self.order(CUSTOM_FLAGS) > self.order([chosen]):
            return "custom"
        return None if chosen is None else chosen[1:]

    def order(self, names) -> int:
        """The position of the last of these flags, -1 if none is given."""
        return max((i for i, g in enumerate(self.given) if g.flag.names[0] in names), default=-1)

    def choice(self, flags) -> str | None:
        """Which of these flags is given last, if any is."""
        chosen = max(flags, key=lambda flag: self.order([flag]))
        return chosen if chosen in self.last else None

    def steps(self, name: str, field: str) -> dict[str, int]:
        """A number of steps; 0 and below mean not given, as in nanoBragg."""
        return {field: self.last[name]} if self.last.get(name, 0) > 0 else {}
