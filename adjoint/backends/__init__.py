"""The module that drives the loops over pixels, for a derivative on each backend."""

from types import ModuleType


def driver(backend: str) -> ModuleType:
    """The module that drives the loops on a backend of nbnumba.backends. Raises InputError where Numba cannot be loaded."""
    from nbnumba.backends.numba_loading import load_numba

    load_numba()
    if backend == "cuda":
        from adjoint.backends import cuda

        return cuda
    from adjoint.backends import cpu

    return cpu
