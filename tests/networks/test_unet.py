from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.networks.unet import TemporalUnet


def unet(
    width: int = 8,
    multiples: tuple[int, ...] = (1, 2, 4),
    seed: int = 0,
    level_per_token: bool = False,
) -> TemporalUnet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TemporalUnet(6, 16, width, multiples, level_per_token=level_per_token)


def inputs(batch: int, tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, 6, generator=generator)
    return x, torch.randint(0, 17, (batch, tokens), generator=generator)


@pytest.mark.parametrize("tokens", [128, 256, 384])
def test_shape_at_diffusers_horizons(tokens: int) -> None:
    x, level = inputs(2, tokens)
    assert unet()(x, level).shape == x.shape


def test_size_is_that_of_the_published_network() -> None:
    network = TemporalUnet(6, max_level=256)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_682_118


def test_gradient_reaches_every_parameter() -> None:
    network = unet()
    network(*inputs(2, 16)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("level_per_token", [False, True])
def test_batch_rows_are_independent(level_per_token: bool) -> None:
    network = unet(level_per_token=level_per_token).eval()
    x, level = inputs(4, 16)
    with torch.no_grad():
        together = network(x, level)
        alone = torch.cat([network(x[i : i + 1], level[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_it_depends_only_on_the_highest_level() -> None:
    network = unet().eval()
    x, _ = inputs(1, 16)
    common = torch.full((1, 16), 9)
    known = common.clone()
    known[:, [0, -1]] = 0
    with torch.no_grad():
        torch.testing.assert_close(network(x, known), network(x, common), atol=0.0, rtol=0.0)
        assert not torch.allclose(network(x, common + 1), network(x, common))


@pytest.mark.parametrize("tokens", [1, 2, 130])
def test_tokens_that_do_not_halve_are_refused(tokens: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        unet()(*inputs(1, tokens))


@torch.no_grad()
def test_a_common_level_gives_the_same_prediction_in_both_modes() -> None:
    x, common = inputs(1, 16)[0].expand(17, -1, -1), torch.arange(17)[:, None].expand(-1, 16)
    highest, each = unet()(x, common), unet(level_per_token=True)(x, common)
    torch.testing.assert_close(each, highest, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("token", range(16))
def test_each_token_can_have_its_own_level(token: int) -> None:
    network = unet(level_per_token=True)
    x, level = inputs(2, 16)
    other = level.clone()
    other[:, token] = (other[:, token] + 5) % 17
    change = (network(x, other) - network(x, level)).abs().amax((0, 2))
    assert (change > 0).all(), "it influences all tokens"
    assert change[token] > 1e-3


@torch.no_grad()
def test_known_tokens_have_most_influence_nearby() -> None:
    network = unet(level_per_token=True)
    x, level = inputs(1, 64)[0], torch.full((1, 64), 16)
    plain, place = network(x, level), []
    for token in (8, 32, 56):
        known = level.clone()
        known[:, token] = 0
        place.append(int((network(x, known) - plain).abs().amax(-1).argmax()) - token)
    assert max(map(abs, place)) <= 8


@torch.no_grad()
def test_coarse_tokens_get_the_mean_of_the_embedded_levels() -> None:
    network, seen = unet(level_per_token=True), []
    for stage in (*network.down, network.middle, *network.up):
        stage.register_forward_hook(lambda stage, given, made: seen.append(given[1]))
    x, level = inputs(2, 16)
    network(x, level)
    embedded = network.level_embedding(network.level_features[level])
    assert len(seen) == 6
    for found, merged in zip(seen, (1, 2, 4, 4, 4, 2), strict=True):
        means = torch.stack([part.mean(1) for part in embedded.split(merged, dim=1)], 1)
        torch.testing.assert_close(found, means, atol=1e-6, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("tokens", range(1, 14))
def test_other_lengths_equal_padding_with_pure_noise(tokens: int) -> None:
    network = unet(level_per_token=True)
    x, level = inputs(2, tokens)
    whole = -(-tokens // network.stride) * network.stride
    padded, padded_level = torch.zeros(2, whole, 6), torch.full((2, whole), 16)
    padded[:, :tokens], padded_level[:, :tokens] = x, level
    assert torch.equal(network(x, level), network(padded, padded_level)[:, :tokens])


def test_both_modes_have_the_same_weights() -> None:
    each = unet(level_per_token=True)
    each.load_state_dict(unet(seed=1).state_dict())
    assert all(map(torch.equal, each.parameters(), unet(seed=1).parameters()))


@pytest.mark.parametrize(
    ("width", "multiples", "message"),
    [
        (12, (1, 2), "width that is a multiple of 8"),
        (0, (1, 2), "width must be a whole number, at least 1.*; got 0"),
        (8, (1,), "at least 2 multiples"),
        (8, (0, 1), "multiple 0 must be a whole number, at least 1.*; got 0"),
    ],
)
def test_wrong_sizes_are_refused(width: int, multiples: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        unet(width, multiples)
