"""Full-sequence diffusion is Diffusion Forcing at common levels, from training to samples."""

from __future__ import annotations

from itertools import pairwise

import torch

from dfplan.diffusion.levels import FULL_SEQUENCE, draw_levels
from dfplan.diffusion.loss import forcing_loss, uniform
from dfplan.diffusion.schedules import cosine_schedule
from dfplan.networks.transformer import Transformer
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import full_sequence
from dfplan.sampling.steps import ddim

K, BATCH, TOKENS, FEATURES = 20, 8, 6, 4
SCHEDULE = cosine_schedule(K)


def untrained() -> tuple[Transformer, torch.optim.Optimizer, torch.Generator]:
    torch.manual_seed(0)
    network = Transformer(FEATURES, max_level=K, width=16, layers=2, heads=2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    return network, optimizer, torch.Generator().manual_seed(1)


def test_training_and_sampling_equal_plain_diffusion_bit_for_bit() -> None:
    forcing, optimizer, generator = untrained()
    plain, plain_optimizer, plain_generator = untrained()
    mask = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    horizon = torch.full((BATCH,), TOKENS - 1)
    for _ in range(5):
        clean, noise = torch.randn(2, BATCH, TOKENS, FEATURES, generator=generator).unbind()
        level, _ = draw_levels(horizon, TOKENS, K, FULL_SEQUENCE, generator)
        loss = forcing_loss(forcing, clean, level, mask, SCHEDULE, noise, uniform)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        # One level a window, and the mean squared error of the clean estimate.
        clean, noise = torch.randn(2, BATCH, TOKENS, FEATURES, generator=plain_generator).unbind()
        window = draw_levels(horizon, TOKENS, K, FULL_SEQUENCE, plain_generator)[0][:, :1]
        noisy = (
            SCHEDULE.alpha[window][..., None] * clean + SCHEDULE.sigma[window][..., None] * noise
        )
        error = (plain(noisy, window.expand(-1, TOKENS)) - clean).square().mean(-1).mean()
        plain_optimizer.zero_grad()
        error.backward()
        plain_optimizer.step()
        assert torch.equal(loss, error)
    for ours, plain_weights in zip(forcing.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, plain_weights)

    start = torch.randn(BATCH, TOKENS, FEATURES, generator=generator)
    matrix = full_sequence(TOKENS, K, 4)
    with torch.no_grad():
        ours = sample(forcing, start, matrix, step=ddim(SCHEDULE), generator=generator)
        x = start
        for level, after in pairwise([20, 15, 10, 5, 0]):
            estimate = plain(x, torch.full((BATCH, TOKENS), level))
            direction = (x - SCHEDULE.alpha[level] * estimate) / SCHEDULE.sigma[level]
            x = SCHEDULE.alpha[after] * estimate + SCHEDULE.sigma[after] * direction
    assert torch.equal(ours, x)
