"""The shapes of a crystal: one row of a table each, from which flags, messages, kernels and refusals are derived (F8).

specs/shapes.md says how to add one.
"""

from typing import NamedTuple

SQUARE, ROUND, GAUSS, TOPHAT = range(4)
"""The numbers by which the kernels know the shapes: the field `shape` of the Crystal record."""


class Shape(NamedTuple):
    """All that the program knows of a shape by its name.

    name: the value of the statement Crystal.shape. number: the kernels' name for it. flags: all spellings of the flag that
    chooses it. noun: what a summary calls the crystal. help: the effect of the flag, for its help. metric_of_c: whether C's
    defect gauss_metric changes how the distance to a reflection is measured (P9). not_differentiable: the reason why the image
    has no derivative, as a clause; "" if it has one.
    """

    name: str
    number: int
    flags: str
    noun: str
    help: str
    metric_of_c: bool = False
    not_differentiable: str = ""


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("square", SQUARE, "-square_xtal", "parallelepiped", "a parallelepiped of whole unit cells; the default"),
        Shape("round", ROUND, "-round_xtal", "ellipsoid", "an ellipsoid"),
        Shape("gauss", GAUSS, "-gauss_xtal", "Gaussian spots", "Gaussian spots, nothing between them", metric_of_c=True),
        Shape(
            "tophat", TOPHAT, "-tophat_spots -binary_spots", "top-hat spots", "spots cut at half height, nothing between them",
            metric_of_c=True, not_differentiable="the shape tophat is a step (F8e)",
        ),
    )
}  # fmt: skip
"""Every shape by its name."""
