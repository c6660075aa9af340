"""What does a memory save in a causal rollout?

    python benchmarks/rollout_cache.py

From one clean token the networks generate further ones, one at a time, by DDIM: "with memory" each
call shows them the new token alone, "recomputing" all that it hears of: the whole sequence so far,
or, where each of 4 layers looks at 28 tokens, the last 4 * 27 ("recomputed") and the new one. Both
make the same tokens; "difference" is the largest between them. Seconds of computing on one thread;
width 128 and 4 layers as in the default recipe, weights drawn at random, which does not change
what they cost.
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
from dfplan.networks.cache import RecomputedCache, CachedDenoiser
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
"""Networks, and how many tokens before it a token hears of; None: all."""


def main(
    sequences: tuple[int, ...] = (1, 4),
    tokens: tuple[int, ...] = (100, 400),
    steps: int = 5,
    out: Path = RESULTS,
) -> None:
    began = time.perf_counter()
    torch.set_num_threads(1)
    runs = list(product(NETWORKS, sequences, tokens))
    rows = [_compare(*run, steps) for run in tqdm(runs, unit="run")]
    publish(out, "rollout_cache", __doc__, began, {f"{steps} sampling steps a token": rows})


@torch.inference_mode()
def _compare(name: str, sequences: int, tokens: int, steps: int) -> dict[str, object]:
    """A row: seconds with and without the network's memory."""
    network, heard = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # fresh networks say 0
        parameter.normal_(std=0.02, generator=generator)
    remembered, short = _timed(network, sequences, tokens, steps)
    recomputed, whole = _timed(RecomputedCache(network, heard), sequences, tokens, steps)
    return {
        "network": name,
        "sequences": sequences,
        "tokens": tokens,
        "recomputed": "all" if heard is None else str(heard),
        "with memory, s": short,
        "recomputing, s": whole,
        "times faster": whole / short,
        "difference": float((remembered - recomputed).abs().max()),
    }


def _timed(
    network: CachedDenoiser, sequences: int, tokens: int, steps: int
) -> tuple[torch.Tensor, float]:
    schedule = interpolation_schedule(K)
    began = time.process_time()  # other processes may share the machine
    done = rollout(
        NetworkDenoiser(network, FLOW, schedule),
        torch.zeros(sequences, 1, FEATURES),
        torch.zeros(sequences, 1).long(),
        tokens,
        scheduling_matrix("full_sequence", 1, K, steps),
        step=ddim(schedule),
        generator=torch.Generator().manual_seed(0),
    )
    return done, time.process_time() - began


if __name__ == "__main__":
    auto_cli(main)
