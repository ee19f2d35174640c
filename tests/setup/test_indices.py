"""Changes of basis of Miller indices (F7c)."""

import numpy as np
import pytest

from nbnumba import InputError, reindexed
from nbnumba.geometry.indices import change_of_basis


@pytest.mark.parametrize(
    "words, rows",
    [
        ("h,k,l", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("k, h, -l", [[0, 1, 0], [1, 0, 0], [0, 0, -1]]),
        ("h/2-k/2,1/2h+0.5k,L", [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
        ("-h+k,h+k,2*l+h", [[-1, 1, 0], [1, 1, 0], [1, 0, 2]]),
    ],
)
def test_words_make_a_matrix(words, rows):
    assert change_of_basis(words).tolist() == rows


def test_a_centred_cell_becomes_primitive():
    """The reflections of a C-centred list are whole in the primitive cell, and have the same vectors."""
    vectors = np.array([[30.0, 0, 0], [0, 40.0, 0], [5.0, 0, 50.0]])
    primitive = np.array([(vectors[0] - vectors[1]) / 2, (vectors[0] + vectors[1]) / 2, vectors[2]])
    hkl = np.array([[1, 1, 0], [2, 0, 3], [-3, 1, -2]])
    new = reindexed(hkl, "h/2-k/2,h/2+k/2,l")
    wanted = hkl @ np.linalg.inv(vectors).T
    np.testing.assert_allclose(new @ np.linalg.inv(primitive).T, wanted, rtol=0, atol=1e-12)
    assert new.dtype.kind == "i"


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("", "change of basis: '' is not allowed; allowed: h, k and l of the new basis by those of the old one"),
        ("h,k", "'h,k' is not allowed"),
        ("h,k,x", "'h,k,x' is not allowed"),
        ("h k,k,l", "is not allowed"),
        ("h,h,l", "makes one index of others; allowed: three that are independent"),
        ("h/0,k,l", "divides by 0; allowed"),
        (None, "None is not allowed"),
        ("h/2,k,l", "h/2,k,l makes 0.5 2 3 of 1 2 3; allowed: whole indices of every reflection"),
    ],
)
def test_what_is_refused(words, sentence):
    with pytest.raises(InputError, match=sentence):
        reindexed([[2, 0, 0], [1, 2, 3]], words)


def test_indices_of_another_shape():
    with pytest.raises(InputError, match=r"reindexed: indices of shape \(2,\) are not allowed"):
        reindexed([1, 2], "h,k,l")
