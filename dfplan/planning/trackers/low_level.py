"""A low-level policy, learned from the data of the plans, that follows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.boundary import isolated
from dfplan.errors import ObservationError
from dfplan.observations import ObservationLayout
from dfplan.planning.trackers.pursuit import Lookahead
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics


@dataclass(frozen=True)
class LowLevelPolicy(Record):
    """Actions that take a body to a place nearby.

    Attributes:
        network: function from inputs [B, S] (:meth:`inputs`) to actions [B, A] in [-1, 1].
        statistics: of the data.
        layout: the columns of an observation.
        unit: the displacement that is an input of 1, in units of position.
        action_size: A, how many numbers an action has.
        device: where the network runs.
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    statistics: Statistics
    layout: ObservationLayout
    unit: float
    action_size: int
    device: str = "cpu"

    @isolated()
    def act(self, observation: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """The actions, float32 [B, A].

        Args:
            observation: whole observations [B, S].
            displacement: from the body to the place, [B, 2].

        Raises:
            ObservationError: an observation is only a position.
        """
        if observation.shape[1] != self.layout.width:
            raise ObservationError(
                f"A low-level policy needs whole observations, [{self.layout.width}]; got "
                f"{observation.shape[1]} numbers."
            )
        inputs = torch.from_numpy(self.inputs(observation, displacement))
        return np.asarray(self.network(inputs.to(self.device)).cpu().numpy())

    def inputs(self, observation: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """What the network gets, float32 [B, S]: the displacement in place of the position."""
        scale = self.statistics.observation
        assert scale is not None, "checked when the policy was built"
        seen = np.asarray((observation - scale.mean.numpy()) / scale.std.numpy(), np.float32)
        seen[:, list(self.layout.position)] = displacement / self.unit
        return seen


class LowLevel(Lookahead):
    """Follows a path by a low-level policy, toward the point a fixed distance ahead on it.

    Args:
        policy: acts on the body.
        distance: to the target point, along the path, in units of position.
        spacing: distance between the points of the path that are kept.
    """

    def __init__(self, policy: LowLevelPolicy, distance: float, spacing: float) -> None:
        super().__init__(distance, spacing)
        self._policy = policy

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`~dfplan.planning.trackers.base.Tracker`."""
        observation = self._read(observation)
        return self._policy.act(observation, self._to_target(observation))
