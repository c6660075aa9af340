from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.sampling.matrices import (
    FREE,
    MATRICES,
    SamplingSchedule,
    autoregressive,
    check_matrix,
    full_sequence,
    hold,
    pyramid,
    scheduling_matrix,
    trapezoid,
)

K = 64
HORIZONS = range(1, 65)
STEPS = [1, 2, 3, 8, K]
SCALES = [0.0, 0.3, 0.5, 1.0, 2.5, 8.0]


def rounded(rows: float) -> int:
    return math.floor(rows + 0.5)


DELAY: dict[str, Callable[[int, int, int, float], int]] = {
    "full_sequence": lambda t, tokens, steps, scale: 0,
    "autoregressive": lambda t, tokens, steps, scale: t * steps,
    "pyramid": lambda t, tokens, steps, scale: rounded(t * scale),
    "trapezoid": lambda t, tokens, steps, scale: rounded(min(t, tokens - 1 - t) * scale),
}
"""Rows that token t starts late, by definition."""

named = pytest.mark.parametrize("name", sorted(MATRICES))
scaled = pytest.mark.parametrize("make", [pyramid, trapezoid])


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("full_sequence", 1.0),
        ("autoregressive", 1.0),
        *((name, scale) for name in ("pyramid", "trapezoid") for scale in SCALES),
    ],
)
@pytest.mark.parametrize("steps", STEPS)
def test_levels_go_from_noise_to_clean_and_never_increase(
    name: str, scale: float, steps: int
) -> None:
    scale = min(scale, steps)
    for tokens in HORIZONS:
        matrix = scheduling_matrix(name, tokens, K, steps, scale)
        delay = [DELAY[name](t, tokens, steps, scale) for t in range(tokens)]
        assert matrix.shape == (max(delay) + steps + 1, tokens)
        assert matrix.dtype == torch.long
        assert (matrix[0] == K).all() and (matrix[-1] == 0).all()
        fall = -matrix.diff(dim=0)
        assert (fall >= 0).all()
        assert (fall > 0).any(1).all(), "a row in which nothing happens"
        assert ((fall > 0).sum(0) == steps).all(), "every token takes every step"
        assert (fall > 0).int().argmax(0).tolist() == delay


@named
@pytest.mark.parametrize("steps", STEPS)
def test_which_tokens_are_clean_first(name: str, steps: int) -> None:
    for tokens in HORIZONS:
        matrix = scheduling_matrix(name, tokens, K, steps)
        middle = (tokens + 1) // 2
        if name == "trapezoid":
            assert torch.equal(matrix, matrix.flip(1)), "not symmetric"
            matrix = matrix[:, :middle]
        assert (matrix.diff(dim=1) >= 0).all(), "the near future is noisier than the far"


@named
@pytest.mark.parametrize("max_level", [1, 2, 7, 100, 1000])
def test_steps_are_equal(name: str, max_level: int) -> None:
    for steps in {1, (max_level + 1) // 2, max_level}:
        for tokens in (1, 5):
            fall = -scheduling_matrix(name, tokens, max_level, steps).diff(dim=0)
            taken = fall[fall > 0]
            assert taken.max() - taken.min() <= 1
            assert taken.sum() == tokens * max_level


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_smallest_and_largest_scale_are_named_matrices(steps: int) -> None:
    for tokens in HORIZONS:
        full, single = full_sequence(tokens, K, steps), autoregressive(tokens, K, steps)
        assert torch.equal(pyramid(tokens, K, steps, 0), full)
        assert torch.equal(trapezoid(tokens, K, steps, 0), full)
        assert torch.equal(pyramid(tokens, K, steps, steps), single)
        assert (full == full[:, :1]).all(), "tokens are not together"
        assert ((single.diff(dim=0) < 0).sum(1) == 1).all(), "more than one token at a time"


def test_matrices_worked_by_hand() -> None:
    full = [[6, 6, 6], [4, 4, 4], [2, 2, 2], [0, 0, 0]]
    assert scheduling_matrix("full_sequence", 3, 6, 3).tolist() == full
    steep = [[6, 6, 6], [3, 6, 6], [0, 3, 6], [0, 0, 3], [0, 0, 0]]
    assert scheduling_matrix("pyramid", 3, 6, 2).tolist() == steep
    flat = [[6, 6, 6], [3, 6, 6], [0, 3, 3], [0, 0, 0]]
    assert scheduling_matrix("pyramid", 3, 6, 2, 0.5).tolist() == flat
    assert scheduling_matrix("full_sequence", 1, 10, 3).flatten().tolist() == [10, 7, 3, 0]
    one_by_one = [[6, 6], [3, 6], [0, 6], [0, 3], [0, 0]]
    assert scheduling_matrix("autoregressive", 2, 6, 2).tolist() == one_by_one
    odd = [[6, 6, 6], [3, 6, 3], [0, 3, 0], [0, 0, 0]]
    assert scheduling_matrix("trapezoid", 3, 6, 2).tolist() == odd
    even = [[6, 6, 6, 6], [3, 6, 6, 3], [0, 6, 6, 0], [0, 3, 3, 0], [0, 0, 0, 0]]
    assert scheduling_matrix("trapezoid", 4, 6, 2, 2).tolist() == even


@named
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_sequences_with_different_numbers_of_tokens(name: str, scale: float) -> None:
    together = scheduling_matrix(name, torch.tensor(HORIZONS), K, 3, scale)
    for row, tokens in enumerate(HORIZONS):
        alone = scheduling_matrix(name, tokens, K, 3, scale)
        part = together[:, row, :tokens]
        assert torch.equal(part[: len(alone)], alone)
        assert (part[len(alone) :] == 0).all()
        assert (together[:, row, tokens:] == K).all()


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pyramid'"):
        scheduling_matrix("piramid", 3, 10, 5)


@named
@pytest.mark.parametrize(
    ("tokens", "steps", "message"),
    [
        (0, 5, "at least 1 token; got 0"),
        (torch.tensor([3, -1]), 5, "at least 1 token; got -1"),
        (3, 0, "from 1 to 10; got 0"),
        (3, 11, "got 11"),
    ],
)
def test_impossible_arguments_are_errors(
    name: str, tokens: int | torch.Tensor, steps: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        scheduling_matrix(name, tokens, 10, steps)


@scaled
@pytest.mark.parametrize("scale", [-0.1, 4.1, math.nan])
def test_a_scale_that_leaves_rows_without_a_change_is_an_error(
    make: Callable[..., torch.Tensor], scale: float
) -> None:
    with pytest.raises(ConfigError, match=rf"scale must be from 0 .* 4 .* {scale}"):
        make(5, 10, 4, scale)


def test_held_tokens_worked_by_hand() -> None:
    matrix = torch.tensor([[6, 6], [3, 6], [0, 3], [0, 0]])
    past = hold(matrix, torch.tensor([0, 2, FREE, FREE]))
    assert past.tolist() == [[0, 2, 6, 6], [0, 2, 3, 6], [0, 2, 0, 3], [0, 2, 0, 0]]
    goals = hold(matrix, torch.tensor([[0, FREE, FREE, 0], [0, FREE, 0, 6], [0, 0, 6, 6]]))
    assert goals[:, 0].tolist() == [[0, 6, 6, 0], [0, 3, 6, 0], [0, 0, 3, 0], [0, 0, 0, 0]]
    assert goals[:, 1].tolist() == [[0, 6, 0, 6], [0, 3, 0, 6], [0, 0, 0, 6], [0, 0, 0, 6]]
    assert goals[:, 2].tolist() == [[0, 0, 6, 6]] * 4


@named
def test_sequences_with_different_held_tokens(name: str) -> None:
    """Held tokens keep any level, and the free tokens follow their matrix."""
    generator = torch.Generator().manual_seed(0)
    held = torch.randint(0, K + 1, (40, 30), generator=generator)
    held[torch.rand(40, 30, generator=generator) < 0.7] = FREE
    matrix = hold(scheduling_matrix(name, (held == FREE).sum(1), K, 5), held)
    check_matrix(matrix, K, held=held)
    for row, levels in enumerate(held):
        free = levels == FREE
        alone = scheduling_matrix(name, int(free.sum()), K, 5)
        assert torch.equal(matrix[: len(alone), row, free], alone)
        assert (matrix[:, row, ~free] == levels[~free]).all()


def test_held_tokens_are_broadcast_over_the_batch() -> None:
    matrix = scheduling_matrix("trapezoid", torch.tensor([2, 3]), K, 4)
    held = torch.tensor([0, FREE, FREE, FREE, 9])
    together = hold(matrix, held)
    assert torch.equal(together, hold(matrix, held.expand(2, -1)))
    assert torch.equal(together[..., 1:4], matrix)
    check_matrix(together, K, held=held, allow_noisy=True)


def test_more_free_tokens_than_columns_are_an_error() -> None:
    with pytest.raises(ConfigError, match="3 tokens; got 4 free"):
        hold(full_sequence(3, K, 2), torch.tensor([0, FREE, FREE, FREE, FREE]))


@named
def test_named_matrices_pass_the_check(name: str) -> None:
    for tokens in HORIZONS:
        check_matrix(scheduling_matrix(name, tokens, K, 3), K)
    check_matrix(scheduling_matrix(name, 6, K, 3)[:3].int(), K, allow_noisy=True)


GOOD = [[5, 5, 5], [3, 5, 5], [0, 2, 5], [0, 0, 0]]


def changed(row: int, token: int, level: int) -> torch.Tensor:
    matrix = torch.tensor(GOOD)
    matrix[row, token] = level
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (GOOD, "int64 or int32; got list"),
        (np.array(GOOD), "ndarray"),
        (torch.tensor(GOOD).float(), "torch.float32"),
        (torch.tensor(GOOD).to(torch.uint8), "torch.uint8"),
        (torch.tensor(GOOD[0]), r"shape .*; got \[3\]"),
        (torch.zeros(2, 1, 1, 3).long(), r"got \[2, 1, 1, 3\]"),
        (torch.zeros(3, 0).long(), r"at least 1 token; got \[3, 0\]"),
        (torch.tensor(GOOD[:1]), "at least 2 rows.*; got 1"),
        (changed(0, 1, 6), "5 .* 6 at row 0, token 1"),
        (changed(3, 2, -1), " -1 at row 3, token 2"),
        (changed(2, 0, 4), "increase.* 3, .* row 2, token 0.* 4"),
        (changed(3, 1, 1), "level 0 .* 1 at row 3, token 1"),
        (torch.tensor([GOOD[0], GOOD[1], GOOD[1], *GOOD[2:]]), "row 2 .*row 1"),
    ],
)
def test_the_first_mistake_is_reported(matrix: object, message: str) -> None:
    check_matrix(torch.tensor(GOOD), 5)
    with pytest.raises(ConfigError, match=message):
        check_matrix(matrix, 5)


def test_held_tokens_must_be_declared_and_keep_their_level() -> None:
    matrix = hold(torch.tensor(GOOD), torch.tensor([0, FREE, 2, FREE, FREE, 5]))
    held = torch.tensor([0, FREE, 2, FREE, FREE, 5])
    check_matrix(matrix, 5, held=held)
    with pytest.raises(ConfigError, match=r"level 0 .* 2 at row 3, token 2"):
        check_matrix(matrix, 5)
    held[2] = 1
    with pytest.raises(ConfigError, match=r"1, .* 2 at row 0, token 2"):
        check_matrix(matrix, 5, held=held)
    with pytest.raises(ConfigError, match=r"\[6\] .*\[5\]"):
        check_matrix(matrix, 5, held=held[:5])


def test_allow_noisy_accepts_noisy_last_rows_and_nothing_else() -> None:
    stopped = torch.tensor(GOOD[:3])
    check_matrix(stopped, 5, allow_noisy=True)
    with pytest.raises(ConfigError, match=r"level 0 .* 2 at row 2, token 1"):
        check_matrix(stopped, 5)
    with pytest.raises(ConfigError, match="never increase"):
        check_matrix(stopped.flip(0), 5, allow_noisy=True)


def test_a_mistake_in_one_sequence_is_found() -> None:
    matrix = torch.tensor(GOOD)[:, None].repeat(1, 2, 1)
    matrix[2:, 1] = 0
    check_matrix(matrix, 5)  # sequence 1 ends earlier, but every row changes the other
    matrix[3, 1, 2] = 1
    with pytest.raises(ConfigError, match=r"row 3, sequence 1, token 2.* 1"):
        check_matrix(matrix, 5)


def backward(tokens: int, max_level: int, steps: int, scale: float) -> torch.Tensor:
    """The last token first, one after the other."""
    return autoregressive(tokens, max_level, steps).flip(1)


def test_a_function_is_called_for_each_number_of_tokens() -> None:
    together = scheduling_matrix(backward, torch.tensor([3, 1, 2]), 10, 2)
    assert together.shape == (7, 3, 3)
    for sequence, tokens in enumerate((3, 1, 2)):
        alone = scheduling_matrix(backward, tokens, 10, 2)
        part = together[:, sequence]
        assert torch.equal(part[: len(alone), :tokens], alone)
        assert not part[len(alone) :, :tokens].any()
        assert (part[:, tokens:] == 10).all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tokens, k, steps, _: torch.full((3, tokens), k), "reach level 0"),
        (lambda tokens, k, steps, _: torch.tensor([[k], [0], [k], [0]]), "never increase"),
        (lambda tokens, k, steps, _: full_sequence(tokens + 1, k, steps), r"\[rows, 1\]"),
        (lambda tokens, k, steps, _: full_sequence(tokens, k, steps) // 2, "pure noise; got"),
        (lambda tokens, k, steps, _: [[k], [0]], "tensor of int64"),
    ],
)
def test_functions_that_return_no_scheduling_matrix_are_errors(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scheduling_matrix(function, 1, 10, 2)
    with pytest.raises(ConfigError, match=message):
        scheduling_matrix(function, torch.tensor([1]), 10, 2)


@named
@pytest.mark.parametrize("tokens", [1, 7])
@pytest.mark.parametrize("stop_fraction", [0.01, 0.4, 1.0])
def test_a_sampling_schedule_runs_the_first_rows_of_its_matrix(
    name: str, tokens: int, stop_fraction: float
) -> None:
    """At least one step is run; a fraction of a step counts as a whole one."""
    whole = scheduling_matrix(name, tokens, K, 4, 1.5)
    rows = SamplingSchedule(name, 4, 1.5, stop_fraction).rows(tokens, K)
    assert len(rows) - 1 == math.ceil(stop_fraction * (len(whole) - 1)) >= 1
    assert torch.equal(rows, whole[: len(rows)])


@named
@pytest.mark.parametrize("stop_fraction", [0.01, 0.4, 1.0])
def test_each_sequence_of_a_batch_stops_as_if_it_were_alone(
    name: str, stop_fraction: float
) -> None:
    counts = [7, 2, 1]
    schedule = SamplingSchedule(name, 4, 1.5, stop_fraction)
    together = schedule.rows(torch.tensor(counts), K)
    assert len(together) == max(len(schedule.rows(count, K)) for count in counts)
    for sequence, count in enumerate(counts):
        alone = schedule.rows(count, K)
        assert torch.equal(together[: len(alone), sequence, :count], alone)
        assert (together[len(alone) :, sequence, :count] == alone[-1]).all()
        assert (together[:, sequence, count:] == K).all()


def test_the_matrix_of_a_sampling_schedule_can_be_a_function() -> None:
    rows = SamplingSchedule(backward, steps=2).rows(3, 10)
    assert torch.equal(rows, backward(3, 10, 2, 1.0))
    halfway = SamplingSchedule(lambda *args: backward(*args)[:-1])
    with pytest.raises(ConfigError, match="reach level 0"):
        halfway.rows(3, 10)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"matrix": "pyramids"}, "Did you mean 'pyramid'"),
        ({"matrix": 3}, "matrix must be the name"),
        ({"matrix": "pyramid", "uncertainty_scale": 9.0}, r"scale must be from 0.*got 9"),
        ({"uncertainty_scale": np.nan}, "uncertainty_scale must be a finite number"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"stop_fraction": 0.0}, "stop_fraction must be a finite number"),
        ({"stop_fraction": 1.1}, "stop_fraction must be a finite number"),
    ],
)
def test_invalid_sampling_schedules_are_errors(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingSchedule(**wrong)
