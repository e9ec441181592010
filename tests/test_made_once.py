from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from src.made_once import made_once

FILES = [Path("data/one.bin"), Path("data/two.bin")]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def make_in(
    workspace: Path, notes: Path, monkeypatch: pytest.MonkeyPatch, *, content: str = "made", decides: int = 1
) -> bool:
    """Whether the files were made in this workspace, and not copied."""
    (workspace / "data").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(workspace)

    def make() -> None:
        for path in FILES:
            path.write_text(f"{content} {path}")

    return made_once(FILES, {"decides": decides}, notes, make)


def read(workspace: Path) -> list[str]:
    return [(workspace / path).read_text() for path in FILES]


def test_the_second_workspace_copies_what_the_first_has_made(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    assert make_in(one, notes, monkeypatch)
    assert not make_in(two, notes, monkeypatch, content="again")
    assert read(two) == read(one) == [f"made {path}" for path in FILES]
    assert make_in(three, notes, monkeypatch, content="other", decides=2)
    assert read(three) == [f"other {path}" for path in FILES]


def test_other_code_makes_its_own(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in (("one", "a = 1"), ("two", "a = 2")):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src" / "module.py").write_text(code)
        assert make_in(tmp_path / name, notes, monkeypatch)


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_files_that_are_not_as_they_were_are_made_anew(
    damage: str, tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    make_in(one, notes, monkeypatch)
    if damage == "changed":
        (one / FILES[1]).write_text("changed since")
    else:
        (one / FILES[1]).unlink()
    assert make_in(two, notes, monkeypatch)
    assert read(two) == [f"made {path}" for path in FILES]


def test_the_second_waits_while_the_first_is_at_it(tmp_path: Path, notes: Path) -> None:
    script = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from src.made_once import made_once

def make():
    print("making", flush=True)
    sys.stdin.read()
    Path("file").write_text("made")

print(made_once([Path("file")], {}, Path(sys.argv[1]), make), flush=True)
"""
    running = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        running.append(
            subprocess.Popen(
                (sys.executable, "-c", script, notes, Path(__file__).parent.parent),
                cwd=tmp_path / name,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        if name == "one":
            assert running[0].stdout is not None
            assert running[0].stdout.readline() == "making\n"
    assert running[1].stderr is not None
    assert running[1].stderr.readline() == "another experiment makes the same files; waiting\n"
    said = [one.communicate(timeout=30)[0] for one in running]
    assert said == ["True\n", "False\n"]
    assert (tmp_path / "two" / "file").read_text() == "made"
