"""Does a rollout stay true far beyond the horizon that the network was trained on?

    python benchmarks/long_rollouts.py

Unguided rollouts to 8 times the training horizon from one known position, by the same network (a
causal transformer that sees as many tokens back as it was trained on), the same data, seed and
number of training steps, that differ in the noise levels they were trained with: Diffusion Forcing
(a level for each token), next-token diffusion (teacher forcing: a clean past and one noisy token)
and full-sequence diffusion (one level for all). The first two go on token by token, the third by
half a window at a time behind the half before (arXiv 2407.01392, sections 3.2 and 4.1, claims
that only the first stays stable). "Told" is the noise level at which finished tokens are
remembered, of 100; above 0 that is the paper's stabilization.

"In walls" is the share of environment steps, on straight lines between the rolled out positions,
that lie in a wall or outside; "too fast" the share of lines longer than the body moves in their
time, with 5% to spare. Each column is one stretch of the rollout, in training horizons. The data's
own positions, looked at in the same way, are the first row.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.data import load_d4rl
from dfplan.data.statistics import Statistics
from dfplan.diffusion.levels import FULL_SEQUENCE, INDEPENDENT, TEACHER_FORCING, LevelMixture
from dfplan.diffusion.schedules import noise_schedule
from dfplan.diffusion.targets import named_target
from dfplan.mazes import Maze, named_maze
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.rollout import CausalDenoiser, rollout
from dfplan.sampling.steps import ddim
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import TrainSettings, train
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes import ForcingConfig
from dfplan.types import Trajectories

STRETCHES = (1, 2, 4, 8)
"""Ends of the stretches that are looked at, in training horizons."""

ARMS: dict[str, tuple[LevelMixture, bool, tuple[int, ...]]] = {
    "Diffusion Forcing": (INDEPENDENT, False, (0, 2, 5, 10)),
    "next token": (TEACHER_FORCING, False, (0, 2, 5, 10)),
    "full sequence": (FULL_SEQUENCE, True, (0, 10)),
}
"""Training levels, whether it goes on by half windows, and the levels told, by method."""


def main(
    maze: str = "medium",
    tokens: int = 13,
    steps: int = 1500,
    sampling_steps: int = 5,
    rollouts: int = 200,
    seed: int = 0,
    runs: Path = Path("runs/long_rollouts"),
    out: Path = RESULTS,
) -> None:
    """Train the three networks and roll them out.

    Args:
        maze: umaze, medium or large.
        tokens: of a training window, its first included; odd, so that the others halve.
        steps: optimizer steps.
        sampling_steps: from noise to clean, a token.
        rollouts: from different starts.
        seed: of weights, batches, starts and noise.
        runs: folder for data and runs.
        out: folder for the findings.
    """
    began = time.perf_counter()
    data = load_d4rl(preset_data(PRESETS[f"maze2d-{maze}"], runs / maze))
    walls = named_maze(maze)
    recipe = ForcingConfig(tokens=tokens, network="causal_transformer", window=tokens)
    starts = _starts(data, recipe, rollouts, seed)
    horizon = tokens - 1
    rows: list[dict[str, object]] = []
    for name, (levels, halves, told_levels) in ARMS.items():
        chosen = replace(recipe, levels=levels)
        settings = TrainSettings(steps=steps, batch_size=64, seed=seed)
        folder = runs / f"{maze}-{name.replace(' ', '-').lower()}-{steps}-{seed}"
        file = folder / "checkpoint.safetensors"
        trained = Checkpoint.load(file) if file.exists() else None
        trained = trained or train(chosen, data, folder, settings=settings)
        if not rows:
            frames = torch.from_numpy(data.observations[starts[:, None] + _offsets(recipe), :2])
            rows.append(_row("the data", "", frames, trained.statistics, recipe, walls))
        chunk = horizon // 2 if halves else 1
        matrix = scheduling_matrix("full_sequence", chunk, recipe.noise_levels, sampling_steps)
        context = trained.statistics.normalizer.normalize(
            torch.from_numpy(data.observations[starts, :2])
        )
        for told in told_levels:
            with torch.no_grad():
                made = rollout(
                    _denoiser(chosen, trained),
                    context.repeat(1, recipe.frame_stack)[:, None],
                    torch.zeros(rollouts, 1, dtype=torch.long),
                    STRETCHES[-1] * horizon,
                    matrix,
                    step=ddim(noise_schedule(recipe.schedule, recipe.noise_levels)),
                    generator=torch.Generator().manual_seed(seed),
                    told_level=told,
                )
            positions = made.reshape(rollouts, -1, 2)
            frames = torch.cat([context[:, None], positions], 1)
            frames = trained.statistics.normalizer.unnormalize(frames)
            rows.append(_row(name, str(told), frames, trained.statistics, recipe, walls))
    publish(out, "long_rollouts", __doc__, began, {f"{maze}, {rollouts} rollouts": rows})


def _offsets(recipe: ForcingConfig) -> np.ndarray:
    """Environment steps of the frames of the longest rollout."""
    frames = STRETCHES[-1] * (recipe.tokens - 1) * recipe.frame_stack
    return np.arange(frames + 1) * recipe.stride


def _starts(data: Trajectories, recipe: ForcingConfig, count: int, seed: int) -> np.ndarray:
    """Rows of the data that as many steps follow as a rollout has, int [count]."""
    needed = int(_offsets(recipe)[-1])
    rooms = np.maximum(data.segments[:, 1] - data.segments[:, 0] - needed, 0)
    flat = np.random.default_rng(seed).integers(rooms.sum(), size=count)
    segment = np.searchsorted(np.cumsum(rooms), flat, side="right")
    starts: np.ndarray = data.segments[segment, 0] + flat - (np.cumsum(rooms) - rooms)[segment]
    return starts


def _denoiser(recipe: ForcingConfig, trained: Checkpoint) -> CausalDenoiser:
    network = recipe.untrained()
    network.load_state_dict(trained.network)
    schedule = noise_schedule(recipe.schedule, recipe.noise_levels)
    return CausalDenoiser(network.eval(), named_target(recipe.target), schedule)


def _row(
    name: str,
    told: str,
    frames: torch.Tensor,
    statistics: Statistics,
    recipe: ForcingConfig,
    walls: Maze,
) -> dict[str, object]:
    """Shares of each stretch of ``frames`` [n, P, 2]."""
    positions = frames.double().numpy()
    lines = np.diff(positions, axis=1)
    share = np.arange(1, recipe.stride + 1)[:, None] / recipe.stride
    on_lines = positions[:, :-1, None] + share * lines[:, :, None]
    inside = ~walls.contains(on_lines, radius=0.0)
    fast = np.abs(lines).max(-1) > 1.05 * recipe.stride * statistics.motion.max_step
    lines_a_horizon = (recipe.tokens - 1) * recipe.frame_stack
    row: dict[str, object] = {"levels": name, "told": told}
    for kind, wrong in (("in walls", inside), ("too fast", fast)):
        before = 0
        for end in STRETCHES:
            part = wrong[:, before * lines_a_horizon : end * lines_a_horizon]
            row[f"{kind}, {before} to {end}"] = float(part.mean())
            before = end
    return row


if __name__ == "__main__":
    auto_cli(main)
