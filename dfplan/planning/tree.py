"""Variable-horizon Monte Carlo tree guidance: a search over plans that are denoised in parts.

A whole plan sampled at once is only as good as its worst stretch. Diffusion Forcing can hold any
tokens clean and denoise the others, so a search can keep what is good of a plan and go on from
there. (Compare arXiv 2502.07202 and 2506.09498, whose nodes settle a plan from its start alone.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.boundary import isolated
from dfplan.errors import ConfigError, require_numbers
from dfplan.planning.partial_plan import Candidates, Draft
from dfplan.planning.query import Problem, noise_source
from dfplan.planning.search import ROOT, Leaves, SearchSettings, Tree, with_room
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import Pursuit
from dfplan.record import Record
from dfplan.sampling.matrices import FREE
from dfplan.types import Plan, Reward, SearchTree

_GOLDEN = (math.sqrt(5) - 1) / 2
_SHOWN = 16


@dataclass(frozen=True)
class Change:
    """One way to go on from a plan.

    Attributes:
        renew: tokens on either side of what is wrong that are denoised anew with it. Where
            nothing is wrong, those around a place, which then has up to so many tokens fewer.
        longer: tokens by which each segment that is denoised anew grows.
        scale: of the guidance, relative to the planner's.
    """

    renew: int
    longer: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "renew", whole=True, least=0)
        require_numbers(vars(self), "longer", whole=True)
        require_numbers(vars(self), "scale", least=0)


@dataclass(frozen=True)
class TreeSettings:
    """How far and how wide to search.

    Attributes:
        evaluations: most network evaluations a problem, one a sequence of tokens; None where time
            alone ends the search. No round is begun that would go beyond it if all its plans were
            as long as can be.
        milliseconds: time after which no further round is begun; None sets no limit. One round
            is always made.
        leaves: nodes that each round adds to a tree, so many sequences in a network call.
        horizons: plans from scratch, of as many horizons, before any is gone on from; more are
            made as the search goes on.
        changes: the ways to go on from a plan, in the order in which they are tried.
        search: exploration and widening.
    """

    evaluations: int | None = 192
    milliseconds: float | None = None
    leaves: int = 8
    horizons: int = 8
    changes: tuple[Change, ...] = (
        Change(1, 1),
        Change(4, 4),
        Change(1, 3),
        Change(2, 0, scale=3.0),
        Change(2, 6),
        Change(6, 2, scale=0.3),
    )
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        require_numbers(vars(self), "leaves", "horizons", whole=True, least=1)
        if self.evaluations is not None:
            require_numbers(vars(self), "evaluations", whole=True, least=1)
        if self.milliseconds is not None:
            require_numbers(vars(self), "milliseconds", above=0, most=math.inf)
        if self.evaluations is None and self.milliseconds is None:
            raise ConfigError("A tree needs a budget in evaluations or milliseconds; got neither.")
        if not (isinstance(self.changes, tuple) and self.changes) or not all(
            isinstance(change, Change) for change in self.changes
        ):
            raise ConfigError(
                f"changes must be a tuple of Change, of at least one; got {self.changes!r}."
            )


@dataclass(frozen=True)
class TreePlanner(Record):
    """Plans by searching over plans that are kept in part and denoised in part.

    A node is a whole plan and its score, that of :class:`ForcingPlanner`. Children of the root
    are denoised from scratch, each with a horizon of its own. A child of another node keeps that
    plan's tokens but for the segments where it leaves the data, and denoises these anew under a
    :class:`Change`: with some more tokens around them, a longer horizon, another guidance scale.
    Of a plan that never leaves the data some segment is denoised anew with fewer tokens than it
    had. Free tokens go along the planner's own matrix, in its few steps, while all others are
    held; which node is gone on from is decided by upper confidence
    (:class:`~dfplan.planning.search.Tree`). The best plan of the tree, polished, is the answer, so
    the search can be stopped at any time. With the same seed the nodes of a smaller budget, in
    whole rounds, are the first of a larger one, so the best node's score never falls with more.

    Attributes:
        planner: samples and scores; ``candidates`` of its settings is not used.
        settings: how far and how wide to search.

    Raises:
        ConfigError: a planner of another kind, or one that leaves tokens noisy (``rows`` below
            1), which a node would keep as if they were clean.
    """

    planner: ForcingPlanner
    settings: TreeSettings = field(default_factory=TreeSettings)

    def __post_init__(self) -> None:
        if not isinstance(self.planner, ForcingPlanner) or self.planner.settings.rows < 1:
            raise ConfigError(
                "A tree needs a ForcingPlanner whose settings have rows=1, so that plans come out "
                f"clean; got {self.planner!r:.200}."
            )

    @isolated()
    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
        trace: bool = False,
        watch: Callable[[SearchTree], None] | None = None,
    ) -> Plan:
        """Plan from each observation to its goal, or by reward alone.

        Arguments and errors are those of :meth:`ForcingPlanner.plan`, but for a past, which a tree
        has not. ``horizon`` is that of the plans from scratch; changes may make it longer. The
        plan's candidates are the 16 best of the tree, which ``trace`` keeps whole; ``watch`` is
        called with it after each round.

        Raises:
            ConfigError: the budget is too small for one expansion, too.
        """
        began = time.perf_counter()
        problem, reward = self.planner.read(observation, goal, reward)
        settings = self.settings
        plans = _Plans(self.planner, settings, problem, horizon, noise_source(seed))
        cost, most = plans.highest_cost, settings.evaluations
        if most is not None and most < cost:
            raise ConfigError(
                f"A tree needs a budget for at least one expansion, here {cost} network "
                f"evaluations; got {most}."
            )
        tree = Tree(len(problem), settings.horizons, settings.search)
        evaluations, width = 0, settings.leaves
        while most is None or (width := min(settings.leaves, (most - evaluations) // cost)) > 0:
            leaves = Leaves.joined([tree.select() for _ in range(width)])
            value, calls = plans.expand(leaves, reward)
            tree.back_up(leaves, value)
            evaluations += width * calls
            if watch is not None:
                watch(plans.grown(tree))
            spent = 1e3 * (time.perf_counter() - began)
            if settings.milliseconds is not None and spent > settings.milliseconds:
                break
        plan = self.planner.settle(
            problem,
            plans.best(_SHOWN),
            reward,
            evaluations=evaluations,
            began=began,
        )
        return replace(plan, tree=plans.grown(tree)) if trace else plan

    def tracker(self) -> Pursuit:
        """That of the planner."""
        return self.planner.tracker()


class _Plans:
    """What the nodes of all trees hold, in arrays with room for N of them.

    Attributes:
        tokens: clean tokens, float [B, N, T, D]; of the root, the start and the goal.
        end: index of the last token, int [B, N].
        wrong: which tokens a line off the data leads from or to, bool [B, N, T].
        points: positions in units of the data, float [B, N, P, 2].
        scores: float [B, N]; the root has none.
    """

    def __init__(
        self,
        planner: ForcingPlanner,
        settings: TreeSettings,
        problem: Problem,
        horizon: int | None,
        generator: torch.Generator,
    ) -> None:
        self._planner, self._changes, self._generator = planner, settings.changes, generator
        self._to_goal = problem.goal is not None
        self._shortest, self._asked = planner.horizons(problem, horizon)
        self._longest = planner.horizons(problem, None)[1]
        shape, layout = (len(problem), 1), planner.layout
        count = int(self._longest.max()) + 1
        self.tokens = torch.zeros(*shape, count, layout.features, dtype=torch.float32)
        self.tokens[:, ROOT, 0] = planner.token(problem.start)
        if problem.goal is not None:
            self.tokens[:, ROOT, -1] = planner.token(torch.from_numpy(problem.goal))
        self.end = torch.full(shape, count - 1)
        self.wrong = torch.ones(*shape, count, dtype=torch.bool)
        frames = 1 + (count - 1) * layout.frame_stack
        self.points = torch.zeros(*shape, frames, 2, dtype=torch.float32)
        self.scores = torch.full(shape, -torch.inf, dtype=torch.float32)

    @property
    def highest_cost(self) -> int:
        """Network evaluations of the dearest plan there can be."""
        longest = max(1, int(self._longest.max()) - self._to_goal)
        if isinstance(self._planner.settings.matrix, str):  # of these the longest
            return self._planner.cost(longest)
        return max(self._planner.cost(tokens) for tokens in range(1, longest + 1))

    def expand(self, leaves: Leaves, reward: Reward | None) -> tuple[torch.Tensor, int]:
        """Make each leaf's plan; its score, float [R], and the evaluations that one took."""
        planner, stack = self._planner, self._planner.layout.frame_stack
        draft, scale = self._draft(leaves)
        rows = planner.denoise(draft, planner.matrix(draft), reward, self._generator, scale)
        points = planner.points(rows.clean[-1], draft.end)
        score = planner.score(points, reward)
        off = F.pad(planner.off_support(points) > 0, (1, 1))
        frame = F.pad(off[:, :-1] | off[:, 1:], (stack - 1, 0))
        self._make_room(int(leaves.node.max()) + 1)
        node, count = (leaves.problem, leaves.node), draft.x.shape[1]
        self.tokens[(*node, slice(count))] = rows.clean[-1]
        self.wrong[(*node, slice(count))] = frame.view(len(leaves), count, stack).any(-1)
        self.points[node] = points[:, -1:]
        self.points[(*node, slice(points.shape[1]))] = points
        self.end[node], self.scores[node] = draft.end, score
        return score, rows.evaluations

    def best(self, count: int) -> Candidates:
        """The ``count`` best of each problem, or as many as there are."""
        order = self.scores.argsort(dim=1, descending=True, stable=True)
        order = order[:, : min(count, int(self.scores.isfinite().sum(1).min()))]
        node = torch.arange(len(order))[:, None], order
        points = self.points[node]
        level = torch.zeros(points.shape[:-1], dtype=torch.long)
        return Candidates(points, self.end[node], level, self.scores[node])

    def grown(self, tree: Tree) -> SearchTree:
        """The nodes that there are so far, as a record of their own."""
        few = slice(int(tree.size.max()))
        return SearchTree(
            parent=tree.parent[:, few].numpy().copy(),
            points=self.points[:, few].numpy().copy(),
            scores=self.scores[:, few].numpy().copy(),
            visits=tree.visits[:, few].numpy().copy(),
        )

    def _make_room(self, nodes: int) -> None:
        self.tokens = with_room(self.tokens, nodes, 0)
        self.end = with_room(self.end, nodes, 0)
        self.wrong = with_room(self.wrong, nodes, 0)
        self.points = with_room(self.points, nodes, 0)
        self.scores = with_room(self.scores, nodes, -torch.inf)

    def _draft(self, leaves: Leaves) -> tuple[Draft, torch.Tensor]:
        """What each leaf keeps of its parent's plan, noise elsewhere, and its guidance scale."""
        at, root = (leaves.problem, leaves.parent), leaves.parent == ROOT
        tokens, was, longest = self.tokens[at], self.end[at], self._longest[leaves.problem]
        # Steps of the golden ratio spread any number of choices evenly.
        share = (0.5 + _GOLDEN * leaves.action.float()) % 1
        shortest = self._shortest[leaves.problem]
        fresh = shortest + (share * (self._asked[leaves.problem] - shortest)).round().long()
        choice = leaves.action % len(self._changes)
        renew, longer = torch.tensor([[c.renew, c.longer] for c in self._changes])[choice].unbind(1)
        scale = torch.tensor([c.scale for c in self._changes], dtype=torch.float32)[choice]

        index = torch.arange(tokens.shape[1])
        inner = (index > 0) & (index < was[:, None] + (not self._to_goal))
        wrong = self.wrong[at] & inner
        # Where nothing is wrong any place is as good as another, and the plan may be shorter.
        whole, place = ~wrong.any(1), 1 + (share * (was - 1)).long()
        wrong = torch.where(whole[:, None], index == place[:, None], wrong)
        near = (index[:, None] - index).abs() <= renew[:, None, None]
        free = inner & ((near & wrong[:, None]).any(-1) | root[:, None])

        # Each stretch of free tokens grows by as many as the longest horizon leaves room for, or
        # shrinks by fewer than it has.
        begins = free & ~F.pad(free, (1, 0))[:, :-1]
        stretches = begins.sum(1)
        more = torch.minimum(longer, (longest - was) // stretches.clamp_min(1)).clamp_min(0)
        fewer = torch.minimum(torch.minimum(renew, free.sum(1) - 1), was - shortest).clamp_min(0)
        more = torch.where(whole, -fewer, more)
        target = index + more[:, None] * begins.cumsum(1)
        end = torch.where(root, fresh, was + more * stretches)
        target = torch.where(root[:, None] & (index == was[:, None]), end[:, None], target)
        keep = ~free & (index <= was[:, None])

        x = torch.randn(tokens.shape, generator=self._generator, dtype=tokens.dtype)
        held = torch.where(index <= end[:, None], FREE, self._planner.schedule.max_level)
        row, column = keep.nonzero(as_tuple=True)
        x[row, target[row, column]] = tokens[row, column]
        held[row, target[row, column]] = 0
        few = slice(int(end.max()) + 1)
        return Draft(x[:, few], held[:, few], end), torch.where(root, 1.0, scale)
