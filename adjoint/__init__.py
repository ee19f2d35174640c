"""adjoint: the derivative of nbnumba. Stage by stage it will hold the mirror of the forward model, derived by hand:

- stages, setup, backends: the same file names as in nbnumba, `f_adj` for `f`;
- parameters: one row per refinable quantity, with its unit, scale and bounds;
- gradient: vjp, jacobian, value_and_grad, normal_equations;
- losses, gradcheck, refine.

Nothing of it is there yet.
"""
