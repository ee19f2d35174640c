"""Arrays without reference counts: machine code that is given to other threads uses them while its caller keeps them."""

from llvmlite import ir
from numba import types


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
