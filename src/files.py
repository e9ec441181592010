"""Files written whole or not at all."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from src.errors import UserError, reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, then rename it to `path`.

    A reader sees the old file or the new one, never a part of either; on any error the old one stays.
    The temporary name keeps the suffix, since writers choose their format by it, and is always the same,
    so that what a killed process left behind is overwritten by the next.

    Raises:
        UserError: `path` cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed .npz file; equal arrays give equal bytes."""
    # np.savez asks for large-file headers, which Python 3.11.4 began to write in another way: the same arrays
    # would have other bytes there, and a fresh clone another dvc.lock.
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read the arrays `names` from a .npz file; no pickled object is ever loaded.

    Raises:
        UserError: the file is missing, damaged, or lacks one of `names`.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro` writes it") from None
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; `dvc repro --force` writes it anew") from None
    except Exception as error:  # zip, zlib, NumPy's header parser: each raises its own for a damaged file
        raise UserError(f"{path}: damaged ({reason(error)}); `dvc repro --force` writes it anew") from None
