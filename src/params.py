"""The one typed, validated view of `params.yaml`.

Each stage asks for the group of parameters it declares in `dvc.yaml`; the whole file is validated every
time, so a mistake in any key is reported by whichever stage runs first.
"""

from __future__ import annotations

import re
import reprlib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from src.runtime.errors import UserError
from src.runtime.paths import OWN_DATA, PARAMS_FILE
from src.runtime.yaml_text import read_yaml

# The largest seed that NumPy, scikit-learn and PyTorch all accept.
MAX_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]

# Characters of the name of a dataset of your own.
MAX_NAME = 100


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
BUILT_IN: tuple[str, ...] = get_args(DatasetName)
ModelName = Literal["lenet5", "lenet5_1998", "convnet"]
InputMode = Literal["resize", "pad"]
Activation = Literal["Tanh", "ReLU", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "GELU"]
Pooling = Literal["max", "avg"]


def _can_name_folder(name: str) -> bool:
    # Letters, numbers, and marks: characters of their own in many scripts, and of accents as Macs write them.
    is_plain = all(character in " ._-" or category(character)[0] in "LMN" for character in name)
    return is_plain and re.match(r"\w", name) is not None and len(name) <= MAX_NAME


def _existing_dataset(name: str) -> str:
    """Refuse what is neither built in nor a folder of the user's own images."""
    if name in BUILT_IN or (_can_name_folder(name) and (OWN_DATA / name).is_dir()):
        return name
    raise ValueError(name)


class PrepareParams(_Group):
    """What `prepare` reads: which images, and how they are split."""

    dataset: Annotated[str, AfterValidator(_existing_dataset)] = Field(
        description="Images to train and to test with."
    )
    val_fraction: Annotated[float, Field(gt=0, le=0.5), BeforeValidator(_fraction)] = Field(
        description="Share of the training images that is held out as the validation split; "
        "stratified by class, and may be written as a fraction, such as `1/6`."
    )
    split_seed: Seed = Field(description="Seed of the draw of the validation split.")
    test_fraction: Annotated[float, Field(gt=0, le=0.5), BeforeValidator(_fraction)] = Field(
        description="Approximate share of the images that becomes the test split, for images of your own "
        "that come without one; drawn by content."
    )


class NetworkParams(_Group):
    """The network's shape and its initial weights."""

    model: ModelName = Field(
        description="Network architecture: LeNet-5 as it is usually built today, LeNet-5 as published in "
        "1998, or a network of 3×3 convolutions with batch norm."
    )
    input: InputMode = Field(
        description="How 28×28 images become 32×32: enlarged by bilinear interpolation, or padded with "
        "two background pixels on each side; `convnet` takes images in their own size and ignores it."
    )
    activation: Activation = Field(description="Activation function of `lenet5`.")
    pooling: Pooling = Field(description="2×2 pooling of `lenet5`: maximum or average.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Probability that `lenet5` and `convnet` drop a unit after fc1 and fc2 while training; 0 "
        "for no dropout (Srivastava et al. 2014)."
    )
    init: Literal["default", "kaiming_normal"] = Field(
        description="Initial weights of `lenet5`: PyTorch's own, or those of He et al. 2015."
    )


class OptimizationParams(_Group):
    """How the weights are trained."""

    optimizer: Literal["SGD", "RMSprop", "Adam", "AdamW"] = Field(
        description="Optimizer; `SGD` with Nesterov momentum (Sutskever et al. 2013)."
    )
    lr: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="Learning rate: the peak of `onecycle`, the initial value of `cosine`; `1e-3` and "
        "`0.001` are the same."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="Momentum of `SGD` and `RMSprop`.")
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="L2 penalty; decoupled from the gradient for `AdamW` (Loshchilov & Hutter 2019)."
    )
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        description="Learning rate schedule, stepped after every batch; `cosine` falls without restarts "
        "(Loshchilov & Hutter 2017), `onecycle` rises and falls (Smith & Topin 2019)."
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Images per step; a smaller last batch is used, too."
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Passes over the training images.")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        description="Epochs in which the learning rate rises, from nearly 0 (for `onecycle`, from a 25th of "
        "`lr`), fewer than `epochs` (Goyal et al. 2017); for `onecycle`, 0 means three tenths of all epochs."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Share of the target that is spread over all classes (Szegedy et al. 2016)."
    )
    clip_norm: Annotated[float, Field(ge=0)] = Field(
        description="Largest norm of the gradient, or 0 for no clipping; a longer gradient is scaled down "
        "(Pascanu et al. 2013)."
    )
    augment: Literal["none", "affine", "shift_flip"] = Field(
        description="Random changes of every training image, drawn anew in each epoch: `affine` rotates by "
        "up to 10°, scales, shears and shifts a little; `shift_flip` shifts by at most one "
        "pixel, and mirrors where that keeps the class (`FashionMNIST`, and images of your own with "
        "`mirror_symmetric: true`)."
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Decay of a moving average of the weights, or 0 for none; the average (Polyak & "
        "Juditsky 1992), with that of batch norm's statistics, is evaluated and saved in their place. "
        "In the first steps its decay is lower: (1 + n) / (10 + n) in step n, while that is below `ema`."
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        description="Epochs without improvement on the validation split after which training stops, or "
        "0 for never."
    )
    seed: Seed = Field(description="Seed of the initial weights, the batch order, dropout and augmentation.")


# Pydantic lists the fields of the last base first: this order is that of params.yaml.
class TrainParams(OptimizationParams, NetworkParams):
    """What `train` reads."""

    def network(self) -> dict[str, Any]:
        """The keys of `NetworkParams` with their values."""
        return self.model_dump(include=set(NetworkParams.model_fields))


class RunParams(TrainParams, PrepareParams):
    """All that decides one training and its data."""


class CrossvalParams(_Group):
    """What cross-validation reads besides `RunParams`."""

    folds: Annotated[int, Field(ge=2)] = Field(
        description="Number of folds of the cross-validation study; no result of the pipeline depends on it."
    )


class Params(CrossvalParams, RunParams):
    """Every key of `params.yaml`."""


Group = TypeVar("Group", bound=_Group)


def choices(key: str) -> tuple[str, ...]:
    """The names that the parameter `key` accepts; none where it accepts numbers."""
    return BUILT_IN if key == "dataset" else get_args(Params.model_fields[key].annotation)


def accepted(key: str) -> str:
    """What the parameter `key` accepts, in words, derived from its type and bounds."""
    field = Params.model_fields[key]
    if names := choices(key):
        return "one of " + ", ".join(names) + (f", or a folder of {OWN_DATA}" if key == "dataset" else "")
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
    values: object, group: type[Group], *, whole: type[TrainParams] = Params, source: str = str(PARAMS_FILE)
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


def _mistake(detail: ErrorDetails, values: dict[str, Any], whole: type[TrainParams]) -> str:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return _unknown(key, whole)
    if detail["type"] == "missing":
        return f"key {key!r} is missing; expected {accepted(key)}"
    value, expected = values[key], accepted(key)
    if key == "dataset" and not _can_name_folder(str(value)):
        expected += f", named with up to {MAX_NAME} letters, digits, '_' and, not first, spaces, '.' and '-'"
    elif key == "dataset" and not isinstance(value, str):
        expected += "; quotes around a name that is a number, a date or true"
    return f"{key}: {_SHORT.repr(value)} is invalid; expected {expected}"


def _unknown(key: object, whole: type[TrainParams]) -> str:
    return f"unknown key {_SHORT.repr(key)}; expected {', '.join(whole.model_fields)}"


# Of values that are long, or nested.
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
