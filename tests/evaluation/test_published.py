from __future__ import annotations

import pytest

from dfplan.evaluation.protocols import TASKS
from dfplan.evaluation.published import published


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_figure_has_a_source_and_says_what_it_counts(task: str) -> None:
    figures = published(task)
    assert figures
    for figure in figures:
        assert figure.scored in ("true", "latched", "unclear")
        assert figure.source and figure.method
        assert (figure.spread is None) == (figure.spread_kind is None)
        assert 0 < figure.mean < 300


def test_known_figures() -> None:
    by_method = {figure.method: figure for figure in published("maze2d-large")}
    diffuser = by_method["Diffuser"]
    assert (diffuser.mean, diffuser.spread, diffuser.scored) == (123.0, 6.4, "true")
    assert by_method["Diffusion Veteran"].scored == "latched"
    assert published("maze2d-huge") == []
