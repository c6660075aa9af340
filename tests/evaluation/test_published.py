from __future__ import annotations

from collections import Counter

import pytest

from dfplan.evaluation.protocols import TASKS
from dfplan.evaluation.published import COMPARABLE, Published, published

SCORES = [score for task in TASKS for score in published(task)]


def test_every_score_has_a_task_and_a_source() -> None:
    assert len(SCORES) == 82  # every line of the file belongs to a task
    for score in SCORES:
        assert score.source and score.method
        assert (score.spread is None) == (score.spread_kind is None)
        assert 0 < score.mean < 300
        kind = TASKS[score.task].protocol.score_kind
        assert (
            score.scored
            in {
                "normalized": ("true", "latched", "unclear", "seconds"),
                "success": ("success", "changed", "seconds"),
            }[kind]
        )


def test_no_score_occurs_twice() -> None:
    count = Counter((each.task, each.method, each.scored) for each in SCORES)
    assert max(count.values()) == 1


def test_known_scores() -> None:
    by_method = {score.method: score for score in _scores("maze2d-large")}
    diffuser = by_method["Diffuser"]
    assert (diffuser.mean, diffuser.spread, diffuser.scored) == (123.0, 6.4, "true")
    assert by_method["Diffusion Veteran"].scored == "latched"
    giant = [each.method for each in _scores("ogbench-giant-navigate") if each.scored == "success"]
    assert giant == ["QRL", "Diffusion Forcing", "Diffuser", "HorizonFlow"]
    assert published("maze2d-huge") == []


@pytest.mark.parametrize("method", ["MCTD", "Fast-MCTD"])
def test_a_changed_protocol_does_not_compare(method: str) -> None:
    mine = [each for each in SCORES if each.method == method and each.scored != "seconds"]
    assert mine and not any(each.scored in COMPARABLE for each in mine)


def _scores(task: str) -> list[Published]:
    return [score for score in published(task) if score.scored != "seconds"]
