"""The rows of a tile: what one loop over its pixels hands on to the next.

A tile is a number of pixels that are near each other (blocks.py). Its working store is one array, in which each quantity has a
row of TILE numbers, one for each pixel. The table says what each row holds, which functions write it and which read it.
"""

TILE = 128

(
    TOTAL, BACKGROUND_TOTAL, OMEGA, POLARIZATION, CAPTURE, EVER_RESOLVED, D_X, D_Y, D_Z, AIRPATH, Q_X, Q_Y, Q_Z, RESOLVED,
    BACKGROUND, WEIGHT, FACTOR, SUM, FRESH_SUM, LATTICE_FACTOR, SLOT, AMPLITUDE, CORNER, LEFT,
    PART_H, PART_K, PART_L, PIXEL_FAST, PIXEL_SLOW, FRESH_PASS, MIDDLE_SLOW, HALF_SLOW, MIDDLE_FAST, HALF_FAST,
    CENTRE_X, CENTRE_Y, CENTRE_Z, BEYOND, LIMIT, REMOTENESS, IS_LIT, LIT_PATCH, NEAR_PATCH, NEAR_SUM, NEAR_LIMIT, EDGES,
) = range(0, 46 * TILE, TILE)  # fmt: skip
ROWS_END = EDGES + 9 * TILE
"""Where the rows of a tile begin. The offsets into the one array are constants, so that the compiler sees by itself that rows
do not overlap, and vectorises. A tile of one pixel, on a card, has the same rows with offsets that are TILE times smaller.

row | what it holds | unit | written by | read by
TOTAL | sum over samples, sources, lattices; in the end the photons (F11) | electrons^2 | end_sum, render_tile | store
BACKGROUND_TOTAL | background of all samples, sources (F12) | electrons^2 | end_sum, count_tile | render_tile, largest_sum
OMEGA | solid angle of the pixel (F3) | sr | trace_ray | weigh, render_tile
POLARIZATION | polarization factor (F6) | 1 | polarize | weigh, render_tile
CAPTURE | fraction of the photons that the sensor layer absorbs (F4) | 1 | trace_ray | weigh, render_tile
EVER_RESOLVED | not 0 once dmin has left in a sample of the pixel, before that 0 (F5) | 1 | weigh | polarize, render_tile
D_X, D_Y, D_Z | unit vector from the crystal to the sample (F2) | 1 | trace_ray | scatter, polarize
AIRPATH | distance from the crystal to the sample (F2) | m | trace_ray | trace_ray
Q_X, Q_Y, Q_Z | scattering vector (F5) | 1/A | scatter | add_background, extended_q
RESOLVED | factor of SUM: 0 by dmin (F5), else 1, or by B (F9g) | 1 | scatter | polarize, weigh, end_sum, count_lattices
BACKGROUND | background of the sample under one source (F12) | electrons^2 | add_background | end_sum, count_tile
WEIGHT | weight of the sample: of its source and of its layer (F10) | 1 | weigh | end_sum, add_each, count_tile, count_lattices
FACTOR | product of the factors that every sample has anew (F10) | 1 | weigh | end_sum, add_each, count_tile, count_lattices
SUM | sum over the table of lattices, in one pass (F10) | electrons^2 | begin_sum, add_lattices, add_each, take_fresh | end_sum
FRESH_SUM | the same over the table of fresh lattices (P1) | electrons^2 | begin_sum, add_lattices, add_each | take_fresh
LATTICE_FACTOR | lattice factor of one lattice (F8) | 1 | add_lattices, radial_factors | add_lattices, add_each, count_lattices
SLOT | index of the nearest reflection's amplitude (F9a) | 1 | add_lattices, radial_factors | add_lattices, count_lattices
AMPLITUDE | amplitude of one lattice (F9) | electrons | interpolate, add_lattices, count_lattices | add_each, add_near_terms
CORNER | index of the first of 64 amplitudes around the cell of the point, or -1, -2 (F9b) | 1 | find_corners | begin_cells
LEFT | the same, and -1 where the cell has been summed (F9b) | 1 | begin_cells, sum_cell | interpolate, sum_cell
PART_H, PART_K, PART_L | where in its cell the point is, from 0 to 1 (F9b) | 1 | find_corners | sum_cell
PIXEL_FAST, PIXEL_SLOW | numbers of the pixel along the fast and the slow axis | 1 | set_pixel | fast_of, slow_of
FRESH_PASS | number of the pass of the pixel that has fresh lattices, or -1 (P1) | 1 | find_fresh | some_fresh, take_fresh
CENTRE_X, CENTRE_Y, CENTRE_Z | middle of the directions of a patch, one for each (F10a) | 1 | set_directions | directions_of
EDGES | three vectors: how far its directions lie from the middle, nine rows (F10a) | 1 | set_directions | directions_of
BEYOND | how far its directions lie beyond these, along each axis (F10a) | 1 | set_directions | directions_of
LIMIT | largest remoteness at which a term of a patch may count (F10a) | 1 | bound_pixels, bound_rays | list_near
REMOTENESS | least remoteness of a patch from the reflections of one lattice, or of some (F10a) | 1 | bound_lattices | list_near
IS_LIT | 1 where a patch may have photons, else 0 (F10a) | 1 | mark_lit | list_lit, is_lit_block
LIT_PATCH | first lanes of the patches that may have photons, one after another (F10a) | 1 | list_lit, list_all | lit_lane
NEAR_PATCH | first lanes of the patches in which a term may count, one after another (F10a) | 1 | list_near | near_lane
NEAR_LIMIT | largest remoteness at which a term counts, of the near patches (F10a) | 1 | take_near | near_factors
NEAR_SUM | SUM of the near patches, one after another (F10a) | electrons^2 | take_near, add_near_terms | add_near
MIDDLE_SLOW, MIDDLE_FAST | middle of the pixels of a patch, one for each (F10a) | 1 | place_patches, bound_row | bound_pixels
HALF_SLOW, HALF_FAST | how far the pixels of a patch lie from its middle (F10a) | 1 | place_patches, bound_row | bound_pixels
"""
