"""The program, run in the process of the tests."""

import pytest

from nbnumba.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command line in a folder of its own: exit status, lines on stdout, lines on stderr."""
    monkeypatch.chdir(tmp_path)

    def runner(args):
        status = main(args.split() if isinstance(args, str) else args)
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return runner
