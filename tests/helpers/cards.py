"""A check whether there is an NVIDIA card to run tests on, and what the simulator of one needs."""

import threading

from nbnumba import InputError
from nbnumba.backends import card


def no_card() -> str:
    """The reason why tests of a card cannot run; empty if there is a card."""
    try:
        card.check()
    except InputError as error:
        return f"not run: {error}"
    return ""


class OneByOne(dict):
    """A dictionary of which one thread at a time looks up a key, and sets it if it was not there."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def get(self, key):
        self.lock.acquire()
        value = super().get(key)
        if value is not None:
            self.lock.release()
        return value

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.lock.release()


def share_memory_once():
    """Let the simulator's threads ask for shared memory one by one. Two at once get an array each, which no card gives them."""
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    begin = FakeCUDAShared.__init__

    def begin_once(self, size):
        begin(self, size)
        self._allocations = OneByOne()

    FakeCUDAShared.__init__ = begin_once
