"""The examples run in any folder, print results and write the files that they print."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dfplan
import dfplan.collect
from dfplan.collect import generate
from dfplan.pretrained import load

EXAMPLES = Path(__file__).parent.parent / "examples"
RUNS = {
    "gym_loop": ["--maze=umaze", "--episodes=2"],
    "gallery": ["--videos=false"],
    "picture": ["--maze=umaze"],
    "own_data": ["--steps=2"],
    "own_maze": ["--steps=2"],
    "reward": [],
    "search": ["--maze=umaze"],
    "noisy": ["--maze=umaze", "--episodes=1"],
}
PICTURES = {
    "gallery": {
        "denoising.png",
        "uncertainty.png",
        "reward_gradient.png",
        "data.png",
        "tree.png",
        "levels.png",
        "long_plan.png",
        "futures.png",
    },
    "picture": {"denoising.png", "plan.png"},
    "own_data": {"plan.png"},
    "own_maze": {"plan.png"},
    "reward": {"plain.png", "visit.png"},
    "search": {"plan.png"},
}


def quick_planner(name: str | Path) -> Any:
    planner = load(name)
    settings = replace(planner.settings, candidates=4, refine_steps=2)
    return replace(planner, settings=settings)


def short_recording(maze: Any, steps: int, **more: Any) -> Path:
    return generate(maze, min(steps, 20_000), **more)


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_example_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = EXAMPLES / f"{name}.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), *RUNS[name]])
    monkeypatch.setattr(dfplan, "load", quick_planner)
    monkeypatch.setattr(dfplan.collect, "generate", short_recording)
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out.split()
    pictures = {Path(word) for word in printed if word.endswith(".png")}
    assert printed
    assert {path.name for path in pictures} == PICTURES.get(name, set())
    assert all(path.stat().st_size for path in pictures)


def test_the_readme_names_every_example() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in EXAMPLES.glob("*.py") if path.name not in readme]
    assert not missing
