"""Use the planner in a Gymnasium loop: episodes with random goals in a maze."""

import gymnasium
from jsonargparse import auto_cli

import dfplan


def main(maze: str = "large", episodes: int = 3) -> None:
    env = gymnasium.make(f"dfplan/multi2d-{maze}-v1")
    planner = dfplan.load(f"maze2d-{maze}")
    policy = dfplan.Policy(planner)
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        policy.reset(seed=episode)
        rewards = []
        done = False
        while not done:
            action = policy.act(observation, goal=info["goal"])
            observation, reward, terminated, truncated, info = env.step(action)
            rewards.append(reward)
            done = terminated or truncated
        print(f"episode {episode}: at the goal for {sum(rewards):.0f} of {len(rewards)} steps")


if __name__ == "__main__":
    auto_cli(main)
