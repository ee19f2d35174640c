"""The subcommand gradcheck: it compares derivatives of the image that flags describe with finite differences."""

import math
from collections.abc import Sequence

from nbnumba.cli.progress import bar
from nbnumba.cli.simulate import use_threads
from nbnumba.cost import granted
from nbnumba.errors import InputError
from nbnumba.flags.run import run_of
from nbnumba.flags.subcommand import command_line_of
from nbnumba.flags.to_experiment import experiment_of

HELP = """usage: nbnumba gradcheck [--parameters NAME,NAME...] [--directions N] [--seed N] -- FLAGS

Compares the gradient of a loss of the image of FLAGS with finite differences. It prints a line for every parameter and for
random directions in the space of all parameters: the analytic and the numeric derivative, their relative difference, the order
of convergence of the differences, and the verdict. Differences of a smooth image converge at order 2; "-" or another order
means that they are exact but for rounding, or that the image has kinks there. Without --parameters it checks all parameters
that apply; without -roi it uses a window about the brightest pixel. Derivatives that are 0 and differences that do not converge
are untested. The exit status is 1 if a derivative fails."""

OPTIONS = ("--parameters", "--directions", "--seed")


def main(args: Sequence[str]) -> int:
    """Run the check and print its lines. Returns the exit status."""
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return 0 if args else 2
    options, words = _options(list(args))
    unused = {"-tolerance": "the image would jump where a term is left out"}
    command_line = command_line_of(words, unused)
    run = run_of(command_line)
    use_threads(run.threads)
    experiment, machine = experiment_of(command_line), run.machine
    from adjoint.gradcheck import FAILED, brightest_window, check_precision, gradcheck
    from adjoint.prepare import prepare

    check_precision(machine.precision)
    names = options.get("--parameters")
    names = None if names is None else [name.strip() for name in names.split(",")]
    directions, seed = _whole_number(options, "--directions", 3, 0), _whole_number(options, "--seed", 1, 0)
    with granted(run.max_hours, "-max_hours"):
        if names is not None:
            prepare(experiment, names)
        with bar("looking for the brightest pixel", run.progress) as progress:
            window = brightest_window(experiment, progress=progress)
        if window is not None:
            print(f"window {' '.join(map(str, window))} (-roi) about the brightest pixel")
            experiment = experiment.replace({"sampling.roi": window})
        print(f"{'parameter':32} {'analytic':>16} {'numeric':>16} {'error':>8} {'order':>6}  verdict")
        with bar("checking", run.progress) as progress:
            report = _print_line if progress is None else progress.above(_print_line)
            options = {"directions": directions, "seed": seed, "report": report, "progress": progress}
            lines = gradcheck(experiment, names, **options, **machine._asdict())
    count = {verdict: sum(line.verdict == verdict for line in lines) for verdict in ("passed", FAILED, "untested")}
    print(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    return 1 if count[FAILED] else 0


def _print_line(line) -> None:
    unit = f" [{line.unit}]" if line.unit else ""
    reason = f": {line.reason}" if line.reason else ""
    columns = ((line.analytic, 16, ".9g"), (line.numeric, 16, ".9g"), (line.error, 8, ".1e"), (line.order, 6, ".2f"))
    numbers = " ".join(f"{'-' if math.isnan(number) else format(number, form):>{width}}" for number, width, form in columns)
    print(f"{line.name + unit:32} {numbers}  {line.verdict}{reason}", flush=True)


def _options(args: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options before --, and the flags after it. Without -- the flags begin at the first word that is no option."""
    options: dict[str, str] = {}
    while args and args[0] in OPTIONS:
        name = args.pop(0)
        if not args or args[0].startswith("--"):
            raise InputError(f"{name}: a value is missing; allowed: {name} and a value")
        options[name] = args.pop(0)
    if args and args[0] == "--":
        args = args[1:]
    elif args and args[0].startswith("--"):
        raise InputError(f"{args[0]} is not an option of gradcheck; allowed: {', '.join(OPTIONS)}")
    if not args:
        raise InputError("gradcheck: no flags are given; allowed: -- and the flags of an image")
    return options, args


def _whole_number(options, name, default, least) -> int:
    """The whole number that an option states, or its default."""
    value = options.get(name, str(default))
    if not value.isdigit() or int(value) < least:
        raise InputError(f"{name}: {value!r} is not allowed; allowed: a whole number of at least {least}")
    return int(value)
