"""Prediction regions: where a noisy token of a plan will be when it is denoised.

This is what the *noise level* of a token means for the reader of a picture: a token of a higher
level can still end farther from where it is drawn. The regions are measured, not assumed. They hold
on average over plans, not in each of them. A plan from the expected way is more certain than one
from pure noise whose tokens have the same level, so each has a table of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfplan.errors import DataError
from dfplan.record import Record

COVERAGE = (0.5, 0.9)
"""Probabilities of the regions that are drawn."""

_AHEAD = (1, 2, 3, 4, 6, 8, 12, 16)
"""Lower ends of the bins of tokens ahead of the last clean token."""

_FEWEST = 200
"""Tokens from which a quantile is taken; a bin with fewer is joined with the one before it."""


@dataclass(frozen=True)
class RegionTable(Record):
    """Radii of prediction regions, by noise level and by distance to what is certain.

    Attributes:
        levels: noise levels as shares of pure noise, ascending, above 0; float [L].
        ahead: lower ends of the bins of tokens ahead of the last clean token before; int [A].
        radii: of the regions that hold the final place with the probabilities :data:`COVERAGE`, in
            units of position; float [L, A, 2].
        points_per_token: points of a plan for each token.
    """

    levels: np.ndarray
    ahead: np.ndarray
    radii: np.ndarray
    points_per_token: int

    def of(self, noise: np.ndarray) -> np.ndarray:
        """Radii of the regions of a plan's points; they are 0 for clean points.

        Between two levels the radius is interpolated.

        Args:
            noise: noise level of each point's token, as a share of pure noise; float [..., P].

        Returns:
            In units of position, float [..., P, 2].
        """
        return self.at(noise, tokens_ahead(noise, self.points_per_token))

    def at(self, noise: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Radii of the regions of tokens, [..., 2], as :meth:`of`.

        Args:
            noise: noise levels as shares of pure noise, [...].
            ahead: of each token, from :func:`tokens_ahead`; int [...].
        """
        column = np.searchsorted(self.ahead, ahead, side="right") - 1
        levels = np.append(0.0, self.levels)
        radii = np.concatenate([np.zeros((1, *self.radii.shape[1:])), self.radii])
        after = np.searchsorted(levels, noise).clip(1, len(levels) - 1)
        low, high = levels[after - 1], levels[after]
        share = ((noise - low) / (high - low)).clip(0.0, 1.0)[..., None]
        return np.asarray(
            (1 - share) * radii[after - 1, column] + share * radii[after, column], np.float64
        )

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON; :meth:`from_json` is the inverse."""
        return {
            "levels": self.levels.tolist(),
            "ahead": self.ahead.tolist(),
            "radii": self.radii.tolist(),
            "points_per_token": self.points_per_token,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> RegionTable:
        """Inverse of :meth:`to_json`.

        Raises:
            KeyError: a part is missing.
            ValueError: a part has the wrong shape or type.
        """
        levels, radii = (np.array(stored[name], float) for name in ("levels", "radii"))
        ahead, stack = np.array(stored["ahead"], int), int(stored["points_per_token"])
        if radii.shape != (len(levels), len(ahead), len(COVERAGE)) or stack < 1:
            raise ValueError("radii")
        return cls(levels, ahead, radii, stack)


@dataclass(frozen=True)
class RegionTables(Record):
    """The tables of a planner, by where its plans start from.

    Attributes:
        way: for plans from the expected way with much noise
            (:data:`dfplan.planning.settings.MUCH_NOISE`), as pictures show them.
        noise: for plans from pure noise.
    """

    way: RegionTable
    noise: RegionTable

    def to_json(self) -> dict[str, Any]:
        """Return the tables as JSON; :meth:`from_json` is the inverse."""
        return {"way": self.way.to_json(), "noise": self.noise.to_json()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> RegionTables:
        """Inverse of :meth:`to_json`. Raises the errors of :meth:`RegionTable.from_json`."""
        way, noise = (RegionTable.from_json(stored[name]) for name in ("way", "noise"))
        return cls(way, noise)


def tokens_ahead(noise: np.ndarray, points_per_token: int) -> np.ndarray:
    """Tokens between each point's token and the last clean token before it, int [..., P], from 1.

    Args:
        noise: noise level of each point's token, float [..., P].
        points_per_token: points of a plan for each token. The first point, at the start, is a token
            of its own.
    """
    point = np.arange(noise.shape[-1])
    token = -(-point // points_per_token)
    last = np.maximum.accumulate(np.where(noise == 0, token, 0), axis=-1)
    return np.asarray((token - last).clip(min=1))


def fit_regions(
    noise: np.ndarray, ahead: np.ndarray, error: np.ndarray, points_per_token: int
) -> RegionTable:
    """Measure the radii of regions.

    Args:
        noise: noise levels of N tokens during denoising, as shares of pure noise, above 0; [N].
        ahead: of each, from :func:`tokens_ahead`; int [N].
        error: distance from its estimate at that time to its final place, in units of position,
            [N].
        points_per_token: points of a plan for each token.

    Raises:
        DataError: there are no tokens.
    """
    if not len(noise):
        raise DataError("Regions need noisy tokens of at least one plan; got none.")
    levels = np.unique(noise)
    radii = np.empty((len(levels), len(_AHEAD), len(COVERAGE)))
    for row, level in enumerate(levels):
        own = noise == level
        radii[row] = _quantiles(ahead[own], error[own])
    return RegionTable(levels, np.array(_AHEAD), radii, points_per_token)


def _quantiles(ahead: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The quantiles of each bin, [A, 2]; bins with few tokens are joined with their neighbors."""
    place = np.searchsorted(_AHEAD, ahead, side="right") - 1
    groups: list[list[int]] = [[]]
    for column in range(len(_AHEAD)):
        if np.isin(place, groups[-1]).sum() >= _FEWEST:
            groups.append([])
        groups[-1].append(column)
    if len(groups) > 1 and np.isin(place, groups[-1]).sum() < _FEWEST:
        groups[-2:] = [groups[-2] + groups[-1]]
    quantiles = np.empty((len(_AHEAD), len(COVERAGE)))
    for group in groups:
        chosen = error[np.isin(place, group)]
        quantiles[group] = np.quantile(chosen if len(chosen) else error, COVERAGE)
    return quantiles


def region_samples(
    plans: Sequence[tuple[np.ndarray, np.ndarray]], final: np.ndarray, points_per_token: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What :func:`fit_regions` needs, from the denoising of one plan.

    Args:
        plans: for each row of the denoising: noise level of each point's token as a share of pure
            noise, [P], and the estimated points [P, 2].
        final: points of the finished plan, up to its end, [Q, 2]; Q is at most P.
        points_per_token: points of a plan for each token.

    Returns:
        (noise, ahead, error), each [N], with one entry for each noisy token in each row.
    """
    parts = []
    tokens = np.arange(0, len(final), points_per_token)
    for noise, points in plans:
        ahead = tokens_ahead(noise, points_per_token)[tokens]
        error = np.linalg.norm(final - points[: len(final)], axis=1)[tokens]
        noisy = noise[tokens] > 0
        parts.append(np.stack([noise[tokens], ahead, error])[:, noisy])
    noise, ahead, error = np.concatenate(parts, 1)
    return noise, ahead.astype(int), error
