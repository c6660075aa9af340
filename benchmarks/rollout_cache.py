"""How much time does a cache save in a causal rollout?

    python benchmarks/rollout_cache.py

From one clean token, the networks generate further ones by DDIM, one at a time. "with cache": each
call evaluates only the new token. "without": each call evaluates all tokens on which the new one
depends, i.e. the whole sequence so far or, if each of 4 layers attends to 28 tokens, the last 4 *
27 ("recomputed") and the new one. Both generate the same tokens; "difference" is the largest
difference between them. Times are CPU seconds on one thread. Width 128 and 4 layers as in the
default recipe; the weights are random, which does not change the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from torch import nn
from tqdm import tqdm

from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.diffusion.targets import FLOW
from dfplan.networks.cache import CachedDenoiser, RecomputedCache
from dfplan.networks.gru import GRU
from dfplan.networks.transformer import Transformer
from dfplan.sampling.denoiser import NetworkDenoiser
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.rollout import rollout
from dfplan.sampling.steps import ddim

FEATURES, K = 4, 100
LAYERS, WINDOW = 4, 28
NETWORKS: Mapping[str, tuple[nn.Module, int | None]] = {
    "transformer": (Transformer(FEATURES, K, causal=True), None),
    f"transformer, window {WINDOW}": (
        Transformer(FEATURES, K, layers=LAYERS, causal=True, window=WINDOW),
        LAYERS * (WINDOW - 1),
    ),
    "GRU": (GRU(FEATURES, K), None),
}
"""Networks, and the number of previous tokens on which a token depends; None for all."""


def main(
    sequences: tuple[int, ...] = (1, 4),
    tokens: tuple[int, ...] = (100, 400),
    steps: int = 5,
    out: Path = RESULTS,
) -> None:
    started = time.perf_counter()
    torch.set_num_threads(1)
    runs = list(product(NETWORKS, sequences, tokens))
    rows = [_compare(*run, steps) for run in tqdm(runs, unit="run")]
    publish(out, "rollout_cache", __doc__, started, {f"{steps} sampling steps per token": rows})


@torch.inference_mode()
def _compare(name: str, sequences: int, tokens: int, steps: int) -> dict[str, object]:
    """Return a row: seconds with and without the cache."""
    network, context = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # new networks return 0
        parameter.normal_(std=0.02, generator=generator)
    cached, short = _timed(network, sequences, tokens, steps)
    recomputed, whole = _timed(RecomputedCache(network, context), sequences, tokens, steps)
    return {
        "network": name,
        "sequences": sequences,
        "tokens": tokens,
        "recomputed": "all" if context is None else str(context),
        "with cache, s": short,
        "without, s": whole,
        "times faster": whole / short,
        "difference": float((cached - recomputed).abs().max()),
    }


def _timed(
    network: CachedDenoiser, sequences: int, tokens: int, steps: int
) -> tuple[torch.Tensor, float]:
    schedule = interpolation_schedule(K)
    started = time.process_time()  # other processes may share the machine
    done = rollout(
        NetworkDenoiser(network, FLOW, schedule),
        torch.zeros(sequences, 1, FEATURES),
        torch.zeros(sequences, 1).long(),
        tokens,
        scheduling_matrix("full_sequence", 1, K, steps),
        step=ddim(schedule),
        generator=torch.Generator().manual_seed(0),
    )
    return done, time.process_time() - started


if __name__ == "__main__":
    auto_cli(main)
