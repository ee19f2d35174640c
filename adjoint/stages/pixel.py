"""Mirrors of the spine: from the photons of a pixel back to one lattice's contribution (A10 to A12)."""

from nbnumba.stages import real, sqrt
from nbnumba.stages.pixel import between_entries
from nbnumba.stages.vec3 import dot, scale


def term_adj(amplitude, lattice, total_bar):
    """Return the cotangents of F, in electrons, and of F_latt (A10).

        F10: term = F^2 F_latt^2
        A10: F_bar = 2 F F_latt^2 total_bar,    F_latt_bar = 2 F^2 F_latt total_bar
    """
    twice = real(2) * total_bar
    return twice * (amplitude * lattice * lattice), twice * (amplitude * amplitude * lattice)


def amorphous_adj(material, beam, q, total_bar):
    """Return the cotangents of the background B, in electrons^2 or molecules, and of q, in 1/A (A12).

        F12: background = B f(|q| / 2),    f linear between the entries f_p of its table, v of them per 1/A
        A12: B_bar = background_bar f,    q_bar = background_bar B (f_(p + 1) - f_p) (v / 2) q / |q|

    At q = 0, beyond the table, and without a table f does not move. At an entry the slope is that of the next interval.
    """
    length = sqrt(dot(q, q))
    position = length * real(0.5) * material.per_stol
    value, step = between_entries(material.value, position)
    slope = step * real(0.5) * material.per_stol
    moves = position < real(material.value.size - 1) and length > real(0)
    along_q = total_bar * beam.background_each * slope / length if moves else real(0)
    return total_bar * value, scale(q, along_q)


def material_adj(material, rates, beam, q, total_bar):
    """Return the cotangent of a parameter p of the table of the background (A12b).

        F12b: background = B f(|q| / 2)
        A12b: p_bar = background_bar B df/dp

    rates: df/dp, at the entries of the table of the material.
    """
    value, _ = between_entries(rates, sqrt(dot(q, q)) * real(0.5) * material.per_stol)
    return total_bar * beam.background_each * value


def sample_factor_adj(sampling, capture, polarization, omega, factor_bar):
    """Return the cotangents of capture, polarization and omega (A10).

        F10: factor = product of those of the three that are taken anew at every sample
        A10: each of those has factor_bar times the product of the others; the rest have 0
    """
    of_capture = capture if sampling.every_capture else real(1)
    of_polarization = polarization if sampling.every_polarization else real(1)
    of_omega = omega if sampling.every_omega else real(1)
    capture_bar = factor_bar * of_polarization * of_omega if sampling.every_capture else real(0)
    polarization_bar = factor_bar * of_capture * of_omega if sampling.every_polarization else real(0)
    return capture_bar, polarization_bar, factor_bar * of_capture * of_polarization if sampling.every_omega else real(0)


def sample_weight_adj(sampling, share, weight_bar):
    """Return the cotangent of the capture fraction (A10).

        F10: weight = share capture where the capture is the layer's, else share
        A10: capture_bar = share weight_bar, else 0
    """
    if sampling.every_capture or sampling.last_capture:
        return real(0)
    return weight_bar * share


def photons_adj(beam, sampling, total, capture, polarization, omega, result_bar):
    """Return the cotangents of the scale (Intensity.photons), the total, capture, polarization and omega (A11).

        F11: result = scale total (those factors that are the pixel's)
        A11: each factor has result_bar times the product of the others
    """
    of_capture = capture if sampling.last_capture and not sampling.every_capture else real(1)
    of_polarization = real(1) if sampling.every_polarization else polarization
    of_omega = real(1) if sampling.every_omega else omega
    of_total = beam.photons * total * result_bar
    capture_bar = of_total * of_polarization * of_omega if sampling.last_capture and not sampling.every_capture else real(0)
    polarization_bar = real(0) if sampling.every_polarization else of_total * of_capture * of_omega
    omega_bar = real(0) if sampling.every_omega else of_total * of_capture * of_polarization
    factors = of_capture * of_polarization * of_omega * result_bar
    return factors * total, factors * beam.photons, capture_bar, polarization_bar, omega_bar
