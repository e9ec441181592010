from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.runtime.errors import UserError
from src.runtime.files import (
    GrowingFile,
    GrowingTable,
    read_arrays,
    read_table,
    replacing,
    write_arrays,
    write_json,
    write_table,
    write_text,
)
from src.training.history import Step


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


def test_what_is_written_is_on_the_disk_before_anything_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []
    fsync, rename = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        calls.append(("rename", path.stat().st_size))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    write_text(tmp_path / "metrics.json", "whole")
    assert calls == [("fsync", 5), ("rename", 5)]
    calls.clear()
    file = GrowingFile(tmp_path / "log")
    file.append(b"one ")
    file.append(b"two ")
    assert calls == [("fsync", 4), ("fsync", 8)]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file")
    with pytest.raises(UserError, match=r"plots/history.csv: cannot be written: "):
        write_text(tmp_path / "plots/history.csv", "x")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.array([{"any": "object"}], dtype=object)})
    with pytest.raises(UserError, match="damaged"):
        read_arrays(path, ("a",))
    write_arrays(path, {"a": np.arange(3)})
    with pytest.raises(UserError, match="b is not a file in the archive"):
        read_arrays(path, ("a", "b"))
    np.testing.assert_array_equal(read_arrays(path, ("a",))["a"], np.arange(3))


def test_fractions_in_text_have_six_digits_and_nothing_else_is_rounded(tmp_path: Path) -> None:
    values = {"loss": 0.1 + 0.2, "macro": {"f1": 2 / 3}, "list": [1 / 3], "epochs": 1234567, "lr": 1e-7 / 3}
    write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "loss": 0.3,
        "macro": {"f1": 0.666667},
        "list": [0.333333],
        "epochs": 1234567,
        "lr": 3.33333e-08,
    }
    table = pd.DataFrame({"count": [1234567, 2], "share": [1 / 3, 1.0], "class": ["a,b", "c"]})
    write_table(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == 'count,share,class\n1234567,0.333333,"a,b"\n2,1,c\n'


def test_a_class_called_na_is_no_missing_value(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", pd.DataFrame({"actual": ["NA", "1"], "predicted": ["NA", "01"]}))
    assert read_table(tmp_path / "a.csv").to_numpy().tolist() == [["NA", "NA"], ["1", "01"]]


def test_a_growing_table_is_the_same_whenever_its_rows_come(tmp_path: Path) -> None:
    rows = [Step(1 + number // 3, number, 1 / number) for number in range(1, 8)]
    table = GrowingTable(tmp_path / "steps.csv", Step)
    for count in (0, 1, 1, 4, 7):
        table.update(rows[:count])
        lines = (tmp_path / "steps.csv").read_text().splitlines()
        assert lines == [
            "epoch,step,train_loss",
            *(f"{row.epoch},{row.step},{row.train_loss:.6g}" for row in rows[:count]),
        ]
    GrowingTable(tmp_path / "steps.csv", Step).update(rows[:2])
    assert (tmp_path / "steps.csv").read_text().splitlines() == lines[:3], "an earlier run's rows are gone"


def test_a_growing_file_goes_back_to_what_it_held(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "log")
    file.append(b"one ")
    mark = file.mark()
    file.append(b"two ")
    again = GrowingFile(tmp_path / "log")
    assert again.back_to(mark) == b"one "
    again.append(b"three")
    assert (tmp_path / "log").read_bytes() == b"one three"
    assert again.back_to(file.mark()) is None, "its second part is another"
    (tmp_path / "log").write_bytes(b"One three")
    assert again.back_to(mark) is None
