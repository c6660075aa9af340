from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import MATRICES, scheduling_matrix
from dfplan.sampling.steps import STEPS, ancestral, ddim, second_order
from dfplan.types import Step

BATCH, TOKENS, FEATURES, K = 5, 6, 3, 12
SCHEDULE = interpolation_schedule(K)

named = pytest.mark.parametrize("name", sorted(MATRICES))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(BATCH, TOKENS, FEATURES, generator=generator(seed))


def mixing(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """A denoiser in which each estimate depends on all tokens and levels."""
    return torch.sin(x.mean(1, keepdim=True) + 0.5 * x + level[..., None] / K)


def counting(x, clean, level, next_level, generator, previous=None):  # type: ignore[no-untyped-def]
    """A step that adds 1 to every token, whether its level decreases or not."""
    return x + 1


@named
@pytest.mark.parametrize("steps", [1, 4, K])
def test_only_tokens_whose_level_decreases_are_changed(name: str, steps: int) -> None:
    matrix = scheduling_matrix(name, TOKENS, K, steps)
    matrix[:, 2] = 0  # a known token
    matrix[:, 5] = K  # past the horizon
    seen = [noise()]
    sample(
        mixing,
        noise(),
        matrix,
        step=counting,
        generator=generator(),
        callback=lambda x, clean, level: seen.append(x),
    )
    rows = zip(pairwise(seen), pairwise(matrix), strict=True)
    for (before, after), (level, below) in rows:
        falls = (below < level)[:, None]
        assert torch.equal(after, torch.where(falls, before + 1, before))


@named
@pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
def test_held_tokens_stay_unchanged(name: str, step) -> None:  # type: ignore[no-untyped-def]
    matrix = scheduling_matrix(name, TOKENS, K, 4)
    matrix[:, 0], matrix[:, 5] = 0, K
    start = noise()
    kept = start.clone()
    done = sample(mixing, start, matrix, step=step(SCHEDULE), generator=generator())
    assert torch.equal(start, kept), "the caller's tokens were written to"
    assert torch.equal(done[:, [0, 5]], kept[:, [0, 5]])
    assert (done[:, 1:5] != kept[:, 1:5]).all()


@named
def test_denoiser_and_callback_see_every_row(name: str) -> None:
    matrix = scheduling_matrix(name, TOKENS, K, 4)
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        calls.append((x, level))
        return mixing(x, level)

    done = sample(
        denoiser,
        noise(),
        matrix,
        step=ddim(SCHEDULE),
        generator=generator(),
        callback=lambda *row: seen.append(row),
    )
    levels = matrix[:, None].expand(-1, BATCH, -1)
    assert torch.equal(torch.stack([level for _, level in calls]), levels[:-1])
    assert torch.equal(torch.stack([level for _, _, level in seen]), levels[1:])
    assert torch.equal(calls[0][0], noise()) and torch.equal(seen[-1][0], done)
    for (x, level), (_, clean, _) in zip(calls, seen, strict=True):
        assert torch.equal(clean, mixing(x, level))
    for (x, _), (after, _, _) in zip(calls[1:], seen, strict=False):
        assert torch.equal(x, after)


@named
def test_steps_get_the_previous_row(name: str) -> None:
    matrix = scheduling_matrix(name, TOKENS, K, 4)
    seen = []

    def step(x, clean, level, next_level, generator, previous=None):  # type: ignore[no-untyped-def]
        seen.append((clean, level, previous))
        return ddim(SCHEDULE)(x, clean, level, next_level, generator)

    sample(mixing, noise(), matrix, step=step, generator=generator())
    assert seen[0][2] is None
    for (clean, level, _), (_, _, previous) in pairwise(seen):
        assert torch.equal(previous[0], clean) and torch.equal(previous[1], level)


@pytest.mark.parametrize("step", [ddim(SCHEDULE), second_order(SCHEDULE)])
@pytest.mark.parametrize("row", range(BATCH))
def test_batch_rows_are_independent(row: int, step: Step) -> None:
    matrix = scheduling_matrix("pyramid", TOKENS, K, 4)
    other = noise(1)
    other[row] = noise()[row]
    first, second = (
        sample(mixing, x, matrix, step=step, generator=generator()) for x in (noise(), other)
    )
    assert torch.equal(first[row], second[row])
    rest = torch.arange(BATCH) != row
    assert (first[rest] != second[rest]).any()


@pytest.mark.parametrize("step", [ddim(SCHEDULE), second_order(SCHEDULE)])
def test_a_matrix_for_each_row_of_the_batch(step: Step) -> None:
    names = ["pyramid", "full_sequence", "autoregressive"]
    parts = [scheduling_matrix(name, TOKENS, K, 4) for name in names]
    longest = max(map(len, parts))
    padded = [torch.cat([part, part[-1:].expand(longest - len(part), -1)]) for part in parts]
    x = noise()[:3]
    together = sample(mixing, x, torch.stack(padded, 1), step=step, generator=generator())
    for row, part in enumerate(parts):
        alone = sample(mixing, x[row : row + 1], part, step=step, generator=generator())
        assert torch.allclose(together[row], alone[0], atol=1e-6)


def test_a_matrix_of_one_row_makes_no_call() -> None:
    def never(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    matrix = torch.full((1, TOKENS), K)
    done = sample(never, noise(), matrix, step=ddim(SCHEDULE), generator=generator())
    assert torch.equal(done, noise())


def test_all_randomness_comes_from_the_generator() -> None:
    matrix = scheduling_matrix("pyramid", TOKENS, K, 4)
    before = torch.get_rng_state()
    first, again, other = (
        sample(mixing, noise(), matrix, step=ancestral(SCHEDULE), generator=generator(seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
