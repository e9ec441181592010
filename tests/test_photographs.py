"""Photographs of paper, rendered from real digits: what is left of them, and what a network makes of it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.photographs import CONDITIONS, SIZE, clean, photograph
from src.data.dataset import dataset
from src.data.splits import Split
from src.data.splitting import split_dataset
from src.own_images.pictures import Prepared, prepare_picture, read_picture
from src.params import Params
from src.predict.__main__ import find_pictures
from src.predict.classifiers import TorchClassifier
from src.predict.photographs import TURNS, is_photograph, open_picture
from src.predict.predictions import Prediction, _second_look, predict
from src.runtime.errors import UserError
from src.training.from_splits import train_on_splits
from tests.conftest import changed

FORMAT = dataset("MNIST").format
LIGHTS = [name for name in CONDITIONS if not {"pen", "turned"} & set(CONDITIONS[name])]


@pytest.fixture
def digits(params: Params) -> Split:
    """Ten classes, enlarged like MNIST's."""
    return split_dataset(changed(params, dataset="Digits"))[1]


def rendered(image: np.ndarray, name: str) -> bytes:
    return photograph(image, np.random.default_rng(1), **CONDITIONS[name])


@pytest.mark.parametrize("name", LIGHTS)
def test_light_table_and_printed_lines_are_no_ink(digits: Split, name: str) -> None:
    for image in digits.images[:2]:
        even = open_picture(rendered(image, "even light"), FORMAT, "MNIST")[1].image.astype(float)
        pixels, prepared = open_picture(rendered(image, name), FORMAT, "MNIST")
        assert is_photograph(pixels)
        assert (prepared.inverted, len(prepared.turned)) == (True, len(TURNS))
        assert len({turned.tobytes() for turned in (prepared.image, *prepared.turned)}) == 1 + len(TURNS)
        assert np.corrcoef(even.ravel(), prepared.image.ravel())[0, 1] > 0.95


def test_a_photograph_may_come_from_a_pipe(digits: Split) -> None:
    content = rendered(digits.images[0], "even light")
    pipe, end = os.pipe()

    def write() -> None:
        with os.fdopen(end, "wb") as file:
            file.write(content)

    writing = threading.Thread(target=write)
    writing.start()
    ((_, source),) = find_pictures([f"/dev/fd/{pipe}"])
    writing.join()
    os.close(pipe)
    piped, expected = (open_picture(each, FORMAT, "MNIST")[1] for each in (source, content))
    assert piped.turned
    assert (piped.image == expected.image).all()


def test_a_clean_drawing_is_made_as_before(digits: Split) -> None:
    for image in digits.images[:20]:
        drawing = clean(image)
        pixels, prepared = open_picture(drawing, FORMAT, "MNIST")
        expected = prepare_picture(read_picture(drawing), FORMAT)
        assert prepared.turned == ()
        assert (pixels == read_picture(drawing)).all()
        assert (prepared.image == expected.image).all()


def test_what_is_written_on_a_blackboard_is_made_as_before(digits: Split) -> None:
    generator = np.random.default_rng(0)
    for image, falloff in zip(digits.images, [0.0, 0.5, 0.75], strict=False):
        board = np.full((400, 400), 40.0)
        board[60:340, 60:340] += 0.7 * np.asarray(Image.fromarray(image).resize((280, 280)), float)
        board = board * np.linspace(1, 1 - falloff, 400) + generator.normal(0, 3, board.shape)
        content = io.BytesIO()
        Image.fromarray(board.clip(0, 255).astype(np.uint8)).save(content, "PNG")
        prepared = open_picture(content.getvalue(), FORMAT, "MNIST")[1]
        assert (prepared.inverted, prepared.turned) == (False, ())


def test_what_fills_its_image_was_never_on_paper(digits: Split) -> None:
    photographed = rendered(digits.images[0], "light falls off by 50 %")
    pixels, prepared = open_picture(photographed, dataset("FashionMNIST").format, "FashionMNIST")
    assert is_photograph(pixels)
    assert prepared.turned == ()
    assert (prepared.image == prepare_picture(pixels, dataset("FashionMNIST").format).image).all()


def test_a_photograph_is_made_as_prepare_made_those_of_a_dataset_of_ones_own(digits: Split) -> None:
    class Own(Undecided):
        dataset = "homework"

    photograph = rendered(digits.images[0], "pencil")
    (found,) = predict([("photograph", photograph)], Own())
    assert found.pixels is not None
    assert is_photograph(found.pixels)
    assert found.prepared is not None
    assert (found.prepared.image == prepare_picture(read_picture(photograph), FORMAT).image).all()


def encoded(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_what_cannot_be_read_is_refused(digits: Split) -> None:
    noise = np.random.default_rng(0).normal(0, 4, (*SIZE, 3))
    with pytest.raises(UserError, match=r"^nothing to be seen that stands out from the paper$"):
        open_picture(encoded((220 + noise).clip(0, 255).astype(np.uint8)), FORMAT, "MNIST")
    clutter = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"^many things are dark; expected one digit or the like on paper$"):
        open_picture(encoded(clutter), FORMAT, "MNIST")
    target = Image.new("L", (200, 200), 220)
    for radius in (28, 60, 92):
        ends = (100 - radius, 100 - radius, 100 + radius, 100 + radius)
        ImageDraw.Draw(target).ellipse(ends, outline=30, width=16)
    lit = (np.asarray(target) * np.linspace(1, 0.7, 200)).astype(np.uint8)
    with pytest.raises(UserError, match=r"^too much is dark to be writing on paper; expected a closer or "):
        open_picture(encoded(lit), FORMAT, "MNIST")


class Undecided:
    """A model to which nothing is certain."""

    dataset, class_names, format = "MNIST", [str(digit) for digit in range(10)], FORMAT

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 10), np.float32)


def test_a_photograph_of_which_the_network_is_unsure_is_not_answered(digits: Split) -> None:
    pictures = [("photograph", rendered(digits.images[0], "pencil")), ("drawing", clean(digits.images[0]))]
    photographed, drawn = predict(pictures, Undecided())
    assert photographed.problem == "not read: the best guess is 0, with 10%"
    assert photographed.probabilities is None
    assert photographed.pixels is not None
    assert drawn.probabilities is not None


class Sure(Undecided):
    """A model to which one image alone is a 7, with this confidence."""

    def __init__(self, image: np.ndarray, confidence: float) -> None:
        self.image, self.confidence = image, confidence

    def logits(self, images: np.ndarray) -> np.ndarray:
        shares = np.full((len(images), 10), 0.1)
        for row, image in zip(shares, images, strict=True):
            if (image == self.image).all():
                row[:] = (1 - self.confidence) / 9
                row[7] = self.confidence
        return np.log(shares)


def test_the_surest_of_all_turns_answers_if_it_is_sure_enough() -> None:
    straight, *turned = [np.full((28, 28), shade, np.uint8) for shade in range(5)]
    prepared = Prepared(straight, inverted=True, turned=tuple(turned))
    asked = Prediction("photograph", prepared=prepared, probabilities=np.full(10, 0.1))
    for confidence, problem in ((0.61, ""), (0.59, "not read: the best guess is 7, with 59%")):
        found = _second_look(asked, Sure(turned[2], confidence))
        assert found.prepared is not None
        assert found.prepared.image is turned[2]
        assert found.problem == problem
        assert (found.probabilities is None) == bool(problem)


@pytest.mark.slow
def test_nine_of_ten_are_read_in_every_condition(params: Params, tmp_path: Path) -> None:
    if not os.environ.get("LENET_DATA_ROOT"):
        pytest.skip("no MNIST here")
    import torch

    from src.networks.model_file import save_model

    train, val, test = split_dataset(changed(params, dataset="MNIST"))
    settings = changed(params, dataset="MNIST", epochs=4, batch_size=128, lr=0.01)
    trained, _ = train_on_splits(train, val, settings.network(), settings, torch.device("cpu"))
    save_model(trained, tmp_path / "model.pt")
    classifier = TorchClassifier(tmp_path / "model.pt")
    for name in CONDITIONS:
        generator = np.random.default_rng(0)
        pictures = [
            (str(number), photograph(image, generator, **CONDITIONS[name]))
            for number, image in enumerate(test.images[:100])
        ]
        answers = [one.probabilities for one in predict(pictures, classifier)]
        right = sum(
            answer is not None and answer.argmax() == label
            for answer, label in zip(answers, test.labels, strict=False)
        )
        assert right >= 90, name
