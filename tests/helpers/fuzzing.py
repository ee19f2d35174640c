"""The runner of the fuzzers. It runs cases in a process of its own until the time is up; each follows from its seed alone."""

import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nbnumba import InputError

TESTS = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("NBNUMBA_FUZZ_SECONDS", "45"))
MOST_CASES = int(os.environ.get("NBNUMBA_FUZZ_CASES", "0")) or 10**9
FIRST = 20261128
"""The seed of the first case of every fuzzer, unless another is stated."""
LONGEST = 30.0
"""Seconds that a case may take."""
MEMORY = 3 * 2**30
"""Bytes of address space that a case may take beside what the program has when it starts."""
TO_COMPILE = 900.0
"""Seconds that a process may take until it is ready: kernels are compiled then."""
LONGEST_SENTENCE = 1500
CURRENT, FOUND, DONE = "current", "found", "done"


class Fault(AssertionError):
    """A violation of a rule: its kind, and details."""

    def __init__(self, kind: str, detail: Any = ""):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class TooLong(BaseException):
    """A case takes longer than allowed. Code that catches Exception does not catch it."""


class Case:
    """Random numbers from a seed, an empty folder, and notes on the case, from which it can be repeated."""

    def __init__(self, seed: int, folder: Path, log: Path):
        self.seed, self.folder, self.log = seed, folder, log
        self.random = np.random.default_rng(seed)
        self.notes: list[str] = []
        self._write()

    def note(self, what: Any) -> None:
        """Note a command line, or what else the case is made of, before it is tried."""
        self.notes.append(str(what))
        self._write()

    def _write(self) -> None:
        text = json.dumps({"seed": self.seed, "notes": self.notes})
        self.log.write_text(text, encoding="utf-8")

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def pick(self, values: Iterable) -> Any:
        """One of some values, with equal probability."""
        values = tuple(values)
        return values[self.random.integers(len(values))]

    def spread(self, low: float, high: float) -> float:
        """A number whose logarithm is uniformly distributed."""
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))


class Tried(NamedTuple):
    """The result of a call: a value, or the sentence that refused it; and the warnings."""

    value: Any
    refusal: str | None
    warnings: list[str]


def tried(call: Callable[[], Any], named: Iterable[str] = ()) -> Tried:
    """Call a function.

    An InputError must be one sentence that names one of `named`, a warning one sentence; no other error may be raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value, refusal = call(), None
        except InputError as error:
            value, refusal = None, str(error)
    for warning in caught:
        if not issubclass(warning.category, UserWarning):
            raise Fault(f"a {warning.category.__name__} of {Path(warning.filename).name}:{warning.lineno}", warning.message)
    sentences = [str(warning.message) for warning in caught]
    for sentence in sentences:
        check_sentence(sentence)
    if refusal is not None:
        check_sentence(refusal, named)
    return Tried(value, refusal, sentences)


def check_sentence(text: str, named: Iterable[str] = ()) -> None:
    """Raise Fault unless a text is one line of printable characters, which names one of `named` if there are any."""
    if len(text.splitlines()) != 1 or not text.strip() or "Traceback" in text:
        raise Fault("a sentence of several lines, or none", repr(text))
    if not text.isprintable():
        raise Fault("a sentence with characters that cannot be printed", repr(text))
    if len(text) > LONGEST_SENTENCE:
        raise Fault("a sentence without end", f"{text[:200]}... of {len(text)} characters")
    named = list(named)
    if named and not any(name in text for name in named):
        raise Fault("a sentence that names none of what was given", f"{text!r} of {named}")


def check_finite(value: Any, where: str = "value") -> None:
    """Raise Fault for numbers in arrays, records or lists that are not finite."""
    if isinstance(value, dict):
        for name, part in value.items():
            check_finite(part, f"{where}[{name!r}]")
    elif hasattr(value, "_fields"):
        for name in value._fields:
            check_finite(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            check_finite(part, f"{where}[{number}]")
    elif isinstance(value, (float, np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "fc":
        if not np.isfinite(value).all():
            raise Fault(f"{re.sub(r'[0-9]+', 'N', where)} is not finite", np.asarray(value).ravel()[:9])


def hunt(module: str, function: str, folder: Path, share: float = 1.0, memory: int = MEMORY, longest: float = LONGEST) -> None:
    """Run cases until the time is up, restarting processes that end too early. Raises AssertionError with all faults."""
    stated = os.environ.get("NBNUMBA_FUZZ_SEED") or FIRST
    first = secrets.randbelow(10**9) if stated == "drawn" else int(stated)
    print(f"\n{module}.{function}: NBNUMBA_FUZZ_SEED={first}, {share * SECONDS:g} s", flush=True)
    faults: dict[str, str] = {}
    outcomes: Counter = Counter()
    left, seed, tried_cases = share * SECONDS, first, 0
    while left > 0.0 and tried_cases < MOST_CASES:
        place = folder / f"from-{seed}"
        place.mkdir()
        spent, ended = _watch(place, module, function, seed, left, MOST_CASES - tried_cases, memory, longest)
        done = json.loads((place / DONE).read_text()) if (place / DONE).exists() else {"cases": 0, "outcomes": {}}
        outcomes.update(done["outcomes"])
        if (place / FOUND).exists():
            for line in (place / FOUND).read_text(encoding="utf-8").splitlines():
                fault = json.loads(line)
                faults.setdefault(fault["kind"], _shown(fault, module))
        tried_cases += done["cases"]
        left -= spent
        if ended is None:
            break
        last_case = (
            json.loads((place / CURRENT).read_text(encoding="utf-8"))
            if (place / CURRENT).exists()
            else {"seed": seed, "notes": []}
        )
        faults.setdefault(
            ended, _shown({**last_case, "kind": ended, "text": (place / "stderr").read_text(errors="replace")[-3000:]}, module)
        )
        outcomes[ended] += 1
        tried_cases, seed = tried_cases + 1, last_case["seed"] + 1
    print(f"{module}.{function}: {tried_cases} cases, {', '.join(f'{n} {what}' for what, n in sorted(outcomes.items()))}")
    assert not faults, f"{len(faults)} kinds of faults:\n" + "\n".join(faults.values())
    assert tried_cases, "no case was tried"


def _shown(fault: dict, module: str) -> str:
    repeat = f"NBNUMBA_FUZZ_SEED={fault['seed']} NBNUMBA_FUZZ_CASES=1 pytest -m long tests/fuzz/{module}.py"
    notes = "\n".join(f"  {line}" for line in fault["notes"])
    return f"* {fault['kind']}\n  {repeat}\n{notes}\n{fault['text']}\n"


def _watch(place, module, function, seed, left, cases, memory, longest) -> tuple[float, str | None]:
    """Run a process until it ends. Returns the seconds that it spent on cases, and how it ended if not normally."""
    code = (
        f"import fuzzing; fuzzing.loop({module!r}, {function!r}, {seed}, {left}, {cases}, {str(place)!r}, {memory}, {longest})"
    )
    where = os.pathsep.join([str(TESTS.parent), str(TESTS / "helpers"), str(TESTS / "fuzz"), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": where, "NUMBA_NUM_THREADS": "2", "PYTHONFAULTHANDLER": "1"}
    with open(place / "stdout", "wb") as out, open(place / "stderr", "wb") as err:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=out, stderr=err, env=variables, cwd=place)
        started, ready = time.monotonic(), None
        while child.poll() is None:
            time.sleep(0.05)
            current = place / CURRENT
            if ready is None and current.exists():
                ready = time.monotonic()
            idle = time.time() - current.stat().st_mtime if ready else 0.0
            if idle > 3 * longest or (ready is None and time.monotonic() - started > TO_COMPILE):
                child.kill()
                child.wait()
                return time.monotonic() - (ready or started), "a case that never ends, in compiled code"
    spent = time.monotonic() - ready if ready else 0.0
    if child.returncode < 0:
        return spent, f"ended by {signal.Signals(-child.returncode).name}"
    if child.returncode:
        raise RuntimeError(f"the fuzzer itself is wrong:\n{(place / 'stderr').read_text(errors='replace')[-5000:]}")
    return spent, None


def loop(module: str, function: str, first: int, seconds: float, cases: int, place: str, memory: int, longest: float) -> None:
    """Run cases in the process that was started for it, and write down the faults and the outcomes."""
    fuzzer = import_module(module)
    getattr(fuzzer, "prepare", lambda: None)()
    case = getattr(fuzzer, function)
    folder, here = Path(place), os.getcwd()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _ring)
    outcomes, kinds, end, parent = Counter(), set(), time.monotonic() + seconds, os.getppid()
    for number in count():
        if number == cases or time.monotonic() > end or os.getppid() != parent:
            break
        room = folder / f"case-{first + number}"
        room.mkdir()
        one = Case(first + number, room, folder / CURRENT)
        signal.setitimer(signal.ITIMER_REAL, longest, longest)
        try:
            outcomes[case(one)] += 1
        except (Exception, TooLong) as error:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            outcomes["faulty"] += 1
            kind = kind_of(error)
            if kind not in kinds:
                text = "".join(traceback.format_exception(error, limit=-6))
                _append(folder / FOUND, {"kind": kind, "seed": one.seed, "notes": one.notes, "text": text})
            kinds.add(kind)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            os.chdir(here)
            if not kinds or "faulty" not in outcomes:
                shutil.rmtree(room, ignore_errors=True)
        (folder / DONE).write_text(json.dumps({"cases": number + 1, "outcomes": outcomes}))


def kind_of(error: BaseException) -> str:
    """The kind by which faults count as the same: a Fault's own, else the exception and the innermost line of the program."""
    if isinstance(error, Fault):
        return error.kind
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, TooLong) and error.__context__ is not None:
        frames = traceback.extract_tb(error.__context__.__traceback__) or frames
    ours = [f for f in frames if re.search(r"/(nbnumba|adjoint)/", f.filename) and "/tests/" not in f.filename]
    innermost = (ours or frames)[-1]
    return f"{type(error).__name__} at {Path(innermost.filename).name} {innermost.name}"


def _ring(*_) -> None:
    raise TooLong


def _append(path: Path, record: dict) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


class Ran(NamedTuple):
    """A run of the program in this process: its exit status and its text."""

    status: Any
    out: str
    err: str


def run(args: list[str]) -> Ran:
    """Run the command line in this process, with its output, also of file descriptors, in files."""
    from nbnumba.cli.main import main

    streams, kept = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for stream, number, file in zip(streams, (1, 2), (out, err)):
            stream.flush()
            os.dup2(file.fileno(), number)
        try:
            status = main(args)
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            for stream, number, before in zip(streams, (1, 2), kept):
                stream.flush()
                os.dup2(before, number)
                os.close(before)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return Ran(status, *texts)


def check_ran(ran: Ran, allowed: Iterable[int], quiet: bool = True) -> None:
    """Raise Fault unless a run succeeded, with only warnings on stderr if quiet, or was refused with one sentence at the
    end."""
    lines = ran.err.splitlines()
    if ran.status not in (2, *allowed):
        raise Fault(f"exit status {ran.status}", ran.err)
    if ran.status == 2:
        if not lines or not lines[-1].startswith("nbnumba: ") or lines[-1].startswith("nbnumba: warning: "):
            raise Fault("a refusal without its sentence", ran.err)
        check_sentence(lines.pop())
    for line in lines:
        if quiet and not line.startswith("nbnumba: "):
            raise Fault("on stderr is what is no sentence", ran.err)
        check_sentence(line)


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder and below it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()}
