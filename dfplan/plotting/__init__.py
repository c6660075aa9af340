"""Pictures of mazes, plans and data: ``plot_*(record, ax)`` draws on axes and returns them.

Without ``ax`` the functions draw on pyplot's current axes. The first one that draws on empty axes
also draws the maze, so that several can be combined::

    ax = plot_candidates(plan)
    plot_plan(plan, ax)
    plot_path(positions, ax, maze=plan.maze)

Axes with a maze have the rows and columns of its text as coordinates; one unit is a cell. The
horizontal axis is the column. The vertical axis is the row and points down. The center of cell
(0, 0) is at -0.2 on both axes, as in D4RL, whose position (q0, q1) is drawn at (q1, q0). Arguments
are in the coordinates of the maze's suite and are converted; see
:func:`dfplan.plotting.maze.to_picture`.

These arguments are the same in all functions:

- ``plan`` is a batch of plans, and ``index`` is the plan of the batch to draw.
- ``ax`` are axes to draw on; default: pyplot's current axes.
- ``maze`` is a text or a name, see :func:`dfplan.mazes.parse_maze`; None draws a floor without
  walls.
- ``theme`` is ``light`` or ``dark``.
- ``norm`` is the color scale of what is colored, and ``width`` the size of tokens and lines in
  typographic points. :func:`plot_maze`, :func:`plot_path`, :func:`plot_regions` and
  :func:`plot_reliability` color nothing by a number; images and ellipses have no lines.

The last collection or image of the axes has the color scale, for ``figure.colorbar``, where
something is colored by a number.

All functions raise :class:`~dfplan.errors.ConfigError` for an unknown index, theme or name of a
maze, :class:`~dfplan.errors.MazeError` for a maze that cannot be read, and
:class:`~dfplan.errors.DataError` for an array that has a wrong shape or is not finite.

Importing this package imports matplotlib, but not torch; ``import dfplan`` does not import it.
"""

import dfplan.plotting.settings  # first, because it imports matplotlib  # noqa: F401
from dfplan.plotting.coverage import plot_coverage
from dfplan.plotting.denoising import plot_denoising, plot_denoising_step, plot_levels
from dfplan.plotting.maze import plot_maze
from dfplan.plotting.plans import (
    plot_candidates,
    plot_ellipses,
    plot_futures,
    plot_path,
    plot_plan,
    plot_spread,
    plot_tracking,
    plot_tree,
)
from dfplan.plotting.reliability import plot_reliability
from dfplan.plotting.rewards import plot_regions, plot_reward_gradient

__all__ = [
    "plot_candidates",
    "plot_coverage",
    "plot_denoising",
    "plot_denoising_step",
    "plot_ellipses",
    "plot_futures",
    "plot_levels",
    "plot_maze",
    "plot_path",
    "plot_plan",
    "plot_regions",
    "plot_reliability",
    "plot_reward_gradient",
    "plot_spread",
    "plot_tracking",
    "plot_tree",
]
