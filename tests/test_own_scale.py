"""Real images in numbers, as files of a user's own: the same splits, the same accuracy, time and memory."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.dataset import Images, dataset
from src.data.splits import Split, load_split
from src.runtime.paths import TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from tests.conftest import Clone
from tests.test_own_pipeline import stages

# Between 2 epochs of MNIST or Fashion-MNIST with different seeds, test accuracies differ by less.
NOISE = 0.01
# Runs a stage, and says what processor time and memory it took.
MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "stages.prepare"], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("measured", used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(fresh_clone: Callable[[], Clone]) -> Clone:
    if not (Path(os.environ.get("LENET_DATA_ROOT", "/none")) / "MNIST/raw").is_dir():
        pytest.skip("LENET_DATA_ROOT names no folder with MNIST")
    return fresh_clone()


def write_pngs(images: Images, folder: Path) -> None:
    for number, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        path = folder / str(label) / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)


def splits(clone: Clone) -> list[Split]:
    return [load_split(clone.path / path) for path in (TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT)]


def trained(clone: Clone, name: str) -> tuple[list[Split], float]:
    """The splits of a dataset, and the test accuracy after two epochs."""
    clone.set_params(dataset=name, epochs=2, batch_size=64)
    stages(clone, "prepare", "train", "evaluate")
    return splits(clone), json.loads(clone.read("metrics/test.json"))["accuracy"]


def test_mnist_as_70000_pictures_in_folders(clone: Clone) -> None:
    parts = dataset("MNIST").load()
    assert parts.test is not None
    for part, images in (("train", parts.train), ("test", parts.test)):
        write_pngs(images, clone.path / "data/own/pictures" / part)
    clone.set_params(dataset="pictures")
    said = clone.run(sys.executable, "-c", MEASURED).stdout
    seconds, megabytes = map(float, re.search(r"measured (\S+) (\S+)", said).groups())
    print(f"70,000 PNGs: {seconds:.1f} s of processor time, {megabytes:.0f} MB")
    assert seconds < 60, "processor time: two cores may share it"
    assert megabytes < 1200, "the pixels are 55 MB; half of the rest is imports"
    ours, accuracy = trained(clone, "pictures")
    theirs, expected = trained(clone, "MNIST")
    for own, built_in in zip(ours, theirs, strict=True):
        assert (own.mean, own.std, own.class_names) == (built_in.mean, built_in.std, built_in.class_names)
        for label in range(10):
            of_class = [
                sorted(image.tobytes() for image in split.images[split.labels == label])
                for split in (own, built_in)
            ]
            assert of_class[0] == of_class[1], "the order of the images is another one"
    print(f"test accuracy of 2 epochs: {accuracy:.2%} as pictures, {expected:.2%} as MNIST")
    assert accuracy == pytest.approx(expected, abs=NOISE)


def test_fashion_mnist_as_an_archive_of_arrays(clone: Clone) -> None:
    facts = dataset("FashionMNIST")
    parts = facts.load()
    assert parts.test is not None
    folder = clone.path / "data/own/clothes"
    folder.mkdir()
    np.savez(
        folder / "clothes.npz",
        train_images=parts.train.images,
        train_labels=parts.train.labels[:, None],
        test_images=parts.test.images,
        test_labels=parts.test.labels[:, None],
    )
    (folder / "dataset.yaml").write_text(
        f"class_names: {json.dumps(facts.class_names)}\nmirror_symmetric: true\n"
    )
    ours, accuracy = trained(clone, "clothes")
    theirs, expected = trained(clone, "FashionMNIST")
    for own, built_in in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own.images, built_in.images)
        np.testing.assert_array_equal(own.labels, built_in.labels)
        assert (own.mean, own.std) == (built_in.mean, built_in.std)
        assert (own.class_names, own.mirror_symmetric) == (built_in.class_names, True)
    assert accuracy == expected, "the same images in the same order"
