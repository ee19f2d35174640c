"""The loops that call the stages: over samples, sources and lattices, for the pixels of a tile. They import no compiler.

A backend that compiles them says by `culled` whether it is for scenes that are culled, and by `ahead` whether patches of pixels
are bounded before rays are traced (F10a).
"""

culled = ahead = True
