from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.networks.unet import TemporalUnet


def unet(width: int = 8, multiples: tuple[int, ...] = (1, 2, 4), seed: int = 0) -> TemporalUnet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TemporalUnet(6, max_level=16, width=width, multiples=multiples)


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


def test_batch_rows_are_independent() -> None:
    network = unet().eval()
    x, level = inputs(4, 16)
    with torch.no_grad():
        together = network(x, level)
        alone = torch.cat([network(x[i : i + 1], level[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_it_is_told_the_highest_level_alone() -> None:
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
    with pytest.raises(ConfigError, match="multiples of 4"):
        unet()(*inputs(1, tokens))


@pytest.mark.parametrize(
    ("width", "multiples"), [(12, (1, 2)), (0, (1, 2)), (8, (1,)), (8, (0, 1))]
)
def test_bad_sizes_are_refused(width: int, multiples: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        unet(width, multiples)
