"""Does a rollout stay true far beyond the horizon that the network was trained on?

    python benchmarks/long_rollouts.py

Unguided rollouts to 8 times the training horizon from one known position, by the same network (a
causal transformer that sees as many tokens back as it was trained on), trained on the same data
for the same seconds of computing on one thread: the number of steps follows from the time that
100 of them take. What differs is the noise that it is trained on: Diffusion Forcing has a level
for each token; next-token diffusion the same levels, but each token behind the clean ones before
it (teacher forcing, at all places of a window in one call, which doubles the work of a step);
full-sequence diffusion one level for all. The first two go on token by token, the third by half a
window at a time behind the half before (arXiv 2407.01392, sections 3.2 and 4.1, claims that only
the first stays stable).

"Past" is what the network is shown of finished tokens. "Told 0" to "told 10": the tokens, as if
they were at that noise level, of 100; above 0 that is the paper's stabilization. "Replaced": the
tokens with noise of the level that the new ones have at each step, as full-sequence diffusion,
which never saw clean tokens beside noisy ones, is usually made to go on (arXiv 2204.03458, section
3.1); with many steps that draw noise (ddpm) the new tokens follow them more closely. "Steps" are
sampling steps from noise to clean: of a token, or of half a window. "Nothing" is no rollout but
whole windows from noise, all that full-sequence diffusion is trained for.

"In walls" is the share of environment steps, on straight lines between the rolled out positions,
that lie in a wall or outside; "too fast" the share of lines longer than the body moves in their
time, with 5% to spare. Each column is one stretch of the rollout, in training horizons. Each row
is one trained network; "seed" is that of its weights and batches, while starts and noise of the
rollouts are the same for all. The data's own positions, looked at in the same way, are the first
row.
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
from dfplan.training.loop import train
from dfplan.training.presets import PRESETS, preset_data
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Denoiser

STRETCHES = (1, 2, 4, 8)
"""Ends of the stretches that are looked at, in training horizons."""

REPLACED, NOTHING = "replaced", "nothing"

Way = tuple[int | str, str, int]
"""The level that finished tokens are told at, :data:`REPLACED` or :data:`NOTHING`; step; steps."""

_TOLD = ((0, "ddim", 5), (2, "ddim", 5), (5, "ddim", 5), (10, "ddim", 5), (0, "ddim", 20))
_WINDOWS = ((REPLACED, "ddim", 5), (REPLACED, "ddpm", 50), (0, "ddim", 5), (NOTHING, "ddpm", 50))

ARMS: dict[str, tuple[dict[str, Any], bool, tuple[Way, ...]]] = {
    "Diffusion Forcing": ({"levels": INDEPENDENT}, False, _TOLD),
    "next token": ({"levels": INDEPENDENT, "parallel_teacher_forcing": True}, False, _TOLD),
    "full sequence": ({"levels": FULL_SEQUENCE}, True, _WINDOWS),
}
"""What is trained, whether it goes on by half windows, and how it is sampled, by name."""

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
        folder: where the run is or will be.
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
        """What is trained."""
        plain = ForcingConfig(tokens=self.tokens, network="causal_transformer", window=self.tokens)
        return replace(plain, **ARMS[self.name][0])

    def trained(self) -> Checkpoint:
        """The finished run, trained now if there is none."""
        file = self.folder / "checkpoint.safetensors"
        if file.exists():
            return Checkpoint.load(file)
        rmtree(self.folder, ignore_errors=True)  # what an interrupted run left
        return train(
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
        tokens: of a training window, its first included; odd, so that the others halve.
        seconds: of computing to train each network for.
        seeds: of weights and batches; a network each.
        rollouts: from different starts.
        rollout_seed: of starts and noise.
        workers: processes, of one thread each.
        runs: folder for data and runs; a finished run is used again.
        out: folder for the findings.
    """
    began = time.perf_counter()
    data = preset_data(PRESETS[f"maze2d-{maze}"], runs / maze)
    with ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        tried = [
            Arm(
                name, maze, tokens, _TIMED_STEPS, 0, data, runs / f"{maze}-{name}".replace(" ", "_")
            )
            for name in ARMS
        ]
        steps = [max(1, round(_TIMED_STEPS * seconds / took)) for took in pool.map(_seconds, tried)]
        arms = [
            replace(
                arm,
                steps=count,
                seed=seed,
                folder=arm.folder.with_name(f"{arm.folder.name}-{seconds:g}-{seed}"),
            )
            for arm, count in zip(tried, steps, strict=True)
            for seed in seeds
        ]
        trained = list(pool.map(_training, arms))
        roll = partial(_rolled_out, rollouts=rollouts, seed=rollout_seed)
        rolled_out = list(pool.map(roll, arms))
    recorded = _recorded(arms[0], rollouts, rollout_seed)
    nothing = {"training": "the data", "past": "", "steps": "", "seed": ""}
    rows = [{**nothing, **_shares(recorded, arms[0])}, *chain(*rolled_out)]
    tables = {f"Training, {seconds:g} s each": trained, f"{maze}, {rollouts} rollouts": rows}
    publish(out, "long_rollouts", __doc__, began, tables)


def _seconds(arm: Arm) -> float:
    """Seconds of computing that the run of ``arm`` took."""
    return float(arm.trained().training["cpu_seconds"])


def _training(arm: Arm) -> dict[str, object]:
    """Train ``arm`` unless that is done; a row of the table of training."""
    took = _seconds(arm)
    return {"training": arm.name, "seed": arm.seed, "steps": arm.steps, "s": took}


@torch.inference_mode()
def _rolled_out(arm: Arm, rollouts: int, seed: int) -> list[dict[str, object]]:
    """Rows of one network, one for each way to go on."""
    recipe, trained = arm.recipe, arm.trained()
    network, normalizer = recipe.denoiser(trained), trained.statistics.normalizer
    start = _recorded(arm, rollouts, seed)[:, :1]
    context = recipe.layout.to_tokens(normalizer.normalize(start))
    _, halves, ways = ARMS[arm.name]
    horizon = recipe.tokens - 1
    rows = []
    for past, step, steps in ways:
        generator = torch.Generator().manual_seed(seed)
        chunk = horizon // 2 if halves else 1
        denoiser: Denoiser = network
        known, tokens = context, STRETCHES[-1] * horizon
        if past == REPLACED:
            noisy = replaced(network, network.schedule, generator)
            denoiser = RecomputedCache(noisy, recipe.tokens - chunk)
        elif past == NOTHING:
            known, tokens, chunk = context[:, :0], recipe.tokens, recipe.tokens
        made = rollout(
            denoiser,
            known,
            torch.zeros(known.shape[:2], dtype=torch.long),
            tokens,
            scheduling_matrix("full_sequence", chunk, recipe.noise_levels, steps),
            step=sampling_step(step, network.schedule),
            generator=generator,
            conditioning_level=past if isinstance(past, int) else 0,
        )
        frames = normalizer.unnormalize(recipe.layout.to_frames(torch.cat([known, made], 1)))
        rows.append(
            {
                "training": arm.name,
                "past": f"told {past}" if isinstance(past, int) else past,
                "steps": f"{steps} {step}",
                "seed": arm.seed,
                **_shares(frames, arm),
            }
        )
    return rows


def _recorded(arm: Arm, rollouts: int, seed: int) -> torch.Tensor:
    """The data's own positions from random starts on, as long as a rollout, [n, P, 2]."""
    data, recipe = load_data(arm.data), arm.recipe
    frames = STRETCHES[-1] * (recipe.tokens - 1) * recipe.frame_stack
    offsets = np.arange(frames + 1) * recipe.stride
    rooms = np.maximum(data.segments[:, 1] - data.segments[:, 0] - offsets[-1], 0)
    flat = np.random.default_rng(seed).integers(rooms.sum(), size=rollouts)
    segment = np.searchsorted(np.cumsum(rooms), flat, side="right")
    starts = data.segments[segment, 0] + flat - (np.cumsum(rooms) - rooms)[segment]
    return torch.from_numpy(data.observations[starts[:, None] + offsets, :2])


def _shares(frames: torch.Tensor, arm: Arm) -> dict[str, object]:
    """What is wrong with each stretch of ``frames`` [n, P, 2], None where they do not reach."""
    recipe, motion = arm.recipe, arm.trained().statistics.motion
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
        for end in STRETCHES:
            part = wrong[:, before * lines_a_horizon : end * lines_a_horizon]
            row[f"{kind}, {before} to {end}"] = float(part.mean()) if part.size else None
            before = end
    return row


if __name__ == "__main__":
    auto_cli(main)
