from __future__ import annotations

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.networks.transformer import Transformer

FEATURES, K = 4, 10


@pytest.fixture(scope="module")
def network() -> Transformer:
    """With random weights everywhere; a new network predicts 0 for any input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Transformer(FEATURES, K, width=32, layers=2, heads=4)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def drawn(batch: int, tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, FEATURES, generator=generator)
    return x, torch.randint(0, K + 1, (batch, tokens), generator=generator)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tokens", [1, 2, 31, 200])
def test_any_length_keeps_its_shape(network: Transformer, batch: int, tokens: int) -> None:
    prediction = network(*drawn(batch, tokens))
    assert prediction.shape == (batch, tokens, FEATURES)
    assert torch.isfinite(prediction).all()


@pytest.mark.parametrize("features", [1, 6])
@pytest.mark.parametrize(("width", "layers", "heads"), [(8, 1, 1), (24, 3, 2), (128, 4, 4)])
def test_any_size_is_built(features: int, width: int, layers: int, heads: int) -> None:
    made = Transformer(features, 3, width, layers, heads)
    assert made(torch.zeros(2, 5, features), torch.zeros(2, 5).long()).shape == (2, 5, features)


def test_an_untrained_network_predicts_0() -> None:
    assert (Transformer(FEATURES, K, 32, 2)(*drawn(3, 7)) == 0).all()


@pytest.mark.parametrize("token", range(5))
def test_the_level_of_each_token_influences_all(network: Transformer, token: int) -> None:
    x, level = drawn(2, 5)
    other = level.clone()
    other[:, token] = (other[:, token] + 4) % (K + 1)
    assert (network(x, level) != network(x, other)).all()


def test_every_level_changes_the_prediction(network: Transformer) -> None:
    x = drawn(1, 3)[0].expand(K + 1, -1, -1)
    level = torch.arange(K + 1)[:, None].expand(-1, 3)
    predictions = network(x, level)
    for first in range(K + 1):
        for second in range(first):
            assert (predictions[first] - predictions[second]).abs().max() > 1e-4


def test_each_token_influences_all(network: Transformer) -> None:
    x, level = drawn(1, 6)
    for token in range(6):
        other = x.clone()
        other[:, token] += 1
        assert (network(other, level) != network(x, level)).any(-1).all()


def test_rows_of_a_batch_are_independent_and_in_any_order(network: Transformer) -> None:
    x, level = drawn(6, 9)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    together = network(x, level)
    assert torch.allclose(network(x[order], level[order]), together[order], atol=1e-5)
    alone = torch.cat([network(x[row : row + 1], level[row : row + 1]) for row in range(6)])
    assert torch.allclose(alone, together, atol=1e-5)
    other = x.clone()
    other[1:] += 1
    assert torch.equal(network(other, level)[0], together[0])


def test_the_order_of_tokens_matters(network: Transformer) -> None:
    x, level = drawn(1, 6)
    order = torch.tensor([5, 1, 2, 3, 4, 0])
    change = network(x[:, order], level[:, order]) - network(x, level)[:, order]
    assert (change.abs().amax(-1) > 1e-3).all()


def test_gradient_reaches_every_parameter(network: Transformer) -> None:
    network.zero_grad()
    network(*drawn(4, 8)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
    assert (network.modulation.bias.grad != 0).all()


def test_gradient_of_the_input_is_correct(network: Transformer) -> None:
    double = Transformer(FEATURES, K, 32, 2, 4).double()
    double.load_state_dict(network.state_dict())
    x, level = drawn(1, 3)
    leaf = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: double(v, level), leaf, atol=1e-4)


def test_the_state_dict_alone_rebuilds_it(network: Transformer) -> None:
    other = Transformer(FEATURES, K, 32, 2, 4)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(*drawn(2, 5)), network(*drawn(2, 5)))
    assert not [name for name in network.state_dict() if "level_features" in name]


@pytest.mark.parametrize(("width", "heads"), [(32, 3), (12, 4), (6, 2)])
def test_widths_that_do_not_fit_the_heads_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ConfigError, match=f"heads.* {width} .*{heads}"):
        Transformer(FEATURES, K, width, 1, heads)


@pytest.mark.parametrize(
    "wrong", [{"heads": 0}, {"width": 0}, {"layers": 0}, {"features": 0}, {"max_level": 0}]
)
def test_wrong_sizes_are_refused(wrong: dict[str, int]) -> None:
    sizes = {"features": FEATURES, "max_level": K, "width": 32, "layers": 1, "heads": 4}
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} .*0"):
        Transformer(**{**sizes, **wrong})
