"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from pathlib import Path

from src.datasets import DATASETS, split_dataset
from src.params import PrepareParams, read
from src.splits import save_split
from src.workspace import run_stage

PREPARED = Path("data/prepared")


def main() -> None:
    params = read(PrepareParams)
    dataset = DATASETS[params.dataset]()
    splits = split_dataset(params.dataset, dataset, params.val_fraction, params.split_seed)
    for name, split in zip(("train", "val", "test"), splits, strict=True):
        save_split(split, PREPARED / f"{name}.npz")
        print(f"{params.dataset}: {len(split.labels):,} {name} images")


if __name__ == "__main__":
    run_stage(main)
