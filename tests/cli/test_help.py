"""Every subcommand has a help wherever it is asked for, and a comparison that fails suggests what to try."""

import pytest

from nbnumba.cli.compare import _advice
from nbnumba.cli.main import main
from nbnumba.flags import table as flags


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
@pytest.mark.parametrize("command", flags.SUBCOMMANDS)
def test_help_of_every_subcommand(capsys, tmp_path, monkeypatch, command, word):
    monkeypatch.chdir(tmp_path)
    pages = []
    for words in ([command, word], [command, "-cell", "50", word], [command, "--", "-cell", "50", word]):
        assert main(words) == 0
        printed = capsys.readouterr()
        assert printed.err == "" and printed.out.startswith("usage: nbnumba")
        pages.append(printed.out)
    assert len(set(pages)) == 1 and list(tmp_path.iterdir()) == []
    assert command == "simulate" or f"nbnumba {command}" in pages[0]


def test_help_of_the_example_says_what_it_writes_and_what_it_takes(capsys):
    assert main(["example", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("[FLAGS]", "example.img", "example.png", "--dry-run", "-fluence"):
        assert word in text


def test_a_comparison_that_fails_points_to_explain():
    assert "nbnumba explain -- -cell 50 -default_F 1; -c_parity" in _advice(["-cell", "50", "-default_F", "1"], frozenset())
    assert "compare-traces" in _advice([], frozenset({"phi_carryover"}))
