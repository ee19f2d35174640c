"""The loops that call the stages: over samples, sources and lattices, for the pixels of a tile. They import no compiler."""
