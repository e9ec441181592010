"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from pathlib import Path

from src.data.dataset import split_dataset
from src.data.splits import save_split
from src.params import PrepareParams, read
from src.runtime.workspace import run_stage

PREPARED = Path("data/prepared")
FILES = [PREPARED / f"{name}.npz" for name in ("train", "val", "test")]


def main() -> None:
    params = read(PrepareParams)
    splits = split_dataset(params.dataset, params.val_fraction, params.split_seed)
    for path, split in zip(FILES, splits, strict=True):
        save_split(split, path)
        print(f"{params.dataset}: {len(split.labels):,} {path.stem} images")


if __name__ == "__main__":
    run_stage(main)
