"""An instruction that asks for a line of memory which is needed later, so that it is in the cache by then."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FOR_READING, KEEP, DATA = (ir.IntType(32)(n) for n in (0, 3, 1))
"""What LLVM's instruction is told: that the line will be read, that it is to stay in all caches, and that it is data."""


@intrinsic
def prefetch(typingctx, array, slow, fast):
    """Ask for the line in which array[slow, fast] is, of indices that are whole and lie within the array."""

    def generate(context, builder, signature, args):
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, args[0])
        place = cgutils.get_item_pointer(context, builder, kind, array, args[1:])
        address = builder.bitcast(place, ir.IntType(8).as_pointer())
        of_llvm = ir.FunctionType(ir.VoidType(), [address.type, *(n.type for n in (FOR_READING, KEEP, DATA))])
        function = cgutils.get_or_insert_function(builder.module, of_llvm, "llvm.prefetch.p0")
        builder.call(function, (address, FOR_READING, KEEP, DATA))
        return context.get_dummy_value()

    return types.none(array, slow, fast), generate
