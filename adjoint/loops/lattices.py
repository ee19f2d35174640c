"""The loop over the table of lattices: the sum over lattices (F8 to F10) and its derivative (A7 to A10).

For each lattice there are several loops over the pixels of the tile: one for the look-up, which does not vectorise, one for
the terms and their derivatives, and one for what the motions of the lattice and of q add to the channels.
"""

import numpy as np  # noqa: I001

from adjoint.loops.amplitude_table import add_entry, amplitude_adj, collect_terms, enter_interpolated, listed
from adjoint.loops.rows import (
    CELL_SPREADS, CELLS, D_HKL, DISORDER, HKL_BAR, LANES, LATTICE_ANGLES, METRIC, OSC, Q_BAR, SCALE, SPREAD, SWEPT,
    VECTORS, add3, add_scaled3, set3, three,
)  # fmt: skip
from adjoint.parameters import OF_OSC, OF_SPREAD
from adjoint.stages.crystal import indices_adj, rotate_back
from adjoint.stages.lattice import disorder_exponent_adj, lattice_factor_radial_adj, lattice_factor_square_adj
from adjoint.stages.pixel import term_adj
from adjoint.stages.structure import weighted_sum_adj
from nbnumba.loops import culled
from nbnumba.loops.blocks import PATCH
from nbnumba.loops.indices import cell_vectors, extended_q, fractional_hkl, nearest_hkl, nine_numbers, nine_to_wide
from nbnumba.loops.interpolation import LATCHED, UNSURROUNDED, begin_cells, interpolate
from nbnumba.loops.rows import (
    AMPLITUDE, CORNER, LATTICE_FACTOR, LEFT, NEAR_PATCH, OMEGA, PART_H, PART_K, PART_L, SLOT, Q_X, SUM, TILE,
)  # fmt: skip
from nbnumba.loops.patches import GROUP, NOTHING, RUN, bound_lattices, is_wide, list_near, near_lane, near_patches
from nbnumba.stages import real, wide
from nbnumba.stages.crystal import to_extended, to_wide
from nbnumba.stages.culling import remoteness, remoteness_limit
from nbnumba.stages.elementary import decay
from nbnumba.stages.lattice import disorder_exponent, disorder_factor, lattice_factor_radial, lattice_factor_square
from nbnumba.stages.pixel import term
from nbnumba.stages.shapes import GAUSS, SQUARE
from nbnumba.stages.structure import slot, surrounding
from nbnumba.stages.vec3 import cross, dot

IN_TURN, AT_ONCE, BY_STEPS = range(3)
"""How the derivative by the range of the rotation is made (A7b): lattice by lattice, like that by any other angle; lattice by
lattice with what all have in common, where each is alone in its step; or after each step, from the change of VECTORS."""


def differentiate_lattices(tile, table, lanes, ray, crystal, structure, orientations, motions, paths):
    """Add the terms of all lattices of a table to SUM, and their derivatives to the channels and to Q_BAR.

    It reads the scattering vector Q_X, Q_Y, Q_Z, and SCALE, by which a term counts in the pixel's sum. SUM gets the bare terms;
    derivatives are those of the terms times SCALE. In a scene that is culled, a lattice is summed over the patches that it is
    near to (F10a). lanes: a record Lanes, which says which table it is, and the lanes whose derivatives by amplitudes are
    entered. ray: what beam_of says of the source.
    """
    lattices = orientations.fresh_lattice if lanes.fresh else orientations.lattice
    moving = motions_of_table(motions, lanes.fresh)
    steps, sweep = motions.osc_rates.shape[0], kind_of_sweep(lattices.shape[0], motions.osc_rates.shape[0], paths)
    domains = lattices.shape[0] // steps if steps else lattices.shape[0]
    if sweep != IN_TURN:
        begin_sweep(tile, sweep, motions)
    runs, is_single = 1, False
    tile[NEAR_PATCH] = 0.0
    for m in range(lattices.shape[0]):
        vectors = cell_vectors(lattices, m)
        if culled:
            if m % GROUP == 0:
                runs = near_patches(m // GROUP, tile, ray, crystal, orientations)
                is_single = runs > 0 and is_wide(runs, tile, crystal, vectors, ray)
            if is_single:
                bound_lattices(tile, crystal, nine_to_wide(vectors), NOTHING, ray)
                runs = list_near(tile)
        if runs > 0:
            differentiate_lattice(tile, runs, table, lanes, m, sweep, vectors, crystal, structure, moving, paths)
        if sweep == BY_STEPS and (m + 1) % domains == 0:
            add_sweep_of_step(tile, motions.spindle, motions.osc_rates[m // domains, int(lanes.fresh)])


def motions_of_table(motions, fresh):
    """How the lattices of a table move: rotations, rotation_rates and osc_rates, stretches and stretch_rates, as in Motions."""
    rotations = motions.fresh_rotations if fresh else motions.rotations
    rates = motions.fresh_rotation_rates if fresh else motions.rotation_rates
    return rotations, rates, motions.osc_rates, motions.stretches, motions.stretch_rates


def kind_of_sweep(count, steps, paths):
    """How the derivative by the range of the rotation is made of so many lattices of phi steps: IN_TURN, AT_ONCE or BY_STEPS.

    Where it is not wanted, or lattices are turned about axes of their own, so that no rate of a step says how, and steps is 0:
    IN_TURN, as the derivative by any other angle.
    """
    if not paths.sweep or steps == 0:
        return IN_TURN
    if count == steps and not paths.lattice_angles:
        return AT_ONCE
    return IN_TURN if culled else BY_STEPS


def differentiate_lattice(tile, runs, table, lanes, m, sweep, vectors, crystal, structure, moving, paths):
    """Add the terms of lattice m to SUM, and their derivatives to the channels and to Q_BAR, in some lanes.

    look_up writes D_HKL, SLOT and AMPLITUDE, which interpolate_runs overwrites where amplitudes are interpolated. square_terms
    or radial_terms makes AMPLITUDE 0 where a term does not count, adds to SUM and CELLS (and METRIC) and writes HKL_BAR;
    interpolate_adj adds the slope of interpolated amplitudes to HKL_BAR. From HKL_BAR follow CELL_SPREADS, if `paths` asks for
    spreads of the cell, and by add_motion Q_BAR and VECTORS, with the angles that `paths` asks for. Derivatives by amplitudes
    go to the amplitude table. runs: the number of runs of lanes, which begin where NEAR_PATCH says. sweep: what kind_of_sweep
    returns. vectors: a, b, c of the lattice. moving: what motions_of_table returns.
    """
    rotations, rates, osc_rates, stretches, stretch_rates = moving
    look_up(tile, runs, structure, vectors)
    if structure.interpolate:
        interpolate_runs(tile, runs, (lanes.pass_index, m), structure, vectors)
    if crystal.disordered:
        weaken_amplitudes(tile, runs, crystal, vectors)
    if crystal.shape == SQUARE:
        square_terms(tile, runs, crystal)
    elif crystal.shape == GAUSS:  # a loop of its own, in which the compiler knows the shape
        radial_terms(tile, runs, crystal)
    else:
        radial_terms(tile, runs, crystal)
    if crystal.disordered:
        weaken_adj(tile, runs, crystal, vectors)
    if structure.interpolate:
        interpolate_adj(tile, runs, table, lanes, structure, paths)
    elif paths.reflections:
        collect_terms(tile, runs, table, lanes)
    if paths.cell_spreads:
        add_cell_spreads(tile, runs, vectors, stretch_rates, m)
    lattice, rotation = nine_to_wide(vectors), nine_numbers(rotations, m)
    if stretches.shape[0] > 1:
        lattice = remove_stretches(tile, runs, lattice, stretches, m)
    if sweep == AT_ONCE:
        add_motions_and_sweep(tile, runs, lattice, rotation, osc_rates[m, int(lanes.fresh)])
    elif osc_rates.shape[0] > 0 and (paths.lattice_angles or (culled and paths.sweep)):
        add_motions_and_spread(tile, runs, lattice, rotation, rates, m)
    elif paths.geometry or paths.vectors or paths.lattice_angles or paths.sweep:
        add_motions(tile, runs, lattice, rotation)
        if paths.lattice_angles and osc_rates.shape[0] == 0:
            add_angles(tile, runs, lattice, rates, m)


def look_up(tile, runs, structure, vectors):
    """Write D_HKL and SLOT of the nearest reflection, and its AMPLITUDE (F7, F9a), from Q_X, Q_Y, Q_Z."""
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            (dh, h), (dk, k), (dl, l) = nearest_hkl(vectors, extended_q(tile, i))
            set3(tile, D_HKL, i, (to_wide(dh), to_wide(dk), to_wide(dl)))
            tile[SLOT + i] = slot(structure, h, k, l)
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            tile[AMPLITUDE + i] = structure.amplitude[np.uintp(tile[SLOT + i])]


def extended_distances(tile, i):
    """The distances to the nearest reflection in lane i: three extended numbers. Reads D_HKL."""
    dh, dk, dl = three(tile, D_HKL, i)
    return to_extended(dh), to_extended(dk), to_extended(dl)


def drop_remote(tile, i, crystal):
    """Set AMPLITUDE of lane i to 0 where a term is too remote to count (F10a), by D_HKL: so are its derivatives."""
    dh, dk, dl = extended_distances(tile, i)
    counts = remoteness(crystal, dh, dk, dl) <= remoteness_limit(crystal, tile[OMEGA + i])
    tile[AMPLITUDE + i] = tile[AMPLITUDE + i] if counts else 0.0


def square_terms(tile, runs, crystal):
    """Add the terms of a parallelepiped to SUM, and their derivatives by the numbers of cells to CELLS (A8, A10).

    It writes LATTICE_FACTOR, and HKL_BAR, the derivative by h, k, l; both derivatives are times SCALE. It reads D_HKL, which is
    small, so that `wide` has all the digits that the difference of Miller indices needs (G2), AMPLITUDE and SCALE.
    """
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            if culled:
                drop_remote(tile, i, crystal)
            dh, dk, dl = extended_distances(tile, i)
            amplitude, factor = real(tile[AMPLITUDE + i]), lattice_factor_square(crystal, dh, dk, dl)
            tile[LATTICE_FACTOR + i] = factor
            tile[SUM + i] += term(amplitude, factor)
            lattice_factor_bar = term_adj(amplitude, factor, real(tile[SCALE + i]))[1]
            h_bar, k_bar, l_bar, by_a, by_b, by_c = lattice_factor_square_adj(crystal, dh, dk, dl, lattice_factor_bar)
            set3(tile, HKL_BAR, i, (h_bar, k_bar, l_bar))
            add3(tile, CELLS, i, (by_a, by_b, by_c))


def radial_terms(tile, runs, crystal):
    """Add the terms of a shape that is a function of r^2 to SUM, and their derivatives to CELLS and METRIC (specs/shapes.md).

    It writes and reads what square_terms does. CELLS gets the derivatives by the numbers of cells with r^2 held constant; r^2
    depends on these through its metric, by which the derivatives go to METRIC.
    """
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            if culled:
                drop_remote(tile, i, crystal)
            dh, dk, dl = three(tile, D_HKL, i)
            amplitude, factor = tile[AMPLITUDE + i], lattice_factor_radial(crystal, dh, dk, dl)
            tile[LATTICE_FACTOR + i] = factor
            tile[SUM + i] += term(amplitude, factor)
            lattice_factor_bar = term_adj(amplitude, factor, tile[SCALE + i])[1]
            d_bar, cells_bar, metric_bar = lattice_factor_radial_adj(crystal, dh, dk, dl, lattice_factor_bar)
            set3(tile, HKL_BAR, i, d_bar)
            add3(tile, CELLS, i, cells_bar)
            add3(tile, METRIC, i, (metric_bar[0], metric_bar[1], metric_bar[2]))
            add3(tile, METRIC + 3 * TILE, i, (metric_bar[3], metric_bar[4], metric_bar[5]))


def weaken_amplitudes(tile, runs, crystal, vectors):
    """Multiply AMPLITUDE by the factor of the B factors (F9g). Reads Q_X, Q_Y, Q_Z."""
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            h, k, l = fractional_hkl(vectors, extended_q(tile, i))
            tile[AMPLITUDE + i] = tile[AMPLITUDE + i] * disorder_factor(crystal, h, k, l)


def weaken_adj(tile, runs, crystal, vectors):
    """Add to HKL_BAR and DISORDER the derivatives of the terms through the factor of the B factors (A9d).

    A term is (F F_latt exp(-w))^2, so that its derivative by w is -2 times it. AMPLITUDE is F exp(-w); LATTICE_FACTOR is
    multiplied by exp(-w / 2), so that amplitude_adj is the derivative by F, which is 2 F F_latt^2 exp(-2 w).
    """
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            h, k, l = fractional_hkl(vectors, extended_q(tile, i))
            exponent_bar = -wide(2) * term(tile[AMPLITUDE + i], tile[LATTICE_FACTOR + i]) * tile[SCALE + i]
            hkl_bar, bars = disorder_exponent_adj(crystal, h, k, l, exponent_bar)
            add3(tile, HKL_BAR, i, hkl_bar)
            add3(tile, DISORDER, i, (bars[0], bars[1], bars[2]))
            add3(tile, DISORDER + 3 * TILE, i, (bars[3], bars[4], bars[5]))
            half = wide(decay(real(disorder_exponent(crystal, h, k, l) * wide(0.5))))
            tile[LATTICE_FACTOR + i] = tile[LATTICE_FACTOR + i] * half


def interpolate_runs(tile, runs, evaluation, structure, vectors):
    """Overwrite AMPLITUDE with the amplitude between reflections (F9b), up to the latch (P8), and write CORNER."""
    for r in range(runs):
        first = near_lane(tile, r)
        for p in range(RUN // PATCH):
            interpolate(tile, first + p * PATCH, evaluation, structure, vectors)


def interpolate_adj(tile, runs, table, lanes, structure, paths):
    """Add to HKL_BAR the derivative through an interpolated amplitude, and enter its 64 reflections into the table (A9b).

    From the latch on (P8) the amplitude was looked up, and the one reflection in SLOT is entered. Before the latch, where the
    point is not surrounded, the amplitude is default_F: nothing is entered, and it has no slope. It reads AMPLITUDE, CORNER,
    PART_H, PART_K, PART_L, LATTICE_FACTOR and SCALE. lanes: a record Lanes.
    """
    for r in range(runs):
        first = near_lane(tile, r)
        for p in range(RUN // PATCH):
            add_slopes(tile, first + p * PATCH, structure)
        if paths.reflections:
            for i in range(first, first + RUN):
                if listed(tile, i, lanes):
                    enter_reflections(tile, i, table, structure)


def add_slopes(tile, first, structure):
    """Add to HKL_BAR of the patch that begins at lane `first` the derivative through its interpolated amplitudes (A9b)."""
    begin_cells(tile, first)
    for n in range(PATCH):
        corner = tile[LEFT + first + n]
        if corner >= 0.0:
            add_slopes_of_cell(tile, first, corner, structure)


def add_slopes_of_cell(tile, first, corner, structure):
    """Add to HKL_BAR in those lanes of a patch whose cell has this CORNER, which are not LEFT then (A9b).

    The sums are made in all lanes of the patch, so that they vectorise.
    """
    planes = surrounding(structure, int(corner))
    for n in range(PATCH):
        i = first + n
        bars = weighted_sum_adj(planes, tile[PART_H + i], tile[PART_K + i], tile[PART_L + i], amplitude_adj(tile, i))
        is_here, before = tile[LEFT + i] == corner, three(tile, HKL_BAR, i)
        after = before[0] + bars[0], before[1] + bars[1], before[2] + bars[2]
        set3(tile, HKL_BAR, i, after if is_here else before)
        tile[LEFT + i] = UNSURROUNDED if is_here else tile[LEFT + i]


def enter_reflections(tile, i, table, structure):
    """Enter the reflections of the term in lane i: 64 by CORNER, or the one in SLOT where the latch has come (A9b, P8)."""
    if tile[CORNER + i] >= 0.0:
        enter_interpolated(table, tile, i, amplitude_adj(tile, i), structure)
    elif tile[CORNER + i] == LATCHED:
        add_entry(table, i, int(tile[SLOT + i]), amplitude_adj(tile, i))


def remove_stretches(tile, runs, lattice, stretches, m):
    """Multiply HKL_BAR by the factors of a, b and c of lattice m, and return a, b and c of the lattice without them (A7b).

    The cotangents of a, b and c at phi = 0 have these factors; those of q and of angles follow from either pair.
    """
    of_a, of_b, of_c = stretches[m, 0], stretches[m, 1], stretches[m, 2]
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            h_bar, k_bar, l_bar = three(tile, HKL_BAR, i)
            set3(tile, HKL_BAR, i, (h_bar * of_a, k_bar * of_b, l_bar * of_c))
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = lattice
    return a_x / of_a, a_y / of_a, a_z / of_a, b_x / of_b, b_y / of_b, b_z / of_b, c_x / of_c, c_y / of_c, c_z / of_c


def add_motion(tile, i, lattice, rotation):
    """Add to Q_BAR, the cotangent of the scattering vector, and to VECTORS, that of a, b, c at phi = 0, in lane i (A7, A7b).

    It reads HKL_BAR, and q in Q_X, Q_Y, Q_Z. lattice: a, b and c of the lattice, without stretches. rotation: the nine numbers
    of the rotation from phi = 0 to there. Returns what Q_BAR got.
    """
    hkl_bar, q_back = three(tile, HKL_BAR, i), rotate_back(rotation, three(tile, Q_X, i))
    q_bar = indices_adj(lattice, hkl_bar)
    add3(tile, Q_BAR, i, q_bar)
    add_scaled3(tile, VECTORS, i, hkl_bar[0], q_back)
    add_scaled3(tile, VECTORS + 3 * TILE, i, hkl_bar[1], q_back)
    add_scaled3(tile, VECTORS + 6 * TILE, i, hkl_bar[2], q_back)
    return q_bar


def add_motions(tile, runs, lattice, rotation):
    """Do what add_motion does in some lanes."""
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            add_motion(tile, first + n, lattice, rotation)


def add_motions_and_sweep(tile, runs, lattice, rotation, rate):
    """Do what add_motion does, and add to the channel of the range of the rotation, for a lattice that is alone in its step.

    The derivative by the angle of the spindle is q_bar . (q x e), of which q x e is in SWEPT (A7b). rate: that of the angle.
    """
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            q_bar = add_motion(tile, i, lattice, rotation)
            tile[OSC + i] += rate * dot(q_bar, three(tile, SWEPT, i))


def add_motions_and_spread(tile, runs, lattice, rotation, rotation_rates, m):
    """Do what add_motion does, and add to the channel of the mosaic spread, and, if patches are left out, of the range (A7b).

    The derivative by an angle by which the lattice turns at the rate omega is omega . (q_bar x q). rotation_rates (lattices,
    angles, 3): omega, in radian per degree.
    """
    by_spread = rotation_rates[m, OF_SPREAD, 0], rotation_rates[m, OF_SPREAD, 1], rotation_rates[m, OF_SPREAD, 2]
    by_osc = rotation_rates[m, OF_OSC, 0], rotation_rates[m, OF_OSC, 1], rotation_rates[m, OF_OSC, 2]
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            torque = cross(add_motion(tile, i, lattice, rotation), three(tile, Q_X, i))
            tile[SPREAD + i] += dot(by_spread, torque)
            if culled:
                tile[OSC + i] += dot(by_osc, torque)


def begin_sweep(tile, sweep, motions):
    """Write to SWEPT, AT_ONCE, q x e in 1/A, and BY_STEPS what the derivative by the angle of the spindle is so far (A7b)."""
    if sweep == AT_ONCE:
        axis = row3(motions.spindle, 0)
        for i in range(TILE):
            set3(tile, SWEPT, i, cross(three(tile, Q_X, i), axis))
    else:
        for i in range(TILE):
            tile[SWEPT + i] = by_spindle(tile, i, motions.spindle)


def add_sweep_of_step(tile, spindle, rate):
    """Add to the channel of the range what the lattices of one phi step have added to the derivative by the spindle (A7b).

    spindle: as in Motions. rate: that of the angle of the step.
    """
    for i in range(TILE):
        so_far = by_spindle(tile, i, spindle)
        tile[OSC + i] += rate * (so_far - tile[SWEPT + i])
        tile[SWEPT + i] = so_far


def by_spindle(tile, i, spindle):
    """The derivative by the angle of the spindle in lane i, from VECTORS, of which every channel is wanted (Paths).

    spindle: as in Motions.
    """
    of_a = dot(row3(spindle, 1), three(tile, VECTORS, i))
    of_b = dot(row3(spindle, 2), three(tile, VECTORS + 3 * TILE, i))
    return of_a + of_b + dot(row3(spindle, 3), three(tile, VECTORS + 6 * TILE, i))


def row3(table, n):
    """The three numbers of row n of a table."""
    return table[n, 0], table[n, 1], table[n, 2]


def add_angles(tile, runs, lattice, rotation_rates, m):
    """Add to LATTICE_ANGLES the derivatives by all angles that turn lattice m (A7b), from HKL_BAR and Q_X, Q_Y, Q_Z.

    lattice: a, b and c. rotation_rates (lattices, angles, 3): the rate omega of the rotation, in radian per degree.
    """
    a_x, a_y, a_z, b_x, b_y, b_z, c_x, c_y, c_z = lattice
    for n in range(rotation_rates.shape[1]):
        omega = rotation_rates[m, n, 0], rotation_rates[m, n, 1], rotation_rates[m, n, 2]
        if omega[0] != 0.0 or omega[1] != 0.0 or omega[2] != 0.0:
            rates = cross(omega, (a_x, a_y, a_z)), cross(omega, (b_x, b_y, b_z)), cross(omega, (c_x, c_y, c_z))
            add_angle(tile, runs, np.uint64(LATTICE_ANGLES + n * TILE), rates)


def add_angle(tile, runs, channel, rates):
    """Add to the channel that begins there the derivative by one angle, with which a, b and c of the lattice have these rates.

    The loop over all lanes vectorises, that over a run does not: the compiler does not see that channels are not HKL_BAR.
    """
    if runs == TILE // RUN:
        for i in range(LANES):
            add_turn(tile, channel, i, rates)
    else:
        for r in range(runs):
            first = near_lane(tile, r)
            for n in range(RUN):
                add_turn(tile, channel, np.uint64(first + n), rates)


def add_turn(tile, channel, i, rates):
    """Add to the channel that begins there, in lane i, the derivative by an angle, of which a, b and c have these rates."""
    q = three(tile, np.uint64(Q_X), i)
    h_bar, k_bar, l_bar = three(tile, np.uint64(HKL_BAR), i)
    tile[channel + i] = tile[channel + i] + h_bar * dot(rates[0], q) + k_bar * dot(rates[1], q) + l_bar * dot(rates[2], q)


def add_cell_spreads(tile, runs, vectors, stretch_rates, m):
    """Add to CELL_SPREADS, the derivatives by the spreads of the cell, from HKL_BAR and q in Q_X, Q_Y, Q_Z (A7b).

    vectors: a, b and c of lattice m. stretch_rates (lattices, 3): the changes of the logarithms of their lengths.
    """
    by_a, by_b, by_c = stretch_rates[m, 0], stretch_rates[m, 1], stretch_rates[m, 2]
    for r in range(runs):
        first = near_lane(tile, r)
        for n in range(RUN):
            i = first + n
            h, k, l = fractional_hkl(vectors, extended_q(tile, i))
            h_bar, k_bar, l_bar = three(tile, HKL_BAR, i)
            add3(tile, CELL_SPREADS, i, (h_bar * h * by_a, k_bar * k * by_b, l_bar * l * by_c))
