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

__all__ = [
    "Background",
    "Beam",
    "Crystal",
    "Detector",
    "Experiment",
    "Goniometer",
    "Group",
    "InputError",
    "Panel",
    "Response",
    "Sampling",
    "StructureFactors",
    "__version__",
    "files",
    "noise_image",
    "parity",
    "read_float",
    "read_geometry",
    "read_hkl",
    "read_image",
    "read_mask",
    "read_matrix",
    "read_smv",
    "reindexed",
    "scaled_image",
    "simulate",
    "trace",
    "write_cbf",
    "write_expt",
    "write_float",
    "write_hkl",
    "write_nxmx",
    "write_pgm",
    "write_png",
    "write_smv",
]

_MODULES = ("files", "parity", "trace")


def __getattr__(name: str) -> Any:
    """A public module, or a public name of nbnumba.files."""
    if name not in __all__:
        raise AttributeError(f"module 'nbnumba' has no attribute {name!r}")
    return import_module(f"nbnumba.{name}") if name in _MODULES else getattr(import_module("nbnumba.files"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
