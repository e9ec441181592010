from __future__ import annotations

import math
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from src.data.splits import (
    ImageFormat,
    Split,
    load_split,
    load_split_of,
    pixel_statistics,
    save_split,
    stratified_split,
)
from src.runtime.errors import UserError
from tests.conftest import bright_squares


@pytest.mark.parametrize("fraction", [1 / 6, 0.1, 0.5])
def test_split_is_stratified_complete_and_seeded(fraction: float) -> None:
    labels = np.repeat(np.arange(10), np.arange(50, 60))
    rest, drawn = stratified_split(labels, fraction, seed=3)
    assert sorted([*rest, *drawn]) == list(range(len(labels)))
    assert (sorted(rest), sorted(drawn)) == (list(rest), list(drawn))
    assert len(drawn) == round(fraction * len(labels))
    np.testing.assert_allclose(np.bincount(labels[drawn]), fraction * np.bincount(labels), atol=1)
    np.testing.assert_array_equal(drawn, stratified_split(labels, fraction, seed=3)[1])
    assert set(drawn) != set(stratified_split(labels, fraction, seed=4)[1])


def test_a_sixth_of_60000_is_the_classic_split() -> None:
    rest, drawn = stratified_split(np.arange(60_000) % 10, 1 / 6, seed=0)
    assert (len(rest), len(drawn)) == (50_000, 10_000)


def test_a_fraction_too_small_for_every_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"^val_fraction: 0.05 of 100 images is 5, fewer than the 10 classes"):
        stratified_split(np.arange(100) % 10, 0.05, seed=0)


def test_the_fraction_that_is_named_is_accepted() -> None:
    labels = np.arange(451) % 200
    with pytest.raises(UserError, match=r"expected here: at least 0.444$"):
        stratified_split(labels, 0.1, seed=0)
    assert len(stratified_split(labels, 0.444, seed=0)[1]) == 200


def test_statistics_are_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    mean, std = pixel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(), rel=1e-12)
    assert std == pytest.approx((images / 255).std(), rel=1e-12)
    pixels = [Fraction(int(value), 255) for value in images.reshape(-1)]
    exact = sum(pixels) / len(pixels)
    assert mean == float(exact), "the nearest number to the exact one, on every machine"
    assert std == math.sqrt(sum((pixel - exact) ** 2 for pixel in pixels) / len(pixels))


def test_saved_and_loaded_is_the_same_and_equal_bytes(tmp_path: Path) -> None:
    split = bright_squares(5)
    for name in ("a.npz", "b.npz"):
        save_split(split, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = load_split(tmp_path / "a.npz")
    assert replace(loaded, images=0, labels=0) == replace(split, images=0, labels=0)
    np.testing.assert_array_equal(loaded.images, split.images)
    np.testing.assert_array_equal(loaded.labels, split.labels)


def test_70000_images_load_in_under_three_tenths_of_a_second(tmp_path: Path) -> None:
    for name, count in (("train", 50_000), ("val", 10_000), ("test", 10_000)):
        images = np.ones((count, 28, 28), np.uint8)
        labels = np.zeros(count, np.uint8)
        save_split(Split("MNIST", ["0"], 0.1, 0.3, False, images, labels), tmp_path / f"{name}.npz")

    def seconds() -> float:
        started = time.process_time()  # whatever else the machine does
        for name in ("train", "val", "test"):
            load_split(tmp_path / f"{name}.npz")
        return time.process_time() - started

    assert min(seconds() for _ in range(5)) < 0.3


SQUARES = bright_squares(2)


@pytest.mark.parametrize(
    "damaged",
    [
        replace(SQUARES, images=SQUARES.images.astype(np.float32)),
        replace(SQUARES, images=SQUARES.images[:, :-1]),
        replace(SQUARES, images=SQUARES.images[:-1]),
        replace(SQUARES, labels=SQUARES.labels + 1),
        replace(SQUARES, labels=SQUARES.labels.astype(np.int64)),
        replace(SQUARES, labels=SQUARES.labels[:0], images=SQUARES.images[:0]),
        replace(SQUARES, std=0.0),
        replace(SQUARES, mean=float("nan")),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, damaged: Split) -> None:
    path = tmp_path / "train.npz"
    save_split(damaged, path)
    with pytest.raises(UserError, match="damaged") as refusal:
        load_split(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    with pytest.raises(UserError, match="no such file"):
        load_split(path)
    save_split(SQUARES, path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_split(path)


def test_a_split_is_of_the_data_that_a_model_was_trained_on(tmp_path: Path) -> None:
    path, model, split = tmp_path / "val.npz", Path("model.pt"), bright_squares(2)
    save_split(split, path)
    assert load_split_of(split, path, model=model).dataset == "Squares"
    with pytest.raises(UserError, match=rf"^model\.pt was trained on Circles, {path} holds Squares$"):
        load_split_of(replace(split, dataset="Circles"), path, model=model)
    said = rf"^model\.pt was trained on other classes or another format of Squares than {path} holds$"
    for other in (
        replace(split, class_names=split.class_names[::-1]),
        replace(split, format=ImageFormat(32)),
    ):
        with pytest.raises(UserError, match=said):
            load_split_of(other, path, model=model)
