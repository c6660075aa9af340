"""Monte Carlo tree search: a batch of trees in arrays, with several leaves per round.

A tree knows nodes and actions only by their numbers, and receives the values of nodes. What a node
means is up to the caller, so the same code searches plans of a diffusion model and small trees
that can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import require_numbers
from dfplan.record import Record

ROOT = 0
"""The node at which every search starts."""

NONE = -1
"""Marks the absence of a node."""


@dataclass(frozen=True)
class Leaves(Record):
    """New nodes whose values are not known yet, R over all trees.

    Attributes:
        tree: the tree of each leaf, int [R].
        parent: its parent node, int [R].
        action: the action at the parent that leads to it, int [R], from 0 to A - 1.
        node: its number, unique in its tree, int [R].
    """

    tree: torch.Tensor
    parent: torch.Tensor
    action: torch.Tensor
    node: torch.Tensor

    def __len__(self) -> int:
        return len(self.node)

    @classmethod
    def joined(cls, parts: Sequence[Leaves]) -> Leaves:
        """Concatenate leaves."""
        return cls(
            torch.cat([part.tree for part in parts]),
            torch.cat([part.parent for part in parts]),
            torch.cat([part.action for part in parts]),
            torch.cat([part.node for part in parts]),
        )


@dataclass(frozen=True)
class SearchSettings:
    """How a tree grows.

    Attributes:
        exploration: weight of the exploration term. Values are scaled to [0, 1] in each tree.
        width: children of a node at its first visit.
        widening: exponent of progressive widening: a node with n visits may have
            ``width * n ** widening`` children.
    """

    exploration: float = 0.1
    width: float = 1.0
    widening: float = 0.3

    def __post_init__(self) -> None:
        require_numbers(vars(self), "exploration", minimum=0)
        require_numbers(vars(self), "width", minimum=1)
        require_numbers(vars(self), "widening", minimum=0, maximum=1)


def with_room(values: torch.Tensor, size: int, fill: float, dim: int = 1) -> torch.Tensor:
    """``values``, padded with ``fill`` to at least ``size`` along ``dim`` if it is smaller.

    The size is at least doubled, so that repeated growth is cheap.
    """
    room = values.shape[dim]
    if size <= room:
        return values
    ends = [0, 0] * (values.dim() - dim)
    ends[-1] = max(size, 2 * room) - room
    return F.pad(values, ends, value=fill)


class Tree:
    """B search trees, one per query.

    The arrays have room for N nodes and A actions, and grow when needed.

    Attributes:
        parent: parent of each node, int [B, N]; ``NONE`` for the root and for unused entries.
        child: the node that each action led to, int [B, N, A]; ``NONE`` if it was not tried.
            Actions are tried in order.
        visits: how often each node was selected or passed on the way down, int [B, N].
        values: number of values received at a node and below it, int [B, N].
        total: their sum, float [B, N].
        size: number of nodes, including the root, int [B].
    """

    def __init__(self, count: int, root_width: int, settings: SearchSettings) -> None:
        """Create trees that consist of a root.

        Args:
            count: B.
            root_width: children of the root at its first visit, if more than those of other nodes.
            settings: exploration and widening.
        """
        self._settings, self._root_width = settings, root_width
        self.parent = torch.full((count, 1), NONE)
        self.child = torch.full((count, 1, 1), NONE)
        self.visits = torch.zeros(count, 1, dtype=torch.long)
        self.values = torch.zeros(count, 1, dtype=torch.long)
        self.total = torch.zeros(count, 1, dtype=torch.float32)
        self.size = torch.ones(count, dtype=torch.long)
        self._low = torch.full((count,), torch.inf, dtype=torch.float32)
        self._high = torch.full((count,), -torch.inf, dtype=torch.float32)

    def select(self) -> Leaves:
        """Select one leaf in each tree by upper confidence bounds (UCB1).

        The search descends from the root. A node that may have another child gets the leaf. From
        any other node it continues to the child with the highest ::

            mean value + exploration * sqrt(log(visits of the node) / visits of the child)

        A leaf counts as visited at once and is skipped until its value is known, so several leaves
        can be selected before any is evaluated (compare arXiv 1810.11755).
        """
        settings = self._settings
        tree = torch.arange(len(self.size))
        node = torch.full_like(tree, ROOT)
        chosen = []
        while len(tree):
            self.visits[tree, node] += 1
            children = self.child[tree, node]
            known = (children != NONE) & (self.values[tree[:, None], children] > 0)
            tried = (children != NONE).sum(1)
            width = settings.width * self.visits[tree, node].float() ** settings.widening
            width = torch.where(node == ROOT, width.clamp_min(self._root_width), width)
            grow = (tried < width) | ~known.any(1)
            chosen.append(torch.stack([tree, node, tried], 1)[grow])
            tree, node, known = tree[~grow], node[~grow], known[~grow]
            bound = self._bound(tree, node).masked_fill(~known, -torch.inf)
            node = self.child[tree, node, bound.argmax(1)]
        tree, parent, action = torch.cat(chosen).unbind(1)
        made = self.size[tree]
        self._make_room(int(made.max()) + 1, int(action.max()) + 1)
        self.size[tree] += 1
        self.parent[tree, made] = parent
        self.child[tree, parent, action] = made
        self.visits[tree, made] = 1
        return Leaves(tree, parent, action, made)

    def back_up(self, leaves: Leaves, value: torch.Tensor) -> None:
        """Add the value of each leaf, float [R], to the leaf and to all its ancestors."""
        tree, node = leaves.tree, leaves.node
        self._low.scatter_reduce_(0, tree, value, "amin")
        self._high.scatter_reduce_(0, tree, value, "amax")
        while len(node):
            # Accumulate, since several leaves may share an ancestor.
            self.total.index_put_((tree, node), value, accumulate=True)
            self.values.index_put_((tree, node), torch.ones_like(node), accumulate=True)
            node = self.parent[tree, node]
            above = node != NONE
            tree, node, value = tree[above], node[above], value[above]

    def _make_room(self, nodes: int, actions: int) -> None:
        self.parent = with_room(self.parent, nodes, NONE)
        self.child = with_room(with_room(self.child, nodes, NONE), actions, NONE, dim=2)
        self.visits = with_room(self.visits, nodes, 0)
        self.values = with_room(self.values, nodes, 0)
        self.total = with_room(self.total, nodes, 0)

    def _bound(self, tree: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """Upper confidence bound of each child, [R, A]; undefined where it has no value yet."""
        child = tree[:, None], self.child[tree, node]
        low, high = self._low[tree, None], self._high[tree, None]
        mean = self.total[child] / self.values[child].clamp_min(1)
        value = (mean - low) / (high - low).clamp_min(1e-9)
        visits = self.visits[tree, node].float()[:, None]
        unsure = (visits.log() / self.visits[child].clamp_min(1)).sqrt()
        return value + self._settings.exploration * unsure
