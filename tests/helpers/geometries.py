"""Positions of a detector that tests of the geometry go through: frames, forms of the beam centre and rotations."""

from nbnumba import Experiment

PIXEL_MM = 0.25
CELL = "-cell 30 40 50 80 95 100 -default_F 10 -lambda 1.1 -N 3 -oversample 1 "
CELL += f"-pixel {PIXEL_MM} -detpixels_x 30 -detpixels_y 20 "
AXES = "-fdet_vector 0.6 0.8 0 -sdet_vector 0 0 1 -beam_vector 0.9 -0.5 0.1 "
CUSTOM = {"custom": AXES, "pix0": AXES + "-pix0_vector_mm 60 -55 -2 "}
FORMS = {
    "default": "",
    "beam": "-Xbeam 2.2 -Ybeam 3.1 ",
    "close": "-Xclose 2.2 -Yclose 3.1 ",
    "org": "-ORGX 12.5 -ORGY 7.25 ",
    "mixed": "-Xbeam 2.2 -ORGY 7.25 ",
}
TURNS = {
    "unturned": "",
    "turned": "-detector_rotx 11 -detector_roty -7 -detector_rotz 4 ",
    "swung": "-twotheta 20 -detector_roty 5 ",
}


def experiment_of(convention, form="default", turn="unturned", pivot="", distance="-distance 80 ", more=""):
    """The experiment of a convention, a form of the beam centre, rotations and a pivot, at 80 mm."""
    frame = CUSTOM.get(convention, f"-{convention} ")
    distance = "" if convention == "pix0" else distance
    return Experiment.from_args((CELL + frame + FORMS[form] + TURNS[turn] + distance + pivot + more).split())
