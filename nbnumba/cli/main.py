"""The command nbnumba: it runs a subcommand, and prints errors, warnings and interruptions as sentences."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from nbnumba import interrupts
from nbnumba.backends.numba_loading import leave_out_linear_algebra
from nbnumba.cli import streams
from nbnumba.cli.progress import compilation_announced
from nbnumba.errors import InputError
from nbnumba.flags.table import SUBCOMMANDS, get_parser
from nbnumba.formats import files

HELP = ("-h", "-help", "--help")
"""Words that ask for the help of a subcommand, wherever they stand."""

BAD_INPUT = 2
CUT_OFF = 141
"""The exit statuses for impossible input, and for a text that stdout did not take completely."""

PRINTING = ("explain", "gradcheck")
"""The subcommands that only print. They stop as soon as stdout takes no more text."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line. Returns the exit status.

    It is the status that the subcommand returns, 2 for bad input, 130 after an interruption, and 141 if stdout did not take
    all of the text.
    """
    words = list(sys.argv[1:] if args is None else args)
    if args is None:
        leave_out_linear_algebra()
    command = words.pop(0) if words and words[0] in SUBCOMMANDS else "simulate"
    with streams.replaced(stop_early=command in PRINTING) as (out, _), interrupts.not_lost():
        status = _status(command, words)
        out.stop_early = False
        out.flush()
        status = _cut_off(out.failure, status)
        interrupts.ending(status)
    return status


def _cut_off(failure: OSError | None, status: int) -> int:
    """The exit status after stdout failed: CUT_OFF, unless the status already reports something worse."""
    if failure is None:
        return status
    if not isinstance(failure, BrokenPipeError):
        print(f"nbnumba: stdout cannot be written: {failure.strerror}; files are not affected", file=sys.stderr)
    return status or CUT_OFF


def _status(command: str, words: list[str]) -> int:
    """Run a subcommand, or print the help or the version. Returns the exit status."""
    if any(word in HELP for word in words):
        words = ["--help"]
    if command == "simulate" and words in ([], ["--help"]):
        get_parser().print_help()
        return 0 if words else BAD_INPUT
    if words[:1] == ["--version"]:
        from nbnumba.version import VERSION

        print(f"nbnumba {VERSION}")
        return 0
    with files.recorded() as written:
        return _run(command, words, written)


def _run(command: str, words: list[str], written: list[str]) -> int:
    """Run a subcommand, and print its errors and warnings. Returns the exit status.

    written: the list to which the names of finished files are added.
    """
    from nbnumba.backends.threads import set_thread_count
    from nbnumba.flags.messages import in_flags

    set_thread_count(None)
    printed = set()

    def print_warning(message, *_, **__):
        text = f"nbnumba: warning: {in_flags(str(message), words)}"
        if text not in printed:
            print(text, file=sys.stderr)
        printed.add(text)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = print_warning
            _check_directory()
            subcommand = _subcommand(command)
            interrupts.running()
            with compilation_announced():
                return subcommand(words)
    except SystemExit as end:  # argparse exits after it has printed a help.
        return end.code or 0
    except InputError as error:
        print(f"nbnumba: {in_flags(str(error), words)}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(f"nbnumba: there is too little memory for this ({error}); allowed: what fits in memory", file=sys.stderr)
        return BAD_INPUT
    except ArithmeticError as error:
        print(f"nbnumba: a number is too large or too small to compute with ({error})", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        return CUT_OFF
    except KeyboardInterrupt:
        names = ", ".join(written)
        print(f"nbnumba: interrupted after {names} had been written" if names else interrupts.SENTENCE, file=sys.stderr)
        return interrupts.STATUS


def _check_directory() -> None:
    """Raise InputError if the working directory is gone."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working directory is gone ({error.strerror}); allowed: a directory that exists") from error


def _subcommand(command: str):
    """The function that runs a subcommand: main of the module of the same name."""
    return importlib.import_module(f"nbnumba.cli.{command.replace('-', '_')}").main
