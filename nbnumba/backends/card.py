"""The NVIDIA card: whether there is one, and its memory, which is kept between calls (specs/cuda.md)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numba import config

from nbnumba.errors import InputError

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether threads are simulated (NUMBA_ENABLE_CUDASIM=1): kernels are then plain Python, and no card is needed."""
CURRENT = "card"
"""The name under which the number of the card is kept."""

TOOLKIT = "backend cpu, or pip install '.[cuda13]' where nbnumba's setup.cfg is ('.[cuda12]' for a driver of CUDA 12)"
DRIVER = "backend cpu, or NVIDIA's driver, with which nvidia-smi lists the card"
NEWER = "backend cpu, a newer driver, or '.[cuda12]' in the place of '.[cuda13]'"
CARD = "backend cpu, or a card that nvidia-smi lists and CUDA_VISIBLE_DEVICES does not hide"
RELOADED = "backend cpu, or NVIDIA's driver loaded anew, by a restart of the machine"
ENABLED = "backend cpu, or NUMBA_DISABLE_CUDA not set"
PARTS = "parts of the image, one after another, by -roi (roi)"
FEWER = "fewer parameters, or backend cpu"
MORE = "a card with more, or backend cpu"
"""What is allowed instead: the ends of sentences."""

LIBRARIES = ("nvvm", "libdevice", "nvrtc", "nvjitlink", "cudart", "ptxas")
"""Parts of the CUDA toolkit, by which messages name what is missing."""
NOT_THERE = (
    "cannot be found", "not found", "missing libdevice", "failed to open", "cannot open", "no such file", "unable to load",
    "unable to open", "failure finding",
)  # fmt: skip
"""How messages say that something is not there."""
OLDER = ("unsupported_ptx_version", "[222]", "unsupported ptx version", "insufficient_driver", "cugetprocaddress")
"""How messages say that the driver is older than the CUDA toolkit."""
AILING = (
    "device_unavailable", "devices_unavailable", "no_binary_for_gpu", "ecc_uncorrectable", "system_not_ready",
    "compat_not_supported", "cuda_error_unknown",
)  # fmt: skip
"""How CUDA names the errors of a card that does not serve."""

_kept: dict[str, tuple[np.ndarray | None, object]] = {}
_asked: set[str] = set()
"""The names that the call at work has asked for."""
_working = threading.RLock()


def check() -> None:
    """Raise InputError where there is no card that kernels can run on, with what is missing."""
    if SIMULATED:
        return
    try:
        from numba import cuda
    except ImportError as error:
        raise InputError(f"backend 'cuda': this Numba has no CUDA ({reason(error)}); allowed: {TOOLKIT}") from None
    except Exception as error:
        raise InputError(f"backend 'cuda': {reason(error)}; allowed: {DRIVER}") from None
    try:
        available, cards = cuda.is_available(), list(cuda.list_devices())
        if available and cards:
            return
        from numba.cuda.cudadrv.nvvm import NVVM

        NVVM()
    except Exception as error:
        raise InputError(explained(error) or f"backend 'cuda': {reason(error)}; allowed: {CARD}") from None
    raise InputError(f"backend 'cuda': no card was found; allowed: {CARD}")


def reason(error: Exception) -> str:
    """What an exception of Numba says, its first sentence."""
    lines = [line.strip(" .:") for line in str(error).removeprefix("Error at driver init:").splitlines()]
    return next((line for line in lines if line), type(error).__name__)


@contextmanager
def at_work() -> Iterator[None]:
    """One call at a time uses what is kept, on one card. What goes wrong there is an InputError that says what to do.

    Whatever ends a call before its end, what is kept is forgotten: it may be half-written.
    """
    with _working, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")  # of small images, and of sums: few blocks are all there is
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
    """Nothing is asked for yet, and what is kept on another card than the one that is current is forgotten.

    Where there is no card, what follows will say so.
    """
    from numba import cuda

    _asked.clear()
    try:
        current = 0 if SIMULATED else cuda.get_current_device().id
    except Exception:
        return
    if _kept.setdefault(CURRENT, (None, current))[1] != current:
        _kept.clear()
        _kept[CURRENT] = (None, current)


def explained(error: BaseException) -> str | None:
    """A sentence for what a machine lacks; None for a defect of ours."""
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


def blocks(threads: int, each: int) -> int:
    """Blocks of so many threads each that make as many threads or more."""
    return -(-threads // each)


def upload(name: str, array: np.ndarray):
    """An array on the card. What was sent before under that name stays there: it is sent again only if it is another."""
    from numba import cuda

    if not array.size:
        return empty_like(array)
    _asked.add(name)
    before, there = _kept.pop(name, (None, None))
    alike = before is not None and before.dtype == array.dtype and before.shape == array.shape
    if alike and np.array_equal(before, array, equal_nan=array.dtype.kind == "f"):
        _kept[name] = (before, there)
        return there
    copy = np.array(array, order="C")
    if alike:
        there.copy_to_device(copy)
    else:
        before = there = None  # so that its memory is free
        there = _new(name, copy.nbytes, lambda: cuda.to_device(copy))
    _kept[name] = (copy, there)
    return there


def empty_like(array: np.ndarray):
    """An empty array of that type and number of axes, on the card, contiguous as all others.

    NumPy's own has strides of 0, for which Numba would compile another kernel.
    """
    from numba import cuda

    return cuda.device_array((0, *[1] * (array.ndim - 1)), array.dtype)


def upload_fresh(name: str, array: np.ndarray):
    """An array on the card that kernels change, begun with those values, in the memory that is kept for it."""
    there = allocate(name, array.shape, array.dtype)
    there.copy_to_device(array)
    return there


def allocate(name: str, shape: tuple[int, ...], kind: type):
    """An array on the card that kernels write to; its memory is kept for the next of that name, shape and type."""
    from numba import cuda

    _asked.add(name)
    there = _kept.get(name, (None, None))[1]
    if there is None or there.shape != shape or there.dtype != kind:
        _kept.pop(name, None)
        there = None  # so that its memory is free
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        there = _new(name, size, lambda: cuda.device_array(shape, kind))
        _kept[name] = (None, there)
    return there


def _new(name: str, size: int, make):
    """A new array of so many bytes in the place of what is kept. Raises InputError where there is no memory for it.

    What earlier calls have left makes way, unless this one has asked for it too.
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
    """Forget what the call at work has not asked for; whether there was anything."""
    others = [name for name in _kept if name not in _asked and name != CURRENT]
    for name in others:
        del _kept[name]
    return bool(others)


def _out_of_memory(error: Exception) -> bool:
    return "out_of_memory" in str(error).lower() or "out of memory" in str(error).lower()


def upload_records(name: str, records: tuple) -> tuple:
    """Records whose tables are on the card."""
    return tuple(upload_record(f"{name}.{number}", record) for number, record in enumerate(records))


def upload_record(name: str, record: tuple) -> tuple:
    """A record whose tables are on the card."""
    tables = {field: value for field, value in record._asdict().items() if isinstance(value, np.ndarray)}
    return record._replace(**{field: upload(f"{name}.{field}", value) for field, value in tables.items()})
