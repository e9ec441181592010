from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.data.idx import read_idx
from src.runtime.errors import UserError
from tests.idx_files import compressed, idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some-images.gz"


def test_reads_uint8_and_big_endian_int32(path: Path) -> None:
    path.write_bytes(compressed(idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)
    labels = np.array([[1, 2**31 - 1], [-3, 4]], dtype=np.int32)
    path.write_bytes(compressed(idx(labels)))
    np.testing.assert_array_equal(read_idx(path, 2), labels)


WHOLE = idx(IMAGES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a complete gzip file|not an IDX file"),
        (b"<html>Not Found</html>", "not a complete gzip file"),
        (WHOLE, "not a complete gzip file"),
        (compressed(WHOLE)[:-9], "not a complete gzip file"),
        (compressed(WHOLE)[:20] + b"\xff\xff" + compressed(WHOLE)[22:], "not a complete gzip file"),
        (compressed(b""), "not an IDX file of 3 dimensions"),
        (compressed(WHOLE[:7]), "not an IDX file of 3 dimensions"),
        (compressed(b"\0\0\x0d\x03" + WHOLE[4:]), r"begins with 0x00000d03"),
        (compressed(b"\1\0\x08\x03" + WHOLE[4:]), r"begins with 0x01000803"),
        (compressed(idx(IMAGES[0])), r"begins with 0x00000802"),
        (compressed(WHOLE[:-1]), r"holds 23 bytes of data, its header says 24 \(2 × 3 × 4\)"),
        (compressed(WHOLE + b"\0"), "holds more than 24 bytes of data, its header says 24"),
    ],
    ids=[
        "empty",
        "a page",
        "not compressed",
        "cut short",
        "damaged",
        "nothing inside",
        "half a header",
        "another type",
        "no IDX file",
        "another number of dimensions",
        "a byte too few",
        "a byte too many",
    ],
)
def test_names_the_file_and_what_is_wrong_with_it(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as refusal:
        read_idx(path, 3)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
