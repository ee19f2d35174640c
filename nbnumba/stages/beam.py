"""Beam stages: the scattering vector and the polarization factor (F5, F6)."""

from nbnumba.stages import far, real
from nbnumba.stages.elementary import decay
from nbnumba.stages.vec3 import cross, dot


def scattering_vector(diffracted, incident, wavelength):
    """Return the scattering vector q = (d - i) / lambda, in 1/A (F5).

    diffracted, incident: unit vectors d and i along the rays. wavelength: lambda in A.
    """
    inverse = real(1) / wavelength
    return (
        (diffracted[0] - incident[0]) * inverse,
        (diffracted[1] - incident[1]) * inverse,
        (diffracted[2] - incident[2]) * inverse,
    )


def polarization_factor(beam, diffracted, incident):
    """Return Kahn's factor (1 + cos^2 2theta - K cos 2psi sin^2 2theta) / 2, without a unit (F6; Kahn 1982).

    beam: the Intensity record of all sources, of which K and the E vector are read. diffracted, incident: unit vectors along
    the rays. psi is the angle about the beam from the E vector. The two axes across the beam are of the same length, which
    cancels; where that length is 0, or the ray goes straight on, cos 2psi is 1.
    """
    cosine = dot(incident, diffracted)
    cosine_squared = cosine * cosine
    b_axis = cross((beam.axis_x, beam.axis_y, beam.axis_z), incident)
    e_axis = cross(incident, b_axis)
    e, b = dot(diffracted, e_axis), dot(diffracted, b_axis)
    across_squared = e * e + b * b
    cos_2psi = (e * e - b * b) / across_squared if across_squared > real(0) else real(1)
    return real(0.5) * (real(1) + cosine_squared - beam.kahn * cos_2psi * (real(1) - cosine_squared))


def within_resolution(beam, q):
    """Return whether the resolution 1 / |q| is dmin or coarser, so that the crystal scatters into this sample (F5).

    beam: the Intensity record of all sources, of which dmin, in A, is read; 0 means no limit. q: scattering vector in 1/A.
    """
    return beam.dmin * beam.dmin * dot(q, q) <= real(1)


def fading_factor(beam, q):
    """Return the factor of the crystal's intensity by its isotropic B factor, exp(-B q^2 / 2), without a unit (F9g).

    beam: the Intensity record of all sources, of which B / 2, in A^2, is read. q: scattering vector in 1/A. It is never 0: a
    sample whose sum counts times 0 is one that dmin leaves out.
    """
    exponent, most = beam.fading * dot(q, q), real(far) * real(0.999)
    return decay(exponent if exponent < most else most)
