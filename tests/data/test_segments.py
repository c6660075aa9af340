"""Laws of cutting a recording into continuous segments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dfplan.blocks import SegmentRows, segment_blocks
from dfplan.data.segments import DataWarning, segmented
from dfplan.errors import ConfigError, DataError
from dfplan.tokens.layout import TokenLayout
from dfplan.tokens.motion import velocities
from dfplan.tokens.windows import TokenWindows
from dfplan.types import Recording

STEP = 0.05


def walk(rows: int = 400, width: int = 4, episodes: tuple[int, ...] = (0,)) -> Recording:
    """A body that walks along a line, to and fro, at an even speed."""
    along = STEP * (50 - np.abs(np.arange(rows) % 100 - 50))
    positions = np.stack([1 + along, 2 + along], 1)
    full = np.concatenate([positions, np.ones((rows, 2))], 1)
    return Recording(
        observations=full[:, :width].astype(np.float32),
        actions=np.ones((rows, 2), np.float32),
        episodes=np.array(episodes),
        source="a walk",
    )


def changed(recording: Recording, rows: int | slice, value: float) -> Recording:
    observations = recording.observations.copy()
    observations[rows] = value
    return replace(recording, observations=observations)


def lengths(recording: Recording, segment_by: str = "none") -> list[list[int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return segmented(recording, segment_by).segments.tolist()


def test_a_clean_file_is_cut_at_its_episodes_alone_and_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = segmented(walk(episodes=(0, 100, 250)))
    assert data.segments.tolist() == [[0, 100], [100, 250], [250, 400]]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_excluded_rows_belong_to_no_segment(value: float) -> None:
    recording = changed(walk(), slice(120, 123), value)
    assert lengths(recording) == [[0, 120], [123, 400]]
    with pytest.warns(DataWarning, match=r"3 rows .*row 120.*data check"):
        segmented(recording)
    assert lengths(changed(walk(), 0, value)) == [[1, 400]]
    assert lengths(changed(walk(), 399, value)) == [[0, 399]]


def test_no_segment_bridges_a_jump() -> None:
    recording = walk()
    recording.observations[200:, :2] += 3.0
    assert lengths(recording) == [[0, 200], [200, 400]]
    with pytest.warns(DataWarning, match=r"1 jumps .*row 200"):
        segmented(recording)


def test_segment_by_cuts_at_timeouts_or_at_changes_of_the_goal() -> None:
    timeouts, goals = np.zeros(400, bool), np.zeros((400, 2))
    timeouts[[99, 299]] = True
    goals[150:] = 1.0
    recording = replace(walk(), timeouts=timeouts, goals=goals)
    assert lengths(recording) == [[0, 400]]
    assert lengths(recording, "timeouts") == [[0, 100], [100, 300], [300, 400]]
    assert lengths(recording, "goals") == [[0, 150], [150, 400]]


def test_a_run_of_unknown_goals_is_one_segment() -> None:
    goals = np.ones((400, 2))
    goals[100:150, 0] = np.nan
    recording = replace(walk(), goals=goals)
    assert lengths(recording, "goals") == [[0, 100], [100, 150], [150, 400]]
    assert lengths(recording) == [[0, 400]]


def test_what_cannot_be_cut_or_trained_on_is_refused() -> None:
    with pytest.raises(DataError, match="no goals to cut by"):
        segmented(walk(), "goals")
    with pytest.raises(ConfigError, match="Did you mean 'timeouts'"):
        segmented(walk(), "timeout")
    with pytest.raises(DataError, match="at least 2 rows"):
        segmented(walk(rows=1))
    actions = np.ones((400, 2), np.float32)
    actions[7] = np.nan
    with pytest.raises(DataError, match=r"actions must be finite; row 7 .*data check"):
        segmented(replace(walk(), actions=actions))
    with pytest.raises(DataError, match="two successive rows"):
        segmented(walk(rows=3, episodes=(0, 1, 2)))


def test_blocks_change_nothing(limit_blocks: Callable[[int], None]) -> None:
    goals = np.repeat(np.arange(40), 10)[:, None] * [1.0, 1.0]
    recording = replace(changed(walk(), slice(120, 123), np.nan), goals=goals)
    whole, of_goals = lengths(recording), lengths(recording, "goals")
    limit_blocks(7)
    assert lengths(recording) == whole
    assert lengths(recording, "goals") == of_goals


def test_blocks_hold_every_row_of_a_segment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfplan.blocks.SEGMENT_ROWS", 7)
    with pytest.warns(DataWarning):
        data = segmented(changed(walk(episodes=(0, 50)), slice(120, 123), np.nan))
    rows = np.concatenate([np.arange(400)[part] for part in segment_blocks(data.segments)])
    np.testing.assert_array_equal(rows, np.r_[0:120, 123:400])
    inside = SegmentRows(data.observations, data.segments)
    for _ in range(2):  # as often as they are asked for
        np.testing.assert_array_equal(np.concatenate(list(inside)), data.observations[rows])


def test_velocities_are_the_recorded_or_the_steps_that_were_taken() -> None:
    rows = np.array([[1, 2], [60, 399]])
    recorded, walked = segmented(walk()), segmented(walk(width=2))
    np.testing.assert_array_equal(velocities(recorded, rows), np.ones((2, 2, 2)))
    step = np.array([[STEP, STEP], [-STEP, -STEP]])
    np.testing.assert_allclose(velocities(walked, rows)[..., 0], step, atol=1e-6)


def test_no_window_contains_an_excluded_row_or_a_jump() -> None:
    recording = changed(walk(rows=4000, episodes=(0, 1000)), slice(500, 503), np.nan)
    recording.observations[2000:, :2] += 50.0
    with pytest.warns(DataWarning):
        windows = TokenWindows(segmented(recording), TokenLayout(tokens=5, stride=5))
    frames, _ = windows.draw(2000, torch.Generator().manual_seed(0))
    assert frames.isfinite().all()
    assert frames.diff(dim=1).abs().amax() < 6 * STEP


def test_the_fingerprint_tells_data_and_cuts_apart() -> None:
    base = segmented(walk()).fingerprint
    assert segmented(walk()).fingerprint == base
    moved = walk()
    moved.observations[5] += 0.01
    assert segmented(moved).fingerprint != base
    assert segmented(walk(episodes=(0, 100))).fingerprint != base
