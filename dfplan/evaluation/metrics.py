"""What is counted: normalized scores, latched scores, successes, intervals, paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from dfplan.errors import ConfigError
from dfplan.evaluation.protocols import Task


@dataclass(frozen=True)
class Estimate:
    """A mean over episodes.

    Attributes:
        mean: the sample mean.
        ci95: half of its 95% interval, by Student's t; None for a single episode.
        n: number of episodes.
    """

    mean: float
    ci95: float | None
    n: int


@dataclass(frozen=True)
class Score:
    """One method on one task.

    Attributes:
        score: normalized by the true sum of rewards.
        latched: the same with every step after the first paid one counted as paid. Some papers
            report this; it is never lower than ``score``.
        success_any: share of episodes with a paid step.
        success_last: share of episodes whose last step is paid.
        steps_to_touch: mean number of the first paid step, counted from 1, over the episodes
            that have one; None if none has.
        share_of_bound: mean score over the mean score of the upper bound.
    """

    score: Estimate
    latched: Estimate
    success_any: float
    success_last: float
    steps_to_touch: float | None
    share_of_bound: float


def normalized(task: Task, returns: np.ndarray) -> np.ndarray:
    """D4RL's score, ``100 (R - min) / (max - min)``, of each return."""
    score = 100.0 * (returns - task.min_return) / (task.max_return - task.min_return)
    return np.asarray(score)


def first_touch(rewards: np.ndarray) -> np.ndarray:
    """The first paid step of each row of ``rewards`` [n, T], from 1; T + 1 where there is none."""
    paid = rewards > 0
    return np.asarray(np.where(paid.any(axis=1), paid.argmax(axis=1), paid.shape[1]) + 1)


def latched_returns(rewards: np.ndarray) -> np.ndarray:
    """Returns of ``rewards`` [n, T] with every step from the first paid one on counted; [n]."""
    return np.asarray(rewards.shape[1] + 1.0 - first_touch(rewards))


def estimate(values: np.ndarray) -> Estimate:
    """The mean of ``values`` [n], one an episode, with its 95% t interval.

    Raises:
        ConfigError: there are no values.
    """
    n = len(values)
    if n < 1:
        raise ConfigError("An estimate needs at least one episode; got none.")
    if n == 1:
        return Estimate(mean=float(values[0]), ci95=None, n=1)
    ci95 = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Estimate(mean=float(values.mean()), ci95=float(ci95), n=n)


def paired_difference(values: np.ndarray, reference: np.ndarray) -> Estimate:
    """Mean of ``values - reference``, both [n] on the same problems in the same order.

    Raises:
        ConfigError: the two have different lengths.
    """
    if len(values) != len(reference):
        raise ConfigError(
            "A paired difference needs both methods on the same problems; got "
            f"{len(values)} and {len(reference)} episodes. Run both on one set."
        )
    return estimate(values - reference)


def summarize(task: Task, rewards: np.ndarray, bounds: np.ndarray) -> Score:
    """Everything that is counted.

    Args:
        task: whose reference returns scale the score.
        rewards: reward of every step, [n, T].
        bounds: the most that could be paid on each problem, [n].
    """
    touch = first_touch(rewards)
    touched = touch <= rewards.shape[1]
    score = estimate(normalized(task, rewards.sum(axis=1)))
    return Score(
        score=score,
        latched=estimate(normalized(task, latched_returns(rewards))),
        success_any=float(touched.mean()),
        success_last=float((rewards[:, -1] > 0).mean()),
        steps_to_touch=float(touch[touched].mean()) if touched.any() else None,
        share_of_bound=score.mean / float(normalized(task, bounds).mean()),
    )
