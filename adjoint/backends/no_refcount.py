"""Arrays without reference counts.

Numba counts a reference to an array at every call that takes it, some hundred times for a tile. The arrays that no_refcount
returns are not counted: the caller has to keep the original arrays for as long as these are used.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def no_refcount(typingctx, value):
    """The same array, or record or tuple of them, without counts."""

    def generate(context, builder, signature, args):
        return uncounted(context, builder, value, args[0])

    return value(value), generate


def uncounted(context, builder, kind, value):
    """The code that takes the counts off a value of some type."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = (ir.Constant(field.type, None) for field in (array.meminfo, array.parent))
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for index, item_kind in enumerate(kind):
            item = uncounted(context, builder, item_kind, builder.extract_value(value, index))
            value = builder.insert_value(value, item, index)
    return value
