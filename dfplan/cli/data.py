"""``dfplan data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dfplan import data
from dfplan.cli.arguments import Columns, Keys, Numbers, maze_or_file
from dfplan.data.checks.check import draw_check
from dfplan.data.download import datasets


def generate(
    maze: str,
    out: Path,
    steps: int | None = None,
    collector: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    picture: Path | None = None,
) -> None:
    """Collect data in a maze as its suite did, and check it.

    After an interrupt, the same command continues.

    Args:
        maze: a name such as maze2d-large or ogbench-giant, or a text file of # and O.
        out: an hdf5 file for D4RL's mazes and your own, a folder for pointmaze, an npz file for
            OGBench.
        steps: environment steps; default: as many as the suite published.
        collector: d4rl, or d4rl-stitch for short walks; minari or minari-dfs for pointmaze;
            navigate or stitch for OGBench. Default: the first one of the maze's suite.
        seed: equal seeds give equal data.
        workers: processes; default: one a core.
        picture: picture of the visited places; default: next to the data.
    """
    # Here, because the help and the other commands need neither simulators nor Matplotlib.
    from dfplan.collect import generate as generate_data
    from dfplan.plotting.figures import require_picture_path

    if picture is not None:
        require_picture_path(picture)
    path = generate_data(
        maze_or_file(maze), steps, seed=seed, path=out, collector=collector, workers=workers
    )
    recording = data.read(path)
    report = data.check(recording)
    print(report)
    print(draw_check(picture or path.with_suffix(".png"), recording, report))
    print(path)


def download(name: str, directory: Path | None = None, known_hash: str | None = None) -> None:
    """Download a published data set, unless its files already exist.

    Args:
        name: a data set of D4RL (maze2d-large-v1) or OGBench (pointmaze-giant-navigate-v0).
        directory: where to store it; default: the folder that the suite's own tools use.
        known_hash: SHA-256 that the file must have, in hexadecimal digits.
    """
    print(data.download(name, directory, known_hash=known_hash))


def check(
    source: str,
    picture: Path | None = None,
    segment_by: Literal["none", "timeouts", "goals"] = "none",
    **how: Any,
) -> int:
    """Describe data and list what is wrong with it. The exit code is 1 if training would fail.

    Args:
        source: file, folder or name of a data set, in any format.
        picture: picture of the visited places to write.
        segment_by: cut episodes also after timeouts, or where the goal changes.
        **how: how to read the data.
    """
    from dfplan.tokens.layout import TokenLayout  # here, because PyTorch is slow to import

    recording = data.read(source, **reading(**how))
    # The shortest window that any preset draws: from one token to the next.
    report = data.check(recording, segment_by, window=TokenLayout(tokens=2).token_steps + 1)
    print(report)
    if picture is not None:
        print(draw_check(picture, recording, report))
    return 0 if report.ok else 1


def info(source: str, **how: Any) -> None:
    """Describe data, but do not list what is wrong with it.

    Args:
        source: file, folder or name of a data set, in any format.
        **how: how to read the data.
    """
    print(data.check(data.read(source, **reading(**how))).summary())


def list_data() -> None:
    """List the published data sets, and where those on this machine are."""
    for name, path in sorted(datasets().items()):
        print(f"{name:36} {path or '-'}")


def convert(source: str, out: Path, format: str | None = None, **how: Any) -> None:
    """Write data in another format. Converting it back gives the same data.

    Args:
        source: file, folder or name of a data set, in any format.
        out: file ending in .hdf5 for D4RL's format or .npz for OGBench's, or a new folder for
            Minari's.
        format: d4rl, minari or ogbench; default: by the ending of out.
        **how: how to read the data.
    """
    print(data.write(data.read(source, **reading(**how)), out, format))


def checksum(source: str) -> None:
    """Write the checksum of data to a file next to it. Readers compare it from then on.

    Args:
        source: a file, or the folder of a Minari data set.
    """
    print(data.checksum(source))


def reading(
    keys: Keys | None = None,
    position: Numbers | None = None,
    velocity: Columns | None = None,
    follow_links: bool = False,
) -> dict[str, Any]:
    """The arguments of :func:`dfplan.data.read`. The commands take theirs from here.

    Args:
        keys: names of the arrays in the file, as observations=obs,ends=done.
        position: the two columns of an observation that are the position, counted from 0, as 0,1.
            Needed for observations of other than 2 or 4 numbers.
        velocity: the two columns of its velocity, as 15,16; none if the observation has no
            velocity. Without it, the last two of 4 numbers are the velocity.
        follow_links: let hdf5 files refer to files outside their folder.
    """
    names = None if keys is None else dict(keys)
    return {
        "keys": names,
        "position": position,
        "velocity": velocity,
        "follow_links": follow_links,
    }
