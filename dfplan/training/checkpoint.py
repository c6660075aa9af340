"""Checkpoints: one safetensors file with tensors and, in its header, a JSON description.

Tensors are named ``network.*`` (averaged weights) and ``statistics.*``. No pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from dfplan.boundary import isolated
from dfplan.errors import CheckpointError
from dfplan.files import atomic_path, expanded
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics

FORMAT = 1
_HEADER = "dfplan"
_DIGEST = "sha256"
_LONGEST_HEADER = 100 << 20  # bytes; safetensors reads no longer one either

_KINDS = {
    "recipe": str,
    "config": dict,
    "data": dict,
    "training": dict,
    "maze": str | None,
}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint(Record):
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
        path = expanded(path)
        write_tensors(path, tensors, self.describe())
        return path

    @isolated()
    def restore(self, untrained: Callable[[], Network], device: str = "cpu") -> Network:
        """The trained network on ``device``, as it was trained.

        The tensors are compared with what the configuration asks for before any memory is taken.

        Args:
            untrained: makes the network with random weights.
            device: where it runs.

        Raises:
            CheckpointError: the tensors are not those of such a network. The message does not
                name the file.
        """
        with torch.device("meta"):
            wanted = {name: value.shape for name, value in untrained().state_dict().items()}
        held = {name: value.shape for name, value in self.network.items()}
        wrong = [
            f"network.{name} must be {_shape(wanted.get(name))}, and is {_shape(held.get(name))}"
            for name in sorted(wanted.keys() | held.keys())
            if wanted.get(name) != held.get(name)
        ]
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise CheckpointError("; ".join(wrong[:3]) + more)
        with _Undrawn():
            network = untrained().to(torch.float32)  # whatever the default dtype is
        network.load_state_dict(self.network)
        # Gradients are not turned off: PyTorch would take other kernels, and plans would differ in
        # their last bits.
        return network.to(device).eval()

    @classmethod
    @isolated()
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
            for name, kinds in _KINDS.items():
                if not isinstance(header[name], kinds):
                    raise TypeError(name)
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


class _Undrawn(TorchFunctionMode):
    """Leaves out the initial weights, which would be drawn from PyTorch's global generator."""

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(function, "__module__", None) == nn.init.__name__:
            return None
        return function(*args, **(kwargs or {}))


def write_tensors(
    path: str | Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    """Write ``tensors`` and the JSON ``header`` to one safetensors file, atomically.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {**header, _DIGEST: _digest(whole, header)}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True)})
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{path} could not be written: {error}") from error


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Inverse of :func:`write_tensors`.

    The tensors are copies in memory: what happens to the file afterwards does not matter.

    Raises:
        CheckpointError: no such file, not one of dfplan's, or not as it was written.
    """
    path = expanded(path)
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {path}; expected a .safetensors file.")
    try:
        metadata, content = _content(path)
        tensors = load(content)
    # RecursionError: deeply nested JSON. KeyError: a type of numbers that torch does not have.
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}). Copy or train it again."
        ) from error
    if _HEADER not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but dfplan did not write it.")
    try:
        header: dict[str, Any] = dict(json.loads(metadata[_HEADER]))
        expected = _digest(tensors, {k: v for k, v in header.items() if k != _DIGEST})
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its description is no JSON object ({error}). Copy or train it "
            "again."
        ) from error
    if header.pop(_DIGEST, None) != expected:
        raise CheckpointError(
            f"{path} is damaged: its tensors or its description are not those that were written. "
            "Copy it again."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: {name} must be finite, and holds "
                f"{int((~tensor.isfinite()).sum())} numbers that are not. Train it again, with a "
                "lower learning rate if its loss was not finite either."
            )
    return tensors, header


def _content(path: Path) -> tuple[dict[str, Any], bytes]:
    """The metadata of a safetensors file, and all of its bytes.

    A file that is no safetensors file is refused before it is read whole: it may be large.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > min(_LONGEST_HEADER, path.stat().st_size):
            raise ValueError("the length of its header does not fit")
        header = file.read(size)
        metadata = dict(json.loads(header)).get("__metadata__")
        return metadata if isinstance(metadata, dict) else {}, start + header + file.read()


def _digest(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
