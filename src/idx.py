"""The IDX file format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist, "file formats")."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from src.errors import UserError

# The third byte of the magic number: the type of the elements, most significant byte first.
_TYPES = {0x08: np.dtype(">u1"), 0x0C: np.dtype(">i4")}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a gzip-compressed IDX file of uint8 or int32 elements.

    Args:
        path: the archive.
        dimensions: how many the array must have.

    Returns:
        uint8 or big-endian int32, with `dimensions` axes.

    Raises:
        UserError: names the file and what is wrong with it: not gzip, cut short, another magic number,
            or a size other than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a complete gzip file ({error})") from None
    header = 4 + 4 * dimensions
    magic = content[:4]
    if len(content) < header or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] != dimensions:
        raise UserError(
            f"{path}: not an IDX file of {dimensions} dimensions (it begins with 0x{magic.hex() or '00'})"
        )
    dtype = _TYPES[magic[2]]
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4)]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - header != expected:
        raise UserError(
            f"{path}: holds {len(content) - header:,} bytes of data, "
            f"its header says {expected:,} ({' × '.join(map(str, shape))})"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape).copy()  # a writable array
