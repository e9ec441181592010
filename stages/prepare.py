"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from pathlib import Path

from src.datasets import DATASETS, split_dataset
from src.made_once import made_once
from src.params import PrepareParams, read
from src.splits import save_split
from src.workspace import repository, run_stage

PREPARED = Path("data/prepared")
FILES = [PREPARED / f"{name}.npz" for name in ("train", "val", "test")]


def prepare(params: PrepareParams) -> None:
    dataset = DATASETS[params.dataset]()
    splits = split_dataset(params.dataset, dataset, params.val_fraction, params.split_seed)
    for path, split in zip(FILES, splits, strict=True):
        save_split(split, path)
        print(f"{params.dataset}: {len(split.labels):,} {path.stem} images")


def main() -> None:
    params = read(PrepareParams)
    notes = repository() / ".dvc" / "tmp" / "prepared"
    if not made_once(FILES, params.model_dump(), notes, lambda: prepare(params)):
        print(f"{params.dataset}: as another experiment has just prepared it")


if __name__ == "__main__":
    run_stage(main)
