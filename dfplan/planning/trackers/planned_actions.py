"""Open-loop execution of planned actions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfplan.errors import ConfigError
from dfplan.planning.trackers.base import TimedTracker, at_each_step
from dfplan.types import Plan


class PlannedActions(TimedTracker):
    """Executes the actions that were planned together with the positions, without feedback.

    Each action is repeated until the plan's next point; after the plan's end the action is 0.
    Actions beyond [-1, 1] are not clipped, so that the environment receives what was planned.
    Errors accumulate until there is a new plan.
    """

    def _paths(self, plan: Plan) -> Sequence[np.ndarray]:
        if plan.actions is None:
            raise ConfigError(
                "PlannedActions needs a plan with actions, and this plan has none. Use a planner "
                "whose tokens hold actions (dfplan train ... --features position,action), "
                "Diffuser's, or another tracker."
            )
        position = at_each_step(plan.points, plan.stride)
        step = np.arange(position.shape[1])
        over = (step >= np.asarray(plan.steps)[:, None])[..., None]
        action = np.where(over, 0.0, plan.actions[:, step.clip(max=plan.actions.shape[1] - 1)])
        return list(np.concatenate([position, action], -1))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`. The action does not depend on the observation."""
        observation = self._read(observation)
        return self._at(self._advance(len(observation)))[:, 2:]
