"""A check whether there is an NVIDIA card to run tests on."""

from nbnumba import InputError
from nbnumba.backends import card


def no_card() -> str:
    """The reason why tests of a card cannot run; empty if there is a card."""
    try:
        card.check()
    except InputError as error:
        return f"not run: {error}"
    return ""
