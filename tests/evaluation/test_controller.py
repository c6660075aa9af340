from __future__ import annotations

import numpy as np
import pytest

from dfplan.errors import ObservationError
from dfplan.evaluation.bounds import return_bounds
from dfplan.evaluation.controller import WaypointPolicy
from dfplan.evaluation.metrics import summarize
from dfplan.evaluation.protocols import named_task, problems
from dfplan.evaluation.rollout import rollout

UMAZE = named_task("maze2d-umaze", "validation")


def test_scores_as_the_controller_of_the_data_does() -> None:
    drawn = problems(UMAZE, 100)
    played = rollout(WaypointPolicy(UMAZE.maze), UMAZE, drawn, progress=False)
    result = summarize(UMAZE, played.rewards, return_bounds(UMAZE, drawn))
    assert result.success_any == result.success_last == 1.0
    assert result.score.mean == pytest.approx(142.5, abs=15)  # three standard errors
    assert 0.78 < result.share_of_bound < 0.89


def test_rows_and_single_observations_agree() -> None:
    drawn = problems(UMAZE, 3)
    together, alone = WaypointPolicy(UMAZE.maze), WaypointPolicy(UMAZE.maze)
    together.reset(seed=7)
    actions = together.act(drawn.starts, drawn.goals)
    for row in range(3):
        alone.reset(seed=7 + row)
        action = alone.act(drawn.starts[row], drawn.goals[row])
        assert action.shape == (2,)
        assert np.array_equal(action, actions[row])
    assert np.abs(actions).max() <= 1


def test_misuse_is_an_error() -> None:
    drawn = problems(UMAZE, 3)
    policy = WaypointPolicy(UMAZE.maze)
    with pytest.raises(ObservationError, match="needs a goal"):
        policy.act(drawn.starts)
    policy.act(drawn.starts, drawn.goals)
    with pytest.raises(ObservationError, match="Call reset"):
        policy.act(drawn.starts[:2], drawn.goals[:2])
