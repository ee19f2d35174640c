"""The command nbnumba: chooses the subcommand, and turns errors, warnings and interruptions into sentences."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from nbnumba import interrupts
from nbnumba.cli import streams
from nbnumba.cli.progress import compiling_told
from nbnumba.errors import InputError
from nbnumba.flags.table import SUBCOMMANDS, get_parser
from nbnumba.formats import files

HELP = ("-h", "-help", "--help")
"""Words that ask for the help of a subcommand, wherever they stand."""

BAD_INPUT = 2
CUT_OFF = 141
PRINTING = ("explain", "gradcheck")
"""The subcommands that do nothing but print: they stop when nobody reads what they print."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    That is 0, what a subcommand returns, 2 for bad input, 130 when interrupted, 141 when stdout took not all of the text.
    """
    words = list(sys.argv[1:] if args is None else args)
    command = words.pop(0) if words and words[0] in SUBCOMMANDS else "simulate"
    with streams.replaced(stop_early=command in PRINTING) as (out, _), interrupts.not_lost():
        status = _status(command, words)
        out.stop_early = False
        out.flush()
        status = _cut_off(out.failure, status)
        interrupts.ending(status)
    return status


def _cut_off(failure: OSError | None, status: int) -> int:
    """The exit status when stdout has failed in that way: one that says so, if nothing worse was to be said."""
    if failure is None:
        return status
    if not isinstance(failure, BrokenPipeError):
        print(f"nbnumba: stdout cannot be written: {failure.strerror}; files are not affected", file=sys.stderr)
    return status or CUT_OFF


def _status(command: str, words: list[str]) -> int:
    """Do what the words say; returns the exit status."""
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
    """Run a subcommand; written: collects the names of the files that it puts in place."""
    from nbnumba.backends.threads import set_thread_count
    from nbnumba.flags.messages import in_flags

    set_thread_count(None)
    shown = set()

    def show(message, *_, **__):
        text = f"nbnumba: warning: {in_flags(str(message), words)}"
        if text not in shown:
            print(text, file=sys.stderr)
        shown.add(text)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            _check_directory()
            run = _subcommand(command)
            interrupts.running()
            with compiling_told():
                return run(words)
    except SystemExit as end:  # argparse, having printed its help
        return end.code or 0
    except InputError as error:
        print(f"nbnumba: {in_flags(str(error), words)}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(f"nbnumba: there is too little memory for this ({error}); allowed: what fits", file=sys.stderr)
        return BAD_INPUT
    except ArithmeticError as error:
        print(f"nbnumba: a number is too large or too small to compute with ({error})", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        return CUT_OFF
    except KeyboardInterrupt:
        names = ", ".join(written)
        print(f"nbnumba: interrupted, after {names} had been written" if names else interrupts.SENTENCE, file=sys.stderr)
        return interrupts.STATUS


def _check_directory() -> None:
    """Raise InputError if the working directory is gone."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working directory is gone ({error.strerror}); allowed: to run in one that is there") from error


def _subcommand(command: str):
    """The function that runs a subcommand: main of the module that bears its name."""
    return importlib.import_module(f"nbnumba.cli.{command.replace('-', '_')}").main
