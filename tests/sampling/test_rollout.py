from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dfplan.diffusion.schedules import cosine_schedule, interpolation_schedule
from dfplan.diffusion.targets import FLOW, X0
from dfplan.errors import ConfigError
from dfplan.networks.cache import RecomputedCache
from dfplan.networks.gru import GRU
from dfplan.networks.transformer import Transformer
from dfplan.networks.unet import TemporalUnet
from dfplan.sampling.denoiser import NetworkDenoiser
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import FREE, hold, scheduling_matrix
from dfplan.sampling.rollout import rollout
from dfplan.sampling.steps import ancestral, ddim, second_order

BATCH, FEATURES, K = 3, 2, 12
SCHEDULE = interpolation_schedule(K)
ONE_BY_ONE = scheduling_matrix("full_sequence", 1, K, 4)
CHUNKS = {
    "one": ONE_BY_ONE,
    "three": scheduling_matrix("full_sequence", 3, K, 4),
    "pyramid": scheduling_matrix("pyramid", 3, K, 4),
}
NETWORKS = {
    "causal": lambda: Transformer(FEATURES, K, 16, 2, 2, causal=True),
    "window": lambda: Transformer(FEATURES, K, 16, 2, 2, causal=True, window=3),
    "gru": lambda: GRU(FEATURES, K, 16, 2),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """With random weights; an untrained network would return 0."""
    made = NETWORKS[request.param]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.2)
    return made.eval().requires_grad_(False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, T, D] and levels [B, T], most of them clean."""
    x = torch.randn(BATCH, tokens, FEATURES, generator=generator(9))
    level = torch.randint(-2, 3, (BATCH, tokens), generator=generator(9)).clamp_min(0)
    return x, level


class Recorder:
    """Its cache is the number of tokens, and it records what it is called with."""

    def __init__(self) -> None:
        self.asked: list[tuple[torch.Tensor, int]] = []
        self.calls: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def __call__(self, x, level, cache=None):  # type: ignore[no-untyped-def]
        self.asked.append((level, cache or 0))
        return torch.sin(x + 1)

    def update_cache(self, x, level, cache=None):  # type: ignore[no-untyped-def]
        self.calls.append((x, level, cache or 0))
        return (cache or 0) + x.shape[1]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("step", [ddim, ancestral, second_order])
@pytest.mark.parametrize("conditioning_level", [0, 2])
def test_the_cache_gives_the_same_as_the_whole_sequence(  # type: ignore[no-untyped-def]
    network: nn.Module, chunk: str, step, conditioning_level: int
) -> None:
    done, recomputed = (
        rollout(
            NetworkDenoiser(shown, FLOW, SCHEDULE),
            *context(),
            8,
            CHUNKS[chunk],
            step=step(SCHEDULE),
            generator=generator(),
            conditioning_level=conditioning_level,
        )
        for shown in (network, RecomputedCache(network))
    )
    assert done.shape == (BATCH, 8, FEATURES)
    torch.testing.assert_close(done, recomputed, atol=1e-4, rtol=1e-4)


def test_one_token_at_a_time_is_the_autoregressive_matrix(network: nn.Module) -> None:
    """As the sampling loop over all tokens at once, where later tokens are pure noise."""
    x, level = context()
    denoiser = NetworkDenoiser(network, FLOW, SCHEDULE)
    done = rollout(denoiser, x, level, 6, ONE_BY_ONE, step=ddim(SCHEDULE), generator=generator())
    noise = generator()
    starts = [torch.randn(BATCH, 1, FEATURES, generator=noise) for _ in range(6)]
    held = torch.cat([level, torch.full((BATCH, 6), FREE)], 1)
    matrix = hold(scheduling_matrix("autoregressive", 6, K, 4), held)
    whole = sample(
        denoiser, torch.cat([x, *starts], 1), matrix, step=ddim(SCHEDULE), generator=generator()
    )
    torch.testing.assert_close(done, whole[:, 5:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("tokens", [1, 3, 7])
def test_the_network_sees_each_token_a_fixed_number_of_times(chunk: str, tokens: int) -> None:
    recorder, matrix = Recorder(), CHUNKS[chunk]
    done = rollout(
        recorder,
        *context(),
        tokens,
        matrix,
        step=ddim(SCHEDULE),
        generator=generator(),
        conditioning_level=1,
    )
    width, rows = matrix.shape[1], len(matrix) - 1
    chunks = math.ceil(tokens / width)
    assert done.shape[1] == tokens
    assert [cache for _, cache in recorder.asked] == [
        5 + width * index for index in range(chunks) for _ in range(rows)
    ]
    for index, (level, _) in enumerate(recorder.asked):
        assert torch.equal(level, matrix[index % rows].expand(BATCH, -1))
    (x, level, before), *later = recorder.calls
    assert torch.equal(x, context()[0]) and torch.equal(level, context()[1]) and before == 0
    assert len(later) == chunks - 1, "the last chunk need not be remembered"
    for index, (x, level, before) in enumerate(later):
        assert torch.equal(x, done[:, width * index : width * (index + 1)])
        assert (level == 1).all() and before == 5 + width * index


def test_without_a_context_there_is_no_cache_at_first() -> None:
    recorder = Recorder()
    done = rollout(recorder, *context(0), 2, ONE_BY_ONE, step=ddim(SCHEDULE), generator=generator())
    assert done.shape == (BATCH, 2, FEATURES)
    assert [cache for _, cache in recorder.asked] == [0] * 4 + [1] * 4
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("step", [ddim, ancestral])
def test_a_longer_rollout_starts_with_a_shorter_one(network: nn.Module, chunk: str, step) -> None:  # type: ignore[no-untyped-def]
    longer, shorter = (
        rollout(
            NetworkDenoiser(network, FLOW, SCHEDULE),
            *context(),
            tokens,
            CHUNKS[chunk],
            step=step(SCHEDULE),
            generator=generator(),
        )
        for tokens in (10, 4)
    )
    assert torch.equal(longer[:, :4], shorter)


@pytest.mark.parametrize("row", range(BATCH))
def test_rows_are_independent(network: nn.Module, row: int) -> None:
    denoiser = NetworkDenoiser(network, FLOW, SCHEDULE)
    x, level = context()
    other = x + 1
    other[row] = x[row]
    first, second = (
        rollout(denoiser, given, level, 5, ONE_BY_ONE, step=ddim(SCHEDULE), generator=generator())
        for given in (x, other)
    )
    torch.testing.assert_close(first[row], second[row], atol=1e-6, rtol=1e-6)
    rest = torch.arange(BATCH) != row
    assert (first[rest] != second[rest]).any(-1).all()


def test_all_randomness_comes_from_the_generator(network: nn.Module) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        rollout(
            NetworkDenoiser(network, FLOW, SCHEDULE),
            *context(),
            4,
            ONE_BY_ONE,
            step=ancestral(SCHEDULE),
            generator=generator(seed),
        )
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


class Wanderer:
    """The optimal denoiser of ``x[t+1] = 0.8 x[t] + normal(0, 0.6)``; its cache is the last token.

    A token that was remembered at a level is taken for a noisy one, so what follows is uncertain
    by more than the process alone makes it.
    """

    schedule = cosine_schedule(256)

    def __call__(self, x, level, cache):  # type: ignore[no-untyped-def]
        mean, variance = cache
        mean, variance = 0.8 * mean, 0.64 * variance + 0.36
        alpha, sigma = (
            share[level][..., None] for share in (self.schedule.alpha, self.schedule.sigma)
        )
        gain = alpha * variance / (alpha.square() * variance + sigma.square())
        return mean + gain * (x - alpha * mean)

    def update_cache(self, x, level, cache=None):  # type: ignore[no-untyped-def]
        """Mean and variance of the last token given itself and its level, a priori normal(0, 1)."""
        alpha, sigma = (
            share[level[:, -1:]][..., None] for share in (self.schedule.alpha, self.schedule.sigma)
        )
        whole = alpha.square() + sigma.square()
        return alpha * x[:, -1:] / whole, sigma.square() / whole


@pytest.mark.parametrize("conditioning_level", [0, 80])
def test_a_process_with_an_optimal_denoiser_is_sampled(conditioning_level: int) -> None:
    """With level 0 the process itself; with others ``E[x | noisy x]`` replaces x."""
    wanderer = Wanderer()
    rows = 20_000
    done = rollout(
        wanderer,
        torch.full((rows, 1, 1), 2.0),
        torch.zeros(rows, 1).long(),
        5,
        scheduling_matrix("full_sequence", 1, 256, 64),
        step=second_order(wanderer.schedule),
        generator=generator(),
        conditioning_level=conditioning_level,
    )[..., 0].double()
    alpha, sigma = (
        float(share[conditioning_level])
        for share in (wanderer.schedule.alpha, wanderer.schedule.sigma)
    )
    mean, covariance, slope, fresh = [1.6], torch.zeros(5, 5).double(), 0.8, 0.36
    covariance[0, 0] = fresh
    slope, fresh = 0.8 * alpha, 0.64 * sigma**2 + 0.36
    for token in range(1, 5):
        mean.append(slope * mean[-1])
        covariance[token, :token] = covariance[:token, token] = (
            slope * covariance[token - 1, :token]
        )
        covariance[token, token] = slope**2 * covariance[token - 1, token - 1] + fresh
    torch.testing.assert_close(done.mean(0), torch.tensor(mean).double(), atol=0.03, rtol=0.0)
    torch.testing.assert_close(torch.cov(done.T), covariance, atol=0.04, rtol=0.0)


@pytest.mark.parametrize("target", [FLOW, X0])
def test_clean_estimates_are_those_of_the_target(network: nn.Module, target) -> None:  # type: ignore[no-untyped-def]
    denoiser = NetworkDenoiser(network, target, SCHEDULE)
    x, level = context()
    cache = denoiser.update_cache(x[:, :3], level[:, :3])
    for new, noise, before in ((x, level, None), (x[:, 3:], level[:, 3:], cache)):
        expected = target.to_clean(new, network(new, noise, before), noise, SCHEDULE)
        clean = denoiser(new, noise, before)
        assert torch.equal(clean, expected)
        torch.testing.assert_close(clean[noise == 0], new[noise == 0], atol=0.0, rtol=0.0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: lambda x, level: x, "cache.* got function.*RecomputedCache"),
        (
            lambda: NetworkDenoiser(TemporalUnet(FEATURES, K, 8, (1, 2)), FLOW, SCHEDULE),
            "got TemporalUnet.*RecomputedCache",
        ),
        (
            lambda: NetworkDenoiser(Transformer(FEATURES, K, 16, 2, 2), FLOW, SCHEDULE),
            "not causal.*RecomputedCache",
        ),
    ],
)
def test_denoisers_without_a_cache_are_errors(made, message: str) -> None:  # type: ignore[no-untyped-def]
    noise = generator()
    with pytest.raises(ConfigError, match=message):
        rollout(made(), *context(), 2, ONE_BY_ONE, step=ddim(SCHEDULE), generator=noise)


def test_recomputed_cache_works_with_any_denoiser() -> None:
    network = Transformer(FEATURES, K, 16, 2, 2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator())
    denoiser = NetworkDenoiser(network.requires_grad_(False), FLOW, SCHEDULE)
    steps = {"step": ddim(SCHEDULE), "generator": generator()}
    done = rollout(RecomputedCache(denoiser), *context(), 2, ONE_BY_ONE, **steps)  # type: ignore[arg-type]
    x, level = context()
    noise = generator()
    for token in range(2):
        x = torch.cat([x, torch.randn(BATCH, 1, FEATURES, generator=noise)], 1)
        level = torch.cat([level, torch.full((BATCH, 1), FREE)], 1)
        matrix = hold(ONE_BY_ONE, level)
        x = sample(denoiser, x, matrix, step=ddim(SCHEDULE), generator=noise)
        level = torch.cat([level[:, :-1], torch.zeros(BATCH, 1).long()], 1)
        torch.testing.assert_close(done[:, : token + 1], x[:, 5:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": torch.zeros(BATCH, 4).long()}, r"got \[3, 5, 2\], \[3, 4\] and 2"),
        ({"context": torch.zeros(5, FEATURES)}, r"got \[5, 2\]"),
        ({"tokens": 0}, "got .* and 0"),
        ({"matrix": torch.tensor([[K, 6], [0, 0]])}, r"first row \[12, 6\]"),
        ({"matrix": torch.tensor([[K], [6]])}, "must reach level 0"),
        ({"matrix": torch.zeros(2, 1).long()}, "must change"),
        ({"conditioning_level": K}, "conditioning_level 12"),
        ({"conditioning_level": -1}, "conditioning_level -1"),
    ],
)
def test_invalid_rollouts_are_errors(change: dict[str, object], message: str) -> None:
    given = dict(zip(("context", "level"), context(), strict=True))
    whole = {**given, "tokens": 2, "matrix": ONE_BY_ONE, **change}
    with pytest.raises(ConfigError, match=message):
        rollout(Recorder(), **whole, step=ddim(SCHEDULE), generator=generator())  # type: ignore[arg-type]
