"""Where an image is computed: the machines, the precisions, and the loops over pixels that call the stages."""

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
"""What computes unless it is said."""


def machine(backend: str, precision: str) -> Machine:
    """That machine. Raises InputError for one that there is not, or that is not to be had here."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InputError(f"backend {shown(backend)}; allowed: {', '.join(BACKENDS)}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision {shown(precision)}; allowed: {', '.join(PRECISIONS)}")
    if backend == "cuda":
        from nbnumba.backends import card

        card.check()
    return Machine(backend, precision)


def driver(backend: str) -> ModuleType:
    """The loops over pixels for a backend. Compilers are imported only here. Raises InputError where Numba will not load."""
    from nbnumba.backends.numba_loading import load_numba

    load_numba()
    if backend == "cuda":
        from nbnumba.backends import cuda

        return cuda
    from nbnumba.backends import cpu

    return cpu
