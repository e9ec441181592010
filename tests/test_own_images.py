"""A user's own images: what is read, guessed, refused, and how they are divided."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from src.data.dataset import Images, Parts
from src.data.splits import ImageFormat, Split, save_split
from src.own_images import class_folders
from src.own_images.dataset import DatasetFacts, describe_sizes, own_dataset, read_facts
from src.own_images.splitting import duplicates, share_by_content, split_own_images
from src.params import PrepareParams
from src.runtime.errors import UserError
from src.runtime.paths import TEST_SPLIT
from stages import prepare
from tests.conftest import ROOT
from tests.idx_files import compressed, idx
from tests.own_images import AWKWARD, picture, write_pictures
from tests.test_pictures import bomb

THREE = {"cockle": 12, "mussel": 9, "oyster": 6}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the dataset `shells`, as seen from the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("data/own/shells").mkdir(parents=True)
    return Path("data/own/shells")


def divided(said: list[str] | None = None, fraction: float = 1 / 3) -> tuple[Split, Split, Split]:
    """The splits of `shells`; what is reported goes into `said`."""
    params = PrepareParams(dataset="shells", val_fraction=fraction, split_seed=0, test_fraction=fraction)
    return split_own_images(params, report=(said if said is not None else []).append)


def contents(*splits: Split) -> set[tuple[bytes, str]]:
    """The images of some splits with the names of their classes."""
    return {
        (image.tobytes(), split.class_names[label])
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    }


def test_pictures_in_a_folder_for_each_class(folder: Path) -> None:
    write_pictures(folder, THREE)
    said: list[str] = []
    train, val, test = divided(said)
    assert train.class_names == ["cockle", "mussel", "oyster"]
    assert sum(len(split.labels) for split in (train, val, test)) == 27
    expected = {(np.asarray(picture(number)).tobytes(), "cockle") for number in range(12)}
    assert {each for each in contents(train, val, test) if each[1] == "cockle"} == expected
    assert said[:3] == [
        "data/own/shells: 3 classes, pictures of 28 × 28 pixels",
        "28 × 28 pixels, grey, whole pictures; a mirror image may change the class",
        "class   training  validation  test",
    ]
    counted = [[int(number) for number in line.split()[1:]] for line in said[3:]]
    assert [sum(line) for line in counted] == list(THREE.values())
    for column, split in enumerate((train, val, test)):
        assert [line[column] for line in counted] == np.bincount(split.labels).tolist()


def test_pictures_below_train_val_and_test(folder: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        write_pictures(folder / part, THREE, first=100 * number)
    train, val, test = divided()
    assert [len(split.labels) for split in (train, val, test)] == [27, 27, 27]
    for number, split in enumerate((train, val, test)):
        assert (np.asarray(picture(100 * number)).tobytes(), "cockle") in contents(split)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "gif"])
def test_every_kind_of_picture_is_read(folder: Path, suffix: str) -> None:
    write_pictures(folder, THREE, suffix=suffix)
    assert sum(len(split.labels) for split in divided()) == 27


def arrays(parts: dict[str, int], colour: bool = False, column: bool = True) -> dict[str, np.ndarray]:
    """What a .npz file of MedMNIST holds; labels are a column there."""
    generator, found = np.random.default_rng(0), {}
    for part, count in parts.items():
        shape = (count, 28, 28, 3) if colour else (count, 28, 28)
        found[f"{part}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        labels = np.arange(count) % 3
        found[f"{part}_labels"] = labels[:, None] if column else labels
    return found


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_an_archive_of_arrays_with_its_own_parts(folder: Path, colour: bool, column: bool) -> None:
    held = arrays({"train": 30, "val": 9, "test": 12}, colour, column)
    np.savez(folder / "medmnist.npz", **held)
    for name, split in zip(("train", "val", "test"), divided(), strict=True):
        np.testing.assert_array_equal(split.images, held[f"{name}_images"])
        np.testing.assert_array_equal(split.labels, held[f"{name}_labels"].reshape(-1))
        assert split.class_names == ["0", "1", "2"]
        assert split.format == ImageFormat(28, 3 if colour else 1)


def test_an_archive_of_one_part_is_divided(folder: Path) -> None:
    with (folder / "ALL.NPZ").open("wb") as file:
        np.savez(file, **arrays({"train": 60}))
    splits = divided()
    assert sum(len(split.labels) for split in splits) == 60
    assert all(len(np.unique(split.labels)) == 3 for split in splits)


def test_arrays_become_grey_or_coloured_as_the_facts_say(folder: Path) -> None:
    green = np.zeros((30, 28, 28, 3), np.uint8)
    green[..., 1] = 100 + np.arange(30)[:, None, None]
    held = arrays({"train": 30})
    for images, colour in ((green, "grey"), (held["train_images"], "colour")):
        np.savez(folder / "images.npz", **(held | {"train_images": images}))
        (folder / "dataset.yaml").write_text(f"colour: {colour}")
        dataset = own_dataset("shells")
        (read,) = (each.images for each in dataset.load().splits().values())
        if colour == "grey":  # by the weights of ITU-R 601, as Pillow has them
            assert read[:, 0, 0].tolist() == [round(0.587 * (100 + number)) for number in range(30)]
        else:
            np.testing.assert_array_equal(read, np.repeat(images[..., None], 3, axis=3))


def test_arrays_of_parts_may_differ_in_colour_and_size(folder: Path) -> None:
    held = arrays({"train": 30, "test": 12})
    coloured = arrays({"test": 12}, colour=True)["test_images"]
    np.savez(folder / "images.npz", **held | {"test_images": coloured})
    dataset = own_dataset("shells")
    assert dataset.format == ImageFormat(28, 3)
    parts = dataset.load()
    np.testing.assert_array_equal(parts.train.images, np.repeat(held["train_images"][..., None], 3, axis=3))
    assert parts.test is not None
    np.testing.assert_array_equal(parts.test.images, coloured)
    large = np.repeat(np.repeat(held["train_images"], 2, axis=1), 2, axis=2)
    np.savez(folder / "images.npz", **held | {"train_images": large})
    dataset = own_dataset("shells")
    assert dataset.format == ImageFormat(28, 1)
    assert dataset.load().notes[0] == (
        "data/own/shells: 3 classes, pictures of 28 × 28 to 56 × 56 (2 sizes) pixels"
    )
    shapes = {images.images.shape[1:] for images in dataset.load().splits().values()}
    assert shapes == {(28, 28)}


def test_of_an_idx_archive_and_its_plain_file_the_archive_is_read(folder: Path) -> None:
    """It is the one that is published; what somebody unpacked beside it is not looked at."""
    held = arrays({"train": 30, "test": 12}, column=False)
    for part, name in (("train", "train"), ("test", "t10k")):
        for kind, ending in (("images", "images-idx3-ubyte"), ("labels", "labels-idx1-ubyte")):
            content = idx(held[f"{part}_{kind}"].astype(np.uint8))
            (folder / f"{name}-{ending}.gz").write_bytes(compressed(content))
    (folder / "train-images-idx3-ubyte").write_bytes(idx(255 - held["train_images"]))
    np.testing.assert_array_equal(own_dataset("shells").load().train.images, held["train_images"])


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_four_idx_archives(folder: Path, suffix: str) -> None:
    held = arrays({"train": 30, "test": 12}, column=False)
    for part, name in (("train", "train"), ("test", "t10k")):
        for kind, ending in (("images", "images-idx3-ubyte"), ("labels", "labels-idx1-ubyte")):
            content = idx(held[f"{part}_{kind}"].astype(np.uint8))
            path = folder / f"{name}-{ending}{suffix}"
            path.write_bytes(compressed(content) if suffix else content)
    train, val, test = divided()
    np.testing.assert_array_equal(test.images, held["test_images"])
    assert len(train.labels) + len(val.labels) == 30


def test_facts_are_followed(folder: Path) -> None:
    for number, name in enumerate(THREE):
        (folder / name).mkdir()
        for size in range(10, 16):
            drawn = Image.new("RGB", (60, 40), (220, 240, 250))
            drawn.paste((20, 90, 30), (5, 3, 5 + size, 5 + size * (number + 1)))
            drawn.paste((220, 240, 250), (5, 3, size - 4, 6))
            drawn.save(folder / name / f"{size}.png")
    (folder / "dataset.yaml").write_text(
        "class_names: [oyster, cockle, mussel]\nmirror_symmetric: true\n"
        "colour: grey\nsize: 32\nfit: centred\n"
    )
    said: list[str] = []
    train = divided(said)[0]
    assert train.class_names == ["oyster", "cockle", "mussel"]
    assert int(train.images[train.labels == 0].max()) == 255
    assert not train.images[:, 0].any(), "cut out, bright on black, and centred"
    assert train.mirror_symmetric
    assert (train.format.size, train.format.channels) == (32, 1)
    assert train.format.placement is not None
    assert said[:2] == [
        "data/own/shells: 3 classes, pictures of 60 × 40 pixels",
        "32 × 32 pixels, grey, cut out and centred; a mirror image keeps the class",
    ]


@pytest.mark.parametrize(
    ("size", "colour", "expected"),
    [
        ((28, 28), False, ImageFormat(28, 1)),
        ((32, 32), False, ImageFormat(32, 1)),
        ((300, 200), False, ImageFormat(28, 1)),
        ((28, 28), True, ImageFormat(28, 3)),
        ((300, 200), True, ImageFormat(32, 3)),
    ],
)
def test_size_and_colour_are_guessed(
    folder: Path, size: tuple[int, int], colour: bool, expected: ImageFormat
) -> None:
    write_pictures(folder, {"a": 4, "b": 4}, size=size, colour=colour)
    assert own_dataset("shells").format == expected


@pytest.mark.parametrize(("size", "longer"), [(28, 20), (32, 23)])
def test_what_is_cut_out_is_as_large_as_mnists_digits(folder: Path, size: int, longer: int) -> None:
    for number, name in enumerate("abababab"):
        (folder / name).mkdir(exist_ok=True)
        drawn = Image.new("L", (60, 60))
        drawn.paste(255, (5, 5, 55, 15 + number))
        drawn.save(folder / name / f"{number}.png")
    (folder / "dataset.yaml").write_text(f"fit: centred\nsize: {size}\n")
    dataset = own_dataset("shells")
    assert dataset.format.shape == (size, size)
    for image in dataset.load().train.images:
        assert image.any(axis=0).sum() == longer


@pytest.mark.parametrize("side", [28, 40])
def test_pictures_that_could_hold_colours_and_hold_none_are_grey(folder: Path, side: int) -> None:
    for number, name in enumerate("abababab"):
        (folder / name).mkdir(exist_ok=True)
        picture(number, (side, side)).convert("RGB").save(folder / name / f"{number}.png")
    facts = own_dataset("shells")
    assert facts.format == ImageFormat(28, 1)
    scaled = picture(0, (side, side)).resize((28, 28), Image.Resampling.BILINEAR)
    assert np.array_equal(facts.load().train.images[0], np.asarray(scaled))


@pytest.mark.parametrize(
    ("suffix", "orientation", "size"),
    [
        ("jpg", 4, "60 × 100"),
        ("jpg", 5, "100 × 60"),
        ("tif", 6, "100 × 60"),
        ("png", 8, "100 × 60"),
    ],
)
def test_pictures_are_measured_as_they_are_turned(
    folder: Path, suffix: str, orientation: int, size: str
) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(4):
            picture(number + 4 * (name == "b"), (60, 100)).save(
                folder / name / f"{number}.{suffix}", exif=turned
            )
    said: list[str] = []
    divided(said, fraction=0.5)
    assert said[0] == f"data/own/shells: 2 classes, pictures of {size} pixels"


def test_the_pixels_of_a_png_are_not_decoded_to_find_its_size(folder: Path) -> None:
    write_pictures(folder, {"a": 4, "b": 4})
    for path in folder.glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:200])
    assert class_folders.find(folder, None).sizes == {(28, 28)}


def test_sizes_found_are_named() -> None:
    assert describe_sizes({(28, 28): 5}) == "pictures of 28 × 28 pixels"
    found = {(480, 640): 2, (20, 30): 1, (3000, 4000): 1}
    assert describe_sizes(found) == "pictures of 30 × 20 to 4,000 × 3,000 (3 sizes) pixels"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colours: grey", "unknown key 'colours'; expected class_names, mirror_symmetric, fit, colour, size"),
        ("colour: blue", "colour: 'blue' is invalid; expected grey or colour"),
        ("size: 64", "size: 64 is invalid; expected 28 or 32 (pixels)"),
        ("size: '28'", "size: '28' is invalid; expected 28 or 32 (pixels)"),
        ("fit: stretch", "fit: 'stretch' is invalid; expected whole (the whole picture, scaled) or centred"),
        ("mirror_symmetric: 1", "mirror_symmetric: 1 is invalid; expected true where a mirror image is"),
        (
            "class_names: cockle",
            "class_names: 'cockle' is invalid; expected a list of names, in the order of",
        ),
        ("class_names: []", "class_names: [] is invalid; expected a list of names"),
        ("class_names: [a, a]", "class_names: ['a', 'a'] is invalid; expected different names"),
        (
            'class_names: ["a\u0308", "\xe4"]',
            "class_names: ['\xe4', '\xe4'] is invalid; expected different names",
        ),
        (
            "class_names: [a, ' ']",
            "class_names: ['a', ' '] is invalid; expected different names, none of them b",
        ),
        ("class_names: [1, 2]", "class_names: [1, 2] is invalid; expected a list of names"),
        ("- a", "expected `key: value` lines, found list"),
        ("colour: colour\nfit: centred", "fit: 'centred' is invalid with colour; expected whole"),
        ("colour: [", "not valid YAML at line 2"),
    ],
)
def test_a_mistake_in_the_facts_is_named_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_facts(path)
    assert str(refusal.value).startswith(f"{path}")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_facts_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("# later\n")
    nothing = DatasetFacts.model_validate({})
    assert read_facts(tmp_path / "dataset.yaml") == read_facts(tmp_path / "none.yaml") == nothing


# The test share


def images_of(labels: np.ndarray, first: int = 0) -> Images:
    drawn = np.stack([np.asarray(picture(first + number)) for number in range(len(labels))])
    return Images(drawn, labels.astype(np.uint8))


def drawn_from(images: Images, fraction: float = 1 / 6, seed: str = "shells") -> set[bytes]:
    _, drawn = share_by_content(images, fraction, seed)
    return {images.images[index].tobytes() for index in drawn}


def test_images_that_are_added_move_no_other() -> None:
    labels = np.arange(400) % 4
    everything = images_of(labels)
    order = np.random.default_rng(0).permutation(400)
    some = everything.subset(order[:250])
    before, after = drawn_from(some), drawn_from(everything)
    present = {image.tobytes() for image in some.images}
    assert before == after & present
    assert drawn_from(everything.subset(order)) == after, "whatever their order"
    assert drawn_from(everything, seed="other") != after


def test_the_share_is_about_the_fraction_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [300, 600, 1500])
    _, drawn = share_by_content(images_of(labels), 1 / 6, "shells")
    shares = np.bincount(labels[drawn]) / np.bincount(labels)
    # Three standard deviations of a binomial share.
    assert (np.abs(shares - 1 / 6) < 3 * np.sqrt(5 / 36 / np.bincount(labels))).all()


def test_a_training_image_of_a_class_is_enough_beside_test_and_val_parts_and_two_without_val(
    folder: Path,
) -> None:
    write_pictures(folder / "train", {"a": 9, "b": 1})
    write_pictures(folder / "test", {"a": 9, "b": 9}, first=100)
    with pytest.raises(UserError, match="of a class: 'b' has 1; expected at least 2 of each"):
        divided()
    write_pictures(folder / "val", {"a": 9, "b": 9}, first=200)
    assert [len(split.labels) for split in divided()] == [10, 18, 18]


def test_another_split_seed_draws_the_validation_split_anew_and_no_test_split(folder: Path) -> None:
    write_pictures(folder, {"cockle": 60, "mussel": 60})
    drawn = [
        split_own_images(
            PrepareParams(dataset="shells", val_fraction=0.3, split_seed=seed, test_fraction=0.3),
            report=lambda line: None,
        )
        for seed in (0, 1)
    ]
    assert contents(drawn[0][2]) == contents(drawn[1][2])
    assert contents(drawn[0][1]) != contents(drawn[1][1])


def test_copies_of_an_image_stay_together() -> None:
    images = images_of(np.zeros(60))
    copies = Images(np.concatenate([images.images] * 2), np.zeros(120, np.uint8))
    rest, drawn = share_by_content(copies, 1 / 4, "shells")
    assert set(drawn[drawn < 60] + 60) == set(drawn[drawn >= 60])
    assert 0 < len(drawn) < 60
    assert sorted([*rest, *drawn]) == list(range(120))


def test_each_fraction_is_of_its_split(folder: Path) -> None:
    write_pictures(folder, {"a": 300, "b": 300}, size=(4, 4))
    params = PrepareParams(dataset="shells", val_fraction=0.5, split_seed=0, test_fraction=0.1)
    train, val, test = (len(split.labels) for split in split_own_images(params, report=print))
    assert 35 < test < 85
    assert abs(val - train) <= 2


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("fraction", [0.01, 0.5])
def test_of_the_smallest_classes_there_is_one_in_the_test_share_and_two_are_left(
    count: int, fraction: float
) -> None:
    for seed in map(str, range(30)):
        rest, drawn = share_by_content(images_of(np.zeros(count)), fraction, seed)
        assert len(drawn) >= 1
        assert len(rest) >= 2


def test_copies_stay_together_also_in_the_smallest_classes() -> None:
    for seed in map(str, range(30)):
        for copied in range(3):
            images = images_of(np.zeros(3)).subset(np.array([0, 1, 2, copied]))
            rest, drawn = share_by_content(images, 0.5, seed)
            assert len(drawn) >= 1
            assert len(rest) >= 2
            assert len({image.tobytes() for image in images.images[rest]}) == 2
            assert (copied in drawn) == (3 in drawn)


def test_copies_are_no_other_images_of_a_class(folder: Path) -> None:
    write_pictures(folder, {"cockle": 30, "mussel": 2})
    shutil.copy(next((folder / "mussel").iterdir()), folder / "mussel/again.png")
    with pytest.raises(UserError, match="of a class: 'mussel' has 2; expected at least 3 of each"):
        divided()


# What is found twice


def test_the_same_picture_in_two_splits_is_reported(folder: Path) -> None:
    write_pictures(folder / "train", THREE)
    write_pictures(folder / "test", THREE, first=100)
    picture(0).save(folder / "test/cockle/again.png")
    said: list[str] = []
    divided(said)
    (line,) = [line for line in said if "warning" in line]
    assert re.fullmatch(
        r"warning: the (?:training|validation) and the test split share 1 picture: "
        r"data/own/shells/train/cockle/00000.png = data/own/shells/test/cockle/again.png",
        line,
    )


def test_of_many_copies_the_first_are_named() -> None:
    images = images_of(np.zeros(10))
    (line,) = duplicates(Parts(images, images))
    assert line.startswith("warning: the training and the test split share 10 pictures: image 0 = image 0; ")
    assert line.count("=") == 3
    assert line.endswith("; …")


def test_the_same_picture_in_two_classes_is_refused(folder: Path) -> None:
    write_pictures(folder, THREE)
    picture(0).save(folder / "oyster/same.png")
    with pytest.raises(UserError) as refusal:
        divided()
    assert str(refusal.value) == (
        "the same picture, at 28 × 28 pixels, is in two classes: data/own/shells/cockle/00000.png (cockle) = "
        "data/own/shells/oyster/same.png (oyster); expected it in one"
    )


def test_a_contradiction_between_parts_is_refused(folder: Path) -> None:
    write_pictures(folder / "train", THREE)
    write_pictures(folder / "test", THREE, first=100)
    picture(0).save(folder / "test/oyster/same.png")
    with pytest.raises(
        UserError, match=r"^the same picture, .* is in two classes: .*train/cockle.*test/oyster"
    ):
        divided()


# What is refused


def spoil_with_text(folder: Path) -> None:
    for number in range(3):
        (folder / f"cockle/text{number}.png").write_text("not a picture")


def spoil_with_a_link(folder: Path) -> None:
    outside = folder.parent.parent / "elsewhere.png"
    picture(77).save(outside)
    (folder / "cockle/link.png").symlink_to(outside.resolve())


def spoil_with_a_linked_class(folder: Path) -> None:
    write_pictures(folder.parent.parent / "elsewhere", {"whelk": 5}, first=300)
    (folder / "whelk").symlink_to((folder.parent.parent / "elsewhere/whelk").resolve())


def spoil_with_a_link_to_itself(folder: Path) -> None:
    (folder / "cockle/link.png").symlink_to("link.png")


def spoil_with_a_damaged_part(folder: Path) -> None:
    empty(folder)
    write_pictures(folder / "train", {"cockle": 60, "mussel": 60})
    (folder / "val/cockle").mkdir(parents=True)
    (folder / "val/cockle/0.png").write_text("not a picture")


def spoil_with_another_part(folder: Path) -> None:
    empty(folder)
    write_pictures(folder / "train", THREE)
    write_pictures(folder / "valid", THREE, first=100)


def spoil_with_small_classes(folder: Path) -> None:
    """Classes of two, of which the test split would take none."""
    empty(folder)
    write_pictures(folder / "train", {"cockle": 2, "mussel": 2})
    write_pictures(folder / "val", {"cockle": 2, "mussel": 2}, first=100)


def become_a_link(folder: Path) -> None:
    folder.rename(folder.parent.parent / "elsewhere")
    folder.symlink_to((folder.parent.parent / "elsewhere").resolve())


def spoil_with_unknown_class(folder: Path) -> None:
    for name in THREE:
        (folder / "train").mkdir(exist_ok=True)
        (folder / name).rename(folder / "train" / name)
    write_pictures(folder / "test", {"cockle": 3, "whelk": 3}, first=200)


def spoil_with_an_empty_part(folder: Path) -> None:
    for name in THREE:
        (folder / "train").mkdir(exist_ok=True)
        (folder / name).rename(folder / "train" / name)
    (folder / "test/cockle").mkdir(parents=True)


def empty(folder: Path) -> None:
    for name in THREE:
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()


def one_class(folder: Path) -> None:
    empty(folder)
    write_pictures(folder, {"cockle": 9})


def one_picture(folder: Path) -> None:
    empty(folder)
    write_pictures(folder, {"cockle": 1, "mussel": 9})


def too_many_classes(folder: Path) -> None:
    write_pictures(folder, {f"class {number}": 1 for number in range(1000)}, size=(1, 1))


def one_folder_too_deep(folder: Path) -> None:
    (folder / "whelk/large").mkdir(parents=True)


def beside_an_archive(folder: Path) -> None:
    np.savez(folder / "images.npz", **GOOD)


def photographs_of_a_telephone(folder: Path) -> None:
    """All but two pictures of a class are of a format that is not read."""
    for path in sorted((folder / "oyster").iterdir())[2:]:
        path.rename(path.with_suffix(".heic"))


def become(*names: str) -> Callable[[Path], None]:
    """Pictures in folders of these names alone."""

    def spoil(folder: Path) -> None:
        empty(folder)
        write_pictures(folder, dict.fromkeys(names, 4))

    return spoil


def add_to_three_splits(path: str) -> Callable[[Path], None]:
    """The classes in `train`, and a picture in a part."""

    def spoil(folder: Path) -> None:
        empty(folder)
        write_pictures(folder / "train", THREE)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture(900).save(folder / path)

    return spoil


def with_parts_in(*names: str) -> Callable[[Path], None]:
    """Folders that hold `train` and `test`, and nothing beside them."""

    def spoil(folder: Path) -> None:
        empty(folder)
        for name in names:
            for part in ("train", "test"):
                write_pictures(folder / name / part, THREE)

    return spoil


def files_of_dvcs_cache(folder: Path) -> None:
    cached = Path(".dvc/cache/files/md5/ab/cdef")
    cached.parent.mkdir(parents=True)
    picture(7).save(cached, "PNG")
    (folder / "cockle/link.png").symlink_to(cached.resolve())


def blank(folder: Path) -> None:
    empty(folder)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(3):
            Image.new("L", (28, 28), 7 + number).save(folder / name / f"{number}.png")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            empty,
            "data/own/shells: no images; expected a folder of pictures for each class, one .npz file, or",
        ),
        (
            lambda folder: (folder / "whelk").mkdir(),
            "data/own/shells/whelk: no pictures in it; expected .png",
        ),
        (one_folder_too_deep, "data/own/shells/whelk: no pictures in it, but the folder large; expected"),
        (
            lambda folder: write_pictures(folder, {"a\rb": 3, "caf\udce9": 3}),
            r"data/own/shells: the class 'a\\rb'; expected a name that can be printed",
        ),
        (beside_an_archive, "data/own/shells: images.npz beside the folder cockle; expected one of both"),
        (one_class, "data/own/shells: 1 class, 'cockle'; expected 2 to 1,000"),
        (
            one_picture,
            "data/own/shells: too few different images of a class: 'cockle' has 1; expected at least 3 of",
        ),
        (too_many_classes, "data/own/shells: 1,003 classes; expected 2 to 1,000"),
        (spoil_with_text, "data/own/shells: 3 of 30 pictures cannot be read; expected at most 1%: data/own/"),
        (spoil_with_a_link, "cockle/link.png: a link out of the dataset's folder; expected the file itself"),
        (spoil_with_a_linked_class, "data/own/shells/whelk: a link out of the dataset's folder; expected"),
        (
            files_of_dvcs_cache,
            "expected the file itself (`dvc config cache.type copy`, then `dvc checkout --rel",
        ),
        *(
            (
                become(*names),
                f"data/own/shells: {', '.join(sorted(called))}: parts, not classes; expected train, and",
            )
            for names, called in [
                (("Test", "train"), ("Test", "train")),
                (("train", "test1"), ("train", "test1")),
                (("train_images", "test_images", "sample"), ("train_images", "test_images")),
                (("Training",), ("Training",)),
                (("a", "valid", "testing"), ("valid", "testing")),
                (("cat", "dog", "Test"), ("Test",)),
                (("cat", "dog", "validation"), ("validation",)),
            ]
        ),
        (
            with_parts_in("shells"),
            "data/own/shells/shells: holds test, train; expected them in data/own/shells",
        ),
        (
            with_parts_in("cat", "dog"),
            "data/own/shells/cat: no pictures in it, but the folder test; expected pictures in the folder of",
        ),
        (
            add_to_three_splits("test/1.png"),
            "data/own/shells/test: pictures directly in it; expected a folder for each class, or no test",
        ),
        (
            become("Ka\u0308fer", "K\xe4fer"),
            "data/own/shells: two folders are called 'K\xe4fer'; expected one for",
        ),
        (
            lambda folder: (folder / "dataset.yaml.txt").write_text("colour: grey"),
            "data/own/shells/dataset.yaml.txt: would not be read; expected the name dataset.yaml",
        ),
        (
            lambda folder: (folder / "dataset.yml").write_text("colour: grey"),
            "data/own/shells/dataset.yml: would not be read; expected the name dataset.yaml",
        ),
        (
            lambda folder: (folder / "Dataset.YAML").write_text("colour: grey"),
            "data/own/shells/Dataset.YAML: would not be read; expected the name dataset.yaml",
        ),
        (spoil_with_a_link_to_itself, "cockle/link.png: a link to nothing; expected the file itself"),
        (spoil_with_a_damaged_part, "data/own/shells/val: no picture that can be read; expected some, or no"),
        (spoil_with_another_part, "data/own/shells: valid beside train; expected train, val, test"),
        (
            spoil_with_small_classes,
            "data/own/shells: too few different images of a class: 'cockle' has 2, 'mussel' has 2;",
        ),
        (
            photographs_of_a_telephone,
            "a class: 'oyster' has 2; expected at least 3 of each (skipped in data/own/shells, where .png",
        ),
        (become_a_link, "data/own/shells: a link; expected the folder itself"),
        (spoil_with_unknown_class, "data/own/shells/test/whelk: a class without training pictures; expected"),
        (
            spoil_with_an_empty_part,
            "data/own/shells/test: no picture that can be read; expected some, or no such folder",
        ),
        (
            blank,
            "two classes: data/own/shells/a/0.png (a) = data/own/shells/b/0.png (b), data/own/shells/a/1.png",
        ),
        (
            lambda folder: (folder / "dataset.yaml").write_text("class_names: [cockle, mussel, whelk]"),
            "data/own/shells: class_names and folders differ by 'oyster', 'whelk'; expected a folder for",
        ),
    ],
)
def test_folders_that_are_refused(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    write_pictures(folder, THREE)
    spoil(folder)
    with pytest.raises(UserError) as refusal:
        divided()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_image_of_an_archive_without_anything_to_cut_out_is_named(folder: Path) -> None:
    images = np.zeros((30, 28, 28), np.uint8)
    images[np.arange(30) != 7, 9:19, 9:19] = 255
    np.savez(folder / "images.npz", **GOOD | {"train_images": images})
    (folder / "dataset.yaml").write_text("fit: centred\n")
    with pytest.raises(
        UserError, match=r"^train_images\[7\]: nothing .*; expected something to cut out, or fit"
    ):
        divided()


@pytest.mark.parametrize(("bits", "is_dark"), [(12, True), (16, False)])
def test_pictures_that_are_nearly_black_are_remarked(folder: Path, bits: int, is_dark: bool) -> None:
    shades = np.random.default_rng(0).integers(0, 2**bits, (30, 28, 28), np.uint16)
    for number, values in enumerate(shades):
        path = folder / f"{'ab'[number % 2]}/{number}.tif"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path)
    said: list[str] = []
    divided(said)
    assert ("no pixel of any picture is brighter than 15 of 255; expected" in "\n".join(said)) is is_dark


def test_hidden_files_are_no_pictures(folder: Path) -> None:
    write_pictures(folder, THREE)
    before = divided()
    for path in list(folder.glob("*/*.png")):
        (path.parent / f"._{path.name}").write_text("written by macOS")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "__MACOSX/a").mkdir(parents=True)
    (folder / "._train-images-idx3-ubyte").write_text("written by macOS")
    for one, other in zip(before, divided(), strict=True):
        assert np.array_equal(one.images, other.images)


def test_a_class_may_be_called_train(folder: Path) -> None:
    write_pictures(folder, {"bus": 9, "train": 9, "trainer": 9, "valve": 9, "testimony": 9})
    (folder / "train/.ipynb_checkpoints").mkdir()
    assert divided()[0].class_names == ["bus", "testimony", "train", "trainer", "valve"]


def test_an_accent_is_the_same_in_either_spelling(folder: Path) -> None:
    write_pictures(folder / "train", {"A\u0308pfel": 9, "Birnen": 9})
    write_pictures(folder / "test", {"\xc4pfel": 4}, first=500)
    (folder / "dataset.yaml").write_text('class_names: ["A\u0308pfel", Birnen]')
    said: list[str] = []
    train, _, test = divided(said)
    assert train.class_names == test.class_names == ["\xc4pfel", "Birnen"]
    assert set(test.labels) == {0}
    assert (
        "warning: no test image of 'Birnen'; the test accuracy is of the other classes; in macro precision, "
        "recall and F1 a class without images counts as 0"
    ) in said


def sorting(find: Callable[..., Iterable[Path]], backwards: bool) -> Callable[..., list[Path]]:
    return lambda *words: sorted(find(*words), reverse=backwards)


def test_in_whatever_order_a_file_system_lists_pictures_they_are_divided_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(folder, {"A\u0308pfel": 9, "Birnen": 9, "Zwetschgen": 9})
    found = []
    for backwards in (False, True):
        with monkeypatch.context() as patch:
            for find in (Path.iterdir, Path.glob):
                patch.setattr(Path, find.__name__, sorting(find, backwards))
            found.append(divided())
    for one, other in zip(*found, strict=True):
        assert one.class_names == other.class_names == ["Birnen", "Zwetschgen", "\xc4pfel"]
        np.testing.assert_array_equal(one.images, other.images)


def test_classes_that_a_split_lacks_are_told(folder: Path) -> None:
    write_pictures(folder / "train", {"a": 9, "b": 9, "c": 9})
    write_pictures(folder / "val", {"a": 4, "c": 4}, first=500)
    write_pictures(folder / "test", {"a": 4, "b": 4}, first=700)
    said: list[str] = []
    divided(said)
    assert [line for line in said if line.startswith("warning")] == [
        "warning: no validation image of 'b'; the validation accuracy is of the other classes",
        "warning: no test image of 'c'; the test accuracy is of the other classes; in macro precision, "
        "recall and F1 a class without images counts as 0",
    ]


def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(UserError, match="data/own/shells: no such folder"):
        own_dataset("shells")


NONE = "expected at least one image, of at least one pixel"
GOOD = arrays({"train": 30, "test": 12})


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, "train_images is missing; expected train_images and train_labels"),
        (
            {"train_images": GOOD["train_images"]},
            "train_labels is not a file in the archive; expected",
        ),
        (
            GOOD | {"val_labels": GOOD["test_labels"]},
            "val_images is not a file in the archive; expected",
        ),
        (
            GOOD | {"x_test": GOOD["test_images"], "class_names": np.array(["a", "b", "c"])},
            "class_names, x_test beside train_images; expected train_…, val_… and test_… (names of",
        ),
        (
            GOOD | {"valid_images": GOOD["test_images"], "valid_labels": GOOD["test_labels"]},
            "valid_images, valid_labels beside train_images; expected train_…, val_… and test_…",
        ),
        (GOOD | {"train_labels": np.zeros(29, int)}, "train_labels: 29 for 30 images; expected one for each"),
        (GOOD | {"train_labels": np.zeros((30, 2), int)}, "expected integers [N] or [N, 1]"),
        (GOOD | {"train_labels": np.zeros(30)}, "train_labels: float64 (30,); expected integers [N] or"),
        (GOOD | {"train_labels": np.full(30, -1)}, "train_labels: holds the label -1; expected integers ≥ 0"),
        (
            GOOD | {f"{part}_labels": GOOD[f"{part}_labels"] + 1 for part in ("train", "test")},
            "labels from 1 to 3;",
        ),
        (GOOD | {"test_labels": np.full(12, 3)}, "too few different images of a class: '3' has 0"),
        (GOOD | {"train_images": GOOD["train_images"] / 255}, "train_images: float64 (30, 28, 28); expected"),
        (GOOD | {"train_images": np.zeros((30, 28, 28, 4), np.uint8)}, "expected uint8 [N, H, W] or"),
        (GOOD | {"test_images": np.zeros((0, 28, 28), np.uint8), "test_labels": np.zeros(0, int)}, NONE),
        (GOOD | {"train_images": np.zeros((30, 0, 0), np.uint8)}, NONE),
        (GOOD | {"train_labels": np.array([None] * 30)}, "not an archive of arrays"),
        (GOOD | {"train_labels": np.full(30, 10**15)}, "holds the label 1000000000000000; expected 0 to 999"),
    ],
)
def test_archives_of_arrays_that_are_refused(folder: Path, held: dict[str, np.ndarray], said: str) -> None:
    np.savez(folder / "images.npz", **held)
    with pytest.raises(UserError) as refusal:
        divided()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_archives_that_are_refused(folder: Path) -> None:
    (folder / "images.npz").write_bytes(b"PK no archive")
    with pytest.raises(
        UserError, match=r"images\.npz: not an archive of arrays; expected what np\.savez writes"
    ):
        divided()
    with (folder / "images.npz").open("wb") as file:
        np.save(file, GOOD["train_images"])
    with pytest.raises(UserError, match=r"images\.npz: not an archive of arrays"):
        divided()
    np.savez_compressed(folder / "images.npz", **GOOD)
    content = bytearray((folder / "images.npz").read_bytes())
    content[200:220] = bytes(20)
    (folder / "images.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"images\.npz: not an archive of arrays"):
        divided()
    np.savez(folder / "more.npz", **GOOD)
    with pytest.raises(UserError, match=r"2 \.npz files; expected one"):
        divided()
    for path in folder.glob("*.npz"):
        path.unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(GOOD["train_images"]))
    with pytest.raises(
        UserError, match=r"train-labels-idx1-ubyte is missing; expected train-images-idx3-uby"
    ):
        divided()


def test_names_for_fewer_labels_than_there_are_are_refused(folder: Path) -> None:
    np.savez(folder / "images.npz", **GOOD)
    (folder / "dataset.yaml").write_text("class_names: [a, b]")
    with pytest.raises(UserError, match="holds the label 2; expected 0 to 1, as class_names says"):
        divided()


def test_a_few_damaged_pictures_of_many_are_skipped_with_a_list(folder: Path) -> None:
    write_pictures(folder, {"cockle": 600, "mussel": 600}, size=(4, 4))
    for name in ("cockle/text.png", "mussel/text.jpg"):
        (folder / name).write_text("not a picture")
    whole = (folder / "cockle/00000.png").read_bytes()
    (folder / "cockle/cut.png").write_bytes(whole[:-30])
    (folder / "cockle/notes.txt").write_text("of a walk on the beach")
    (folder / "cockle/.hidden").write_text("")
    (folder / "mussel/more.png").mkdir()
    write_pictures(folder, {"": 2})
    said: list[str] = []
    splits = divided(said)
    assert sum(len(split.labels) for split in splits) == 1200
    skipped = [line for line in said if line.startswith("skipped")]
    assert skipped[0] == "skipped in data/own/shells: 2 pictures that are in no folder of a class"
    assert skipped[1] == (
        "skipped in data/own/shells, where .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff are read: "
        "1 .txt, 1 (folder)"
    )
    assert [line.split(":")[0] for line in skipped[2:]] == [
        f"skipped data/own/shells/{name}" for name in ("cockle/cut.png", "cockle/text.png", "mussel/text.jpg")
    ]
    assert "not a picture" in skipped[3]


def test_one_damaged_picture_of_a_hundred_is_skipped_and_one_of_fewer_is_not(folder: Path) -> None:
    write_pictures(folder, {"cockle": 50, "mussel": 49})
    (folder / "mussel/text.png").write_text("not a picture")
    assert sum(len(split.labels) for split in divided()) == 99
    (folder / "cockle/00000.png").unlink()
    with pytest.raises(UserError, match="1 of 99 pictures cannot be read; expected at most 1%"):
        divided()


@pytest.mark.parametrize("kind", ["cut", "too large"])
def test_a_picture_that_is_skipped_does_not_change_the_size_of_the_others(folder: Path, kind: str) -> None:
    write_pictures(folder, {"cockle": 100, "mussel": 100}, colour=True)
    if kind == "cut":
        picture(900, (500, 400), colour=True).save(folder / "cockle/skipped.jpg")
        whole = (folder / "cockle/skipped.jpg").read_bytes()
        (folder / "cockle/skipped.jpg").write_bytes(whole[: len(whole) // 2])
    else:
        (folder / "cockle/skipped.png").write_bytes(bomb(10_000))
    said: list[str] = []
    train = divided(said)[0]
    assert train.format == ImageFormat(28, 3)
    assert said[0] == "data/own/shells: 2 classes, pictures of 28 × 28 pixels"
    assert said[1].startswith("skipped data/own/shells/cockle/skipped.")


def test_awkward_names_of_classes_are_kept(folder: Path) -> None:
    write_pictures(folder, dict.fromkeys(AWKWARD, 3))
    said: list[str] = []
    train, _, _ = divided(said, fraction=0.5)
    assert train.class_names == sorted(AWKWARD)
    assert all(any(line.startswith(name) for line in said) for name in AWKWARD)


def test_many_classes_are_counted_in_one_line(folder: Path) -> None:
    write_pictures(folder, {f"{number:03}": 3 + number % 2 for number in range(300)}, size=(2, 2))
    said: list[str] = []
    params = PrepareParams(dataset="shells", val_fraction=0.5, split_seed=0, test_fraction=0.2)
    train, val, test = split_own_images(params, report=said.append)
    assert train.labels.dtype == np.uint16
    assert train.labels.max() == 299
    (line,) = [line for line in said if line.startswith("images of a class: ")]
    ranges = [
        f"{count.min()} to {count.max()} of the {name} split"
        for name, split in (("training", train), ("validation", val), ("test", test))
        for count in [np.bincount(split.labels, minlength=300)]
    ]
    assert line == f"images of a class: {', '.join(ranges)}"


def choose(dataset: str) -> None:
    text = re.sub(r"^dataset: \w+", f"dataset: {dataset}", (ROOT / "params.yaml").read_text(), flags=re.M)
    Path("params.yaml").write_text(text)


def test_what_was_prepared_before_stays_whole_where_the_stage_refuses(folder: Path) -> None:
    write_pictures(folder, THREE)
    choose("shells")
    prepare.main()
    before = {path: path.read_bytes() for path in Path("data/prepared").iterdir()}
    picture(0).save(folder / "oyster/same.png")
    with pytest.raises(UserError, match="is in two classes"):
        prepare.main()
    assert before == {path: path.read_bytes() for path in Path("data/prepared").iterdir()}


def add_to_a_class(folder: Path) -> None:
    picture(900).save(folder / "cockle/new.png")


def add_behind_a_link(folder: Path) -> None:
    picture(900).save(folder / ".store/oyster/new.png")


def save_in_place(folder: Path) -> None:
    path = folder / "mussel/00012.png"
    content = path.read_bytes()
    path.write_bytes(content)


@pytest.mark.parametrize("edit", [add_to_a_class, add_behind_a_link, save_in_place])
def test_pictures_that_are_edited_while_they_are_prepared_are_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Path], None]
) -> None:
    write_pictures(folder, THREE)
    (folder / ".store").mkdir()
    (folder / "oyster").rename(folder / ".store/oyster")
    (folder / "oyster").symlink_to(".store/oyster")
    (folder / "cockle/around").symlink_to("..")
    choose("shells")
    prepare.main()

    def save_late(split: Split, path: Path) -> None:
        save_split(split, path)
        if path == TEST_SPLIT:
            edit(folder)

    monkeypatch.setattr(prepare, "save_split", save_late)
    with pytest.raises(UserError) as refusal:
        prepare.main()
    assert str(refusal.value) == "data/own/shells: edited while this stage ran; run the same command again"


def test_a_folder_called_like_a_built_in_dataset_is_not_passed_over(folder: Path) -> None:
    write_pictures(folder.rename("data/own/Digits"), THREE)
    choose("Digits")
    with pytest.raises(UserError, match=r"^data/own/Digits: a folder with the name of a built-in dataset;"):
        prepare.main()
