"""Files of geometry on the command line (-expt, -xparm, -geom, -nexus, -img of CBF): what they state, which flags overrule."""

import dataclasses
import warnings
from collections.abc import Collection, Mapping
from typing import Any

from nbnumba import from_geometry
from nbnumba.constants import HC_EV_A
from nbnumba.errors import InputError
from nbnumba.flags.table import BY_NAME
from nbnumba.formats import geometry_files
from nbnumba.formats.geometry import Geometry

FLAGS = ("-expt", "-xparm", "-geom", "-nexus")
"""The flags that name a file of geometry; -img does, too, where it names a CBF."""

ROTATION_FLAGS = ("-phi", "-osc", "-phistep", "-phisteps")
"""The flags that state a rotation, so that no image of a scan has to be chosen."""

CRYSTAL_FLAGS = ("-mat",)
"""The flags whose crystal counts before that of a file."""

PART_FLAGS = {
    "detector": {"-detector_abs", "-detpixels", "-detpixels_x", "-detpixels_y", "-pix0_vector", "-pivot", "-energy", "-lambda"},
    "beam": {"-energy", "-nopolar", "-polar"},
    "goniometer": {"-phisteps"},
    "crystal": {"-cell", "-mat", "-misset"},
}
"""The flags that state something of a part of an experiment, besides those that set a field of it as it is."""

STATED = {
    "distance": ("-distance", "-close_distance"),
    "wavelength": ("-lambda", "-energy"),
    "twotheta": ("-twotheta",),
    "polarization": ("-polar", "-nopolar"),
}
"""What a file need not state beside which flags."""

UNUSED = {"-image": "no file of geometry is named", "-experiment": "no -expt is named"}
"""Why flags that choose a part of a file have no effect without one."""


def flag_of(last: Mapping[str, Any]) -> str | None:
    """The flag that names a file of geometry, if there is one; last: the values of all flags. InputError: more than one."""
    named = [flag for flag in FLAGS if flag in last]
    if "-img" in last and (named or geometry_files.kind_of(last["-img"], "-img") not in ("SMV", "")):
        named.append("-img")
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} all state the geometry; allowed: one of them")
    for flag, why in UNUSED.items():
        if flag in last and not named and not (flag == "-image" and "-lattice" in last):
            warnings.warn(f"{flag} has no effect: {why}", stacklevel=2)
    return named[0] if named else None


def fields_of(flag: str, last: Mapping[str, Any], convention: str | None) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that the file of a flag states.

    last: the values of all flags. convention: the one that flags choose. Raises InputError for a file that cannot be read, an
    image that it lacks, and for a convention of flags, whose axes would replace those of the file.
    """
    path = last[flag]
    if convention not in (None, "custom"):
        raise InputError(f"-{convention} is not allowed beside {flag}, which states the axes of the detector; allowed: neither")
    stated = frozenset(what for what, flags in STATED.items() if any(name in last for name in flags))
    geometry = of_image(geometry_files.read(path, flag, last.get("-experiment"), stated), flag, last)
    if "-energy" in last or "-lambda" in last:
        geometry = dataclasses.replace(geometry, wavelength_A=_wavelength(last))
    for sentence in from_geometry.remarks(geometry):
        warnings.warn(f"{flag} {path!r} {sentence}", stacklevel=2)
    _check_parts(geometry, f"{flag}: {path!r}", last)
    named = [name for name in CRYSTAL_FLAGS if name in last]
    if named and geometry.crystal is not None:
        warnings.warn(f"{named[0]} counts before the crystal that {flag} {path!r} states", stacklevel=2)
    return stated_fields(geometry, last)


def _check_parts(geometry: Geometry, name: str, last: Mapping[str, Any]) -> None:
    """Raise InputError, with the name of the file, for a part of an experiment that is impossible as the file states it.

    Parts of which flags state something are left to them.
    """
    overruled = {(BY_NAME[flag].sets or "").partition(".")[0] for flag in last}
    overruled |= {part for part, flags in PART_FLAGS.items() if not flags.isdisjoint(last)}
    for part, make in from_geometry.PARTS.items():
        if part in overruled or not from_geometry.states(geometry, part):
            continue
        try:
            make(geometry)
        except InputError as error:
            impossible = str(error).replace(f"{part}.", f"its {part}'s ")
            raise InputError(f"{name} states what no image has: {impossible}") from None


def _wavelength(last: Mapping[str, Any]) -> float | None:
    """The wavelength of flags, at which a sensor absorbs; None for one that is refused elsewhere."""
    if "-lambda" in last:
        return last["-lambda"] if last["-lambda"] > 0.0 else None
    return HC_EV_A / last["-energy"] if last["-energy"] > 0.0 else None


def stated_fields(geometry: Geometry, last: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that a geometry states, without a crystal that flags replace."""
    parts = {"beam": from_geometry.beam_fields(geometry), "goniometer": from_geometry.goniometer_fields(geometry)}
    if geometry.panels:
        parts["detector"] = from_geometry.detector_fields(geometry)
        parts["response"] = from_geometry.response_fields(geometry)
    if geometry.crystal is not None and not any(name in last for name in CRYSTAL_FLAGS):
        parts["crystal"] = from_geometry.crystal_fields(geometry)
    parts.setdefault("detector", {"convention": "custom"})
    if {"-fdet_vector", "-sdet_vector"} & set(last):
        parts["detector"].pop("normal_axis", None)
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def of_image(geometry: Geometry, flag: str, last: Mapping[str, Any]) -> Geometry:
    """The geometry at the image that -image chooses; as it is where flags state the rotation."""
    scan = geometry.scan
    if "-image" not in last and scan is not None and scan.images != 1:
        if any(name in last for name in ROTATION_FLAGS):
            return geometry
        images = f"{flag}: {geometry.source!r} has the images {scan.image_numbers}, and none is chosen"
        raise InputError(f"{images}; allowed: -image N, or -phi and -osc")
    return geometry.at_image(last.get("-image"))


def warn_of_overruled(flag: str, path: str, file_fields: Collection[str], overruling: Mapping[str, str]) -> None:
    """Say in one sentence which flags count before what a file states; overruling: flags as spelled, by the field."""
    spellings = list(dict.fromkeys(spelling for field, spelling in overruling.items() if field in file_fields))
    if spellings:
        counts = "counts" if len(spellings) == 1 else "count"
        warnings.warn(f"{', '.join(spellings)} {counts} before what {flag} {path!r} states", stacklevel=2)
