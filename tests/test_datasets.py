from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torchvision

from src.data import qmnist
from src.data.dataset import MAX_CLASSES, Dataset, Parts, dataset
from src.data.fashionmnist import CLOTHES
from src.data.kmnist import HIRAGANA
from src.data.splits import ImageFormat, Placement
from src.data.splitting import split_dataset
from src.data.torchvision_archives import data_root, load_idx_dataset, read_images, torchvision_source
from src.params import DatasetName, PrepareParams
from src.runtime.errors import UserError
from tests.idx_files import NAMES, archives, compressed, idx, source
from tests.server import serve


def divided(name: str) -> PrepareParams:
    return PrepareParams(dataset=name, val_fraction=1 / 6, split_seed=0, test_fraction=1 / 6)


@pytest.mark.parametrize("name", get_args(DatasetName))
def test_every_name_stands_for_a_module_with_all_facts(name: DatasetName) -> None:
    facts = dataset(name)
    assert isinstance(facts, Dataset)
    assert 2 <= len(facts.class_names) <= MAX_CLASSES


def test_digits_and_letters_have_a_left_and_a_right() -> None:
    names = ("Digits", "MNIST", "FashionMNIST", "KMNIST", "QMNIST")
    assert [name for name in names if dataset(name).mirror_symmetric] == ["FashionMNIST"]


def test_class_names_are_torchvisions() -> None:
    assert torchvision.datasets.FashionMNIST.classes == CLOTHES
    assert torchvision.datasets.KMNIST.classes == HIRAGANA


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "QMNIST"])
def test_loads_the_exact_format_over_http_then_without_it(tmp_path: Path, name: str) -> None:
    files = archives(name, train=40, test=20)
    with serve(files) as mirror:
        first = load_idx_dataset(name, 10, source(name, files, mirror.url), tmp_path)
        assert sorted(mirror.asked) == sorted(files)
    again = load_idx_dataset(name, 10, source(name, files, "http://127.0.0.1:1/"), tmp_path)
    for part, other, count in ((first.train, again.train, 40), (first.test, again.test, 20)):
        assert part.images.shape == (count, 28, 28)
        assert part.images.dtype == part.labels.dtype == np.uint8
        np.testing.assert_array_equal(part.labels, np.arange(count) % 10)
        np.testing.assert_array_equal(part.images, other.images)
    assert sorted(path.name for path in (tmp_path / name / "raw").glob("*.gz")) == sorted(files)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "QMNIST"])
def test_sources_are_torchvisions(name: str) -> None:
    listed = qmnist.source() if name == "QMNIST" else torchvision_source(name)
    assert [archive.name for archive in listed.archives] == [f"{file}.gz" for file in NAMES[name]]
    assert all(len(archive.md5) == 32 for archive in listed.archives)
    assert listed.mirrors
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in listed.mirrors)
    if name == "QMNIST":
        # The test set of 60,000 images, not NIST's and not MNIST's 10,000.
        addresses = torchvision.datasets.QMNIST.resources["test"]
        assert [listed.mirrors[0] + archive.name for archive in listed.archives[2:]] == [
            url for url, _ in addresses
        ]


def pair(folder: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    paths = folder / "images.gz", folder / "labels.gz"
    for path, array in zip(paths, (images, labels), strict=True):
        path.write_bytes(compressed(idx(array)))
    return paths


IMAGES = np.zeros((3, 28, 28), np.uint8)
LABELS = np.array([0, 1, 9], np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "file", "said"),
    [
        (IMAGES, LABELS[:2], "labels.gz", "holds 2 labels, images.gz holds 3 images"),
        (IMAGES[:0], LABELS[:0], "labels.gz", "holds 0 labels"),
        (IMAGES, LABELS + 1, "labels.gz", "holds the label 10; expected 0 to 9"),
        (IMAGES[:, :27], LABELS, "images.gz", "holds uint8 images of 27 × 28, expected uint8 of 28 × 28"),
        (IMAGES.astype(np.int32), LABELS, "images.gz", "expected uint8"),
    ],
)
def test_names_the_file_that_does_not_fit(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, file: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        read_images(*pair(tmp_path, images, labels), label_dimensions=1, classes=10)
    assert str(refusal.value).startswith(str(tmp_path / file))


def test_negative_labels_of_qmnist_are_refused(tmp_path: Path) -> None:
    columns = np.zeros((3, 8), np.int32)
    columns[1, 0] = -1
    with pytest.raises(UserError, match="holds the label -1"):
        read_images(*pair(tmp_path, IMAGES, columns), label_dimensions=2, classes=10)


def test_digits_are_all_there_with_a_stratified_fifth_for_the_test() -> None:
    digits, again = dataset("Digits").load(), dataset("Digits").load()
    assert len(digits.train.labels) == 1437
    assert len(digits.test.labels) == 360
    everything = np.concatenate([digits.train.labels, digits.test.labels])
    shares = np.bincount(digits.test.labels) / np.bincount(everything)
    np.testing.assert_allclose(shares, 0.2, atol=0.01)
    assert digits.train.images.shape == (1437, 28, 28)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.max() == 255
    assert not digits.train.images[:, :2].any(), "the border is background"
    np.testing.assert_array_equal(digits.test.images, again.test.images)


def test_data_root_is_the_variable_else_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LENET_DATA_ROOT", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("LENET_DATA_ROOT")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root().is_absolute()
    assert "lenet5" in str(data_root())


def test_a_relative_data_root_is_seen_from_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = tmp_path / "repository" / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    workspace.mkdir(parents=True)
    monkeypatch.setenv("LENET_DATA_ROOT", "../datasets")
    for folder in (tmp_path / "repository", workspace):
        monkeypatch.chdir(folder)
        assert data_root().resolve() == tmp_path / "datasets"


def test_a_home_folder_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_DATA_ROOT", "~no-such-user/datasets")
    with pytest.raises(UserError, match=r"^LENET_DATA_ROOT: '~no-such-user/datasets' is invalid; expected a"):
        data_root()


def test_splits_come_from_their_own_parts_and_statistics_from_training_alone() -> None:
    digits = dataset("Digits").load()
    train, val, test = split_dataset(divided("Digits"))
    assert [len(split.labels) for split in (train, val, test)] == [1197, 240, 360]
    pictures = [{image.tobytes() for image in split.images} for split in (train, val, test)]
    official = {image.tobytes() for image in digits.train.images}
    assert pictures[0] | pictures[1] == official
    np.testing.assert_array_equal(test.images, digits.test.images)
    assert train.mean == val.mean == test.mean == pytest.approx((train.images / 255).mean())
    assert train.std == val.std == test.std == pytest.approx((train.images / 255).std())


def real(name: str) -> Parts:
    """A dataset's real images; those that are not in scikit-learn's wheel, where they are on this machine."""
    if name != "Digits":
        root = os.environ.get("LENET_DATA_ROOT")
        if not root or not (Path(root) / name / "raw").is_dir():
            pytest.skip(f"LENET_DATA_ROOT names no folder with {name}")
    return dataset(name).load()


def as_bytes(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("name", ["Digits", "MNIST", "FashionMNIST"])
def test_no_test_image_is_among_the_training_and_validation_images(name: str) -> None:
    official = real(name)
    train, val, test = split_dataset(divided(name))
    pictures = [as_bytes(split.images) for split in (train, val, test)]
    assert [len(images) for images in pictures] == [len(split.labels) for split in (train, val, test)]
    assert not pictures[0] & pictures[1]
    assert not pictures[2] & (pictures[0] | pictures[1])
    np.testing.assert_array_equal(test.images, official.test.images)
    assert train.mirror_symmetric == (name == "FashionMNIST"), "digits have a left and a right"


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "QMNIST"])
def test_each_part_comes_from_its_own_archives(tmp_path: Path, name: str) -> None:
    files = archives(name, train=20, test=20)
    with serve(files) as mirror:
        parts = load_idx_dataset(name, 10, source(name, files, mirror.url), tmp_path)
    for part, archive in ((parts.train, f"{NAMES[name][0]}.gz"), (parts.test, f"{NAMES[name][2]}.gz")):
        pixels = gzip.decompress(files[archive])[-20 * 28 * 28 :]
        assert part.images.tobytes() == pixels, archive
    assert not as_bytes(parts.train.images) & as_bytes(parts.test.images)


def content_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row and column that are not background, each int [N, 2]."""
    seen = images > 0
    lines = [seen.any(axis=axis) for axis in (2, 1)]
    first = np.stack([each.argmax(1) for each in lines], axis=1)
    last = np.stack([27 - each[:, ::-1].argmax(1) for each in lines], axis=1)
    return first, last


@pytest.mark.parametrize("name", ["Digits", "MNIST", "FashionMNIST"])
def test_how_images_are_placed_is_as_the_dataset_says(name: str) -> None:
    images, placement = real(name).train.images, dataset(name).format.placement
    first, last = content_of(images)
    longer = (last - first + 1).max(1)
    assert longer.max() == placement.size
    assert (longer == placement.size).mean() > 0.98

    of_rectangle = np.abs((first + last) / 2 - 13.5)
    weights = images.astype(float)
    total, places = weights.sum((1, 2)), np.arange(28)
    by_row_and_column = [weights.sum(axis) @ places / total for axis in (2, 1)]
    of_mass = np.abs(np.stack(by_row_and_column, axis=1) - 14)
    # By mass, nothing is further from the middle than half a pixel, to which it was rounded.
    assert (np.quantile(of_mass, 0.99) < 0.5) == placement.by_mass
    assert (of_rectangle.mean() < 0.25) == (not placement.by_mass)

    brightest = images.max((1, 2))
    assert placement.full_contrast == (np.quantile(brightest, 0.02) >= 254)
    assert brightest.min() > 220


def test_how_images_are_placed_that_cannot_be_measured_here() -> None:
    assert dataset("QMNIST").format == dataset("MNIST").format, "made from NIST's images as MNIST was"
    # Characters cut out of scanned pages and scaled to the field (Clanuwat et al. 2018).
    assert dataset("KMNIST").format == ImageFormat(placement=Placement(28, by_mass=False, full_contrast=True))
