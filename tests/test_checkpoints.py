from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import pickle
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from src.runtime.errors import UserError
from src.training.checkpoints import (
    ABANDONED_AFTER_SECONDS,
    Checkpoints,
    _loaded_code,
    checkpoints_of,
    training_key,
)
from src.training.history import Epoch, Step
from src.training.loop import Snapshot, State


def snapshot(epoch: int) -> Snapshot:
    weights = {"weight": torch.full((100,), float(epoch))}
    state = State(
        model=weights,
        optimizer={"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        schedule={"last_epoch": epoch},
        ema_model={},
        generators=[torch.Generator().get_state()],
        global_generators=[torch.get_rng_state()],
        best_epoch=0,
        best_weights=weights,
    )
    history = [Epoch(number, 0.1, 1 / (3 + number), 0.2, 0.5, 0.5) for number in range(epoch + 1)]
    return Snapshot(history, [Step(1 + number // 2, 1 + number, 0.1) for number in range(2 * epoch)], state)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "key-0")


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_latest_is_read_and_the_one_before_it_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None
    for epoch in (8, 9, 10, 11):
        checkpoints.save(snapshot(epoch))
    assert names(checkpoints) == ["epoch-0000010.ckpt", "epoch-0000011.ckpt", "history.jsonl"]
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.state.model["weight"].unique().tolist() == [11.0]
    assert latest.history == snapshot(11).history
    assert latest.steps == snapshot(11).steps
    checkpoints.remove()
    assert checkpoints.latest() is None


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


@pytest.mark.parametrize("damage", [truncate, flip, lambda content: b"", lambda content: bytes(len(content))])
def test_a_damaged_checkpoint_is_recognised_and_the_one_before_it_used(
    checkpoints: Checkpoints,
    capsys: pytest.CaptureFixture[str],
    damage: Any,  # noqa: ANN401
) -> None:
    for epoch in (1, 2):
        checkpoints.save(snapshot(epoch))
    newest, before = (checkpoints.folder / f"epoch-{epoch:07}.ckpt" for epoch in (2, 1))
    newest.write_bytes(damage(newest.read_bytes()))
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.history == snapshot(1).history
    assert capsys.readouterr().err == "epoch-0000002.ckpt: damaged, skipped\n"
    before.write_bytes(damage(before.read_bytes()))
    assert checkpoints.latest() is None


def test_what_is_damaged_takes_no_place_of_what_follows(checkpoints: Checkpoints) -> None:
    for epoch in (7, 8):
        checkpoints.save(snapshot(epoch))
    (checkpoints.folder / "history.jsonl").unlink()
    again = Checkpoints(checkpoints.folder)
    assert again.latest() is None
    again.save(snapshot(0))
    latest = Checkpoints(checkpoints.folder).latest()
    assert latest is not None
    assert latest.history == snapshot(0).history


def test_a_damaged_history_is_recognised_and_gone_on_from_where_it_is_whole(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    for epoch in (1, 2):
        checkpoints.save(snapshot(epoch))
    file = checkpoints.folder / "history.jsonl"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    file.write_bytes(whole[:first] + flip(whole[first:]))
    again = Checkpoints(checkpoints.folder)
    latest = again.latest()
    assert latest is not None
    assert latest.history == snapshot(1).history
    assert capsys.readouterr().err == "epoch-0000002.ckpt: damaged, skipped\n"
    again.save(snapshot(2))
    assert file.read_bytes() == whole
    file.write_bytes(flip(whole[:first]) + whole[first:])
    assert Checkpoints(checkpoints.folder).latest() is None


def test_what_a_killed_process_has_added_to_the_history_is_cut_off(checkpoints: Checkpoints) -> None:
    checkpoints.save(snapshot(1))
    with (checkpoints.folder / "history.jsonl").open("ab") as file:
        file.write(b"[[{")
    again = Checkpoints(checkpoints.folder)
    latest = again.latest()
    assert latest is not None
    assert latest.history == snapshot(1).history
    again.save(snapshot(2))
    latest = Checkpoints(checkpoints.folder).latest()
    assert latest is not None
    assert latest.history == snapshot(2).history
    assert latest.steps == snapshot(2).steps


def test_an_epoch_writes_no_more_than_the_ones_before_it(checkpoints: Checkpoints) -> None:
    history, written = checkpoints.folder / "history.jsonl", []
    for epoch in range(1, 301):
        before = history.stat().st_size if history.exists() else 0
        checkpoints.save(snapshot(epoch))
        state = checkpoints.folder / f"epoch-{epoch:07}.ckpt"
        written.append(history.stat().st_size - before + state.stat().st_size)
    assert max(written[10:]) < 1.02 * max(written[:10]), "a few digits more"


def test_a_checkpoint_that_cannot_be_written_is_said_and_the_last_one_kept(checkpoints: Checkpoints) -> None:
    checkpoints.save(snapshot(1))
    (checkpoints.folder / ".epoch-0000002.part.ckpt").mkdir()
    with pytest.raises((UserError, IsADirectoryError), match=r"epoch-0000002\.ckpt|directory"):
        checkpoints.save(snapshot(2))
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.history == snapshot(1).history


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return Path.write_text, (Path("hostile-code-ran"), "")


@pytest.mark.parametrize("archive", [True, False])
def test_a_hostile_checkpoint_with_the_right_digest_is_not_executed(
    checkpoints: Checkpoints,
    archive: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkpoints.folder.parent)
    for epoch in (1, 2):
        checkpoints.save(snapshot(epoch))
    content = io.BytesIO()
    if archive:
        torch.save({"state": Hostile(), "history": [0, ""]}, content)
    else:
        pickle.dump(Hostile(), content, protocol=2)
    payload = content.getvalue()
    newest = checkpoints.folder / "epoch-0000002.ckpt"
    newest.write_bytes(hashlib.sha256(payload).digest() + payload)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.history == snapshot(1).history
    assert capsys.readouterr().err == "epoch-0000002.ckpt: damaged, skipped\n"
    assert not Path("hostile-code-ran").exists()


def test_every_setting_file_and_line_of_code_makes_another_key(tmp_path: Path) -> None:
    data = tmp_path / "train.npz"
    data.write_bytes(b"images")
    settings = {"lr": 0.1, "optimizer": "SGD", "threads": 2}
    key = training_key(settings, [data])
    assert key == training_key(dict(reversed(settings.items())), [data])
    others = {training_key(settings | {name: "other"}, [data]) for name in settings}
    moved = tmp_path / "moved.npz"
    moved.write_bytes(b"images")
    assert training_key(settings, [moved]) == key
    data.write_bytes(b"Images")
    assert len({key, *others, training_key(settings, [data])}) == 5


def test_all_loaded_code_is_in_the_key() -> None:
    import src.networks.convnet

    names = set(_loaded_code())
    assert {"src.training.checkpoints", "src.training.loop", "src.networks.convnet"} <= names
    assert all(name == "__main__" or name.startswith("src.") for name in names - {"src"})
    assert src.networks.convnet.__file__ in map(str, _loaded_code().values())


def test_every_line_of_loaded_code_makes_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "extra.py"
    file.write_text("FACTOR = 1\n")
    before = training_key({}, [])
    spec = importlib.util.spec_from_file_location("src.extra", file)
    assert spec
    assert spec.loader
    monkeypatch.setitem(sys.modules, "src.extra", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(sys.modules["src.extra"])
    loaded = training_key({}, [])
    file.write_text("FACTOR = 2\n")
    assert len({before, loaded, training_key({}, [])}) == 3


@pytest.mark.parametrize("file", [None, "<stdin>"])  # of `python -c` and `python -`
def test_a_program_that_is_no_file_has_a_key(file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    program = types.ModuleType("__main__")
    if file is not None:
        program.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", program)
    assert len(training_key({}, [])) == 32


def test_two_processes_at_the_same_training_do_not_share_checkpoints(tmp_path: Path) -> None:
    with checkpoints_of("key", tmp_path) as first:
        with checkpoints_of("key", tmp_path) as second, checkpoints_of("other", tmp_path) as third:
            assert len({first.folder, second.folder, third.folder}) == 3
            second.save(snapshot(1))
            first.save(snapshot(2))
        with checkpoints_of("key", tmp_path) as again:
            assert again.folder == second.folder
            assert again.latest().history == snapshot(1).history
    with checkpoints_of("key", tmp_path) as again:
        assert again.folder == first.folder


def test_what_nobody_came_back_to_is_removed(tmp_path: Path) -> None:
    with checkpoints_of("old", tmp_path) as old:
        old.save(snapshot(1))
    with checkpoints_of("recent", tmp_path) as recent:
        recent.save(snapshot(1))
    with checkpoints_of("older", tmp_path) as older:
        older.save(snapshot(1))
    with checkpoints_of("long", tmp_path) as long:
        long.save(snapshot(1))
    assert ABANDONED_AFTER_SECONDS == 30 * 86400, "as docs/reproducibility.md says"
    long_ago = time.time() - ABANDONED_AFTER_SECONDS - 1
    for path in [*tmp_path.glob("*.lock"), old.folder, older.folder]:
        if "recent" not in path.name:
            os.utime(path, (long_ago, long_ago))
    with checkpoints_of("older", tmp_path) as resumed:
        assert resumed.latest(), "that whoever comes back late finds all the same"
    with checkpoints_of("new", tmp_path):
        assert not old.folder.exists()
        assert recent.folder.exists()
        assert long.folder.exists(), "its last epoch is recent"
        assert older.folder.exists(), "it was resumed a moment ago"
