from __future__ import annotations

import pytest
import torch

from dfplan.diffusion.schedules import interpolation_schedule
from dfplan.networks.cache import RecomputedCache
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.replacement import replaced
from dfplan.sampling.rollout import rollout
from dfplan.sampling.steps import ancestral, ddim

K = 20
SCHEDULE = interpolation_schedule(K)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recorder:
    """A denoiser that records its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        self.calls.append((x, level))
        return torch.sin(x + 1)


@pytest.mark.parametrize("common", [1, 7, K])
def test_known_tokens_are_shown_at_the_level_of_the_others(common: int) -> None:
    x = torch.randn(20_000, 5, 2, generator=generator(1))
    level = torch.tensor([0, 0, common, common, 0]).expand(len(x), -1)
    before = x.clone(), level.clone()
    recorder = Recorder()
    estimate = replaced(recorder, SCHEDULE, generator())(x, level)
    ((shown, shown_level),) = recorder.calls
    known = level == 0
    assert (shown_level == common).all()
    assert torch.equal(shown[~known], x[~known]), "noisy tokens stay unchanged"
    noise = shown[known] - SCHEDULE.alpha[common] * x[known]
    assert noise.std() == pytest.approx(float(SCHEDULE.sigma[common]), rel=0.02)
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), x[known].flatten()]))[0, 1]) < 0.02
    assert torch.equal(estimate[known], x[known]), "and what is known is known"
    assert torch.equal(estimate[~known], torch.sin(shown + 1)[~known])
    assert torch.equal(x, before[0]) and torch.equal(level, before[1])


def test_each_sequence_has_its_own_level() -> None:
    x = torch.zeros(2, 3, 1)
    level = torch.tensor([[0, 4, 4], [9, 0, 9]])
    recorder = Recorder()
    replaced(recorder, SCHEDULE, generator())(x, level)
    assert torch.equal(recorder.calls[0][1], torch.tensor([[4] * 3, [9] * 3]))


def test_rollouts_show_the_window_at_one_level_with_new_noise() -> None:
    recorder = Recorder()
    matrix = scheduling_matrix("full_sequence", 3, K, 4)
    noise = generator()
    denoiser = RecomputedCache(replaced(recorder, SCHEDULE, noise), tokens=4)
    done = rollout(
        denoiser,
        torch.ones(2, 1, 2),
        torch.zeros(2, 1).long(),
        9,
        matrix,
        step=ddim(SCHEDULE),
        generator=noise,
    )
    assert done.shape == (2, 9, 2)
    assert [x.shape[1] for x, _ in recorder.calls] == [4] * 4 + [7] * 8
    for index, (_, level) in enumerate(recorder.calls):
        assert (level == matrix[index % 4, 0]).all()
    shown = [x[:, 0] for x, _ in recorder.calls]
    assert len({tuple(x.flatten().tolist()) for x in shown}) == len(shown)


def test_a_joint_of_two_tokens_is_sampled_given_one() -> None:
    """Normal tokens with correlation r: the second is pulled toward r times the first, though
    not all the way there, as arXiv 2204.03458 says of replacement."""
    schedule, r = interpolation_schedule(64), 0.9
    covariance = torch.tensor([[1.0, r], [r, 1.0]])

    def optimal(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        alpha, sigma = schedule.alpha[level[0, 0]], schedule.sigma[level[0, 0]]
        noisy = alpha**2 * covariance + sigma**2 * torch.eye(2)
        return (x[..., 0] @ (alpha * covariance @ noisy.inverse()).T)[..., None]

    noise = generator()
    done = rollout(
        RecomputedCache(replaced(optimal, schedule, noise)),
        torch.full((5000, 1, 1), 2.0),
        torch.zeros(5000, 1).long(),
        1,
        scheduling_matrix("full_sequence", 1, 64, 64),
        step=ancestral(schedule),
        generator=noise,
    )[..., 0]
    assert 0.6 * 2 * r < done.mean() < 0.9 * 2 * r
    assert (1 - r**2) ** 0.5 < done.std() < 0.7
