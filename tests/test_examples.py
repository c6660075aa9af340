"""The examples run in any folder, print results and write the files that they print."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
RUNS = {
    "gym_loop": ["--maze=umaze", "--episodes=2"],
    "gallery": ["--videos=false"],
    "picture": ["--maze=umaze"],
    "own_data": ["--steps=2"],
    "own_maze": ["--steps=2", "--data_steps=20000"],
    "reward": [],
    "search": ["--maze=umaze"],
    "noisy": ["--maze=umaze", "--episodes=1"],
}
PICTURES = {
    "gallery": {
        "plan.png",
        "denoising.png",
        "uncertainty.png",
        "reward_gradient.png",
        "tree.png",
        "levels.png",
    },
    "picture": {"denoising.png", "plan.png"},
    "own_data": {"plan.png"},
    "own_maze": {"plan.png"},
    "reward": {"plain.png", "visit.png"},
    "search": {"plan.png"},
}


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
