"""Tree search over plans whose parts are denoised again (Monte Carlo tree guidance).

A whole plan sampled at once is only as good as its worst part. Diffusion Forcing can keep any
tokens clean and denoise the others, so a search can keep the good parts of a plan and replace the
rest. (Compare arXiv 2502.07202 and 2506.09498, whose nodes fix plans from the start onward.)
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError, require_class, require_numbers
from dfplan.planning.denoise import denoise, evaluations
from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import (
    Candidates,
    ExpectedWays,
    Guess,
    PartialPlan,
    expected_ways,
    goal_tokens,
    horizons,
    read_plan_query,
    start_frames,
    tokens_of_lines,
)
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import PlanQuery, noise_generator
from dfplan.planning.risk import with_risk
from dfplan.planning.search import ROOT, Leaves, SearchSettings, Tree, with_room
from dfplan.planning.select import select, to_plan
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit
from dfplan.record import Record
from dfplan.sampling.matrices import FREE
from dfplan.sampling.model import SequenceModel
from dfplan.types import Plan, SearchTree

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

_MORE_NOISE = 3.0
"""Factor of the noise on the way from each child of the root to the next."""

_MAX_CANDIDATES = 16
"""Nodes of a tree that become candidates of the plan."""


@dataclass(frozen=True)
class Expansion:
    """One way to make a new plan from an existing one.

    Attributes:
        resample_radius: a token is denoised again if it is at most so many tokens from one that is
            off the data. In a plan that is on the data everywhere, the tokens around one position
            are denoised again, and up to this many tokens are removed there.
        lengthen: number of tokens that are added to each part that is denoised again.
        scale: factor on the planner's guidance scale.
    """

    resample_radius: int
    lengthen: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "resample_radius", integer=True, minimum=0)
        require_numbers(vars(self), "lengthen", integer=True)
        require_numbers(vars(self), "scale", minimum=0)


@dataclass(frozen=True)
class TreeSettings:
    """Budget and shape of the search.

    Attributes:
        evaluations: most network evaluations per query; None for no limit. No round is started
            that could exceed it.
        milliseconds: no round is started after this time; None for no limit. One round is always
            made.
        leaves: nodes that each round adds to a tree; they share network calls.
        horizons: number of plans from scratch, with different horizons, before any plan is
            expanded. More of them follow as the search continues.
        expansions: how plans are expanded, in the order in which they are tried at a node.
        search: exploration and widening.
    """

    evaluations: int | None = 192
    milliseconds: float | None = None
    leaves: int = 8
    horizons: int = 8
    expansions: tuple[Expansion, ...] = (
        Expansion(1, 1),
        Expansion(4, 4),
        Expansion(1, 3),
        Expansion(2, 0, scale=3.0),
        Expansion(2, 6),
        Expansion(6, 2, scale=0.3),
    )
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        require_class(SearchSettings, search=self.search)
        require_numbers(vars(self), "leaves", "horizons", integer=True, minimum=1)
        if self.evaluations is not None:
            require_numbers(vars(self), "evaluations", integer=True, minimum=1)
        if self.milliseconds is not None:
            require_numbers(vars(self), "milliseconds", above=0, maximum=math.inf)
        if self.evaluations is None and self.milliseconds is None:
            raise ConfigError(
                "A tree search needs a budget: evaluations, milliseconds or both; got neither."
            )
        if not (isinstance(self.expansions, tuple) and self.expansions) or not all(
            isinstance(expansion, Expansion) for expansion in self.expansions
        ):
            raise ConfigError(
                f"expansions must be a tuple of at least one Expansion; got {self.expansions!r}."
            )


@dataclass(frozen=True)
class TreePlanner(Record, BasePlanner):
    """Plans by searching over plans, parts of which are kept and parts denoised again.

    A node is a whole plan with the score of :class:`ForcingPlanner`. Children of the root are
    denoised from the expected way, each with more noise than the one before it, and then from pure
    noise; each has a different horizon. So the search has the best of what single plans have, and
    of plans that differ more from the way. A child of another node keeps its parent's tokens except
    where the parent leaves the region in which plans may pass; an :class:`Expansion` determines how
    those parts are denoised again. If the parent never leaves it, the part around one position is
    denoised again, with fewer tokens than before.

    The free tokens follow the planner's scheduling matrix while the others are held. Upper
    confidence bounds determine which node is expanded (:class:`~dfplan.planning.search.Tree`). The
    result is the best node, refined, so the search can stop at any time. With the same seed, and
    up to whole rounds, a larger budget only adds nodes to those of a smaller one: the best node's
    score never decreases.

    Attributes:
        planner: samples and scores plans. Its ``candidates`` setting is not used.
        settings: budget and shape of the search.

    Raises:
        ConfigError: the planner or the settings are of another class, or the planner's
            ``stop_fraction`` is below 1. Its plans would then have noisy tokens, which a node
            would keep as clean ones.
    """

    supports = BasePlanner.supports - {"history"}

    planner: ForcingPlanner
    settings: TreeSettings = field(default_factory=TreeSettings)

    def __post_init__(self) -> None:
        require_class(TreeSettings, settings=self.settings)
        planner = self.planner
        if not isinstance(planner, ForcingPlanner) or planner.settings.sampling.stop_fraction < 1:
            raise ConfigError(
                "A tree search needs a ForcingPlanner with stop_fraction=1, so that its plans are "
                f"clean; got {planner!r:.200}."
            )

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :meth:`~dfplan.planning.planner.BasePlanner.plan`.

        ``horizon`` is that of the plans from scratch; expansions may lengthen them. With ``trace``
        the plan contains the whole tree. The plan's candidates are the 16 best nodes.

        Raises:
            ConfigError: also if the budget is too small for one node.
        """
        began = time.perf_counter()
        planner, settings = self.planner, self.settings
        model = planner.model
        query = read_plan_query(arguments, model, planner.settings)
        objective = PlanObjective(planner.settings, model, arguments.reward)
        ways = expected_ways(query, model, planner.settings, arguments.reward)
        near = ways.query_to_ends(query)
        nodes = _Nodes(
            model,
            settings.expansions,
            near,
            objective,
            ways,
            arguments.horizon,
            noise_generator(arguments.seed),
        )
        cost, budget = nodes.highest_cost, settings.evaluations
        if budget is not None and budget < cost:
            raise ConfigError(
                f"The budget must be at least {cost} network evaluations, those of one node; got "
                f"{budget}."
            )
        tree = Tree(len(query), settings.horizons, settings.search)
        spent, width = 0, settings.leaves
        while budget is None or (width := min(settings.leaves, (budget - spent) // cost)) > 0:
            leaves = Leaves.joined([tree.select() for _ in range(width)])
            score, calls = nodes.expand(leaves)
            tree.back_up(leaves, score)
            spent += width * calls
            if arguments.callback is not None:
                arguments.callback(nodes.to_record(tree))
            elapsed = 1e3 * (time.perf_counter() - began)
            if settings.milliseconds is not None and elapsed > settings.milliseconds:
                break
        candidates = nodes.best(_MAX_CANDIDATES)
        selected = select(near, candidates, objective, model.layout)
        plan = to_plan(
            near,
            model,
            candidates,
            selected,
            evaluations=spent,
            began=began,
            maze=planner.maze,
        )
        if ways.followed is not None and arguments.reward is None:
            plan = with_risk(plan, ways.followed, model.statistics)
        record = nodes.to_record(tree) if arguments.trace else None
        return replace(plan, goal=query.goal, tree=record)

    def tracker(self) -> Pursuit:
        """The planner's tracker."""
        return self.planner.tracker()


class _Nodes:
    """The plans of all nodes, in arrays with room for N nodes per tree.

    Attributes:
        tokens: clean tokens, float [B, N, T, D]; those of the root are the start and the goal.
        end: index of the last token, int [B, N].
        off: tokens at either end of a line that leaves the data, bool [B, N, T].
        states: in physical units, the position first; float [B, N, P, W].
        scores: float [B, N]; ``-inf`` for the root and where there is no node.
    """

    def __init__(
        self,
        model: SequenceModel,
        expansions: tuple[Expansion, ...],
        query: PlanQuery,
        objective: PlanObjective,
        ways: ExpectedWays,
        horizon: int | None,
        generator: torch.Generator,
    ) -> None:
        self._model, self._objective, self._generator = model, objective, generator
        self._radius = torch.tensor([expansion.resample_radius for expansion in expansions])
        self._lengthen = torch.tensor([expansion.lengthen for expansion in expansions])
        scales = [expansion.scale for expansion in expansions]
        self._scale = torch.tensor(scales, dtype=torch.float32)
        self._has_goal = query.goal is not None
        self._routes = ways.followed
        times = None if ways.routes is None else [route.duration for route in ways.routes]
        self._shortest, self._longest_fresh = horizons(query, model, horizon, times, joined=True)
        ways.require_time(horizon, model.statistics.motion.max_step)
        self._longest = self._longest_fresh.clamp_min(model.layout.tokens - 1)
        shape, layout = (len(query), 1), model.layout
        count = int(self._longest.max()) + 1
        self.tokens = torch.zeros(*shape, count, layout.token_width, dtype=torch.float32)
        self.tokens[:, ROOT, 0] = layout.to_tokens(start_frames(query, model))[:, 0]
        if query.goal is not None:
            self.tokens[:, ROOT, -1] = goal_tokens(query, model)
        self.end = torch.full(shape, count - 1)
        self.off = torch.ones(*shape, count, dtype=torch.bool)
        frames = 1 + (count - 1) * layout.frame_stack
        self.states = torch.zeros(*shape, frames, layout.width, dtype=torch.float32)
        self.scores = torch.full(shape, -torch.inf, dtype=torch.float32)

    @property
    def highest_cost(self) -> int:
        """Network evaluations of the most expensive possible node."""
        known, longest = 1 + self._has_goal, int(self._longest.max()) + 1
        # By a named matrix, the longest costs most.
        named = isinstance(self._objective.settings.sampling.matrix, str)
        return max(
            evaluations(self._objective.settings, self._model, length, known)
            for length in ([longest] if named else range(1, longest + 1))
        )

    def expand(self, leaves: Leaves) -> tuple[torch.Tensor, int]:
        """Make the plan of each leaf: its score, float [R], and network evaluations per plan."""
        stack = self._model.layout.frame_stack
        partial = self._partial_plan(leaves)
        denoised = denoise(partial, self._model, self._objective, self._generator)
        states = self._model.states(denoised.clean[-1], partial.end)
        score = self._objective.score(states)
        off = F.pad(self._objective.off_support(states) > 0, (1, 1))
        frame = F.pad(off[:, :-1] | off[:, 1:], (stack - 1, 0))
        self._make_room(int(leaves.node.max()) + 1)
        node, count = (leaves.tree, leaves.node), partial.x.shape[1]
        self.tokens[(*node, slice(count))] = denoised.clean[-1]
        self.off[(*node, slice(count))] = frame.view(len(leaves), count, stack).any(-1)
        self.states[node] = states[:, -1:]
        self.states[(*node, slice(states.shape[1]))] = states
        self.end[node], self.scores[node] = partial.end, score
        return score, denoised.evaluations

    def best(self, count: int) -> Candidates:
        """The ``count`` best nodes of each tree, or fewer if a tree has fewer."""
        order = self.scores.argsort(dim=1, descending=True, stable=True)
        order = order[:, : min(count, int(self.scores.isfinite().sum(1).min()))]
        node = torch.arange(len(order))[:, None], order
        states = self.states[node]
        level = torch.zeros(states.shape[:-1], dtype=torch.long)
        return Candidates(states, self.end[node], level, self.scores[node])

    def to_record(self, tree: Tree) -> SearchTree:
        """A copy of the nodes made so far."""
        made = slice(int(tree.size.max()))
        return SearchTree(
            parent=tree.parent[:, made].numpy().copy(),
            points=self.states[:, made, :, self._model.layout.position].numpy().copy(),
            scores=self.scores[:, made].numpy().copy(),
            visits=tree.visits[:, made].numpy().copy(),
        )

    def _make_room(self, nodes: int) -> None:
        self.tokens = with_room(self.tokens, nodes, 0)
        self.end = with_room(self.end, nodes, 0)
        self.off = with_room(self.off, nodes, 0)
        self.states = with_room(self.states, nodes, 0)
        self.scores = with_room(self.scores, nodes, -torch.inf)

    def _partial_plan(self, leaves: Leaves) -> PartialPlan:
        """The tokens that each leaf keeps of its parent, and noise for the others."""
        parent, root = (leaves.tree, leaves.parent), leaves.parent == ROOT
        tokens, old_end = self.tokens[parent], self.end[parent]
        # Multiples of the golden ratio, modulo 1, spread any number of choices evenly.
        share = (0.5 + _GOLDEN_RATIO * leaves.action.float()) % 1
        shortest = self._shortest[leaves.tree]
        fresh_end = self._longest_fresh[leaves.tree] - shortest
        fresh_end = shortest + (share * fresh_end).round().long()
        choice = leaves.action % len(self._scale)
        radius = self._radius[choice]

        index = torch.arange(tokens.shape[1])
        inner = (index > 0) & (index < old_end[:, None] + (not self._has_goal))
        off = self.off[parent] & inner
        # A plan that is on the data everywhere may be shortened around any position.
        on_data, position = ~off.any(1), 1 + (share * (old_end - 1)).long()
        off = torch.where(on_data[:, None], index == position[:, None], off)
        near = (index[:, None] - index).abs() <= radius[:, None, None]
        free = inner & ((near & off[:, None]).any(-1) | root[:, None])

        more, parts = self._added_tokens(leaves, free, on_data, radius, self._lengthen[choice])
        target = index + more[:, None] * parts.cumsum(1)
        end = torch.where(root, fresh_end, old_end + more * parts.sum(1))
        target = torch.where(root[:, None] & (index == old_end[:, None]), end[:, None], target)
        keep = ~free & (index <= old_end[:, None])

        x = torch.randn(tokens.shape, generator=self._generator, dtype=tokens.dtype)
        held = torch.where(index <= end[:, None], FREE, self._model.schedule.max_level)
        row, column = keep.nonzero(as_tuple=True)
        x[row, target[row, column]] = tokens[row, column]
        held[row, target[row, column]] = 0
        used = slice(int(end.max()) + 1)
        weight = torch.where(root, 1.0, self._scale[choice])
        partial = PartialPlan(x[:, used], held[:, used], end, guidance_weight=weight)
        return partial if self._routes is None else self._from_the_way(partial, leaves)

    def _from_the_way(self, partial: PartialPlan, leaves: Leaves) -> PartialPlan:
        """The partial plans, of which the children of the root start from the expected way."""
        assert self._routes is not None
        model, root = self._model, (leaves.parent == ROOT).nonzero()[:, 0]
        level = torch.full(partial.held.shape, model.schedule.max_level)
        if len(root):
            settings, ends = self._objective.settings, partial.end[root, None]
            steps = settings.route_noise * _MORE_NOISE ** leaves.action[root].numpy()
            noise = steps * model.statistics.motion.max_step
            lines = [self._routes[tree] for tree in leaves.tree[root].tolist()]
            own = Guess(lines, np.stack([noise, noise], 1)).levels(ends, model)
            level[root, : own.shape[1]] = own
            clean = tokens_of_lines(lines, ends, model)
            x = partial.x.clone()
            part = root, slice(own.shape[1])
            noised = model.schedule.add_noise(clean, x[part], own)
            x[part] = torch.where((partial.held[part] == FREE)[..., None], noised, x[part])
            partial = replace(partial, x=x)
        return replace(partial, start_level=level)

    def _added_tokens(
        self,
        leaves: Leaves,
        free: torch.Tensor,
        on_data: torch.Tensor,
        radius: torch.Tensor,
        lengthen: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How many tokens each part of free tokens gets in addition.

        Args:
            leaves: to be made.
            free: tokens of the parents that are denoised again, bool [R, T].
            on_data: parents that are on the data everywhere, bool [R]; these are shortened.
            radius: most tokens to remove, int [R].
            lengthen: tokens to add, int [R]; fewer if the longest horizon has no room for them.

        Returns:
            (tokens to add, negative to remove, int [R]; first token of each part, bool [R, T]).
        """
        end = self.end[leaves.tree, leaves.parent]
        longest, shortest = self._longest[leaves.tree], self._shortest[leaves.tree]
        begins = free & ~F.pad(free, (1, 0))[:, :-1]
        room = (longest - end) // begins.sum(1).clamp_min(1)
        more = torch.minimum(lengthen, room).clamp_min(0)
        fewer = torch.minimum(torch.minimum(radius, free.sum(1) - 1), end - shortest).clamp_min(0)
        return torch.where(on_data, -fewer, more), begins
