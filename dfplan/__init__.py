"""Planning in mazes with Diffusion Forcing.

>>> planner = dfplan.load("maze2d-large")
>>> policy = dfplan.Policy(planner)
>>> action = policy.act(observation, goal=goal)
"""

from dfplan.envs import register as _register
from dfplan.envs.make import make
from dfplan.errors import DfplanError
from dfplan.mazes import Maze, parse_maze
from dfplan.planning.episode import drive
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.observation_history import Past
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner, PlannerSettings
from dfplan.planning.state_estimator import PastSettings
from dfplan.planning.trackers import DiffusedActions, InverseDynamics, Pursuit
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import load, load_inverse, load_value, pretrained_names
from dfplan.sampling.guidance import GuidanceSettings
from dfplan.types import Plan, Rollout

__version__ = "0.1.0"

__all__ = [
    "DfplanError",
    "DiffusedActions",
    "ForcingPlanner",
    "GuidanceSettings",
    "InverseDynamics",
    "LearnedPolicy",
    "Maze",
    "Past",
    "PastSettings",
    "Plan",
    "PlannerSettings",
    "Policy",
    "Pursuit",
    "Rollout",
    "TreePlanner",
    "TreeSettings",
    "drive",
    "load",
    "load_inverse",
    "load_value",
    "make",
    "parse_maze",
    "pretrained_names",
]

_register()
