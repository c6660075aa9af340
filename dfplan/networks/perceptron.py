"""A function of one position."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dfplan.errors import require_numbers


class Perceptron(nn.Module):
    """A multilayer perceptron from positions [..., 2] to one number each, [...].

    Args:
        width: of the hidden layers.
        layers: hidden layers, at least 1.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        require_numbers({"width": width, "layers": layers}, whole=True, least=1)
        sizes = [2, *[width] * layers]
        hidden = [
            part
            for before, after in pairwise(sizes)
            for part in (nn.Linear(before, after), nn.SiLU())
        ]
        self.stack = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.stack(positions)
        return value[..., 0]
