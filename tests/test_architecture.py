"""The rules of import and of output, kept by reading the source of both packages: a function for each rule.

A rule takes a tree of sources by module name and returns its violations, a sentence each. The program has none; a small tree
that violates the rule has some, so that no rule passes because it finds nothing to look at.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("nbnumba", "adjoint")

UPWARDS = ("nbnumba.experiment", "nbnumba.flags.to_experiment")
"""The one import upwards: Experiment.from_args reads flags, when it is called."""

UPWARD_IMPORT = f"from {UPWARDS[1]} import experiment_from_args"

BELOW_ALL = ("nbnumba.constants", "nbnumba.errors")
"""What formats, stages and geometry import of the packages besides one another."""

ENDS = ("nbnumba.__main__",)
"""Modules that end the process, besides those of the command line: `python -m nbnumba`."""

Tree = dict[str, ast.Module]


def tree_of(root: Path) -> Tree:
    """The parsed modules of both packages below a folder, by module name; a package bears the name of its folder."""
    modules = {}
    for path in sorted(path for package in PACKAGES for path in root.glob(f"{package}/**/*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return modules


def imports(tree: Tree, module: str) -> Iterator[tuple[str, bool]]:
    """What a module imports, and whether it does so when it is loaded.

    Modules of the tree are named in full, everything else as it stands.

    Imports inside functions, and those for annotations alone, count like any other.
    """
    functions = [node for node in ast.walk(tree[module]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    deferred = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree[module]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in deferred
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports are not used here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in tree else node.module, node not in deferred


def within(name: str, *packages: str) -> bool:
    """Whether a module is one of these packages, or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden(tree: Tree, importers: tuple[str, ...], imported, besides: tuple[str, ...] = ()) -> list[str]:
    """A sentence for each import, of a module within `importers`, of a name for which `imported` is true."""
    return [
        f"{module} imports {name}"
        for module in tree
        if within(module, *importers) and not within(module, *besides)
        for name, _ in imports(tree, module)
        if imported(module, name)
    ]


def calls_that(tree: Tree, allowed: tuple[str, ...], names: set[str]) -> list[str]:
    """A sentence for each use of a function, by its dotted name, in a module that is not within `allowed`.

    To import it, or what it is an attribute of, from its module is a use, too.
    """
    return [
        f"{module}, line {node.lineno}: {used}"
        for module, source in tree.items()
        if not within(module, *allowed)
        for node in ast.walk(source)
        for used in _used(node)
        if used in names or (isinstance(node, ast.ImportFrom) and any(name.startswith(f"{used}.") for name in names))
    ]


def _used(node: ast.AST) -> list[str]:
    """The dotted names that a name, an attribute or an import from a module uses."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [ast.unparse(node)] if isinstance(node, (ast.Name, ast.Attribute)) else []


# ------------------------------------------------------------------------------------------------ the rules


def circles(tree: Tree) -> list[str]:
    """No module imports itself by way of others, be it deferred: a sentence for each set of modules that do so."""
    edges = {module: {name for name, _ in imports(tree, module) if name in tree} - {module} for module in tree}
    edges.get(UPWARDS[0], set()).discard(UPWARDS[1])
    reach = {module: set(names) for module, names in edges.items()}
    for middle in tree:
        for module in tree:
            if middle in reach[module]:
                reach[module] |= reach[middle]
    circular = sorted({tuple(sorted(m for m in reach[n] if n in reach[m])) for n in tree if n in reach[n]})
    return [f"import each other: {', '.join(modules)}" for modules in circular]


def upward_import_at_top(tree: Tree) -> list[str]:
    """The one import upwards waits until it is needed."""
    module, name = UPWARDS
    return [f"{module} imports {name} at its top" for imported, top in imports(tree, module) if imported == name and top]


def formats_stand_alone(tree: Tree) -> list[str]:
    """Formats import constants, errors, geometry and formats."""
    allowed = ("nbnumba.formats", "nbnumba.geometry", *BELOW_ALL)
    return forbidden(tree, ("nbnumba.formats",), lambda _, name: within(name, *PACKAGES) and not within(name, *allowed))


def stages_stand_alone(tree: Tree) -> list[str]:
    """Stages import constants, errors and stages, and no Numba; nbnumba's never the adjoint's."""
    known, allowed = (*PACKAGES, "numba"), ("nbnumba.stages", *BELOW_ALL)
    ours = forbidden(tree, ("nbnumba.stages",), lambda _, name: within(name, *known) and not within(name, *allowed))
    mirrors = ("adjoint.stages", *allowed)
    return ours + forbidden(tree, ("adjoint.stages",), lambda _, name: within(name, *known) and not within(name, *mirrors))


def loops_know_no_numba(tree: Tree) -> list[str]:
    """Loops import neither Numba nor a backend."""
    loops = ("nbnumba.loops", "adjoint.loops")
    machines = ("numba", "llvmlite", "nbnumba.backends", "adjoint.backends")
    return forbidden(tree, loops, lambda _, name: within(name, *machines))


def adjoint_is_above(tree: Tree) -> list[str]:
    """Outside the command line nbnumba never imports adjoint."""
    return forbidden(tree, ("nbnumba",), lambda _, name: within(name, "adjoint"), besides=("nbnumba.cli",))


def setup_knows_no_experiment(tree: Tree) -> list[str]:
    """Setup imports statements, and not Experiment, in nbnumba."""
    return forbidden(tree, ("nbnumba.setup",), lambda _, name: within(name, "nbnumba.experiment"))


def geometry_knows_no_statements(tree: Tree) -> list[str]:
    """Geometry imports neither statements nor what is made from them."""
    geometry = ("nbnumba.geometry", "adjoint.geometry")
    allowed = (*geometry, *BELOW_ALL)
    return forbidden(tree, geometry, lambda _, name: within(name, *PACKAGES) and not within(name, *allowed))


def only_the_command_line_prints(tree: Tree) -> list[str]:
    """Nothing outside cli prints."""
    return calls_that(tree, ("nbnumba.cli",), {"print", "sys.stdout.write", "sys.stderr.write"})


def only_the_command_line_exits(tree: Tree) -> list[str]:
    """Nothing outside cli ends the process, except interrupts.py by os._exit: Ctrl-C while modules are imported."""
    return calls_that(tree, ("nbnumba.cli", *ENDS), {"sys.exit", "exit", "quit", "SystemExit"}) + calls_that(
        tree, ("nbnumba.cli", "nbnumba.interrupts"), {"os._exit"}
    )


VIOLATIONS = [
    (circles, {"nbnumba/one.py": "def later():\n    from nbnumba import two", "nbnumba/two.py": "import nbnumba.one"}),
    (upward_import_at_top, {"nbnumba/experiment.py": UPWARD_IMPORT, "nbnumba/flags/to_experiment.py": ""}),
    (upward_import_at_top, {
        "nbnumba/experiment.py": f"try:\n    {UPWARD_IMPORT}\nexcept ImportError:\n    pass",
        "nbnumba/flags/to_experiment.py": "",
    }),
    (formats_stand_alone, {"nbnumba/formats/hkl.py": "from nbnumba.statements import Crystal", "nbnumba/statements.py": ""}),
    (stages_stand_alone, {"nbnumba/stages/beam.py": "from nbnumba.statements import Beam"}),
    (stages_stand_alone, {"nbnumba/stages/beam.py": "from numba import njit"}),
    (stages_stand_alone, {"adjoint/stages/beam.py": "from nbnumba.setup import sources"}),
    (loops_know_no_numba, {"adjoint/loops/tile.py": "def compiled():\n    import numba.cuda"}),
    (adjoint_is_above, {"nbnumba/trace.py": "from adjoint.gradient import vjp", "nbnumba/cli/refine.py": "import adjoint"}),
    (setup_knows_no_experiment, {"nbnumba/setup/scene.py": "from nbnumba.experiment import Experiment"}),
    (geometry_knows_no_statements, {"nbnumba/geometry/cell.py": "from nbnumba.statements import Crystal"}),
    (only_the_command_line_prints, {"nbnumba/cost.py": "print('dear')", "nbnumba/cli/output.py": "print('done')"}),
    (only_the_command_line_prints, {"nbnumba/cost.py": "import sys\nsys.stdout.write('dear')"}),
    (only_the_command_line_prints, {"nbnumba/cost.py": "from sys import stdout"}),
    (only_the_command_line_exits, {
        "adjoint/refine.py": "import sys\nsys.exit(1)", "nbnumba/__main__.py": "import sys\nsys.exit(0)"
    }),
    (only_the_command_line_exits, {"adjoint/refine.py": "raise SystemExit(1)"}),
    (only_the_command_line_exits, {
        "nbnumba/cost.py": "import os\nos._exit(1)", "nbnumba/interrupts.py": "import os\nos._exit(1)"
    }),
    (only_the_command_line_exits, {"nbnumba/cost.py": "from os import _exit"}),
]  # fmt: skip
"""Sources of trees that violate a rule once; what stands beside the violation is allowed."""

RULES = dict.fromkeys(rule for rule, _ in VIOLATIONS)


@pytest.fixture(scope="module")
def program() -> Tree:
    return tree_of(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_program_keeps_the_rule(program, rule):
    assert rule(program) == []


@pytest.mark.parametrize(("rule", "sources"), VIOLATIONS, ids=[rule.__name__ for rule, _ in VIOLATIONS])
def test_a_violation_of_the_rule_is_seen(tmp_path, rule, sources):
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert len(rule(tree_of(tmp_path))) == 1


def test_the_import_upwards_is_there(program):
    """The exception is no longer than the need for it."""
    module, name = UPWARDS
    assert (name, False) in imports(program, module)


def test_every_module_is_read(program):
    """Packages and their modules are told apart: an import of either is an edge."""
    assert {"nbnumba", "nbnumba.setup", "nbnumba.setup.scene", "adjoint.geometry.cell"} <= set(program)
    assert ("nbnumba.setup.scene", True) in imports(program, "nbnumba.trace")
