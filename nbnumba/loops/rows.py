"""The rows of a tile of fast pixels of one row: what a loop over its pixels hands on to the next."""

TILE = 128

(
    TOTAL, WATER, OMEGA, POLARIZATION, CAPTURE, SEEN, D_X, D_Y, D_Z, AIRPATH, Q_X, Q_Y, Q_Z, LIVE, BACKGROUND, WEIGHT, FACTOR,
    SUM, SPARE, LATTICE, PLACE, PIXEL, ROWS_END,
) = range(0, 23 * TILE, TILE)  # fmt: skip
"""Where the rows of a tile begin: one number for each of TILE pixels. Of one array with constant offsets the compiler sees by
itself that rows do not overlap, and vectorises."""
