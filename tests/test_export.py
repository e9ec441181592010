from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.export import ExportedProgram

from src.data.splits import ImageFormat
from src.export import formats
from src.export.formats import OPSET, Agreement, agreement, checked, export_program, onnx_bytes, program_bytes
from src.networks.build import build_model
from src.networks.model_file import TrainedModel, load_model, save_model
from src.params import NetworkParams
from src.predict import classifiers
from src.predict.classifiers import OnnxClassifier, TorchClassifier, open_classifier
from src.runtime.errors import UserError
from src.runtime.paths import MODEL, TRAIN_SPLIT, VAL_SPLIT
from stages import export
from tests.conftest import PARAMS, ROOT, Clone, Predict, bright_squares, output
from tests.test_opened_files import OF_THE_TEST_SPLIT
from tests.watching import run_watched

SQUARES = bright_squares(50)
DEFAULT = {key: PARAMS[key] for key in NetworkParams.model_fields if key in PARAMS}


def trained(**network: str) -> TrainedModel:
    chosen: dict[str, Any] = DEFAULT | network
    weights = build_model(chosen, seed=3).state_dict()
    names = [f"class “{number}”" for number in range(10)]
    return TrainedModel("MNIST", names, 0.13, 0.31, chosen, 3, weights)


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"input": "resize", "activation": "GELU", "pooling": "avg"},
        {"model": "lenet5_1998"},
        {"model": "convnet"},
    ],
    ids=lambda network: "-".join(network.values()) or "default",
)
def test_answers_as_the_model_for_batches_of_any_size(
    network: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "BATCH", 64)
    model = trained(**network)
    save_model(model, tmp_path / "model.pt")
    program = export_program(model)
    content = onnx_bytes(program, model, {"model_sha256": "0a1b"})
    check_what_it_says(content, model)
    (tmp_path / "model.onnx").write_bytes(content)
    expected, exported = TorchClassifier(tmp_path / "model.pt"), OnnxClassifier(tmp_path / "model.onnx")
    loaded = torch.export.load(io.BytesIO(program_bytes(program))).module()
    assert exported.class_names == model.class_names
    assert exported.dataset == "MNIST"
    for count in (1, 2, 7, 200):
        images = SQUARES.images[:count]
        logits = expected.logits(images)
        assert logits.shape == (count, 10)
        assert checked("ONNX", agreement(logits, exported.logits(images)))
        with torch.inference_mode():
            assert checked("program", agreement(logits, loaded(torch.from_numpy(images)).numpy()))


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes_and_names_no_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from src.export.formats import *; from src.networks.model_file import load_model;"
        "model = load_model(Path(sys.argv[1])); program = export_program(model);"
        "Path(sys.argv[2]).write_bytes(onnx_bytes(program, model, {'model_sha256': '0a1b'}));"
        "Path(sys.argv[3]).write_bytes(program_bytes(program))"
    )
    model = trained()
    save_model(model, tmp_path / "model.pt")
    other = tmp_path / "elsewhere"
    other.mkdir()
    subprocess.run(("cp", "-r", ROOT / "src", other), check=True)
    files = [tmp_path / "model.pt", other / "model.onnx", other / "model.pt2"]
    subprocess.run((sys.executable, "-c", script, *files), cwd=other, check=True, capture_output=True)
    program = export_program(model)
    for content, file in (
        (onnx_bytes(program, model, {"model_sha256": "0a1b"}), files[1]),
        (program_bytes(program), files[2]),
    ):
        assert content == file.read_bytes()
        for place in (str(ROOT), str(other), ".py"):
            assert place.encode() not in content


def check_what_it_says(content: bytes, model: TrainedModel) -> None:
    """The file says what it is."""
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", OPSET)]
    known = {one.key: one.value for one in proto.metadata_props}
    assert json.loads(known.pop("class_names")) == model.class_names
    assert json.loads(known.pop("network")) == model.network
    assert ImageFormat.from_json(known.pop("format")) == model.format
    assert known == {"dataset": "MNIST", "model_sha256": "0a1b"}

    def shape(value: onnx.ValueInfoProto) -> list[int | str]:
        return [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]

    (images,), (logits,) = proto.graph.input, proto.graph.output
    assert (images.name, shape(images)) == ("images", ["batch", 28, 28])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert (logits.name, shape(logits)) == ("logits", ["batch", 10])


def test_another_answer_is_refused() -> None:
    logits = np.array([[1.0, 2.0], [4.0, 3.0]])
    assert agreement(logits, logits + 0.25) == Agreement(0.25, 1.0)
    assert agreement(logits, logits[:, ::-1]) == Agreement(1.0, 0.0)
    assert checked("it", agreement(logits, logits)) == Agreement(largest_difference=0.0, same_class=1.0)
    for more in (0.25, 0.005):
        said = rf"^it does not answer as the model .* up to {more}, 100.00% of the"
        with pytest.raises(UserError, match=said):
            checked("it", agreement(logits, logits + more))
    for broken in (np.full_like(logits, np.nan), np.where(logits == 2, np.nan, logits)):
        with pytest.raises(UserError, match=r"^it does not answer as the model"):
            checked("it", agreement(logits, broken))
    with pytest.raises(UserError, match=r"90\.00% of the classes are the same$"):
        checked("it", Agreement(0.0, 0.9))


@pytest.mark.parametrize("content", [b"", b"It was a dark and stormy night"])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with pytest.raises(UserError, match="no such file; `make export` writes it"):
        OnnxClassifier(file)
    file = file.with_suffix(".ONNX")
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.ONNX: not a model written by this project \(\[ONNX"):
        open_classifier(file)


@pytest.mark.slow
def test_the_stage_and_predictions_without_pytorch(clone: Clone, predict: Predict, tmp_path: Path) -> None:
    watched = run_watched(clone, tmp_path / "watch", "dvc", "repro", "studies/export/dvc.yaml")
    for stage, expected in (
        ("studies/robustness/dvc.yaml:robustness", {str(VAL_SPLIT), str(MODEL)}),
        ("studies/export/dvc.yaml:export", {str(TRAIN_SPLIT), str(MODEL)}),
    ):
        assert expected <= watched.read[stage]
        assert not watched.read[stage] & OF_THE_TEST_SPLIT
    metrics = json.loads(clone.read("metrics/export.json"))
    assert metrics["images"] == 1000
    assert metrics["onnx"]["same_class"] == metrics["program"]["same_class"] == 1
    assert metrics["tolerance"] == 1e-3
    proto = onnx.load(clone.path / "models/model.onnx")
    digest = hashlib.sha256((clone.path / "models/model.pt").read_bytes()).hexdigest()
    assert {one.key: one.value for one in proto.metadata_props}["model_sha256"] == digest
    assert f"md5: {metrics['model_md5']}" in clone.read("dvc.lock")
    # They would be shown beside revisions whose model was never exported.
    assert "export.json" not in clone.dvc("metrics", "show").stdout
    assert "export.json" not in clone.dvc("metrics", "diff", "--all", "HEAD").stdout
    assert {"lenet5", "lenet5-onnx"} <= artifacts(clone)

    words = ("plots/samples_train.png", "--model")
    by_torch = predict(clone, *words, "models/model.pt")
    command = ("-m", "src.predict", *words, "models/model.onnx")
    by_onnx = clone.run("python", "-X", "importtime", *command)
    assert by_onnx.stdout == by_torch.stdout
    assert "| onnxruntime" in by_onnx.stderr.replace("  ", " ").replace("|  ", "| ")
    loaded = {line.rpartition("|")[2].strip() for line in by_onnx.stderr.splitlines()}
    # Each takes longer to load than the prediction takes.
    assert loaded.isdisjoint({"torch", "pandas", "matplotlib", "onnx", "dvc"})

    (clone.path / "models/model.onnx").write_bytes(b"damaged")
    refused = clone.run("python", *command, check=False)
    assert refused.returncode == 1
    assert output(refused).startswith("error: models/model.onnx: not a model written by this project (")


def files(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
def test_a_graph_with_other_answers_fails_the_stage_and_leaves_nothing(
    clone: Clone, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.path / "metrics/export.json").unlink()
    folders = clone.path / "models", clone.path / "metrics"
    (clone.path / "models/model.onnx").unlink()
    before = files(*folders)
    forward = formats.Deployed.forward
    if suffix == "onnx":
        monkeypatch.setattr(formats.Deployed, "forward", lambda self, images: forward(self, images) * 1.01)
    else:  # only the file of the program

        def other_bytes(program: ExportedProgram) -> bytes:
            trained = load_model(MODEL)
            weights = {name: 1.01 * each for name, each in trained.weights.items()}
            return program_bytes(export_program(replace(trained, weights=weights)))

        monkeypatch.setattr(export, "program_bytes", other_bytes)
    monkeypatch.chdir(clone.path)
    said = f"^models/model.{suffix} does not answer as the model it was made of: logits differ by up to "
    with pytest.raises(UserError, match=said):
        export.main()
    assert files(*folders) == before


def artifacts(clone: Clone) -> set[str]:
    script = "from dvc.repo import Repo; print(*[f'{p}:{n}' if p != 'dvc.yaml' else n "
    script += "for p, found in Repo().artifacts.read().items() for n in found])"
    return set(clone.run("python", "-c", script).stdout.split())
