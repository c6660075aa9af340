"""The state of a training run, which can be saved and resumed to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfplan.boundary import single_precision
from dfplan.errors import CheckpointError, DfplanError
from dfplan.training.checkpoint import Checkpoint, part, read_tensors, write_tensors
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.training.settings import TrainSettings


class TrainingState:
    """Network, optimizer, averaged weights and counters: everything that training changes.

    Args:
        recipe: what is trained. Without ``start``, the initial weights depend only on
            ``settings.seed``.
        settings: settings of the training.
        fabric: device and precision.
        start: a checkpoint with the initial weights; by default they are random.

    Attributes:
        step: optimizer steps done.
        seconds: wall time of the run so far, including the time before it was resumed.
        cpu_seconds: CPU time of the run so far, summed over cores.
        waited: seconds spent waiting for batches.
    """

    def __init__(
        self,
        recipe: LoopRecipe,
        settings: TrainSettings,
        fabric: Fabric,
        start: Checkpoint | None = None,
    ) -> None:
        with torch.random.fork_rng(), single_precision():
            torch.manual_seed(settings.seed)
            network = recipe.untrained()
            if start is not None:
                network.load_state_dict(start.network)
        optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._averaged = AveragedModel(
            network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),  # type: ignore[no-untyped-call]
        ).to(fabric.device)
        self._bare = network
        self._network, self._optimizer = fabric.setup(network, optimizer)
        self._settings = settings
        self._fabric = fabric
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.waited = 0.0

    def update(
        self, objective: Objective, batch: Batch, generator: torch.Generator
    ) -> torch.Tensor:
        """Do one optimizer step.

        Args:
            objective: computes the loss.
            batch: made by ``objective.draw``.
            generator: the one that was passed to ``objective.draw``; the loss draws noise from it.

        Returns:
            The loss before the step, a scalar on the device.

        Raises:
            DfplanError: training diverged: the gradients are not finite.
        """
        settings, fabric = self._settings, self._fabric
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate(self.step)
        loss = objective.loss(self._network, batch, generator)
        self._optimizer.zero_grad()
        fabric.backward(loss)
        try:
            fabric.clip_gradients(self._network, self._optimizer, max_norm=settings.clip)
        except RuntimeError as error:
            raise DfplanError(
                f"Training diverged: at step {self.step + 1} the gradients are not finite. "
                f"Lower learning_rate ({settings.learning_rate:g}) or weight_decay "
                f"({settings.weight_decay:g}), and check the data: `dfplan data check`."
            ) from error
        self._optimizer.step()
        if self.step < settings.warmup:
            self._averaged.n_averaged.zero_()  # makes the update below copy the weights
        self._averaged.update_parameters(self._bare)
        self.step += 1
        return loss.detach()

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """Return the exponential moving average of the weights, by name, in float16.

        float16 halves the checkpoint. It changes a plan far less than another seed does.
        """
        weights: dict[str, torch.Tensor] = self._averaged.module.state_dict()
        return {name: value.half() for name, value in weights.items()}

    def save(self, path: Path, description: dict[str, Any]) -> None:
        """Write the whole training state to ``path``.

        Args:
            path: the file.
            description: JSON that identifies the run; :meth:`load` compares it.
        """
        tensors = {f"network.{k}": v for k, v in self._bare.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self._averaged.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        header = {
            **description,
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "waited_seconds": self.waited,
        }
        write_tensors(path, tensors, header)

    def load(self, path: Path, description: dict[str, Any]) -> None:
        """Restore the training state that :meth:`save` wrote.

        Raises:
            CheckpointError: the file is missing or damaged, or its description differs.
        """
        tensors, header = read_tensors(path)
        for key, expected in json.loads(json.dumps(description)).items():
            if header.get(key) != expected:
                raise CheckpointError(
                    f"{path} was made with other {key}: {header.get(key)}; this run has "
                    f"{expected}. Resume with the same {key}, or train into another folder."
                )
        self._bare.load_state_dict(part(tensors, "network."))
        self._averaged.load_state_dict(part(tensors, "averaged."))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in part(tensors, "optimizer.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = header["step"]
        self.seconds, self.cpu_seconds = header["seconds"], header["cpu_seconds"]
        self.waited = header["waited_seconds"]
