"""What is left out of a sum over lattices: patches of the tile that no reflection of a lattice is near to (F10a).

A term counts where its remoteness is at most crystal.most_remote, whatever tile it is computed in. A patch, or the whole tile,
is left out if the least remoteness of all scattering vectors that it may have is larger.
"""

import numpy as np

from nbnumba.loops import ahead
from nbnumba.loops.blocks import PATCH, PATCHES, bound_row
from nbnumba.loops.indices import cell_vectors, extended_q, nearest_hkl, nine_numbers, nine_to_wide
from nbnumba.loops.interpolation import interpolate
from nbnumba.loops.lattices import weaken
from nbnumba.loops.rows import (
    AMPLITUDE,
    BEYOND,
    CENTRE_X,
    CENTRE_Y,
    CENTRE_Z,
    D_X,
    D_Y,
    D_Z,
    EDGES,
    HALF_FAST,
    HALF_SLOW,
    LATTICE_FACTOR,
    LIMIT,
    MIDDLE_FAST,
    MIDDLE_SLOW,
    NEAR_LIMIT,
    NEAR_PATCH,
    NEAR_SUM,
    OMEGA,
    Q_X,
    Q_Y,
    Q_Z,
    REMOTENESS,
    SLOT,
    SUM,
    TILE,
)
from nbnumba.stages import real, slack, wide
from nbnumba.stages.beam import scattering_vector
from nbnumba.stages.crystal import to_wide
from nbnumba.stages.culling import (
    directions_in_box,
    index_reach,
    least_distance,
    least_remoteness,
    remoteness,
    remoteness_limit,
    spread_of_directions,
)
from nbnumba.stages.detector import solid_angle
from nbnumba.stages.lattice import lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.records import Scene
from nbnumba.stages.shapes import GAUSS, ROUND, SQUARE, TOPHAT
from nbnumba.stages.structure import slot
from nbnumba.stages.vec3 import dot, scale

RUN = PATCH
"""The lanes of a run, one after another, that the derivative goes over: a patch, or the whole tile where nothing is culled."""
CHUNK = 2 * PATCH
"""The lanes that are computed at once where near patches are put one after another: enough for a loop to vectorise."""
GROUP = 16
"""The number of lattices, one after another, that are bounded together."""
NO_VIEW = 0
"""What bound_rays returns where the boxes are in the tile."""
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""How far the vectors of one lattice lie from themselves."""


def is_culled(scene: Scene) -> bool:
    """Whether terms of a scene may be left out."""
    return scene.crystal.most_remote > 0.0


def bounds_pixels(panel):
    """Whether patches are bounded by where their pixels are: where the backend wants it, for a flat detector."""
    return ahead and not panel.curved


def bound_pixels(tile, panel, crystal, sampling):
    """Write the directions of each patch, of all samples of its pixels, before rays are traced, and its LIMIT (F10a).

    It reads MIDDLE_SLOW to HALF_FAST.
    """
    inner = wide(0.5) - wide(0.5) / wide(sampling.oversample)
    depth = wide(sampling.layers - 1) * panel.layer * wide(0.5)
    for p in range(PATCHES):
        fast = (tile[MIDDLE_FAST + p] + wide(0.5)) * panel.pixel_fast
        slow = (tile[MIDDLE_SLOW + p] + wide(0.5)) * panel.pixel_slow
        half = (tile[HALF_FAST + p] + inner) * panel.pixel_fast, (tile[HALF_SLOW + p] + inner) * panel.pixel_slow, abs(depth)
        directions, nearest = spread_of_directions(panel, (fast, slow, depth), half)
        set_directions(tile, p, directions)
        tile[LIMIT + p] = remoteness_limit(crystal, solid_angle(panel, nearest)) * (wide(1) + slack)


def bound_rays(tile, panel, crystal, sampling):
    """Write the directions of each patch, of one sample of its pixels, from D_X, D_Y, D_Z, as a box (F10a).

    There is nothing to do where bound_pixels has been called and the pixels have no other sample. What it returns is for the
    functions that want `view`: here it says nothing, because all that they need is in the tile.
    """
    if not bounds_pixels(panel) or sampling.layers * sampling.oversample > 1:
        bound_row(tile, D_X, CENTRE_X, EDGES)
        bound_row(tile, D_Y, CENTRE_Y, EDGES + TILE)
        bound_row(tile, D_Z, CENTRE_Z, EDGES + 2 * TILE)
        for p in range(PATCHES):
            middle = tile[CENTRE_X + p], tile[CENTRE_Y + p], tile[CENTRE_Z + p]
            reach = tile[EDGES + p], tile[EDGES + TILE + p], tile[EDGES + 2 * TILE + p]
            set_directions(tile, p, directions_in_box(middle, reach))
            if not bounds_pixels(panel):
                tile[LIMIT + p] = crystal.most_remote
    return NO_VIEW


def set_directions(tile, p, directions):
    """Write CENTRE_X, CENTRE_Y, CENTRE_Z, EDGES and BEYOND of a patch: its directions (spread_of_directions)."""
    centre, (first, second, third), tile[BEYOND + p] = directions
    tile[CENTRE_X + p], tile[CENTRE_Y + p], tile[CENTRE_Z + p] = centre
    tile[EDGES + p], tile[EDGES + TILE + p], tile[EDGES + 2 * TILE + p] = first
    tile[EDGES + 3 * TILE + p], tile[EDGES + 4 * TILE + p], tile[EDGES + 5 * TILE + p] = second
    tile[EDGES + 6 * TILE + p], tile[EDGES + 7 * TILE + p], tile[EDGES + 8 * TILE + p] = third


def directions_of(tile, p):
    """The directions of a patch (spread_of_directions). Reads CENTRE_X, CENTRE_Y, CENTRE_Z, EDGES and BEYOND."""
    edges = (
        (tile[EDGES + p], tile[EDGES + TILE + p], tile[EDGES + 2 * TILE + p]),
        (tile[EDGES + 3 * TILE + p], tile[EDGES + 4 * TILE + p], tile[EDGES + 5 * TILE + p]),
        (tile[EDGES + 6 * TILE + p], tile[EDGES + 7 * TILE + p], tile[EDGES + 8 * TILE + p]),
    )
    return (tile[CENTRE_X + p], tile[CENTRE_Y + p], tile[CENTRE_Z + p]), edges, tile[BEYOND + p]


def beam_of(source, sources):
    """The unit vector along a source, and the inverse of its wavelength, in 1/A."""
    return direction_of(source, sources), wide(1) / sources.wavelength[source]


def direction_of(source, sources):
    """The unit vector along a source."""
    return sources.direction[source, 0], sources.direction[source, 1], sources.direction[source, 2]


def scattered(directions, ray):
    """The scattering vectors of some directions, in 1/A, in the same form: centre, edges, and what is beyond these (F5).

    ray: what beam_of says of a source.
    """
    (x, y, z), edges, beyond = directions
    incident, inverse = ray
    q = (x - incident[0]) * inverse, (y - incident[1]) * inverse, (z - incident[2]) * inverse
    return q, (scale(edges[0], inverse), scale(edges[1], inverse), scale(edges[2], inverse)), (beyond + slack) * inverse


def span_remoteness(crystal, vectors, vectors_reach, span):
    """A lower bound of the remoteness of some scattering vectors from the reflections of some lattices (F10a).

    vectors, vectors_reach: a, b, c of the middle of the lattices, and how far these lie from it, nine numbers each, in A. span:
    what `scattered` returns.
    """
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = vectors
    u_x, u_y, u_z, v_x, v_y, v_z, w_x, w_y, w_z = vectors_reach
    q, edges, beyond = span
    a, b, c = (a_x, a_y, a_z), (b_x, b_y, b_z), (c_x, c_y, c_z)
    return least_remoteness(
        crystal,
        least_distance(dot(a, q), index_reach(a, (u_x, u_y, u_z), q, edges, beyond) + slack),
        least_distance(dot(b, q), index_reach(b, (v_x, v_y, v_z), q, edges, beyond) + slack),
        least_distance(dot(c, q), index_reach(c, (w_x, w_y, w_z), q, edges, beyond) + slack),
    )


def bound_lattices(tile, crystal, vectors, vectors_reach, ray):
    """Write REMOTENESS of each patch from the reflections of one lattice, or of some (F10a). Reads CENTRE_X to BEYOND."""
    for p in range(PATCHES):
        tile[REMOTENESS + p] = span_remoteness(crystal, vectors, vectors_reach, scattered(directions_of(tile, p), ray))


def near_patches(group, tile, ray, crystal, orientations):
    """List the patches of which a term may count under a lattice of the group, and return their number.

    ray: what beam_of says of the source. Writes REMOTENESS and NEAR_PATCH. Reads CENTRE_X to BEYOND.
    """
    centre, reach = nine_numbers(orientations.group, group), nine_numbers(orientations.group_reach, group)
    bound_lattices(tile, crystal, centre, reach, ray)
    return list_near(tile)


def first_near(tile, view, ray, crystal, orientations):
    """The first group of lattices under which a term of the tile may count, and the number of its near patches.

    Where there is none it is the number of groups, and 0. view: what bound_rays returns. The other arguments are those of
    near_patches.
    """
    for group in range(orientations.group.shape[0]):
        count = near_patches(group, tile, ray, crystal, orientations)
        if count > 0:
            return group, count
    return orientations.group.shape[0], 0


def add_near_lattices(tile, view, ray, first, source, sources, crystal, structure, orientations):
    """Add the terms that count, of all lattices, to SUM: lattices.py:add_lattices for a scene that is culled (F10a).

    view: what bound_rays returns. ray: what beam_of says of the source. first: what first_near returns, whose list is in
    NEAR_PATCH. Afterwards Q_X, Q_Y, Q_Z are those of the near patches, one after another.
    """
    lattices, (group, count) = orientations.lattice, first
    while group < orientations.group.shape[0]:
        if count > 0:
            begin = group * GROUP
            end = begin + GROUP if begin + GROUP < lattices.shape[0] else lattices.shape[0]
            if is_wide(count, tile, crystal, cell_vectors(lattices, begin), ray):
                for m in range(begin, end):
                    bound_lattices(tile, crystal, nine_to_wide(cell_vectors(lattices, m)), NOTHING, ray)
                    add_near(tile, list_near(tile), m, m + 1, source, sources, crystal, structure, lattices)
            else:
                add_near(tile, count, begin, end, source, sources, crystal, structure, lattices)
        group += 1
        if group < orientations.group.shape[0]:
            count = near_patches(group, tile, ray, crystal, orientations)


def add_near(tile, count, begin, end, source, sources, crystal, structure, lattices):
    """Add the terms that count, of lattices `begin` to before `end`, to SUM in the first `count` patches of NEAR_PATCH.

    The near patches are put one after another, so that chunks of several are computed at once; what SUM gets is in NEAR_SUM.
    """
    take_near(tile, count, source, sources, crystal)
    chunks = -(-count * PATCH // CHUNK)
    for m in range(begin, end):
        vectors = cell_vectors(lattices, m)
        for chunk in range(chunks):
            near_factors(tile, chunk * CHUNK, crystal, structure, vectors)
        for chunk in range(chunks):
            add_near_terms(tile, chunk * CHUNK, m, structure, vectors)
    for n in range(count):
        first = near_lane(tile, n)
        for i in range(PATCH):
            tile[SUM + first + i] = tile[NEAR_SUM + n * PATCH + i]


def take_near(tile, count, source, sources, crystal):
    """Write Q_X, Q_Y, Q_Z, NEAR_SUM and NEAR_LIMIT of the first `count` patches of NEAR_PATCH, one after another.

    They come from D_X, D_Y, D_Z, SUM and OMEGA. The lanes that are left in the last chunk hold the last patch once more.
    """
    incident, wavelength = direction_of(source, sources), sources.wavelength[source]
    for n in range(-(-count * PATCH // CHUNK) * (CHUNK // PATCH)):
        first, to = near_lane(tile, n if n < count else count - 1), n * PATCH
        for i in range(PATCH):
            q = scattering_vector((tile[D_X + first + i], tile[D_Y + first + i], tile[D_Z + first + i]), incident, wavelength)
            tile[Q_X + to + i], tile[Q_Y + to + i], tile[Q_Z + to + i] = q
            tile[NEAR_SUM + to + i] = tile[SUM + first + i]
            tile[NEAR_LIMIT + to + i] = remoteness_limit(crystal, tile[OMEGA + first + i])


def is_wide(count, tile, crystal, vectors, ray):
    """Whether the lattices of a group are so far apart that it pays to bound each: one is near to far fewer patches than all.

    count: the number of patches that the group is near to. vectors: a, b, c of one of its lattices. Writes REMOTENESS.
    """
    bound_lattices(tile, crystal, nine_to_wide(vectors), NOTHING, ray)
    of_one = 0
    for p in range(PATCHES):
        of_one += tile[REMOTENESS + p] <= tile[LIMIT + p]
    return 5 * of_one < 4 * count


def list_near(tile):
    """Write to NEAR_PATCH the first lanes of the patches in which a term may count, by REMOTENESS; returns their number."""
    count = 0
    for p in range(PATCHES):
        tile[NEAR_PATCH + count] = p * PATCH
        count += tile[REMOTENESS + p] <= tile[LIMIT + p]
    return count


def near_lane(tile, n):
    """The first lane of the n-th near patch. Reads NEAR_PATCH."""
    return int(tile[NEAR_PATCH + n]) & (TILE - 1)  # so that the compiler sees that no lane is negative


def near_factors(tile, first, crystal, structure, vectors):
    """Write LATTICE_FACTOR and SLOT of the chunk that begins at a lane, under one lattice: 0 where the term does not count.

    Each shape that is named has a loop of its own, as in lattices.py:lattice_factors.
    """
    if crystal.shape == SQUARE:
        for n in range(CHUNK):
            i = first + n
            (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
            factor = lattice_factor_square(crystal, dh, dk, dl)
            tile[LATTICE_FACTOR + i] = factor if remoteness(crystal, dh, dk, dl) <= tile[NEAR_LIMIT + i] else wide(0)
            tile[SLOT + i] = slot(structure, h, k, l)
    elif crystal.shape == GAUSS:
        near_radial_factors(tile, first, crystal, structure, vectors)
    elif crystal.shape == ROUND:
        near_radial_factors(tile, first, crystal, structure, vectors)
    elif crystal.shape == TOPHAT:
        near_radial_factors(tile, first, crystal, structure, vectors)
    else:
        near_radial_factors(tile, first, crystal, structure, vectors)
    if crystal.disordered:
        for n in range(CHUNK):
            weaken(tile, first + n, crystal, vectors)


def near_radial_factors(tile, first, crystal, structure, vectors):
    """Do what near_factors does for a shape that is a function of r^2."""
    for n in range(CHUNK):
        i = first + n
        (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
        factor = lattice_factor_radial(crystal, to_wide(dh), to_wide(dk), to_wide(dl))
        tile[LATTICE_FACTOR + i] = factor if remoteness(crystal, dh, dk, dl) <= tile[NEAR_LIMIT + i] else wide(0)
        tile[SLOT + i] = slot(structure, h, k, l)


def add_near_terms(tile, first, m, structure, vectors):
    """Add the terms under lattice m of the chunk that begins at a lane to NEAR_SUM. Reads LATTICE_FACTOR and SLOT."""
    if structure.interpolate:
        for p in range(CHUNK // PATCH):
            interpolate(tile, first + p * PATCH, (0, m), structure, vectors)
        for n in range(CHUNK):
            tile[NEAR_SUM + first + n] += term(tile[AMPLITUDE + first + n], real(tile[LATTICE_FACTOR + first + n]))
    else:
        for n in range(CHUNK):
            amplitude = structure.amplitude[np.uintp(tile[SLOT + first + n])]
            tile[NEAR_SUM + first + n] += term(amplitude, real(tile[LATTICE_FACTOR + first + n]))
