"""Scheduling matrices: the noise level of each token in each row of a sampling run.

A matrix is int [M+1, T], or [M+1, B, T] if the sequences of a batch differ. Row m contains each
token's level after m steps. Levels never increase from one row to the next (arXiv 2407.01392,
section 3.3). The named matrices contain only the tokens to denoise. Each of these goes from K to 0
in the same number of steps; they differ in when they start. :func:`hold` adds tokens that keep
their level: clean tokens, a noisy history, or pure noise after the horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.errors import ConfigError, lookup, require_numbers
from dfplan.registry import Registry

Tokens = int | torch.Tensor
"""Number of tokens to denoise, at least 1; int [B] if the sequences of a batch differ. The tokens
after a shorter sequence stay pure noise."""

Matrix = Callable[[Tokens, int, int, float], torch.Tensor]
"""(tokens to denoise, K, steps from noise to clean, uncertainty scale) -> int [M+1, tokens]."""

MatrixFunction = Callable[[int, int, int, float], torch.Tensor]
"""A user's function: (tokens to denoise, K, steps, uncertainty scale) -> int [M+1, tokens], from K
in the first row to 0 in the last."""

FREE = -1
"""Marks a token that is denoised, in place of the level that it would keep."""


def full_sequence(tokens: Tokens, max_level: int, steps: int) -> torch.Tensor:
    """All tokens together, as in full-sequence diffusion; M = ``steps``."""
    return pyramid(tokens, max_level, steps, 0.0)


def autoregressive(tokens: Tokens, max_level: int, steps: int) -> torch.Tensor:
    """One token after the other; M = ``tokens * steps``."""
    return pyramid(tokens, max_level, steps, steps)


def pyramid(
    tokens: Tokens, max_level: int, steps: int, uncertainty_scale: float = 1.0
) -> torch.Tensor:
    """Tokens start one after the other, so the near future is certain first.

    Token t starts ``round(t * uncertainty_scale)`` rows late, halves rounded up. M is the delay of
    the last token plus ``steps`` (arXiv 2407.01392, figure 3).

    Args:
        tokens: number of tokens to denoise.
        max_level: K.
        steps: number of steps of each token from pure noise to clean.
        uncertainty_scale: rows between the starts of successive tokens; may be fractional. 0 is
            :func:`full_sequence`, ``steps`` is :func:`autoregressive`.

    Returns:
        int [M+1, T], or [M+1, B, T] for ``tokens`` [B].

    Raises:
        ConfigError: no token, a number of steps outside 1 to K, or a scale outside 0 to
            ``steps``; a larger scale would leave rows without a change.
    """
    return _staggered(tokens, max_level, steps, uncertainty_scale, lambda index, last: index)


def trapezoid(
    tokens: Tokens, max_level: int, steps: int, uncertainty_scale: float = 1.0
) -> torch.Tensor:
    """Both ends first and the middle last, for a known start and a known goal.

    Like :func:`pyramid`, but a token's delay depends on its distance to the nearer end, so the
    matrix is symmetric.
    """
    return _staggered(
        tokens,
        max_level,
        steps,
        uncertainty_scale,
        lambda index, last: torch.minimum(index, last - index),
    )


MATRICES: Registry[Matrix] = Registry(
    "scheduling matrix",
    {
        "full_sequence": lambda tokens, max_level, steps, _: full_sequence(
            tokens, max_level, steps
        ),
        "autoregressive": lambda tokens, max_level, steps, _: autoregressive(
            tokens, max_level, steps
        ),
        "pyramid": pyramid,
        "trapezoid": trapezoid,
    },
)


def scheduling_matrix(
    matrix: str | MatrixFunction,
    tokens: Tokens,
    max_level: int,
    steps: int,
    uncertainty_scale: float = 1.0,
) -> torch.Tensor:
    """Make a matrix by name or with a function: int [M+1, T], or [M+1, B, T] for ``tokens`` [B].

    ``uncertainty_scale`` only affects :func:`pyramid`, :func:`trapezoid` and functions.

    Raises:
        ConfigError: an unknown name, or an error of :func:`pyramid`. For a function: an error of
            :func:`check_matrix`, another number of tokens, or a token that does not start as pure
            noise.
    """
    if not isinstance(matrix, str):
        return _of_function(matrix, tokens, max_level, steps, uncertainty_scale)
    make = lookup("scheduling matrix", matrix, MATRICES)
    return make(tokens, max_level, steps, uncertainty_scale)


@dataclass(frozen=True)
class SamplingSchedule:
    """The noise level of each token in each row of a sampling run, as one value.

    Attributes:
        matrix: the scheduling matrix, which says when each token is denoised. ``full_sequence``:
            all tokens together. ``autoregressive``: one token after the other. ``pyramid``: each
            token starts some rows after the previous one. ``trapezoid``: both ends first, the
            middle last. In Python also a :data:`MatrixFunction`.
        steps: sampling steps of one token, from pure noise to clean.
        uncertainty_scale: number of rows between the starts of successive tokens in a pyramid or a
            trapezoid. 0 starts all tokens together.
        stop_fraction: fraction of the rows of each sequence that are run. Below 1, sampling stops
            early and some tokens stay noisy; in a pyramid these are the tokens of the far future.

    Raises:
        ConfigError: a value out of range, an unknown name, or a matrix that is no function.
    """

    matrix: str | MatrixFunction = "full_sequence"
    steps: int = 3
    uncertainty_scale: float = 1.0
    stop_fraction: float = 1.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "steps", integer=True, minimum=1)
        require_numbers(vars(self), "stop_fraction", above=0, maximum=1)
        require_numbers(vars(self), "uncertainty_scale", minimum=0)
        if isinstance(self.matrix, str):
            scheduling_matrix(self.matrix, 1, self.steps, self.steps, self.uncertainty_scale)
        elif not callable(self.matrix):  # a function is checked when it makes a matrix
            raise ConfigError(
                "matrix must be the name of a scheduling matrix or a function that makes one, "
                "(tokens, max_level, steps, uncertainty_scale) -> int [M+1, tokens]; got "
                f"{type(self.matrix).__name__}."
            )

    def rows(self, tokens: Tokens, max_level: int) -> torch.Tensor:
        """The levels of the tokens in the rows that are run; see :func:`scheduling_matrix`.

        Each sequence stops after its own share of its own rows.
        """
        levels = scheduling_matrix(
            self.matrix, tokens, max_level, self.steps, self.uncertainty_scale
        )
        row = torch.arange(len(levels), device="cpu")
        changes = (levels.diff(dim=0) != 0).any(-1)  # [M] or [M, B]
        own = torch.where(changes, row[1:].view(-1, *[1] * (changes.dim() - 1)), 0).amax(0)
        last = (self.stop_fraction * own.double()).ceil().long().clamp_min(1)
        index = torch.minimum(row.view(-1, *[1] * last.dim()), last)[: 1 + int(last.max())]
        return levels.gather(0, index[..., None].expand(-1, *levels.shape[1:]))


def _of_function(
    matrix: MatrixFunction, tokens: Tokens, max_level: int, steps: int, uncertainty_scale: float
) -> torch.Tensor:
    if isinstance(tokens, torch.Tensor):
        # One matrix per number of tokens. Shorter ones stay at 0 until the longest has ended.
        made = {
            count: _of_function(matrix, count, max_level, steps, uncertainty_scale)
            for count in set(tokens.flatten().tolist())
        }
        shape = max(map(len, made.values())), len(tokens), max(made)
        levels = torch.full(shape, max_level, device="cpu")
        for sequence, count in enumerate(tokens.tolist()):
            levels[:, sequence, :count] = 0
            levels[: len(made[count]), sequence, :count] = made[count]
        return levels
    levels = matrix(tokens, max_level, steps, uncertainty_scale)
    check_matrix(levels, max_level)
    if levels.shape[1:] != (tokens,) or (levels[0] < max_level).any():
        raise ConfigError(
            f"A scheduling matrix for {tokens} tokens must be [rows, {tokens}], its first row "
            f"{max_level}, pure noise; got {list(levels.shape)} and {levels[0].tolist()}."
        )
    return levels.long()


def hold(matrix: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """Insert tokens that keep their level among the tokens that are denoised.

    Args:
        matrix: scheduling matrix of the tokens to denoise, int [M+1, F] or [M+1, B, F].
        held: the level that each token keeps in all rows, or ``FREE``; int [T] or [B, T]. The
            first free token gets the matrix's first column, and so on; columns without a free
            token are dropped.

    Returns:
        int [M+1, T], or [M+1, B, T] if either argument has a batch dimension.

    Raises:
        ConfigError: more free tokens than the matrix has columns.
    """
    free = held == FREE
    column = (free.cumsum(-1) - 1).clamp_min(0)
    if column.max() >= matrix.shape[-1]:
        raise ConfigError(
            f"The scheduling matrix is for {matrix.shape[-1]} tokens; got {int(column.max()) + 1} "
            "free ones. Make it for as many tokens as are free, or hold more of them."
        )
    if matrix.dim() == 2:
        levels = matrix[:, column]
    else:
        levels = matrix[:, torch.arange(matrix.shape[1], device=matrix.device)[:, None], column]
    return torch.where(free, levels, held)


def check_matrix(
    matrix: object,
    max_level: int,
    *,
    held: torch.Tensor | None = None,
    allow_noisy: bool = False,
) -> None:
    """Check that a user's matrix can be used for sampling.

    Each token must reach level 0, except held tokens, which keep their level in every row.

    Args:
        matrix: should be int [M+1, T] or [M+1, B, T].
        max_level: K.
        held: the level that each token keeps, or ``FREE``, as in :func:`hold`; int [T] or [B, T].
            By default no token is held.
        allow_noisy: whether tokens may be noisy in the last row.

    Raises:
        ConfigError: the first of these: not a tensor of int32 or int64, not 2 or 3 dimensions,
            fewer than 2 rows, a level outside 0 to K, a held token at another level, a level that
            increases, a token that does not reach 0, or a row without a change.
    """
    if not isinstance(matrix, torch.Tensor) or matrix.dtype not in (torch.int32, torch.int64):
        kind = matrix.dtype if isinstance(matrix, torch.Tensor) else type(matrix).__name__
        raise ConfigError(
            f"A scheduling matrix must be a tensor of int64 or int32; got {kind}. Convert it with "
            "torch.as_tensor(matrix).long()."
        )
    if matrix.dim() not in (2, 3) or 0 in matrix.shape[1:]:
        raise ConfigError(
            "A scheduling matrix must have the shape [rows, tokens], or [rows, batch, tokens] if "
            f"sequences differ, with at least 1 token; got {list(matrix.shape)}."
        )
    if len(matrix) < 2:
        raise ConfigError(
            "A scheduling matrix needs at least 2 rows, the levels before and after a step; got "
            f"{len(matrix)}. Add the row after the first step."
        )
    if held is None:
        held = torch.full(matrix.shape[-1:], FREE, device=matrix.device)
    if held.shape not in (matrix.shape[1:], matrix.shape[-1:]):
        raise ConfigError(
            f"Held levels must be one per token, {list(matrix.shape[1:])} for a scheduling matrix "
            f"{list(matrix.shape)}; got {list(held.shape)}."
        )
    if at := _first((matrix < 0) | (matrix > max_level)):
        raise ConfigError(
            f"A noise level must be from 0 (clean) to {max_level} (pure noise); got "
            f"{matrix[at]} at {_place(at)}. Clamp the matrix to these levels."
        )
    if at := _first((held != FREE) & (matrix != held)):
        raise ConfigError(
            f"A held token must keep its level, {held.expand(matrix.shape)[at]}, in every row; got "
            f"{matrix[at]} at {_place(at)}. Leave it out of the matrix and insert it with hold()."
        )
    fall = -matrix.diff(dim=0)
    if at := _first(fall < 0):
        below = (at[0] + 1, *at[1:])
        raise ConfigError(
            f"A noise level must never increase: expected at most {matrix[at]}, as in row {at[0]}, "
            f"at {_place(below)}; got {matrix[below]}. Lower it, or raise the rows before it."
        )
    if not allow_noisy and (at := _first((matrix[-1:] > 0) & (held == FREE))):
        at = (len(matrix) - 1, *at[1:])
        raise ConfigError(
            f"A token must reach level 0 by the last row; got {matrix[at]} at {_place(at)}. Add "
            "rows that lead to 0, declare the token as held, or set allow_noisy."
        )
    if at := _first((fall == 0).flatten(1).all(1)):
        raise ConfigError(
            f"Each row costs a network call, so it must change a level; got row {at[0] + 1} equal "
            f"to row {at[0]}. Remove one of them."
        )


def _staggered(
    tokens: Tokens,
    max_level: int,
    steps: int,
    uncertainty_scale: float,
    order: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Levels if the tokens start in the order of ``order(index, last index)``, 0 first."""
    count = torch.as_tensor(tokens, device="cpu")
    if count.min() < 1:
        raise ConfigError(f"A scheduling matrix needs at least 1 token; got {int(count.min())}.")
    if not 1 <= steps <= max_level:
        raise ConfigError(f"Sampling steps must be from 1 to {max_level}; got {steps}.")
    if not 0 <= uncertainty_scale <= steps:
        raise ConfigError(
            "An uncertainty scale must be from 0 (all tokens together) to the number of steps, "
            f"{steps} (one token after the other); got {uncertainty_scale}."
        )
    index = torch.arange(int(count.max()), device="cpu").expand(*count.shape, -1)
    last = count[..., None] - 1
    delay = (order(index, last).double() * uncertainty_scale + 0.5).floor().long()
    rows = int(delay.max()) + steps + 1
    row = torch.arange(rows, device="cpu").view(-1, *[1] * delay.dim())
    done = (row - delay).clamp(0, steps)
    levels = (((steps - done) * max_level).float() / steps).round().long()
    return levels.masked_fill(index > last, max_level)


def _first(wrong: torch.Tensor) -> tuple[int, ...] | None:
    """Index of the first True in row-major order; None without a True."""
    found = wrong.nonzero()
    return tuple(found[0].tolist()) if len(found) else None


def _place(at: tuple[int, ...]) -> str:
    """An index into a matrix as text."""
    row, *batch, token = at
    return f"row {row}, " + "".join(f"sequence {b}, " for b in batch) + f"token {token}"
