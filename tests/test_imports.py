"""The walls of the house: which room may import which, and what stays out of some of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "errors",
    "arrays",
    "record",
    "files",
    "suites",
    "mazes",
    "blocks",
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
    "bench",
    "view",
    "cli",
    "__main__",
)
FRONT = "dfplan"  # dfplan/__init__.py, which shows what the rooms offer
TOP_LEVEL = {
    ".ci",
    ".git",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "constraints.txt",
    "dfplan",
    "examples",
    "pyproject.toml",
    "setup.cfg",
    "tests",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / "dfplan").rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1] if module != FRONT else FRONT


def imported(module: str, path: Path) -> set[str]:
    """Everything that ``path`` imports, at its top or within a function."""
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
    """Modules of ours that ``path`` names in strings, such as an environment's entry point."""
    nodes = ast.walk(ast.parse(path.read_text(), path))
    strings = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    return {text.partition(":")[0] for text in strings} & MODULES.keys() - {FRONT}


GRAPH = {module: imported(module, path) for module, path in MODULES.items()}


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == FRONT}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {FRONT}))
def test_imports_climb_to_no_later_room(module: str) -> None:
    assert room(module) in ROOMS, f"{module} is in no room of the house"
    reach = ROOMS.index(room(module))
    allowed = {*ROOMS[: reach + 1], *({FRONT} if room(module) == "cli" else ())}
    names = own(GRAPH[module]) | named(MODULES[module])
    climbing = {name for name in names if room(name) not in allowed}
    assert not climbing, f"{module} imports from later rooms: {sorted(climbing)}"


def test_no_import_cycle() -> None:
    TopologicalSorter({m: own(names) - {m} for m, names in GRAPH.items()}).prepare()


def test_plotting_needs_no_torch() -> None:
    reached, queue = set(), [m for m in MODULES if room(m) == "plotting"]
    while queue:
        module = queue.pop()
        reached.add(module)
        packages = {name.split(".")[0] for name in GRAPH[module]}
        assert not packages & {"torch", "lightning_fabric"}, f"plotting imports torch by {module}"
        queue.extend(own(GRAPH[module]) & MODULES.keys() - reached)


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
