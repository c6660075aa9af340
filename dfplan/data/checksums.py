"""Write checksums of data, which readers then compare."""

from __future__ import annotations

import os
from pathlib import Path

from dfplan.data.formats.minari_files import is_dataset
from dfplan.data.links import referenced_files
from dfplan.data.sha256 import checksum_file, sha256_of, write_checksum
from dfplan.errors import DataError
from dfplan.files import expand_path


def checksum(source: str | os.PathLike[str]) -> Path:
    """Write the checksum of a data file, or of all files of a Minari data set, and return its path.

    From then on the data is compared with it whenever it is read. :func:`dfplan.data.write`
    updates it. Files in the same folder that an hdf5 file takes values from get a checksum too. The
    checksum file has the path of ``source`` with ``.sha256`` appended.

    Raises:
        ConfigError: ``source`` is not a valid path.
        DataError: there is no such file or data set; it cannot be read; or it takes values from a
            file in another folder that has no checksum.
        OSError: the checksum cannot be written.
    """
    path = Path(os.path.abspath(expand_path(source)))
    if os.path.isdir(path):
        if not is_dataset(path):
            raise DataError(f"The folder {path} is not a Minari data set. Pass one, or a file.")
    elif not os.path.isfile(path):
        raise DataError(f"There is no file or Minari data set at {path}. Check the path.")
    else:
        for part in referenced_files(path):
            if part.is_relative_to(path.resolve().parent):
                write_checksum(part, sha256_of(part))
            elif not checksum_file(part).exists():
                raise DataError(
                    f"{path} takes values from {part}, in another folder. Write its checksum "
                    f"first: dfplan data checksum {part}"
                )
    return write_checksum(path, sha256_of(path))
