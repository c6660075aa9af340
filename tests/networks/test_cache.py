"""Causal networks and their caches: a call with a cache equals a call with the whole sequence."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from dfplan.errors import ConfigError
from dfplan.networks.cache import RecomputedCache
from dfplan.networks.gru import GRU, GRUCache
from dfplan.networks.transformer import Transformer
from dfplan.networks.unet import TemporalUnet

FEATURES, K, WIDTH, LAYERS, WINDOW = 3, 10, 16, 2, 4
REACH = LAYERS * (WINDOW - 1)
"""How many earlier tokens influence a token through a window."""


def transformer(**options: object) -> Transformer:
    return Transformer(FEATURES, K, WIDTH, LAYERS, 2, **options)  # type: ignore[arg-type]


MAKERS = {
    "causal": lambda: transformer(causal=True),
    "window": lambda: transformer(causal=True, window=WINDOW),
    "wide": lambda: transformer(causal=True, window=5 * WINDOW),
    "gru": lambda: GRU(FEATURES, K, WIDTH, LAYERS),
}
NOT_CAUSAL = {
    "transformer": transformer,
    "unet": lambda: TemporalUnet(FEATURES, K, 8, (1, 2), level_per_token=True),
}


def random(network: nn.Module) -> nn.Module:
    """With random weights everywhere; a new network predicts 0 for any input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture(params=MAKERS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return random(MAKERS[request.param]())


def drawn(batch: int, tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, FEATURES, generator=generator)
    return x, torch.randint(0, K + 1, (batch, tokens), generator=generator)


def in_parts(network, x, level, cuts):  # type: ignore[no-untyped-def]
    """The predictions for all parts, and the final cache."""
    cache, predicted = None, []
    for first, last in itertools.pairwise([0, *cuts, x.shape[1]]):
        predicted.append(network(x[:, first:last], level[:, first:last], cache))
        cache = network.update_cache(x[:, first:last], level[:, first:last], cache)
    return torch.cat(predicted, 1), cache


def tensors(cache: object) -> list[torch.Tensor]:
    """The part of a cache that depends on the tokens."""
    if isinstance(cache, GRUCache):
        return [cache.z]
    return [tensor for layer in cache.layers for tensor in layer]  # type: ignore[attr-defined]


def numbers(cache: object) -> int:
    """How many numbers those keep in memory."""
    return sum(t.untyped_storage().nbytes() // t.element_size() for t in tensors(cache))


@pytest.mark.parametrize("token", range(9))
def test_causal_networks_do_not_depend_on_later_tokens(network: nn.Module, token: int) -> None:
    x, level = drawn(2, 9)
    before = network(x, level)
    other_x, other_level = x.clone(), level.clone()
    other_x[:, token:] += 1
    other_level[:, token:] = (other_level[:, token:] + 3) % (K + 1)
    for after in (network(other_x, level), network(x, other_level)):
        torch.testing.assert_close(after[:, :token], before[:, :token], atol=1e-6, rtol=1e-6)
        assert (after[:, token] != before[:, token]).any(-1).all(), "its own value or level"
        later = slice(token + 1, token + WINDOW)
        assert (after[:, later] != before[:, later]).any(-1).all(), "and those that follow"


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_other_networks_depend_on_later_tokens(name: str) -> None:
    network = random(NOT_CAUSAL[name]())
    x, level = drawn(2, 8)
    other_x, other_level = x.clone(), level.clone()
    other_x[:, -1] += 1
    other_level[:, -1] = (other_level[:, -1] + 3) % (K + 1)
    assert (network(other_x, level) != network(x, level)).any(-1).all()
    assert (network(x, other_level) != network(x, level)).any(-1).all()


def test_rows_are_independent(network: nn.Module) -> None:
    x, level = drawn(5, 8)
    together = network(x, level)
    alone = torch.cat([network(x[row : row + 1], level[row : row + 1]) for row in range(5)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 31, 200])
def test_any_length(network: nn.Module, tokens: int) -> None:
    prediction = network(*drawn(2, tokens))
    assert prediction.shape == (2, tokens, FEATURES)
    assert torch.isfinite(prediction).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_a_cache_replaces_the_sequence_for_every_split(network: nn.Module, parts: int) -> None:
    x, level = drawn(2, 12)
    whole = network(x, level)
    for cuts in itertools.combinations(range(1, 12), parts - 1):
        predicted, _ = in_parts(network, x, level, cuts)
        torch.testing.assert_close(predicted, whole, atol=1e-5, rtol=1e-5)


def test_a_cache_replaces_the_sequence_token_by_token(network: nn.Module) -> None:
    x, level = drawn(2, 60)
    predicted, cache = in_parts(network, x, level, range(1, 60))
    torch.testing.assert_close(predicted, network(x, level), atol=1e-5, rtol=1e-5)
    at_once = network.update_cache(x, level)
    torch.testing.assert_close(tensors(cache), tensors(at_once), atol=1e-5, rtol=1e-5)


def test_updating_a_cache_does_not_change_it(network: nn.Module) -> None:
    x, level = drawn(2, 9)
    cache = network.update_cache(x[:, :6], level[:, :6])
    new = x[:, 6:], level[:, 6:]
    first = network(*new, cache)
    network.update_cache(*new, cache)
    assert torch.equal(network(*new, cache), first)


def test_the_level_of_cached_tokens_matters(network: nn.Module) -> None:
    x, level = drawn(2, 5)
    predicted = [
        network(
            x[:, 4:], level[:, 4:], network.update_cache(x[:, :4], torch.full((2, 4), cached_level))
        )
        for cached_level in (0, 1)
    ]
    assert (predicted[0] != predicted[1]).any(-1).all()


@pytest.mark.parametrize("name", [*MAKERS, *NOT_CAUSAL])
def test_recomputed_cache_works_for_any_network(name: str) -> None:
    """Predictions for new tokens equal those at the end of the sequence so far."""
    network = random({**MAKERS, **NOT_CAUSAL}[name]())
    x, level = drawn(2, 12)
    predicted, cache = in_parts(RecomputedCache(network), x, level, (3, 4, 9))
    assert torch.equal(cache[0], x) and torch.equal(cache[1], level)
    for first, last in itertools.pairwise((0, 3, 4, 9, 12)):
        expected = network(x[:, :last], level[:, :last])[:, first:]
        torch.testing.assert_close(predicted[:, first:last], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["causal", "window", "wide"])
@pytest.mark.parametrize("before", [0, 2])
def test_parallel_teacher_forcing_equals_one_token_at_a_time(name: str, before: int) -> None:
    network = random(MAKERS[name]())
    x, level = drawn(2, 12)
    clean, earlier = drawn(2, 12, seed=1)[0], drawn(2, 2, seed=2)
    cache = network.update_cache(*earlier) if before else None
    together = network(x, level, cache, clean=clean)
    for t in range(12):
        past = clean[:, :t], torch.zeros(2, t).long()
        known = network.update_cache(*past, cache) if t else cache
        alone = network(x[:, t : t + 1], level[:, t : t + 1], known)
        torch.testing.assert_close(together[:, t : t + 1], alone, atol=1e-5, rtol=1e-5)


def test_gradient_reaches_the_clean_tokens() -> None:
    network = random(MAKERS["causal"]()).requires_grad_(True)
    x, level = drawn(1, 5)
    clean = x.clone().requires_grad_()
    network(x, level, clean=clean)[:, 3].sum().backward()
    assert (clean.grad[:, :3] != 0).all() and (clean.grad[:, 3:] == 0).all()  # type: ignore[index]


@pytest.mark.parametrize("name", MAKERS)
def test_recomputing_the_tokens_within_reach_is_enough(name: str) -> None:
    network = random(MAKERS[name]())
    x, level = drawn(2, 40)
    whole = network(x, level)
    predicted, cache = in_parts(RecomputedCache(network, REACH), x, level, range(1, 40))
    assert torch.equal(cache[0], x[:, -REACH:]) and torch.equal(cache[1], level[:, -REACH:])
    if name == "window":
        torch.testing.assert_close(predicted, whole, atol=1e-5, rtol=1e-5)
    else:
        assert (predicted[:, REACH + 1 :] != whole[:, REACH + 1 :]).any(-1).all()
    alone, nothing = in_parts(RecomputedCache(network, 0), x, level, (1, 7))
    assert nothing[0].shape[1] == 0
    torch.testing.assert_close(alone[:, 1:7], network(x[:, 1:7], level[:, 1:7]))


def test_tokens_beyond_the_window_have_no_influence() -> None:
    network = random(MAKERS["window"]())
    x, level = drawn(2, 30)
    last = network(x, level)[:, -1]
    far, near = x.clone(), x.clone()
    far[:, : 29 - REACH] += 100
    near[:, 29 - REACH] += 1
    torch.testing.assert_close(network(far, level)[:, -1], last, atol=1e-6, rtol=1e-6)
    assert (network(near, level)[:, -1] != last).any(-1).all()


@pytest.mark.parametrize(("window", "tokens"), [(12, 12), (50, 12), (12, 13)])
def test_a_window_over_the_whole_sequence_changes_nothing(window: int, tokens: int) -> None:
    x, level = drawn(2, tokens)
    whole = random(transformer(causal=True))(x, level)
    predicted = random(transformer(causal=True, window=window))(x, level)
    torch.testing.assert_close(predicted[:, :window], whole[:, :window], atol=1e-6, rtol=1e-6)
    assert (predicted[:, window:] != whole[:, window:]).any(-1).all()


def test_a_window_of_one_token_sees_only_itself() -> None:
    network = random(transformer(causal=True, window=1))
    x, level = drawn(2, 6)
    predicted, cache = in_parts(network, x, level, (1, 4))
    alone = torch.cat([network(x[:, t : t + 1], level[:, t : t + 1]) for t in range(6)], 1)
    torch.testing.assert_close(predicted, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(x, level), alone, atol=1e-5, rtol=1e-5)
    assert numbers(cache) == 0


@pytest.mark.parametrize("name", ["window", "gru"])
def test_the_size_of_a_cache_does_not_grow(name: str) -> None:
    network = random(MAKERS[name]())
    x, level = drawn(1, 1000)
    cache = network.update_cache(x[:, :20], level[:, :20])
    size = numbers(cache)
    assert size == LAYERS * WIDTH * (2 * (WINDOW - 1) if name == "window" else 1)
    for first in range(20, 999, 11):
        new = slice(first, first + 11)
        cache = network.update_cache(x[:, new], level[:, new], cache)
        assert numbers(cache) == size
    reach = 999 if name == "gru" else REACH
    expected = network(x[:, 999 - reach :], level[:, 999 - reach :])[:, -1:]
    predicted = network(x[:, 999:], level[:, 999:], cache)
    torch.testing.assert_close(predicted, expected, atol=1e-5, rtol=1e-5)


def test_a_network_that_is_not_causal_has_no_cache() -> None:
    network = transformer()
    x, level = drawn(1, 3)
    with pytest.raises(ConfigError, match="not causal"):
        network.update_cache(x, level)
    with pytest.raises(ConfigError, match="not causal"):
        network(x, level, transformer(causal=True).update_cache(x, level))
    with pytest.raises(ConfigError, match="not causal"):
        network(x, level, clean=x)


@pytest.mark.parametrize(
    ("window", "causal", "message"),
    [
        (0, True, "window .*0"),
        (1.5, True, "window .*1.5"),
        (4, False, "causal=True"),
    ],
)
def test_wrong_windows_are_refused(window: int, causal: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transformer(causal=causal, window=window)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("wrong", [-1, K + 1])
def test_levels_out_of_range_are_refused(name: str, wrong: int) -> None:
    network = MAKERS[name]()
    x, level = drawn(2, 4)
    level[1, 2] = wrong
    with pytest.raises(ConfigError, match=f"{K}.*{wrong}"):
        network(x, level)


def test_causality_changes_no_weights() -> None:
    torch.manual_seed(0)
    plain = transformer().state_dict()
    torch.manual_seed(0)
    causal = transformer(causal=True, window=3).state_dict()
    assert list(plain) == list(causal)
    assert all(torch.equal(plain[name], causal[name]) for name in plain)
