"""The names of the parameters that move groups of panels (F1d)."""

import re

MOTIONS = {
    "shift_fast_mm": ("shift_mm", 0), "shift_slow_mm": ("shift_mm", 1), "shift_normal_mm": ("shift_mm", 2),
    "turn_fast_deg": ("turn_deg", 0), "turn_slow_deg": ("turn_deg", 1), "turn_normal_deg": ("turn_deg", 2),
}  # fmt: skip
"""The parameters of a group of panels, or of a single panel: the field of its statement, and the index in that (F1d)."""

OF_GROUP = re.compile(r"detector\.group\[(?P<path>[^\[\]]+)\]\.(?P<motion>\w+)")
"""The name of such a parameter, such as detector.group[q0/s1].shift_fast_mm."""
