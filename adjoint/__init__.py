"""adjoint: the derivative of nbnumba, derived by hand, stage by stage (specs/adjoint.md)."""

from adjoint import losses
from adjoint.gradcheck import gradcheck
from adjoint.gradient import jacobian, normal_equations, value_and_grad, vjp
from adjoint.parameters import PARAMETERS, VECTORS, cell_parameters, pack, unpack
from adjoint.refine import refine
from adjoint.refinement.phases import Phase
from adjoint.refinement.result import Fit, Refinement, Step

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
