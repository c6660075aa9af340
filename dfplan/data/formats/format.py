"""What a data format must provide: how to detect, read, write and download it."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import h5py

from dfplan.data.hdf5 import open_hdf5
from dfplan.data.npz import npz_arrays
from dfplan.data.storage import require_file
from dfplan.errors import ConfigError
from dfplan.files import expand_path
from dfplan.record import Record
from dfplan.types import Recording


class Reader(Protocol):
    """Reads a file or folder.

    ``follow_links`` allows links of an hdf5 file to other files. ``position`` names the columns of
    the position; see :func:`~dfplan.observations.observation_layout`.
    """

    def __call__(
        self, path: Path, *, follow_links: bool, position: Sequence[int] | None
    ) -> Recording: ...


@dataclass(frozen=True)
class Contents:
    """What is at a path, an existing file or folder, for the detection of its format.

    ``follow_links`` says whether an hdf5 file may contain links to other files.
    """

    path: Path
    follow_links: bool

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @cached_property
    def hdf5(self) -> frozenset[str] | None:
        """Names at the top level of an hdf5 file; None if it is not an hdf5 file."""
        require_file(self.path)
        if not h5py.is_hdf5(self.path):
            return None
        with open_hdf5(self.path, self.follow_links) as file:
            return frozenset(file)

    @cached_property
    def npz(self) -> frozenset[str] | None:
        """Names of the arrays of an npz file; None if it is not an npz file."""
        require_file(self.path)
        if not zipfile.is_zipfile(self.path) and self.path.suffix != ".npz":
            return None
        return frozenset(npz_arrays(self.path))


@dataclass(frozen=True)
class Publisher(Record):
    """A suite that publishes data sets for download by https.

    Attributes:
        title: name of the suite, for messages.
        url: address of the folder that contains the files.
        variable: environment variable with the folder for downloaded files.
        folder: default of that folder, relative to the home folder.
        fault: says why a file is not complete; None if it is.
        files: the files of each data set by its name. The first one is for training.
    """

    title: str
    url: str
    variable: str
    folder: str
    fault: Callable[[Path], str | None]
    files: Mapping[str, tuple[str, ...]]

    def directory(self) -> Path:
        """The folder in which the suite's own tools keep the files.

        Raises :class:`ConfigError` if there is no home folder, and the variable is not set.
        """
        try:
            return expand_path(os.environ.get(self.variable) or Path.home() / self.folder)
        except RuntimeError as error:
            raise ConfigError(
                f"There is no home folder for the files of {self.title}. Set the environment "
                f"variable {self.variable} to a folder."
            ) from error

    def datasets(self) -> dict[str, Path | None]:
        """The data sets by name: the local file for training, or None if a file is missing."""
        folder = self.directory()
        paths = {name: [folder / file for file in files] for name, files in self.files.items()}
        return {
            name: files[0] if all(file.exists() for file in files) else None
            for name, files in paths.items()
        }


@dataclass(frozen=True)
class Format(Record):
    """A format of data files.

    Attributes:
        name: what :func:`dfplan.data.read` and :func:`dfplan.data.write` call it.
        title: its name and the form of its files, for messages.
        detect: whether a file or folder has this format.
        read: reads a file or folder.
        write: writes a recording to a path, and returns the path.
        endings: file name endings that select this format for writing; empty for a folder.
        datasets: the known data sets by name: the path, or None if not on this machine.
        publisher: where to download data sets by name; None if ``read`` takes care of that.
        ids: names that ``read`` accepts in place of a path; None for no names.
    """

    name: str
    title: str
    detect: Callable[[Contents], bool]
    read: Reader
    write: Callable[[Recording, Path], Path]
    endings: tuple[str, ...]
    datasets: Callable[[], Mapping[str, Path | None]]
    publisher: Publisher | None = None
    ids: re.Pattern[str] | None = None
