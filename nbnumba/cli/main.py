"""The command nbnumba: chooses the subcommand, and turns errors and warnings into sentences."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from nbnumba.cli.flags import SUBCOMMANDS, get_parser
from nbnumba.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130
CUT_OFF = 141


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for bad input, 130 when interrupted, 141 when cut off."""
    words = list(sys.argv[1:] if args is None else args)
    command = words.pop(0) if words and words[0] in SUBCOMMANDS else "simulate"
    if command == "simulate" and (not words or words[0] in ("-h", "-help", "--help")):
        get_parser().print_help()
        return 0 if words else BAD_INPUT
    if words[:1] == ["--version"]:
        from nbnumba.version import VERSION

        print(f"nbnumba {VERSION}")
        return 0
    return _run(command, words)


def _run(command: str, words: list[str]) -> int:
    from nbnumba.cli.messages import in_flags

    shown = set()

    def show(message, *_, **__):
        text = f"nbnumba: warning: {in_flags(str(message))}"
        if text not in shown:
            print(text, file=sys.stderr)
        shown.add(text)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            return _subcommand(command)(words)
    except InputError as error:
        print(f"nbnumba: {in_flags(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(f"nbnumba: there is too little memory for this ({error}); allowed: what fits", file=sys.stderr)
        return BAD_INPUT
    except ArithmeticError as error:
        print(f"nbnumba: a number is too large or too small to compute with ({error})", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except KeyboardInterrupt:
        print("nbnumba: interrupted", file=sys.stderr)
        return INTERRUPTED


def _subcommand(command: str):
    """The function that runs a subcommand: main of the module that bears its name."""
    return importlib.import_module(f"nbnumba.cli.{command.replace('-', '_')}").main
