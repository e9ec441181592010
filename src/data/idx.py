"""The IDX file format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist, "file formats")."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from src.runtime.errors import UserError

# The third byte of the magic number: the type of the elements, most significant byte first.
_TYPES: dict[int, np.dtype] = {0x08: np.dtype(">u1"), 0x0C: np.dtype(">i4")}

# Far more than any of the datasets; a small damaged archive can unpack to far more than that.
LARGEST_BYTES = 1 << 30


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of uint8 or int32 elements, compressed with gzip where its name ends in `.gz`.

    Args:
        path: the file.
        dimensions: how many the array must have.

    Returns:
        uint8 or big-endian int32, with `dimensions` axes.

    Raises:
        UserError: names the file and what is wrong with it: not gzip, cut short, another magic number,
            or a size other than its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            dtype, shape = _parse_header(path, header, dimensions)
            expected = math.prod(shape) * dtype.itemsize
            if expected > LARGEST_BYTES:
                raise UserError(f"{path}: its header says {expected:,} bytes, more than {LARGEST_BYTES:,}")
            # One byte more than there should be: what follows it is neither read nor unpacked.
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        what = "not a complete gzip file" if path.suffix == ".gz" else "cannot be read"
        raise UserError(f"{path}: {what} ({error})") from None
    if len(content) != expected:
        found = f"{len(content):,}" if len(content) < expected else f"more than {expected:,}"
        raise UserError(
            f"{path}: holds {found} bytes of data, "
            f"its header says {expected:,} ({' × '.join(map(str, shape))})"
        )
    return np.frombuffer(content, dtype).reshape(shape).copy()  # a writable array


def _parse_header(path: Path, header: bytes, dimensions: int) -> tuple[np.dtype, list[int]]:
    magic = header[:4]
    whole = len(header) == 4 + 4 * dimensions
    if not whole or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] != dimensions:
        raise UserError(
            f"{path}: not an IDX file of {dimensions} dimensions (it begins with 0x{magic.hex() or '00'})"
        )
    return _TYPES[magic[2]], [int(size) for size in np.frombuffer(header, ">u4", dimensions, offset=4)]
