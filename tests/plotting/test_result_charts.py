"""Charts of benchmark results, as SVG elements."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest

from dfplan.mazes import named_maze
from dfplan.plotting.results import ExecutedPlan, Profile, episode_svg, profiles_svg, times_svg

THRESHOLDS = np.linspace(0, 1, 11)
NOTHING = np.full(11, np.nan)
LABELS = tuple(f"planner {number}" for number in range(9))


def profiles(name: str) -> str:
    share = np.linspace(1, 0, 11)
    found = {label: Profile(share**power, NOTHING, NOTHING) for power, label in enumerate(LABELS)}
    return profiles_svg(name, THRESHOLDS, found, LABELS[1:])


def times(name: str) -> str:
    points = {label: ([1.0 + n, 10.0 + n], [0.4, 0.9]) for n, label in enumerate(LABELS)}
    return times_svg(name, points, LABELS, ("controller", 0.8))


def episode(name: str, maze: str = "ogbench-medium") -> str:
    parsed = named_maze(maze)
    path = parsed.cell_to_xy(parsed.free_cells[:5])
    return episode_svg(name, maze, ExecutedPlan(path, path + 0.1, path[-1]))


each = pytest.mark.parametrize("draw", [profiles, times, episode])


@each
def test_charts_are_one_element_without_urls(draw: Callable[[str], str]) -> None:
    text = draw("mine")
    assert ElementTree.fromstring(text).tag == "svg"
    assert "://" not in text and "<style" not in text
    assert draw is episode or set(LABELS) <= set(re.findall(r">([^<>]+)<", text))


@each
def test_ids_are_used_and_have_the_suffix(draw: Callable[[str], str]) -> None:
    text = draw("mine")
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and all(name.endswith("-mine") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', text)) == set(ids)


@each
def test_colors_are_valid_and_follow_the_theme(draw: Callable[[str], str]) -> None:
    known = r"none|currentColor|var\(--(muted|wall|floor)\)|#[0-9a-f]{6}|url\(#[\w-]+\)"
    found = re.findall(r"(?:fill|stroke): ([^;\"]*)", draw("mine"))
    assert found and all(re.fullmatch(known, color) for color in found)
    # The page sets the colors of text and floor.
    assert not {"#22252b", "#6b7078", "#ffffff", "#000000"} & set(found)


@each
def test_equal_arrays_give_equal_bytes(draw: Callable[[str], str]) -> None:
    before = matplotlib.rcParams.copy()
    assert draw("mine") == draw("mine")
    assert matplotlib.rcParams.copy() == before


def test_a_label_has_the_same_color_in_both_charts() -> None:
    ranked = LABELS[:2]
    share = Profile(np.linspace(1, 0, 11), NOTHING, NOTHING)
    first = profiles_svg("a", THRESHOLDS, {ranked[1]: share}, ranked)
    second = times_svg("b", {ranked[1]: ([1.0], [0.5])}, ranked, None)
    assert "#d55e00" in first and "#d55e00" in second
    assert "#0072b2" not in first and "#0072b2" not in second


def test_labels_have_distinct_styles() -> None:
    many = tuple(f"planner {number}" for number in range(30))
    share = Profile(np.linspace(1, 0, 11), NOTHING, NOTHING)
    lines = profiles_svg("a", THRESHOLDS, dict.fromkeys(many, share), many)
    assert len(set(re.findall(r'style="(fill: none;[^"]* stroke: #[^"]*)"', lines))) == len(many)
    marks = times_svg("b", dict.fromkeys(many, ([1.0], [0.5])), many, None)
    shapes = dict(re.findall(r'<path id="([^"]*)" d="([^"]*)"', marks))
    used = re.findall(r'<use href="#([^"]*)"[^>]*style="fill: (#[^;]*)', marks)
    assert len({(shapes[shape], color) for shape, color in used}) == len(many)


def marker_places(text: str) -> np.ndarray:
    return np.array(re.findall(r'<use href="[^"]*" x="([^"]*)" y="([^"]*)"', text), dtype=float)


def test_the_axes_follow_the_markers_alone() -> None:
    labels = LABELS[:3]
    narrow = {label: ([5.0 + n] * 2, [0.95 + n / 100] * 2) for n, label in enumerate(labels)}
    wide = {
        label: ([times[0] / 100, times[0] * 100], [shares[0] - 0.9, shares[0] + 0.9])
        for label, (times, shares) in narrow.items()
    }
    inside, below, cut = (
        times_svg("a", points, labels, ("controller", share))
        for points, share in ((narrow, 0.96), (narrow, 0.123), (wide, 0.96))
    )
    assert "12.3%" in below and "96.0%" not in inside
    assert np.allclose(marker_places(inside), marker_places(below), atol=0.1)
    assert np.allclose(marker_places(inside), marker_places(cut), atol=0.1)
    # They fill most of the chart's height, from the best to the worst.
    assert np.ptp(marker_places(inside)[:3, 1]) > 100


@pytest.mark.parametrize("maze", ["umaze", "pointmaze-large", "ogbench-giant"])
def test_plans_are_inside_the_chart_in_every_suite(maze: str) -> None:
    text = episode("mine", maze)
    _, _, width, height = map(float, re.findall(r'viewBox="([^"]*)"', text)[0].split())
    lines = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: #56b4e9', text)
    assert lines
    points = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", " ".join(lines)), dtype=float)
    assert (points > 0).all() and (points < [width, height]).all()
