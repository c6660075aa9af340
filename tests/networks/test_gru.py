from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.networks.gru import GRU
from dfplan.networks.transformer import Transformer

FEATURES, K, WIDTH = 4, 10, 16


@pytest.fixture
def network() -> GRU:
    """With random weights everywhere; a new network predicts 0 for any input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = GRU(FEATURES, K, WIDTH, layers=2)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def drawn(batch: int, tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, FEATURES, generator=generator)
    return x, torch.randint(0, K + 1, (batch, tokens), generator=generator)


@pytest.mark.parametrize("features", [1, 6])
@pytest.mark.parametrize(("width", "layers"), [(2, 1), (24, 3)])
def test_any_size_is_built(features: int, width: int, layers: int) -> None:
    made = GRU(features, 3, width, layers)
    x, level = torch.zeros(2, 5, features), torch.zeros(2, 5).long()
    assert made(x, level).shape == (2, 5, features)
    assert made.update_cache(x, level).z.shape == (layers, 2, width)


@pytest.mark.parametrize(
    ("width", "layers", "wrong"),
    [(16, 0, "layers .*0"), (15, 2, "width .*15"), (0, 2, "width .*0"), (16, 1.5, "layers .*1.5")],
)
def test_wrong_sizes_are_refused(width: int, layers: int, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        GRU(FEATURES, K, width, layers)


def test_an_untrained_network_predicts_0() -> None:
    assert (GRU(FEATURES, K, WIDTH, 2)(*drawn(3, 7)) == 0).all()


def test_size_is_about_half_that_of_the_transformer() -> None:
    gru, transformer = (
        sum(parameter.numel() for parameter in made(FEATURES, 100).parameters())
        for made in (GRU, Transformer)
    )
    assert 0.5 < gru / transformer < 0.6


def test_gradient_reaches_every_parameter(network: GRU) -> None:
    network(*drawn(4, 8)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
    assert (network.modulation.bias.grad != 0).all()


def test_gradient_of_the_input_is_correct(network: GRU) -> None:
    x, level = drawn(1, 3)
    leaf = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: network.double()(v, level), leaf, atol=1e-4)


def test_every_level_changes_the_prediction(network: GRU) -> None:
    x = drawn(1, 3)[0].expand(K + 1, -1, -1)
    level = torch.arange(K + 1)[:, None].expand(-1, 3)
    predictions, latents = network(x, level), network.update_cache(x, level).z[-1]
    for first in range(K + 1):
        for second in range(first):
            assert (predictions[first] - predictions[second]).abs().max() > 1e-4
            assert (latents[first] - latents[second]).abs().max() > 1e-4


def test_the_latent_after_pure_noise_can_be_the_prior(network: GRU) -> None:
    """A scale of -1 at level K removes the influence of tokens on the latent only at that level."""
    with torch.no_grad():
        embedded = network.level_embedding(network.level_features)
        solved = torch.linalg.lstsq(
            torch.cat([embedded, torch.ones(K + 1, 1)], 1).double(),
            torch.nn.functional.one_hot(torch.tensor(K), K + 1)[:, None].double() * -1.0,
        ).solution.float()
        network.modulation.weight[:WIDTH] = solved[:-1].T
        network.modulation.bias[:WIDTH] = solved[-1]
    x, other = drawn(2, 3)[0], drawn(2, 3, seed=1)[0]
    noise = torch.full((2, 3), K)
    prior = network.update_cache(x, noise).z
    torch.testing.assert_close(network.update_cache(other, noise).z, prior, atol=1e-4, rtol=0.0)
    assert (network(other, noise) != network(x, noise)).any(-1).all(), (
        "the prediction still sees it"
    )
    posterior = network.update_cache(x, noise - K).z
    assert (network.update_cache(other, noise - K).z - posterior).abs().max() > 0.1


@torch.no_grad()
def test_tokens_skip_the_latent(network: GRU) -> None:
    """With a latent of 0, a prediction depends only on its own token."""
    for parameter in network.gru.parameters():
        parameter.zero_()
    x, level = drawn(2, 5)
    assert (network.update_cache(x, level).z == 0).all()
    other = x.clone()
    other[:, 2] += 1
    change = (network(other, level) - network(x, level)).abs().amax((0, 2))
    assert (change[2] > 1e-3) and (change[[0, 1, 3, 4]] == 0).all()
