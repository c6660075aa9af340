"""What does dfplan cost before it does anything: time to start, size of the package, size of files?

    python benchmarks/start_up.py

"Start-up" is the CPU time (user and system) of a new Python process; each number is the median of
several runs, taken in turns, and each ratio the median of the ratios within a turn. "Wheel" is the
size of the file that `pip install` downloads. "Code" counts lines of Python in the package, with
the longest function measured without its docstring.
"""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from findings import RESULTS, publish
from jsonargparse import auto_cli

ROOT = Path(__file__).parent.parent
BASES = {"pass": "pass", "torch": "import torch"}
COMMANDS = {
    "import dfplan": (["-c", "import dfplan"], "pass"),
    "dfplan --help": (["-m", "dfplan", "--help"], "pass"),
    "dfplan inspect maze2d-umaze": (["-m", "dfplan", "inspect", "maze2d-umaze"], "torch"),
    **{
        f"dfplan {command} --help": (["-m", "dfplan", *command.split(), "--help"], "torch")
        for command in ("data info", "plan", "bench", "train maze2d-umaze")
    },
}
"""Arguments of Python, and the process that each is compared with."""


def main(turns: int = 9, out: Path = RESULTS) -> None:
    """Measure all.

    Args:
        turns: runs of each command.
        out: folder for the results.
    """
    started = time.perf_counter()
    tables = {"Start-up": _start_up(turns), "Wheel": [_wheel()], "Code": [_code()]}
    publish(out, "start_up", __doc__, started, tables)


def _start_up(turns: int) -> list[dict[str, object]]:
    cpu: dict[str, list[float]] = {}
    for _ in range(turns):
        for base, code in BASES.items():
            cpu.setdefault(base, []).append(_cpu([sys.executable, "-c", code]))
        for name, (arguments, _) in COMMANDS.items():
            cpu.setdefault(name, []).append(_cpu([sys.executable, *arguments]))
    return [
        {
            "command": name,
            "CPU ms": 1e3 * median(cpu[name]),
            "over": f"python -c '{BASES[base]}'",
            "its CPU ms": 1e3 * median(cpu[base]),
            "ratio": median(a / b for a, b in zip(cpu[name], cpu[base], strict=True)),
        }
        for name, (_, base) in COMMANDS.items()
    ]


def _cpu(command: list[str]) -> float:
    """CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wheel() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
        subprocess.run([*build, str(ROOT)], check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        return {"file": wheel.name, "MB": wheel.stat().st_size / 1e6}


def _code() -> dict[str, object]:
    files = {path: path.read_text(encoding="utf-8") for path in (ROOT / "dfplan").rglob("*.py")}
    lines = {path: len(text.splitlines()) for path, text in files.items()}
    functions = {
        f"{path.relative_to(ROOT)}: {node.name}": _length(node)
        for path, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    largest, longest = max(lines, key=lines.__getitem__), max(functions, key=functions.__getitem__)
    return {
        "lines": sum(lines.values()),
        "files": len(files),
        "largest file": str(largest.relative_to(ROOT)),
        "its lines": lines[largest],
        "longest function": longest,
        "lines of it": functions[longest],
    }


def _length(function: ast.FunctionDef) -> int:
    lines = int(function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return lines
    return lines - (int(first.end_lineno or 0) - first.lineno + 1)


if __name__ == "__main__":
    auto_cli(main)
