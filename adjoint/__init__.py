"""adjoint: the derivative of nbnumba, derived by hand, stage by stage (specs/adjoint.md)."""

from adjoint import losses
from adjoint.gradcheck import gradcheck
from adjoint.gradient import jacobian, normal_equations, value_and_grad, vjp
from adjoint.merge import Merging, default_shot_parameters, merge_shots
from adjoint.parameters import PARAMETERS, cell_parameters
from adjoint.refine import refine
from adjoint.refine_series import SeriesRefinement, default_parameters, default_still_parameters, refine_series
from adjoint.refinement.phases import Phase
from adjoint.refinement.result import Fit, Refinement, Step
from adjoint.series.images import SeriesImage
from adjoint.variables import pack, unpack
from nbnumba.setup.values import VECTORS

__all__ = [
    "Fit",
    "Merging",
    "PARAMETERS",
    "Refinement",
    "Phase",
    "SeriesImage",
    "SeriesRefinement",
    "Step",
    "VECTORS",
    "cell_parameters",
    "default_parameters",
    "default_shot_parameters",
    "default_still_parameters",
    "gradcheck",
    "jacobian",
    "losses",
    "merge_shots",
    "normal_equations",
    "pack",
    "refine",
    "refine_series",
    "unpack",
    "value_and_grad",
    "vjp",
]
