"""Histories: the last observed positions, which may be noisy or missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.row_errors import in_row
from dfplan.record import Record
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import TokenLayout


@dataclass(frozen=True)
class ObservationHistory(Record):
    """The last observations of each body, and the noise level of each.

    Attributes:
        observed: the columns of observations that tokens hold, for most models the position alone.
            Frames are ``stride`` environment steps apart, the last one is the present; n tokens
            hold ``H = 1 + (n - 1) * frame_stack`` of them. Float [B, H, O] in units of the data.
        level: noise level of each frame, int [B, H]. 0 means exact; K means missing, and the frame
            is then ignored. :func:`noise_to_level` converts standard deviations.
    """

    observed: np.ndarray
    level: np.ndarray

    def part(self, rows: slice | np.ndarray) -> ObservationHistory:
        """The histories of the bodies ``rows``."""
        return ObservationHistory(self.observed[rows], self.level[rows])

    def tokens(self, layout: TokenLayout) -> int:
        """n, the number of tokens that hold the history."""
        return 1 + (int(self.observed.shape[1]) - 1) // layout.frame_stack


def noise_to_level(noise: np.ndarray, model: SequenceModel) -> np.ndarray:
    """Find the noise level of positions from the standard deviation of their noise.

    Args:
        noise: standard deviation per axis, in units of position, [...]; infinite for a missing
            position.
        model: normalizes positions. If the axes are scaled differently, the axis on which the noise
            is larger counts.

    Returns:
        int [...].

    Raises:
        ConfigError: a standard deviation is negative or NaN.
        ObservationError: ``noise`` is not numeric.
    """
    noise = copy_array(noise, np.float64)
    if not (noise >= 0).all():
        raise ConfigError(
            "The noise of positions must be at least 0, or infinite for a missing position; got "
            f"{noise}."
        )
    ratio = torch.from_numpy(noise) / model.statistics.normalizer.position_scale
    level: np.ndarray = model.schedule.level_for_noise(ratio).numpy()
    return level


def read_history(
    history: ObservationHistory, layout: TokenLayout, max_level: int, count: int | None = None
) -> ObservationHistory:
    """Check a history and copy it. Missing frames become 0.

    Args:
        history: the history to check.
        layout: how frames form tokens.
        max_level: K.
        count: the number of bodies that is expected; None accepts any.

    Raises:
        ObservationError: it is not an :class:`ObservationHistory`, its shapes are not those of
            whole tokens, a level is not a whole number from 0 to K, a position that is not missing
            is not finite, or all frames of a body are missing.
        ConfigError: it fills the model's window, so no token is left for a plan.
    """
    if not isinstance(history, ObservationHistory):
        raise ObservationError(
            "A history must be a dfplan.ObservationHistory of positions and their noise levels; "
            f"got {type(history).__name__}."
        )
    width = len(layout.observed)
    try:
        observed, level = copy_array(history.observed, np.float32), copy_array(history.level)
    except ObservationError as error:
        raise ObservationError(f"A history needs numeric positions and levels. {error}") from error
    if (
        observed.ndim != 3
        or observed.shape[2] != width
        or (count is not None and len(observed) != count)
        or observed.shape[1] % layout.frame_stack != 1 % layout.frame_stack
        or level.shape != observed.shape[:2]
        or not observed.size
    ):
        rows = "B" if count is None else count
        raise ObservationError(
            f"A history needs positions [{rows}, 1 + (n - 1) * {layout.frame_stack}, {width}] for "
            f"n tokens and a level for each; got {list(observed.shape)} and {list(level.shape)}."
        )
    if not np.issubdtype(level.dtype, np.integer) or level.min() < 0 or level.max() > max_level:
        raise ObservationError(
            f"Levels of a history are whole numbers from 0, exact, to {max_level}, missing; got "
            f"{level.dtype} from {level.min()} to {level.max()}. Convert standard deviations with "
            "dfplan.planning.observation_history.noise_to_level()."
        )
    missing = level == max_level
    wrong = ~(np.isfinite(observed).all(-1) | missing)
    if wrong.any():
        row, frame = np.argwhere(wrong)[0]
        raise ObservationError(
            f"Positions of a history must be finite unless they are missing (level {max_level}); "
            f"position {frame}{in_row(row, len(observed))} is {observed[row, frame].tolist()} at "
            f"level {level[row, frame]}.",
            rows=np.flatnonzero(wrong.any(1)).tolist(),
        )
    if missing.all(1).any():
        lost = np.flatnonzero(missing.all(1)).tolist()
        raise ObservationError(
            f"All positions{in_row(lost[0], len(missing))} are missing, so the body may be "
            "anywhere. Give a longer history, or plan without one.",
            rows=lost,
        )
    read = ObservationHistory(
        np.where(missing[..., None], np.float32(0), observed), level.astype(np.int64)
    )
    require_room_for_plan(read.tokens(layout), layout)
    return read


def fill_missing(history: ObservationHistory, model: SequenceModel) -> ObservationHistory:
    """Replace each missing frame by the last one of its token that is not missing, if any.

    All frames of a token share one noise level, so a missing one would make the others of its token
    useless. The replacement keeps its noise; half of the distance that the body can cover in the
    time between the two frames is added in quadrature.
    """
    layout, schedule, statistics = model.layout, model.schedule, model.statistics
    (count, _, width), stack = history.observed.shape, layout.frame_stack
    observed = history.observed[:, 1:].reshape(count, -1, stack, width)
    level = history.level[:, 1:].reshape(count, -1, stack)
    missing, index = level == schedule.max_level, np.arange(stack)
    last = np.where(missing, -1, index).argmax(-1)[..., None]
    noise = schedule.relative_noise(torch.from_numpy(np.take_along_axis(level, last, 2))).numpy()
    moved = np.abs(index - last) * layout.stride * statistics.motion.max_step / 2
    filled = np.hypot(noise * statistics.normalizer.position_scale, moved)
    level = np.where(missing, noise_to_level(filled, model), level)
    source = np.where(missing, last, index)
    observed = np.take_along_axis(observed, source[..., None], 2)
    return ObservationHistory(
        np.concatenate([history.observed[:, :1], observed.reshape(count, -1, width)], 1),
        np.concatenate([history.level[:, :1], level.reshape(count, -1)], 1),
    )


def require_room_for_plan(tokens: int, layout: TokenLayout) -> None:
    """Raise :class:`ConfigError` unless a history of ``tokens`` tokens leaves one for the plan."""
    if tokens >= layout.tokens:
        raise ConfigError(
            f"A history must leave at least one of the model's {layout.tokens} tokens to the plan; "
            f"got a history of {tokens} tokens. Give at most {layout.tokens - 1}, or train with "
            "more tokens."
        )
