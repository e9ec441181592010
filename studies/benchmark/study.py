"""What the study runs and what its page claims: `params.yaml` beside this file, checked."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.runtime.errors import UserError
from src.runtime.yaml_text import read_yaml
from studies.benchmark.recipes import FOLDER, RECIPES

STUDY = FOLDER / "params.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CrossValidated(_Strict):
    """A recipe that is cross-validated, each fold for so many epochs."""

    recipe: str
    folds: Annotated[int, Field(ge=2)]
    epochs: Annotated[int, Field(ge=1)]


class Study(_Strict):
    """What the study compares.

    Attributes:
        seeds: how many of each recipe, from 0 on.
        crossval: what is cross-validated besides.
        waiting: recipes whose archives were not at hand.
        claims: pairs of recipes of which the second is said to be better, and what that difference is called.
    """

    seeds: dict[str, Annotated[int, Field(ge=1)]]
    crossval: CrossValidated
    waiting: list[str]
    claims: list[Annotated[list[str], Field(min_length=3, max_length=3)]]


def read_study(path: Path = STUDY) -> Study:
    """Read the parameters of the study; raises a `UserError` for the first mistake in them."""
    try:
        return Study.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        wrong = "" if first["type"] == "missing" else f"{first['input']!r} is invalid: "
        raise UserError(f"{path}: {key}: {wrong}{first['msg']}") from None


def refuse_unknown_recipes(study: Study, recipes: Collection[str]) -> None:
    """Raise a `UserError` where the study names a recipe that `recipes.yaml` does not have."""
    claimed = [name for claim in study.claims for name in claim[:2]]
    for name in [*study.seeds, study.crossval.recipe, *study.waiting, *claimed]:
        if name not in recipes:
            raise UserError(f"{STUDY}: {name!r} is not in {RECIPES}; expected one of {', '.join(recipes)}")
