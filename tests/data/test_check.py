"""``dfplan data check`` finds the problems of recordings that are made with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfplan.data.checks.check import check
from dfplan.data.checks.report import Finding
from dfplan.errors import ConfigError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import SUITES
from dfplan.types import Recording

DT = 0.01
ROOM = ("#######", "#OOOOO#", "#OOOGO#", "#OOOOO#", "#######")


def recording(count: int = 1000, episodes: int = 4, **changes: Any) -> Recording:
    """A body that circles in :data:`ROOM`; nothing is wrong with it."""
    turn = np.arange(count)[:, None] / 50 + np.array([0.0, np.pi / 2])
    velocity = 2 * np.sin(turn)
    position = parse_maze(ROOM).cell_to_xy([2, 3]) + [-1.0, 0.0] + DT * np.cumsum(velocity, axis=0)
    first = np.arange(episodes) * (count // episodes)
    ends = np.zeros(count, bool)
    ends[np.append(first[1:], count) - 1] = True
    plain = Recording(
        observations=np.concatenate([position, velocity], axis=1).astype(np.float32),
        actions=(0.9 * np.cos(turn)).astype(np.float32),
        episodes=first.astype(np.int64),
        source="planted",
        terminals=ends,
        maze="\n".join(ROOM),
    )
    return replace(plain, **changes)


def findings(data: Recording, **options: Any) -> dict[str, Finding]:
    report = check(data, **options)
    return {finding.kind: finding for finding in report.findings}


def only(data: Recording, kind: str, **options: Any) -> Finding:
    """The one finding, which is of that ``kind``."""
    found = findings(data, **options)
    assert list(found) == [kind]
    return found[kind]


def brief(finding: Finding) -> tuple[str, int, int | None, int | None]:
    return finding.severity, finding.count, finding.first, finding.episode


@pytest.fixture(params=[65, 1 << 16], autouse=True, ids=lambda size: f"block{size}")
def _block(request: pytest.FixtureRequest, limit_blocks: Callable[[int], None]) -> None:
    limit_blocks(request.param)


def changed(array: np.ndarray, rows: Any, value: Any) -> np.ndarray:
    out = array.copy()
    out[rows] = value
    return out


PLAIN = recording()


def test_valid_data_has_no_findings() -> None:
    report = check(PLAIN)
    assert report.findings == () and report.ok
    assert report.segments.tolist() == [[0, 250], [250, 500], [500, 750], [750, 1000]]


def test_excluded_rows_are_reported_and_cut() -> None:
    observations = changed(PLAIN.observations, [260, 261, 700], np.nan)
    observations[[3, 500, 997]] = 0
    data = replace(PLAIN, observations=observations)
    found = findings(data)
    assert list(found) == ["not finite", "zero padding"]
    assert brief(found["not finite"]) == ("handled", 3, 260, 1)
    assert brief(found["zero padding"]) == ("handled", 3, 3, 0)
    report = check(data)
    assert report.ok and report.boundaries["excluded rows"] == 6
    assert len(report.segments) == 8
    assert "possible" in report.verdict


def test_actions_that_are_not_finite_stop_training() -> None:
    data = replace(PLAIN, actions=changed(PLAIN.actions, [77, 78], [np.inf, 0.0]))
    assert brief(only(data, "actions")) == ("error", 2, 77, 0)
    assert not check(data).ok


def test_rewards_and_goals_that_are_not_finite_are_noted() -> None:
    data = replace(
        PLAIN,
        rewards=changed(np.zeros(1000), [5, 900], np.nan),
        goals=changed(np.ones((1000, 2)), 251, np.inf),
    )
    found = findings(data)
    assert brief(found["rewards not finite"]) == ("note", 2, 5, 0)
    assert brief(found["goals not finite"]) == ("note", 1, 251, 1)


def test_jumps_are_counted_within_episodes() -> None:
    observations = PLAIN.observations.copy()
    observations[100:120, 0] += 0.25
    observations[500:, 1] += 0.5  # a new episode: no jump
    data = replace(PLAIN, observations=observations)
    found = only(data, "jumps")
    assert brief(found) == ("handled", 2, 100, 0)
    assert found.rows.tolist() == [100, 120]
    assert "up to 0.2" in found.message
    assert check(data).boundaries["jumps"] == 2


def test_repeated_rows_are_counted_with_their_longest_run() -> None:
    observations = PLAIN.observations.copy()
    observations[:, 2:] = 0.5
    observations[10:13] = observations[10]
    observations[100:200] = observations[100]
    data = replace(PLAIN, observations=observations)
    found = findings(data)["repeated rows"]
    assert brief(found) == ("note", 101, 11, 0)
    assert "99" in found.message and "101" in found.message
    assert "harmless" in found.advice
    resting = np.repeat(PLAIN.observations[::4], 4, axis=0)
    found = findings(recording(episodes=1, observations=resting, actions=0 * PLAIN.actions))
    assert found["repeated rows"].count == 750 and "75%" in found["repeated rows"].advice


def test_the_first_row_of_an_episode_repeats_nothing() -> None:
    observations = PLAIN.observations.copy()
    observations[250] = observations[249]
    assert not check(replace(PLAIN, observations=observations)).findings


def test_large_actions_are_noted() -> None:
    data = replace(PLAIN, actions=changed(PLAIN.actions, [600, 601], [0.0, -1.5]))
    found = only(data, "large actions")
    assert brief(found) == ("note", 2, 600, 2) and "1.5" in found.message


def test_short_segments_are_counted_by_the_window_that_is_given() -> None:
    episodes = np.array([0, 1, 100, 400])
    data = recording(terminals=None, episodes=4)
    data = replace(data, episodes=episodes)
    assert brief(only(data, "short")) == ("note", 1, 0, 0)
    assert brief(only(data, "short", window=300)) == ("note", 2, 0, 0)
    assert only(data, "short", window=900).severity == "error"


def test_final_observations_are_described_and_a_mixture_is_reported() -> None:
    assert "T + 1" not in check(PLAIN).facts["episodes"]
    bare = np.array([True] * 4)
    assert "T + 1" in check(replace(PLAIN, final_observations=bare)).facts["episodes"]
    found = only(replace(PLAIN, final_observations=changed(bare, [1, 3], False)), "mixed ends")
    assert brief(found) == ("note", 2, 250, 1)


def test_empty_episodes_are_found() -> None:
    data = replace(PLAIN, episodes=np.array([0, 250, 250, 500, 750, 1000]))
    assert brief(only(data, "empty")) == ("note", 2, 250, 2)


def test_terminals_inside_episodes_are_reported_but_not_before_a_final_observation() -> None:
    inside = changed(PLAIN.terminals, 300, True)
    assert brief(only(replace(PLAIN, terminals=inside), "terminals")) == ("note", 1, 300, 1)
    before = np.roll(PLAIN.terminals, -1)
    data = replace(PLAIN, terminals=before)
    assert only(data, "terminals").count == 4
    assert not check(replace(data, final_observations=np.ones(4, bool))).findings


def test_a_file_that_marks_no_end_is_noted() -> None:
    for terminals in (None, np.zeros(1000, bool)):
        assert only(recording(episodes=1, terminals=terminals), "no ends").severity == "note"
    marked = np.zeros(1000, bool)
    assert not check(recording(episodes=1, terminals=marked, timeouts=marked)).findings


def test_stale_goals_are_found() -> None:
    goals = np.repeat(np.arange(8.0).reshape(4, 2), 250, axis=0)
    assert not check(replace(PLAIN, goals=goals)).findings
    stale = changed(goals, [250, 750], goals[[249, 749]])
    assert brief(only(replace(PLAIN, goals=stale), "stale goals")) == ("note", 2, 250, 1)
    cuts = check(replace(PLAIN, goals=stale)).boundaries
    assert cuts["changes of goal within episodes (not cut)"] == 2


def test_timeouts_cut_if_requested() -> None:
    timeouts = changed(PLAIN.terminals, [99, 400], True)
    data = replace(PLAIN, timeouts=timeouts)
    assert len(check(data).segments) == 4
    report = check(data, segment_by="timeouts")
    assert len(report.segments) == 6
    assert report.boundaries["timeouts within episodes (cut)"] == 2
    assert not check(PLAIN, segment_by="timeouts").ok
    with pytest.raises(ConfigError):
        check(PLAIN, segment_by="words")


def paid(data: Recording, goal: np.ndarray, radius: float) -> np.ndarray:
    return np.linalg.norm(data.observations[:, :2] - goal, axis=1) <= radius


def test_the_report_says_which_end_of_a_step_rewards_refer_to() -> None:
    goal = parse_maze(ROOM).goal
    here = paid(PLAIN, goal, 0.5).astype(np.float32)
    assert 20 < here.sum() < 980
    facts = check(replace(PLAIN, rewards=here)).facts
    assert "0.5 of the maze's goal" in facts["rewards"]
    assert "row's own" in facts["measured at"] and "100.0%" in facts["measured at"]
    after = np.roll(here, -1)
    facts = check(replace(PLAIN, rewards=after - 1)).facts
    assert facts["rewards"].startswith("-1 or 0") and facts["measured at"].startswith(
        "the next row's"
    )
    distance = np.linalg.norm(PLAIN.observations[:, :2] - goal, axis=1)
    facts = check(replace(PLAIN, rewards=np.exp(-np.roll(distance, -1)))).facts
    assert "exp(-distance)" in facts["rewards"] and facts["measured at"].startswith(
        "the next row's"
    )
    assert check(replace(PLAIN, rewards=0 * here)).facts["rewards"] == "all 0"
    random = np.random.default_rng(0).integers(0, 2, 1000).astype(float)
    assert only(replace(PLAIN, rewards=random), "rewards").severity == "note"


@pytest.mark.parametrize(("frame", "radius"), [("gymnasium", 0.45), ("ogbench", 1.0)])
def test_rewards_are_tried_with_the_radius_of_the_suite(frame: str, radius: float) -> None:
    maze = parse_maze([row.replace("G", "O") for row in ROOM], suite=SUITES[frame])
    data = moved_to(maze)
    goals = np.broadcast_to(maze.cell_to_xy([2, 4]), (1000, 2))
    rewards = np.roll(paid(data, goals[0], radius), -1).astype(float)
    assert rewards.any()
    facts = check(replace(data, goals=goals, rewards=rewards)).facts
    assert f"{radius:g} of the row's goal" in facts["rewards"]
    assert "100.0%" in facts["measured at"]


def moved_to(maze: Maze) -> Recording:
    """The same motion in another frame, positions are sufficient."""
    grid = parse_maze(ROOM).xy_to_grid(PLAIN.observations[:, :2])
    actions = (maze.cell_to_xy(PLAIN.actions) - maze.cell_to_xy([0, 0])) / maze.suite.cell_size
    return replace(PLAIN, observations=maze.cell_to_xy(grid), actions=actions, maze=maze.text)


def test_velocities_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    own = PLAIN.observations
    swapped = own[:, [0, 1, 3, 2]]
    found = only(replace(PLAIN, observations=swapped), "velocities")
    assert found.severity == "error" and "swap them" in found.advice
    mixed = np.concatenate([own[:, :2], rng.standard_normal((1000, 2))], axis=1)
    assert only(replace(PLAIN, observations=mixed), "velocities").severity == "error"
    backwards = own * np.float32([1, 1, -1, -1])
    assert only(replace(PLAIN, observations=backwards), "velocities").severity == "error"
    still = own * np.float32([1, 1, 0, 0])
    assert (
        "positions are sufficient" in only(replace(PLAIN, observations=still), "velocities").advice
    )
    assert not check(replace(PLAIN, observations=own[:, :2])).findings


def test_data_without_motion_is_refused() -> None:
    data = replace(PLAIN, observations=np.full((1000, 2), 2.0))
    assert findings(data)["no motion"].severity == "error"


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_are_refused(count: int) -> None:
    episodes = np.zeros(min(count, 1), np.int64)
    data = Recording(np.ones((count, 4)), np.ones((count, 2)), episodes, "tiny")
    report = check(data)
    assert [x.kind for x in report.findings] == ["rows"] and not report.ok


def test_data_without_a_valid_row_is_reported() -> None:
    for value in (0.0, np.nan):
        data = replace(PLAIN, observations=np.full((1000, 4), value))
        report = check(data)
        assert not report.ok and report.statistics == {} and str(report)


@pytest.mark.parametrize("frame", list(SUITES))
def test_coverage_and_walls_are_found_in_the_coordinates_of_every_suite(frame: str) -> None:
    maze = parse_maze(ROOM, suite=SUITES[frame])
    data = moved_to(maze)
    cells = {tuple(cell) for cell in maze.xy_to_cell(data.observations).tolist()}
    seen = sum((int(i), int(j)) in cells for i, j in maze.free_cells)
    assert 1 < seen < 15
    report = check(data)
    assert report.facts["coverage"].startswith(f"{seen} of 15 ")
    assert not report.findings
    deep = data.observations.copy()
    clear = maze.suite.ball_radius / maze.suite.cell_size - 0.07
    deep[1] = maze.cell_to_xy([2, 0.5 + clear + 0.01])  # pressed into the left wall, not too far
    deep[[5, 600]] = maze.cell_to_xy([2, 0.5 + clear - 0.01])
    deep[601] = maze.cell_to_xy([-50, 1e9])
    found = findings(replace(data, observations=deep))["walls"]
    assert brief(found) == ("note", 3, 5, 0)
    assert found.rows.tolist() == [5, 600, 601]


def test_a_maze_that_cannot_be_read_is_noted() -> None:
    assert only(replace(PLAIN, maze="###\n#"), "maze").severity == "note"


def test_statistics_are_those_of_the_valid_rows() -> None:
    observations = changed(PLAIN.observations, [5, 6], np.nan)
    actions = changed(PLAIN.actions, 9, -1.0)
    kept = np.delete(np.concatenate([observations, actions], axis=1), [5, 6], axis=0)
    table = check(replace(PLAIN, observations=observations, actions=actions)).statistics
    assert next(iter(table)) == "position 1" and len(table) == 6
    kept = kept.astype(float)
    wanted = np.stack([kept.mean(0), kept.std(0), kept.min(0), kept.max(0)], axis=1)
    np.testing.assert_allclose(list(table.values()), wanted, rtol=1e-9, atol=1e-9)


def test_the_report_reads_in_lines_that_fit() -> None:
    observations = changed(PLAIN.observations, 260, np.nan)
    observations[100:, 0] += 0.25
    report = check(replace(PLAIN, observations=observations, rewards=np.arange(1000.0)))
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    heads = [line for line in lines if line.lstrip().startswith(("handled", "note"))]
    assert len(heads) == len(report.findings) == 3
    assert "260" in heads[0]


def test_named_mazes_are_named() -> None:
    facts = check(moved_to(named_maze("ogbench-medium"))).facts
    assert "ogbench-medium" in facts["maze"] and "8 x 8" in facts["maze"]


def test_actions_that_are_all_zero_are_noted() -> None:
    data = recording()
    still = replace(data, actions=np.zeros_like(data.actions))
    assert only(still, "no actions").severity == "note" and check(still).ok


def test_segments_all_too_short_for_a_window_stop_training() -> None:
    data = replace(recording(), episodes=np.arange(0, 1000, 5))
    assert check(data).ok
    assert only(data, "short", window=21).severity == "error"
