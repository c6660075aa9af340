"""The order of packages: which may import which, and what some of them must not import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "errors",
    "registry",
    "arrays",
    "record",
    "observations",
    "files",
    "processes",
    "suites",
    "mazes",
    "blocks",
    "lines",
    "regions",
    "plotting",
    "types",
    "boundary",
    "tokens",
    "envs",
    "data",
    "collect",
    "diffusion",
    "networks",
    "sampling",
    "planning",
    "training",
    "pretrained",
    "evaluation",
    "tuning",
    "calibrating",
    "bench",
    "view",
    "cli",
    "__main__",
)
FRONT = "dfplan"  # dfplan/__init__.py, which re-exports public names
TOP_LEVEL = {
    ".ci",
    ".git",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "constraints.txt",
    "docs",
    "dfplan",
    "examples",
    "pyproject.toml",
    "setup.cfg",
    "tests",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / "dfplan").rglob("*.py"))}


def package_of(module: str) -> str:
    """The package or top-level module of dfplan that contains a module."""
    return module.split(".")[1] if module != FRONT else FRONT


def imported(module: str, path: Path) -> set[str]:
    """All modules that ``path`` imports, at its top or inside a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names.update(name if name in MODULES else base for name in inner)
    return names


def named(path: Path) -> set[str]:
    """Modules of dfplan that ``path`` names in strings, such as an environment's entry point."""
    nodes = ast.walk(ast.parse(path.read_text(), path))
    strings = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    return {text.partition(":")[0] for text in strings} & MODULES.keys() - {FRONT}


GRAPH = {module: imported(module, path) for module, path in MODULES.items()}


def of_dfplan(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == FRONT}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {FRONT}))
def test_packages_import_only_earlier_ones(module: str) -> None:
    assert package_of(module) in PACKAGES, f"{module} is in no package of PACKAGES"
    reach = PACKAGES.index(package_of(module))
    allowed = {*PACKAGES[: reach + 1], *({FRONT} if package_of(module) == "cli" else ())}
    names = of_dfplan(GRAPH[module]) | named(MODULES[module])
    later = {name for name in names if package_of(name) not in allowed}
    assert not later, f"{module} imports from later packages: {sorted(later)}"


def test_the_docs_list_the_packages_in_this_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| package | owns |\n")[2].partition("\n\n")[0]
    cells = "".join(line.split("|")[1] for line in table.splitlines())
    assert re.findall(r"`(\w+)(?:\.py|/)`", cells) == list(PACKAGES)


def test_no_import_cycle() -> None:
    TopologicalSorter({m: of_dfplan(names) - {m} for m, names in GRAPH.items()}).prepare()


def reachable(package: str) -> set[str]:
    """The modules of a package, and all modules of dfplan that they import, also indirectly."""
    reached: set[str] = set()
    queue = [module for module in MODULES if package_of(module) == package]
    while queue:
        module = queue.pop()
        reached.add(module)
        queue.extend(of_dfplan(GRAPH[module]) & MODULES.keys() - reached)
    return reached


@pytest.mark.parametrize("package", ["plotting", "mazes", "envs", "evaluation"])
def test_package_needs_no_torch(package: str) -> None:
    for module in reachable(package):
        packages = {name.split(".")[0] for name in GRAPH[module]}
        assert not packages & {"torch", "lightning_fabric"}, f"{package} imports torch by {module}"


def test_evaluation_knows_no_planner() -> None:
    packages = {package_of(module) for module in reachable("evaluation")}
    assert not packages & {"planning", "training", "pretrained", "sampling", "networks", "bench"}


KNOW_SUITES = (
    "suites.py",
    *(
        f"envs/{name}.py"
        for name in ("d4rl", "dynamics", "make", "maze2d", "near_walls", "ogbench", "pointmaze")
    ),
    "collect/*",
    "data/formats/*",
)
"""The files that may ask which suite they have."""
SUITE_NAMES = {"D4RL", "GYMNASIUM", "OGBENCH"}
SUITE_TEXT = re.compile(r"(d4rl|gymnasium|maze2d|multi2d|ogbench|pointmaze)([-_].*)?")


def names_suite(node: ast.AST | None) -> bool:
    """Whether an expression is a suite, the name of one, or a collection with such an item."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(SUITE_TEXT.fullmatch(node.value))
    if isinstance(node, ast.Name):
        return node.id in SUITE_NAMES
    if isinstance(node, ast.Attribute):
        return node.attr in SUITE_NAMES or names_suite(node.value)
    return isinstance(node, ast.Tuple | ast.List | ast.Set) and any(map(names_suite, node.elts))


def asks_for_suite(node: ast.AST) -> bool:
    """Whether a node compares with a suite or looks it up in a table."""
    if isinstance(node, ast.Compare):
        return any(map(names_suite, [node.left, *node.comparators]))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        asking = {"startswith", "endswith", "removeprefix", "removesuffix", "get"}
        return node.func.attr in asking and any(map(names_suite, node.args))
    if isinstance(node, ast.Dict):  # a table by suite, not one by name
        return any(not isinstance(key, ast.Constant) and names_suite(key) for key in node.keys)
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) != "Literal" and names_suite(node.slice)
    return isinstance(node, ast.MatchValue) and names_suite(node.value)


SUITE = re.compile(r"(\w+\.)*suite")


def decides_by_suite(node: ast.AST) -> bool:
    """Whether a node looks up ``suite``, or uses ``suite.name`` for anything but text."""
    if isinstance(node, ast.Subscript) and SUITE.fullmatch(ast.unparse(node.slice)):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        key = node.args[0] if node.func.attr == "get" and node.args else None
        if key is not None and SUITE.fullmatch(ast.unparse(key)):
            return True
    parts = [] if isinstance(node, ast.FormattedValue) else [*ast.iter_child_nodes(node)]
    if isinstance(node, ast.Dict):
        parts = [key for key in node.keys if key]
    names = [part for part in parts if isinstance(part, ast.Attribute) and part.attr == "name"]
    return any(SUITE.fullmatch(ast.unparse(name.value)) for name in names)


def questions(code: str) -> list[ast.AST]:
    """The nodes of code that ask which suite they have."""
    nodes = ast.walk(ast.parse(code))
    return [node for node in nodes if asks_for_suite(node) or decides_by_suite(node)]


def test_only_adapters_ask_which_suite_they_have() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]
        for path in MODULES.values()
        if not any(fnmatch(str(path.relative_to(ROOT / "dfplan")), name) for name in KNOW_SUITES)
        for node in questions(path.read_text())
    ]
    assert not places, "ask an attribute of dfplan.suites.Suite:\n" + "\n".join(places)


@pytest.mark.parametrize(
    "code",
    [
        "suite is OGBENCH",
        "maze.suite in (D4RL, GYMNASIUM)",
        "name.startswith('ogbench-')",
        "table['ogbench']",
        "{OGBENCH: 1}",
        "{'a': 1}[suite.name]",
        "table[maze.suite]",
        "table.get(suite.name)",
        "table.get(maze.suite)",
        "re.match('ogbench', suite.name)",
        "suite.name.find('ogbench')",
        "suite.name[0]",
        "len(suite.name) > 4",
        "name = suite.name",
    ],
)
def test_questions_for_the_suite_are_found(code: str) -> None:
    assert questions(code)


@pytest.mark.parametrize(
    "code", ["f'{suite.name}'", "{'suite': suite.name}", "suite.noise", "maze.suite is DEFAULT"]
)
def test_other_uses_of_a_suite_are_allowed(code: str) -> None:
    assert not questions(code)


@pytest.mark.parametrize(
    "module", ["dfplan", "dfplan.types", "dfplan.envs.make", "dfplan.evaluation.protocols"]
)
def test_import_brings_no_torch(module: str) -> None:
    code = f"import {module}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    "module", ["dfplan", "dfplan.envs.make", "dfplan.plotting", "dfplan.view.server"]
)
def test_import_brings_no_optional_package(module: str) -> None:
    optional = {"mujoco", "gymnasium_robotics", "ogbench", "d3rlpy", "starlette", "uvicorn"}
    code = f"import {module}, sys; print({optional} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_top_level_holds_nothing_else() -> None:
    built = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    found = {p.name for p in ROOT.iterdir() if not any(fnmatch(p.name, name) for name in built)}
    assert found <= TOP_LEVEL, f"unexpected at the top level: {sorted(found - TOP_LEVEL)}"
