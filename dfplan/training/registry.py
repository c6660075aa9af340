"""The recipes by the name that checkpoints store.

A new recipe is one file with a :class:`~dfplan.training.objective.Recipe`, and one entry of
:data:`RECIPES`. Modules are imported when a recipe is first used, so this table is cheap to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from dfplan.errors import ConfigError, lookup
from dfplan.registry import Registry

if TYPE_CHECKING:
    from dfplan.training.checkpoint import Checkpoint
    from dfplan.training.objective import Recipe

Product = Literal["planner", "policy", "value", "tracker"]
"""What the ``load`` of a recipe returns."""


@dataclass(frozen=True)
class RecipeEntry:
    """A registered recipe.

    Attributes:
        config: its configuration class, a :class:`~dfplan.training.objective.Recipe`, as
            ``"package.module:Class"``.
        product: what the ``load`` of the class returns.

    Raises:
        ConfigError: ``config`` has no colon.
    """

    config: str
    product: Product

    def __post_init__(self) -> None:
        if ":" not in self.config:
            raise ConfigError(
                f"A recipe needs its class as 'package.module:Class'; got {self.config!r}."
            )


RECIPES: Registry[RecipeEntry] = Registry(
    "recipe",
    {
        "forcing": RecipeEntry("dfplan.training.recipes.forcing:ForcingConfig", "planner"),
        "diffuser": RecipeEntry("dfplan.training.recipes.diffuser:DiffuserConfig", "planner"),
        "policy": RecipeEntry("dfplan.training.recipes.cloning:CloningConfig", "policy"),
        "iql": RecipeEntry("dfplan.training.recipes.offline:OfflineConfig", "policy"),
        "cql": RecipeEntry("dfplan.training.recipes.offline:OfflineConfig", "policy"),
        "value": RecipeEntry("dfplan.training.recipes.value:ValueConfig", "value"),
        "inverse": RecipeEntry("dfplan.training.recipes.inverse:InverseConfig", "tracker"),
    },
)
"""The recipes by the name that checkpoints store."""


def recipe_class(name: str) -> type[Recipe]:
    """Import the configuration class of the recipe ``name``.

    Raises:
        ConfigError: no such recipe is registered.
    """
    module, _, class_name = lookup("recipe", name, RECIPES).config.partition(":")
    config: type[Recipe] = getattr(import_module(module), class_name)
    return config


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """Rebuild the recipe that made ``checkpoint``."""
    return recipe_class(checkpoint.recipe).from_json(checkpoint.config, checkpoint.tokens)
