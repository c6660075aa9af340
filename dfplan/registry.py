"""Tables of named parts, to which other packages can add theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

from dfplan.errors import ConfigError

Part = TypeVar("Part")

GROUP = "dfplan"
"""Group of the entry points that name modules with parts."""


class Registry(MutableMapping[str, Part]):
    """Parts of one kind by name.

    ``registry[name] = part`` adds a part. A package can do so without being imported by the user:
    an entry point of the group ``dfplan`` names its module. It is imported when a name is asked for
    that is not one of the first parts, or when all names are. In ``pyproject.toml``::

        [project.entry-points.dfplan]
        mine = "mypackage.parts"

    Args:
        kind: what the parts are, in the singular, for messages.
        parts: the first parts.

    Raises:
        ConfigError: in any use that imports them, a module cannot be imported.
    """

    def __init__(self, kind: str, parts: Mapping[str, Part] | None = None) -> None:
        self.kind = kind
        self._parts = dict(parts or {})
        self._first = frozenset(self._parts)

    def __getitem__(self, name: str) -> Part:
        if name not in self._first:
            import_parts()
        return self._parts[name]

    def __setitem__(self, name: str, part: Part) -> None:
        """Add a part.

        Raises:
            ConfigError: another part has this name.
        """
        if self._parts.get(name, part) is not part:
            raise ConfigError(
                f"There is already a {self.kind} with the name {name!r}. Choose another name."
            )
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        del self._parts[name]

    def __iter__(self) -> Iterator[str]:
        import_parts()
        return iter(self._parts)

    def __len__(self) -> int:
        import_parts()
        return len(self._parts)

    def setdefault(self, name: str, part: Part) -> Part:
        """Add a part, as ``registry[name] = part`` does, and return it."""
        self[name] = part
        return part


def import_parts() -> None:
    """Import the modules that entry points name, once.

    Raises:
        ConfigError: a module cannot be imported. It comes again in each call: a second import could
            succeed with the parts that the first one added before it failed.
    """
    failure = _failed_import()
    if failure is not None:
        raise ConfigError(str(failure)) from failure.__cause__


@cache
def _failed_import() -> ConfigError | None:
    """The error of importing the modules that entry points name, if there is one."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # anything may happen in another package
            failure = ConfigError(
                f"The package with the entry point {entry.name} = {entry.value!r} cannot be "
                f"imported: {type(error).__name__}: {error}. Repair or uninstall it."
            )
            failure.__cause__ = error
            return failure
    return None
