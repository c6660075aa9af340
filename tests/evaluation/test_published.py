from __future__ import annotations

from collections import Counter

import pytest

from dfplan.evaluation.protocols import TASKS
from dfplan.evaluation.published import COMPARABLE, Published, published

FIGURES = [figure for task in TASKS for figure in published(task)]


def test_every_figure_is_of_a_task_and_has_a_source() -> None:
    assert len(FIGURES) == 82  # all lines of the file
    for figure in FIGURES:
        assert figure.source and figure.method
        assert (figure.spread is None) == (figure.spread_kind is None)
        assert 0 < figure.mean < 300
        kind = TASKS[figure.task].protocol.score_kind
        assert (
            figure.scored
            in {
                "normalized": ("true", "latched", "unclear", "seconds"),
                "success": ("success", "changed", "seconds"),
            }[kind]
        )


def test_no_figure_is_there_twice() -> None:
    count = Counter((each.task, each.method, each.scored) for each in FIGURES)
    assert max(count.values()) == 1


def test_known_figures() -> None:
    by_method = {figure.method: figure for figure in _scores("maze2d-large")}
    diffuser = by_method["Diffuser"]
    assert (diffuser.mean, diffuser.spread, diffuser.scored) == (123.0, 6.4, "true")
    assert by_method["Diffusion Veteran"].scored == "latched"
    giant = [each.method for each in _scores("ogbench-giant-navigate") if each.scored == "success"]
    assert giant == ["QRL", "Diffusion Forcing", "Diffuser", "HorizonFlow"]
    assert published("maze2d-huge") == []


@pytest.mark.parametrize("method", ["MCTD", "Fast-MCTD"])
def test_a_changed_protocol_does_not_compare(method: str) -> None:
    mine = [each for each in FIGURES if each.method == method and each.scored != "seconds"]
    assert mine and not any(each.scored in COMPARABLE for each in mine)


def _scores(task: str) -> list[Published]:
    return [figure for figure in published(task) if figure.scored != "seconds"]
