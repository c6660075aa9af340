"""Plan with a custom reward: visit a place on the way to the goal.

A reward maps states [B, P, W] in the data's units and their environment steps [P] to values [B],
and is differentiable. The first two columns of a state are the position. The reward guides
sampling. When candidates are compared, a reward of 1 is worth one step of travel time.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import auto_cli

import dfplan
from dfplan.planning.rewards import ComposableReward, OnSupport


@dataclass(frozen=True)
class Visit(ComposableReward):
    """Minus the squared distance between ``place`` and the nearest point of each plan."""

    place: tuple[float, float]

    def __call__(self, states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -(states[..., :2] - torch.tensor(self.place)).square().sum(-1).amin(-1)


def main(out: Path = Path("runs/reward")) -> None:
    planner = dfplan.load("maze2d-large")
    visit = Visit((5.0, 1.0))
    careful = OnSupport(planner.model.statistics.support)  # keeps the detour away from walls
    for name, reward in (("plain", None), ("visit", 20 * visit + 10 * careful)):
        plan = planner.plan([1, 1, 0, 0], [7, 9], reward=reward, seed=0)
        distance = (-visit(torch.from_numpy(plan.points), torch.zeros(0)).item()) ** 0.5
        print(f"{name}: passes the place at {distance:.2f}")
        print(plan.plot(out / f"{name}.png"))


if __name__ == "__main__":
    auto_cli(main)
