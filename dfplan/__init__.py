"""Planning with Diffusion Forcing.

>>> planner = dfplan.load("maze2d-large")
>>> policy = dfplan.Policy(planner)
>>> action = policy.act(observation, goal=goal)

Importing dfplan registers its environments with Gymnasium. The names in ``__init__.pyi`` are
imported on first use.
"""

import lazy_loader

from dfplan.envs import register_environments

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_environments()
