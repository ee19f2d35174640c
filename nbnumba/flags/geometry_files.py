"""Files of geometry on the command line (-expt, -xparm, -geom, -nexus): the fields that they state, which flags overrule."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from nbnumba import from_geometry
from nbnumba.errors import InputError
from nbnumba.formats import geometry_files
from nbnumba.formats.geometry import Geometry

FLAGS = ("-expt", "-xparm", "-geom", "-nexus")
"""The flags that name a file of geometry."""

ROTATION_FLAGS = ("-phi", "-osc", "-phistep", "-phisteps")
"""The flags that state a rotation, so that no image of a scan has to be chosen."""

CRYSTAL_FLAGS = ("-mat",)
"""The flags whose crystal counts before that of a file."""


def fields_of(flag: str, last: Mapping[str, Any], convention: str | None) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that the file of a flag states.

    last: the values of all flags. convention: the one that flags choose. Raises InputError for a file that cannot be read, an
    image that it lacks, and for a convention of flags, whose axes would replace those of the file.
    """
    path = last[flag]
    if convention not in (None, "custom"):
        raise InputError(f"-{convention} is not allowed beside {flag}, which states the axes of the detector; allowed: neither")
    geometry = geometry_files.read(path, flag, last.get("-experiment"))
    geometry = _of_image(geometry, flag, last)
    for sentence in geometry.notes:
        warnings.warn(f"{flag} {path!r} {sentence}", stacklevel=2)
    return stated_fields(geometry, last)


def stated_fields(geometry: Geometry, last: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the experiment by "part.field" that a geometry states, without a crystal that flags replace."""
    parts = {"beam": from_geometry.beam_fields(geometry), "goniometer": from_geometry.goniometer_fields(geometry)}
    if geometry.panels:
        parts["detector"] = from_geometry.detector_fields(geometry)
    if geometry.crystal is not None and not any(name in last for name in CRYSTAL_FLAGS):
        parts["crystal"] = from_geometry.crystal_fields(geometry)
    if {"-fdet_vector", "-sdet_vector"} & set(last):
        parts.get("detector", {}).pop("normal_axis", None)
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def _of_image(geometry: Geometry, flag: str, last: Mapping[str, Any]) -> Geometry:
    """The geometry at the image that -image chooses; as it is where flags state the rotation."""
    scan = geometry.scan
    if "-image" not in last and scan is not None and scan.images > 1:
        if any(name in last for name in ROTATION_FLAGS):
            return geometry
        images = f"{flag}: {geometry.source!r} has the images {scan.first_image} to {scan.last_image}, and none is chosen"
        raise InputError(f"{images}; allowed: -image N, or -phi and -osc")
    return geometry.at_image(last.get("-image"))


def warn_of_overruled(flag: str, path: str, file_fields: Collection[str], overruling: Mapping[str, str]) -> None:
    """Say in one sentence which flags count before what a file states; overruling: flags as spelled, by the field."""
    spellings = list(dict.fromkeys(spelling for field, spelling in overruling.items() if field in file_fields))
    if spellings:
        warnings.warn(f"{' '.join(spellings)} counts before what {flag} {path!r} states", stacklevel=2)
