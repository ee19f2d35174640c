"""Whether there is an NVIDIA card to run tests on."""

from nbnumba import InputError
from nbnumba.backends import card


def no_card() -> str:
    """Why tests of a card have nothing to run on; empty where there is one."""
    try:
        card.check()
    except InputError as error:
        return f"not run: {error}"
    return ""
