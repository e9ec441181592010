"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from pathlib import Path

from src.datasets import DATASETS
from src.errors import run
from src.params import PrepareParams, read
from src.splits import Split, pixel_statistics, save_split, stratified_split

PREPARED = Path("data/prepared")


def main() -> None:
    params = read(PrepareParams)
    dataset = DATASETS[params.dataset]()
    kept, drawn = stratified_split(dataset.train.labels, params.val_fraction, params.split_seed)
    train, test = dataset.train, dataset.test
    mean, std = pixel_statistics(train.images[kept])
    for name, images, labels in (
        ("train", train.images[kept], train.labels[kept]),
        ("val", train.images[drawn], train.labels[drawn]),
        ("test", test.images, test.labels),
    ):
        split = Split(params.dataset, dataset.class_names, mean, std, images, labels)
        save_split(split, PREPARED / f"{name}.npz")
        print(f"{params.dataset}: {len(labels):,} {name} images")


if __name__ == "__main__":
    run(main)
