"""Where a derivative is computed: the loops over pixels that call the stages and their mirrors."""

from types import ModuleType


def driver(backend: str) -> ModuleType:
    """The loops over pixels for a backend of nbnumba.backends. Raises InputError where Numba will not load."""
    from nbnumba.backends.numba_loading import load_numba

    load_numba()
    if backend == "cuda":
        from adjoint.backends import cuda

        return cuda
    from adjoint.backends import cpu

    return cpu
