"""Pictures of mazes, plans and data: records in, matplotlib's axes out.

Importing this imports matplotlib; ``import dfplan`` does not.
"""

import dfplan.plotting.settings  # first, as it imports matplotlib  # noqa: F401
from dfplan.plotting.coverage import plot_coverage
from dfplan.plotting.layers import (
    plot_denoising,
    plot_ellipses,
    plot_futures,
    plot_levels,
    plot_moment,
    plot_path,
    plot_plan,
    plot_pull,
    plot_regions,
    plot_spread,
    plot_tree,
)
from dfplan.plotting.maze import plot_maze

__all__ = [
    "plot_coverage",
    "plot_denoising",
    "plot_ellipses",
    "plot_futures",
    "plot_levels",
    "plot_maze",
    "plot_moment",
    "plot_path",
    "plot_plan",
    "plot_pull",
    "plot_regions",
    "plot_spread",
    "plot_tree",
]
