"""The version of nbnumba and adjoint."""

VERSION = "0.1.0"
