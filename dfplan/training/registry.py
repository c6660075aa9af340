"""The recipes by the name that checkpoints store.

A new recipe is one file with a :class:`~dfplan.training.objective.Recipe`, and one call of
:func:`register_recipe`. Modules are imported when a recipe is first used, so this table is cheap
to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from dfplan.errors import ConfigError, lookup

if TYPE_CHECKING:
    from dfplan.training.checkpoint import Checkpoint
    from dfplan.training.objective import Recipe

Product = Literal["planner", "policy", "value", "tracker"]
"""What the ``load`` of a recipe returns."""


@dataclass(frozen=True)
class Entry:
    """A registered recipe.

    Attributes:
        module: the module of its configuration class.
        config: the name of that class.
        product: what its ``load`` returns.
    """

    module: str
    config: str
    product: Product


RECIPES: dict[str, Entry] = {}
"""Every registered recipe; add to it by :func:`register_recipe`."""


def register_recipe(name: str, config: str, product: Product) -> None:
    """Register a recipe.

    Args:
        name: stored in checkpoints; no other recipe may have it.
        config: ``"package.module:Class"``, a :class:`~dfplan.training.objective.Recipe`.
        product: what the ``load`` of the class returns.

    Raises:
        ConfigError: the name is taken, or ``config`` has no colon.
    """
    module, _, class_name = config.partition(":")
    entry = Entry(module, class_name, product)
    if not class_name or RECIPES.setdefault(name, entry) != entry:
        raise ConfigError(
            "A recipe needs a new name and its class as 'package.module:Class'; got "
            f"{name!r} and {config!r}."
        )


def recipe_class(name: str) -> type[Recipe]:
    """Import the configuration class of the recipe ``name``.

    Raises:
        ConfigError: no such recipe is registered.
    """
    entry = lookup("recipe", name, RECIPES)
    config: type[Recipe] = getattr(import_module(entry.module), entry.config)
    return config


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """Rebuild the recipe that made ``checkpoint``."""
    return recipe_class(checkpoint.recipe).from_json(checkpoint.config, checkpoint.tokens)


register_recipe("forcing", "dfplan.training.recipes.forcing:ForcingConfig", "planner")
register_recipe("diffuser", "dfplan.training.recipes.diffuser:DiffuserConfig", "planner")
register_recipe("policy", "dfplan.training.recipes.cloning:CloningConfig", "policy")
register_recipe("iql", "dfplan.training.recipes.offline:OfflineConfig", "policy")
register_recipe("cql", "dfplan.training.recipes.offline:OfflineConfig", "policy")
register_recipe("value", "dfplan.training.recipes.value:ValueConfig", "value")
register_recipe("inverse", "dfplan.training.recipes.inverse:InverseConfig", "tracker")
