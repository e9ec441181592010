from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.errors import UserError
from src.files import read_arrays, replacing, write_arrays, write_text


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half of the new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.csv"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".csv"
        assert not path.exists()
    assert path.read_text() == "whole"


def test_what_a_killed_process_left_behind_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        name = temporary
        raise ZeroDivisionError
    name.write_text("a longer text that nobody finished")
    write_text(path, "×\n")
    assert path.read_bytes() == "×\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.array([{"any": "object"}], dtype=object)})
    with pytest.raises(UserError, match="damaged"):
        read_arrays(path, ("a",))
    write_arrays(path, {"a": np.arange(3)})
    with pytest.raises(UserError, match="b is not a file in the archive"):
        read_arrays(path, ("a", "b"))
    np.testing.assert_array_equal(read_arrays(path, ("a",))["a"], np.arange(3))
