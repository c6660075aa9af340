"""The modules of the web app's script, and how they are joined into one document."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dfplan.view import document

MODULES = {path.stem: path.read_text() for path in Path(document.__file__).parent.glob("page/*.js")}
NAME = r"(?:async )?(?:function\*?|const|let|class) (\w+)"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)


def imported(source: str) -> list[tuple[str, str]]:
    """(name, module) of all imports."""
    return [
        (name, module)
        for names, module in IMPORT.findall(source)
        for name in re.findall(r"\w+", names)
    ]


def test_imports_name_exports() -> None:
    exports = {
        module: set(re.findall(rf"^export {NAME}", source, re.MULTILINE))
        for module, source in MODULES.items()
    }
    for module, source in MODULES.items():
        assert source.count("\nimport ") + source.startswith("import ") == len(
            IMPORT.findall(source)
        )
        for name, other in imported(source):
            assert name in exports[other], f"{module}.js imports {name} from {other}.js"
            assert len(re.findall(rf"\b{name}\b", source)) > 1, f"{module}.js does not use {name}"


def test_joined_modules_have_distinct_names() -> None:
    names = [
        n for source in MODULES.values() for n in re.findall(rf"^(?:export )?{NAME}", source, re.M)
    ]
    assert len(names) == len(set(names)) > 50
    assert not re.search(r"^(import|export) ", document.bundle(), re.MULTILINE)


def test_the_joined_script_is_valid(tmp_path: Path) -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("Node.js is not installed")
    script = tmp_path / "app.mjs"
    script.write_text(document.bundle())
    subprocess.run([node, "--check", script], check=True)


def test_the_document_contains_all_parts_and_escapes_data() -> None:
    plain = document.document().html
    assert "/* modules */" not in plain and "/* page.css */" not in plain
    assert "</script><b>" not in document.document({"x": "</script><b>"}).html


def test_geometry_converts_between_grid_points_and_positions(tmp_path: Path) -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("Node.js is not installed")
    for name in ("geometry", "state"):
        source = MODULES[name].replace('.js"', '.mjs"')
        (tmp_path / f"{name}.mjs").write_text(source)
    (tmp_path / "test.mjs").write_text(
        """
        import assert from "node:assert/strict";
        import * as geometry from "./geometry.mjs";
        import { state } from "./state.mjs";
        const { boxBetween, cornersOf, isFree, nearestFree, toGrid, toPosition } = geometry;
        const steps = [[[1, 0], [0, 1]], [[0, -4], [4, 0]], [[0, 4], [4, 0]]];
        const plain = (values) => values.flat().map((value) => value + 0);  // -0 becomes 0
        for (const [row_step, column_step] of steps) {
          const cell_size = Math.hypot(...row_step);
          const rows = ["#####", "#OOO#", "#O#O#", "#####"];
          const first_cell = [-0.25, 3];
          const ball_radius = cell_size / 10;
          state.maze = { rows, row_step, column_step, first_cell, cell_size, ball_radius };
          for (const point of [[0, 0], [1, 2.5], [-3, 0.125]]) {
            assert.deepEqual(plain(toGrid(toPosition(point))), point);
          }
          assert.deepEqual(plain(cornersOf(boxBetween([2, 1], [1, 3]))), [1, 1, 2, 3]);
          assert(isFree([1, 1]) && !isFree([2, 2]) && !isFree([1, 0.55]));
          assert.deepEqual(nearestFree([1, 2]), [1, 2]);
          for (const point of [[2, 2], [0, 0], [9, 9], [1, 0.55]]) {
            assert(isFree(nearestFree(point)));
          }
        }
        """
    )
    subprocess.run([node, tmp_path / "test.mjs"], check=True)
