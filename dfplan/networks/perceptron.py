"""A function of a few numbers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dfplan.errors import require_numbers, unknown_name
from dfplan.networks.modulation import MOST_LAYERS

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}
"""What follows a hidden layer, by name."""


class Perceptron(nn.Module):
    """A multilayer perceptron from [..., inputs] to [..., outputs].

    Args:
        inputs: numbers that it takes.
        outputs: numbers that it gives.
        width: of the hidden layers.
        layers: hidden layers, at least 1.
        activation: a key of :data:`ACTIVATIONS`.
        bounded: whether outputs go through a hyperbolic tangent, as actions in [-1, 1] do.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        layers: int,
        *,
        activation: str = "silu",
        bounded: bool = False,
    ) -> None:
        super().__init__()
        sizes_given = {"inputs": inputs, "outputs": outputs, "width": width}
        require_numbers(sizes_given, whole=True, least=1)
        require_numbers({"layers": layers}, whole=True, least=1, most=MOST_LAYERS)
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        hidden = [
            part
            for before, after in pairwise([inputs, *[width] * layers])
            for part in (nn.Linear(before, after), ACTIVATIONS[activation]())
        ]
        self.stack = nn.Sequential(*hidden, nn.Linear(width, outputs))
        self.bounded = bounded

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.stack(values)
        return torch.tanh(found) if self.bounded else found
