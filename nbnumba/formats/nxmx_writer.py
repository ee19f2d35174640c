"""Images as NXmx (NeXus in HDF5), written: pixels, mask, beam, rotation and the modules of the detector (specs/formats.md).

Vectors are in the frame of NeXus (McStas): that of imgCIF with x and z reversed, where the beam runs along +z.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from nbnumba.errors import InputError
from nbnumba.formats import files
from nbnumba.formats.geometry import NO_SENSOR_UM, Geometry, PanelGeometry, along_the_beam
from nbnumba.formats.nxmx import MASK
from nbnumba.formats.text import printable
from nbnumba.geometry.rectangles import pixels_within

COMPRESSIONS = ("gzip", "bitshuffle")
"""What pixels are compressed with: gzip is read everywhere, bitshuffle with LZ4 needs a plugin and is faster."""

KNOWN_MATERIALS = ("Si", "CdTe", "GaAs")
"""The materials whose attenuation readers compute; the first stands for a detector without a sensor."""

BAD = -1
"""The value of pixels that are not rendered."""

UNMEASURED, MASKED = 1, 256
"""The bits of NXmx's mask for a pixel that has no value, and for one that a user masks."""

_GZIP_LEVEL = 4
_PIXELS = "data"
_FIRST_WITH_VIRTUAL = ("v110", "v110")
_MCSTAS = np.diag([-1.0, 1.0, -1.0])
_TRANSFORMATIONS = "/entry/instrument/detector/transformations"
_PHI = "/entry/sample/transformations/phi"


class Placed(NamedTuple):
    """A panel in the image that holds all panels: its first row, and its numbers of rows and columns."""

    panel: PanelGeometry
    first_row: int
    rows: int
    columns: int


def check(geometry: Geometry, compression: str = "gzip", what: str = "-nxsfile") -> None:
    """Raise InputError where the file cannot be written: a package that is missing, an unknown compression or material."""
    if compression not in COMPRESSIONS:
        raise InputError(f"{what}: compression {compression!r} is not allowed; allowed: {', '.join(COMPRESSIONS)}")
    for package in ("h5py", "hdf5plugin") if compression == "bitshuffle" else ("h5py",):
        check_package(package, what)
    for panel in geometry.panels:
        if panel.material not in (None, *KNOWN_MATERIALS):
            stated, known = printable(panel.material), ", ".join(KNOWN_MATERIALS)
            raise InputError(f"{what}: the sensor of {panel.path} is of {stated}; allowed in NXmx readers: {known}")
    if len({(panel.thickness_um, panel.material) for panel in geometry.panels}) > 1:
        raise InputError(f"{what}: the panels have different sensors; allowed in NXmx: one thickness and one material")


def check_package(package: str, what: str) -> None:
    """Raise InputError where a package for files of HDF5 is missing. what: the flag or the function that needs it."""
    try:
        import_module(package)
    except ImportError:
        need = f"{what} needs the package {package}, which is not installed"
        raise InputError(f"{need}; allowed with it: pip install nbnumba[nexus]") from None


def losses(geometry: Geometry) -> list[str]:
    """What the file cannot state of a geometry, which its readers therefore have differently."""
    lost = []
    if any(panel.attenuation_um and not panel.material for panel in geometry.panels):
        lost.append("the attenuation depth of the sensor, which is that of no known material: they take that of silicon")
    if len({panel.gain or 1.0 for panel in geometry.panels}) > 1:
        lost.append("the gains of the panels, which differ")
    return lost


def write(
    path: files.PathName, pixels: np.ndarray, geometry: Geometry, compression: str = "gzip", what: str = "-nxsfile"
) -> None:
    """Write images (image, slow, fast) with a geometry.

    Several panels lie one below another in an image, as in a sheet (F0). Pixels that the mask of the geometry excludes are BAD.
    The file's own mask excludes them, and those in the rectangles of panels, whose values it has. Raises InputError as check()
    does.
    """
    check(geometry, compression, what)
    content = io.BytesIO()
    _write(content, pixels, geometry, compression)
    with files.replacing(path, what) as stream:
        stream.write(content.getbuffer())


def write_part(
    path: files.PathName, image: np.ndarray, geometry: Geometry, compression: str = "gzip", what: str = "-nxsfile"
) -> None:
    """Write one image (slow, fast) of a series as the HDF5 file to which a master refers (write_master)."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        entry = _group(file, "entry", "NXentry")
        _pixels(_group(entry, "data", "NXdata"), image[np.newaxis], geometry, compression)
    with files.replacing(path, what) as stream:
        stream.write(content.getbuffer())


def write_master(
    path: files.PathName,
    parts: Sequence[str],
    kind: np.dtype,
    geometry: Geometry,
    wavelengths_A: Sequence[float] = (),
    what: str = "-nxsfile",
) -> None:
    """Write the master of a series, whose images are in files of write_part: a virtual dataset (image, slow, fast).

    parts: the names of the files of the images, relative to the folder of the master. kind: the type of the images before they
    are stored. wavelengths_A: those of the images, where they differ.
    """
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", libver=_FIRST_WITH_VIRTUAL) as file:
        _virtual_pixels(_entry(file, geometry, wavelengths_A), parts, kind, _shape(geometry))
    with files.replacing(path, what) as stream:
        stream.write(content.getbuffer())


def _virtual_pixels(data: Any, parts: Sequence[str], kind: np.dtype, shape: tuple[int, int]) -> None:
    """The pixels (image, slow, fast) as those in the files of parts. No time is kept, which h5py's own function would keep."""
    import h5py

    space, source = h5py.h5s.create_simple((len(parts), *shape)), h5py.h5s.create_simple((1, *shape))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    properties.set_fill_value(np.array([BAD], _stored_type(kind)))
    for number, part in enumerate(parts):
        space.select_hyperslab((number, 0, 0), (1, *shape))
        properties.set_virtual(space, part.encode(), f"entry/data/{_PIXELS}".encode(), source)
    space.select_all()
    stored = h5py.h5t.py_create(np.dtype(_stored_type(kind)), logical=True)
    h5py.h5d.create(data.id, _PIXELS.encode(), stored, space, properties)


def _shape(geometry: Geometry) -> tuple[int, int]:
    """The shape of the image that holds all panels."""
    placed = layout(geometry)
    return placed[-1].first_row + placed[-1].rows, max(part.columns for part in placed)


def layout(geometry: Geometry) -> list[Placed]:
    """Where each panel lies in the image that holds all."""
    placed, row = [], 0
    for panel in geometry.panels:
        placed.append(Placed(panel, row, *panel.shape))
        row += panel.shape[0]
    return placed


def _write(stream: io.BytesIO, pixels: np.ndarray, geometry: Geometry, compression: str) -> None:
    import h5py

    with h5py.File(stream, "w") as file:
        _pixels(_entry(file, geometry), pixels, geometry, compression)


def _entry(file: Any, geometry: Geometry, wavelengths_A: Sequence[float] = ()) -> Any:
    """Write everything but the pixels; return the group of the data, to which they belong."""
    file.attrs["default"] = "entry"
    entry = _group(file, "entry", "NXentry")
    entry.attrs["default"] = "data"
    entry["definition"] = "NXmx"
    data = _data(entry, geometry)
    instrument = _group(entry, "instrument", "NXinstrument")
    instrument["name"] = "simulated by nbnumba"
    _beam(instrument, geometry, wavelengths_A)
    _detector(instrument, geometry)
    _sample(entry, geometry)
    return data


def _group(parent: Any, name: str, kind: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _number(group: Any, name: str, value: Any, units: str | None = None) -> Any:
    group[name] = value
    if units is not None:
        group[name].attrs["units"] = units
    return group[name]


def _data(entry: Any, geometry: Geometry) -> Any:
    """The group of the pixels, with what they are multiplied by to be photons."""
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"] = _PIXELS
    gains = {panel.gain or 1.0 for panel in geometry.panels}
    if len(gains) == 1 and gains != {1.0}:
        data["data_scale_factor"] = 1.0 / gains.pop()
    return data


def _pixels(data: Any, pixels: np.ndarray, geometry: Geometry, compression: str) -> None:
    """The pixels (image, slow, fast), compressed image by image."""
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": _GZIP_LEVEL, "shuffle": True}
    if compression == "bitshuffle":
        import hdf5plugin

        options = dict(hdf5plugin.Bitshuffle(cname="lz4"))
    stored = pixels.astype(_stored_type(pixels.dtype))
    if geometry.mask is not None or len(geometry.panels) > 1:
        stored[:, _mask(geometry) == UNMEASURED] = BAD
    data.create_dataset(_PIXELS, data=stored, chunks=(1, *stored.shape[1:]), **options)
    data.file.flush()  # so that its place in the file does not depend on when Python closes it


def _stored_type(kind: np.dtype) -> Any:
    """The type in which pixels are stored: whole numbers of 32 bits, or numbers of 32 bits."""
    return np.float32 if kind.kind == "f" else np.int32


def _beam(instrument: Any, geometry: Geometry, wavelengths_A: Sequence[float]) -> None:
    """The wavelength, or that of each image, and the polarization by Stokes' parameters; x of the frame is horizontal."""
    beam = _group(instrument, "beam", "NXbeam")
    wavelength = np.array(wavelengths_A) if len(wavelengths_A) else geometry.wavelength_A
    _number(beam, "incident_wavelength", wavelength, "angstrom")
    if geometry.polarization_fraction is not None and geometry.polarization_axis is not None:
        x, y, _ = _MCSTAS @ along_the_beam(geometry) @ geometry.polarization_axis
        degree, azimuth = 2.0 * geometry.polarization_fraction - 1.0, 2.0 * math.atan2(y, x)
        beam["incident_polarization_stokes"] = [1.0, degree * math.cos(azimuth), degree * math.sin(azimuth), 0.0]


def _detector(instrument: Any, geometry: Geometry) -> None:
    """The sensor, the mask, and a module for each panel."""
    detector = _group(instrument, "detector", "NXdetector")
    first = geometry.panels[0]
    detector["description"] = "simulated"
    detector["depends_on"] = f"{_TRANSFORMATIONS}/detector"
    detector["sensor_material"] = first.material or KNOWN_MATERIALS[0]
    _number(detector, "sensor_thickness", (first.thickness_um or NO_SENSOR_UM) * 1e-6, "m")
    _number(detector, "x_pixel_size", first.pixel_fast_mm / 1000, "m")
    _number(detector, "y_pixel_size", first.pixel_slow_mm / 1000, "m")
    for name, field, closest in (("underload_value", "trusted_min", max), ("saturation_value", "trusted_max", min)):
        limits = [limit for panel in geometry.panels if (limit := getattr(panel, field)) is not None]
        if limits:
            detector[name] = closest(limits)
    detector[MASK] = _mask(geometry)
    detector["pixel_mask_applied"] = False
    transformations = _group(detector, "transformations", "NXtransformations")
    _shift(transformations, "detector", np.zeros(3), ".")
    turn = _MCSTAS @ along_the_beam(geometry)
    digits = len(str(len(geometry.panels) - 1))  # with as many digits in each name, readers meet the modules in order
    for number, placed in enumerate(layout(geometry)):
        suffix = "" if len(geometry.panels) == 1 else f"_{number:0{digits}}"
        _module(detector, transformations, suffix, placed, turn)


def _mask(geometry: Geometry) -> np.ndarray:
    """The mask (slow, fast) of all panels: UNMEASURED, MASKED where a rectangle of the panel is, or 0."""
    placed = layout(geometry)
    mask = np.full(_shape(geometry), UNMEASURED, dtype=np.uint32)
    masks = geometry.mask or [np.zeros(part.panel.shape, dtype=bool) for part in placed]
    for part, bad in zip(placed, masks):
        within = MASKED * pixels_within(part.panel.masked, part.panel.shape)
        mask[part.first_row : part.first_row + part.rows, : part.columns] = np.where(bad, UNMEASURED, within)
    return mask


def _module(detector: Any, transformations: Any, suffix: str, placed: Placed, turn: np.ndarray) -> None:
    """A module of the detector: the rows of the image that it fills, its corner and its axes; suffix: of its names."""
    panel = placed.panel
    module = _group(detector, f"module{suffix}", "NXdetector_module")
    module["data_origin"] = np.array([placed.first_row, 0])
    module["data_size"] = np.array([placed.rows, placed.columns])
    corner = f"corner{suffix}"
    _shift(transformations, corner, turn @ panel.origin_mm, f"{_TRANSFORMATIONS}/detector")
    offset = f"{module.name}/module_offset"
    _shift(module, "module_offset", np.zeros(3), f"{_TRANSFORMATIONS}/{corner}")
    for name, edge, axis, depends_on in (
        ("fast_pixel_direction", panel.pixel_fast_mm, panel.fast_axis, offset),
        ("slow_pixel_direction", panel.pixel_slow_mm, panel.slow_axis, f"{module.name}/fast_pixel_direction"),
    ):
        _axis(module, name, edge / 1000, turn @ axis, "translation", "m", depends_on)


def _shift(group: Any, name: str, shift_mm: np.ndarray, depends_on: str) -> None:
    """A translation by a vector, as a length along a unit vector."""
    length = math.sqrt(shift_mm @ shift_mm)
    along = shift_mm / length if length > 0.0 else np.array([0.0, 0.0, 1.0])
    _axis(group, name, length / 1000, along, "translation", "m", depends_on)


def _axis(group: Any, name: str, value: Any, vector: np.ndarray, kind: str, units: str, depends_on: str) -> None:
    """A transformation of NeXus: a translation, or a rotation, by a value or one for each image."""
    dataset = _number(group, name, value, units)
    dataset.attrs["transformation_type"] = kind
    dataset.attrs["vector"] = vector + 0.0
    dataset.attrs["offset"] = np.zeros(3)
    dataset.attrs["offset_units"] = "m"
    dataset.attrs["depends_on"] = depends_on


def _sample(entry: Any, geometry: Geometry) -> None:
    """The rotation of the crystal; a still has none."""
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = "simulated crystal"
    if geometry.scan is None:
        sample["depends_on"] = "."
        return
    sample["depends_on"] = _PHI
    transformations = _group(sample, "transformations", "NXtransformations")
    starts = geometry.scan.phi_deg + geometry.scan.width_deg * np.arange(geometry.scan.images)
    spindle = _MCSTAS @ along_the_beam(geometry) @ np.asarray(geometry.spindle_axis)
    _axis(transformations, "phi", starts, spindle, "rotation", "deg", ".")
    _number(transformations, "phi_end", starts + geometry.scan.width_deg, "deg")
    _number(transformations, "phi_increment_set", geometry.scan.width_deg, "deg")
