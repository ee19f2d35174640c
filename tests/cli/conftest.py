"""A fixture that runs the program in the process of the tests."""

import pytest

from nbnumba.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs a command line in a folder of its own.

    It returns the exit status and the lines on stdout and stderr.
    """
    monkeypatch.chdir(tmp_path)

    def runner(args):
        status = main(args.split() if isinstance(args, str) else args)
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return runner
