"""Batches of a training run, drawn one step ahead in a second thread."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from dfplan.training.objective import Batch, Objective


def draw_batches(
    objective: Objective, steps: range, size: int, seed: int, rank: int
) -> Generator[tuple[Batch, torch.Generator, float]]:
    """Yield the batch of each of ``steps``.

    Each step has its own generator, seeded by (seed, step, rank). So the batches of a resumed run
    equal those of an uninterrupted one.

    Args:
        objective: draws a batch.
        steps: consecutive step numbers.
        size: windows in a batch.
        seed: seed of the run.
        rank: index of the device.

    Yields:
        (batch, the generator that drew it, seconds that the caller waited for it).
    """

    def draw(step: int) -> tuple[Batch, torch.Generator]:
        generator = torch.Generator()
        generator.manual_seed(_batch_seed(seed, step, rank))
        return objective.draw(size, generator), generator

    with ThreadPoolExecutor(1) as loader:
        upcoming = [loader.submit(draw, step) for step in steps[:1]]
        for step in steps:
            began = time.perf_counter()
            batch, generator = upcoming.pop().result()
            waited = time.perf_counter() - began
            if step + 1 in steps:
                upcoming.append(loader.submit(draw, step + 1))
            yield batch, generator, waited


def _batch_seed(seed: int, step: int, rank: int) -> int:
    """Hash (run, step, device) to a seed."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)
