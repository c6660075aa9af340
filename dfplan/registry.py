"""Tables of named parts, to which other packages can add theirs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from dfplan.errors import ConfigError

Part = TypeVar("Part")

GROUP = "dfplan"
"""Group of the entry points that name modules with parts."""


class Registry(dict[str, Part]):
    """Parts of one kind by name.

    ``registry[name] = part`` adds a part. A package can do so without being imported by the user:
    an entry point of the group ``dfplan`` names its module, which is imported when a name is not
    known yet, or when :meth:`everything` is asked for. In ``pyproject.toml``::

        [project.entry-points.dfplan]
        mine = "mypackage.parts"

    Args:
        kind: what the parts are, in the singular, for messages.
        parts: the first parts.
    """

    def __init__(self, kind: str, parts: Mapping[str, Part] | None = None) -> None:
        super().__init__(parts or {})
        self.kind = kind

    def __setitem__(self, name: str, part: Part) -> None:
        """Add a part.

        Raises:
            ConfigError: another part has this name.
        """
        if super().get(name, part) is not part:
            raise ConfigError(
                f"There is already a {self.kind} with the name {name!r}. Choose another name."
            )
        super().__setitem__(name, part)

    def update(self, *parts: Any, **named: Part) -> None:
        """Add parts, as ``registry[name] = part`` does."""
        for name, part in dict(*parts, **named).items():
            self[name] = part

    def __ior__(self, parts: Any) -> Registry[Part]:  # type: ignore[misc, override]
        self.update(parts)
        return self

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        import_parts()
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The part with this name, or ``default``."""
        known = name in self  # imports the parts of other packages
        return self[name] if known else default

    def everything(self) -> dict[str, Part]:
        """All parts by name, with those of other packages."""
        import_parts()
        return dict(self)


@cache
def import_parts() -> None:
    """Import the modules that entry points name, once.

    Raises:
        ConfigError: a module cannot be imported.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # anything may happen in another package
            raise ConfigError(
                f"The package with the entry point {entry.name} = {entry.value!r} cannot be "
                f"imported: {type(error).__name__}: {error}. Repair or uninstall it."
            ) from error
