"""The parser that the man page is made from, which is loaded where neither nbnumba nor what it depends on is installed.

The table of flags and that of the crystal shapes import nothing but the standard library; the packages in which they lie do.
Each package that is not there yet is therefore replaced by an empty one with the same folder.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nbnumba", "nbnumba.flags", "nbnumba.stages")


def get_parser():
    """The help of the command line as argparse shows it (flags/table.py)."""
    for name in PACKAGES:
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
            sys.modules[name] = package
    return import_module("nbnumba.flags.table").get_parser()
