"""What passes between the parts of a planner: drafts, their denoising, candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.record import Record


@dataclass(frozen=True)
class Draft(Record):
    """Sequences of tokens to make plans of.

    Attributes:
        x: tokens that are known, and pure noise; float [S, T, D], normalized.
        held: the level that each token keeps, or ``FREE``; int [S, T].
        end: index of each plan's last token, int [S].
        before: positions in front of the present.
    """

    x: torch.Tensor
    held: torch.Tensor
    end: torch.Tensor
    before: int = 0


@dataclass(frozen=True)
class Rows(Record):
    """Every row of a sampling run.

    Attributes:
        level: int [M, S, T].
        clean: clean estimates, float [M, S, T, D].
        evaluations: sequences through the network for each of the S.
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
        level: noise level left on each point's token, int [B, C, P].
        scores: float [B, C].
    """

    points: torch.Tensor
    end: torch.Tensor
    level: torch.Tensor
    scores: torch.Tensor
