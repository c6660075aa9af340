"""Shared fixtures: recorded motion without a maze, and a planner trained on it.

A point mass moves back and forth in an L-shaped corridor, in arbitrary coordinates and units. There
is no maze: the corridor is only where the body moves.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from dfplan.blocks import blocks
from dfplan.data import from_arrays, segmented
from dfplan.planning.single import ForcingPlanner
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Recording, Trajectories

# The same examples in every run; `--hypothesis-profile=default` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

torch.set_num_threads(1)  # the networks of the tests are too small to share

# A shell that starts pytest in the background makes it ignore interrupts. Commands that tests start
# and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Corridor:
    """An L of two arms, each 20 long and 6 wide, with the corner at (0, 40)."""

    line: np.ndarray
    dt: float = 0.1
    drag: float = 0.0024
    gain: float = 0.24
    limit: float = 5.0

    def at(self, along: np.ndarray) -> np.ndarray:
        """Positions [..., 2] on the middle line, ``along`` (0 to 40) from its first end."""
        axes = [np.interp(along, [0, 20, 40], self.line[:, axis]) for axis in (0, 1)]
        return np.stack(axes, -1)

    def away(self, positions: np.ndarray) -> np.ndarray:
        """Distance [...] of positions [..., 2] from the middle line."""
        lines = self.at(np.linspace(0, 40, 401))
        return np.linalg.norm(positions[..., None, :] - lines, axis=-1).min(-1)

    def advance(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """One step of the bodies in ``state`` [B, 4] under ``action`` [B, 2]; no walls."""
        velocity = (1 - self.drag) * np.clip(state[:, 2:], -self.limit, self.limit)
        velocity = velocity + self.gain * action
        return np.concatenate([state[:, :2] + self.dt * velocity, velocity], 1)

    def record(self, walkers: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """States [walkers, steps, 4] and actions of bodies that move to random targets in turn."""
        rng = np.random.default_rng(seed)
        side = rng.uniform(-2.5, 2.5, (walkers, 1)) * [[1.0, -1.0]]
        target = rng.uniform(0, 40, walkers)
        start = self.at(rng.uniform(0, 40, walkers)) + side
        state = np.concatenate([start, np.zeros((walkers, 2))], 1)
        states, actions = [], []
        for _ in range(steps):
            x, y = (state[:, :2] - side - self.line[1]).T
            along = 20 + np.where(np.abs(x) > np.abs(y), x, y)
            arrived = np.abs(target - along) < 1
            target = np.where(arrived, rng.uniform(0, 40, walkers), target)
            aim = self.at(along + np.clip(target - along, -4, 4)) + side
            action = np.clip(1.9 * (aim - state[:, :2]) - 1.5 * state[:, 2:], -1, 1)
            states.append(state)
            actions.append(action)
            state = self.advance(state, action)
        return np.stack(states, 1), np.stack(actions, 1)


@dataclass(frozen=True)
class Run:
    """The output folder of a training."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    def metrics(self) -> list[dict[str, float]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def corridor() -> Corridor:
    return Corridor(np.array([[-20.0, 40.0], [0.0, 40.0], [0.0, 60.0]]))


@pytest.fixture(scope="session")
def trajectories(corridor: Corridor) -> Trajectories:
    """40 walks of 400 steps in the corridor."""
    states, actions = corridor.record(walkers=40, steps=400, seed=0)
    ends = np.arange(states[..., 0].size) % 400 == 399
    return segmented(
        from_arrays(states.reshape(-1, 4), actions.reshape(-1, 2), ends, source="corridor")
    )


@pytest.fixture(scope="session")
def wide() -> Recording:
    """20 walks of 100 steps in a square, with observations of 29 numbers and actions of 8.

    The position is in front. The other numbers of an observation depend on it, and the actions
    depend on the next displacement.
    """
    rng = np.random.default_rng(0)
    position, target = rng.uniform(-4, 4, (2, 20, 2))
    angles, mix = rng.normal(size=(2, 27)), rng.normal(size=(2, 8))
    observations, actions = [], []
    for _ in range(100):
        arrived = np.linalg.norm(target - position, axis=1) < 0.3
        target = np.where(arrived[:, None], rng.uniform(-4, 4, (20, 2)), target)
        move = np.clip(target - position, -0.2, 0.2)
        observations.append(np.concatenate([position, np.sin(position @ angles)], 1))
        actions.append(np.clip(move @ mix, -1, 1))
        position = position + move
    ends = np.arange(2000) % 100 == 99
    return from_arrays(
        np.stack(observations, 1).reshape(-1, 29).astype(np.float32),
        np.stack(actions, 1).reshape(-1, 8).astype(np.float32),
        ends,
        source="walks in a square",
        position=(0, 1),
    )


@pytest.fixture(scope="session")
def recipe() -> ForcingConfig:
    return ForcingConfig(tokens=14, stride=5, noise_levels=20, width=32, layers=2, heads=2)


@pytest.fixture(scope="session")
def trained(
    recipe: ForcingConfig, trajectories: Trajectories, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A training that is long enough to plan around the corner."""
    settings = TrainSettings(
        steps=300, batch_size=32, learning_rate=3e-3, warmup=20, ema_decay=0.98, save_every=300
    )
    folder = tmp_path_factory.mktemp("trained")
    train(recipe, trajectories, folder, settings=settings, progress=False)
    return Run(folder)


@pytest.fixture(scope="session")
def planner(recipe: ForcingConfig, trained: Run) -> ForcingPlanner:
    """The planner of :func:`trained`, without a spread, which takes more evaluations."""
    return recipe.load(Checkpoint.load(trained.checkpoint)).with_settings(replans=0)


@pytest.fixture
def limit_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that limits the rows of all blocks in which the package reads long arrays."""

    def limit(rows: int) -> None:
        def smaller(stop: int, size: int, *, start: int = 0) -> Iterator[slice]:
            return blocks(stop, min(size, rows), start=start)

        for name, module in list(sys.modules.items()):
            if name.startswith("dfplan.") and getattr(module, "blocks", None) is blocks:
                monkeypatch.setattr(module, "blocks", smaller)

    return limit


@pytest.fixture
def unguided(planner: ForcingPlanner) -> ForcingPlanner:
    """The planner without guidance and refinement: it returns what the network generates."""
    guidance = dataclasses.replace(planner.settings.guidance, scale=0.0)
    settings = dataclasses.replace(
        planner.settings, guidance=guidance, refine_steps=0, candidates=4
    )
    return dataclasses.replace(planner, settings=settings)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for pages; without it, or without playwright, the test is skipped."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("there is no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
