"""The spine: from one lattice's contribution to the photons of a pixel (F10, F11)."""

from nbnumba.stages import real, sqrt
from nbnumba.stages.vec3 import dot


def term(amplitude, lattice):
    """Return what one lattice adds to the sum of a sample, F^2 F_latt^2, in electrons^2 (F10).

    amplitude: F in electrons. lattice: F_latt, without a unit.
    """
    return amplitude * amplitude * lattice * lattice


def amorphous(material, beam, q):
    """Return what the background adds to the sum of a sample, in electrons^2 (F12).

    material: the Amorphous record, a table at even steps of |q| / 2, which is interpolated linearly. beam: the Intensity
    record of all sources, of which background_each is read. q: scattering vector in 1/A.
    """
    return beam.background_each * between_entries(material.value, sqrt(dot(q, q)) * real(0.5) * material.per_stol)[0]


def between_entries(table, position):
    """Return the value of a table, linear between its entries, and the step between the two entries, in its unit (F12).

    position: in entries, not below 0. Beyond the last entry the value is that entry.
    """
    last = table.size - 1
    first = int(position) if position < real(last - 1) else last - 1
    fraction = position - real(first) if position < real(last) else real(1)
    return table[first] * (real(1) - fraction) + table[first + 1] * fraction, table[first + 1] - table[first]


def sample_factor(sampling, capture, polarization, omega):
    """Return the product of those factors that are taken anew at every sample, in the product of their units (F10).

    sampling: the Sampling record, which says which these are; the others are the pixel's. capture, polarization: without a
    unit. omega: solid angle in sr.
    """
    factor = real(1)
    if sampling.every_capture:
        factor = factor * capture
    if sampling.every_polarization:
        factor = factor * polarization
    if sampling.every_omega:
        factor = factor * omega
    return factor


def sample_weight(sampling, share, capture):
    """Return the weight of a sample's sum, without a unit (F10).

    sampling: the Sampling record. share: weight of the source, of mean 1, without a unit. capture: capture fraction of the
    layer, without a unit, which counts here unless it is taken anew at every sample or is the pixel's.
    """
    if sampling.every_capture or sampling.last_capture:
        return share
    return share * capture


def photons(beam, sampling, total, capture, polarization, omega):
    """Return the photons in a pixel (F11).

    beam: the Intensity record of all sources, of which photons per electron^2 and sr is read. sampling: the Sampling record.
    total: weighted sum over the samples of the pixel, in electrons^2. capture, polarization: without a unit. omega: solid angle
    in sr.
    """
    result = beam.photons * total
    if sampling.last_capture and not sampling.every_capture:
        result = result * capture
    if not sampling.every_polarization:
        result = result * polarization
    if not sampling.every_omega:
        result = result * omega
    return result
