"""The drivers: loops over pixels and launches, one file per kind of machine. They hold no physics."""
