"""The rows of a tile: what one loop over its pixels hands on to the next.

A tile is a number of pixels that are near each other (blocks.py). Its working store is one array, in which each quantity has a
row of TILE numbers, one for each pixel. The table says what each row holds, which functions write it and which read it.
"""

TILE = 128

(
    TOTAL, BACKGROUND_TOTAL, OMEGA, POLARIZATION, CAPTURE, EVER_RESOLVED, D_X, D_Y, D_Z, AIRPATH, Q_X, Q_Y, Q_Z, RESOLVED,
    BACKGROUND, WEIGHT, FACTOR, SUM, FRESH_SUM, LATTICE_FACTOR, SLOT, PIXEL_FAST, PIXEL_SLOW,
    FRESH_PASS, CENTRE_X, CENTRE_Y, CENTRE_Z, REACH_X, REACH_Y, REACH_Z, REMOTENESS,
    NEAR_PATCH, ROWS_END,
) = range(0, 33 * TILE, TILE)  # fmt: skip
"""Where the rows of a tile begin. The offsets into the one array are constants, so that the compiler sees by itself that rows
do not overlap, and vectorises. A tile of one pixel, on a card, has the same rows with offsets that are TILE times smaller.

row | what it holds | unit | written by | read by
TOTAL | sum over samples, sources, lattices; in the end the photons (F11) | electrons^2 | end_sum, render_tile | store
BACKGROUND_TOTAL | sum of the background over samples and sources (F12) | electrons^2 | end_sum, render_tile | render_tile
OMEGA | solid angle of the pixel (F3) | sr | trace_ray | weigh, render_tile
POLARIZATION | polarization factor (F6) | 1 | polarize | weigh, render_tile
CAPTURE | fraction of the photons that the sensor layer absorbs (F4) | 1 | trace_ray | weigh, render_tile
EVER_RESOLVED | 1 once dmin has left in a sample of the pixel, before that 0 (F5) | 1 | weigh | polarize, render_tile
D_X, D_Y, D_Z | unit vector from the crystal to the sample (F2) | 1 | trace_ray | scatter, polarize
AIRPATH | distance from the crystal to the sample (F2) | m | trace_ray | trace_ray
Q_X, Q_Y, Q_Z | scattering vector (F5) | 1/A | scatter | add_background, extended_q
RESOLVED | 1 where dmin leaves in the sample, else 0 (F5) | 1 | scatter | polarize, weigh, end_sum
BACKGROUND | background of the sample under one source (F12) | electrons^2 | add_background | end_sum
WEIGHT | weight of the sample: of its source and of its layer (F10) | 1 | weigh | end_sum, add_each
FACTOR | product of the factors that are taken anew at every sample (F10) | 1 | weigh | end_sum, add_each
SUM | sum over the table of lattices, in one pass (F10) | electrons^2 | begin_sum, add_lattices, add_each, take_fresh | end_sum
FRESH_SUM | the same over the table of fresh lattices (P1) | electrons^2 | begin_sum, add_lattices, add_each | take_fresh
LATTICE_FACTOR | lattice factor of one lattice (F8) | 1 | add_lattices, radial_factors | add_lattices, add_each
SLOT | index of the nearest reflection among the amplitudes (F9a) | 1 | add_lattices, radial_factors | add_lattices, add_each
PIXEL_FAST, PIXEL_SLOW | numbers of the pixel along the fast and the slow axis | 1 | set_pixel | fast_of, slow_of
FRESH_PASS | number of the pass of the pixel that has fresh lattices, or -1 (P1) | 1 | find_fresh | some_fresh, take_fresh
CENTRE_X, CENTRE_Y, CENTRE_Z | middle of the directions D of a patch, one for each patch (F10a) | 1 | bound_row | bound_lattices
REACH_X, REACH_Y, REACH_Z | how far the directions of a patch lie from its middle (F10a) | 1 | bound_row | bound_lattices
REMOTENESS | least remoteness of a patch from the reflections of one lattice (F10a) | 1 | bound_lattices | list_near
NEAR_PATCH | first lanes of the patches in which a term may count, one after another (F10a) | 1 | list_near | add_near_lattices
"""
