"""The loops that call the stages and their mirrors, for the pixels of a tile. They import no compiler."""
