"""The one typed, validated view of `params.yaml`.

Each stage asks for the group of parameters it declares in `dvc.yaml`; the whole file is validated every
time, so a mistake in any key is reported by whichever stage runs first.
"""

from __future__ import annotations

import reprlib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from src.runtime.errors import UserError
from src.runtime.workspace import PARAMS_FILE
from src.runtime.yaml_text import read_yaml

# The largest seed that NumPy, scikit-learn and PyTorch all accept.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


def _fraction(value: object) -> object:
    """Read `1/6` as the number it stands for: a sixth has no exact decimal notation."""
    if isinstance(value, str) and value.count("/") == 1:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ArithmeticError):
            return value
    return value


class _Group(BaseModel):
    # Strict: `epochs: "3"` and `lr: true` are mistakes, whatever Python could make of them.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# A name stands for a module: `Digits` for src/data/digits.py, `lenet5` for src/networks/lenet5.py.
DatasetName = Literal["Digits", "MNIST", "FashionMNIST", "KMNIST", "QMNIST"]
ModelName = Literal["lenet5", "lenet5_1998", "convnet"]
InputMode = Literal["resize", "pad"]
Activation = Literal["Tanh", "ReLU", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "GELU"]
Pooling = Literal["max", "avg"]


class PrepareParams(_Group):
    """What `prepare` reads: which images, and how they are split."""

    dataset: DatasetName
    val_fraction: Annotated[float, Field(gt=0, le=0.5), BeforeValidator(_fraction)]
    split_seed: Seed


class NetworkParams(_Group):
    """The network's shape and its initial weights."""

    model: ModelName
    input: InputMode
    activation: Activation
    pooling: Pooling
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: Literal["default", "kaiming_normal"]


class OptimizationParams(_Group):
    """How the weights are trained."""

    optimizer: Literal["SGD", "RMSprop", "Adam", "AdamW"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "cosine", "onecycle"]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    warmup_epochs: Annotated[int, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    clip_norm: Annotated[float, Field(ge=0)]
    augment: Literal["none", "affine", "shift_flip"]
    ema: Annotated[float, Field(ge=0, lt=1)]
    patience: Annotated[int, Field(ge=0)]
    seed: Seed


# Pydantic lists the fields of the last base first: this order is that of params.yaml.
class TrainParams(OptimizationParams, NetworkParams):
    """What `train` reads."""

    def network(self) -> dict[str, Any]:
        """The keys of `NetworkParams` with their values."""
        return self.model_dump(include=set(NetworkParams.model_fields))

    def optimization(self) -> dict[str, Any]:
        """The keys of `OptimizationParams` with their values."""
        return self.model_dump(include=set(OptimizationParams.model_fields))


class RunParams(TrainParams, PrepareParams):
    """All that decides one training and its data."""


class CrossvalParams(_Group):
    """What cross-validation reads besides `RunParams`."""

    folds: Annotated[int, Field(ge=2)]


class Params(CrossvalParams, RunParams):
    """Every key of `params.yaml`."""


Group = TypeVar("Group", bound=_Group)


def accepted(key: str) -> str:
    """What the parameter `key` accepts, in words, derived from its type and bounds."""
    field = Params.model_fields[key]
    if choices := get_args(field.annotation):
        return "one of " + ", ".join(choices)
    words = "an integer" if field.annotation is int else "a number"
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    return " ".join([words, " and ".join(bounds)])


def parse(
    values: object, group: type[Group], *, whole: type[RunParams] = Params, source: str = str(PARAMS_FILE)
) -> Group:
    """Validate all of `values` against `whole` and return the keys of `group`.

    Args:
        values: what the YAML file holds; anything but a complete mapping of the keys of `whole` is refused.
        group: `whole`, or one of the groups of keys it is made of.
        whole: the keys that belong into the file.
        source: the name of the file, for messages.

    Raises:
        UserError: one line for each mistake that names the key, its value and what is accepted.
    """
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected `key: value` lines, found {type(values).__name__}")
    if strange := [key for key in values if not isinstance(key, str)]:
        raise UserError(f"{source}: {_unknown(strange[0], whole)}")
    try:
        params = whole.model_validate(values)
    except ValidationError as error:
        mistakes = "; ".join(_mistake(detail, values, whole) for detail in error.errors())
        raise UserError(f"{source}: {mistakes}") from None
    if params.warmup_epochs >= params.epochs:
        raise UserError(
            f"{source}: warmup_epochs: {params.warmup_epochs} is invalid; "
            f"expected an integer ≥ 0 and < epochs ({params.epochs})"
        )
    return group.model_validate(params.model_dump(include=set(group.model_fields)))


def _mistake(detail: ErrorDetails, values: dict[str, Any], whole: type[RunParams]) -> str:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return _unknown(key, whole)
    if detail["type"] == "missing":
        return f"key {key!r} is missing; expected {accepted(key)}"
    return f"{key}: {_SHORT.repr(values[key])} is invalid; expected {accepted(key)}"


def _unknown(key: object, whole: type[RunParams]) -> str:
    return f"unknown key {_SHORT.repr(key)}; expected {', '.join(whole.model_fields)}"


# A few lines of YAML can refer to themselves and stand for gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = 80


def read(group: type[Group], path: Path = PARAMS_FILE) -> Group:
    """Read and validate a params file; see `parse`.

    Raises:
        UserError: the file is missing, is not YAML, or holds a mistake.
    """
    try:
        return parse(read_yaml(path), group, source=str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
