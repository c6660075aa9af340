"""Monte Carlo tree search over segments of variable length (Monte Carlo tree guidance).

A node is the beginning of a plan. Its children continue it by one more segment, which one call of
the sampler denoises in a short window. The value of a node is the time that has passed, plus the
expected time from its end to the goal, over chance, on the roadmap of the data. So a search has to
find one good segment after another, where a whole plan from noise has to be good everywhere at
once; and it compares ways of different length and risk before they have arrived. A segment is cut
where it leaves the data. Several horizons, segment lengths and amounts of noise are tried at each
node, and upper confidence bounds decide where. A reward of the caller is scored on whole plans:
the beginning, and from its end on the expected way. A plan that has arrived is improved by
denoising the end of it again. It helps where plans from noise fail. Where a single plan from the
expected way arrives, there is nothing to win. (Compare arXiv 2502.07202 and 2506.09498.)
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dfplan.errors import ConfigError, ObservationError, require_class, require_numbers
from dfplan.planning.denoise import denoise, evaluations
from dfplan.planning.expected_ways import ExpectedWays, expected_ways
from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import (
    EARLIEST,
    LATEST,
    Candidates,
    Guess,
    PartialPlan,
    Surroundings,
    from_guess,
    goal_tokens,
    horizons,
    read_plan_query,
    start_frames,
)
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import PlanQuery, noise_generator
from dfplan.planning.requirements import asks_for_times
from dfplan.planning.rewards import points_on_lines
from dfplan.planning.risk import expected_delay, with_risk
from dfplan.planning.route import Route, TimedLine
from dfplan.planning.search import ROOT, Leaves, SearchSettings, Tree, with_room
from dfplan.planning.select import select, to_plan
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Tracker
from dfplan.record import Record
from dfplan.sampling.matrices import FREE
from dfplan.sampling.model import SequenceModel
from dfplan.types import Plan, SearchTree

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

_MORE_NOISE = 3.0
"""Factor of the noise on the way from each child of a node to the next."""

_MAX_CANDIDATES = 16
"""Nodes of a tree that become candidates of the plan."""

_HEURISTIC_WEIGHT = 4.0
"""Weight of the time on the recorded way in the value of a node, as in weighted A*: the search
prefers nodes nearer the goal. The scores of plans do not depend on it."""

_PASSED = 5.0
"""A required place counts as passed at this distance, in steps at top speed. The score still says
how closely a plan passes it."""

_SAMPLES = 4
"""Points on each line of a plan at which required places are looked for."""


@dataclass(frozen=True)
class TreeSettings:
    """Budget and shape of the search.

    Attributes:
        evaluations: most network evaluations per query; None for no limit. No round is started
            that could exceed it.
        milliseconds: no round is started after this time; None for no limit. One round is always
            made.
        leaves: nodes that each round adds to a tree; they share network calls.
        lengths: lengths of segments as shares of the expected time that is left, in the order in
            which they are tried at a node. A segment is at most as long as a window of the model.
        search: exploration and widening.
    """

    evaluations: int | None = 192
    milliseconds: float | None = None
    leaves: int = 8
    lengths: tuple[float, ...] = (1.0, 0.5, 0.25)
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        require_class(SearchSettings, search=self.search)
        require_numbers(vars(self), "leaves", integer=True, minimum=1)
        if self.evaluations is not None:
            require_numbers(vars(self), "evaluations", integer=True, minimum=1)
        if self.milliseconds is not None:
            require_numbers(vars(self), "milliseconds", above=0, maximum=math.inf)
        if self.evaluations is None and self.milliseconds is None:
            raise ConfigError(
                "A tree search needs a budget: evaluations, milliseconds or both; got neither."
            )
        if not isinstance(self.lengths, tuple) or not self.lengths:
            raise ConfigError(
                f"lengths must be a tuple of at least one number; got {self.lengths!r:.200}."
            )
        for length in self.lengths:
            require_numbers({"lengths": length}, above=0, maximum=1)
        object.__setattr__(self, "lengths", tuple(float(length) for length in self.lengths))


@dataclass(frozen=True)
class TreePlanner(Record, BasePlanner):
    """Plans by a tree search over segments; see the module's docstring.

    Segments start from the expected way, each child of a node with more noise than the one before,
    or from pure noise if the planner's ``route_noise`` is infinite. Without a goal or a roadmap,
    a segment is always a whole plan, and the search denoises ends of plans again.

    The result is the best plan, refined. Where it has not arrived, it continues on the expected
    way, so the search can stop at any time. With the same seed, and up to whole rounds, a larger
    budget only adds nodes to those of a smaller one: the best score never decreases.

    Attributes:
        planner: samples and scores plans. Its settings of candidates are not used.
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

        ``horizon`` is the length of the plan. With ``trace`` the plan contains the whole tree. The
        plan's candidates are the best nodes, at most 16.

        Raises:
            ConfigError: also if the budget is too small for one node.
        """
        began = time.perf_counter()
        planner, settings = self.planner, self.settings
        model = planner.model
        query = read_plan_query(arguments, model, planner.settings)
        objective = PlanObjective(planner.settings, model, arguments.reward)
        reward, horizon = arguments.reward, arguments.horizon
        ways = expected_ways(query, model, objective, reward, horizon, always=True)
        nodes = _Nodes(
            model,
            settings.lengths,
            query,
            objective,
            ways,
            horizon,
            noise_generator(arguments.seed),
        )
        cost, budget = nodes.highest_cost, settings.evaluations
        if budget is not None and budget < cost:
            raise ConfigError(
                f"The budget must be at least {cost} network evaluations, those of one node; got "
                f"{budget}."
            )
        tree = Tree(len(query), settings.leaves, settings.search)
        spent, width = 0, settings.leaves
        while budget is None or (width := min(settings.leaves, (budget - spent) // cost)) > 0:
            leaves = Leaves.joined([tree.select() for _ in range(width)])
            value, calls = nodes.expand(leaves)
            tree.back_up(leaves, value)
            spent += width * calls
            if arguments.callback is not None:
                arguments.callback(nodes.to_record(tree))
            elapsed = 1e3 * (time.perf_counter() - began)
            if settings.milliseconds is not None and elapsed > settings.milliseconds:
                break
        candidates, order = nodes.best(_MAX_CANDIDATES)
        selected = select(query, candidates, objective, model.layout)
        plan = to_plan(
            query,
            model,
            candidates,
            selected,
            evaluations=spent,
            began=began,
            maze=planner.maze,
            timed=asks_for_times(arguments.horizon, arguments.reward),
        )
        if nodes.ways is not None and arguments.reward is None:
            chosen = order[torch.arange(len(query)), selected.index]
            plan = with_risk(plan, nodes.routes(chosen), model.statistics)
        return replace(plan, tree=nodes.to_record(tree) if arguments.trace else None)

    def tracker(self) -> Tracker:
        """The planner's tracker."""
        return self.planner.tracker()


class _Nodes:
    """The plans of all nodes, in arrays with room for N nodes per tree.

    A plan begins with what the network made, and follows the recorded way from there to its end.

    Attributes:
        ways: the expected ways to the goal of each tree; None if they are not known.
        states: in physical units, float [B, N, P, W]; after the end, the last one is repeated.
        begin: index of the last token that is the parent's, int [B, N].
        made: index of the last token that the network made, int [B, N].
        end: index of the last token, int [B, N].
        onward: expected steps from the end to the goal; above 0 where the way ends because a jump
            is likely; float [B, N].
        scores: float [B, N]; ``-inf`` for the root and where there is no node.
    """

    def __init__(
        self,
        model: SequenceModel,
        lengths: tuple[float, ...],
        query: PlanQuery,
        objective: PlanObjective,
        ways: ExpectedWays,
        horizon: int | None,
        generator: torch.Generator,
    ) -> None:
        self._model, self._objective, self._generator = model, objective, generator
        self._lengths, self._query = torch.tensor(lengths, dtype=torch.float32), query
        layout = model.layout
        self._horizon = None if horizon is None else -(-int(horizon) // layout.token_steps)
        times = None if ways.routes is None else [route.duration for route in ways.routes]
        self._shortest, self._longest = horizons(query, model, horizon, times, joined=True)
        ways.require_time(horizon, model.statistics.motion.max_step)
        # More than positions is not known on the way.
        self.ways = ways.ways if layout.holds_positions_alone else None
        self._along = ways.along
        shape = len(query), 1
        start = start_frames(query, model)[:, None]
        self.states = model.statistics.normalizer.unnormalize(start)
        self.begin = torch.zeros(shape, dtype=torch.long)
        self.made = torch.zeros(shape, dtype=torch.long)
        self.end = torch.zeros(shape, dtype=torch.long)
        self.onward = torch.zeros(shape, dtype=torch.float32)
        self.scores = torch.full(shape, -torch.inf, dtype=torch.float32)
        if self.ways is not None and ways.routes is not None:
            for tree, route in enumerate(ways.routes):
                self._continue_plan(tree, ROOT, route)

    @property
    def arrived(self) -> torch.Tensor:
        """Whether the network made the whole plan, bool [B, N]."""
        return (self.made == self.end) & self.scores.isfinite()

    @property
    def highest_cost(self) -> int:
        """Network evaluations of the most expensive possible node."""
        window, settings = self._model.layout.tokens, self._objective.settings
        longest = window if self.ways is not None else int(self._longest.max()) + 1
        # By a named matrix, the longest costs most.
        named = isinstance(settings.sampling.matrix, str)
        return max(
            evaluations(settings, self._model, length, known=1)
            for length in ([longest] if named else range(1, longest + 1))
        )

    def expand(self, leaves: Leaves) -> tuple[torch.Tensor, int]:
        """Make the plan of each leaf: its value, float [R], and network evaluations per plan."""
        stack = self._model.layout.frame_stack
        kept, length, arrives = self._segments(leaves)
        self._make_room(int(leaves.node.max()) + 1, 1 + int((kept + length).max()) * stack)
        parent, node = (leaves.tree, leaves.parent), (leaves.tree, leaves.node)
        last = torch.where(arrives, self.states.shape[2] - 1, (kept + length) * stack)
        around = Surroundings(self.states[parent], kept * stack, last)
        partial = self._partial_plan(leaves, kept, length, arrives, around)
        denoised = denoise(partial, self._model, self._objective, self._generator)
        segment = self._model.states(denoised.clean[-1], length)
        states = around.around(segment)
        good = length if self.ways is None else self._tokens_on_data(segment, length, arrives)
        self.states[node], self.begin[node], self.made[node] = states, kept, kept + good
        self.end[node] = torch.where(arrives, kept + length, self.end[parent])
        self.onward[node] = self.onward[parent]
        score = self._objective.score(states, (kept + length) * stack) - self.onward[parent]
        if self.ways is not None:
            score = self._continue_plans(leaves, score, good == 0, arrives & (good == length))
        self.scores[node] = score
        left = (self.end[node] - self.made[node]) * self._model.layout.token_steps
        return score - (_HEURISTIC_WEIGHT - 1) * (left + self.onward[node]), denoised.evaluations

    def best(self, count: int) -> tuple[Candidates, torch.Tensor]:
        """The ``count`` best plans of each tree, or fewer if a tree has fewer, and their nodes."""
        order = self.scores.argsort(dim=1, descending=True, stable=True)
        order = order[:, : min(count, int(self.scores.isfinite().sum(1).min()))]
        node = torch.arange(len(order))[:, None], order
        states = self.states[node]
        level = torch.zeros(states.shape[:-1], dtype=torch.long)
        return Candidates(states, self.end[node], level, self.scores[node]), order

    def routes(self, nodes: torch.Tensor) -> list[Route]:
        """The plan of one of ``nodes`` [B] in each tree, as a way to the goal."""
        assert self.ways is not None
        routes = []
        for tree, node in enumerate(nodes.tolist()):
            line = self._line(tree, node, 0, int(self.end[tree, node]))
            times = self.ways[tree].stages[-1]
            routes.append(Route(line.points, line.steps, times, float(self.onward[tree, node])))
        return routes

    def to_record(self, tree: Tree) -> SearchTree:
        """A copy of the nodes made so far."""
        made, layout = slice(int(tree.size.max())), self._model.layout
        return SearchTree(
            parent=tree.parent[:, made].numpy().copy(),
            points=self.states[:, made, :, layout.position].numpy().copy(),
            begins=(self.begin[:, made] * layout.frame_stack).numpy().copy(),
            ends=(self.made[:, made] * layout.frame_stack).numpy().copy(),
            arrived=self.arrived[:, made].numpy().copy(),
            scores=self.scores[:, made].numpy().copy(),
            visits=tree.visits[:, made].numpy().copy(),
        )

    def _make_room(self, nodes: int, frames: int) -> None:
        missing = frames - self.states.shape[2]
        if missing > 0:
            last = self.states[:, :, -1:].expand(-1, -1, missing, -1)
            self.states = torch.cat([self.states, last], 2)
        self.states = with_room(self.states, nodes, 0)
        self.begin = with_room(self.begin, nodes, 0)
        self.made = with_room(self.made, nodes, 0)
        self.end = with_room(self.end, nodes, 0)
        self.onward = with_room(self.onward, nodes, 0)
        self.scores = with_room(self.scores, nodes, -torch.inf)

    def _segments(self, leaves: Leaves) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The segment of each leaf.

        Returns:
            (tokens that are kept of the parent's plan, int [R]; tokens of the segment, int [R];
            whether it is to arrive at the end of the plan, bool [R]).
        """
        parent = leaves.tree, leaves.parent
        # Multiples of the golden ratio, modulo 1, spread any number of choices evenly.
        share = (0.5 + _GOLDEN_RATIO * leaves.action.float()) % 1
        made, end = self.made[parent], self.end[parent]
        if self.ways is None:
            shortest, longest = self._shortest[leaves.tree], self._longest[leaves.tree]
            fresh = shortest + (share * (longest - shortest)).round().long()
            kept = (share * end).long()
            return kept, torch.where(end > 0, end, fresh) - kept, torch.ones_like(kept).bool()
        room = self._model.layout.tokens - 1
        arrived = self.arrived[parent]
        kept = torch.where(arrived, torch.maximum((share * end).long(), end - room), made)
        left = end - kept
        part = (self._lengths[leaves.action % len(self._lengths)] * left).ceil().long()
        shortest = longest = left
        if self._horizon is None:
            shortest, longest = (EARLIEST * left).ceil().long(), (LATEST * left).ceil().long()
        arrives = arrived | ((longest <= room) & (part >= shortest))
        all_of_it = shortest + (share * (longest - shortest)).round().long()
        part = torch.minimum(part, shortest - 1)
        return kept, torch.where(arrives, all_of_it, part).clamp(1, room), arrives

    def _partial_plan(
        self,
        leaves: Leaves,
        kept: torch.Tensor,
        length: torch.Tensor,
        arrives: torch.Tensor,
        around: Surroundings,
    ) -> PartialPlan:
        """The segments, as noise or as the way with noise."""
        model, layout = self._model, self._model.layout
        row, index = torch.arange(len(kept)), torch.arange(int(length.max()) + 1)
        shape = len(kept), len(index), layout.token_width
        x = torch.randn(shape, generator=self._generator, dtype=torch.float32)
        held = torch.where(index <= length[:, None], FREE, model.schedule.max_level)
        end = self.end[leaves.tree, leaves.parent]
        level = None
        if self._along.any():
            last = torch.where(arrives, end, kept + length).tolist()
            nodes = zip(leaves.tree.tolist(), leaves.parent.tolist(), strict=True)
            lines = [
                self._line(*node, first, final) if self._along[node[0]] else None
                for node, first, final in zip(nodes, kept.tolist(), last, strict=True)
            ]
            steps = self._objective.settings.route_noise * _MORE_NOISE ** leaves.action.numpy()
            noise = steps * model.statistics.motion.max_step
            guess = Guess(lines, np.stack([noise, noise], 1))
            x, level = from_guess(x, held, guess, length[:, None], model)
        start = around.states[row, around.first][:, None]
        x[:, :1] = layout.to_tokens(model.statistics.normalizer.normalize(start))
        held[:, 0] = 0
        if self._query.goal is not None:
            goals = torch.from_numpy(self._query.goal)[leaves.tree]
            if self.ways is not None:
                goals = around.states[row, end * layout.frame_stack][:, layout.position]
            at_goal = goal_tokens(replace(self._query, goal=goals.numpy()), model)
            to_end = arrives.nonzero()[:, 0]
            x[to_end, length[to_end]], held[to_end, length[to_end]] = at_goal[to_end], 0
        return PartialPlan(x, held, length, start_level=level, surroundings=around)

    def _tokens_on_data(
        self, segment: torch.Tensor, length: torch.Tensor, arrives: torch.Tensor
    ) -> torch.Tensor:
        """How many tokens of each segment [R, Q, W] come before it leaves the data; int [R].

        A start or a goal that is off the data does not count.
        """
        on = self._objective.off_support(segment) == 0
        index, stack = torch.arange(on.shape[1]), self._model.layout.frame_stack
        line = index < length[:, None] * stack
        ends = self._objective.is_on_support(segment[:, [0, -1]])
        was_on = ((on & line).cumsum(1) > 0) | ends[:, :1]
        on_later = ((on & line).flip(1).cumsum(1).flip(1) > 0) | ends[:, 1:] | ~arrives[:, None]
        leaves = ~on & line & was_on & on_later
        first = torch.where(leaves, index, length[:, None] * stack).amin(1)
        return first // stack

    def _way_from(self, tree: int, node: int) -> Route | None:
        """The recorded way from where the network's part of a plan ends; None if there is none."""
        assert self.ways is not None
        layout = self._model.layout
        until = int(self.made[tree, node]) * layout.frame_stack + 1
        points = self.states[tree, node, :until, layout.position]
        passed = int(self._passed(tree, points)[-1])
        with contextlib.suppress(ObservationError):
            start = points[-1].numpy().astype(np.float64)
            return self.ways[tree].route(start, passed, shorten=False)
        return None

    def _continue_plans(
        self, leaves: Leaves, score: torch.Tensor, failed: torch.Tensor, arrived: torch.Tensor
    ) -> torch.Tensor:
        """Continue the plans of leaves along the recorded ways from where the segments end.

        Args:
            leaves: whose plans have their segments.
            score: of these plans, [R].
            failed: nothing is left of the segment, bool [R]. The plan becomes that of the parent.
            arrived: the plan is complete, bool [R].

        Returns:
            The scores, [R]. That of a failure counts all of its segment, so it is low.
        """
        score, failed = score.clone(), failed.clone()
        for row in (~failed & ~arrived).nonzero()[:, 0].tolist():
            tree, node = int(leaves.tree[row]), int(leaves.node[row])
            route = self._way_from(tree, node)
            if route is None:
                failed[row] = True
                continue
            self._continue_plan(tree, node, route)
            plan, made = self.states[tree, node][None], self.made[tree, node][None]
            time = self._objective.score(plan, made * self._model.layout.frame_stack)[0]
            score[row] = time - self.onward[tree, node]
        score -= self._delays(leaves)
        bad = leaves.tree[failed], leaves.node[failed]
        above = leaves.tree[failed], leaves.parent[failed]
        for values in (self.states, self.made, self.end, self.onward):
            values[bad] = values[above]
        self.begin[bad] = self.made[bad]
        return score

    def _continue_plan(self, tree: int, node: int, route: Route) -> None:
        """Continue the plan of a node from the end of the network's part."""
        layout, made = self._model.layout, int(self.made[tree, node])
        left = max(1, math.ceil(route.duration / layout.token_steps))
        if self._horizon is not None:
            left = max(1, self._horizon - made)
        share = np.arange(1, left * layout.frame_stack + 1) / (left * layout.frame_stack)
        line = torch.from_numpy(route.at(share * route.duration).astype(np.float32))
        first = made * layout.frame_stack + 1
        self._make_room(node + 1, first + len(line))
        plan = self.states[tree, node]
        plan[first:, layout.position] = line[-1]
        plan[first : first + len(line), layout.position] = line
        self.end[tree, node] = made + left
        self.onward[tree, node] = route.onward

    def _delays(self, leaves: Leaves) -> torch.Tensor:
        """The expected steps that jumps add to the plan of each leaf, float [R]."""
        assert self.ways is not None
        max_step = self._model.statistics.motion.max_step
        delays = []
        for tree, node in zip(leaves.tree.tolist(), leaves.node.tolist(), strict=True):
            points = self._line(tree, node, 0, int(self.end[tree, node])).points
            passed = self._passed(tree, torch.from_numpy(points))
            onward = float(self.onward[tree, node])
            stages = self.ways[tree].stages
            delays.append(expected_delay(stages, points, passed, max_step, onward))
        return torch.tensor(delays, dtype=torch.float32)

    def _passed(self, tree: int, points: torch.Tensor) -> np.ndarray:
        """How many of the required places the line ``points`` [P, 2] has passed; int [P]."""
        assert self.ways is not None
        passed = np.zeros(len(points), dtype=int)
        places = self.ways[tree].requirements.places
        if not len(places) or len(points) < 2:
            return passed
        near = _PASSED * self._model.statistics.motion.max_step
        line = points_on_lines(points[None], _SAMPLES)[0].numpy()
        first = 0
        for place in places:
            close = np.flatnonzero(np.abs(line[first:] - place).max(1) <= near)
            if not len(close):
                break
            first += int(close[0])
            passed[first // _SAMPLES + 1 :] += 1
        return passed

    def _line(self, tree: int, node: int, first: int, last: int) -> TimedLine:
        """The plan of a node from token ``first`` to token ``last``."""
        layout = self._model.layout
        frames = slice(first * layout.frame_stack, last * layout.frame_stack + 1)
        points = self.states[tree, node, frames, layout.position].numpy().astype(np.float64)
        return TimedLine(points, np.arange(len(points)) * float(layout.stride))
