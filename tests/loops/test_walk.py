"""The order of samples: the walk over layers, sub-pixels and sources is written in several places, which have to agree.

The loops are run as plain Python; what they call for each sample is replaced by a function that notes it.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from adjoint.loops import tile as backward
from adjoint.loops.rows import ALL_END
from nbnumba import trace
from nbnumba.backends.compiling import with_globals
from nbnumba.loops import tile as forward
from nbnumba.loops.rows import TILE
from nbnumba.setup.crystals import Contribution
from nbnumba.setup.sampling import sample_order

WALKS = [(1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 4), (2, 3, 2)]
"""Layers, oversampling and sources."""
SOURCES_SEEN_BY = {"illuminate": 2, "scatter": 1, "polarization_adj": 1}
"""Which argument of a function is the number of the source."""


def expected(layers, oversample, sources):
    """Every sample and source in nanoBragg's order: layers outside, then slow and fast sub-pixels, then sources."""
    return list(itertools.product(range(layers), range(oversample), range(oversample), range(sources)))


def noted(function, *args):
    """What a walk goes through: layer, slow and fast sub-pixel of the last ray that it traced, and the source."""
    passes, rays = [], []
    names = dict(function.__globals__)
    for name, value in list(names.items()):
        of_ours = callable(value) and getattr(value, "__module__", "").startswith(("nbnumba.loops", "adjoint.loops"))
        if of_ours or name == "photons":
            names[name] = lambda *_: 0.0
    names["find_fresh"] = lambda *_: False
    names["of_source"] = lambda structure, _: structure
    names["first_near"] = lambda *_: (0, 1)
    names["last_taken"] = lambda _: 10**6
    names["trace_ray"] = lambda tile, layer, slow, fast, *_: rays.append((layer, slow, fast))
    for name, place in SOURCES_SEEN_BY.items():
        if name in names:
            names[name] = lambda *a, place=place: passes.append((*rays[-1], a[place]))
    with_globals(function, names, function.__name__)(*args)
    return passes


def records(layers, oversample, sources):
    """As much of the records of a scene as the walks read."""
    sampling = SimpleNamespace(layers=layers, oversample=oversample, every_capture=False, every_polarization=False)
    sampling.last_capture = False
    beam = SimpleNamespace(background_once=0.0, background_each=0.0, polarized=True, unlit_dark=False, dmin=1.0, fades=False)
    orientations = SimpleNamespace(lattice=None, fresh_lattice=None)
    panel = SimpleNamespace(sensor=False)
    return panel, beam, SimpleNamespace(weight=np.ones(sources)), orientations, sampling


@pytest.mark.parametrize("walk", WALKS)
def test_every_walk_goes_through_the_samples_in_one_order(walk):
    """The image, its derivative, the factors of a pixel, the trace, and what finds first passes and the latch."""
    panel, beam, sources, orientations, sampling = records(*walk)
    tile = np.zeros(ALL_END)
    image = noted(forward.render_tile, tile, panel, beam, None, sources, None, None, orientations, sampling)
    assert image == expected(*walk)
    paths = backward.Paths(True, True, True, True, False, False, False, np.zeros(0, np.uint64))
    given = (panel, beam, None, sources, None, None, orientations, sampling, None, paths)
    assert noted(backward.differentiate_tile, tile, None, *given) == image
    factors = noted(backward.pixel_factors_adj, tile, False, panel, beam, sources, sampling, None)
    assert factors == image
    assert [(*sample, source) for sample in sample_order(sampling) for source in range(walk[2])] == image
    assert TILE > 1


@pytest.mark.parametrize("walk", WALKS)
def test_a_trace_goes_through_the_samples_in_that_order(walk):
    """The walk of a trace, whose samples are noted by their layer, sub-pixels and source."""
    _, _, sources, _, sampling = records(*walk)
    own = SimpleNamespace(scene=SimpleNamespace(sampling=sampling, sources=sources), slow=0, fast=0, _scaling=lambda: [])
    own.contribution = Contribution(None)
    rays = []
    own._trace_ray = lambda *sample: rays.append(sample)
    own._sample = lambda seen, place, number: (number, rays[-1], place)
    samples = trace._Walk.chain(own).samples
    assert [place for _, _, place in samples] == expected(*walk)
    assert all(ray == place[:3] for _, ray, place in samples)
    assert [number for number, _, _ in samples] == list(range(len(samples)))
