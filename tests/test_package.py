"""The package as it is installed: its metadata, and that a wheel carries every file it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import dfplan

ROOT = Path(__file__).parent.parent
SHIPPED = {
    ".css",
    ".csv",
    ".html",
    ".jinja",
    ".js",
    ".json",
    ".py",
    ".npz",
    ".pyi",
    ".safetensors",
    ".typed",
}


def test_metadata_is_that_of_setup_cfg() -> None:
    declared = ConfigParser()
    declared.read(ROOT / "setup.cfg")
    installed = metadata.metadata("dfplan")
    assert installed["Version"] == declared["metadata"]["version"] == dfplan.__version__
    assert installed["License-Expression"] == "MIT"
    assert installed["Requires-Python"] == ">=3.10"
    assert set(installed.get_all("Provides-Extra") or ()) == {
        "envs",
        "video",
        "minari",
        "ogbench",
        "sb3",
        "view",
        "ray",
        "dask",
        "d3rlpy",
        "all",
        "dev",
    }


def test_console_command_exists() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="dfplan")
    assert callable(command.load())


def test_base_install_names_no_simulator() -> None:
    base = [line for line in metadata.requires("dfplan") or () if "extra ==" not in line]
    assert base
    assert not [line for line in base if "mujoco" in line or "robotics" in line]


def test_wheel_carries_every_file_of_the_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dfplan", source / "dfplan", ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dfplan/")}
    written = {p for p in (source / "dfplan").rglob("*") if p.suffix in SHIPPED}
    assert packed == {p.relative_to(source).as_posix() for p in written}
    assert "dfplan/py.typed" in packed
