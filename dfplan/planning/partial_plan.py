"""Records that the parts of a planner exchange: partial plans, denoised plans and candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.record import Record


@dataclass(frozen=True)
class PartialPlan(Record):
    """S sequences in which some tokens are known and the others are pure noise.

    Attributes:
        x: tokens, normalized; float [S, T, D].
        held: the level that each token keeps while the others are denoised, or ``FREE`` for those
            that are denoised; int [S, T].
        end: index of each plan's last token, int [S].
        before: number of positions before the present one; 0 without a history.
        guidance_weight: factor on the guidance scale of each sequence, float [S]; None for 1.
    """

    x: torch.Tensor
    held: torch.Tensor
    end: torch.Tensor
    before: int = 0
    guidance_weight: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.end)

    def part(self, rows: slice) -> PartialPlan:
        """The sequences ``rows``."""
        weight = None if self.guidance_weight is None else self.guidance_weight[rows]
        return PartialPlan(self.x[rows], self.held[rows], self.end[rows], self.before, weight)


@dataclass(frozen=True)
class Denoised(Record):
    """The results of the M steps of a sampling run.

    Attributes:
        level: noise levels, int [M, S, T].
        clean: clean estimates, float [M, S, T, D]. A token that has reached level 0 is the token
            itself, not its last estimate.
        evaluations: network evaluations for each sequence.
    """

    level: torch.Tensor
    clean: torch.Tensor
    evaluations: int


@dataclass(frozen=True)
class Candidates(Record):
    """Plans to choose from.

    Attributes:
        points: positions in units of the data, float [B, C, P, 2].
        end: index of the last token, int [B, C].
        level: noise level of each point's token when sampling stopped, int [B, C, P].
        scores: higher is better, float [B, C].
    """

    points: torch.Tensor
    end: torch.Tensor
    level: torch.Tensor
    scores: torch.Tensor
