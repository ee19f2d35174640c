"""What adjoint.refine is made of (specs/refine.md)."""
