"""Changes of basis of Miller indices: read from words such as k,h,-l, and applied (F7c)."""

import re
from fractions import Fraction

import numpy as np

from nbnumba.errors import InputError, shown

_NUMBER = r"(?:\d{1,4}/\d{1,4}|\d{1,4}(?:\.\d{1,6})?|\.\d{1,6})"
_TERM = re.compile(rf"([+-]?)({_NUMBER}?)\*?([hkl])(?:/(\d{{1,4}}))?")

ALLOWED = "h, k and l of the new basis by those of the old one, such as k,h,-l or h/2-k/2,h/2+k/2,l"


def change_of_basis(words: str) -> np.ndarray:
    """Return the matrix (3, 3) of a change of basis: its rows make the new h, k and l of the old ones (F7c).

    Raises InputError for words that are none, and for a change that loses an index.
    """
    parts = "".join(words.split()).lower().split(",") if isinstance(words, str) else []
    if len(parts) != 3:
        raise InputError(f"change of basis: {shown(words)} is not allowed; allowed: {ALLOWED}")
    matrix = np.array([_row(part, words) for part in parts])
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(f"change of basis: {shown(words)} makes one index of others; allowed: three that are independent")
    return matrix


def _row(part: str, words: str) -> list[float]:
    """Return a row of the matrix."""
    terms = list(_TERM.finditer(part))
    if not terms or "".join(term[0] for term in terms) != part or any(not term[1] for term in terms[1:]):
        raise InputError(f"change of basis: {shown(words)} is not allowed; allowed: {ALLOWED}")
    row = [Fraction(0)] * 3
    for sign, number, letter, divisor in (term.groups() for term in terms):
        try:
            value = Fraction(number or 1) / Fraction(divisor or 1)
        except ZeroDivisionError:
            raise InputError(f"change of basis: {shown(words)} divides by 0; allowed: {ALLOWED}") from None
        row["hkl".index(letter)] += -value if sign == "-" else value
    return [float(value) for value in row]


def reindexed(hkl: np.ndarray, words: str) -> np.ndarray:
    """Return the Miller indices (n, 3) of reflections in another basis (F7c).

    words: the new h, k and l by the old ones, such as "k,h,-l". A crystal in a file may have another basis than a list of
    amplitudes: its primitive cell, for instance, where the list has the centred one. Raises InputError for words that are no
    change of basis, and for a reflection whose new indices are not whole.
    """
    old = np.asarray(hkl)
    if old.ndim != 2 or old.shape[1] != 3 or old.dtype.kind not in "iuf":
        raise InputError(f"reindexed: indices of shape {old.shape} are not allowed; allowed: whole numbers (n, 3)")
    new = old @ change_of_basis(words).T
    whole = np.rint(new)
    wrong = np.abs(new - whole).max(axis=1, initial=0.0) > 1e-3
    if wrong.any():
        first = int(np.argmax(wrong))
        before, after = (" ".join(f"{x:g}" for x in row) for row in (old[first], new[first]))
        raise InputError(f"change of basis: {words} makes {after} of {before}; allowed: whole indices of every reflection")
    return whole.astype(np.int64)
