"""Multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from dfplan.errors import lookup
from dfplan.networks.modulation import require_sizes

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}
"""Activation functions by name."""


class Perceptron(nn.Module):
    """A multilayer perceptron from [..., inputs] to [..., outputs].

    Args:
        inputs: number of input features.
        outputs: number of output features.
        width: width of the hidden layers.
        layers: number of hidden layers, at least 1.
        activation: a key of :data:`ACTIVATIONS`.
        bounded: whether outputs pass through a hyperbolic tangent, as actions in [-1, 1] do.
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
        require_sizes(layers, inputs=inputs, outputs=outputs, width=width)
        make_activation = lookup("activation", activation, ACTIVATIONS)
        hidden = [
            part
            for before, after in pairwise([inputs, *[width] * layers])
            for part in (nn.Linear(before, after), make_activation())
        ]
        self.stack = nn.Sequential(*hidden, nn.Linear(width, outputs))
        self.bounded = bounded

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.stack(values)
        return torch.tanh(outputs) if self.bounded else outputs
