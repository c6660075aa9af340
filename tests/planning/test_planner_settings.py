"""Settings of the planner, and arguments that a planner supports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, DfplanError
from dfplan.observations import ObservationLayout
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.rewards import PassThrough
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.tokens.layout import Feature
from dfplan.types import Plan


@pytest.fixture
def diffuser(planner: ForcingPlanner) -> DiffuserPlanner:
    return DiffuserPlanner(
        lambda x, level: 0.5 * x, 8, cosine_schedule(3), planner.model.statistics
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"step": "ddim2"}, "Did you mean 'ddim'"),
        ({"step": 3}, "step must be the name"),
        ({"sampling": "pyramid"}, "sampling"),
        ({"guidance": 0.5}, "guidance"),
        ({"candidates": 0}, "candidates must be a whole number"),
        ({"candidates": 2.5}, "candidates must be a whole number"),
        ({"mc_samples": 0}, "mc_samples must be a whole number"),
        ({"mc_samples": 2.5}, "mc_samples must be a whole number"),
        ({"refine_top_k": 0}, "refine_top_k must be a whole number"),
        ({"refine_steps": -1}, "refine_steps must be a whole number"),
        ({"refine_steps": 1.5}, "refine_steps must be a whole number"),
        ({"largest_batch": 0}, "largest_batch must be a whole number"),
        ({"smoothness_weight": np.nan}, "smoothness_weight must be a finite number"),
        ({"support_weight": -1.0}, "support_weight must be a finite number"),
        ({"support_penalty": np.inf}, "support_penalty must be a finite number"),
        ({"support_margin": -1.0}, "support_margin must be a finite number"),
    ],
)
def test_invalid_settings_are_errors(
    planner: ForcingPlanner, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PlannerSettings(**wrong)
    with pytest.raises(ConfigError, match=message):
        planner.with_settings(**wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"candidates": 3},
        {"steps": 2},
        {"matrix": "pyramid", "uncertainty_scale": 0.5, "refine_steps": 4},
        {"sampling": SamplingSchedule("trapezoid"), "stop_fraction": 0.5},
    ],
)
def test_with_settings_changes_what_it_names_and_nothing_else(
    planner: ForcingPlanner, changes: dict[str, Any]
) -> None:
    kept = planner.settings
    changed = planner.with_settings(**changes)
    assert planner.settings is kept and changed.model is planner.model
    wanted = {**vars(kept), **vars(changes.get("sampling", kept.sampling)), **changes}
    found = {**vars(changed.settings), **vars(changed.settings.sampling)}
    del wanted["sampling"], found["sampling"]
    assert found == wanted


def test_a_setting_that_does_not_exist_is_an_error(planner: ForcingPlanner) -> None:
    for name in ("matrixes", "model", "scale"):
        with pytest.raises(ConfigError, match=name):
            planner.with_settings(**{name: 1})
    with pytest.raises(ConfigError, match="steps"):
        planner.with_settings(steps=0)


def test_settings_for_rewards_do_not_depend_on_the_unit_of_position(
    planner: ForcingPlanner,
) -> None:
    """A reward is a squared length, so its gradient times the scale is a length."""
    unit = 4.0
    one, other = (planner.for_rewards(length).settings for length in (1.0, unit))
    assert other.guidance.scale == pytest.approx(unit**2 * one.guidance.scale)
    for name in ("smoothness_weight", "support_weight"):
        assert getattr(other, name) == pytest.approx(getattr(one, name) / unit**2)
    for name in ("support_penalty", "refine_steps", "refine_top_k", "sampling", "candidates"):
        assert getattr(other, name) == getattr(one, name)


def test_settings_for_rewards_make_plans_fulfil_a_steep_reward(
    planner: ForcingPlanner, corridor: Any
) -> None:
    """A via-point at the end of a dead end, away from the way to the goal."""
    start, goal = corridor.at(np.array([24.0, 34.0]))
    via = corridor.at(np.array([14.0]))
    reward = 1000.0 * PassThrough(via)

    def miss(made: ForcingPlanner) -> float:
        points = made.plan(start, goal, reward=reward, seed=0).points[0]
        return float(np.linalg.norm(points - via, axis=1).min())

    assert miss(planner.for_rewards()) < 1.0
    few = planner.with_settings(candidates=2).for_rewards().settings
    assert few.candidates == few.refine_top_k == 2


@pytest.mark.parametrize("unit", [0.0, -1.0, np.nan, np.inf, 1e-200, 1e200, "x"])
def test_a_unit_that_is_no_length_is_an_error(planner: ForcingPlanner, unit: Any) -> None:
    with pytest.raises(ConfigError, match="unit"):
        planner.for_rewards(unit)


@pytest.mark.parametrize(
    "argument",
    [
        {"reward": PassThrough([[0.0, 40.0]])},
        {"history": ObservationHistory(np.zeros((1, 1, 2)), np.ones((1, 1), int))},
        {"trace": True},
        {"callback": lambda progress: None},
    ],
    ids=lambda argument: str(*argument),
)
def test_arguments_that_a_planner_does_not_support_are_errors(
    planner: ForcingPlanner, diffuser: DiffuserPlanner, corridor: Any, argument: dict[str, Any]
) -> None:
    (name,) = argument
    start, goal = corridor.at(np.array([18.0, 20.0]))
    tree = TreePlanner(planner, TreeSettings(evaluations=24))
    for made in (planner, tree, diffuser):
        if name in made.supports:
            made.plan(start, goal, seed=0, **argument)
        else:
            with pytest.raises(ConfigError, match=f"{type(made).__name__} does not support {name}"):
                made.plan(start, goal, seed=0, **argument)
    assert name not in diffuser.supports and name in planner.supports


def test_an_array_in_place_of_an_object_is_an_error(
    planner: ForcingPlanner, diffuser: DiffuserPlanner, corridor: Any
) -> None:
    start, goal = corridor.at(np.array([18.0, 20.0]))
    wrong: Any = np.zeros((1, 2))
    for made in (planner, diffuser):
        with pytest.raises(ConfigError, match="reward"):
            made.plan(start, goal, reward=wrong)
        with pytest.raises(DfplanError, match="history"):
            made.plan(start, goal, history=wrong)


@pytest.mark.parametrize("kind", [ForcingPlanner, TreePlanner, DiffuserPlanner, BasePlanner])
def test_a_planner_has_few_public_methods_and_properties(kind: type) -> None:
    fields = getattr(kind, "__dataclass_fields__", {})
    public = {
        name
        for name in dir(kind)
        if not name.startswith("_")
        and name not in fields
        and (callable(getattr(kind, name)) or isinstance(getattr(kind, name), property))
    }
    assert len(public) <= 6, sorted(public)


class Wrapper(BasePlanner):
    """Another planner, by one method."""

    def __init__(self, planner: ForcingPlanner) -> None:
        self.planner = planner

    def make_plan(self, arguments: PlanArguments) -> Plan:
        return arguments.plan_with(self.planner)


def test_a_wrapper_plans_from_the_observations_of_the_planner_inside(
    planner: ForcingPlanner,
) -> None:
    wide = ObservationLayout(7, (3, 4))
    layout = replace(
        planner.model.layout, features=(Feature("position", (3, 4)),), observation=wide
    )
    inside = replace(planner, model=replace(planner.model, layout=layout))
    assert Wrapper(inside).observation_layout == wide
    assert Wrapper(Wrapper(inside)).observation_layout == wide  # type: ignore[arg-type]
