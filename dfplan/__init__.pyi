from .envs.make import make as make
from .errors import DfplanError as DfplanError
from .mazes import Maze as Maze
from .mazes import parse_maze as parse_maze
from .planning.episode import run_episode as run_episode
from .planning.learned import LearnedPolicy as LearnedPolicy
from .planning.observation_history import ObservationHistory as ObservationHistory
from .planning.policy import Policy as Policy
from .planning.settings import PlannerSettings as PlannerSettings
from .planning.single import ForcingPlanner as ForcingPlanner
from .planning.state_estimator import StateEstimatorSettings as StateEstimatorSettings
from .planning.trackers import InverseDynamics as InverseDynamics
from .planning.trackers import PlannedActions as PlannedActions
from .planning.trackers import Pursuit as Pursuit
from .planning.tree import TreePlanner as TreePlanner
from .planning.tree import TreeSettings as TreeSettings
from .pretrained import load as load
from .pretrained import load_inverse as load_inverse
from .pretrained import load_value as load_value
from .pretrained import pretrained_names as pretrained_names
from .sampling.guidance import GuidanceSettings as GuidanceSettings
from .types import Episode as Episode
from .types import Plan as Plan

__version__: str
