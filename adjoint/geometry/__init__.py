"""The mirror of nbnumba.geometry: the derivatives of cells and rotations."""
