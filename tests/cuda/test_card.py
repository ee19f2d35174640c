"""What is missing for backend cuda is said in a sentence, and what is kept on a card is what was sent."""

import subprocess
import sys
from pathlib import Path

import pytest
from cards import no_card

from nbnumba import Experiment, InputError, simulate
from nbnumba.backends import card, machine

FLAGS = "-cell 70 80 90 75 85 95 -default_F 100 -N 5 -detpixels 8".split()
without_a_card = pytest.mark.skipif(not no_card(), reason="there is a card")


class CudaAPIError(Exception):
    """An error of Numba's, by its name."""


class CCSupportError(RuntimeError):
    """An error of Numba's, by its name."""


class CudaSupportError(ImportError):
    """An error of Numba's, by its name."""


class NvvmSupportError(ImportError):
    """An error of Numba's, by its name."""


DRIVER = "Error at driver init: \n{}\nTell where it is.\n:"
MISSING = [
    (CudaAPIError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"), "too little memory", "-roi"),
    (CudaAPIError("[2] Call to cuMemAlloc results in an error: out of memory"), "too little memory", "-roi"),
    (NvvmSupportError("libNVVM cannot be found. Do `conda install`:\nlibnvvm.so"), "toolkit", ".[cuda13]"),
    (CCSupportError("GPU compute capability 6.1 is not supported"), "too old", ".[cuda12]"),
    (CudaAPIError("[222] cuLinkAddData: UNSUPPORTED_PTX_VERSION"), "older than the CUDA toolkit", "a newer driver"),
    (CudaAPIError("Failed to get cuGetProcAddress_v2"), "older than the CUDA toolkit", "a newer driver"),
    (CudaSupportError(DRIVER.format("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)")), "DRIVER_MISMATCH", "a restart"),
    (CudaSupportError("CUDA is disabled due to setting NUMBA_DISABLE_CUDA=1"), "disabled", "NUMBA_DISABLE_CUDA not set"),
    (CudaAPIError("[702] cuCtxSynchronize: CUDA_ERROR_LAUNCH_TIMEOUT"), "took too long", "-roi"),
    (RuntimeError("nvrtc: error: failed to open libnvrtc-builtins.so.13.0"), "toolkit", ".[cuda13]"),
    (CudaAPIError("[46] Call to cuCtxCreate results in CUDA_ERROR_DEVICE_UNAVAILABLE"), "DEVICE_UNAVAILABLE", "backend cpu"),
    (CudaAPIError("[999] Call to cuInit results in CUDA_ERROR_UNKNOWN"), "CUDA_ERROR_UNKNOWN", "backend cpu"),
    (ModuleNotFoundError("No module named 'cuda.bindings'"), "cuda.bindings", ".[cuda13]"),
    (CudaSupportError(DRIVER.format("CUDA driver library cannot be found.")), "no NVIDIA driver", "nvidia-smi"),
    (CudaSupportError(DRIVER.format("[100] CUDA_ERROR_NO_DEVICE")), "CUDA_ERROR_NO_DEVICE", "CUDA_VISIBLE_DEVICES"),
]


@pytest.mark.parametrize(("error", "what", "remedy"), MISSING)
def test_what_is_missing_is_said(error, what, remedy):
    """In one sentence of a line, whatever the error says, and the memory of a card is given back."""
    card._kept["image"] = (None, "something")
    with pytest.raises(InputError, match="backend 'cuda'") as raised, card.at_work():
        raise error
    message = str(raised.value)
    assert "\n" not in message and "; allowed: " in message
    assert what in message and remedy in message
    assert not card._kept


REMEDIES = [("image", "-roi"), ("rows", "fewer parameters"), ("scene.5.amplitude", "a card with more, or backend cpu")]


@pytest.mark.parametrize(("name", "remedy"), REMEDIES)
def test_too_little_memory_says_for_what(name, remedy):
    """And gives back what is kept: the next, smaller, part has room."""

    def make():
        raise CudaAPIError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    with pytest.raises(InputError, match=f"for another 12 MB .{name.split('.')[-1]}.; allowed: .*{remedy}"), card.at_work():
        card._new(name, 12_000_000, make)
    assert not card._kept


def test_what_earlier_calls_left_makes_way():
    """What a call has not asked for is forgotten where memory is short, and then there is another attempt."""

    def make():
        if "left" in card._kept:
            raise CudaAPIError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
        return sorted(card._kept)

    card._kept["left"] = card._kept["asked for"] = (None, "something")
    with card.at_work():
        card._in_use.add("asked for")
        assert set(card._new("image", 8, make)) - {card.CURRENT} == {"asked for"}
    card._kept.clear()


def test_a_card_without_a_toolkit(monkeypatch):
    """Numba then says that CUDA is not available, and lists the card."""
    from numba import cuda
    from numba.cuda.cudadrv import nvvm

    def missing():
        raise NvvmSupportError("libNVVM cannot be found.")

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "list_devices", lambda: ["a card"])
    monkeypatch.setattr(nvvm, "NVVM", missing)
    with pytest.raises(InputError, match="the CUDA toolkit is missing .*cuda13"):
        card.check()


def test_a_defect_of_ours_is_not_a_missing_card():
    illegal = CudaAPIError("[700] Call to cuMemcpyDtoH results in CUDA_ERROR_ILLEGAL_ADDRESS")
    unlinked = RuntimeError("Compilation failed: nvvm: unable to find symbol")
    for error in (TypeError("ours"), illegal, unlinked, KeyError("cuda")):
        with pytest.raises(type(error)), card.at_work():
            raise error


@without_a_card
def test_no_card_is_said_by_every_door(capfd):
    import adjoint
    from nbnumba.cli.main import main

    experiment = Experiment.from_args(FLAGS)
    loss = adjoint.losses.Gaussian(simulate(experiment))
    doors = [
        lambda **given: simulate(experiment, **given),
        lambda **given: adjoint.vjp(experiment, ["beam.fluence"], **given),
        lambda **given: adjoint.value_and_grad(loss, experiment, ["beam.fluence"], **given),
        lambda **given: adjoint.jacobian(experiment, ["beam.fluence"], **given),
        lambda **given: adjoint.normal_equations(loss, experiment, ["beam.fluence"], **given),
        lambda **given: adjoint.refine(experiment, loss.data, ["beam.fluence"], **given),
        lambda **given: adjoint.gradcheck(experiment, ["beam.fluence"], **given),
    ]
    for door in doors:
        with pytest.raises(InputError, match="backend 'cuda'.*; allowed: "):
            door(backend="cuda")
        with pytest.raises(InputError, match="precision 'half'; allowed: double, mixed, paired, single"):
            door(precision="half")
    for words in (["-backend", "cuda"], ["-precision", "half"], ["-backend", "gpu"]):
        assert main([*FLAGS, *words]) == 2
        assert capfd.readouterr().err.count("\n") == 1


@without_a_card
def test_nothing_is_written_without_a_card(tmp_path):
    command = [sys.executable, "-m", "nbnumba", *FLAGS, "-backend", "cuda", "-floatfile", "image.bin"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("nbnumba: backend 'cuda': ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_machines_are_named():
    assert machine("cpu", "mixed") == ("cpu", "mixed")
    with pytest.raises(InputError, match="backend 'abacus'; allowed: cpu, cuda"):
        machine("abacus", "double")


def test_precision_of_the_command_line(tmp_path):
    """-precision goes to the kernels: single differs from double."""
    from nbnumba.cli.main import main

    images = []
    for precision in ("double", "single"):
        name = str(tmp_path / f"{precision}.bin")
        assert main([*FLAGS, "-nopgm", "-nonoise", "-nointfile", "-precision", precision, "-floatfile", name]) == 0
        images.append(open(name, "rb").read())
    assert len(images[0]) == len(images[1]) and images[0] != images[1]


@without_a_card
def test_the_bench_of_a_card_says_that_it_did_not_run(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from bench import card as bench

    assert bench.main([]) == 0
    assert capsys.readouterr().out.startswith("not run: backend 'cuda': ")
