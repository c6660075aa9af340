"""Checkpoints: one safetensors file with tensors and a JSON header; no pickle.

Tensors are named ``network.*`` (averaged weights) and ``statistics.*``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from dfplan.boundary import isolated
from dfplan.errors import CheckpointError
from dfplan.files import atomic_path, expand_path
from dfplan.record import Record
from dfplan.tokens.layout import TokenLayout, tokens_from_json
from dfplan.tokens.statistics import Statistics
from dfplan.types import Trajectories

FORMAT = 1
STORED_NAMES = {"parallel_teacher_forcing": "clean_past"}
"""Settings of recipes that files store under another name, so that old files can be read."""

_HEADER = "dfplan"
_DIGEST = "sha256"
_LARGEST_HEADER = 100 << 20  # bytes; the limit of safetensors
_FIELD_TYPES = {
    "recipe": str,
    "config": dict,
    "data": dict,
    "training": dict,
    "maze": str | None,
}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint(Record):
    """A trained network, how to rebuild it, and what it was trained on.

    Attributes:
        recipe: name of the recipe that trained it, see :mod:`dfplan.training.registry`.
        config: settings of the recipe, as JSON.
        network: weights by name. Averaged over training and float16; for ``iql`` and ``cql`` those
            of the last step and float32.
        statistics: statistics of the training data.
        data: source, fingerprint and number of steps of the data.
        training: settings of the training, and its duration in seconds of wall time and of CPU
            time.
        maze: the maze as text, used only for pictures; None if it is not known.
        tokens: what tokens hold, see :meth:`dfplan.tokens.layout.TokenLayout.to_json`; None for
            positions alone.
        calibration: how true the uncertainty of plans is (:mod:`dfplan.calibrating`), as JSON; None
            if it was not measured.
    """

    recipe: str
    config: dict[str, Any]
    network: dict[str, torch.Tensor]
    statistics: Statistics
    data: dict[str, Any]
    training: dict[str, Any]
    maze: str | None = None
    tokens: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return everything except the tensors, as JSON."""
        description = {
            "format": FORMAT,
            "recipe": self.recipe,
            "config": self.config,
            "data": self.data,
            "training": self.training,
            "maze": self.maze,
        }
        optional = {"tokens": self.tokens, "calibration": self.calibration}
        return description | {name: value for name, value in optional.items() if value is not None}

    def save(self, path: str | Path) -> Path:
        """Write to ``path`` atomically; return the path."""
        tensors = {f"network.{name}": value for name, value in self.network.items()}
        for name, value in self.statistics.to_tensors().items():
            tensors[f"statistics.{name}"] = value
        path = expand_path(path)
        write_tensors(path, tensors, self.describe())
        return path

    @isolated()
    def restore(self, untrained: Callable[[], Network], device: str = "cpu") -> Network:
        """Return the trained network, in evaluation mode.

        The shapes of the tensors are compared with those of the network before memory is
        allocated.

        Args:
            untrained: builds the network with random weights.
            device: where it runs.

        Raises:
            CheckpointError: the names or shapes of the tensors differ from those of the network.
                The message does not name the file.
        """
        with torch.device("meta"):
            expected = {name: value.shape for name, value in untrained().state_dict().items()}
        stored = {name: value.shape for name, value in self.network.items()}
        wrong = [
            f"network.{name} must be {_shape(expected.get(name))}, and is "
            f"{_shape(stored.get(name))}"
            for name in sorted(expected.keys() | stored.keys())
            if expected.get(name) != stored.get(name)
        ]
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise CheckpointError("; ".join(wrong[:3]) + more)
        with _SkipInitialization():
            network = untrained().to(torch.float32)  # for any default dtype
        network.load_state_dict(self.network)
        # Gradients stay on: without them PyTorch takes other kernels, and the last bits of plans
        # would differ.
        return network.to(device).eval()

    @classmethod
    @isolated()
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            CheckpointError: the file is missing or damaged, has another format version, or holds
                no weights or statistics.
        """
        tensors, header = read_tensors(path)
        if header.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has checkpoint format {header.get('format')}; this version of dfplan "
                f"reads format {FORMAT}. Train it again, or install the dfplan that wrote it."
            )
        network = part(tensors, "network.")
        if not network:
            raise CheckpointError(f"{path} holds no weights (tensors named network.*).")
        try:
            tokens = header.get("tokens")
            for name, kinds in _FIELD_TYPES.items():
                if not isinstance(header[name], kinds):
                    raise TypeError(name)
            return cls(
                recipe=header["recipe"],
                config=header["config"],
                network=network,
                statistics=Statistics.from_tensors(
                    part(tensors, "statistics."), TokenLayout(2, **tokens_from_json(tokens)).width
                ),
                data=header["data"],
                training=header["training"],
                maze=header["maze"],
                tokens=tokens,
                calibration=header.get("calibration"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: {error} is missing or wrong. A checkpoint needs the settings of its "
                "recipe and the statistics of its data. Write it with dfplan train."
            ) from error


def to_stored(settings: dict[str, Any]) -> dict[str, Any]:
    """Rename settings to the names that files use; see :data:`STORED_NAMES`."""
    return {STORED_NAMES.get(name, name): value for name, value in settings.items()}


def from_stored(config: dict[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`to_stored`."""
    names = {stored: name for name, stored in STORED_NAMES.items()}
    return {names.get(name, name): value for name, value in config.items()}


def data_description(trajectories: Trajectories) -> dict[str, Any]:
    """Return what a checkpoint stores about its data."""
    return {
        "source": trajectories.source,
        "fingerprint": trajectories.fingerprint,
        "steps": len(trajectories),
    }


class _SkipInitialization(TorchFunctionMode):
    """Skips weight initialization, which would draw from the global generator of PyTorch."""

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

    The header also gets a digest of both, which :func:`read_tensors` compares.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {**header, _DIGEST: _digest(whole, header)}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True)})
        except SafetensorError as error:  # raised for a full disk
            raise OSError(f"{path} could not be written: {error}") from error


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Inverse of :func:`write_tensors`.

    The tensors are copied into memory, so later changes of the file do not matter.

    Returns:
        (tensors by name, header).

    Raises:
        CheckpointError: the file is missing, damaged or not written by dfplan, or a number is not
            finite.
    """
    path = expand_path(path)
    if not path.is_file():
        raise CheckpointError(
            f"No checkpoint at {path}; expected a .safetensors file. Check the path, or finish the "
            "training that writes it."
        )
    try:
        metadata, content = _content(path)
        tensors = load(content)
    # RecursionError: deeply nested JSON. KeyError: a number type that torch lacks.
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}). Copy it or train it again."
        ) from error
    if _HEADER not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but dfplan did not write it.")
    try:
        header: dict[str, Any] = dict(json.loads(metadata[_HEADER]))
        expected = _digest(tensors, {k: v for k, v in header.items() if k != _DIGEST})
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its header is not a JSON object ({error}). Copy it or train it "
            "again."
        ) from error
    if header.pop(_DIGEST, None) != expected:
        raise CheckpointError(
            f"{path} is damaged: its tensors or its header changed after it was written. Copy it "
            "again."
        )
    for name, tensor in tensors.items():
        wrong = _count_nonfinite(tensor)
        if wrong:
            raise CheckpointError(
                f"{path}: {name} must be finite, but {wrong} of its numbers are not. Train it "
                "again; use a lower learning rate if the loss was not finite."
            )
    return tensors, header


def _count_nonfinite(tensor: torch.Tensor) -> int:
    """Count the numbers of a tensor that are infinite or NaN.

    NumPy does it in one thread; the threads of PyTorch cost more than the work is.
    """
    if not tensor.is_floating_point():
        return 0
    array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return int(array.size - np.count_nonzero(np.isfinite(array)))


def _content(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the metadata of a safetensors file, and all of its bytes.

    The header is checked first, so that a large file of another kind is not read completely.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > min(_LARGEST_HEADER, path.stat().st_size):
            raise ValueError("the length of its header is wrong")
        header = file.read(size)
        metadata = dict(json.loads(header)).get("__metadata__")
        return metadata if isinstance(metadata, dict) else {}, start + header + file.read()


def _digest(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> str:
    """Return the SHA-256 of the header and of all tensors, in the order of their names."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        flat = tensors[name].contiguous().reshape(-1)
        if len(flat):  # PyTorch cannot view an empty tensor as bytes
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with ``prefix``, without the prefix."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
