"""The mirrors of nbnumba's stages: file by file, function by function, `f_adj` for `f` (specs/adjoint.md)."""
