"""The machine that computes an image: its backend, its precision, and the module that drives the loops over pixels."""

from types import ModuleType
from typing import NamedTuple

from nbnumba.backends.precision import PRECISIONS
from nbnumba.errors import InputError, shown

BACKENDS = ("cpu", "cuda")


class Machine(NamedTuple):
    """What computes, and in which precision (G1)."""

    backend: str = "cpu"
    precision: str = "double"


CPU = Machine()
"""The default machine."""


def machine(backend: str, precision: str) -> Machine:
    """The machine of a backend and a precision. Raises InputError where either is unknown or unavailable."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InputError(f"backend {shown(backend)}; allowed: {', '.join(BACKENDS)}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision {shown(precision)}; allowed: {', '.join(PRECISIONS)}")
    if backend == "cuda":
        from nbnumba.backends.numba_loading import load_numba

        load_numba()
        from nbnumba.backends import card

        card.check()
    return Machine(backend, precision)


def driver(backend: str) -> ModuleType:
    """The module that drives the loops over pixels on a backend. Raises InputError for settings with which Numba does not load.

    That of the CPU loads Numba only where machine code is not on disk.
    """
    if backend == "cuda":
        from nbnumba.backends.numba_loading import load_numba

        load_numba()
        from nbnumba.backends import cuda

        return cuda
    from nbnumba.backends.numba_loading import check_settings

    check_settings()
    from nbnumba.backends import cpu

    return cpu


def driver_of_shares(backend: str) -> ModuleType:
    """The module that counts the photons of pixels by reflection on a backend (F15). Raises InputError as `driver` does."""
    driver(backend)
    if backend == "cuda":
        from nbnumba.backends import cuda_shares

        return cuda_shares
    from nbnumba.backends import cpu_shares

    return cpu_shares
