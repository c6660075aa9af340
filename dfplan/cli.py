"""The command line: it parses, calls and prints."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from jsonargparse import ActionYesNo, ArgumentParser, auto_cli
from jsonargparse.typing import PositiveInt, register_type
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dfplan.data import download, load_d4rl
from dfplan.data import generate as generate_data
from dfplan.errors import ConfigError, DfplanError
from dfplan.evaluation.bench import FULL_EPISODES, METHODS, SLICE_EPISODES, bench
from dfplan.evaluation.protocols import TASKS
from dfplan.evaluation.report import terminal
from dfplan.mazes import Maze, parse_maze
from dfplan.planning.forcing import ForcingPlanner, PlannerSettings
from dfplan.pretrained import checkpoint_path, load
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.diffuser import DiffuserConfig
from dfplan.training.loop import TrainSettings, train
from dfplan.training.presets import PRESETS, Preset, preset_data
from dfplan.training.recipes import ForcingConfig
from dfplan.training.value import ValueConfig

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Names(tuple[str, ...]):
    """Names as ``a,b``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[str]) -> Names:
        """Split at commas; brackets around them all do not matter."""
        return super().__new__(cls, _split(given))


class Position(tuple[float, float]):
    """A position as ``1,7.5``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[float]) -> Position:
        """Split at the comma; two numbers, or ValueError."""
        values = [float(value) for value in _split(given)]
        if len(values) != 2:
            raise ValueError(f"a position is two numbers with a comma between; got {given!r}")
        return super().__new__(cls, values)


def _split(given: Any) -> list[Any]:
    if not isinstance(given, str):
        return list(given)
    return [part.strip(" '\"") for part in given.strip("[]() ").split(",")]


for _type in (Names, Position):
    register_type(_type, serializer=list)


def _maze(name_or_file: str) -> Maze:
    path = Path(name_or_file)
    return parse_maze(path.read_text() if path.is_file() else name_or_file, name=path.stem)


def data_generate(
    maze: str, out: Path, steps: int = 1_000_000, seed: int = 0, workers: int | None = None
) -> None:
    """Collect trajectories with the scripted waypoint controller, as D4RL did.

    Args:
        maze: umaze, medium, large, or a text file of # and O.
        out: hdf5 file to write, in D4RL's layout.
        steps: environment steps.
        seed: the same seed writes the same file.
        workers: processes; by default one a core.
    """
    print(generate_data(_maze(maze), steps, seed=seed, path=out, workers=workers))


def data_download(name: str, directory: Path | None = None) -> None:
    """Fetch one of D4RL's published files.

    Args:
        name: maze2d-umaze-v1, maze2d-medium-v1 or maze2d-large-v1.
        directory: where to keep it; by default $D4RL_DATASET_DIR or ~/.d4rl/datasets.
    """
    print(download(name, directory))


def data_check(file: Path) -> None:
    """Read a file in D4RL's layout and print what it holds.

    Args:
        file: hdf5 file.
    """
    data = load_d4rl(file)
    lengths = np.diff(data.segments, axis=1)
    print(f"{len(data)} steps in {len(lengths)} segments of {lengths.min()} to {lengths.max()}")
    print(f"observations mean {data.observations.mean(0)}, std {data.observations.std(0)}")
    print(f"actions std {data.actions.std(0)}, mean reward {data.rewards.mean():.4f}")
    print(f"fingerprint {data.fingerprint}")


def _train_command(name: str, preset: Preset) -> Callable[..., None]:
    """The command that trains one preset; its signature carries the preset's values."""

    def command(
        out: Path = Path("runs") / name,
        data: Path | None = None,
        recipe: ForcingConfig | DiffuserConfig | ValueConfig = preset.recipe,
        settings: TrainSettings = preset.settings,
        accelerator: str = "auto",
        devices: int = 1,
        precision: Precision = "32-true",
        resume: bool = False,
    ) -> None:
        """Train on the data of a maze, or on a file of your own.

        Args:
            out: folder of the run: metrics.jsonl, state.safetensors, checkpoint.safetensors.
            data: hdf5 file in D4RL's layout; by default the preset's data is generated into out.
            recipe: what is trained.
            settings: how long and how fast.
            accelerator: cpu, gpu, mps or auto.
            devices: number of devices.
            precision: 32-true, bf16-mixed or 16-mixed.
            resume: go on from the state in out.
        """
        fabric = _fabric(accelerator, devices, precision)
        fabric.launch()
        with fabric.rank_zero_first():
            file = data or preset_data(preset, out)
        train(recipe, load_d4rl(file), out, settings=settings, fabric=fabric, resume=resume)
        print(out / "checkpoint.safetensors")

    # Only the preset's own recipe can be configured; a union would lose its defaults.
    command.__annotations__["recipe"] = type(preset.recipe)
    return command


def _fabric(accelerator: str, devices: int, precision: Precision) -> Fabric:
    try:
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(
            f"Cannot train on accelerator {accelerator!r} with {devices} devices in {precision}: "
            f"{error} Leave the three flags out to train on what there is."
        ) from error


def inspect(checkpoint: str) -> None:
    """Print what a checkpoint says of itself, as JSON.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
    """
    print(json.dumps(Checkpoint.load(checkpoint_path(checkpoint)).describe(), indent=2))


def plan(
    checkpoint: str,
    start: Position,
    goal: Position,
    out: Path = Path("plan.png"),
    planner: PlannerSettings = PlannerSettings(),
    horizon: int | None = None,
    seed: int = 0,
) -> None:
    """Plan once and draw the plan.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
        start: position in the frame of the data, as 1,1; [-1,1] where it begins with a minus.
        goal: position, as 7,9.
        out: picture to write: PNG, SVG or PDF.
        planner: how to sample and choose, where the checkpoint is of Diffusion Forcing.
        horizon: environment steps; by default chosen by the planner.
        seed: of the noise.
    """
    loaded = load(checkpoint)
    if isinstance(loaded, ForcingPlanner):
        loaded = replace(loaded, settings=planner)
    elif planner != PlannerSettings():
        raise ConfigError(f"{checkpoint} is no planner of Diffusion Forcing; leave out --planner.")
    made = loaded.plan(np.array([*start, 0.0, 0.0]), np.array(goal), horizon=horizon, seed=seed)
    cost = f"{1e3 * made.seconds:.0f} ms, {made.evaluations} evaluations"
    print(f"horizon {made.steps[0]} steps, {cost}")
    print(made.plot(out))


def benchmark(
    out: Path = Path("runs/bench"),
    tasks: Names = Names(tuple(TASKS)),
    methods: Names = Names(tuple(METHODS)),
    episodes: PositiveInt = SLICE_EPISODES,
    full: bool = False,
    workers: PositiveInt = 1,
) -> None:
    """Benchmark the shipped checkpoints and write a table, rows and pictures.

    Args:
        out: folder to write to.
        tasks: which of the six tasks, with commas between.
        methods: which planners, with commas between.
        episodes: starts a task, the same for every method.
        full: the whole benchmark, 500 starts a task.
        workers: processes that step environments.
    """
    count = FULL_EPISODES if full else episodes
    print(f"{count} of {FULL_EPISODES} starts a task; --full runs the whole.")
    command = "dfplan bench " + " ".join(sys.argv[2:])
    rows = bench(
        out, tasks=tasks, methods=methods, episodes=count, workers=workers, command=command.strip()
    )
    print(terminal(rows))
    print(f"Written: {out / 'report.md'}, {out / 'rows.json'} and pictures.")


COMMANDS: dict[str, Any] = {
    "bench": benchmark,
    "plan": plan,
    "train": {
        "_help": "Train a planner or a value; each preset is a command.",
        **{name: _train_command(name, preset) for name, preset in PRESETS.items()},
    },
    "data": {
        "_help": "Collect, fetch or check trajectories.",
        "generate": data_generate,
        "download": data_download,
        "check": data_check,
    },
    "inspect": inspect,
}

_WRONG = re.compile(r"arguments: .*?(--[\w.-]+)|(?:[Oo]ption '|choice: '|Got value: )([\w.-]+)")


class _Parser(ArgumentParser):
    """Errors in one line with a suggestion; ``bool`` becomes ``--flag`` and ``--no_flag``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("type") is bool:
            kwargs["action"] = ActionYesNo
            del kwargs["type"]
        return super().add_argument(*args, **kwargs)

    def parse_path(self, *args: Any, **kwargs: Any) -> Any:
        """Looks for unknown keys at once: later, in a nested command, their names are lost."""
        loaded = super().parse_path(*args, **kwargs)
        self.validate(loaded, skip_required=True)
        return loaded

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", None) or self
        known = re.findall(r"(?:--)?[a-z][\w.-]*", parser.format_usage())
        by_key = {name.lstrip("-").rpartition(".")[2]: name for name in known}
        wrong = _WRONG.search(message)
        key = wrong[wrong.lastindex or 0].lstrip("-").rpartition(".")[2] if wrong else ""
        close = get_close_matches(key, by_key, n=1, cutoff=0.7)
        hint = f" Did you mean {by_key[close[0]]!r}?" if close else ""
        command = parser.prog.replace(" [options]", "")
        text = " ".join(message.split()).rstrip(".")
        self.exit(2, f"dfplan: error: {text}.{hint} See '{command} --help'.\n")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        auto_cli(
            COMMANDS,
            args=None if args is None else list(args),
            prog="dfplan",
            description="Plan in mazes with Diffusion Forcing.",
            parser_class=_Parser,
        )
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UnicodeDecodeError as error:
        print(f"dfplan: error: Expected a text file in UTF-8; {error}.", file=sys.stderr)
        return 2
    except (DfplanError, OSError) as error:
        print(f"dfplan: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dfplan: interrupted", file=sys.stderr)
        return 130
    return 0
