from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from src.data.splits import ImageFormat
from src.networks.build import build_model, predict_logits
from src.networks.model_file import TrainedModel, load_model, save_model
from src.params import ModelName
from src.predict.classifiers import TorchClassifier
from src.runtime.errors import UserError
from tests.conftest import NETWORK


def trained(model: str = "lenet5", seed: int = 0) -> TrainedModel:
    network = NETWORK | {"model": model}
    weights = build_model(network, seed=seed).state_dict()
    return TrainedModel("Digits", list("0123456789"), 0.2, 0.3, network, seed, weights)


def values() -> dict[str, Any]:
    """What the file of a model holds."""
    model = trained()
    return {**vars(model), "format": model.format.json()}


@pytest.mark.parametrize("model", get_args(ModelName))
def test_saved_and_loaded_is_the_same_and_equal_bytes(tmp_path: Path, model: str) -> None:
    for name in ("model.pt", "other-name.pt"):
        save_model(trained(model), tmp_path / name)
    assert (tmp_path / "model.pt").read_bytes() == (tmp_path / "other-name.pt").read_bytes()
    loaded = load_model(tmp_path / "model.pt")
    assert replace(loaded, weights={}) == replace(trained(model), weights={})
    inputs = loaded.prepare_input(torch.zeros(2, 28, 28, dtype=torch.uint8))
    assert torch.equal(predict_logits(loaded.build(), inputs), predict_logits(trained(model).build(), inputs))


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return Path.write_text, (Path("hostile-code-ran"), "")


def test_bad_model_files_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    with pytest.raises(UserError, match="no such file"):
        load_model(path)
    save_model(trained(), path)
    whole = path.read_bytes()
    weights = trained().weights
    contents: list[Any] = [b"", b"text", whole[:-100], pickle.dumps(Hostile())]
    foreign: list[Any] = [
        weights,
        [1, 2],
        Hostile(),
        {**values(), "weights": {**weights, "fc3.bias": torch.zeros(3)}},
        {**values(), "std": 0.0},
        {**values(), "std": 1.5},
        {**values(), "network": {**NETWORK, "activation": "Step"}},
        {**values(), "network": {**NETWORK, "model": "resnet50"}},
        {**values(), "network": {**NETWORK, "input": "crop"}},
        {**values(), "network": {**NETWORK, "model": "convnet"}},
        {**values(), "class_names": 10},
        {**values(), "seed": "0"},
        {**values(), "seed": -1},
        {**values(), "epochs": 12},
        {**values(), "format": "{}"},
        {**values(), "format": ImageFormat(size=30).json()},
        {**values(), "format": ImageFormat(channels=3).json()},
        {**values(), "mean": "bright"},
        {**values(), "weights": {**weights, "fc3.bias": torch.full((10,), float("nan"))}},
        {**values(), "weights": {**weights, "fc3.bias": torch.tensor([*range(9), float("inf")])}},
    ]
    for content in contents + foreign:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(UserError) as refusal:
            load_model(path)
        assert str(path) in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert not Path("hostile-code-ran").exists()


def test_the_file_of_an_earlier_version_is_refused_and_says_how_to_write_a_new_one(tmp_path: Path) -> None:
    older = values()
    del older["seed"]
    torch.save(older, tmp_path / "model.pt")
    with pytest.raises(UserError) as refusal:
        load_model(tmp_path / "model.pt")
    said = "not a model written by this project (it lacks seed; `dvc repro train` writes a new one)"
    assert str(refusal.value) == f"{tmp_path / 'model.pt'}: {said}"


def test_the_untrained_network_is_that_of_the_seed(tmp_path: Path) -> None:
    save_model(replace(trained(seed=0), seed=5), tmp_path / "model.pt")
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    logits = TorchClassifier(tmp_path / "model.pt", untrained=True).logits(images)
    inputs = trained().prepare_input(torch.from_numpy(images))
    expected, other = (predict_logits(build_model(NETWORK, seed=seed), inputs).numpy() for seed in (5, 0))
    np.testing.assert_array_equal(logits, expected)
    assert (logits != other).all()
