from __future__ import annotations

import csv
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from src.data.splits import ImageFormat, load_split
from src.data.splitting import split_dataset
from src.figures.images import predicted_pictures
from src.networks.build import build_model
from src.networks.lenet5 import LeNet5
from src.networks.model_file import TrainedModel, save_model
from src.networks.network import Network
from src.own_images.pictures import Prepared
from src.params import Params
from src.predict.__main__ import arguments, find_pictures, main, refuse_to_replace
from src.predict.classifiers import TorchClassifier, is_onnx, open_classifier
from src.predict.predictions import Prediction, as_csv, as_json, as_table
from src.predict.predictions import predict as predict_pictures
from src.runtime.errors import UserError
from src.runtime.paths import VAL_SPLIT
from src.training.from_splits import train_on_splits
from tests.conftest import Clone, Predict, changed, output


@pytest.fixture
def pictures(clone: Clone) -> Path:
    """Twenty test images as inverted, enlarged PNGs, named after their classes."""
    folder = clone.path / "pictures"
    folder.mkdir()
    with np.load(clone.path / "data/prepared/test.npz") as split:
        for index in range(20):
            picture = Image.fromarray(255 - split["images"][index]).resize((84, 84))
            picture.save(folder / f"{index:02d}-is-{split['labels'][index]}.png")
    return folder


def test_pictures_of_a_folder_as_table_json_and_csv(
    clone: Clone, pictures: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [f"pictures/{path.name}" for path in sorted(pictures.iterdir())]
    (pictures / "._1.png").write_bytes(b"what macOS writes beside a 1.png")
    (pictures / "folder.png").mkdir()
    records = json.loads(predict(clone, "pictures", "--json").stdout)
    assert [record["file"] for record in records] == named
    for record in records:
        ranked = sorted(record["probabilities"].items(), key=lambda item: -item[1])
        assert [record["class"], record["runner_up"]] == [name for name, _ in ranked[:2]]
        assert [record["confidence"], record["runner_up_confidence"]] == [share for _, share in ranked[:2]]
        assert sum(record["probabilities"].values()) == pytest.approx(1)
        assert record["inverted"] is True

    titles: list[str] = []

    def noted(pairs: list[tuple[Any, Any]], answers: list[str]) -> Figure:
        titles.extend(answers)
        return predicted_pictures(pairs, answers)

    monkeypatch.setattr("src.figures.images.predicted_pictures", noted)
    monkeypatch.setattr("src.predict.__main__.MAX_PLOTTED", 5)
    result = predict(clone, *reversed(named), "--plot", "grid.png")
    assert titles == [f"{each['class']} ({each['confidence']:.1%})" for each in records[:-6:-1]]
    assert result.stderr == "grid.png: the first 5 of 20 pictures\n"
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["file", "class", "confidence", "picture", "runner-up"]
    for line, record in zip(reversed(lines), records, strict=True):
        assert line.split() == [
            record["file"],
            record["class"],
            f"{record['confidence']:.2%}",
            *["dark", "on", "bright"],
            record["runner_up"],
            f"{record['runner_up_confidence']:.2%}",
        ]
    with Image.open(clone.path / "grid.png") as grid:
        assert grid.width > 1000

    rows = list(csv.DictReader(io.StringIO(predict(clone, "pictures", "--csv").stdout)))
    assert [row["class"] for row in rows] == [record["class"] for record in records]
    assert float(rows[3]["7"]) == pytest.approx(records[3]["probabilities"]["7"])


def test_what_cannot_be_read_has_its_line_and_the_rest_is_predicted(
    clone: Clone, pictures: Path, predict: Predict
) -> None:
    good = sorted(pictures.iterdir())[0]
    (pictures / "text.png").write_text("It was a dark and stormy night")
    (pictures / "cut.png").write_bytes(good.read_bytes()[:150])
    result = predict(clone, "none.png", "pictures", check=False)
    assert result.returncode == 1
    assert "Traceback" not in output(result)
    lines = result.stdout.splitlines()[1:]
    assert lines[0].split(maxsplit=1) == ["none.png", "error: No such file or directory"]
    wrong = {line.split()[0]: line for line in lines if "error: " in line}
    assert set(wrong) == {"none.png", "pictures/text.png", "pictures/cut.png"}
    assert "not a picture" in wrong["pictures/text.png"]
    assert len(lines) == 23


def test_standard_input_and_a_file_name_in_any_encoding(
    clone: Clone, pictures: Path, predict: Predict
) -> None:
    first, second, third, *_ = sorted(pictures.iterdir())
    strange = pictures / os.fsdecode(b"caf\xe9\x1b.png")
    first.rename(strange)
    # Where the terminal's encoding is UTF-8, Python refuses to print what is none.
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    command = 'exec python -m src.predict "$@" - --json < "$0"'
    result = clone.run("sh", "-c", command, str(third), str(strange), str(second), **strict)
    records = json.loads(result.stdout)
    assert [record["file"] for record in records] == [f"{pictures}/caf\\xe9\\x1b.png", str(second), "-"]
    (named,) = json.loads(predict(clone, f"pictures/{third.name}", "--json").stdout)
    assert records[2]["probabilities"] == pytest.approx(named["probabilities"], abs=1e-6)


def test_a_large_picture_is_not_kept_whole(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    digit = load_split(Path("data/prepared/test.npz")).images[0]
    content = io.BytesIO()
    Image.fromarray(digit).resize((2800, 1400)).save(content, "PNG")
    (found,) = predict_pictures([("large", content.getvalue())], TorchClassifier(Path("models/model.pt")))
    assert found.pixels is not None
    assert found.pixels.shape == (280, 560)
    assert found.pixels.base is None, "a view would keep all of it"
    assert found.probabilities is not None


def test_an_empty_folder(clone: Clone, pictures: Path, predict: Predict) -> None:
    (clone.path / "empty").mkdir()
    refused = predict(clone, "empty", check=False)
    assert refused.returncode == 1
    assert output(refused) == (
        "error: empty: no pictures in it; expected .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff\n"
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("models/model.pt", "no such file; `dvc repro train` writes it"),
        ("models/model.onnx", "no such file; `make export` writes it"),
        ("HEAD", "no such file; expected the path of a model, .pt or .onnx"),
        ("models/model.PT", "no such file; expected the path of a model, .pt or .onnx"),
    ],
)
def test_a_missing_model_names_a_command_where_one_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for untrained in (False, *[True] * (not is_onnx(Path(model)))):
        with pytest.raises(UserError) as raised:
            open_classifier(Path(model), untrained=untrained)
        assert str(raised.value) == f"{model}: {said}"


def test_a_split_has_the_numbers_of_evaluate(clone: Clone, predict: Predict) -> None:
    assert predict(clone, "--split", "test").stdout == clone.read("metrics/test.json")
    validation = json.loads(predict(clone, "--split", "val").stdout)
    assert validation["accuracy"] == json.loads(clone.read("metrics/train.json"))["val_accuracy"]
    trained = torch.load(clone.path / "models/model.pt", weights_only=True)
    trained["class_names"] = [*trained["class_names"][1:], "zero"]
    torch.save(trained, clone.path / "other.pt")
    refused = predict(clone, "--split", "val", "--model", "other.pt", check=False)
    assert output(refused) == (
        "error: other.pt was trained on other classes or another format of Digits than "
        "data/prepared/val.npz holds\n"
    )


def test_pictures_are_found_in_the_folders_of_a_folder(tmp_path: Path) -> None:
    for name in ("b/c/2.PNG", "a/1.png", "a/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path for _, path in find_pictures([str(tmp_path)])]
    assert found == [tmp_path / "a/1.png", tmp_path / "b/c/2.PNG"]


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    for name in ("homework/a/1.png", "elsewhere/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    folder = tmp_path / "homework"
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(folder)
    found = [path for _, path in find_pictures([str(folder)])]
    assert found == [folder / "a/1.png", folder / "b/2.png"]


def test_what_cannot_be_read_in_a_folder_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("homework/1.png", "locked/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    folder, locked = tmp_path / "homework", tmp_path / "locked"
    (folder / "broken.png").symlink_to("gone.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "none").symlink_to("gone")
    os.mkfifo(folder / "pipe.png")
    pictures = find_pictures([str(folder)])
    assert [path for _, path in pictures] == [folder / each for each in ("1.png", "broken.png", "loop.png")]
    refuse_to_replace(locked / "2.png", pictures)  # a link that leads to itself is no traceback
    assert capsys.readouterr().err.splitlines() == [
        f"{folder}/pipe.png: skipped, since it is not a file",
        f"{folder}: skipped 1 without a suffix; read are .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff",
    ]

    def deny(path: Path) -> bool:  # Permissions do not bind root.
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as denied:
        denied.setattr(Path, "exists", deny)
        denied.setattr(Path, "is_file", deny)
        assert [path for _, path in find_pictures([str(locked)])] == [locked / "2.png"]
    monkeypatch.setattr(os, "scandir", deny)
    assert [path for _, path in find_pictures([str(locked)])] == [locked]


def test_standard_input_is_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^- was given twice; expected it once: standard input is one"):
        find_pictures(["-", "a.png", "-"])
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after `<&-`
    with pytest.raises(UserError, match=r"^-: standard input is closed; expected a picture$"):
        find_pictures(["-"])


def test_what_is_no_picture_in_a_folder_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = (".hidden", "._1.png", ".ipynb_checkpoints/1.png", ".git/config")
    for name in ("1.png", "2.HEIC", "b/3.heic", "notes.txt", "Makefile", *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(find_pictures([str(tmp_path)])) == 1
    skipped = "skipped 2 .heic, 1 .txt, 1 without a suffix; read are .png, "
    assert capsys.readouterr().err.startswith(f"{tmp_path}: {skipped}")
    with pytest.raises(UserError, match=r"^'' is invalid; expected a picture, a folder of pictures, or -$"):
        find_pictures([""])


def test_a_figure_replaces_no_picture(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--plot homework/*.png`: the shell makes the first picture the name of the figure."""
    monkeypatch.chdir(clone.path)
    Path("homework/late").mkdir(parents=True)
    names = [f"homework/{name}.png" for name in ("a", "b", "late/c")]
    for name in names:
        Image.new("L", (40, 40)).save(name)
    refuse_to_replace(Path("homework/new.png"), find_pictures(["homework"]))
    before = [Path(name).read_bytes() for name in names]
    for several in (names, names[:2], [names[0], "homework"], [names[2], "homework"]):
        monkeypatch.setattr(sys, "argv", ["predict", "--plot", *several])
        with pytest.raises(
            UserError, match=rf"^--plot: {several[0]} exists, beside the pictures; expected a new "
        ):
            main()
    assert [Path(name).read_bytes() for name in names] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "val", "--json"], "--split has neither --json, --csv nor --plot: it prints JSON"),
        (["--plot", "a.jpg", "b.jpg"], "--plot: a.jpg is invalid; expected a name that ends in .png"),
        (["a.png", "--untrained", "--model", "m.onnx"], "--untrained needs a .pt model"),
        ([], "either pictures or --split is needed"),
        (["a.png", "--split", "val"], "either pictures or --split is needed"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", *words])
    with pytest.raises(SystemExit):
        arguments()
    assert said in capsys.readouterr().err


def test_a_class_may_be_called_as_a_column_is() -> None:
    prepared = Prepared(np.zeros((28, 28), np.uint8), inverted=False)
    good = Prediction("a.png", prepared=prepared, probabilities=np.array([0.9, 0.1]))
    heading, *lines = csv.reader(as_csv([good, Prediction("b.png", problem="damaged")], ["ok", "error"]))
    assert heading[-3:] == ["error", "ok", "error"]
    assert lines == [
        ["a.png", "ok", "0.9", "error", "0.1", "False", "", "0.9", "0.1"],
        ["b.png", "", "", "", "", "", "damaged", "", ""],
    ]


def test_before_training_every_answer_is_near_ten_percent(
    clone: Clone, pictures: Path, predict: Predict
) -> None:
    result = predict(clone, "pictures", "--untrained", "--json")
    for record in json.loads(result.stdout):
        assert all(0.05 < share < 0.17 for share in record["probabilities"].values())
    heading, line, *_ = predict(clone, "pictures", "--untrained").stdout.splitlines()
    assert heading.split()[-10:] == list("0123456789")
    assert line.count("%") == 11


def test_pictures_in_colour_of_many_classes(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ['a,"b"', "$x$", "pizza 🍕", *(f"class {code}" for code in range(23))]
    image_format = ImageFormat(32, 3)
    network = build_model(params.network(), seed=0, num_classes=26, image_format=image_format)
    save_model(
        TrainedModel("Own", names, 0.5, 0.3, params.network(), 0, network.state_dict(), image_format),
        tmp_path / "model.pt",
    )
    red = np.zeros((50, 40, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)

    def printed(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["src.predict", "red.png", "--model", "model.pt", *options])
        main()
        return capsys.readouterr().out

    (record,) = json.loads(printed("--json"))
    assert list(record["probabilities"]) == names
    (row,) = csv.DictReader(io.StringIO(printed("--csv")))
    assert [float(row[name]) for name in names] == list(record["probabilities"].values())
    heading, line = printed("--untrained", "--plot", "red-seen.png").splitlines()
    assert heading.endswith("the 5 most probable of 26 classes")
    best = sorted(record["probabilities"].items(), key=lambda item: -item[1])[:5]
    assert line.endswith("whole           " + ", ".join(f"{name} {share:.1%}" for name, share in best))
    with Image.open(tmp_path / "red-seen.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    assert (pixels == [255, 0, 0]).all(axis=1).mean() > 0.2, "the picture and what the model saw, in red"


def test_feature_maps_are_of_the_image_asked_for_whatever_else_is_predicted(
    reproduced: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LeNet5, "feature_maps", Network.feature_maps)  # that of a network of one's own
    classifier = TorchClassifier(reproduced.path / "models/model.pt")
    images = load_split(reproduced.path / VAL_SPLIT).images
    expected = classifier.feature_maps(images[0])
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(classifier.logits, images[1:9]) for _ in range(300)]
        for maps in pool.map(classifier.feature_maps, [images[0]] * 300):
            for name, values in maps.items():
                np.testing.assert_array_equal(values, expected[name])
        assert all(len(each.result()) == 8 for each in others)


def test_no_picture_at_all_is_still_a_table() -> None:
    names = ["cat", "dog"]
    assert json.loads("".join(as_json([], names))) == []
    assert len(list(as_csv([], names))) == 1
    assert len(list(as_table([], names, [], everything=False))) == 1
    (line,) = list(as_csv([Prediction("a,b.png", problem='"quoted"')], names))[1:]
    assert next(csv.reader([line]))[:1] == ["a,b.png"]


def test_enlarged_inverted_mnist_pictures_are_recognised(params: Params, tmp_path: Path) -> None:
    try:
        train, val, test = split_dataset(params.model_copy(update={"dataset": "MNIST"}))
    except UserError as absent:
        pytest.skip(f"no MNIST here: {absent}")
    part = replace(train, images=train.images[:20_000], labels=train.labels[:20_000])
    settings = changed(params, epochs=2)
    trained, _ = train_on_splits(part, val, params.network(), settings, torch.device("cpu"))
    save_model(trained, tmp_path / "model.pt")
    files: list[tuple[str, Path | bytes]] = []
    for index, image in enumerate(test.images[:500]):
        file = tmp_path / f"{index}.png"
        Image.fromarray(255 - image).resize((84, 84), Image.Resampling.NEAREST).save(file)
        files.append((str(index), file))
    found = list(predict_pictures(files, TorchClassifier(tmp_path / "model.pt")))
    assert all(one.prepared is not None and one.prepared.inverted for one in found)
    right = [one.probabilities.argmax() == label for one, label in zip(found, test.labels, strict=False)]
    assert np.mean(right) >= 0.97
