"""The shipped checkpoints, and loading any checkpoint as a planner."""

from __future__ import annotations

from pathlib import Path

import torch

from dfplan.errors import CheckpointError, ConfigError, unknown_name
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.forcing import ForcingPlanner
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.diffuser import DiffuserConfig
from dfplan.training.recipes import ForcingConfig

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


def load(name: str | Path, device: str = "cpu") -> ForcingPlanner | DiffuserPlanner:
    """A planner from a shipped checkpoint (``"maze2d-large"``), a file or a run's folder.

    Args:
        name: see :func:`pretrained_names`, or a path.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is damaged, incomplete or of another version.
    """
    path = checkpoint_path(name)
    checkpoint = Checkpoint.load(path)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no such devices
        raise ConfigError(f"No network can run on device {device!r} here: {error}") from error
    try:
        if checkpoint.recipe == "forcing":
            return ForcingConfig.from_json(checkpoint.config).planner(checkpoint, device)
        if checkpoint.recipe == "diffuser":
            return DiffuserConfig.from_json(checkpoint.config).planner(checkpoint, device)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit its own configuration ({error}). Train it again."
        ) from error
    raise CheckpointError(
        f"{path} was made by recipe {checkpoint.recipe!r}; this dfplan knows forcing and diffuser."
    )
