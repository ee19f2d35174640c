"""nbnumba: X-ray diffraction of small crystals, on an absolute scale."""

from importlib import import_module

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
    Sampling,
    StructureFactors,
)
from nbnumba.version import VERSION as __version__  # noqa: E402

_LATER = {
    "trace": None,
    "files": None,
    "parity": None,
    "Response": "response",
    **dict.fromkeys(
        (
            *("noise_image", "scaled_image", "write_float", "read_float", "write_smv", "read_smv", "read_image", "read_mask"),
            *("write_pgm", "write_png", "read_hkl", "write_hkl", "read_matrix"),
        ),
        "files",
    ),
}
"""Public names whose modules are imported when they are asked for, so that `import nbnumba` is quick: None is the module."""

__all__ = [
    "Background",
    "Beam",
    "Crystal",
    "Detector",
    "Experiment",
    "Goniometer",
    "InputError",
    "Sampling",
    "StructureFactors",
    "__version__",
    "simulate",
    *_LATER,
]


def __getattr__(name: str):
    """A public name of another module, or such a module."""
    if name not in _LATER:
        raise AttributeError(f"module 'nbnumba' has no attribute {name!r}")
    module = _LATER[name]
    return import_module(f"nbnumba.{name}") if module is None else getattr(import_module(f"nbnumba.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
