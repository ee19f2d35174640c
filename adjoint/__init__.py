"""adjoint: the derivative of nbnumba, derived by hand, stage by stage (specs/adjoint.md)."""

from adjoint import losses
from adjoint.gradcheck import gradcheck
from adjoint.gradient import jacobian, normal_equations, value_and_grad, vjp
from adjoint.parameters import PARAMETERS, cell_parameters
from adjoint.refine import refine
from adjoint.refinement.phases import Phase
from adjoint.refinement.result import Fit, Refinement, Step
from adjoint.variables import pack, unpack
from nbnumba.setup.values import VECTORS

__all__ = [
    "Fit",
    "PARAMETERS",
    "Refinement",
    "Phase",
    "Step",
    "VECTORS",
    "cell_parameters",
    "gradcheck",
    "jacobian",
    "losses",
    "normal_equations",
    "pack",
    "refine",
    "unpack",
    "value_and_grad",
    "vjp",
]
