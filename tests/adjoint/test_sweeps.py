"""The angle of the spindle and the range of the rotation: each way to make their derivatives agrees with differences."""

import numpy as np
import pytest
from differences import slope

from adjoint import jacobian, vjp
from nbnumba import Experiment, simulate

SCENE = (
    "-cell 61 47 53 80 95 104 -default_F 100 -lambda 1.1 -distance 90 -pixel 0.4 -detpixels 24 -misset 12 30 47 -phi 7 -osc 3"
    " -spindle_axis 0.3 1 -0.2 -phisteps 4 -phi_sampling mid -oversample 1 -N 6 -nonoise "
)
SCENES = {  # what is added to the flags, and the parameters that are wanted besides
    "one lattice in a step": ("", ()),
    "domains by Sobol's points": ("-mosaic 0.8 -mosaic_domains 4 -mosaic_sampling sobol", ()),
    "domains": ("-mosaic 0.8 -mosaic_domains 5", ()),
    "domains and their spread": ("-mosaic 0.8 -mosaic_domains 5", ("crystal.mosaic_spread_deg",)),
    "several sources": ("-mosaic 0.8 -mosaic_domains 3 -dispersion 2 -dispsteps 3 -oversample 2", ()),
    "stretched domains": ("-mosaic 0.8 -mosaic_domains 3 -cell_spread 0.02 0.01 0.03", ("crystal.mosaic_spread_deg",)),
    "domains about their own axes": ("-mosaic_abc 0.5 0.2 0.9 -mosaic_domains 3", ("crystal.mosaic_a_deg",)),
    "spots alone": ("-gauss_xtal", ()),
    "spots alone, domains": ("-gauss_xtal -mosaic 0.8 -mosaic_domains 5", ()),
    "spots alone, domains and their spread": ("-gauss_xtal -mosaic 0.8 -mosaic_domains 5", ("crystal.mosaic_spread_deg",)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SCENES)
def test_derivatives_are_those_of_the_image(name):
    """By phi and by the range, alone and among other parameters, whichever of them share a path through the kernel."""
    flags, others = SCENES[name]
    experiment = Experiment.from_args((SCENE + flags).split())
    cotangent = np.random.default_rng(1).normal(size=(24, 24))
    names = ["goniometer.phi_deg", "goniometer.osc_deg", *others]

    def along(name):
        value = experiment.value(name)
        return slope(lambda h: np.sum(cotangent * simulate(experiment.replace({name: value + h}))), 0.02, 4)

    expected = {name: along(name) for name in names}
    for wanted in (names, names[1:], names[1:2], names[:1]):
        gradient = vjp(experiment, wanted)[1](cotangent)
        assert [gradient[name] for name in wanted] == pytest.approx([expected[name] for name in wanted], rel=1e-6)
        assert all(gradient[name] != 0.0 for name in wanted)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("precision", ["double", "single"])
def test_no_pixel_remembers_those_before_it(precision):
    """A derivative that is made of others is that of its pixel alone, also if the others are not asked for."""
    flags = "-cell 61 47 53 80 95 104 -default_F 100 -lambda 1.1 -distance 90 -pixel 0.1 -detpixels 96 -misset 12 30 47 -phi 7"
    flags += " -osc 3 -spindle_axis 0.3 1 -0.2 -phisteps 4 -oversample 1 -N 30 -nonoise -mosaic 0.8 -mosaic_domains 5"
    experiment, name = Experiment.from_args(flags.split()), "goniometer.osc_deg"
    whole = jacobian(experiment, [name], precision=precision)[1][..., 0]
    part = jacobian(experiment, [name], precision=precision, roi=(40, 95, 48, 95))[1][..., 0]
    assert np.array_equal(part[48:, 40:], whole[48:, 40:]) and np.abs(whole).max() > 0.0
    among = jacobian(experiment, ["goniometer.phi_deg", name, "crystal.a_A"], precision=precision)[1][..., 1]
    assert np.array_equal(whole, among)
