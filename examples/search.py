"""Search for a plan with a tree of segments; more time gives better plans."""

from pathlib import Path

import gymnasium
from jsonargparse import auto_cli

import dfplan
from dfplan import TreePlanner, TreeSettings


def main(maze: str = "large", out: Path = Path("runs/search")) -> None:
    planner = dfplan.load(f"maze2d-{maze}")
    observation, info = gymnasium.make(f"dfplan/multi2d-{maze}-v1").reset(seed=7)
    for milliseconds in (100, 400, 1600):
        settings = TreeSettings(evaluations=10_000, milliseconds=milliseconds)
        plan = TreePlanner(planner, settings).plan(observation, info["goal"], seed=0)
        print(
            f"{1e3 * plan.seconds:5.0f} ms, {plan.evaluations:5} network evaluations: "
            f"score {plan.scores.max():.1f}, {plan.steps[0]} steps"
        )
    print(plan.plot(out / "plan.png"))


if __name__ == "__main__":
    auto_cli(main)
