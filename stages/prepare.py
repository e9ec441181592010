"""Raw files → training, validation and test split: uint8 images, labels, statistics."""

from pathlib import Path
from stat import S_ISDIR

from src.data.splits import save_split
from src.data.splitting import split_dataset
from src.own_images.splitting import split_own_images
from src.params import BUILT_IN, PrepareParams, read
from src.runtime.errors import UserError
from src.runtime.paths import OWN_DATA, TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import run_stage

# `.dvcignore` names them, too.
LEFT_BY_FILE_MANAGERS = {".DS_Store", "Thumbs.db"}


def main() -> None:
    params = read(PrepareParams)
    folder = OWN_DATA / params.dataset
    is_built_in = params.dataset in BUILT_IN
    if is_built_in and folder.is_dir():
        raise UserError(f"{folder}: a folder with the name of a built-in dataset; expected another name")
    before = _listing(folder)
    splits = split_dataset(params) if is_built_in else split_own_images(params, report=print)
    for path, split in zip((TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT), splits, strict=True):
        save_split(split, path)
        print(f"{params.dataset}: {len(split.labels):,} {path.stem} images")
    # DVC hashes the folder when the stage has ended: it would record other pictures with these splits.
    if _listing(folder) != before:
        raise UserError(f"{folder}: edited while this stage ran; run the same command again")


def _listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of all that DVC hashes in a folder; none where a built-in dataset has a file."""
    # Links are not followed: what they lead to is in the folder, too, or is refused.
    states = {path: path.lstat() for path in folder.rglob("*") if path.name not in LEFT_BY_FILE_MANAGERS}
    files = {path: state for path, state in states.items() if not S_ISDIR(state.st_mode)}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in files.items()}


if __name__ == "__main__":
    run_stage(main)
