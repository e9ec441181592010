"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from src.data.splits import save_split
from src.data.splitting import split_dataset
from src.own_images.splitting import split_own_images
from src.params import BUILT_IN, PrepareParams, read
from src.runtime.errors import UserError
from src.runtime.paths import OWN_DATA, TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import run_stage


def main() -> None:
    params = read(PrepareParams)
    is_built_in = params.dataset in BUILT_IN
    if is_built_in and (own := OWN_DATA / params.dataset).is_dir():
        raise UserError(f"{own}: a folder with the name of a built-in dataset; expected another name")
    splits = split_dataset(params) if is_built_in else split_own_images(params, report=print)
    for path, split in zip((TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT), splits, strict=True):
        save_split(split, path)
        print(f"{params.dataset}: {len(split.labels):,} {path.stem} images")


if __name__ == "__main__":
    run_stage(main)
