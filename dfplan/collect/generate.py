"""Collecting data in any maze, by the recipe and in the layout of the suite it belongs to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dfplan.collect.d4rl import D4RLRecipe, write_collected
from dfplan.collect.minari import MinariRecipe
from dfplan.collect.ogbench import OGBenchRecipe
from dfplan.collect.shards import collect_shards, joined
from dfplan.errors import ConfigError, require_numbers, unknown_name
from dfplan.files import exclusive, expanded, remove_folder
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH, Suite

SHARD = 50_000
"""Steps of one uninterrupted stream; the unit of work, so the number of workers changes nothing."""

COLLECTORS: dict[str, Suite] = {
    "d4rl": D4RL,
    "minari": GYMNASIUM,
    "minari-dfs": GYMNASIUM,
    "navigate": OGBENCH,
    "stitch": OGBENCH,
}
"""Recipes by name, and the frame of the mazes in which each collects; the first for a frame is
taken where none is named."""

OWN_STEPS = 1_000_000
"""Steps collected in a maze of one's own, unless told otherwise."""

_MOST_STEPS = 10_000_000_000
_OGBENCH_SHARD = 10_000  # its steps take longer
_D4RL_STEPS = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}
_EPISODES = {"navigate": (1000, 1001), "stitch": (5000, 201)}
_GIANT_NAVIGATE = (500, 2001)


def generate(
    maze: Maze | str | Sequence[Sequence[object]],
    steps: int | None = None,
    *,
    seed: int,
    path: str | Path,
    recipe: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Collect data in ``maze`` as its suite's authors did, and write it in the suite's layout.

    ========== ================================================== ================================
    recipe     for                                                what is written
    ========== ================================================== ================================
    d4rl       D4RL's mazes (``maze2d-large``, ``large``, own)    an hdf5 file
    minari,    gymnasium-robotics' (``pointmaze-large``, own);    a folder, a Minari data set
    minari-dfs for the second see
               :class:`~dfplan.collect.minari.MinariRecipe`
    navigate,  OGBench's (``ogbench-giant``)                      an npz file, and ``*-val.npz``
    stitch                                                        beside it for validation
    ========== ================================================== ================================

    Parts are kept in ``<path>.parts`` as they are collected: the same call after an interrupt goes
    on from there, and writes what it would have written. The folder goes when the data is there.

    Args:
        maze: anything that :func:`dfplan.mazes.parse_maze` reads, or ``maze2d-`` before the name of
            a maze of D4RL's.
        steps: environment steps, at least 2; by default as many as the suite published, and
            :data:`OWN_STEPS` in a maze of one's own. OGBench's recipes collect whole episodes, at
            least that many steps, and a tenth as many for validation.
        seed: at least 0. The same maze, recipe, steps and seed give the same data, and for d4rl the
            same file byte for byte, on the same versions of MuJoCo, HDF5 and numpy.
        path: the file or folder to write; it appears only once it is whole.
        recipe: one of :data:`COLLECTORS`; by default the maze's suite's.
        workers: processes; by default one a usable core, and never more than there are parts.
            Where that is more than one, a script needs the usual ``if __name__ == "__main__":``.
        progress: show a progress bar on stderr.

    Returns:
        The path that was written.

    Raises:
        BusyError: another process collects the same.
        ConfigError: ``steps``, ``seed`` or ``workers`` is not a whole number or too small; an
            unknown recipe, or one for mazes in another frame; a path without
            the ending of its layout; the parts of another collection lie in the way.
        MazeError: the maze cannot be read, or has too few cells for the recipe.
        MissingSimulatorError: the packages that simulate mazes are not installed.
        DataError: a part is damaged.
        DfplanError: a worker process died.
        OSError: the file cannot be written, as on a full disk.
    """
    maze = parse_maze(maze)
    recipe = _recipe_for(maze, recipe)
    if steps is not None:
        steps = _whole("steps", steps, least=2, most=_MOST_STEPS)
    seed = _whole("seed", seed, least=0)
    workers = _whole("workers", _usable_cores() if workers is None else workers, least=1)
    path = expanded(path)
    plan = _plan(maze, recipe, steps)
    if isinstance(plan, OGBenchRecipe) and path.suffix != ".npz":
        raise ConfigError(f"The name of OGBench's files must end in .npz; got {path.name!r}.")
    if isinstance(plan, D4RLRecipe) and path.suffix not in (".hdf5", ".h5"):
        raise ConfigError(f"The name of D4RL's files must end in .hdf5 or .h5; got {path.name!r}.")
    if not isinstance(plan, MinariRecipe) and path.is_dir():
        raise ConfigError(f"Expected a file to write at {path}; there is a folder. Name another.")
    if isinstance(plan, MinariRecipe) and path.exists():
        raise ConfigError(
            f"{path} must not be there yet, since a Minari data set is a folder of its own. Remove "
            "it, or name another folder."
        )
    folder = parts_folder(path)
    total = sum(plan.sizes)
    facts: dict[str, str | int] = {
        "recipe": recipe,
        "maze": maze.text,
        "steps": total,
        "seed": seed,
    }
    with (
        tqdm(
            total=total, unit="step", unit_scale=True, desc=path.name, disable=not progress
        ) as bar,
        exclusive(folder, "a collection of data"),
    ):
        files = collect_shards(plan, seed, folder, facts, workers, bar)
        _write(plan, files, seed, path)
        remove_folder(folder)
    return path


def parts_folder(path: Path) -> Path:
    """Where :func:`generate` keeps the parts of the data at ``path`` until that is whole."""
    return path.with_name(f"{path.name}.parts")


def _recipe_for(maze: Maze, recipe: str | None) -> str:
    if recipe is None:
        return next(name for name, suite in COLLECTORS.items() if suite is maze.suite)
    if recipe not in COLLECTORS:
        raise unknown_name("recipe", recipe, COLLECTORS)
    if COLLECTORS[recipe] is not maze.suite:
        raise ConfigError(
            f"Recipe {recipe!r} collects in mazes of the frame {COLLECTORS[recipe].name!r}; maze "
            f"{maze.name!r} is in {maze.suite.name!r}. Name a maze of that suite, or write the "
            f"line 'frame {COLLECTORS[recipe].name}' before the rows of your own."
        )
    return recipe


def _plan(maze: Maze, recipe: str, steps: int | None) -> D4RLRecipe | MinariRecipe | OGBenchRecipe:
    if recipe == "d4rl":
        return D4RLRecipe(maze, steps or _D4RL_STEPS.get(maze.text, OWN_STEPS), SHARD)
    if recipe in ("minari", "minari-dfs"):
        return MinariRecipe(maze, steps or OWN_STEPS, SHARD, depth_first=recipe == "minari-dfs")
    giant = recipe == "navigate" and maze.text == "ogbench-giant"
    episodes, length = _GIANT_NAVIGATE if giant else _EPISODES[recipe]
    if steps is not None:
        episodes = -(-steps // length)
    return OGBenchRecipe(maze, recipe == "stitch", episodes, length, _OGBENCH_SHARD)


def _write(
    plan: D4RLRecipe | MinariRecipe | OGBenchRecipe, files: list[Path], seed: int, path: Path
) -> None:
    from dfplan.data.formats.minari import write_minari
    from dfplan.data.formats.ogbench import write_ogbench

    maze = plan.maze.text
    if isinstance(plan, D4RLRecipe):
        write_collected(joined(files, path.name, maze), plan, seed, path)
    elif isinstance(plan, MinariRecipe):
        write_minari(joined(files, path.name, maze), path)
    else:
        # The training data last: where it is, all is there.
        training = plan.training_shards
        validation = path.with_name(f"{path.stem}-val.npz")
        write_ogbench(joined(files[training:], validation.name, maze), validation)
        write_ogbench(joined(files[:training], path.name, maze), path)


def _whole(name: str, value: int, least: int, most: int | None = None) -> int:
    given = {name: value}
    require_numbers(given, whole=True, least=least, most=most)
    return given[name]


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
