from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.sampling.matrices import MATRICES, scheduling_matrix

K = 64
ROWS = {
    "full_sequence": lambda tokens, steps: steps,
    "autoregressive": lambda tokens, steps: tokens * steps,
    "pyramid": lambda tokens, steps: steps + tokens - 1,
}

named = pytest.mark.parametrize("name", sorted(MATRICES))


def matrices(name: str, steps: int) -> list[torch.Tensor]:
    """The matrix for every number of tokens."""
    return [scheduling_matrix(name, tokens, K, steps) for tokens in range(1, 65)]


@named
@pytest.mark.parametrize("steps", range(1, K + 1))
def test_from_noise_to_clean_and_never_back(name: str, steps: int) -> None:
    for tokens, matrix in enumerate(matrices(name, steps), start=1):
        assert matrix.shape == (ROWS[name](tokens, steps) + 1, tokens)
        assert matrix.dtype == torch.long
        assert (matrix[0] == K).all() and (matrix[-1] == 0).all()
        fall = -matrix.diff(dim=0)
        assert (fall >= 0).all()
        assert (fall > 0).any(1).all(), "a row in which nothing happens"
        assert ((fall > 0).sum(0) == steps).all(), "every token takes every step"
        assert (matrix.diff(dim=1) >= 0).all(), "the near future is noisier than the far"


@named
@pytest.mark.parametrize("max_level", [1, 2, 7, 100, 1000])
def test_steps_are_even(name: str, max_level: int) -> None:
    for steps in {1, (max_level + 1) // 2, max_level}:
        for tokens in (1, 5):
            fall = -scheduling_matrix(name, tokens, max_level, steps).diff(dim=0)
            taken = fall[fall > 0]
            assert taken.max() - taken.min() <= 1
            assert taken.sum() == tokens * max_level


def test_by_hand() -> None:
    full = [[6, 6, 6], [4, 4, 4], [2, 2, 2], [0, 0, 0]]
    assert scheduling_matrix("full_sequence", 3, 6, 3).tolist() == full
    pyramid = [[6, 6, 6], [3, 6, 6], [0, 3, 6], [0, 0, 3], [0, 0, 0]]
    assert scheduling_matrix("pyramid", 3, 6, 2).tolist() == pyramid
    assert scheduling_matrix("full_sequence", 1, 10, 3).flatten().tolist() == [10, 7, 3, 0]
    one_by_one = [[6, 6], [3, 6], [0, 6], [0, 3], [0, 0]]
    assert scheduling_matrix("autoregressive", 2, 6, 2).tolist() == one_by_one


def test_one_token_has_one_schedule() -> None:
    first, *others = (scheduling_matrix(name, 1, K, 9) for name in MATRICES)
    assert all(torch.equal(first, other) for other in others)


def test_unknown_names_are_answered_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"'piramid'\. Did you mean 'pyramid'\? Known: auto"):
        scheduling_matrix("piramid", 3, 10, 5)


@named
@pytest.mark.parametrize(
    ("tokens", "steps", "message"),
    [(0, 5, "at least 1 token; got 0"), (3, 0, "between 1 and 10; got 0"), (3, 11, "got 11")],
)
def test_impossible_requests_are_refused(name: str, tokens: int, steps: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scheduling_matrix(name, tokens, 10, steps)
