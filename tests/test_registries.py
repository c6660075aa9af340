"""Parts of another package: an entry point names a module, and its parts are known by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dfplan import cli
from dfplan.bench.methods import TRACKERS
from dfplan.bench.plan import plan_runs
from dfplan.errors import ConfigError
from dfplan.planning.rewards import REWARDS
from dfplan.registry import Registry, _failed_import

PARTS = '''
"""One part of each kind."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from dfplan.bench.methods import METHODS, TRACKERS, Method, TrackerEntry
from dfplan.data import from_arrays
from dfplan.data.formats.format import Format
from dfplan.data.formats.registry import FORMATS
from dfplan.mazes import named_maze
from dfplan.planning.rewards import REWARDS, PositionReward
from dfplan.pretrained import load
from dfplan.sampling.guidance import GUIDANCES
from dfplan.training.presets import PRESETS, Preset
from dfplan.training.recipes.forcing import NETWORKS, ForcingConfig
from dfplan.training.registry import RECIPES, RecipeEntry
from dfplan.training.settings import TrainSettings


class Line(nn.Linear):
    def forward(self, x, level):
        return super().forward(x)


@dataclass(frozen=True)
class MyConfig(ForcingConfig):
    network: str = "mine"

    @property
    def name(self):
        return "mine"


class Mine(PositionReward):
    def __call__(self, states, steps):
        print("my reward")
        return states[..., 1].mean(-1)


def my_guidance(denoiser, value, schedule, settings, *, unit, weight, samples=None):
    print("my guidance")
    return denoiser


class Rest:
    def assign(self, rows, plan):
        pass

    def act(self, observation):
        return np.zeros((len(observation), 2))

    def deviation(self, observation):
        return np.zeros(len(observation))


def my_method(task, seed, path):
    return load("maze2d-umaze").with_settings(candidates=2, refine_steps=0)


def read(path, *, follow_links, position):
    rows = np.loadtxt(path, delimiter=",")
    return from_arrays(rows, source=path.name, position=position)


def write(recording, path):
    np.savetxt(path, recording.observations, delimiter=",")
    return path


def is_mine(contents):
    return contents.path.suffix == ".mine"


NETWORKS["mine"] = lambda config: Line(config.layout.token_width, config.layout.token_width)
RECIPES["mine"] = RecipeEntry("my_parts:MyConfig", "planner")
SETTINGS = TrainSettings(steps=1, batch_size=4)
PRESETS["mine"] = Preset(named_maze("maze2d-umaze"), MyConfig(tokens=4), SETTINGS)
GUIDANCES["mine"] = my_guidance
REWARDS["Mine"] = Mine
TRACKERS["mine"] = TrackerEntry("rest", None, lambda path: Rest())
METHODS["mine"] = Method("mine", "my baseline", None, my_method, default_tracker="mine")
FORMATS["mine"] = Format("mine", "my text", is_mine, read, write, (".mine",), dict)
'''

COMMANDS = """
import sys

import numpy as np

import dfplan
from dfplan import cli

time = np.arange(400) / 20
np.savetxt("walk.mine", 3 + np.stack([np.cos(time), np.sin(time)], 1), delimiter=",")
out = "--out=run"
for command in (
    ["data", "info", "walk.mine"],
    ["data", "convert", "walk.mine", "again.mine"],
    ["train", "mine", "--data=walk.mine", "--accelerator=cpu",
     "--tune_episodes=0", out],
    ["plan", "run", "3.9,3", "3,3.9", "--reward=Mine()", "--planner.guidance.method=mine",
     "--planner.candidates=2", "--out=plan.svg"],
    ["bench", "--planner=mine", "--tracker=mine", "--tasks=maze2d-umaze", "--episodes=1",
     "--workers=1", "--out=bench"],
):
    assert cli.main(command) == 0, command
print(type(dfplan.load("run").model.denoiser.network).__name__)
"""

BUILT_IN = dict(REWARDS)

Install = Callable[[str], Path]

ALL: tuple[Callable[[Registry[int]], object], ...] = (
    len,
    list,
    dict,
    lambda table: [*table.items()],
)
"""What needs all parts of a table."""


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Makes an installed package with one module in a folder, and returns the folder."""

    def installed(source: str) -> Path:
        folder = tmp_path / "site"
        described = folder / "my_parts-1.0.dist-info"
        described.mkdir(parents=True)
        (folder / "my_parts.py").write_text(source)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text("[dfplan]\nmine = my_parts\n")
        return folder

    return installed


@pytest.fixture
def on_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package for this process, until the end of the test."""

    def installed(source: str) -> Path:
        folder = install(source)
        monkeypatch.syspath_prepend(str(folder))
        _failed_import.cache_clear()
        return folder

    yield installed
    sys.modules.pop("my_parts", None)
    _failed_import.cache_clear()


def test_each_kind_of_part_is_used_by_its_name(install: Install, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(install(PARTS)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMANDS]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for said in ("my reward", "my guidance", "my baseline", "Line"):
        assert said in done.stdout + (tmp_path / "bench" / "report.md").read_text()
    written = (tmp_path / "walk.mine").read_text(), (tmp_path / "again.mine").read_text()
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('broken inside')", "broken inside"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("syntax error", "SyntaxError"),
        (
            "from dfplan.sampling.steps import STEPS\nSTEPS['ddim'] = lambda schedule: None",
            "'ddim'",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_named(
    on_path: Install, source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_path(source)
    table: Registry[int] = Registry("part", {"known": 1})
    assert table["known"] == 1 and "known" in table
    for use in (*ALL, lambda table: "unknown" in table, lambda table: table.get("unknown")):
        with pytest.raises(ConfigError, match=rf"my_parts(.|\n)*{message}"):
            use(table)
    assert cli.main(["data", "info", "nothing.hdf5"]) == 2
    assert "my_parts" in capsys.readouterr().err


TRACKER = """
from dfplan.bench.methods import TRACKERS, TrackerEntry
TRACKERS["mine"] = TrackerEntry("rest", None, lambda path: None)
"""


def test_a_tracker_of_another_package_follows_any_planner(on_path: Install) -> None:
    on_path(TRACKER)
    try:
        made = plan_runs(tasks=["maze2d-umaze"], methods=["dfplan"], trackers=["mine"])
    finally:
        TRACKERS.pop("mine", None)
    assert [spec.trackers for spec in made.specs] == [("mine",)]


def test_a_name_belongs_to_one_part() -> None:
    table: Registry[object] = Registry("part")
    first, second = object(), object()
    table["mine"] = first
    table["mine"] = first  # the same again
    with pytest.raises(ConfigError, match="already a part"):
        table["mine"] = second
    for add in (table.setdefault, lambda name, part: table.update({name: part})):
        add("mine", first)
        with pytest.raises(ConfigError, match="already a part"):
            add("mine", second)
    assert table["mine"] is first and dict(table) == {"mine": first}


def test_parts_are_imported_when_a_name_is_not_known(on_path: Install) -> None:
    folder = on_path("PARTS = 1")
    table: Registry[int] = Registry("part", {"known": 1})
    assert "known" in table and "my_parts" not in sys.modules
    assert table.get("unknown", 2) == 2
    assert sys.modules["my_parts"].__file__ == str(folder / "my_parts.py")


REWARD = """
from dfplan.planning.rewards import REWARDS, Reach
class Mine(Reach):
    pass
REWARDS["Mine"] = Mine
"""


@pytest.fixture
def no_new_rewards() -> Iterator[None]:
    """Removes the reward that a test adds."""
    yield
    REWARDS.pop("Mine", None)


@pytest.mark.parametrize(
    "has_part",
    [
        lambda: "Mine" in REWARDS,
        lambda: REWARDS["Mine"] is not None,
        lambda: REWARDS.get("Mine") is not None,
        lambda: "Mine" in list(REWARDS),
        lambda: "Mine" in REWARDS.keys(),  # noqa: SIM118
        lambda: any(name == "Mine" for name, _ in REWARDS.items()),
        lambda: len(REWARDS) > len(BUILT_IN),
        lambda: "Mine" in {**REWARDS},
    ],
)
def test_parts_of_other_packages_are_seen_in_every_use(
    no_new_rewards: None, on_path: Install, has_part: Callable[[], bool]
) -> None:
    on_path(REWARD)
    assert has_part()


def test_the_error_of_a_package_comes_again(no_new_rewards: None, on_path: Install) -> None:
    """Also for a part that the package added before its error."""
    on_path(REWARD + "raise RuntimeError('broken inside')")
    for _ in range(3):
        with pytest.raises(ConfigError, match="broken inside"):
            REWARDS["Mine"]
    assert REWARDS["Reach"] is BUILT_IN["Reach"]
