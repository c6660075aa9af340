from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfplan.diffusion.levels import TEACHER_FORCING, LevelMixture
from dfplan.diffusion.schedules import SCHEDULES, interpolation_schedule
from dfplan.diffusion.targets import FLOW, TARGETS
from dfplan.errors import ConfigError
from dfplan.networks.cache import RecomputedCache
from dfplan.sampling.denoiser import NetworkDenoiser
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.rollout import rollout
from dfplan.sampling.steps import ddim
from dfplan.tokens.layout import TokenLayout
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes import forcing as recipes
from dfplan.training.recipes.forcing import NETWORKS, ForcingConfig, hide_unknown
from dfplan.types import Trajectories


@pytest.fixture(scope="module")
def statistics(trajectories: Trajectories) -> Statistics:
    return fit_statistics(trajectories)


class Zero(nn.Module):
    """Predicts a flow of 0, so noisy tokens are returned as clean; keeps its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        self.seen.append((x, level))
        return self.weight * x


def test_config_and_json_are_inverse(recipe: ForcingConfig) -> None:
    for config in (ForcingConfig(), recipe, ForcingConfig(levels=LevelMixture(1, 0, 0, 0.5, 0.1))):
        assert ForcingConfig.from_json(config.to_json()) == config
    assert recipe.name == "forcing"
    assert recipe.layout.token_width == 4 and recipe.layout.token_steps == 10


def test_known_goals_repeat_their_last_position() -> None:
    clean = torch.arange(3 * 4 * 6.0).view(3, 4, 6)
    changed = clean.clone()
    layout = TokenLayout(4, frame_stack=3)
    hide_unknown(changed, torch.tensor([2, 3, 1]), torch.tensor([True, False, True]), layout)
    for row, token in ((0, 2), (2, 1)):
        assert torch.equal(changed[row, token], clean[row, token, -2:].repeat(3))
    untouched = torch.ones(3, 4, dtype=torch.bool)
    untouched[0, 2] = untouched[2, 1] = False
    assert torch.equal(changed[untouched], clean[untouched])


def test_inputs_of_the_network(
    recipe: ForcingConfig, trajectories: Trajectories, statistics: Statistics
) -> None:
    """Clean goals as a planner gives them, a level for each token, padding at pure noise."""
    network = Zero()
    loss = recipe.objective(trajectories, statistics)(
        network, 500, torch.Generator().manual_seed(0)
    )
    ((x, level),) = network.seen
    assert x.shape == (500, 14, 4) and level.shape == (500, 14)
    assert loss > 0 and loss.requires_grad
    start = level[:, 0] == 0
    assert start.float().mean() > 0.75
    assert torch.equal(x[start, 0, :2], x[start, 0, 2:]), "a start is one position, repeated"
    # Windows whose last token is a known goal: pure noise after a clean token.
    padded = (level == 20).flip(1).cumprod(1).flip(1).bool()
    goal = (level == 0) & torch.cat([padded[:, 1:], torch.ones(500, 1).bool()], 1)
    goal[:, 0] = False
    assert goal.any(1).float().mean() > 0.6
    repeated = (x[..., :2] == x[..., 2:]).all(-1)
    assert repeated[goal].float().mean() > 0.95  # a rising level can end at 0 by chance
    assert x[padded].std() == pytest.approx(1, abs=0.2)


def test_batches_depend_only_on_the_generator(
    recipe: ForcingConfig, trajectories: Trajectories, statistics: Statistics
) -> None:
    objective = recipe.objective(trajectories, statistics)
    before = torch.get_rng_state()
    first, again, other = (
        objective(Zero(), 16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_is_masked(
    recipe: ForcingConfig,
    trajectories: Trajectories,
    statistics: Statistics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, ...]] = []

    def loss(*arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        return torch.zeros(())

    monkeypatch.setattr(recipes, "forcing_loss", loss)
    recipe.objective(trajectories, statistics)(Zero(), 300, torch.Generator().manual_seed(0))
    ((_, clean, level, counted, _, noise, _),) = calls
    assert clean.shape == noise.shape == (300, 14, 4)
    assert counted[:, :2].all() and (counted.long().diff(dim=1) <= 0).all()
    assert (level[~counted] == 20).all()
    # The window's last position is repeated past its horizon.
    last = clean[torch.arange(300), counted.sum(1) - 1, -2:]
    after = clean[~counted].view(-1, 2, 2)
    wanted = last.repeat_interleave((~counted).sum(1), 0)
    assert torch.equal(after, wanted[:, None].expand(-1, 2, -1))


def test_the_denoiser_subtracts_the_predicted_flow() -> None:
    schedule = interpolation_schedule(10)
    x, level = torch.randn(2, 11, 4), torch.arange(11).expand(2, -1)
    network = Zero()
    with torch.no_grad():
        network.weight += 1  # the flow is x itself
    clean = NetworkDenoiser(network, FLOW, schedule)(x, level)
    assert torch.allclose(clean, (1 - level[..., None] / 10) * x, atol=1e-6)


def test_parallel_teacher_forcing_gets_the_clean_window(
    recipe: ForcingConfig, trajectories: Trajectories, statistics: Statistics
) -> None:
    """Batch, levels and noise are the same; the network also gets the clean tokens."""
    seen = []

    class Recording(Zero):
        def forward(
            self, x: torch.Tensor, level: torch.Tensor, clean: torch.Tensor | None = None
        ) -> torch.Tensor:
            seen.append((x, level, clean))
            return super().forward(x, level)

    for parallel_teacher_forcing in (False, True):
        chosen = replace(
            recipe,
            network="causal_transformer",
            parallel_teacher_forcing=parallel_teacher_forcing,
        )
        objective = chosen.objective(trajectories, statistics)
        objective(Recording(), 64, torch.Generator().manual_seed(0))
    (x, level, nothing), (same_x, same_level, clean) = seen
    assert nothing is None and torch.equal(x, same_x) and torch.equal(level, same_level)
    known = level == 0
    assert torch.equal(clean[known], x[known]) and not torch.equal(clean[~known], x[~known])
    assert torch.equal(clean[:, 0, :2], clean[:, 0, 2:]) and clean.shape == x.shape


CHOICES = [
    *({"network": name, "width": 64} for name in NETWORKS),
    {"network": "causal_transformer", "window": 4, "weight": "fused_snr"},
    {"network": "causal_transformer", "parallel_teacher_forcing": True},
    {"network": "gru", "levels": TEACHER_FORCING},
    *({"schedule": name, "target": target} for name in SCHEDULES for target in TARGETS),
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_trains_and_plans(
    recipe: ForcingConfig,
    trajectories: Trajectories,
    statistics: Statistics,
    corridor: Any,
    choice: dict[str, Any],
) -> None:
    chosen = replace(recipe, **choice)
    assert ForcingConfig.from_json(chosen.to_json()) == chosen
    torch.manual_seed(0)
    network = chosen.untrained()
    objective = chosen.objective(trajectories, statistics)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for seed in range(25):
        # Only five batches, again and again, so that the loss falls quickly.
        loss = objective(network, 16, torch.Generator().manual_seed(seed % 5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    checkpoint = Checkpoint("forcing", {}, network.state_dict(), statistics, {}, {})
    start, goal = corridor.at(np.array(5.0)), corridor.at(np.array(15.0))
    planner = chosen.load(checkpoint)
    plan = planner.plan([*start, 0, 0], goal, seed=0)
    assert np.isfinite(plan.points).all()
    cached = chosen.network in ("causal_transformer", "gru")
    model = planner.model
    frame = model.statistics.normalizer.normalize(torch.from_numpy(start)[None, None].float())
    generated = rollout(
        model.denoiser if cached else RecomputedCache(model.denoiser),
        model.layout.to_tokens(frame),
        torch.zeros(1, 1).long(),
        4,
        scheduling_matrix("full_sequence", 1, 20, 3),
        step=ddim(model.schedule),
        generator=torch.Generator().manual_seed(0),
    )
    assert generated.shape == (1, 4, 4) and generated.isfinite().all()


def test_the_planner_has_the_settings_of_the_recipe(recipe: ForcingConfig, planner: Any) -> None:
    assert planner.model.layout == recipe.layout
    assert planner.model.schedule.max_level == recipe.noise_levels
    assert planner.model.layout.longest_horizon == 13 * 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": 1}, "tokens must .* at least 2.*; got 1"),
        ({"network": "transfomer"}, "Did you mean 'transformer'"),
        ({"window": 4}, "window is only for the network causal_transformer"),
        ({"network": "causal_transformer", "window": 0}, "window must .* at least 1"),
        (
            {"network": "gru", "parallel_teacher_forcing": True},
            "only for the network causal_transformer; .* for gru",
        ),
        ({"schedule": "sigmoids"}, "Did you mean 'sigmoid'"),
        ({"target": "x"}, "Unknown target"),
        ({"weight": "minsnr"}, "Did you mean 'min_snr'"),
        ({"stride": 0}, "stride must .* at least 1.*; got 0"),
        ({"noise_levels": 0}, "noise_levels must .* at least 1.*; got 0"),
        ({"width": 30}, "multiple of 2 . heads; got 30 and 2"),
        ({"layers": 0}, "layers"),
        ({"heads": 0}, "heads"),
    ],
)
def test_wrong_settings_are_refused(
    recipe: ForcingConfig, wrong: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(recipe, **wrong)
