from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from src import parameter_reference
from src.params import (
    MAX_NAME,
    CrossvalParams,
    ModelName,
    NetworkParams,
    OptimizationParams,
    Params,
    PrepareParams,
    RunParams,
    TrainParams,
    parse,
    read,
)
from src.runtime.errors import UserError
from tests import committed
from tests.conftest import ROOT

CHOICES = {
    "dataset": ["Digits", "MNIST", "FashionMNIST", "KMNIST", "QMNIST"],
    "model": ["lenet5", "lenet5_1998", "convnet"],
    "input": ["resize", "pad"],
    "activation": ["Tanh", "ReLU", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "GELU"],
    "pooling": ["max", "avg"],
    "init": ["default", "kaiming_normal"],
    "optimizer": ["SGD", "RMSprop", "Adam", "AdamW"],
    "schedule": ["constant", "cosine", "onecycle"],
    "augment": ["none", "affine", "shift_flip"],
}
ACCEPTED = [(key, choice) for key, choices in CHOICES.items() for choice in choices] + [
    *[(key, value) for key in ("val_fraction", "test_fraction") for value in (0.5, 1e-9)],
    ("split_seed", 0),
    ("split_seed", 2**32 - 1),
    ("seed", 0),
    ("seed", 2**32 - 1),
    ("dropout", 0),
    ("dropout", 0.999),
    ("lr", 1e-12),
    ("lr", 10),
    ("momentum", 0),
    ("momentum", 0.999),
    ("weight_decay", 0),
    ("weight_decay", 3.5),
    ("batch_size", 1),
    ("batch_size", 10**6),
    ("epochs", 1),
    ("epochs", 10**4),
    ("warmup_epochs", 0),
    ("warmup_epochs", 11),
    ("label_smoothing", 0),
    ("label_smoothing", 0.99),
    ("clip_norm", 0),
    ("clip_norm", 5),
    ("ema", 0),
    ("ema", 0.9999),
    ("patience", 0),
    ("patience", 100),
    ("folds", 2),
    ("folds", 100),
]
REFUSED = [(key, value) for key in CHOICES for value in ("", "relu", 3, None, True, ["max"])] + [
    *[
        (key, value)
        for key in ("val_fraction", "test_fraction")
        for value in (0, -0.1, 0.51, "0.1", "1/0", "a/b", "2/3", True, None, [0.1])
    ],
    *[(key, value) for key in ("seed", "split_seed") for value in (-1, 1.0, 2**32, "0", True, None)],
    *[("dropout", value) for value in (-0.1, 1, 1.5, "0.5", float("nan"), None)],
    *[("lr", value) for value in (0, -1e-3, 4e38, "fast", "0.1", float("inf"), float("nan"), True, None)],
    *[("momentum", value) for value in (-0.1, 1, "0.9", float("nan"))],
    *[("weight_decay", value) for value in (-1e-9, "0", float("inf"))],
    *[(key, value) for key in ("label_smoothing", "ema") for value in (-0.1, 1, "0.1", float("nan"), None)],
    *[("clip_norm", value) for value in (-1, "1", float("inf"), None)],
    *[(key, value) for key in ("warmup_epochs", "patience") for value in (-1, 0.5, "1", True, None)],
    *[("folds", value) for value in (1, 0, 2.5, "5", None)],
    *[(key, value) for key in ("batch_size", "epochs") for value in (0, -1, 1.5, 2.0, "8", True, None)],
]


@pytest.fixture
def values(params: Params) -> dict[str, Any]:
    return params.model_dump() | {"epochs": 12, "warmup_epochs": 0}


@pytest.mark.parametrize(("key", "value"), ACCEPTED)
def test_accepts(values: dict[str, Any], key: str, value: object) -> None:
    assert getattr(parse(values | {key: value}, Params), key) == value


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_refuses_in_one_line_that_names_key_value_and_what_is_accepted(
    values: dict[str, Any], key: str, value: object
) -> None:
    with pytest.raises(UserError) as refusal:
        parse(values | {key: value}, Params)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith(f"params.yaml: {key}: {value!r} is invalid; expected ")
    for choice in CHOICES.get(key, ["a number" if key not in _integers() else "an integer"]):
        assert choice in message


def _integers() -> set[str]:
    return {key for key, field in Params.model_fields.items() if field.annotation is int}


def test_folders_whose_names_cannot_be_used(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    longest = "a" * MAX_NAME
    for name in ("2024", "cats+dogs", "Ka\u0308fer", "\u091a\u093f\u0924\u094d\u0930", longest):
        (tmp_path / "data/own" / name).mkdir(parents=True)
    quotes = "; quotes around a name that is a number, a date or true"
    letters = ", named with up to 100 letters, digits, '_' and, not first, spaces, '.' and '-'"
    # 7 is how YAML reads 007.
    hints = {2024: quotes, 7: quotes, True: quotes, "cats+dogs": letters, "2024/": letters, "-2": letters}
    for name, hint in [*hints.items(), (-2, letters), (["cats"], letters)]:
        with pytest.raises(UserError) as refusal:
            parse(values | {"dataset": name}, Params)
        assert str(refusal.value).startswith(f"params.yaml: dataset: {name!r} is invalid; expected one of ")
        assert str(refusal.value).endswith(f", or a folder of data/own{hint}")
    for usable in ("2024", "Ka\u0308fer", "\u091a\u093f\u0924\u094d\u0930", longest):
        assert parse(values | {"dataset": usable}, Params).dataset == usable
    with pytest.raises(UserError, match=r"dataset: 'cats' is invalid; expected one of Digits, .* data/own$"):
        parse(values | {"dataset": "cats"}, Params)
    with pytest.raises(UserError, match=r"dataset: 'a{37}\.\.\.a{38}' is invalid; .* up to 100 letters"):
        parse(values | {"dataset": "a" * 101}, Params)


def test_bounds_are_said(values: dict[str, Any]) -> None:
    wrong = {"val_fraction": 0.7, "lr": 0, "momentum": 1, "epochs": 0}
    with pytest.raises(UserError) as refusal:
        parse(values | wrong, Params)
    for bounds in (
        "a number > 0 and ≤ 0.5",
        "a number > 0 and ≤ 1000;",
        "a number ≥ 0 and < 1",
        "an integer ≥ 1",
    ):
        assert bounds in str(refusal.value)


def test_unknown_and_missing_keys(values: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=r"^params.yaml: unknown key 'learning_rate'; expected dataset, .*folds$"
    ):
        parse(values | {"learning_rate": 0.1}, Params)
    del values["lr"]
    with pytest.raises(
        UserError, match=r"^params.yaml: key 'lr' is missing; expected a number > 0 and ≤ 1000$"
    ):
        parse(values, Params)


@pytest.mark.parametrize("notation", ["1e-3", "0.001", "1.0e-3", "0.1e-2"])
def test_notations_of_a_number_mean_the_same(tmp_path: Path, notation: str) -> None:
    lines = committed.params_text().splitlines()
    lines = [f"lr: {notation}" if line.startswith("lr:") else line for line in lines]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(lines))
    assert read(TrainParams, path).lr == 0.001


@pytest.mark.parametrize("sixth", ["1/6", "1 / 6", 1 / 6, 0.16667])
def test_a_sixth_gives_the_classic_split(values: dict[str, Any], sixth: object) -> None:
    params = parse(values | {"val_fraction": sixth, "test_fraction": sixth}, PrepareParams)
    assert round(params.val_fraction * 60_000) == round(params.test_fraction * 60_000) == 10_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr: 0.1\n  x: [", "not valid YAML at line 2"),
        ("- lr\n", "expected `key: value` lines, found list"),
        ("", "expected `key: value` lines, found NoneType"),
        ("lr: 0.1\nlr: 0.2\n", "not valid YAML"),
        ("lr: \xff".encode("latin-1"), "not UTF-8 text"),
        (None, "no such file"),
    ],
)
def test_unreadable_files_are_one_line(tmp_path: Path, content: str | bytes | None, said: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as refusal:
        read(Params, path)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_groups_hold_every_key_once(params: Params) -> None:
    train = TrainParams.model_validate(params.model_dump(include=set(TrainParams.model_fields)))
    assert train.network() == NetworkParams(**train.network()).model_dump()
    assert [*TrainParams.model_fields] == [*NetworkParams.model_fields, *OptimizationParams.model_fields]
    assert [*RunParams.model_fields] == [*PrepareParams.model_fields, *TrainParams.model_fields]
    assert [*Params.model_fields] == [*RunParams.model_fields, *CrossvalParams.model_fields]
    assert [*Params.model_fields] == _in_file_order()


def _in_file_order() -> list[str]:
    return list(YAML(typ="safe").load((ROOT / "params.yaml").read_text()))


def test_the_comment_of_every_key_is_that_of_its_description() -> None:
    # A new choice is in the workspace before it is committed; a comment may be lost to an edit of the value.
    here, there = map(_comments, ((ROOT / "params.yaml").read_text(), committed.text("params.yaml")))
    for key, field in Params.model_fields.items():
        written = parameter_reference.comment(key)
        assert all(choice in written for choice in get_args(field.annotation))
        assert written in (here.get(key), there.get(key)), "python -m src.parameter_reference writes it"


def test_comments_are_written_and_values_left_alone() -> None:
    old = [
        "# Training",
        "",
        "lr: 1e-3   # old",
        'model: "a # b"',
        "seed: a#b#c",
        "folds: 2 # c # d",
        "other: 3 # e",
    ]
    lines = parameter_reference.with_comments("\n".join(old)).splitlines()
    assert [line.partition("  # ")[0] for line in lines] == [
        "# Training",
        "",
        "lr: 1e-3",
        'model: "a # b"',
        "seed: a#b#c",
        "folds: 2",
        "other: 3 # e",
    ]
    assert lines[2].endswith("  # Learning rate: a number > 0 and ≤ 1000")
    assert lines[3].endswith(f"  # Network architecture: one of {', '.join(get_args(ModelName))}")
    assert parameter_reference.with_comments("\n".join(lines)) == "\n".join(lines) + "\n"


def _comments(params: str) -> dict[str, str]:
    lines = [line.partition(" # ") for line in params.splitlines() if line and not line.startswith("#")]
    return {value.split(":")[0]: comment.strip() for value, _, comment in lines}


def test_a_study_has_the_keys_of_a_run_alone(values: dict[str, Any]) -> None:
    run = {key: values[key] for key in RunParams.model_fields}
    assert parse(run, TrainParams, whole=RunParams).lr == values["lr"]
    with pytest.raises(UserError, match=r"^params.yaml: unknown key 'folds'; expected dataset, .*seed$"):
        parse(values, TrainParams, whole=RunParams)


def test_warmup_must_end_before_training_does(values: dict[str, Any]) -> None:
    said = r"params\.yaml: warmup_epochs: 5 is invalid; expected an integer ≥ 0 and < epochs \(5\)"
    with pytest.raises(UserError, match=said):
        parse(values | {"epochs": 5, "warmup_epochs": 5}, Params)
