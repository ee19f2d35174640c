"""Numbers at the edge of what a computer holds: an image of finite numbers, or one sentence that names a field."""

import itertools
import random
import re
import warnings

import numpy as np
import pytest

from nbnumba import Experiment, InputError, simulate
from nbnumba.setup import sampling, scene
from nbnumba.simulate import check_brightness
from nbnumba.statements import PART_NAMES

PARTS = {name: part for part, name in PART_NAMES.items()}
NUMBERS = (0.0, -0.0, 5e-324, 1e-300, 1e-200, 1e-100, 1e-30, 1e-12, 1e-6, 1e6, 1e12, 1e30, 1e200, 1e308)
NUMBERS += (-1.0, -1e12, -1e30, -1e308, 2.0**31, 10**22, 10**400)
BASE = {
    "crystal": {
        **{"a_A": 50.0, "b_A": 60.0, "c_A": 70.0, "alpha_deg": 80.0, "beta_deg": 95.0, "gamma_deg": 100.0},
        **{"n_a": 3.0, "n_b": 4.0, "n_c": 5.0, "mosaic_spread_deg": 0.3, "mosaic_domains": 2},
    },
    "structure_factors": {"default_F": 100.0},
    "beam": {"hdivrange_mrad": 1.0, "hdivsteps": 2, "vdivrange_mrad": 1.0, "vdivsteps": 2, "dispersion_percent": 1.0},
    "detector": {"pixels": (2, 2), "pixel_mm": 1.0, "thickness_um": 100.0, "attenuation_um": 200.0, "rotx_deg": 1.0},
    "goniometer": {"phi_deg": 1.0, "osc_deg": 1.0, "phisteps": 2},
    "background": {"water_um": 1.0},
    "sampling": {"oversample": 1},
}
OTHERS = (
    {},
    {"detector": {"convention": "custom"}},
    {"crystal": {"shape": "gauss"}},
    {"crystal": {"shape": "round"}},
    {"detector": {"curved": True}},
    {"sampling": {"oversample": None}},
    {"sampling": {"oversample": 1, "c_parity": "all"}},
)
"""What else an experiment of several extreme numbers has."""

TABLES = {
    "sources": lambda x: ([(x, x, x, 1, 1)], [(-1, 0, 0, x, 1)], [(-1, 0, 0, 1, x)], [(-1, x, 0, x, x), (-1, 0, 0, 1, 1)]),
    "table": lambda x: ([(0, 1), (x, 1)], [(0, x), (1, 1)], [(x, 1), (2 * x, 1)], [(0, 1), (1, 2), (1 + x, x), (2, 1)]),
    "roi": lambda x: ((x, x, 0, 1),),
    "size_mm": lambda x: ((x, x), (x, 1)),
    "F": lambda x: ([x], [-x]),
}
"""Fields of many numbers, and how one extreme number may be among them."""

FIELDS = [
    *((part, name) for part, kind in PARTS.items() for name in (*kind.POSITIVE, *kind.NOT_NEGATIVE, *kind.FINITE)),
    *((part, name) for part, kind in PARTS.items() for name in (*kind.COUNTS, *kind.VECTORS, *kind.DIRECTIONS)),
    *(("crystal", name) for name in ("n_a", "n_b", "n_c", "misset_seed", "mosaic_seed")),
    *(("beam", "polarization"), ("beam", "sources"), ("detector", "attenuation_um"), ("detector", "size_mm")),
    *(("background", "table"), ("sampling", "roi"), ("structure_factors", "F")),
]


def values(part, name, x):
    """The values of a field that contain that number."""
    if name in TABLES:
        return TABLES[name](x)
    if name in (*PARTS[part].VECTORS, *PARTS[part].DIRECTIONS):
        return (x, 0.0, 0.0), (x, x, x), (0.0, x, 1.0)
    return (x,)


def outcome(changes, other=None):
    """The image of an experiment with those fields, checked, or the sentence that refuses it, checked."""
    stated = {part: dict(fields) for part, fields in BASE.items()}
    for (part, name), value in [*changes, *(((p, n), v) for p, fields in (other or {}).items() for n, v in fields.items())]:
        stated[part][name] = value
        if name == "F":
            stated[part]["hkl"] = [(0, 0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        try:
            image = simulate(Experiment(**{part: PARTS[part](**fields) for part, fields in stated.items()}), max_hours=1e-4)
        except InputError as error:
            assert re.search(rf"\b({'|'.join(PARTS)})\b", str(error)), error
            assert "allowed" in str(error) and "\n" not in str(error) and len(str(error)) < 500, error
            return str(error)
    assert np.isfinite(image).all(), changes
    return image


@pytest.mark.parametrize("part, name", FIELDS)
def test_one_extreme_number(part, name, one_thread):
    for x in NUMBERS:
        for value in values(part, name, x):
            for other in OTHERS[:2]:
                outcome([((part, name), value)], other)


@pytest.mark.long
def test_several_extreme_numbers(one_thread):
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    for _ in range(3000):
        fields = drawn.sample(FIELDS, drawn.choice([2, 2, 3]))
        changes = [(field, drawn.choice(values(*field, drawn.choice(NUMBERS)))) for field in fields]
        outcome(changes, drawn.choice(OTHERS))


@pytest.mark.parametrize("dark", [{"fluence": 0.0}, {"sources": [(-1, 0, 0, 1, 0), (-1, 0, 0, 1, 0)]}])
def test_no_light_on_a_sensor_that_reaches_the_crystal(dark, one_thread):
    changes = [(("beam", name), value) for name, value in dark.items()]
    changes += [(("detector", name), 0.01) for name in ("distance_mm", "close_distance_mm")]
    outcome(changes, {"crystal": {"shape": "gauss"}})


def test_angles_next_to_a_flat_cell(one_thread):
    near = (1e-12, 1e-6, 1.0, 60.0, 119.999999999, 120.0, 179.99999999)
    for angles in itertools.product(near, repeat=3):
        changes = [(("crystal", f"{name}_deg"), angle) for name, angle in zip(("alpha", "beta", "gamma"), angles)]
        outcome(changes)


VECTORS = {
    ("beam", "direction"): (1.0, 0.1, 0.0),
    ("beam", "polarization_axis"): (0.0, 0.3, 1.0),
    ("detector", "fast_axis"): (0.0, 0.1, 1.0),
    ("detector", "slow_axis"): (0.1, -1.0, 0.0),
    ("detector", "twotheta_axis"): (0.0, 1.0, 0.2),
    ("goniometer", "spindle_axis"): (0.1, 0.2, 1.0),
    ("beam", "sources"): (-1.0, 0.1, 0.2),
}


@pytest.mark.parametrize("part, name", VECTORS)
@pytest.mark.parametrize("length", [1e-320, 1e-200, 1e-160, 1e160, 1e200, 1e307])
def test_vectors_of_any_length_are_directions(part, name, length, one_thread):
    def image(scale):
        vector = tuple(scale * x for x in VECTORS[part, name])
        value = [(*vector, 1.0, 1.0)] if name == "sources" else vector
        return outcome([((part, name), value)], {"detector": {"convention": "custom", "twotheta_deg": 3.0}})

    # Of a vector of 1e-320 some three digits are there.
    assert np.allclose(image(length), image(1.0), rtol=1e-12 if length > 1e-300 else 0.05)


def built():
    words = "-cell 50 -default_F 1 -detpixels 2 -water 1 -detector_thick 100 -detector_abs 100"
    experiment = Experiment.from_args(words.split())
    return scene.build(experiment, sampling.window((2, 2), None, None))


@pytest.mark.parametrize(
    "part, name, field",
    [
        ("crystal", "metric_hh", "crystal.n_a"), ("panel", "absorption", "detector.thickness_um"),
        ("beam", "photons", "beam.fluence"), ("beam", "background_each", "background.water_um"),
        ("sources", "wavelength", "beam.sources"), ("orientations", "lattice", "crystal.a_A"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_records_that_are_not_finite_are_refused_by_what_they_are_made_from(part, name, field, bad):
    whole = built()
    record = getattr(whole, part)
    wrong = whole._replace(**{part: record._replace(**{name: np.full(np.shape(getattr(record, name)), bad)})})
    with pytest.raises(InputError, match=re.escape(field)):
        scene.check_finite(wrong)


def test_an_image_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="beam.fluence"):
        check_brightness(np.array([[1.0, np.inf]]), "double")
    with pytest.raises(InputError, match="precision"):
        check_brightness(np.array([[1.0, np.nan]]), "mixed")


@pytest.mark.parametrize("words", ["-N 1000000000 -cell 100000", "-N 100000 -lambda 1e-9", "-cell 1e9 -lambda 1e-6"])
def test_interference_without_digits_is_refused(words):
    words = f"-cell 50 -default_F 1 -detpixels 2 -oversample 1 {words}".split()
    with pytest.raises(InputError, match="crystal.n_a"):
        simulate(Experiment.from_args(words))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_pixels_whose_sum_no_number_holds_are_an_image(precision):
    """Without a warning, because each of them is a number."""
    image = np.full((3, 3), 1e308)
    check_brightness(image, precision)
