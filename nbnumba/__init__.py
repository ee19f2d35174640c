"""nbnumba: X-ray diffraction of small crystals, on an absolute scale."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbnumba import interrupts

interrupts.starting()  # before what takes long to import: Ctrl-C is a sentence from here on, where this is the program

from nbnumba.errors import InputError  # noqa: E402
from nbnumba.experiment import Experiment  # noqa: E402
from nbnumba.simulate import simulate  # noqa: E402
from nbnumba.statements import (  # noqa: E402
    Background,
    Beam,
    Crystal,
    Detector,
    Goniometer,
    Group,
    Panel,
    Sampling,
    StructureFactors,
)
from nbnumba.version import VERSION as __version__  # noqa: E402

if TYPE_CHECKING:  # at run time __getattr__ imports these when they are asked for, so that `import nbnumba` is quick
    from nbnumba import files, parity, trace
    from nbnumba.crystal_labels import CrystalImages, crystal_images
    from nbnumba.files import (
        Response,
        noise_image,
        read_float,
        read_geometry,
        read_hkl,
        read_image,
        read_mask,
        read_matrix,
        read_smv,
        read_spectrum,
        reindexed,
        scaled_image,
        write_cbf,
        write_expt,
        write_float,
        write_hkl,
        write_nxmx,
        write_pgm,
        write_png,
        write_smv,
    )
    from nbnumba.hkl_maps import HklMap, hkl_map
    from nbnumba.positions import pixel_positions, resolution, scattering_vectors, two_theta
    from nbnumba.predictions import Predictions, predict
    from nbnumba.reflection_files import write_hkl_map, write_predictions
    from nbnumba.shots.jitter import read_jitter
    from nbnumba.shots.make import frames, make_series

__all__ = [
    "Background",
    "Beam",
    "Crystal",
    "CrystalImages",
    "Detector",
    "Experiment",
    "Goniometer",
    "Group",
    "HklMap",
    "InputError",
    "Panel",
    "Predictions",
    "Response",
    "Sampling",
    "StructureFactors",
    "__version__",
    "crystal_images",
    "files",
    "frames",
    "hkl_map",
    "make_series",
    "noise_image",
    "parity",
    "pixel_positions",
    "predict",
    "read_float",
    "read_geometry",
    "read_hkl",
    "read_image",
    "read_jitter",
    "read_mask",
    "read_matrix",
    "read_smv",
    "read_spectrum",
    "reindexed",
    "resolution",
    "scaled_image",
    "scattering_vectors",
    "simulate",
    "trace",
    "two_theta",
    "write_cbf",
    "write_expt",
    "write_float",
    "write_hkl",
    "write_hkl_map",
    "write_nxmx",
    "write_pgm",
    "write_png",
    "write_predictions",
    "write_smv",
]

_MODULES = ("files", "parity", "trace")

_HOMES = {
    "crystal_labels": ("CrystalImages", "crystal_images"),
    "hkl_maps": ("HklMap", "hkl_map"),
    "positions": ("pixel_positions", "resolution", "scattering_vectors", "two_theta"),
    "predictions": ("Predictions", "predict"),
    "reflection_files": ("write_hkl_map", "write_predictions"),
    "shots.jitter": ("read_jitter",),
    "shots.make": ("frames", "make_series"),
}
"""The modules of the public names that are in neither this module nor nbnumba.files."""


def __getattr__(name: str) -> Any:
    """A public module, or a public name of another module."""
    if name not in __all__:
        raise AttributeError(f"module 'nbnumba' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"nbnumba.{name}")
    home = next((module for module, names in _HOMES.items() if name in names), "files")
    return getattr(import_module(f"nbnumba.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
