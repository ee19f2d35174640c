"""The spine: from one lattice's contribution to the photons of a pixel (F10, F11)."""

from nbnumba.stages import real, sqrt
from nbnumba.stages.vec3 import dot


def term(amplitude, lattice):
    """F10: what one lattice adds to the sum of a sample, electrons^2."""
    return amplitude * amplitude * lattice * lattice


def amorphous(material, beam, q):
    """F12: what the background adds to the sum of a sample, electrons^2, by linear interpolation in its even table."""
    at = sqrt(dot(q, q)) * real(0.5) * material.per_stol
    last = material.value.size - 1
    place = int(at) if at < real(last - 1) else last - 1
    beyond = at - real(place) if at < real(last) else real(1)
    value = material.value[place] * (real(1) - beyond) + material.value[place + 1] * beyond
    return beam.background_each * value


def sample_factor(sampling, capture, polarization, omega):
    """F10: product of those factors that are taken anew at every sample; the others are the pixel's."""
    factor = real(1)
    if sampling.every_capture:
        factor = factor * capture
    if sampling.every_polarization:
        factor = factor * polarization
    if sampling.every_omega:
        factor = factor * omega
    return factor


def sample_weight(sampling, share, capture):
    """F10: weight of a sample's sum: its source's, and its layer's capture fraction where that is the layer's."""
    if sampling.every_capture or sampling.last_capture:
        return share
    return share * capture


def photons(beam, sampling, total, capture, polarization, omega):
    """F11: photons in the pixel, from the weighted sum over its samples and the factors that are the pixel's."""
    result = beam.photons * total
    if sampling.last_capture and not sampling.every_capture:
        result = result * capture
    if not sampling.every_polarization:
        result = result * polarization
    if not sampling.every_omega:
        result = result * omega
    return result
