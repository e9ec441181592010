"""A user's own images in git, in DVC, or in neither: what DVC sees of them, and what it copies."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ruamel.yaml import YAML

from src.sweep.baseline import uncommitted_code
from src.sweep.own_data import fingerprint, untracked_datasets
from tests.conftest import Clone, output
from tests.own_images import picture, write_pictures

COUNTS = {"cockle": 12, "mussel": 12, "oyster": 12}


def test_datasets_that_neither_git_nor_dvc_has_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("data/own")
    for name in ("in git", "in dvc", "in dvc alone", "in neither", "partly", "ignored"):
        write_pictures(own / name, {"a": 2})
    (own / "Digits").write_text("built in")
    for name in ("in dvc", "in dvc alone"):
        (own / f"{name}.dvc").write_text("outs: []")
    Path(".gitignore").write_text("/data/own/ignored\n/data/own/in dvc\n/data/own/in dvc alone\n")
    subprocess.run(("git", "init", "--quiet"), check=True)
    known = ("in git", "in dvc.dvc", "partly/a/00000.png")
    subprocess.run(("git", "add", *(own / name for name in known)), check=True)
    assert untracked_datasets() == {"in dvc alone", "in neither", "partly", "ignored"}


def test_file_names_in_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("data/own/zip"), {"a": 2})
    first = Path("data/own/zip/a/00000.png")
    first.rename(os.fsdecode(b"data/own/zip/a/caf\xe9.png"))  # as an old archive has it
    subprocess.run(("git", "init", "--quiet"), check=True)
    assert untracked_datasets() == {"zip"}
    assert len(fingerprint({"zip"})) == 64


def test_the_fingerprint_is_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("data/own/shells"), {"a": 3})
    seen = [fingerprint({"shells"})]
    first = Path("data/own/shells/a/00000.png")
    picture(9).save(first)
    seen.append(fingerprint({"shells"}))
    first.rename(first.with_name("moved.png"))
    seen.append(fingerprint({"shells"}))
    first.with_name("moved.png").unlink()
    seen.append(fingerprint({"shells"}))
    assert len(set(seen)) == 4
    assert fingerprint({"shells"}) == seen[-1]


def test_a_changed_picture_makes_other_experiments(repository: Clone) -> None:
    """What an earlier sweep has found is not taken for a result of other images."""
    Path("dvc.yaml").write_text(
        "stages: {one: {cmd: echo, deps: [src]}, mine: {cmd: echo}, each: {foreach: [a], do: {cmd: echo}}}"
    )
    kinds = ("in git", "in dvc", "in neither")
    for name in kinds:
        write_pictures(Path("data/own", name), {"a": 2})
    repository.run("dvc", "init", "--quiet")
    repository.run("dvc", "add", "--quiet", "data/own/in dvc")
    repository.git("add", "dvc.yaml", "data/own/in git", "data/own/in dvc.dvc", "data/own/.gitignore")
    repository.git("commit", "--message=Shells")
    seen = [uncommitted_code()]
    os.utime("data/own/in dvc/a/00001.png")
    assert uncommitted_code() == seen[0], "the same pictures as in DVC"
    for name in kinds:
        picture(9).save(Path("data/own", name, "a/00000.png"))
        seen.append(uncommitted_code())
    assert len(set(seen)) == 4


@pytest.fixture
def shells(fresh_clone: Callable[[], Clone]) -> Clone:
    """A clone with the dataset `shells`, which nothing tracks yet."""
    clone = fresh_clone()
    write_pictures(clone.path / "data/own/shells", COUNTS, size=(32, 32), colour=True)
    return clone


def prepared(clone: Clone) -> dict[str, str]:
    """The MD5 of each split, as dvc.lock has it."""
    lock: dict[str, Any] = YAML(typ="safe").load(clone.read("dvc.lock"))
    return {out["path"]: out["md5"] for out in lock["stages"]["prepare"]["outs"]}


@pytest.mark.slow
def test_a_changed_added_or_removed_picture_runs_prepare_and_what_its_outputs_change(shells: Clone) -> None:
    shells.set_params(dataset="shells", epochs=1)
    shells.dvc("repro", "train")
    assert "up to date" in shells.dvc("status", "prepare", "train").stdout
    before = prepared(shells)
    path = shells.path / "data/own/shells/cockle/00000.png"

    # The same pixels in another file: prepare runs, and nothing after it.
    Image.open(path).save(path, compress_level=0)
    said = shells.dvc("status", "prepare").stdout
    assert "modified:           data/own/shells" in said
    said = shells.dvc("repro", "train").stdout
    assert "Running stage 'prepare'" in said
    assert "Stage 'train' didn't change, skipping" in said
    assert prepared(shells) == before

    # One picture more moves no other from the training or validation split to the test split.
    picture(5000, (32, 32), colour=True).save(path.with_name("new.png"))
    assert "modified:           data/own/shells" in shells.dvc("status", "prepare").stdout
    said = shells.dvc("repro", "train").stdout
    assert "Running stage 'prepare'" in said
    assert "Running stage 'train'" in said
    assert prepared(shells) != before

    path.with_name("new.png").unlink()
    assert "modified:           data/own/shells" in shells.dvc("status", "prepare").stdout
    shells.dvc("repro", "train")
    assert prepared(shells) == before

    # What is refused leaves the error of the stage as the last word.
    picture(0, (32, 32), colour=True).save(shells.path / "data/own/shells/oyster/same.png")
    refused = shells.dvc("repro", "train", check=False)
    assert refused.returncode != 0
    assert "is in two classes" in output(refused)


@pytest.mark.slow
@pytest.mark.parametrize("tracked", ["git", "dvc", "dvc alone", "neither"])
def test_experiments_in_temporary_workspaces_and_sweeps_have_the_images(shells: Clone, tracked: str) -> None:
    if tracked.startswith("dvc"):
        shells.dvc("add", "data/own/shells")
    if tracked in ("git", "dvc"):
        shells.git("add", "data/own")
        shells.git("commit", "--quiet", "--message=Shells")
    run = ("exp", "run", "--temp", "--name", "one", "-S", "dataset=shells", "-S", "epochs=1")
    if tracked not in ("git", "dvc"):
        refused = shells.dvc(*run, check=False)
        assert refused.returncode != 0
        # Which of the two stages comes first, DVC leaves open.
        assert re.search(r"dataset: 'shells' is invalid|No such file .*data/own/shells", output(refused))
        run = (*run, "--copy-paths", "data/own/shells")
    shells.dvc(*run)
    sweep = ("python", "-m", "src.sweep", "dataset=shells", "epochs=1", "lr=0.01,0.02")
    assert "the best: dvc exp apply" in shells.run(*sweep).stdout
    assert len(shells.dvc("exp", "list", "--name-only").stdout.split()) == 3
    assert "2 of 2 were done before" in shells.run(*sweep).stdout
