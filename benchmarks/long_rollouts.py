"""Does a rollout stay realistic far beyond the training horizon of the network?

    python benchmarks/long_rollouts.py

Unguided rollouts to 8 times the training horizon from one known position. All networks are the same
causal transformer, which attends to as many previous tokens as in training, and they are trained on
the same data for the same CPU time on one thread. The number of steps follows from the time of 100
steps. Only the training noise differs. Diffusion Forcing has a level for each token. Next-token
diffusion has the same levels, but each token follows clean tokens (teacher forcing, for all tokens
of a window in one call, which doubles the work of a step). Full-sequence diffusion has one level
for all tokens. The first two continue token by token, the third by half a window at a time after
the previous half (arXiv 2407.01392, sections 3.2 and 4.1, claims that only the first stays stable).

"past" is how the network is conditioned on finished tokens. "level 0" to "level 10": the clean
tokens with that noise level, of 100; levels above 0 are the paper's stabilization. "replaced": the
tokens with noise at the level of the new ones in each step. This is the usual way to extend
full-sequence diffusion, which never saw clean tokens next to noisy ones (arXiv 2204.03458, section
3.1); with many stochastic steps (ddpm) the new tokens follow them more closely. "steps" are
sampling steps from noise to clean, for a token or for half a window. "nothing" is not a rollout:
whole windows are sampled from noise, for which full-sequence diffusion is trained.

"in walls" is the share of environment steps, on straight lines between the positions of the
rollout, that lie in a wall or outside the maze. "too fast" is the share of lines longer than the
body moves in that time, with a tolerance of 5%. Each column is one interval of the rollout, in
training horizons. Each row is one trained network; "seed" is that of its weights and batches, while
starts and noise of the rollouts are the same for all. The first row shows the positions of the
data.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from lightning_fabric import Fabric

from dfplan.data import load_data
from dfplan.diffusion.levels import FULL_SEQUENCE, INDEPENDENT
from dfplan.mazes import named_maze
from dfplan.networks.cache import RecomputedCache
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.replacement import replaced
from dfplan.sampling.rollout import rollout
from dfplan.sampling.steps import sampling_step
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train as train_model
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Denoiser

INTERVALS = (1, 2, 4, 8)
"""Ends of the measured intervals, in training horizons."""

REPLACED, NOTHING = "replaced", "nothing"

Sampling = tuple[int | str, str, int]
"""Conditioning level of finished tokens, :data:`REPLACED` or :data:`NOTHING`; step; steps."""

_BY_TOKEN = ((0, "ddim", 5), (2, "ddim", 5), (5, "ddim", 5), (10, "ddim", 5), (0, "ddim", 20))
_BY_WINDOW = ((REPLACED, "ddim", 5), (REPLACED, "ddpm", 50), (0, "ddim", 5), (NOTHING, "ddpm", 50))

ARMS: dict[str, tuple[dict[str, Any], bool, tuple[Sampling, ...]]] = {
    "Diffusion Forcing": ({"levels": INDEPENDENT}, False, _BY_TOKEN),
    "next token": ({"levels": INDEPENDENT, "parallel_teacher_forcing": True}, False, _BY_TOKEN),
    "full sequence": ({"levels": FULL_SEQUENCE}, True, _BY_WINDOW),
}
"""Training settings, whether a rollout continues by half windows, and samplings, by name."""

_TIMED_STEPS = 100


@dataclass(frozen=True)
class Arm:
    """One network to train and to roll out.

    Attributes:
        name: a key of :data:`ARMS`.
        maze: umaze, medium or large.
        tokens: of a training window.
        steps: optimizer steps.
        seed: of weights and batches.
        data: the maze's data file.
        folder: of the training.
    """

    name: str
    maze: str
    tokens: int
    steps: int
    seed: int
    data: Path
    folder: Path

    @property
    def recipe(self) -> ForcingConfig:
        """The training recipe."""
        plain = ForcingConfig(tokens=self.tokens, network="causal_transformer", window=self.tokens)
        return replace(plain, **ARMS[self.name][0])

    def train(self) -> Checkpoint:
        """Return the finished training; train now if there is none."""
        file = self.folder / "checkpoint.safetensors"
        if file.exists():
            return Checkpoint.load(file)
        rmtree(self.folder, ignore_errors=True)  # of an interrupted training
        return train_model(
            self.recipe,
            load_data(self.data),
            self.folder,
            settings=TrainSettings(steps=self.steps, batch_size=64, seed=self.seed),
            fabric=Fabric(accelerator="cpu", devices=1),
            progress=False,
        )


def main(
    maze: str = "medium",
    tokens: int = 13,
    seconds: float = 120.0,
    seeds: tuple[int, ...] = (0, 1),
    rollouts: int = 200,
    rollout_seed: int = 0,
    workers: int = 2,
    runs: Path = Path("runs/long_rollouts"),
    out: Path = RESULTS,
) -> None:
    """Train the networks that are not yet trained, and roll them out.

    Args:
        maze: umaze, medium or large.
        tokens: of a training window, including the first; odd, so that the others can be halved.
        seconds: CPU time of each training.
        seeds: of weights and batches; one network each.
        rollouts: number of rollouts, from different starts.
        rollout_seed: of starts and noise.
        workers: processes with one thread each.
        runs: folder for data and trainings; a finished training is used again.
        out: folder for the results.
    """
    started = time.perf_counter()
    data = preset_data(PRESETS[f"maze2d-{maze}"], runs / maze)
    with ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        timed = [
            Arm(
                name, maze, tokens, _TIMED_STEPS, 0, data, runs / f"{maze}-{name}".replace(" ", "_")
            )
            for name in ARMS
        ]
        steps = [
            max(1, round(_TIMED_STEPS * seconds / spent)) for spent in pool.map(_seconds, timed)
        ]
        arms = [
            replace(
                arm,
                steps=count,
                seed=seed,
                folder=arm.folder.with_name(f"{arm.folder.name}-{seconds:g}-{seed}"),
            )
            for arm, count in zip(timed, steps, strict=True)
            for seed in seeds
        ]
        trained = list(pool.map(_training, arms))
        roll = partial(_roll_out, rollouts=rollouts, seed=rollout_seed)
        rollout_rows = list(pool.map(roll, arms))
    recorded = _recorded(arms[0], rollouts, rollout_seed)
    nothing = {"training": "the data", "past": "", "steps": "", "seed": ""}
    rows = [{**nothing, **_shares(recorded, arms[0])}, *chain(*rollout_rows)]
    tables = {f"Training, {seconds:g} s each": trained, f"{maze}, {rollouts} rollouts": rows}
    publish(out, "long_rollouts", __doc__, started, tables)


def _seconds(arm: Arm) -> float:
    """CPU seconds of the training of ``arm``."""
    return float(arm.train().training["cpu_seconds"])


def _training(arm: Arm) -> dict[str, object]:
    """Train ``arm`` unless that is done; return a row of the training table."""
    spent = _seconds(arm)
    return {"training": arm.name, "seed": arm.seed, "steps": arm.steps, "s": spent}


@torch.inference_mode()
def _roll_out(arm: Arm, rollouts: int, seed: int) -> list[dict[str, object]]:
    """Return the rows of one network, one per sampling."""
    recipe, trained = arm.recipe, arm.train()
    network, normalizer = recipe.denoiser(trained), trained.statistics.normalizer
    start = _recorded(arm, rollouts, seed)[:, :1]
    context = recipe.layout.to_tokens(normalizer.normalize(start))
    _, by_half_windows, samplings = ARMS[arm.name]
    horizon = recipe.tokens - 1
    rows = []
    for past, step, steps in samplings:
        generator = torch.Generator().manual_seed(seed)
        chunk = horizon // 2 if by_half_windows else 1
        denoiser: Denoiser = network
        known, tokens = context, INTERVALS[-1] * horizon
        if past == REPLACED:
            noisy = replaced(network, network.schedule, generator)
            denoiser = RecomputedCache(noisy, recipe.tokens - chunk)
        elif past == NOTHING:
            known, tokens, chunk = context[:, :0], recipe.tokens, recipe.tokens
        new = rollout(
            denoiser,
            known,
            torch.zeros(known.shape[:2], dtype=torch.long),
            tokens,
            scheduling_matrix("full_sequence", chunk, recipe.noise_levels, steps),
            step=sampling_step(step, network.schedule),
            generator=generator,
            conditioning_level=past if isinstance(past, int) else 0,
        )
        frames = normalizer.unnormalize(recipe.layout.to_frames(torch.cat([known, new], 1)))
        rows.append(
            {
                "training": arm.name,
                "past": f"level {past}" if isinstance(past, int) else past,
                "steps": f"{steps} {step}",
                "seed": arm.seed,
                **_shares(frames, arm),
            }
        )
    return rows


def _recorded(arm: Arm, rollouts: int, seed: int) -> torch.Tensor:
    """Positions of the data from random starts, as long as a rollout, [n, P, 2]."""
    data, recipe = load_data(arm.data), arm.recipe
    frames = INTERVALS[-1] * (recipe.tokens - 1) * recipe.frame_stack
    offsets = np.arange(frames + 1) * recipe.stride
    room = np.maximum(data.segments[:, 1] - data.segments[:, 0] - offsets[-1], 0)
    flat = np.random.default_rng(seed).integers(room.sum(), size=rollouts)
    segment = np.searchsorted(np.cumsum(room), flat, side="right")
    starts = data.segments[segment, 0] + flat - (np.cumsum(room) - room)[segment]
    return torch.from_numpy(data.observations[starts[:, None] + offsets, :2])


def _shares(frames: torch.Tensor, arm: Arm) -> dict[str, object]:
    """Shares of errors in each interval of ``frames`` [n, P, 2]; None after their end."""
    recipe, motion = arm.recipe, arm.train().statistics.motion
    positions = frames.double().numpy()
    lines = np.diff(positions, axis=1)
    share = np.arange(1, recipe.stride + 1)[:, None] / recipe.stride
    on_lines = positions[:, :-1, None] + share * lines[:, :, None]
    inside = ~named_maze(arm.maze).is_free(on_lines, radius=0.0)
    fast = np.abs(lines).max(-1) > 1.05 * recipe.stride * motion.max_step
    lines_a_horizon = (recipe.tokens - 1) * recipe.frame_stack
    row: dict[str, object] = {}
    for kind, wrong in (("in walls", inside), ("too fast", fast)):
        before = 0
        for end in INTERVALS:
            part = wrong[:, before * lines_a_horizon : end * lines_a_horizon]
            row[f"{kind}, {before} to {end}"] = float(part.mean()) if part.size else None
            before = end
    return row


if __name__ == "__main__":
    auto_cli(main)
