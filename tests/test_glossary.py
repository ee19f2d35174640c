"""Words in names: each is an ordinary word, which tests/words.txt lists, or stands in specs/glossary.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDINARY = set((ROOT / "tests" / "words.txt").read_text().split())
ROWS_AND_HEADS = re.findall(r"^\| (\w[\w ]*) \| (.+) \| (\S+) \|$", (ROOT / "specs" / "glossary.md").read_text(), re.MULTILINE)
ROWS = [row for row in ROWS_AND_HEADS if row[0] != "word"]
DEFINED = {word for term, _, _ in ROWS for word in term.split()}
SHORTEST = 3
"""Letters of a word that is looked at; shorter ones are symbols of formulas and the like."""

ENDINGS = {"s": [""], "es": [""], "ies": ["y"], "ed": ["", "e"], "ied": ["y"], "ing": ["", "e"]}


def words(name):
    """The words of a name in lower case, split at underscores, digits and capitals."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower() for part in parts if len(part) >= SHORTEST}


def base_forms(word):
    """The word, and what it may be a plural, a past or a participle of."""
    forms = {word}
    for _ in range(2):  # "endings" is of "ending", and that of "end"
        for form in tuple(forms):
            for ending, replacements in ENDINGS.items():
                if form.endswith(ending):
                    stem = form.removesuffix(ending)
                    forms |= {stem + replacement for replacement in replacements}
                    forms |= {stem[:-1]} if ending in ("ed", "ing") and stem[-1:] == stem[-2:-1] else set()
    return forms


def names_of(path):
    """The names of a module, its functions and its classes, each with the line where it is defined."""
    yield path.stem, 1
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno


@pytest.mark.parametrize("package", ["nbnumba", "adjoint"])
def test_words_in_names_are_ordinary_or_defined(package):
    known, unknown = ORDINARY | DEFINED, []
    for path in sorted((ROOT / package).rglob("*.py")):
        for name, line in names_of(path):
            for word in sorted(words(name)):
                if not base_forms(word) & known:
                    unknown.append(f"{path.relative_to(ROOT)}:{line}: {name}: {word}")
    advice = "use a word of the field, add an ordinary word to tests/words.txt, or define a word of ours in specs/glossary.md"
    assert not unknown, "\n".join([advice, *unknown])


def test_a_word_is_in_one_list():
    assert not DEFINED & ORDINARY
    assert len(ROWS) == len({term for term, _, _ in ROWS}) > 40


def test_defined_words_are_used():
    """In a name or in the text of a clause, else the line of the glossary is superfluous."""
    text = [path.read_text() for package in ("nbnumba", "adjoint") for path in (ROOT / package).rglob("*.py")]
    text += [path.read_text() for path in (ROOT / "specs").glob("*.md") if path.name != "glossary.md"]
    used = re.sub(r"[_\s]+", " ", " ".join(text)).lower()
    assert not [term for term, _, _ in ROWS if term not in used]


def test_words_are_found_in_every_form():
    assert words("_GradientOfImages2x_hkl") == {"gradient", "images", "hkl"}
    for word, base in (("planned", "plan"), ("entries", "entry"), ("rating", "rate"), ("boxes", "box")):
        assert base in base_forms(word)
    assert not base_forms("wet") & {"we"}
