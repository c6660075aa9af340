"""Act on observations that are noisy, rare and without velocities.

The policy estimates the state from its recent observations and actions.
"""

import gymnasium
import numpy as np
from jsonargparse import auto_cli

import dfplan


def main(maze: str = "medium", noise: float = 0.3, every: int = 10, episodes: int = 3) -> None:
    env = gymnasium.make(f"dfplan/multi2d-{maze}-v1")
    planner = dfplan.load(f"maze2d-{maze}")
    policy = dfplan.Policy(planner, state_estimator=dfplan.StateEstimatorSettings(noise=noise))
    for episode in range(episodes):
        state, info = env.reset(seed=episode)
        policy.reset(seed=episode)
        rng = np.random.default_rng(episode)
        rewards, errors, step, done = [], [], 0, False
        while not done:
            observation = np.full(4, np.nan)  # NaN: not observed
            if step % every == 0:
                observation[:2] = state[:2] + noise * rng.standard_normal(2)
            action = policy.act(observation, goal=info["goal"])
            errors.append(np.linalg.norm(policy.states[0, :2] - state[:2]))
            state, reward, terminated, truncated, info = env.step(action)
            rewards.append(reward)
            step, done = step + 1, terminated or truncated
        print(
            f"episode {episode}: at the goal for {sum(rewards):.0f} of {len(rewards)} steps, "
            f"error of estimates {np.sqrt(np.mean(np.square(errors))):.2f}, of observations "
            f"{noise * 2**0.5:.2f}"
        )


if __name__ == "__main__":
    auto_cli(main)
