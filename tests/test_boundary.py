"""Global settings of the caller's process do not affect dfplan, and dfplan does not change them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dfplan
from dfplan.arrays import copy_array
from dfplan.boundary import as_tensor
from dfplan.data import from_arrays, segmented
from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.objective import reward_gradient
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.rewards import Box, Disc, Fast, KeepOut, PassThrough, Reach
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import estimate_positions
from dfplan.tokens.statistics import fit_statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.loop import train
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Plan, Trajectories

ROOT = Path(__file__).parent.parent


@contextmanager
def put(get: Callable[[], Any], set_to: Callable[[Any], object], value: object) -> Iterator[None]:
    before = get()
    set_to(value)
    try:
        yield
    finally:
        set_to(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def warnings_as_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return put(torch.get_default_dtype, torch.set_default_dtype, dtype)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "double": lambda: default_dtype(torch.float64),
    "half": lambda: default_dtype(torch.float16),
    "default device meta": lambda: default_device("meta"),
    "default device cpu": lambda: default_device("cpu"),
    "gradients off": lambda: put(torch.is_grad_enabled, torch.set_grad_enabled, value=False),
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: put(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, value=True
    ),
    "denormals": lambda: put(lambda: False, torch.set_flush_denormal, value=True),
    "seterr": lambda: np.errstate(all="raise"),
    "printoptions": lambda: np.printoptions(precision=1, threshold=2),
    "warnings": warnings_as_errors,
}
in_context = pytest.mark.parametrize("name", CONTEXTS)


def process() -> dict[str, object]:
    """The global state of the process."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "errors": np.geterr(),
        "options": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }


def content(plan: Plan) -> list[np.ndarray]:
    arrays = plan.points, plan.candidates, plan.scores, plan.spread, plan.times, plan.level
    return [array for array in (*arrays, plan.steps) if array is not None]


def weights(loaded: Any) -> list[np.ndarray]:
    network = loaded.model.denoiser.network
    tables = [table.numpy() for table in network.buffers()]
    return tables + [value.numpy() for value in network.state_dict().values()]


class Works:
    """Operations to run under each setting; each returns arrays."""

    def __init__(self, planner: ForcingPlanner, trajectories: Trajectories) -> None:
        few = dfplan.PlannerSettings(candidates=3, refine_steps=3)
        self.planner, self.trajectories = replace(planner, settings=few), trajectories
        middle = planner.model.statistics.normalizer.mean.double().numpy()
        self.states = np.array([[-15.0, 41.0, 0.3, 0.0], [-1.0, 55.0, 0.0, 0.1]])
        self.goals = np.array([[-2.0, 42.0], [-10.0, 40.0]])
        self.place = middle.tolist()

    def fresh(self) -> ForcingPlanner:
        """A planner whose support has no cached distances."""
        known = self.planner.model.statistics
        unused = replace(known, support=replace(known.support))
        return replace(self.planner, model=replace(self.planner.model, statistics=unused))

    def load(self) -> list[np.ndarray]:
        return weights(dfplan.load("maze2d-umaze"))

    def plan(self) -> list[np.ndarray]:
        plan = self.fresh().plan(self.states, self.goals, seed=1, trace=True)
        return [*content(plan), *(part for row in plan.trace for part in row)]

    def rewarded(self) -> list[np.ndarray]:
        disc, box = Disc((-5.0, 41.0), 1.0, (0.01, 0.0)), Box(self.place, [99.0, 99.0])
        reward = 0.5 * Reach(self.place) + KeepOut([disc, box]) + Fast(self.place)
        reward = reward + PassThrough(self.goals)
        points = np.repeat(self.states[:, None, :2], 5, 1)
        pull = reward_gradient(points, self.planner.model, self.planner.settings, reward)
        plan = self.planner.plan(self.states[:1], self.goals[:1], reward=reward, seed=1)
        return [pull, *content(plan)]

    def sampled(self) -> list[np.ndarray]:
        found = []
        for settings in (
            {"matrix": "pyramid", "step": "second_order", "mc_samples": 2},
            {"matrix": "trapezoid", "step": "ddpm", "guidance": {"method": "denoiser"}},
            {"matrix": "autoregressive", "mc_samples": 2, "guidance": {"mc_sample_steps": 2}},
        ):
            guidance = dfplan.GuidanceSettings(0.5, **settings.pop("guidance", {}))
            few = {"candidates": 2, "refine_steps": 2, "guidance": guidance}
            planner = self.planner.with_settings(**few, **settings)
            found += content(planner.plan(self.states[:1], self.goals[:1], seed=1))
        return found

    def tree(self) -> list[np.ndarray]:
        planner = dfplan.TreePlanner(self.planner, dfplan.TreeSettings(evaluations=48))
        return content(planner.plan(self.states, self.goals, seed=1))

    def diffuser(self) -> list[np.ndarray]:
        schedule, known = cosine_schedule(5), self.planner.model.statistics
        planner = DiffuserPlanner(lambda x, level: 0.5 * x, 8, schedule, known)
        return content(planner.plan(self.states, self.goals, seed=1))

    def estimate(self) -> list[np.ndarray]:
        past = ObservationHistory(self.states[:, None, :2], np.array([[3], [4]]))
        return [estimate_positions(past, self.planner.model, seed=0)]

    def drive(self) -> list[np.ndarray]:
        found = []
        for past in (None, dfplan.StateEstimatorSettings(noise=0.1)):
            policy = dfplan.Policy(self.planner, seed=0, state_estimator=past, replan_every=2)
            found += [policy.act(self.states, self.goals) for _ in range(3)]
            policy.reset(3)
        return found

    def fit(self) -> list[np.ndarray]:
        tensors = fit_statistics(self.trajectories).to_tensors()
        return [tensor.numpy() for tensor in tensors.values()]


@pytest.fixture(scope="module")
def small(corridor: Any) -> Trajectories:
    states, actions = corridor.record(walkers=4, steps=100, seed=0)
    ends = np.arange(400) % 100 == 99
    return segmented(from_arrays(states.reshape(-1, 4), actions.reshape(-1, 2), ends))


@pytest.fixture(scope="module")
def works(planner: ForcingPlanner, small: Trajectories) -> Works:
    return Works(planner, small)


WORKS = [name for name in vars(Works) if name[0] != "_" and name != "fresh"]


@pytest.fixture(scope="module")
def expected(works: Works) -> dict[str, list[np.ndarray]]:
    return {work: getattr(works, work)() for work in WORKS}


def require_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


@in_context
def test_results_and_settings_do_not_affect_each_other(
    name: str, works: Works, expected: dict[str, list[np.ndarray]]
) -> None:
    for work in WORKS:
        with CONTEXTS[name]():
            before = process()
            found = getattr(works, work)()
            after = process()
        assert before == after, work
        require_same(found, expected[work])


@in_context
def test_training_does_not_depend_on_settings(
    name: str, small: Trajectories, tmp_path: Path
) -> None:
    settings = TrainSettings(steps=2, batch_size=4, save_every=1, log_every=1, warmup=1)
    for recipe in (
        ForcingConfig(tokens=3, stride=5, width=8, layers=1, heads=1, noise_levels=5),
        DiffuserConfig(8, 5, 8, (1, 2)),
        CloningConfig(width=8, layers=1),
    ):
        trained = []
        for context in (nullcontext, CONTEXTS[name]):
            out = tmp_path / recipe.name / str(len(trained))
            with context():
                before = process()
                network = train(recipe, small, out, settings=settings, progress=False).network
                assert process() == before
                kept = Checkpoint.load(out / "checkpoint.safetensors").network
            assert kept.keys() == network.keys()
            trained.append([network[each].numpy() for each in sorted(network)])
            require_same([kept[each].numpy() for each in sorted(kept)], trained[-1])
        require_same(*trained)


def test_threads_plan_identically_with_double_as_the_default(
    works: Works, expected: dict[str, list[np.ndarray]]
) -> None:
    with default_dtype(torch.float64), ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: works.plan(), range(6)):
            require_same(found, expected["plan"])
        assert torch.get_default_dtype() == torch.float64


def test_the_working_folder_may_change_after_loading(tmp_path: Path, monkeypatch: Any) -> None:
    planner = dfplan.load("maze2d-umaze")
    expected = planner.plan([1, 1, 0, 0], [3, 1], seed=0)
    monkeypatch.chdir(tmp_path)
    for again in (planner, dfplan.load("maze2d-umaze")):
        require_same(content(again.plan([1, 1, 0, 0], [3, 1], seed=0)), content(expected))


def test_a_forked_process_can_plan_and_its_parent_keeps_its_threads(works: Works) -> None:
    states, goals = (np.repeat(rows, 20, 0) for rows in (works.states, works.goals))

    def actions() -> list[np.ndarray]:
        policy = dfplan.Policy(works.planner, seed=0)
        action = policy.act(states, goals)
        assert policy.plan is not None
        return [action, policy.plan.points, *works.load()]

    def needs_a_gpu(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")

    with put(torch.get_num_threads, torch.set_num_threads, 2):
        expected = actions()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # instead of waiting forever for threads that were not forked
            same = all(map(np.array_equal, actions(), expected))
            try:
                replace(works.planner, denoiser=needs_a_gpu).plan(states, goals)
            except ConfigError as error:
                same = same and "spawn" in str(error)
            finally:
                os._exit(0 if same else 3)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.get_num_threads() == 2


def test_importing_dfplan_changes_no_settings() -> None:
    code = """
import json, locale, logging, os, random, signal, sys, threading
import gymnasium, matplotlib, numpy as np, scipy.sparse, scipy.special, torch, warnings
def state():
    return {
        "random": [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()],
        "torch": [str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled()],
        "numpy": [np.geterr(), str(np.get_printoptions())],
        "warnings": str(warnings.filters),
        "logging": str([logging.getLogger().level, logging.getLogger().handlers]),
        "signals": str([signal.getsignal(number) for number in signal.valid_signals()]),
        "hooks": str([sys.excepthook, sys.displayhook, warnings.showwarning]),
        "locale": locale.setlocale(locale.LC_ALL),
        "process": [os.getcwd(), dict(os.environ), sys.path, threading.active_count()],
        "pictures": str(dict(matplotlib.rcParams)),
    }
before = state()
import dfplan
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


kinds = st.sampled_from(["f2", "f4", "f8", ">f4", ">f8", "i1", "u2", ">i4", "i8", "bool"])


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """Small arrays of any type, order and stride, writeable or not."""
    shape = hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)
    array = draw(kinds.flatmap(lambda kind: hnp.arrays(kind, shape)))
    for axis in range(array.ndim):
        step = draw(st.sampled_from([1, 2, -1, -2]))
        array = np.repeat(array, abs(step), axis)
        array = np.moveaxis(np.moveaxis(array, axis, 0)[::step], 0, axis)
    array = array.T if draw(st.booleans()) else array
    array.flags.writeable = draw(st.booleans())
    return array


@given(array=views(), dtype=st.sampled_from([None, np.float32, np.float64]))
@example(array=np.array([2**53 + 1]), dtype=None)
def test_a_copy_is_equal_contiguous_and_in_native_byte_order(
    array: np.ndarray, dtype: type[np.floating] | None
) -> None:
    with np.errstate(all="ignore"):
        expected = array if dtype is None else array.astype(dtype)
        kept = array.copy()
    for values in (array, array.tolist(), array.astype(object)):
        found = copy_array(values, dtype or array.dtype.newbyteorder("=").type)
        assert found.flags.c_contiguous and found.flags.writeable and found.dtype.isnative
        assert not np.shares_memory(found, array)
        np.testing.assert_array_equal(found, expected)
    torch.from_numpy(copy_array(array, np.float32))
    assert as_tensor(array).is_floating_point()
    np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize(
    "values",
    [
        "north",
        ["1", "2"],
        np.array([b"1", b"2"]),
        np.array(["1", "2"], dtype=object),
        [1 + 2j, 0],
        torch.zeros(2, dtype=torch.complex64),
        np.ma.array([1.0, 2.0], mask=[True, False]),
        [np.ma.array([1.0, 2.0], mask=[True, False])],
        [np.ma.masked, 1.0],
        np.zeros(2, dtype=[("x", "f4"), ("y", "f4")]),
        np.zeros(2, dtype="datetime64[s]"),
        [[1.0, 2.0], [1.0]],
        [10**400, 0],
        None,
        [None, None],
        {"x": 1.0},
        {1.0, 2.0},
        len,
        torch.zeros(2, device="meta"),
    ],
    ids=str,
)
def test_other_values_than_numbers_are_refused(values: object) -> None:
    with warnings_as_errors():
        for read in (copy_array, as_tensor):
            if not (read is as_tensor and isinstance(values, torch.Tensor) and values.is_meta):
                with pytest.raises(ObservationError, match="Expected numbers"):
                    read(values)
