from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import record as module
from benchmarks.record import BEGIN, END, HEADER, PAGE, record, spread
from src.runtime.errors import UserError
from tests.conftest import ROOT


def test_a_result_takes_the_place_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Title\n\n{BEGIN}{HEADER}{END}\nNotes.\n")
    monkeypatch.setattr(module, "PAGE", page)
    record("python -m two", "time", "3.0 s")
    record("python -m one", "time", "2.0 s")
    record("python -m one", "time", "1.5 s")
    first, second = page.read_text().split(HEADER)[1].split(END)[0].splitlines()
    assert first.startswith("| time | `python -m one` | 1.5 s | ")
    assert " cores, " in first
    assert second.startswith("| time | `python -m two` | 3.0 s | ")
    assert page.read_text().endswith(f"{END}\nNotes.\n")
    page.write_text("# Title\n")
    with pytest.raises(UserError, match="the lines `<!-- benchmarks: "):
        record("python -m one", "time", "1.5 s")


def test_the_page_has_the_table() -> None:
    text = (ROOT / PAGE).read_text()
    assert BEGIN + HEADER in text
    assert END in text


def test_a_spread_of_several_values() -> None:
    assert spread([3.0, 1.0, 2.25], ".1f") == "2.2 (1.0 to 3.0)"
    assert spread([1234.0], ",.0f") == "1,234"
