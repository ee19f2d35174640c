"""The loop of a kernel over pieces of work, which run at the same time on Numba's threads, or one after another.

Numba optimizes a function with a loop over prange five times. So that loop is in a small function, `share`, that calls the body
of any kernel by its address; and the same kernel serves for Numba's threads and for one.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from adjoint.backends.uncounted import uncounted
from nbnumba.backends.compiling import Compiled, thread_safe_cache

ADDRESS, NUMBER = ir.IntType(8).as_pointer(), ir.IntType(64)
BODY = ir.FunctionType(ir.VoidType(), (ADDRESS, NUMBER))
"""The type of a body in machine code: a function of the address of its arguments, and of the number of the piece."""


@intrinsic
def call_body(typingctx, body, arguments, number):
    """Call the body at an address, for one piece."""

    def generate(context, builder, signature, values):
        function = builder.inttoptr(values[0], BODY.as_pointer())
        builder.call(function, (builder.inttoptr(values[1], ADDRESS), values[2]))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


def share(body, arguments, count):
    """Call a body for every piece, on Numba's threads."""
    for number in prange(count):
        call_body(body, arguments, number)


@thread_safe_cache
def runner() -> int:
    """The address of `share`, compiled."""
    options = {"error_model": "numpy", "parallel": True}
    dispatcher = Compiled(share, on_disk=True, large=False, options=options).dispatcher()
    dispatcher.compile((types.int64, types.int64, types.int64))
    compiled = dispatcher.overloads[types.int64, types.int64, types.int64]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def loop_over(body) -> Callable:
    """The compiled loop of a kernel: loop(run, count, arguments) calls body(n, *arguments) for each n below count.

    body: a part of the kernel that returns nothing. run: the address of what runs the bodies at the same time (`runner`), or 0,
    to run one after another. It returns whether all bodies have come to their end, and none has raised an exception. The
    arrays of the arguments are not counted within it.
    """

    @intrinsic
    def compiled_loop(typingctx, run, count, arguments):
        taken = (types.int64, *arguments.types)
        body.compile(taken)
        result = types.boolean(types.int64, types.int64, arguments)
        return result, lambda context, builder, _, values: generate(context, builder, body.overloads[taken], values)

    return compiled_loop


def generate(context, builder, compiled, values):
    """The machine code of a loop over a compiled body."""
    run, count, arguments = values
    arguments = uncounted(context, builder, types.Tuple(compiled.signature.args[1:]), arguments)
    stored = ir.LiteralStructType((NUMBER, arguments.type))
    store = cgutils.alloca_once(builder, stored)
    failed = cgutils.gep_inbounds(builder, store, 0, 0)
    builder.store(NUMBER(0), failed)
    builder.store(arguments, cgutils.gep_inbounds(builder, store, 0, 1))
    function, address = body_of(context, builder, compiled, stored), builder.bitcast(store, ADDRESS)
    with builder.if_else(builder.icmp_signed("==", run, NUMBER(0))) as (in_turn, together):
        with in_turn, cgutils.for_range(builder, count) as each:
            builder.call(function, (address, each.index))
        with together:
            numbers = [builder.ptrtoint(function, NUMBER), builder.ptrtoint(address, NUMBER), count]
            kinds = (types.int64,) * 3
            runs = builder.inttoptr(run, context.call_conv.get_function_type(types.none, kinds).as_pointer())
            context.call_conv.call_function(builder, runs, types.none, kinds, numbers)
    return builder.icmp_signed("==", builder.load(failed), NUMBER(0))


def body_of(context, builder, compiled, stored):
    """The machine code of a compiled body as a function of the type BODY; `stored`: whether it failed, and the arguments."""
    function = ir.Function(builder.module, BODY, f"{builder.function.name}.body")
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    store = inner.bitcast(function.args[0], stored.as_pointer())
    arguments = cgutils.unpack_tuple(inner, inner.load(cgutils.gep_inbounds(inner, store, 0, 1)))
    callee = context.declare_function(builder.module, compiled.fndesc)
    context.active_code_library.add_linking_library(compiled.library)
    status, _ = context.call_conv.call_function(
        inner, callee, types.none, compiled.signature.args, (function.args[1], *arguments)
    )
    with inner.if_then(status.is_error, likely=False):
        inner.store(NUMBER(1), cgutils.gep_inbounds(inner, store, 0, 0))
    inner.ret_void()
    return function
