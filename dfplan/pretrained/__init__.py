"""The shipped checkpoints, and loading of any checkpoint as what it is, such as a planner.

Reading a checkpoint needs only PyTorch: planners and networks are imported when one is built.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dfplan.boundary import isolated
from dfplan.errors import CheckpointError, ConfigError, unknown_name
from dfplan.files import expand_path
from dfplan.mazes import parse_maze
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.registry import RECIPES, Product, recipe_of

if TYPE_CHECKING:
    from dfplan.planning.diffuser import DiffuserPlanner
    from dfplan.planning.learned import LearnedPolicy
    from dfplan.planning.rewards import LearnedValue
    from dfplan.planning.single import ForcingPlanner
    from dfplan.planning.trackers import InverseDynamics

_SUFFIX = ".safetensors"
_FOLDER = Path(__file__).parent
_LOADERS = {
    "planner": "dfplan.load",
    "policy": "dfplan.load",
    "value": "dfplan.load_value",
    "tracker": "dfplan.load_inverse",
}


def pretrained_names() -> list[str]:
    """Return the names of the shipped checkpoints."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}"))


def checkpoint_path(name: str | os.PathLike[str]) -> Path:
    """Return the file of a checkpoint.

    Args:
        name: of a shipped checkpoint, or the path of a file or of the folder of a run.

    Raises:
        ConfigError: there is no such name, file or folder.
    """
    if not (isinstance(name, str | os.PathLike) and os.fspath(name)):
        raise unknown_name("checkpoint", name, pretrained_names())
    path = expand_path(name)
    if path.is_dir():
        return path / f"checkpoint{_SUFFIX}"
    if path.suffix == _SUFFIX or path.exists():
        return path
    if str(path) not in pretrained_names():
        raise ConfigError(
            f"{unknown_name('checkpoint', str(path), pretrained_names())} Or give a file, or the "
            "folder of a training."
        )
    return _FOLDER / f"{path}{_SUFFIX}"


@isolated()
def load(
    name: str | os.PathLike[str], device: str = "cpu"
) -> ForcingPlanner | DiffuserPlanner | LearnedPolicy:
    """Load a planner, or a policy if the run trained one.

    >>> planner = dfplan.load("maze2d-large")
    >>> policy = dfplan.load("runs/bc-umaze")

    Args:
        name: see :func:`checkpoint_path`.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is missing, damaged or of another format version, or holds
            neither a planner nor a policy.
    """
    loaded: ForcingPlanner | DiffuserPlanner | LearnedPolicy
    loaded = _load(name, device, "planner", "policy")
    return loaded


@isolated()
def load_value(name: str | os.PathLike[str], device: str = "cpu") -> LearnedValue:
    """Load a learned value, which is a reward to plan with.

    >>> value = dfplan.load_value("runs/value-umaze")
    >>> plan = dfplan.load("maze2d-umaze").plan(observation, reward=1000 * value)

    The weight (1000) is how many steps of travel a value of one is worth when the planner chooses
    among candidates. A plan without a goal ends where one of the candidates happens to lead, so
    rewards far away need many candidates.

    Args:
        name: of a run of a ``value-*`` preset; see :func:`checkpoint_path`.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is missing, damaged or of another format version, or holds no
            value.
    """
    loaded: LearnedValue = _load(name, device, "value")
    return loaded


@isolated()
def load_inverse(name: str | os.PathLike[str], device: str = "cpu") -> InverseDynamics:
    """Load learned inverse dynamics, which is a tracker. Each policy needs its own tracker.

    >>> tracker = dfplan.load_inverse("runs/inverse-umaze")
    >>> policy = dfplan.Policy(dfplan.load("maze2d-umaze"), tracker)

    Args:
        name: of a run of an ``inverse-*`` preset; see :func:`checkpoint_path`.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is missing, damaged or of another format version, or holds no
            tracker.
    """
    loaded: InverseDynamics = _load(name, device, "tracker")
    return loaded


def read_checkpoint(name: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint without building its network.

    Args:
        name: see :func:`checkpoint_path`.

    Raises:
        ConfigError: an unknown name.
        CheckpointError: see :meth:`~dfplan.training.checkpoint.Checkpoint.load`; or its maze is not
            one.
    """
    path = checkpoint_path(name)
    checkpoint = Checkpoint.load(path)
    with rebuilding(path):
        if checkpoint.maze is not None:
            parse_maze(checkpoint.maze)
    return checkpoint


def _load(name: str | os.PathLike[str], device: str, *products: Product) -> Any:
    """Load a checkpoint whose recipe makes one of ``products``."""
    path, checkpoint = checkpoint_path(name), read_checkpoint(name)
    _require_device(device)
    with rebuilding(path):
        recipe = recipe_of(checkpoint)
        product = RECIPES[checkpoint.recipe].product
    if product not in products:
        raise CheckpointError(
            f"Expected a checkpoint of a {' or '.join(products)}; {path} is one of a {product}, "
            f"trained with the recipe {checkpoint.recipe!r}. Load it with {_LOADERS[product]}."
        )
    with rebuilding(path):
        return recipe.load(checkpoint, device)


def _require_device(device: str) -> None:
    """Raise :class:`ConfigError` unless PyTorch can use ``device``."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter if PyTorch was built without it
        raise ConfigError(f"No network can run on device {device!r} here: {error}") from error


@contextmanager
def rebuilding(path: Path) -> Iterator[None]:
    """Turn errors of rebuilding a checkpoint's recipe into :class:`CheckpointError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        foreign = "If it needs a part of another package, install that package; otherwise train"
        fix = f"{foreign if isinstance(error, ConfigError) else 'Train'} it again."
        raise CheckpointError(
            f"{path} does not fit its own configuration ({error}). {fix}"
        ) from error
