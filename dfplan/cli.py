"""The command line: it parses, calls and prints."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO

import numpy as np
import yaml
from jsonargparse import ActionYesNo, ArgumentParser, Namespace, auto_cli, get_loader, set_loader
from jsonargparse.typing import PositiveInt, register_type
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from dfplan.bench.compare import compare
from dfplan.bench.executor import LOCAL
from dfplan.bench.methods import OWN_TRACKER
from dfplan.bench.plan import DEFAULT, bench, roster
from dfplan.bench.records import has_cells, read_cells
from dfplan.bench.report import USUAL_COLUMNS, require_columns, terminal
from dfplan.collect import generate as generate_data
from dfplan.data import check, checksum, download, load_data, read, write
from dfplan.data.checks.check import draw_check
from dfplan.data.download import PUBLISHED, fetched
from dfplan.data.formats.minari import PUBLISHED as MINARI_PUBLISHED
from dfplan.data.formats.minari import local_datasets
from dfplan.data.segments import DataWarning
from dfplan.envs.make import make
from dfplan.envs.picture import save_frame
from dfplan.errors import ConfigError, DfplanError, require_numbers
from dfplan.evaluation.episodes import GROUP, rollout
from dfplan.evaluation.protocols import Split
from dfplan.evaluation.stock import stock, summary
from dfplan.files import expanded
from dfplan.mazes import Maze, parse_maze, read_maze
from dfplan.planning.episode import drive
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner, PlannerSettings
from dfplan.planning.tree import Change, TreePlanner, TreeSettings
from dfplan.plotting.figures import checked_path as checked_picture
from dfplan.plotting.videos import (
    checked_path,
    denoising_frames,
    drive_frames,
    tree_frames,
    write_film,
)
from dfplan.pretrained import load, read_checkpoint
from dfplan.tokens.windows import TokenLayout
from dfplan.training.loop import TrainSettings, train
from dfplan.training.presets import (
    OWN_SETTINGS,
    PRESETS,
    OfflinePreset,
    Preset,
    own_preset,
    preset_data,
)
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.offline import OfflineConfig, OfflineSettings, train_offline
from dfplan.training.recipes.value import ValueConfig
from dfplan.view.export import export_page
from dfplan.view.planning import serve_planners
from dfplan.view.server import serve

_LARGEST_TEXT = 1 << 20  # bytes of what a person writes: settings, a maze
_LONGEST_MESSAGE = 2000  # characters

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
LoopRecipe = ForcingConfig | DiffuserConfig | ValueConfig | CloningConfig | InverseConfig


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


class Numbers(tuple[int, ...]):
    """Whole numbers as ``0,1,2``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[int]) -> Numbers:
        """Split at commas, or ValueError."""
        return super().__new__(cls, [int(value) for value in _split(given)])


class Keys(tuple[tuple[str, str], ...]):
    """Names of arrays as ``observations=obs,ends=done``; a mapping in a configuration file.

    Pairs, since jsonargparse loses what a dict of another class holds.
    """

    def __new__(cls, given: str | Mapping[str, str] | Sequence[tuple[str, str]]) -> Keys:
        """Split at commas and equal signs, or ValueError."""
        if isinstance(given, str):
            parts = [part.partition("=") for part in _split(given)]
            if not all(sign for _, sign, _ in parts):
                raise ValueError(f"keys are written as observations=obs,ends=done; got {given!r}")
            given = [(field, name) for field, _, name in parts]
        pairs = list(dict(given).items())
        if len(pairs) < len(given):
            raise ValueError(f"each field has one name; got {given!r}")
        return super().__new__(cls, pairs)


for _type, _plain in ((Names, list), (Position, list), (Numbers, list), (Keys, dict)):
    register_type(_type, serializer=_plain)
register_type(Path, str, expanded, type_check=isinstance)
register_type(Change, asdict, lambda settings: Change(**settings))


def _named(keys: Keys | None) -> dict[str, str] | None:
    return None if keys is None else dict(keys)


def _maze(name_or_file: str) -> Maze:
    path = expanded(name_or_file)
    if not os.path.isfile(path):  # the text of a maze may be longer than a path can be
        return parse_maze(name_or_file)
    return read_maze(path)


def _require_small(path: str | Path) -> None:
    """Refuse what is too large for a text that a person writes, before it is read."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size > _LARGEST_TEXT:
        raise ConfigError(f"Expected a text of at most {_LARGEST_TEXT} bytes; got {size}.")


def data_generate(
    maze: str,
    out: Path,
    steps: int | None = None,
    recipe: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    picture: Path | None = None,
) -> None:
    """Collect data as the maze's suite did, and report what came out.

    Interrupted, the same command goes on from where it was.

    Args:
        maze: maze2d-large, pointmaze-large, ogbench-giant and the like, or a text file of # and O.
        out: hdf5 file for D4RL's mazes and your own, folder for pointmaze, npz file for OGBench.
        steps: environment steps; by default as many as the suite published.
        recipe: how: d4rl; minari or minari-dfs for pointmaze; navigate or stitch for OGBench. By
            default the first that is for the maze.
        seed: the same seed collects the same data.
        workers: processes; by default one a core.
        picture: of where the data has been, with some of it as a line; by default beside it.
    """
    if picture is not None:
        checked_picture(picture)
    path = generate_data(_maze(maze), steps, seed=seed, path=out, recipe=recipe, workers=workers)
    recording = read(path)
    report = check(recording)
    print(report)
    print(draw_check(picture or path.with_suffix(".png"), recording, report))
    print(path)


def data_download(name: str, directory: Path | None = None) -> None:
    """Fetch a published data set, unless it is there already.

    Args:
        name: of D4RL's (maze2d-large-v1) or OGBench's (pointmaze-giant-navigate-v0).
        directory: where to keep it; by default where its suite's own tools do.
    """
    print(download(name, directory))


def data_check(
    source: str,
    picture: Path | None = None,
    segment_by: Literal["none", "timeouts", "goals"] = "none",
    keys: Keys | None = None,
    follow_links: bool = False,
) -> int:
    """Say what data holds and what is wrong with it; the exit code is 1 if training would stop.

    Args:
        source: file, folder or name, in any layout.
        picture: where to draw where the data has been.
        segment_by: what else cuts episodes.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    recording = read(source, keys=_named(keys), follow_links=follow_links)
    # The shortest window that any preset draws: from one token to the next.
    report = check(recording, segment_by, window=TokenLayout(tokens=2).token_steps + 1)
    print(report)
    if picture is not None:
        print(draw_check(picture, recording, report))
    return 0 if report.ok else 1


def data_info(source: str, keys: Keys | None = None, follow_links: bool = False) -> None:
    """Say what data holds, without its faults.

    Args:
        source: file, folder or name, in any layout.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    print(check(read(source, keys=_named(keys), follow_links=follow_links)).summary())


def data_list() -> None:
    """List the published data sets, and which are here."""
    here = {name: folder for name in PUBLISHED if (folder := fetched(name)) is not None}
    here |= local_datasets()
    for name in sorted({*PUBLISHED, *MINARI_PUBLISHED, *here}):
        print(f"{name:36} {here.get(name, '-')}")


def data_convert(
    source: str,
    out: Path,
    layout: str | None = None,
    keys: Keys | None = None,
    follow_links: bool = False,
) -> None:
    """Write data in another layout; nothing is lost there and back.

    Args:
        source: file, folder or name, in any layout.
        out: what to write: .hdf5 for D4RL's layout, .npz for OGBench's, a new folder for Minari's.
        layout: d4rl, minari or ogbench, where the ending does not say it.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    print(write(read(source, keys=_named(keys), follow_links=follow_links), out, layout))


def data_checksum(source: str) -> None:
    """Write the checksum of data beside it, which is compared whenever the data is read.

    Args:
        source: file, or folder of a Minari data set.
    """
    print(checksum(source))


def environment(name: str, out: Path | None = None, seed: int = 0) -> None:
    """Make an environment and say what it is; draw its first state.

    Args:
        name: maze2d-large, pointmaze-large, ogbench-giant and the like, or a text file of # and O.
        out: picture (PNG) to write; by default none.
        seed: of the start and goal.
    """
    env = make(_suite(name), render_mode="rgb_array")
    observation, _ = env.reset(seed=seed)
    print(f"{env.name}: {env.maze.shape[0]} x {env.maze.shape[1]} cells, {env.max_steps} steps")
    print(f"observation {env.observation_space}")
    print(f"action {env.action_space}; goal within {env.goal_radius}")
    print(f"starts at {observation['observation'].round(2).tolist()}")
    print(f"goal {observation['desired_goal'].round(2).tolist()}")
    frame = env.render()
    if out is not None and frame is not None:
        print(save_frame(out, frame))
    env.close()


def _suite(name: str) -> str | Maze:
    """A suite's name as it is, or the maze in a file."""
    return _maze(name) if os.path.isfile(expanded(name)) else name


def _train_command(name: str, preset: Preset | OfflinePreset) -> Callable[..., None]:
    """The command that trains one preset; its signature carries the preset's values."""
    if isinstance(preset, OfflinePreset):
        return _offline_command(name, preset)

    def command(
        out: Path = Path("runs") / name,
        data: str | None = None,
        recipe: LoopRecipe = preset.recipe,
        settings: TrainSettings = preset.settings,
        accelerator: str = "auto",
        devices: int = 1,
        precision: Precision = "32-true",
        resume: bool = False,
        segment_by: Literal["none", "timeouts", "goals"] = "none",
        follow_links: bool = False,
    ) -> None:
        """Train on the data of a maze, or on data of your own.

        Args:
            out: folder of the run: metrics.jsonl, state.safetensors, checkpoint.safetensors.
            data: file, folder or name, in any layout; by default the preset's, collected into out.
            recipe: what is trained.
            settings: how long and how fast.
            accelerator: cpu, gpu, mps or auto.
            devices: number of devices.
            precision: 32-true, bf16-mixed or 16-mixed.
            resume: go on from the state in out.
            segment_by: what else cuts episodes.
            follow_links: whether hdf5 files may take values from files outside of their folder.
        """
        fabric = _fabric(accelerator, devices, precision)
        fabric.launch()
        with fabric.rank_zero_first():
            source = preset_data(preset, out) if data is None else data
        trajectories = load_data(source, segment_by=segment_by, follow_links=follow_links)
        train(recipe, trajectories, out, settings=settings, fabric=fabric, resume=resume)
        print(out / "checkpoint.safetensors")

    # Only the preset's own recipe can be configured; a union would lose its defaults.
    command.__annotations__["recipe"] = type(preset.recipe)
    return command


def _offline_command(name: str, preset: OfflinePreset) -> Callable[..., None]:
    """The same for a preset that d3rlpy trains."""

    def command(
        out: Path = Path("runs") / name,
        data: str | None = None,
        recipe: OfflineConfig = preset.recipe,
        settings: OfflineSettings = preset.settings,
        segment_by: Literal["none", "timeouts", "goals"] = "none",
        follow_links: bool = False,
    ) -> None:
        """Train by d3rlpy on the data of a maze, or on data of your own.

        Args:
            out: folder of the run: metrics.jsonl, checkpoint.safetensors.
            data: file, folder or name, in any layout; by default the preset's, collected into out.
            recipe: what is trained, and for which goal.
            settings: how long.
            segment_by: what else cuts episodes.
            follow_links: whether hdf5 files may take values from files outside of their folder.
        """
        source = preset_data(preset, out) if data is None else data
        trajectories = load_data(source, segment_by=segment_by, follow_links=follow_links)
        train_offline(recipe, trajectories, out, settings=settings)
        print(out / "checkpoint.safetensors")

    return command


def train_own(
    maze: Path,
    out: Path = Path("runs/own"),
    data: str | None = None,
    tokens: int | None = None,
    settings: TrainSettings = OWN_SETTINGS,
    resume: bool = False,
    follow_links: bool = False,
) -> None:
    """Train a planner for a maze of your own; its data is collected if none is given.

    Args:
        maze: text file of # and O, one row a line.
        out: folder of the run.
        data: file, folder or name, in any layout; by default collected into out.
        tokens: of 20 steps each, of the longest plan; by default enough for the longest way.
        settings: how long and how fast.
        resume: go on from the state in out.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    preset = own_preset(_maze(str(maze)))
    recipe = preset.recipe if tokens is None else ForcingConfig(tokens=tokens)
    trajectories = load_data(
        preset_data(preset, out) if data is None else data, follow_links=follow_links
    )
    train(recipe, trajectories, out, settings=settings, resume=resume)
    print(out / "checkpoint.safetensors")


def _fabric(accelerator: str, devices: int, precision: Precision) -> Fabric:
    # Fabric would start any number of processes on a CPU.
    most = max(os.cpu_count() or 1, 8)
    require_numbers({"devices": devices}, whole=True, most=most)
    try:
        return Fabric(accelerator=accelerator, devices=devices, precision=precision)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"Cannot train on accelerator {accelerator!r} with {devices} devices in {precision}: "
            f"{error} Leave the three flags out to train on what there is."
        ) from error


def inspect(checkpoint: str) -> None:
    """Print what a checkpoint says of itself, as JSON.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
    """
    print(json.dumps(read_checkpoint(checkpoint).describe(), indent=2))


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
    if isinstance(loaded, LearnedPolicy):
        raise ConfigError(f"{checkpoint} is a policy and makes no plan; play it: dfplan evaluate.")
    if isinstance(loaded, ForcingPlanner):
        loaded = replace(loaded, settings=planner)
    elif planner != PlannerSettings():
        raise ConfigError(f"{checkpoint} is no planner of Diffusion Forcing; leave out --planner.")
    made = loaded.plan(np.array([*start, 0.0, 0.0]), np.array(goal), horizon=horizon, seed=seed)
    cost = f"{1e3 * made.seconds:.0f} ms, {made.evaluations} evaluations"
    print(f"horizon {made.steps[0]} steps, {cost}")
    print(made.plot(out))


def film_denoising(
    checkpoint: str,
    start: Position,
    goal: Position,
    out: Path = Path("denoising.gif"),
    planner: PlannerSettings = PlannerSettings(matrix="pyramid"),
    seed: int = 0,
    width: int = 640,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Film a plan coming out of noise, the near future first.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
        start: position in the frame of the data, as 1,1; [-1,1] where it begins with a minus.
        goal: position, as 7,9.
        out: film to write, GIF or MP4.
        planner: how to sample and choose.
        seed: of the noise.
        width: of a frame, in pixels.
        theme: light or dark.
    """
    out = checked_path(out)
    loaded = _forcing(checkpoint, planner)
    made = loaded.plan(np.array([*start, 0.0, 0.0]), np.array(goal), seed=seed, trace=True)
    print(write_film(out, denoising_frames(made, width=width, theme=theme)))


def film_tree(
    checkpoint: str,
    start: Position,
    goal: Position,
    out: Path = Path("tree.gif"),
    search: TreeSettings = TreeSettings(),
    seed: int = 0,
    width: int = 640,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Film a tree search growing.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
        start: position in the frame of the data, as 1,1; [-1,1] where it begins with a minus.
        goal: position, as 7,9.
        out: film to write, GIF or MP4.
        search: how far and how wide to search.
        seed: of the noise.
        width: of a frame, in pixels.
        theme: light or dark.
    """
    out = checked_path(out)
    searcher = TreePlanner(_forcing(checkpoint, None), search)
    made = searcher.plan(np.array([*start, 0.0, 0.0]), np.array(goal), seed=seed, trace=True)
    print(write_film(out, tree_frames(made, width=width, theme=theme)))


def film_drive(
    checkpoint: str,
    env: str | None = None,
    out: Path = Path("drive.gif"),
    planner: PlannerSettings = PlannerSettings(matrix="pyramid", rows=0.4),
    replan_every: PositiveInt = 40,
    seed: int = 0,
    width: int = 640,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Film a drive in the running environment, planned anew on the way.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
        env: maze2d-large, pointmaze-large, ogbench-giant and the like, or a text file of # and O;
            by default the maze of the checkpoint's data.
        out: film to write, GIF or MP4.
        planner: how to sample and choose.
        replan_every: steps between two plans.
        seed: of the episode and of the noise.
        width: of a frame, in pixels.
        theme: light or dark.
    """
    out = checked_path(out)
    loaded = _forcing(checkpoint, planner)
    if env is None and loaded.maze is None:
        raise ConfigError(f"{checkpoint} names no maze; name an environment by --env.")
    world = make(loaded.maze or "" if env is None else _suite(env))
    played = drive(world, Policy(loaded, replan_every=replan_every), seed=seed)
    world.close()
    print(write_film(out, drive_frames(played, width=width, theme=theme)))


def _forcing(checkpoint: str, settings: PlannerSettings | None) -> ForcingPlanner:
    """A planner of Diffusion Forcing with those settings, or its own."""
    loaded = load(checkpoint)
    if not isinstance(loaded, ForcingPlanner):
        raise ConfigError(f"{checkpoint} is no planner of Diffusion Forcing, which this films.")
    return loaded if settings is None else replace(loaded, settings=settings)


def evaluate(
    checkpoint: str,
    env: str | None = None,
    episodes: PositiveInt = 50,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Play a suite's stock episodes with a planner or policy, or episodes in a maze of your own.

    OGBench: as many episodes of each of its five tasks. Others: with random starts and goals.

    Args:
        checkpoint: name of a shipped one, a file, or a run's folder.
        env: maze2d-large, pointmaze-large, ogbench-giant and the like, or a text file of # and O;
            by default the maze of the checkpoint's data.
        episodes: how many.
        seed: of the episodes and of the planner.
        out: picture of the first episode (of each task: -2, -3 and so on) to write; of planners.
    """
    if out is not None:
        checked_picture(out)
    loaded = load(checkpoint)
    planner = None if isinstance(loaded, LearnedPolicy) else loaded
    if out is not None and planner is None:
        raise ConfigError(f"{checkpoint} is a policy and makes no plan to draw; leave out --out.")
    task, posed = stock(loaded.maze, None if env is None else _suite(env), episodes, seed)
    actor = loaded if isinstance(loaded, LearnedPolicy) else Policy(loaded)
    played = rollout(actor, task, posed, seed=seed)
    print(summary(played))
    if out is None or planner is None:
        return
    for number in range(len(posed) // episodes):  # the tasks take turns
        plan = planner.plan(posed.starts[number], posed.goals[number], seed=seed)
        name = out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}")
        print(plan.plot(name, executed=played.positions[number, : played.steps[number] + 1]))


def view(
    mazes: Names | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
    export: Path | None = None,
    open: bool = False,
) -> None:
    """Serve a page that shows plans while they are made; or write one that needs no server.

    Args:
        mazes: checkpoints to plan with, commas between: names of shipped ones, files, or folders of
            runs; by default all shipped planners.
        host: where to listen; by default to this machine alone.
        port: 0 for any that is free.
        export: file to write instead, of recorded plans, which any browser opens as it is.
        open: whether to open a browser with it.
    """
    served = serve_planners(mazes)
    if export is not None:
        print(export_page(export, served))
        address = export.resolve().as_uri()
        if open:
            webbrowser.open(address)
        return

    def ready(address: str) -> None:
        print(f"Open {address} (Ctrl-C ends it)", flush=True)
        if open:
            webbrowser.open(address)

    serve(served, host, port, ready)


def bench_run(
    out: Path = Path("runs/bench"),
    protocol: Names | None = None,
    tasks: Names | None = None,
    planner: Names = Names(DEFAULT),
    tracker: Names = Names(OWN_TRACKER),
    seeds: Numbers = Numbers("0"),
    episodes: int | None = None,
    full: bool = False,
    split: Split = "test",
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    checkpoints: Names | None = None,
    limit: float = 600.0,
    columns: Names = Names(USUAL_COLUMNS),
) -> int:
    """Play planners on tasks, or what of it is not there yet; write every episode and a report.

    The exit code is 1 if a process died and took its episodes with it.

    Args:
        out: folder to write to; what it holds already is not played again.
        protocol: d4rl-maze2d-v1, gymnasium-pointmaze-v3, ogbench-pointmaze-v0, dfplan-v1; several
            with commas between, each in tables of its own; by default that of the tasks, or the
            first.
        tasks: some of their tasks; by default all.
        planner: names with commas between, all, or a dotted name of your own, mypkg.module:make.
        tracker: names with commas between, all, or own for that of each planner; all is without
            diffused for a planner of your own, of which it is not known whether it plans actions.
        seeds: of the training, with commas between.
        episodes: a task, 20 by default; the first of the protocol's. They are played 20 at a time,
            so of two numbers of them the episodes that both have are the same to the digit only in
            the groups that are as large in both.
        full: the whole protocol, all its episodes.
        split: validation while you tune.
        workers: planners that play at a time; by default one a core, or all that the cluster has.
        backend: processes on this machine, or joblib's for a ray or dask cluster.
        address: of a running cluster; by default one is started here.
        checkpoints: folders with checkpoints that are not shipped, with commas between.
        limit: seconds that one call of a planner may take, for a whole group of episodes.
        columns: of what is printed of each task, with commas between. There are also iqm, return,
            latched and at-end. The report has them all.
    """
    require_columns(columns)
    if full and episodes is not None:
        raise ConfigError(f"Expected --full or --episodes {episodes}, not both; leave one out.")
    flags = sys.argv[3:] if sys.argv[2:3] == ["run"] else sys.argv[2:]
    command = shlex.join(["dfplan", "bench", *flags])
    entered = roster(
        protocols=protocol or (),
        tasks=tasks or (),
        planners=planner,
        trackers=tracker,
        seeds=seeds,
        episodes=None if full else GROUP if episodes is None else episodes,
        split=split,
        checkpoints=checkpoints or (),
        limit=limit,
        command=command,
    )
    for line in entered.left_out:
        print(f"left out: {line}")
    lost = bench(out, entered, workers=workers, backend=backend, address=address, command=command)
    if not lost or has_cells(out):
        print(terminal(read_cells(out), columns))
        print(
            f"Written: {out / 'report.html'}, {out / 'report.md'} and every episode in "
            f"{out / 'cells'}."
        )
    for line in lost:
        print(f"dfplan: error: {line}", file=sys.stderr)
    return 1 if lost else 0


def bench_compare(first: Path, second: Path) -> None:
    """Say what changed between two folders of results, and whether it is noise.

    Args:
        first: folder that dfplan bench wrote.
        second: another one, with tasks of the same protocols.
    """
    print(compare(first, second))


COMMANDS: dict[str, Any] = {
    "view": view,
    "bench": {
        "_help": "Benchmark planners: bench alone is bench run.",
        "run": bench_run,
        "compare": bench_compare,
    },
    "evaluate": evaluate,
    "env": environment,
    "plan": plan,
    "film": {
        "_help": "Film a plan, a search or a drive.",
        "denoising": film_denoising,
        "drive": film_drive,
        "tree": film_tree,
    },
    "train": {
        "_help": "Train a planner, policy, tracker or value; each preset is a command.",
        **{name: _train_command(name, preset) for name, preset in PRESETS.items()},
        "own": train_own,
    },
    "data": {
        "_help": "Collect, fetch, check or convert data.",
        "generate": data_generate,
        "download": data_download,
        "list": data_list,
        "info": data_info,
        "check": data_check,
        "convert": data_convert,
        "checksum": data_checksum,
    },
    "inspect": inspect,
}


_DEEPEST = 20
_MOST_VALUES = 10_000


class _Open:
    """A list or mapping of YAML that has begun and not ended: what is known of it so far."""

    def __init__(self, anchor: str | None, keys: set[str] | None) -> None:
        self.anchor = anchor
        self.keys = keys  # None for a list
        self.nodes = 1
        self.children = 0


def _yaml(text: str) -> Any:
    """What jsonargparse makes of YAML, unless that is of an unreasonable size or has tags.

    An alias counts as all that it stands for.

    Raises:
        YAMLError: that, a key given twice, or no YAML.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # the name of a file may hold any bytes
        raise yaml.YAMLError(str(error)) from error
    if size > _LARGEST_TEXT:
        raise yaml.YAMLError(f"more than {_LARGEST_TEXT} bytes")
    sizes: dict[str | None, int] = {}  # of what has an anchor
    stack = [_Open(None, None)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = f"line {event.start_mark.line + 1}"
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"{line}: the tag {event.tag}; write plain values")
        if isinstance(event, yaml.NodeEvent):
            parent = stack[-1]
            if parent.keys is not None and parent.children % 2 == 0:
                key = getattr(event, "value", "")  # "" for a list or mapping, which is no key
                if key in parent.keys:
                    raise yaml.YAMLError(f"{line}: {key} is given twice")
                parent.keys.add(key)
            parent.children += 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"{line}: *{event.anchor} stands for itself, or for nothing")
            parent.nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            parent.nodes += 1
            sizes[event.anchor] = 1
            if len(event.value) > _MOST_DIGITS and _NUMBER.fullmatch(event.value):
                raise yaml.YAMLError(f"{line}: a number of more than {_MOST_DIGITS} digits")
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            stack.append(_Open(event.anchor, set() if is_mapping else None))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            stack[-1].nodes += ended.nodes
            sizes[ended.anchor] = ended.nodes
        if len(stack) > _DEEPEST or stack[-1].nodes > _MOST_VALUES:
            raise yaml.YAMLError(
                f"{line}: more than {_MOST_VALUES} values, or more than {_DEEPEST} in each other"
            )
    try:
        return _USUAL_YAML(text)
    except ValueError as error:  # what only looks like a number
        raise yaml.YAMLError(str(error)) from error


_MOST_DIGITS = 250  # in any base a float holds as many
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]*")
_USUAL_YAML = get_loader("yaml")
set_loader("yaml", _yaml, exceptions=(yaml.YAMLError,))

_WRONG = re.compile(r"arguments: .*?(--[\w.-]+)|(?:[Oo]ption '|choice: '|Got value: )([\w.-]+)")


class _Parser(ArgumentParser):
    """Errors in one line with a suggestion; ``bool`` becomes ``--flag`` and ``--no_flag``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._file = ""  # that is being read

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("type") is bool:
            kwargs["action"] = ActionYesNo
            del kwargs["type"]
        return super().add_argument(*args, **kwargs)

    def parse_args(self, args: Any = None, *others: Any, **kwargs: Any) -> Any:
        """Says what jsonargparse does not: files that are no text, numbers that are too large."""
        try:
            return super().parse_args(args, *others, **kwargs)
        except UnicodeDecodeError as error:
            values = [value for given in args for value in (given, given.partition("=")[2])]
            files = ", ".join(value for value in values if os.path.isfile(value))
            self.error(f"Expected text in UTF-8 in {files}; {error}")
        except OverflowError as error:
            self.error(f"A number is too large in {max(args, key=len)}; {error}")

    def parse_path(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Names the file in errors."""
        self._file = f"{path}: "
        try:
            _require_small(expanded(path))
            loaded = super().parse_path(path, *args, **kwargs)
        except UnicodeDecodeError as error:
            self.error(f"Expected a text file in UTF-8; {error}")
        except (TypeError, KeyError, ConfigError) as error:
            self.error(str(error), error)
        self._file = ""
        return loaded

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Looks for unknown keys at once: later, in a nested command, their names are lost."""
        with suppress(yaml.YAMLError):  # the original says what is wrong with it
            value = _yaml(content)
            if not isinstance(value, dict):
                kind = "nothing" if value is None else type(value).__name__
                self.error(f"Expected lines such as 'name: value'; got {kind}")
        loaded = super().parse_string(content, *args, **kwargs)
        self.validate(loaded, skip_required=True)
        return loaded

    def validate(self, namespace: Any, *args: Any, **kwargs: Any) -> None:
        for name in self.groups or ():
            if not isinstance(value := namespace.get(name, {}), Namespace | dict):
                raise TypeError(f'Parser key "{name}": expected settings by name; got {value!r}')
        super().validate(namespace, *args, **kwargs)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Does not hide that a message cannot be written, as the original does."""
        (file or sys.stderr).write(message)

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
        if len(text) > _LONGEST_MESSAGE:
            text = f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 2 :]}"
        self.exit(2, f"dfplan: error: {self._file}{text}.{hint} See '{command} --help'.\n")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """What is wrong with data in one line, without the line of code that noticed it."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, DataWarning):
                print(f"dfplan: warning: {message}", file=sys.stderr)
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _with_default(args: Sequence[str]) -> list[str]:
    """``bench`` with nothing or a flag behind it is ``bench run``."""
    asked = list(args)
    flag = (asked[1:2] or ["--out"])[0]
    if asked[:1] == ["bench"] and flag.startswith("--") and flag != "--help":
        asked.insert(1, "run")
    return asked


def _asked(commands: Mapping[str, Any], args: Sequence[str]) -> dict[str, Any]:
    """The commands; only the one that ``args`` name, since the parsers of all take a second."""
    name = args[0] if args else ""
    if name not in commands or name == "_help":
        return dict(commands)
    one = commands[name]
    alone = {name: _asked(one, args[1:]) if isinstance(one, dict) else one}
    return {key: text for key, text in commands.items() if key == "_help"} | alone


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    _open_closed_streams()
    code = 0
    fault: BaseException | None = None
    args = _with_default(sys.argv[1:] if args is None else args)
    try:
        with _plain_warnings(), _ended_by_sigterm():
            returned = auto_cli(
                _asked(COMMANDS, args),
                args=args,
                prog="dfplan",
                description="Plan in mazes with Diffusion Forcing.",
                parser_class=_Parser,
            )
        code = returned if isinstance(returned, int) else 0
    except (DfplanError, OSError, MemoryError) as error:
        fault = error
    except RuntimeError as error:
        if not re.search("allocate memory|out of memory", str(error)):  # PyTorch's
            raise
        fault = MemoryError(str(error))
    except KeyboardInterrupt:
        code = 130
        _complain("dfplan: interrupted")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    unwritten = _unwritten(sys.stdout)
    fault = fault or unwritten
    if isinstance(fault, BrokenPipeError) and (unwritten or _lacks_reader(sys.stdout, sys.stderr)):
        return 1  # whoever read our output has had enough
    if fault is None:
        return code
    about = "Not enough memory. " if isinstance(fault, MemoryError) else ""
    _complain(f"dfplan: error: {about}{fault}")
    return 2


def _complain(line: str) -> None:
    with suppress(OSError):
        print(" ".join(line.split()), file=sys.stderr, flush=True)
    _unwritten(sys.stderr)


def _unwritten(stream: TextIO) -> OSError | None:
    """Why what was printed cannot be written, or None if it is."""
    try:
        stream.flush()
    except OSError as error:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _lacks_reader(*streams: TextIO) -> bool:
    """Whether one of them is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    for stream in streams:
        with suppress(OSError):  # not a file
            poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _open_closed_streams() -> None:
    """Make the standard streams such that no print and no other file fails by what they are."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # such as of ASCII alone


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an interrupt does, so that nothing half-written is left."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
