"""Checkpoints: one safetensors file with tensors and, in its header, a JSON description.

Tensors are named ``network.*`` (averaged weights) and ``statistics.*``. No pickle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dfplan.data.statistics import Statistics
from dfplan.errors import CheckpointError
from dfplan.files import atomic_path

FORMAT = 1
_HEADER = "dfplan"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, what it was trained on, and how to rebuild it.

    Attributes:
        recipe: which recipe made it: ``forcing``, ``diffuser``, ``value``, ``policy``, ``inverse``,
            ``iql`` or ``cql``.
        config: the recipe's configuration, as JSON.
        network: weights by name; averaged and float16, but for ``iql`` and ``cql`` the last ones,
            float32.
        statistics: what the planner keeps of the data.
        data: source, fingerprint and number of steps of the data.
        training: the settings, and the seconds it took, on the clock and summed over cores.
        maze: the maze as text, only for pictures; None where it is not known.
    """

    recipe: str
    config: dict[str, Any]
    network: dict[str, torch.Tensor]
    statistics: Statistics
    data: dict[str, Any]
    training: dict[str, Any]
    maze: str | None = None

    def describe(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "config": self.config,
            "data": self.data,
            "training": self.training,
            "maze": self.maze,
        }

    def save(self, path: str | Path) -> Path:
        """Write to ``path``, whole or not at all."""
        tensors = {f"network.{name}": value for name, value in self.network.items()}
        for name, value in self.statistics.to_tensors().items():
            tensors[f"statistics.{name}"] = value
        write_tensors(path, tensors, self.describe())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            CheckpointError: the file is missing, damaged, of another version, or has no weights
                or statistics.
        """
        tensors, header = read_tensors(path)
        if header.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has checkpoint format {header.get('format')}; this version of dfplan "
                f"reads format {FORMAT}. Train it again, or install the dfplan that wrote it."
            )
        network = _part(tensors, "network.")
        if not network:
            raise CheckpointError(f"{path} holds no weights (tensors named network.*).")
        try:
            return cls(
                recipe=header["recipe"],
                config=header["config"],
                network=network,
                statistics=Statistics.from_tensors(_part(tensors, "statistics.")),
                data=header["data"],
                training=header["training"],
                maze=header["maze"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} lacks or misstates {error}: a checkpoint needs its configuration and "
                "the statistics of its data. Write it with dfplan train."
            ) from error


def write_tensors(
    path: str | Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    """Write ``tensors`` and the JSON ``header`` to one safetensors file, atomically.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {**header, "sha256": _digest(whole, header)}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True)})
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{path} could not be written: {error}") from error


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Inverse of :func:`write_tensors`; raises :class:`CheckpointError`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {path}; expected a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}). Copy or train it again."
        ) from error
    if _HEADER not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but dfplan did not write it.")
    try:
        header: dict[str, Any] = dict(json.loads(metadata[_HEADER]))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: its description is no JSON object ({error}). Copy or train it "
            "again."
        ) from error
    if header.pop("sha256", None) != _digest(tensors, header):
        raise CheckpointError(
            f"{path} is damaged: its tensors or its description are not those that were written. "
            "Copy it again."
        )
    return tensors, header


def _digest(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
