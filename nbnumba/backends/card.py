"""The NVIDIA card: the check that there is one, and its memory, which is kept between calls (specs/cuda.md)."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numba import config

from nbnumba.errors import InputError

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether Numba simulates a card (NUMBA_ENABLE_CUDASIM=1). Kernels are then plain Python, and no card is needed."""
CURRENT = "card"
"""The key under which the number of the current card is kept."""

TOOLKIT = "backend cpu, or pip install '.[cuda13]' where nbnumba's setup.cfg is ('.[cuda12]' for a driver of CUDA 12)"
DRIVER = "backend cpu, or NVIDIA's driver, with which nvidia-smi lists the card"
NEWER = "backend cpu, a newer driver, or '.[cuda12]' in the place of '.[cuda13]'"
CARD = "backend cpu, or a card that nvidia-smi lists and CUDA_VISIBLE_DEVICES does not hide"
RELOADED = "backend cpu, or NVIDIA's driver loaded anew, by a restart of the machine"
ENABLED = "backend cpu, or NUMBA_DISABLE_CUDA not set"
PARTS = "parts of the image, one after another, by -roi (roi)"
FEWER = "fewer parameters, or backend cpu"
MORE = "a card with more, or backend cpu"
"""The remedies with which messages end."""

LIBRARIES = ("nvvm", "libdevice", "nvrtc", "nvjitlink", "cudart", "ptxas")
"""Parts of the CUDA toolkit, as messages of Numba and CUDA name them."""
NOT_THERE = (
    "cannot be found", "not found", "missing libdevice", "failed to open", "cannot open", "no such file", "unable to load",
    "unable to open", "failure finding",
)  # fmt: skip
"""Phrases by which messages say that something is missing."""
OLDER = ("unsupported_ptx_version", "[222]", "unsupported ptx version", "insufficient_driver", "cugetprocaddress")
"""Phrases by which messages say that the driver is older than the CUDA toolkit."""
AILING = (
    "device_unavailable", "devices_unavailable", "no_binary_for_gpu", "ecc_uncorrectable", "system_not_ready",
    "compat_not_supported", "cuda_error_unknown",
)  # fmt: skip
"""Phrases by which CUDA says that a card cannot be used."""

_kept: dict[str, tuple[np.ndarray | None, object]] = {}
"""The arrays on the card by name, each with a copy of its values on the host, or None where a kernel writes them."""
_in_use: set[str] = set()
"""The names of the arrays that the current call uses."""
_working = threading.RLock()
"""The lock of the call that uses the card."""


_process: list[int] = []
"""The process that has begun to use the card."""


def check() -> None:
    """Raise InputError if there is no card on which kernels can run. The message says what is missing.

    CUDA does not work in a process that was forked from one that had used it.
    """
    if SIMULATED:
        return
    if _process and _process[0] != os.getpid():
        why = "this process was forked from one that had used the card, and CUDA does not work here"
        raise InputError(f"backend 'cuda': {why}; allowed: backend cpu, or processes that are spawned")
    try:
        from numba import cuda
    except ImportError as error:
        raise InputError(f"backend 'cuda': this Numba has no CUDA ({reason(error)}); allowed: {TOOLKIT}") from None
    except Exception as error:
        raise InputError(f"backend 'cuda': {reason(error)}; allowed: {DRIVER}") from None
    try:
        available, cards = cuda.is_available(), list(cuda.list_devices())
        if available and cards:
            _process[:] = [os.getpid()]
            return
        from numba.cuda.cudadrv.nvvm import NVVM

        NVVM()
    except Exception as error:
        raise InputError(explained(error) or f"backend 'cuda': {reason(error)}; allowed: {CARD}") from None
    raise InputError(f"backend 'cuda': no card was found; allowed: {CARD}")


def reason(error: Exception) -> str:
    """The first sentence of the message of an exception of Numba."""
    lines = [line.strip(" .:") for line in str(error).removeprefix("Error at driver init:").splitlines()]
    return next((line for line in lines if line), type(error).__name__)


@contextmanager
def at_work() -> Iterator[None]:
    """A context in which one call at a time uses the arrays on the card. Errors of the card are raised as InputError.

    If an exception ends the call, all arrays are forgotten, because they may be half-written.
    """
    with _working, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")  # small images, and sums, have few blocks
        try:
            _begin()
            yield
        except BaseException as error:
            _kept.clear()
            sentence = None if isinstance(error, InputError) else explained(error)
            if sentence is None:
                raise
            raise InputError(sentence) from None


def _begin() -> None:
    """Begin a call, which does not use any array yet. If another card has become the current one, forget all arrays.

    If there is no card, this raises nothing: the next use of the card does.
    """
    from numba import cuda

    _in_use.clear()
    try:
        current = 0 if SIMULATED else cuda.get_current_device().id
    except Exception:
        return
    if _kept.setdefault(CURRENT, (None, current))[1] != current:
        _kept.clear()
        _kept[CURRENT] = (None, current)


def explained(error: BaseException) -> str | None:
    """The message for an error that the machine causes, or None if the error is a defect of this program."""
    kind, what, text = type(error).__name__, reason(error), str(error).lower()
    if _out_of_memory(error):
        return f"backend 'cuda': the card has too little memory; allowed: {PARTS}"
    if "launch_timeout" in text or "[702]" in text:
        return f"backend 'cuda': the card's driver ended a kernel that took too long; allowed: in a new process, {PARTS}"
    if kind == "CCSupportError":
        return f"backend 'cuda': the card is too old for this CUDA toolkit ({what}); allowed: {TOOLKIT}"
    if any(word in text for word in OLDER):
        return f"backend 'cuda': the driver is older than the CUDA toolkit ({what}); allowed: {NEWER}"
    missing = any(library in text for library in LIBRARIES) and any(word in text for word in NOT_THERE)
    if kind in ("NvvmSupportError", "DynamicLibNotFoundError") or missing:
        return f"backend 'cuda': the CUDA toolkit is missing ({what}); allowed: {TOOLKIT}"
    if "driver library cannot be found" in text or "libcuda" in text:
        return f"backend 'cuda': no NVIDIA driver was found ({what}); allowed: {DRIVER}"
    if "driver_mismatch" in text:
        return f"backend 'cuda': {what}; allowed: {RELOADED}"
    if "numba_disable_cuda" in text:
        return f"backend 'cuda': {what}; allowed: {ENABLED}"
    if "no_device" in text:
        return f"backend 'cuda': no card was found ({what}); allowed: {CARD}"
    if kind in ("CudaSupportError", "CudaDriverError") or any(word in text for word in AILING):
        return f"backend 'cuda': {what}; allowed: {CARD}"
    if isinstance(error, ImportError) and "cuda" in text:
        return f"backend 'cuda': a part of CUDA is missing ({what}); allowed: {TOOLKIT}"
    return None


def blocks(threads: int, per_block: int) -> int:
    """The number of blocks of a launch with at least that number of threads."""
    return -(-threads // per_block)


def upload(name: str, array: np.ndarray):
    """The array, on the card. It is copied there only if the last array under that name was a different one."""
    from numba import cuda

    if not array.size:
        return empty_like(array)
    _in_use.add(name)
    last, on_card = _kept.pop(name, (None, None))
    fits = last is not None and last.dtype == array.dtype and last.shape == array.shape
    if fits and np.array_equal(last, array, equal_nan=array.dtype.kind == "f"):
        _kept[name] = (last, on_card)
        return on_card
    copy = np.array(array, order="C")
    if fits:
        on_card.copy_to_device(copy)
    else:
        last = on_card = None  # their memory is free for the new array
        on_card = _new(name, copy.nbytes, lambda: cuda.to_device(copy))
    _kept[name] = (copy, on_card)
    return on_card


def empty_like(array: np.ndarray):
    """An empty array on the card with the same type and number of axes. It is contiguous, as all other arrays are.

    An empty array of NumPy has strides of 0, for which Numba would compile another kernel.
    """
    from numba import cuda

    return cuda.device_array((0, *[1] * (array.ndim - 1)), array.dtype)


def upload_fresh(name: str, array: np.ndarray):
    """An array on the card with the values of that one, for kernels to change. Its memory is that of `allocate`."""
    on_card = allocate(name, array.shape, array.dtype)
    on_card.copy_to_device(array)
    return on_card


def allocate(name: str, shape: tuple[int, ...], kind: type):
    """An array on the card for kernels to write to. Its memory is kept for the next one with that name, shape and type."""
    from numba import cuda

    _in_use.add(name)
    on_card = _kept.get(name, (None, None))[1]
    if on_card is None or on_card.shape != shape or on_card.dtype != kind:
        _kept.pop(name, None)
        on_card = None  # its memory is free for the new array
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        on_card = _new(name, size, lambda: cuda.device_array(shape, kind))
        _kept[name] = (None, on_card)
    return on_card


def _new(name: str, size: int, make):
    """The new array of that name and size in bytes that make() returns. Raises InputError if the card has no memory for it.

    If memory does not suffice, the arrays of earlier calls that the current call does not use are forgotten first.
    """
    for may_forget in (True, False):
        try:
            return make()
        except Exception as error:
            if not _out_of_memory(error):
                raise
        if not (may_forget and _forget_others()):
            break
    remedy = MORE if "." in name else PARTS if name in ("image", "mask") else FEWER
    sentence = f"the card has too little memory for another {size / 1e6:.0f} MB ({name.rpartition('.')[2]})"
    raise InputError(f"backend 'cuda': {sentence}; allowed: {remedy}")


def _forget_others() -> bool:
    """Forget the arrays that the current call does not use; returns whether there were any."""
    others = [name for name in _kept if name not in _in_use and name != CURRENT]
    for name in others:
        del _kept[name]
    return bool(others)


def _out_of_memory(error: Exception) -> bool:
    return "out_of_memory" in str(error).lower() or "out of memory" in str(error).lower()


def upload_records(name: str, records: tuple) -> tuple:
    """The same records with their arrays on the card."""
    return tuple(upload_record(f"{name}.{number}", record) for number, record in enumerate(records))


def upload_record(name: str, record: tuple) -> tuple:
    """The same record with its arrays on the card."""
    arrays = {field: value for field, value in record._asdict().items() if isinstance(value, np.ndarray)}
    return record._replace(**{field: upload(f"{name}.{field}", value) for field, value in arrays.items()})
