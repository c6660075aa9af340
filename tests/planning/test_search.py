"""Tree search on small trees and bandits, worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.planning.search import NONE, ROOT, Leaves, SearchSettings, Tree


@dataclass
class Game:
    """The value of a node, by its tree and the actions that lead to it."""

    worth: Callable[[int, tuple[int, ...]], float]
    paths: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)

    def play(self, tree: Tree, rounds: int, leaves: int = 1) -> None:
        for _ in range(rounds):
            chosen = Leaves.joined([tree.select() for _ in range(leaves)])
            values = []
            for index, parent, action, node in zip(
                chosen.tree.tolist(),
                chosen.parent.tolist(),
                chosen.action.tolist(),
                chosen.node.tolist(),
                strict=True,
            ):
                path = (*self.paths.get((index, parent), ()), action)
                assert (index, node) not in self.paths
                self.paths[index, node] = path
                values.append(self.worth(index, path))
            tree.back_up(chosen, torch.tensor(values))


def test_a_bandit_follows_upper_confidence_bounds() -> None:
    # Whatever follows an arm is worth what the arm is; the arms' values are scaled to 1, 0.5, 0.
    worth = (3.0, 2.0, 1.0)
    one_child = SearchSettings(exploration=0.7, width=1.0, widening=0.0)
    tree = Tree(count=1, root_width=3, settings=one_child)
    Game(lambda _, path: worth[path[0]]).play(tree, rounds=36)

    visits = [1, 1, 1]
    for played in range(3, 36):
        bounds = [
            (value - 1) / 2 + 0.7 * math.sqrt(math.log(played + 1) / count)
            for value, count in zip(worth, visits, strict=True)
        ]
        visits[bounds.index(max(bounds))] += 1
    assert tree.visits[0, tree.child[0, ROOT, :3]].tolist() == visits
    assert visits[0] > visits[1] > visits[2]


def test_a_small_tree_worked_by_hand() -> None:
    # Two children a node. The root's are worth 0 and 4; both of the better one's, 1 and 3, are
    # made before it is left, for its mean stays the higher.
    two = SearchSettings(exploration=0.0, width=2.0, widening=0.0)
    tree = Tree(count=1, root_width=2, settings=two)
    values = {(0,): 0.0, (1,): 4.0, (1, 0): 1.0, (1, 1): 3.0}
    game = Game(lambda _, path: values[path])
    game.play(tree, rounds=4)
    node = {path: number for (_, number), path in game.paths.items()}
    assert tree.parent[0, :5].tolist() == [NONE, ROOT, ROOT, node[1,], node[1,]]
    assert tree.total[0, :5].tolist() == [8.0, 0.0, 8.0, 1.0, 3.0]
    assert tree.values[0, :5].tolist() == [4, 1, 3, 1, 1]
    assert tree.visits[0, :5].tolist() == [4, 1, 3, 1, 1]


@pytest.mark.parametrize("leaves", [1, 2, 5, 20])
def test_leaves_of_a_round_differ_and_visits_are_counted(leaves: int) -> None:
    settings = SearchSettings(width=2.0, widening=0.5)
    tree = Tree(count=3, root_width=3, settings=settings)
    game = Game(lambda _, path: float(sum(path)))  # which refuses a node that is made twice
    game.play(tree, rounds=20 // leaves, leaves=leaves)
    assert (tree.size == 21).all()
    for (index, node), path in game.paths.items():
        parent = int(tree.parent[index, node])
        assert game.paths.get((index, parent), ()) == path[:-1]
        assert tree.child[index, parent, path[-1]] == node
    below = torch.ones(3, 21, dtype=torch.long)
    for node in range(20, 0, -1):
        below[torch.arange(3), tree.parent[:, node]] += below[:, node]
    assert torch.equal(tree.visits[:, 1:21], below[:, 1:])
    assert torch.equal(tree.values[:, 1:21], below[:, 1:])


def test_trees_are_independent() -> None:
    def worth(index: int, path: tuple[int, ...]) -> float:
        return float(len(path) + (path[0] == index))

    settings = SearchSettings(exploration=0.5)
    together = Tree(count=2, root_width=3, settings=settings)
    Game(worth).play(together, rounds=12, leaves=2)
    for index in (0, 1):
        alone = Tree(count=1, root_width=3, settings=settings)
        Game(lambda _, path, own=index: worth(own, path)).play(alone, rounds=12, leaves=2)
        assert torch.equal(alone.parent[0], together.parent[index])
        assert torch.equal(alone.total[0], together.total[index])


def test_the_number_of_children_grows_with_the_visits() -> None:
    narrow = SearchSettings(width=1.0, widening=0.5)
    tree = Tree(count=1, root_width=1, settings=narrow)
    Game(lambda *_: 0.0).play(tree, rounds=100)
    children = (tree.child[0] != NONE).sum(1)
    assert (children <= tree.visits[0].float().sqrt().ceil()).all()
    assert children[ROOT] == 10


@pytest.mark.parametrize(
    "wrong", [{"exploration": -1.0}, {"width": 0.5}, {"widening": 1.5}, {"widening": math.nan}]
)
def test_invalid_settings_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
        SearchSettings(**wrong)
