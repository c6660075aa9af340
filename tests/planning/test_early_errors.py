"""Invalid arguments are refused where they are given, before any work is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, DfplanError
from dfplan.observations import PLANAR
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimator, StateEstimatorSettings
from dfplan.planning.trackers import Pursuit
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.sampling.guidance import GuidanceSettings


@pytest.fixture
def learned(planner: ForcingPlanner) -> LearnedPolicy:
    return LearnedPolicy(lambda inputs: inputs[:, :2], planner.model.statistics, velocities=True)


@pytest.fixture
def diffuser(planner: ForcingPlanner) -> DiffuserPlanner:
    return DiffuserPlanner(lambda x, level: x, 8, cosine_schedule(3), planner.model.statistics)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tracker": "x"},
        {"tracker": Pursuit},  # a class, not an object
        {"tracker": 3},
        {"reward": 3},
        {"reward": lambda points: points[:, -1, 0]},
        {"state_estimator": 0.2},
    ],
)
def test_a_policy_refuses_them_when_it_is_made(planner: ForcingPlanner, wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        Policy(planner, **wrong)


def test_a_policy_refuses_what_is_no_planner(planner: ForcingPlanner) -> None:
    wrong: Any
    for wrong in ("maze2d-umaze", None, ForcingPlanner):
        with pytest.raises(ConfigError, match="planner"):
            Policy(wrong, planner.tracker())


def test_a_policy_refuses_the_wrong_tracker_of_a_planner(planner: ForcingPlanner) -> None:
    class Wrong:
        plan = planner.plan

        def tracker(self) -> Any:
            return "x"

    with pytest.raises(ConfigError, match="tracker"):
        Policy(Wrong())


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": GuidanceSettings()},
        {"settings": TreeSettings()},
        {"settings": None},
        {"model": None},
    ],
)
def test_a_planner_refuses_attributes_of_the_wrong_type(
    planner: ForcingPlanner, wrong: Any
) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        replace(planner, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"denoiser": 3},
        {"denoiser": lambda x: x},
        {"layout": 16},
        {"schedule": "cosine"},
        {"statistics": None},
    ],
)
def test_a_model_refuses_attributes_of_the_wrong_type(planner: ForcingPlanner, wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        replace(planner.model, **wrong)


@pytest.mark.parametrize("name", ["denoiser", "schedule", "statistics"])
def test_a_diffuser_refuses_attributes_of_the_wrong_type(
    diffuser: DiffuserPlanner, name: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(diffuser, **{name: 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": 3},
        {"statistics": None},
        {"velocities": "yes"},
        {"goal": (1.0, 2.0, 3.0)},
        {"goal": (1.0, np.nan)},
        {"max_start_distance": -1.0},
        {"max_goal_distance": "x"},
    ],
)
def test_a_learned_policy_refuses_wrong_attributes(learned: LearnedPolicy, wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(DfplanError, match=name):
        replace(learned, **wrong)


@pytest.mark.parametrize("wrong", [3, None, GuidanceSettings()])
def test_a_tree_search_refuses_settings_of_another_class(
    planner: ForcingPlanner, wrong: Any
) -> None:
    with pytest.raises(ConfigError, match="settings"):
        TreePlanner(planner, wrong)
    with pytest.raises(ConfigError, match="search"):
        TreeSettings(search=wrong)


@pytest.mark.parametrize("wrong", [3, None, GuidanceSettings()])
def test_a_state_estimator_refuses_settings_of_another_class(
    planner: ForcingPlanner, wrong: Any
) -> None:
    with pytest.raises(ConfigError, match="settings"):
        StateEstimator(wrong, planner.model.statistics, PLANAR)
    StateEstimator(StateEstimatorSettings(), planner.model.statistics, PLANAR, planner.model)


@pytest.mark.parametrize("wrong", [3, "x", lambda: None, lambda one, two: None])
@pytest.mark.parametrize("search", [False, True])
def test_a_wrong_callback_is_refused_before_any_denoising(
    planner: ForcingPlanner, corridor: Any, search: bool, wrong: Any
) -> None:
    def never(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the network was called")

    unused = replace(planner, model=replace(planner.model, denoiser=never))
    planning: Any = TreePlanner(unused) if search else unused
    start, goal = corridor.at(np.array([2.0, 38.0]))
    with pytest.raises(ConfigError, match="callback"):
        planning.plan(start, goal, callback=wrong)
