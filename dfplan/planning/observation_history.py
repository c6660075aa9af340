"""The past: observations with noise, or lost, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, ObservationError
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.windows import TokenLayout


@dataclass(frozen=True)
class Past(Record):
    """The last positions of each body, and how far each is to be trusted.

    Attributes:
        positions: ``stride`` environment steps apart, the last one the present; n tokens hold
            ``H = 1 + (n - 1) * frame_stack``. Float [B, H, 2] in units of the data.
        level: the noise level at which each is to be trusted: 0 is exact, K lost, its position
            then does not matter; :func:`trust` makes levels of standard deviations. Int [B, H].
    """

    positions: np.ndarray
    level: np.ndarray

    def rows(self, part: slice | np.ndarray) -> Past:
        """The past of the bodies ``part``."""
        return Past(self.positions[part], self.level[part])

    def tokens(self, layout: TokenLayout) -> int:
        """n, the tokens that it takes."""
        return 1 + (int(self.positions.shape[1]) - 1) // layout.frame_stack


def trust(noise: np.ndarray, statistics: Statistics, schedule: NoiseSchedule) -> np.ndarray:
    """The level at which positions with noise are to be trusted.

    Args:
        noise: standard deviation an axis in units of position, [...]; infinite where lost.
        statistics: say how positions are normalized. Where the axes differ, the one in which
            noise weighs more counts.
        schedule: the noise schedule.

    Returns:
        int [...].

    Raises:
        ConfigError: a noise below 0, or NaN.
        ObservationError: no numbers.
    """
    noise = copy_array(noise, np.float64)
    if not (noise >= 0).all():
        raise ConfigError(
            f"The noise of positions must be at least 0, infinite where one is lost; got {noise}."
        )
    ratio = torch.from_numpy(noise) / float(statistics.normalizer.std.min())
    level: np.ndarray = schedule.level_of(ratio).numpy()
    return level


def read_past(past: Past, layout: TokenLayout, max_level: int, count: int | None = None) -> Past:
    """Check a past of ``count`` bodies, or of any number; what is lost comes back as 0.

    Raises:
        ObservationError: no :class:`Past`, shapes that are no past of whole tokens, levels that are
            none, a position that is not lost and not finite, or a body whose positions are all
            lost.
        ConfigError: a past of as many tokens as the model's longest plan, or more.
    """
    if not isinstance(past, Past):
        raise ObservationError(
            "A past is a dfplan.planning.observation_history.Past of positions and the levels at which they are "
            f"to be trusted; got {type(past).__name__}."
        )
    try:
        positions, level = copy_array(past.positions, np.float32), copy_array(past.level)
    except ObservationError as error:
        raise ObservationError(f"A past needs positions and levels in numbers. {error}") from error
    if (
        positions.ndim != 3
        or positions.shape[2] != 2
        or (count is not None and len(positions) != count)
        or positions.shape[1] % layout.frame_stack != 1 % layout.frame_stack
        or level.shape != positions.shape[:2]
        or not positions.size
    ):
        rows = "B" if count is None else count
        raise ObservationError(
            f"A past needs positions [{rows}, 1 + (n - 1) * {layout.frame_stack}, 2] for n tokens "
            f"and a level for each; got {list(positions.shape)} and {list(level.shape)}."
        )
    if not np.issubdtype(level.dtype, np.integer) or level.min() < 0 or level.max() > max_level:
        raise ObservationError(
            f"Levels of a past are whole numbers from 0, exact, to {max_level}, lost; got "
            f"{level.dtype} from {level.min()} to {level.max()}. Make them of standard deviations "
            "by dfplan.planning.observation_history.trust()."
        )
    lost = level == max_level
    wrong = ~(np.isfinite(positions).all(-1) | lost)
    if wrong.any():
        row, frame = np.argwhere(wrong)[0]
        raise ObservationError(
            f"The past must be finite where it is not lost, which is level {max_level}; position "
            f"{frame} of row {row} is {positions[row, frame].tolist()} at level "
            f"{level[row, frame]}.",
            rows=np.flatnonzero(wrong.any(1)).tolist(),
        )
    if lost.all(1).any():
        raise ObservationError(
            f"Of row {int(lost.all(1).argmax())} every position is lost, so the body may be "
            "anywhere. Give a longer past, or plan without one.",
            rows=np.flatnonzero(lost.all(1)).tolist(),
        )
    read = Past(np.where(lost[..., None], np.float32(0), positions), level.astype(np.int64))
    require_room(read.tokens(layout), layout)
    return read


def stand_in(
    past: Past, layout: TokenLayout, statistics: Statistics, schedule: NoiseSchedule
) -> Past:
    """For each lost position the last one of its token that is not, if there is one.

    A token has one level, so that a lost position would take the others of its token with it. The
    one that stands in is as noisy as it was, and by half of what the body can go in the meantime.
    """
    count, stack, lost = len(past.level), layout.frame_stack, schedule.max_level
    positions = past.positions[:, 1:].reshape(count, -1, stack, 2)
    level = past.level[:, 1:].reshape(count, -1, stack)
    gone, index = level == lost, np.arange(stack)
    last = np.where(gone, -1, index).argmax(-1)[..., None]
    noise = schedule.noise_of(torch.from_numpy(np.take_along_axis(level, last, 2))).numpy()
    away = np.abs(index - last) * layout.stride * statistics.motion.max_step / 2
    there = np.hypot(noise * float(statistics.normalizer.std.min()), away)
    level = np.where(gone, trust(there, statistics, schedule), level)
    # What does not need one stands in for itself.
    which = np.where(gone, last, index)
    positions = np.take_along_axis(positions, which[..., None], 2)
    return Past(
        np.concatenate([past.positions[:, :1], positions.reshape(count, -1, 2)], 1),
        np.concatenate([past.level[:, :1], level.reshape(count, -1)], 1),
    )


def require_room(tokens: int, layout: TokenLayout) -> None:
    """Raise :class:`ConfigError` unless a plan of a token fits behind a past of so many."""
    if tokens >= layout.tokens:
        raise ConfigError(
            f"More context than the window: this model knows {layout.tokens} tokens, and a plan "
            f"needs one after the past; got a past of {tokens}. Give at most "
            f"{layout.tokens - 1}, or train with more tokens."
        )
