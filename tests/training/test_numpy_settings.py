"""Settings with NumPy numbers become Python numbers, with the same plans and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dfplan
from dfplan.diffusion.levels import LevelMixture
from dfplan.errors import ConfigError, DfplanError
from dfplan.planning.search import SearchSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.offline import OfflineConfig
from dfplan.training.recipes.value import ValueConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Trajectories

STATES = np.array([[-15.0, 41.0, 0.5, 0.0], [0.0, 55.0, 0.0, -0.5]])
GOALS = np.array([[-4.0, 42.0], [-10.0, 40.0]])

RECIPES = (
    ForcingConfig(tokens=3, stride=5, width=8, layers=1, heads=1, noise_levels=5),
    ForcingConfig(network="causal_transformer", window=2, parallel_teacher_forcing=True),
    DiffuserConfig(8, 5, 8, (1, 2)),
    CloningConfig(velocities=False),
    InverseConfig(steps=3),
    OfflineConfig("iql", (1.0, 2.5), 0.25),
    ValueConfig(discount=0.5),
)
SETTINGS = (
    dfplan.PlannerSettings(
        candidates=3,
        refine_steps=2,
        mc_samples=2,
        support_weight=0.5,
        sampling=SamplingSchedule(steps=2, stop_fraction=0.75),
        max_goal_distance=5.0,
    ),
    dfplan.GuidanceSettings(0.5, 2, 3.0, method="denoiser"),
    dfplan.TreeSettings(evaluations=40, milliseconds=1e6, lengths=(1.0, 0.5)),
    dfplan.StateEstimatorSettings(noise=0.25, tokens=2),
    LevelMixture(),
    SearchSettings(),
    *RECIPES,
)


def in_numpy(value: Any) -> Any:
    """Replace each number and boolean by one of NumPy."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float32(value) if float(np.float32(value)) == value else np.float64(value)
    if isinstance(value, tuple):
        return tuple(map(in_numpy, value))
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: in_numpy(getattr(value, f.name)) for f in fields(value)})
    return value


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return tuple(map(types, value)) if isinstance(value, tuple | list) else type(value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: type(settings).__name__)
def test_settings_hold_python_numbers(settings: Any) -> None:
    found = in_numpy(settings)
    assert found == settings and hash(found) == hash(settings)
    assert types(asdict(found)) == types(asdict(settings))
    assert json.dumps(asdict(found)) == json.dumps(asdict(settings))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_recipes_survive_json(recipe: Any) -> None:
    assert type(recipe).from_json(json.loads(json.dumps(in_numpy(recipe).to_json()))) == recipe


@pytest.mark.parametrize("recipe", [RECIPES[0], RECIPES[2]], ids=lambda recipe: recipe.name)
def test_a_recipe_in_numpy_trains_and_saves_the_same(
    recipe: Any, trajectories: Trajectories, tmp_path: Path
) -> None:
    settings = TrainSettings(steps=2, batch_size=4, save_every=1, log_every=1, warmup=1)
    checkpoints = []
    for made in (recipe, in_numpy(recipe)):
        out = tmp_path / str(len(checkpoints))
        train(made, trajectories, out, settings=in_numpy(settings), progress=False)
        checkpoints.append(Checkpoint.load(out / "checkpoint.safetensors"))
    assert checkpoints[0].config == checkpoints[1].config
    for name, weights in checkpoints[0].network.items():
        assert weights.equal(checkpoints[1].network[name])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CloningConfig(velocities="no"),
        lambda: InverseConfig(velocities=1),
        lambda: ForcingConfig(network="causal_transformer", parallel_teacher_forcing=None),
        lambda: dfplan.StateEstimatorSettings(use_network="yes"),
        lambda: DiffuserConfig(multiples=(1, 2.5)),
        lambda: DiffuserConfig(width=np.float32(8)),
        lambda: dfplan.PlannerSettings(candidates=np.float64(3)),
        lambda: dfplan.PlannerSettings(smoothness_weight=np.array([1.0])),
        lambda: dfplan.StateEstimatorSettings(noise=np.float32("nan")),
    ],
)
def test_wrong_types_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        wrong()


def test_planners_plan_the_same_with_numpy_numbers(planner: ForcingPlanner) -> None:
    own = replace(planner.settings, candidates=3, refine_steps=2, mc_samples=2)
    plans = []
    for settings in (own, in_numpy(own)):
        made = replace(planner, settings=settings)
        tree = dfplan.TreePlanner(made, in_numpy(dfplan.TreeSettings(evaluations=80)))
        seed = in_numpy(7) if plans else 7
        horizon = in_numpy(100) if plans else 100
        plans.append(
            [
                made.plan(STATES, GOALS, seed=seed).points,
                made.plan(STATES, GOALS, seed=seed, horizon=horizon).points,
                tree.plan(STATES, GOALS, seed=seed).points,
                dfplan.Policy(made, seed=seed, replan_every=in_numpy(3)).act(STATES, GOALS),
            ]
        )
    for one, other in zip(*plans, strict=True):
        np.testing.assert_array_equal(one, other)


SEEDS = (0, 5, 2**63 - 1)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint8, np.int32])
def test_numpy_seeds_are_seeds(planner: ForcingPlanner, kind: type[np.integer]) -> None:
    quick = replace(planner, settings=dfplan.PlannerSettings(candidates=2, refine_steps=0))
    for seed in SEEDS:
        if seed <= np.iinfo(kind).max:
            wanted = quick.plan(STATES, GOALS, seed=seed).points
            np.testing.assert_array_equal(quick.plan(STATES, GOALS, seed=kind(seed)).points, wanted)
            policy = dfplan.Policy(quick, seed=kind(seed))
            policy.reset(kind(seed))


@pytest.mark.parametrize(
    "seed", [-1, np.int64(-1), 2**63, np.uint64(2**63), 3.0, np.float32(3), "3", [3], np.array([3])]
)
def test_other_seeds_are_refused_at_once(planner: ForcingPlanner, seed: Any) -> None:
    policy = dfplan.Policy(planner)
    asked: tuple[Callable[[], object], ...] = (
        lambda: planner.plan(STATES, GOALS, seed=seed),
        lambda: dfplan.TreePlanner(planner).plan(STATES, GOALS, seed=seed),
        lambda: dfplan.Policy(planner, seed=seed),
        lambda: policy.reset(seed),
    )
    for ask in asked:
        with pytest.raises(DfplanError, match="seed"):
            ask()
