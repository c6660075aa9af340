"""Colors of uncertainty: they can be seen, and read in gray and by color-blind readers."""

from __future__ import annotations

from colorsys import rgb_to_hsv

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dfplan.plotting.marks import REGION_SHARES
from dfplan.plotting.style import THEMES, Theme

SHARES = np.linspace(0, 1, 101)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
"""Of Machado, Oliveira and Fernandes 2009, for linear RGB."""

each_theme = pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))


def scale_of(theme: Theme) -> np.ndarray:
    return np.asarray(theme.uncertainty(SHARES))[:, :3]


def linear(colors: np.ndarray) -> np.ndarray:
    colors = np.asarray(colors)
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def luminance(colors: np.ndarray) -> np.ndarray:
    return np.asarray(linear(colors) @ LUMINANCE)


@each_theme
def test_every_color_contrasts_with_floor_and_walls(theme: Theme) -> None:
    for ground in (theme.floor, theme.open_floor, theme.wall, theme.background):
        low, high = np.sort([luminance(scale_of(theme)), [luminance(to_rgb(ground))] * 101], 0)
        assert ((high + 0.05) / (low + 0.05)).min() >= 3  # WCAG 2


@each_theme
def test_other_marks_contrast_with_floor_and_walls(theme: Theme) -> None:
    scales = [np.asarray(scale(SHARES)) for scale in (theme.ranks, theme.visits, theme.gradient)]
    marks = [to_rgb(getattr(theme, name)) for name in ("ink", "muted", "goal", "warning")]
    colors = np.concatenate([*(scale[:, :3] for scale in scales), marks])
    for ground in (theme.floor, theme.wall):
        low, high = np.sort([luminance(colors), [luminance(to_rgb(ground))] * len(colors)], 0)
        assert ((high + 0.05) / (low + 0.05)).min() >= 3


@each_theme
def test_tokens_contrast_with_their_own_regions(theme: Theme) -> None:
    colors = np.asarray(theme.uncertainty(SHARES))
    low, high = np.sort(
        [luminance(each[:, :3]) for each in (colors, theme.paler(colors, REGION_SHARES[0]))], 0
    )
    assert ((high + 0.05) / (low + 0.05)).min() >= 3


@each_theme
def test_the_more_certain_the_more_contrast_in_gray(theme: Theme) -> None:
    off = np.abs(luminance(scale_of(theme)) - luminance(to_rgb(theme.floor)))
    assert (np.diff(off) < 0).all()


@each_theme
def test_ends_differ_for_color_blind_readers(theme: Theme) -> None:
    seen = np.clip(linear(scale_of(theme)) @ DEUTERANOPIA.T, 0, 1)
    assert np.abs(seen[0] - seen[-1]).max() > 0.2
    # The certain end is bluer than it is yellow, and the other one is not.
    blue = seen[:, 2] - seen[:, :2].mean(1)
    assert blue[0] > 0 > blue[-1]


def test_hues_have_the_same_order_in_both_themes() -> None:
    for theme in THEMES.values():
        hue = np.array([rgb_to_hsv(*color)[0] for color in scale_of(theme)])
        turned = (hue - 0.5) % 1  # from blue over purple to orange, without a jump at red
        assert (np.diff(turned) > -1e-3).all()
        assert 0.05 < turned[0] < 0.2 and 0.5 < turned[-1] < 0.6
