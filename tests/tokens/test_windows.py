"""Tokens and windows: inverse pairs, and windows inside one segment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.data import from_arrays, segmented
from dfplan.errors import ConfigError, DataError
from dfplan.tokens.layout import TokenLayout
from dfplan.tokens.windows import TokenWindows
from dfplan.types import Trajectories

LAYOUTS = [
    TokenLayout(tokens, stack, stride)
    for tokens in (2, 3, 7)
    for stack in (1, 2, 5)
    for stride in (1, 4)
]


def numbered(*lengths: int) -> Trajectories:
    """Segments of these lengths whose first coordinate is the row's number."""
    count = sum(lengths)
    rows = np.arange(count, dtype=np.float32)
    ends = np.isin(rows, np.cumsum(lengths) - 1)
    return segmented(
        from_arrays(np.stack([rows, -rows, rows, rows], 1), np.zeros((count, 2)), ends)
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_tokens_and_frames_are_inverse(layout: TokenLayout) -> None:
    count = 1 + (layout.tokens - 1) * layout.frame_stack
    frames = torch.randn(3, count, 2, generator=generator())
    tokens = layout.to_tokens(frames)
    assert tokens.shape == (3, layout.tokens, layout.token_width)
    assert torch.equal(layout.to_frames(tokens), frames)
    assert torch.equal(layout.to_tokens(layout.to_frames(tokens)), tokens)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_first_token_is_one_position_and_the_others_follow(layout: TokenLayout) -> None:
    stack = layout.frame_stack
    frame = torch.arange(1 + (layout.tokens - 1) * stack)
    tokens = layout.to_tokens(frame[None, :, None].expand(1, -1, 2))[0].view(-1, stack, 2)
    assert (tokens[0] == 0).all()
    for index in range(1, layout.tokens):
        held = range((index - 1) * stack + 1, index * stack + 1)
        assert tokens[index, :, 0].tolist() == list(held)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_windows_never_leave_a_segment(layout: TokenLayout) -> None:
    data = numbered(1, layout.token_steps, layout.token_steps + 1, 3, 137, 40, 2)
    frames, horizon = TokenWindows(data, layout).draw(500, generator())
    assert frames.shape == (500, 1 + (layout.tokens - 1) * layout.frame_stack, 2)
    assert torch.equal(frames[..., 1], -frames[..., 0])
    rows = frames[..., 0].long().numpy()
    first, last = rows[:, 0], rows[:, -1]
    segment = np.searchsorted(data.segments[:, 1], first, side="right")
    assert (last < data.segments[segment, 1]).all()
    assert (last - first == horizon.numpy() * layout.token_steps).all()
    assert horizon.min() >= 1 and horizon.max() <= layout.tokens - 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_frames_are_a_stride_apart_until_the_horizon_and_then_stay(layout: TokenLayout) -> None:
    frames, horizon = TokenWindows(numbered(150, 90), layout).draw(300, generator())
    steps = frames[..., 0].diff(dim=1)
    frame = torch.arange(steps.shape[1])
    inside = frame < horizon[:, None] * layout.frame_stack
    assert (steps[inside] == layout.stride).all() and (steps[~inside] == 0).all()


def test_every_start_that_fits_is_as_likely() -> None:
    layout, draws = TokenLayout(3, 2, 2), 40_000
    data = numbered(4, 9, 5, 12)  # a window needs 5 rows: 5 starts, 1 and 8
    frames, _ = TokenWindows(data, layout).draw(draws, generator())
    starts, counts = np.unique(frames[:, 0, 0].numpy(), return_counts=True)
    assert starts.tolist() == [*range(4, 9), 13, *range(18, 26)]
    expected = draws / len(starts)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_every_horizon_that_fits_is_as_likely() -> None:
    layout, draws = TokenLayout(6, 1, 1), 40_000
    frames, horizon = TokenWindows(numbered(100), layout).draw(draws, generator())
    start, expected = frames[:, 0, 0], draws / 5 * 95 / 99
    for wanted in range(1, 6):
        among = (horizon[start < 95] == wanted).sum()
        assert abs(int(among) - expected) < 5 * np.sqrt(expected)
    assert (horizon[start == 98] == 1).all() and horizon[start == 96].max() == 3


def test_a_seed_determines_a_batch() -> None:
    windows = TokenWindows(numbered(200, 50), TokenLayout(5, 2, 3))
    first, again, other = (windows.draw(64, generator(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_segments_too_short_for_two_tokens_are_refused() -> None:
    with pytest.raises(DataError, match=r"21 rows.*20 rows"):
        TokenWindows(numbered(20, 5), TokenLayout(4, 2, 10))


@pytest.mark.parametrize("wrong", [(1, 2, 10), (4, 0, 10), (4, 2, 0), (4, 2, 2.5)])
def test_layouts_that_hold_no_plan_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"at least [12].*; got"):
        TokenLayout(*wrong)
