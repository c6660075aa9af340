"""``dfplan data``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dfplan import data
from dfplan.cli.arguments import (
    Keys,
    maze_or_file,
    names_of_arrays,
)
from dfplan.collect import generate as generate_data
from dfplan.data import read, write
from dfplan.data.checks.check import draw_check
from dfplan.data.download import PUBLISHED, local_copy
from dfplan.data.formats.minari import PUBLISHED as MINARI_PUBLISHED
from dfplan.data.formats.minari import local_datasets
from dfplan.plotting.figures import require_picture_path
from dfplan.tokens.windows import TokenLayout


def generate(
    maze: str,
    out: Path,
    steps: int | None = None,
    collector: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    picture: Path | None = None,
) -> None:
    """Collect data as the maze's suite did, and report what came out.

    Interrupted, the same command goes on from where it was.

    Args:
        maze: maze2d-large, pointmaze-large, ogbench-giant and the like, or a text file of # and O.
        out: hdf5 file for D4RL's mazes and your own, folder for pointmaze, npz file for OGBench.
        steps: environment steps; by default as many as the suite published.
        collector: d4rl; minari or minari-dfs for pointmaze; navigate or stitch for OGBench. By
            default the first one that is for the maze's suite.
        seed: the same seed collects the same data.
        workers: processes; by default one a core.
        picture: of where the data has been, with some of it as a line; by default beside it.
    """
    if picture is not None:
        require_picture_path(picture)
    path = generate_data(
        maze_or_file(maze), steps, seed=seed, path=out, collector=collector, workers=workers
    )
    recording = read(path)
    report = data.check(recording)
    print(report)
    print(draw_check(picture or path.with_suffix(".png"), recording, report))
    print(path)


def download(name: str, directory: Path | None = None) -> None:
    """Fetch a published data set, unless it is there already.

    Args:
        name: of D4RL's (maze2d-large-v1) or OGBench's (pointmaze-giant-navigate-v0).
        directory: where to keep it; by default where its suite's own tools do.
    """
    print(data.download(name, directory))


def check(
    source: str,
    picture: Path | None = None,
    segment_by: Literal["none", "timeouts", "goals"] = "none",
    keys: Keys | None = None,
    follow_links: bool = False,
) -> int:
    """Say what data holds and what is wrong with it; the exit code is 1 if training would stop.

    Args:
        source: file, folder or name, in any layout.
        picture: where to draw where the data has been.
        segment_by: what else cuts episodes.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    recording = read(source, keys=names_of_arrays(keys), follow_links=follow_links)
    # The shortest window that any preset draws: from one token to the next.
    report = data.check(recording, segment_by, window=TokenLayout(tokens=2).token_steps + 1)
    print(report)
    if picture is not None:
        print(draw_check(picture, recording, report))
    return 0 if report.ok else 1


def info(source: str, keys: Keys | None = None, follow_links: bool = False) -> None:
    """Say what data holds, without its faults.

    Args:
        source: file, folder or name, in any layout.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    print(data.check(read(source, keys=names_of_arrays(keys), follow_links=follow_links)).summary())


def list_data() -> None:
    """List the published data sets, and which are here."""
    here = {name: folder for name in PUBLISHED if (folder := local_copy(name)) is not None}
    here |= local_datasets()
    for name in sorted({*PUBLISHED, *MINARI_PUBLISHED, *here}):
        print(f"{name:36} {here.get(name, '-')}")


def convert(
    source: str,
    out: Path,
    layout: str | None = None,
    keys: Keys | None = None,
    follow_links: bool = False,
) -> None:
    """Write data in another layout; nothing is lost there and back.

    Args:
        source: file, folder or name, in any layout.
        out: what to write: .hdf5 for D4RL's layout, .npz for OGBench's, a new folder for Minari's.
        layout: d4rl, minari or ogbench, where the ending does not say it.
        keys: names of bare arrays, as observations=obs,ends=done.
        follow_links: whether hdf5 files may take values from files outside of their folder.
    """
    print(write(read(source, keys=names_of_arrays(keys), follow_links=follow_links), out, layout))


def checksum(source: str) -> None:
    """Write the checksum of data beside it, which is compared whenever the data is read.

    Args:
        source: file, or folder of a Minari data set.
    """
    print(data.checksum(source))
