from __future__ import annotations

from pathlib import Path

import pytest

from src.params import Params, RunParams
from src.runtime.errors import UserError
from src.tune.search_space import SPACE_FILE, Domain, read_space
from tests import committed


@pytest.fixture
def base(params: Params) -> dict[str, object]:
    return params.model_dump(include=set(RunParams.model_fields))


def test_the_committed_space_is_accepted(tmp_path: Path, base: dict[str, object]) -> None:
    path = tmp_path / SPACE_FILE
    path.write_text(committed.text(str(SPACE_FILE)))
    space = read_space(path, base)
    assert space["lr"] == Domain("log_uniform", (0.001, 0.1))
    assert all(domain.values for domain in space.values())


def test_every_form(tmp_path: Path, base: dict[str, object]) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "lr: {log_uniform: [1e-4, 0.1]}\n"
        "dropout: {uniform: [0, 0.5]}\n"
        "seed: {integer: [0, 9]}\n"
        "batch_size:\n  choice: [16, 32]\n"
        "patience: {choice: [0, 3]}\n"
    )
    space = read_space(path, base)
    assert list(space.values()) == [
        Domain("log_uniform", (1e-4, 0.1)),
        Domain("uniform", (0, 0.5)),
        Domain("integer", (0, 9)),
        Domain("choice", (16, 32)),
        Domain("choice", (0, 3)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected lines such as"),
        ("- lr", "expected lines such as"),
        ("lr: [", "not valid YAML"),
        ("learning_rate: {choice: [1]}", "'learning_rate' cannot be searched; expected model, input,"),
        ("dataset: {choice: [MNIST]}", "'dataset' cannot be searched"),
        ("epochs: {integer: [1, 5]}", "'epochs' cannot be searched"),
        ("3: {choice: [1]}", "3 cannot be searched"),
        (
            "lr: 0.1",
            "lr: 0.1 is invalid; expected choice: [a, b, …], or uniform, integer or log_uniform",
        ),
        ("lr: {normal: [0, 1]}", "lr: {'normal': [0, 1]} is invalid"),
        ("lr: {choice: []}", "is invalid; expected choice"),
        ("lr: {uniform: [0.1]}", "is invalid; expected choice"),
        ("lr: {uniform: [0.1, 0.2, 0.3]}", "is invalid; expected choice"),
        ("lr: {uniform: [0.2, 0.1]}", "with low < high"),
        ("lr: {uniform: [0.1, 0.1]}", "with low < high"),
        ("dropout: {integer: [0, 0.5]}", "dropout: {'integer': [0, 0.5]} is invalid; expected choice"),
        ("lr: {log_uniform: [0, 0.1]}", "lr: 0 is invalid; expected a number > 0"),
        ("weight_decay: {log_uniform: [0, 0.1]}", "weight_decay: {'log_uniform': [0, 0.1]} is invalid"),
        ("optimizer: {choice: [SGD, SGDX]}", "optimizer: 'SGDX' is invalid; expected one of SGD"),
        ("dropout: {uniform: [0.0, 1.0]}", "dropout: 1.0 is invalid; expected a number ≥ 0 and < 1"),
        ("batch_size: {uniform: [16, 64]}", "is invalid; expected integer: [low, high] or choice"),
        ("warmup_epochs: {choice: [0, 500]}", "warmup_epochs: 500 is invalid"),
        ("lr: {uniform: [true, 2]}", "lr: True is invalid"),
    ],
)
def test_mistakes_are_refused_in_one_line(
    tmp_path: Path, base: dict[str, object], text: str, said: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_space(path, base)
    assert str(refusal.value).startswith(f"{path}: ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        # Of the parameters, and of what the space itself chooses.
        ({"optimizer": "Adam"}, "momentum: {uniform: [0.0, 0.9]}", "momentum: Adam does not read it"),
        (
            {"optimizer": "SGD"},
            "optimizer: {choice: [Adam, AdamW]}\nmomentum: {uniform: [0.0, 0.9]}",
            "momentum: Adam does not read it",
        ),
        (
            {"model": "lenet5_1998"},
            "activation: {choice: [ReLU, Tanh]}",
            "activation: lenet5_1998 does not read it",
        ),
        (
            {},
            "model: {choice: [lenet5_1998, convnet]}\npooling: {choice: [max, avg]}",
            "pooling: lenet5_1998 does not read it",
        ),
        (
            {"model": "convnet"},
            "input: {choice: [pad, resize]}",
            "input: convnet is fed the images in their own size",
        ),
    ],
)
def test_a_key_that_no_training_of_the_space_reads_is_refused(
    tmp_path: Path, base: dict[str, object], setting: dict[str, object], text: str, said: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"lr: {{choice: [0.1, 0.2]}}\n{text}\n")
    key, _, why = said.partition(": ")
    with pytest.raises(UserError) as refused:
        read_space(path, base | setting)
    assert str(refused.value) == (f"{path}: {key} makes no difference: {why}; expected a space without {key}")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"optimizer": "SGD"}, "momentum: {uniform: [0.0, 0.9]}"),
        ({"optimizer": "Adam"}, "optimizer: {choice: [Adam, SGD]}\nmomentum: {uniform: [0.0, 0.9]}"),
        ({"model": "convnet"}, "model: {choice: [convnet, lenet5]}\nactivation: {choice: [ReLU, Tanh]}"),
    ],
)
def test_a_key_that_some_training_of_the_space_reads_is_accepted(
    tmp_path: Path, base: dict[str, object], setting: dict[str, object], text: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"{text}\n")
    assert len(read_space(path, base | setting)) == text.count("{")


def test_a_missing_file_is_named(base: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^nowhere\.yaml: no such file$"):
        read_space(Path("nowhere.yaml"), base)


def test_proposals_are_rounded_within_the_bounds() -> None:
    assert Domain("log_uniform", (1e-4, 0.1)).rounded(0.0123456) == 0.0123
    assert Domain("uniform", (0.12345, 0.5)).rounded(0.12346) == 0.12345
    assert Domain("uniform", (0.0, 0.9999)).rounded(0.99985) == 0.9999
    assert Domain("uniform", (0.0, 0.3)).rounded(0.0123456) == 0.012
    assert Domain("uniform", (0.999, 0.9999)).rounded(0.9993456) == 0.999346
    assert Domain("log_uniform", (0.999, 0.9999)).rounded(0.9993456) == 0.999346
    assert Domain("choice", ("ReLU",)).rounded("ReLU") == "ReLU"
    assert Domain("integer", (0, 12345)).rounded(1234) == 1234
