"""Tree search: batched, in arrays, several leaves at a time.

One tree a problem, all growing in step. What a node holds is the caller's: a tree knows nodes and
actions by their numbers and is told their values, so a hand-worked tree and a diffusion model are
searched by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import require_numbers
from dfplan.record import Record

ROOT = 0
"""The node that every search starts from."""

NONE = -1
"""In place of a node: there is none."""


@dataclass(frozen=True)
class Leaves(Record):
    """Nodes to be made, R over all problems.

    Attributes:
        problem: which tree each belongs to, int [R].
        parent: node of that tree that it is made from, int [R].
        action: what is tried there, int [R], from 0 to A - 1.
        node: its own number, int [R]; no two of a tree are alike.
    """

    problem: torch.Tensor
    parent: torch.Tensor
    action: torch.Tensor
    node: torch.Tensor

    def __len__(self) -> int:
        return len(self.node)

    @classmethod
    def joined(cls, parts: Sequence[Leaves]) -> Leaves:
        """All of ``parts``, one after the other."""
        return cls(
            torch.cat([part.problem for part in parts]),
            torch.cat([part.parent for part in parts]),
            torch.cat([part.action for part in parts]),
            torch.cat([part.node for part in parts]),
        )


@dataclass(frozen=True)
class SearchSettings:
    """How a tree grows.

    Attributes:
        exploration: weight of what is little known against what is good, where values are scaled
            to lie between 0 and 1 in each tree.
        width: children of a node at its first visit...
        widening: ...and the power of its visits with which their number grows (progressive
            widening).
    """

    exploration: float = 0.1
    width: float = 1.0
    widening: float = 0.3

    def __post_init__(self) -> None:
        require_numbers(vars(self), "exploration", least=0)
        require_numbers(vars(self), "width", least=1)
        require_numbers(vars(self), "widening", least=0, most=1)


def with_room(values: torch.Tensor, size: int, fill: float, dim: int = 1) -> torch.Tensor:
    """``values`` with room for ``size`` along ``dim``, at least doubled where it is too small."""
    room = values.shape[dim]
    if size <= room:
        return values
    ends = [0, 0] * (values.dim() - dim)
    ends[-1] = max(size, 2 * room) - room
    return F.pad(values, ends, value=fill)


class Tree:
    """B search trees, of as many nodes as are made.

    The arrays have room for N nodes and A actions, and more when these do not do.

    Attributes:
        parent: of each node, int [B, N]; ``NONE`` at the root and where no node is yet.
        child: node that each action led to, int [B, N, A]; ``NONE`` where it was not tried.
            Actions are tried in their order.
        visits: how often a node was made or passed on the way down, int [B, N].
        values: how many values were found at a node and below it, int [B, N].
        total: their sum, float [B, N].
        size: nodes made, the root included, int [B].
    """

    def __init__(self, problems: int, root_width: int, settings: SearchSettings) -> None:
        """Plant the trees.

        Args:
            problems: B.
            root_width: children of the root at its first visit, if more than of other nodes.
            settings: how to grow.
        """
        self._settings, self._root_width = settings, root_width
        self.parent = torch.full((problems, 1), NONE)
        self.child = torch.full((problems, 1, 1), NONE)
        self.visits = torch.zeros(problems, 1, dtype=torch.long)
        self.values = torch.zeros(problems, 1, dtype=torch.long)
        self.total = torch.zeros(problems, 1, dtype=torch.float32)
        self.size = torch.ones(problems, dtype=torch.long)
        self._low = torch.full((problems,), torch.inf, dtype=torch.float32)
        self._high = torch.full((problems,), -torch.inf, dtype=torch.float32)

    def select(self) -> Leaves:
        """A leaf in each tree, by upper confidence.

        From the root on: a node that may have one more child is where the leaf goes; from any
        other, the child with the highest ::

            mean value + exploration * sqrt(log(visits of the node) / visits of the child)

        is next (UCB1). A leaf counts as visited at once and is passed over until it is valued, so
        that several can be selected before any is (compare arXiv 1810.11755).
        """
        settings = self._settings
        problem = torch.arange(len(self.size))
        node = torch.full_like(problem, ROOT)
        chosen = []
        while len(problem):
            self.visits[problem, node] += 1
            children = self.child[problem, node]
            known = (children != NONE) & (self.values[problem[:, None], children] > 0)
            tried = (children != NONE).sum(1)
            width = settings.width * self.visits[problem, node].float() ** settings.widening
            width = torch.where(node == ROOT, width.clamp_min(self._root_width), width)
            grow = (tried < width) | ~known.any(1)
            chosen.append(torch.stack([problem, node, tried], 1)[grow])
            problem, node, known = problem[~grow], node[~grow], known[~grow]
            bound = self._bound(problem, node).masked_fill(~known, -torch.inf)
            node = self.child[problem, node, bound.argmax(1)]
        problem, parent, action = torch.cat(chosen).unbind(1)
        made = self.size[problem]
        self._make_room(int(made.max()) + 1, int(action.max()) + 1)
        self.size[problem] += 1
        self.parent[problem, made] = parent
        self.child[problem, parent, action] = made
        self.visits[problem, made] = 1
        return Leaves(problem, parent, action, made)

    def back_up(self, leaves: Leaves, value: torch.Tensor) -> None:
        """Add the value of each leaf, float [R], to it and to all nodes above it."""
        problem, node = leaves.problem, leaves.node
        self._low.scatter_reduce_(0, problem, value, "amin")
        self._high.scatter_reduce_(0, problem, value, "amax")
        while len(node):
            # Accumulated, as several leaves may share a node.
            self.total.index_put_((problem, node), value, accumulate=True)
            self.values.index_put_((problem, node), torch.ones_like(node), accumulate=True)
            node = self.parent[problem, node]
            above = node != NONE
            problem, node, value = problem[above], node[above], value[above]

    def _make_room(self, nodes: int, actions: int) -> None:
        self.parent = with_room(self.parent, nodes, NONE)
        self.child = with_room(with_room(self.child, nodes, NONE), actions, NONE, dim=2)
        self.visits = with_room(self.visits, nodes, 0)
        self.values = with_room(self.values, nodes, 0)
        self.total = with_room(self.total, nodes, 0)

    def _bound(self, problem: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """Upper confidence of each child, [R, A]; meaningless where it has no value yet."""
        child = problem[:, None], self.child[problem, node]
        low, high = self._low[problem, None], self._high[problem, None]
        mean = self.total[child] / self.values[child].clamp_min(1)
        value = (mean - low) / (high - low).clamp_min(1e-9)
        visits = self.visits[problem, node].float()[:, None]
        unsure = (visits.log() / self.visits[child].clamp_min(1)).sqrt()
        return value + self._settings.exploration * unsure
