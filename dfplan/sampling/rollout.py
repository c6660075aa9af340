"""Rollout: token after token into the future, each remembered once it is clean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Generic

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.diffusion.targets import Target
from dfplan.errors import ConfigError
from dfplan.networks.memory import M, Remembers
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import check_matrix
from dfplan.types import Step


@dataclass(frozen=True)
class CausalDenoiser(Generic[M]):
    """Clean estimates of a network that remembers, wherever it runs; CPU in, CPU out.

    The memory stays with the network, on its device.

    Attributes:
        network: predicts ``target``.
        target: what the network predicts.
        schedule: the noise schedule that it was trained with.
        device: where it runs.
    """

    network: Remembers[M]
    target: Target
    schedule: NoiseSchedule
    device: torch.device | str = "cpu"

    def __call__(
        self, x: torch.Tensor, level: torch.Tensor, memory: M | None = None
    ) -> torch.Tensor:
        prediction = self.network(x.to(self.device), level.to(self.device), memory).to(x)
        return self.target.to_clean(x, prediction, level, self.schedule)

    def remember(self, x: torch.Tensor, level: torch.Tensor, memory: M | None = None) -> M:
        return self.network.remember(x.to(self.device), level.to(self.device), memory)


def rollout(
    denoiser: Remembers[M],
    context: torch.Tensor,
    level: torch.Tensor,
    tokens: int,
    matrix: torch.Tensor,
    *,
    step: Step,
    generator: torch.Generator,
    told_level: int = 0,
) -> torch.Tensor:
    """Go on from ``context``, one chunk of tokens after the other.

    A chunk is denoised from pure noise along ``matrix`` and then remembered, so that N tokens cost
    the network in proportion to N. In chunks of one token this is next-token prediction
    (arXiv 2407.01392, section 3.3). The result equals that of showing the network the whole
    sequence each time, and the first tokens of a longer rollout are those of a shorter one. Unless
    gradients are wanted through all of it, call it under ``torch.inference_mode()``.

    Args:
        denoiser: ``(x, level, memory) -> clean estimate``, and its memory.
        context: tokens to go on from, [B, T, D]; T may be 0.
        level: noise level of each of them, int [B, T].
        tokens: how many more are wanted; the last chunk is cut where it has more.
        matrix: scheduling matrix of one chunk, int [M+1, C] or [M+1, B, C], its first row K: a
            token at a time is ``scheduling_matrix("full_sequence", 1, K, steps)``.
        step: takes the tokens whose level falls from one row to the next.
        generator: draws the noise that tokens start from, and that of steps.
        told_level: the level at which finished tokens are remembered; a small one, 0 < k << K,
            keeps a long rollout from taking its own errors for the truth
            (:mod:`dfplan.sampling.stabilization`).

    Returns:
        The new tokens, [B, ``tokens``, D].

    Raises:
        ConfigError: not one level a token of the context, no tokens wanted, a matrix that does
            not lead from one level to 0, or a told level that is not below its first.
    """
    if context.dim() != 3 or level.shape != context.shape[:2] or tokens < 1:
        raise ConfigError(
            "A rollout needs a context [B, T, D], the level of each of its tokens [B, T], and at "
            f"least 1 token to generate; got {list(context.shape)}, {list(level.shape)} and "
            f"{tokens}."
        )
    pure_noise = int(matrix.max())
    check_matrix(matrix, pure_noise)
    if (matrix[0] < pure_noise).any() or not 0 <= told_level < pure_noise:
        raise ConfigError(
            "In a rollout all tokens of a chunk start from pure noise, the first row of the "
            "scheduling matrix, and are remembered at a level from 0 to below that; got a first "
            f"row {matrix[0].tolist()} and told_level {told_level}."
        )
    batch, known, features = context.shape
    chunk = matrix.shape[-1]
    memory = denoiser.remember(context, level) if known else None
    told = torch.full((batch, chunk), told_level)
    done: list[torch.Tensor] = []
    while len(done) * chunk < tokens:
        if done:
            memory = denoiser.remember(done[-1], told, memory)
        noise = torch.randn((batch, chunk, features), generator=generator, dtype=context.dtype)
        follows = partial(denoiser, memory=memory)
        done.append(sample(follows, noise, matrix, step=step, generator=generator))
    return torch.cat(done, 1)[:, :tokens]
