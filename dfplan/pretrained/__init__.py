"""The shipped checkpoints, and loading any checkpoint as a planner or a reward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dfplan.errors import CheckpointError, ConfigError, unknown_name
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.forcing import ForcingPlanner
from dfplan.planning.rewards import LearnedValue
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.diffuser import DiffuserConfig
from dfplan.training.recipes import ForcingConfig
from dfplan.training.value import ValueConfig

_ENDING = ".safetensors"
_FOLDER = Path(__file__).parent


def pretrained_names() -> list[str]:
    """Names of the shipped checkpoints."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_ENDING}"))


def checkpoint_path(name: str | Path) -> Path:
    """The file of a shipped checkpoint, or of a run's folder or file.

    Raises:
        ConfigError: neither a file, nor a folder of a run, nor the name of a shipped checkpoint.
    """
    if not (isinstance(name, str | Path) and str(name)):
        raise unknown_name("checkpoint", name, pretrained_names())
    path = Path(name)
    if path.is_dir():
        return path / f"checkpoint{_ENDING}"
    if path.suffix == _ENDING or path.exists():
        return path
    if str(name) not in pretrained_names():
        raise unknown_name("checkpoint", name, pretrained_names())
    return _FOLDER / f"{name}{_ENDING}"


@torch.inference_mode(False)  # what was made in it cannot be guided later
def load(name: str | Path, device: str = "cpu") -> ForcingPlanner | DiffuserPlanner:
    """A planner from a shipped checkpoint (``"maze2d-large"``), a file or a run's folder.

    Args:
        name: see :func:`pretrained_names`, or a path.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is damaged, incomplete or of another version.
    """
    path, checkpoint = _read(name, device)
    with _fitting(path):
        if checkpoint.recipe == "forcing":
            return ForcingConfig.from_json(checkpoint.config).planner(checkpoint, device)
        if checkpoint.recipe == "diffuser":
            return DiffuserConfig.from_json(checkpoint.config).planner(checkpoint, device)
    hint = " Load it by dfplan.load_value." if checkpoint.recipe == "value" else ""
    raise CheckpointError(
        f"{path} was made by recipe {checkpoint.recipe!r}; planners are made by forcing and "
        f"diffuser.{hint}"
    )


@torch.inference_mode(False)
def load_value(name: str | Path, device: str = "cpu") -> LearnedValue:
    """The reward that a run of a ``value-*`` preset has learned, to plan by.

    >>> value = dfplan.load_value("runs/value-umaze")
    >>> plan = dfplan.load("maze2d-umaze").plan(observation, reward=1000 * value)

    The weight is the steps of travel that a value of one is worth in the choice among candidates.
    A plan without a goal goes where one of them happens to lead, so far places want many.

    Args:
        name: a file or a run's folder.
        device: where the network runs.

    Raises:
        ConfigError: no such file, or an unknown device.
        CheckpointError: the file is damaged, incomplete, of another version, or no value.
    """
    path, checkpoint = _read(name, device)
    if checkpoint.recipe != "value":
        raise CheckpointError(
            f"{path} was made by recipe {checkpoint.recipe!r}; expected value. Train one: dfplan "
            "train value-umaze. Planners are loaded by dfplan.load."
        )
    with _fitting(path):
        return ValueConfig.from_json(checkpoint.config).reward(checkpoint, device)


def _read(name: str | Path, device: str) -> tuple[Path, Checkpoint]:
    """A checkpoint and where it lies, once it is sure that ``device`` is there."""
    path = checkpoint_path(name)
    checkpoint = Checkpoint.load(path)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no such devices
        raise ConfigError(f"No network can run on device {device!r} here: {error}") from error
    return path, checkpoint


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Turns what goes wrong in rebuilding a network into :class:`CheckpointError`."""
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit its own configuration ({error}). Train it again."
        ) from error
