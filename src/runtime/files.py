"""Files written whole or not at all, and files that are only added to."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from src.runtime.errors import UserError, reason

if TYPE_CHECKING:
    import pandas as pd

# Of fractions in text files: finer than any difference that matters, coarser than the rounding of a machine.
SIGNIFICANT_DIGITS = 6


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
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def with_text(path: Path, page: str, begin: str, end: str, text: str) -> str:
    """The text of a page with what stands between two of its lines replaced.

    Raises:
        UserError: the page lacks one of them, or has it twice, or in another order.
    """
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end) or page.count(begin) + page.count(end) > 2:
        expected = f"expected the lines `{begin.strip()}` and `{end.strip()}` once, in this order"
        raise UserError(f"{path}: no place for what is written there; {expected}")
    return before + begin + text + end + after


def json_text(values: Mapping[str, Any]) -> str:
    """`values` as JSON, its fractions with `SIGNIFICANT_DIGITS`."""
    return json.dumps(rounded(values), indent=2) + "\n"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `json_text` of `values`."""
    write_text(path, json_text(values))


def read_json(path: Path, remedy: str) -> Any:  # noqa: ANN401
    """What a JSON file holds.

    Raises:
        UserError: it is damaged; says so, and what to do: `remedy`.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: damaged ({reason(error)}); {remedy}") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV without its index, its fractions with `SIGNIFICANT_DIGITS`."""
    write_text(path, table.to_csv(index=False, float_format=f"%.{SIGNIFICANT_DIGITS}g", lineterminator="\n"))


def read_table(source: Path | IO[str]) -> pd.DataFrame:
    """Read a CSV file of this repository; class names are text, also where they are digits or `NA`."""
    import pandas as pd

    names = dict.fromkeys(("class", "actual", "predicted", "image"), str)
    return pd.read_csv(source, dtype=names, keep_default_na=False)


def rounded(value: Any) -> Any:  # noqa: ANN401
    """`value` with each fraction in it, at whatever depth, cut to `SIGNIFICANT_DIGITS`."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


class GrowingFile:
    """A file that is only added to, and can be cut back to what it held at an earlier moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0
        self._digest = hashlib.sha256()

    def append(self, content: bytes) -> None:
        """Add `content` to what this object has written or gone back to; on the disk when this returns.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("r+b" if self._path.exists() else "wb") as file:
                file.truncate(self._length)  # what a killed process has added to it
                file.seek(self._length)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        self._length += len(content)
        self._digest.update(content)

    def mark(self) -> list[int | str]:
        """This moment, for `back_to`."""
        return [self._length, self._digest.hexdigest()]

    def back_to(self, mark: list[Any]) -> bytes | None:
        """What the file held at `mark`, from where it is added to; None where it holds something else now."""
        length, digest = mark
        content = self._path.read_bytes()[:length] if self._path.exists() else b""
        if len(content) != length or hashlib.sha256(content).hexdigest() != digest:
            return None
        self._length, self._digest = length, hashlib.sha256(content)
        return content


class GrowingTable:
    """A CSV file with a line for each of some dataclass's instances, which every call adds the new ones to.

    Written without pandas: loading it takes longer than most epochs of Digits together.
    """

    def __init__(self, path: Path, kind: type[Any]) -> None:
        self._file, self._names = GrowingFile(path), [field.name for field in fields(kind)]
        self._rows: int | None = None  # in the file; none before its header

    def update(self, rows: Sequence[Any]) -> None:
        """Add those of `rows` that come after the ones of the last call; fractions are rounded.

        Raises:
            UserError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self._rows is None:
            writer.writerow(self._names)
        for row in rows[self._rows or 0 :]:
            values = [getattr(row, name) for name in self._names]
            writer.writerow(
                [f"{value:.{SIGNIFICANT_DIGITS}g}" if isinstance(value, float) else value for value in values]
            )
        self._file.append(text.getvalue().encode())
        self._rows = len(rows)


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
        # Of a damaged file that it has opened itself, NumPy leaves the closing to the garbage collector.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro` writes it") from None
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; `dvc repro --force` writes it anew") from None
    except Exception as error:  # zip, zlib, NumPy's header parser: each raises its own for a damaged file
        raise UserError(f"{path}: damaged ({reason(error)}); `dvc repro --force` writes it anew") from None
