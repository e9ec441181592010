"""Versions of the model: registered in a clone, pushed to a repository and a remote, fetched elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from src.compare.revisions import Revision, read_predictions
from src.experiments.git import commit_of
from src.runtime.errors import UserError
from src.versions.__main__ import find
from src.versions.origin import origins
from src.versions.registry import register
from tests.conftest import Clone, Command


@pytest.fixture
def shared(clone: Clone, tmp_path: Path) -> Clone:
    """A clone with results, a bare repository that it pushes to, and a folder as DVC's remote."""
    bare = tmp_path / "shared.git"
    clone.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    clone.git("remote", "add", "origin", str(bare))
    clone.dvc("remote", "add", "--quiet", "--default", "team", str(tmp_path / "remote"))
    clone.git("commit", "--quiet", "--all", "--message=A remote")
    clone.git("push", "--quiet", "--set-upstream", "origin", "main")
    return clone


def versions(clone: Clone, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return clone.run("python", "-m", "src.versions", *words, check=check)


def refusal(clone: Clone, *words: str) -> str:
    refused = versions(clone, *words, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    return refused.stderr.removeprefix("error: ").rstrip("\n")


def test_a_remote_that_others_cannot_reach_is_refused(clone: Clone) -> None:
    clone.dvc("remote", "add", "--quiet", "--default", "team", "../remote")
    clone.git("commit", "--quiet", "--all", "--message=A remote")
    assert refusal(clone, "register", "lenet5") == (
        "models/model.pt: the remote of HEAD is a relative path, another one in each clone; expected an "
        "absolute one, or an address"
    )


def test_a_remote_that_this_clone_alone_has_is_refused(
    clone: Clone, command: Command, tmp_path: Path
) -> None:
    def refused() -> str:
        return command(clone, "src.versions", "register", "lenet5", check=False).stderr

    mine, team = str(tmp_path / "mine"), str(tmp_path / "team")
    clone.several(f"remote add --quiet --local --default mine {mine}", "push --quiet models/model.pt")
    assert refused() == (
        "error: models/model.pt: HEAD names no remote; expected `dvc remote add -d NAME URL`, a commit of "
        ".dvc/config, `dvc push`\n"
    )
    clone.dvc("remote", "add", "--quiet", "--default", "team", team)
    clone.git("commit", "--quiet", "--all", "--message=A remote")
    assert refused() == (
        "error: models/model.pt of HEAD is not in the remote; expected `dvc push --remote team` before\n"
    )
    clone.dvc("remote", "modify", "--local", "team", "url", mine)
    assert refused() == (
        "error: models/model.pt: the remote team of HEAD has another address in your own settings; expected "
        "the same, see `dvc config --list --show-origin`\n"
    )
    clone.several(
        f"remote modify --local team url {team}",
        "remote modify --local team verify false",
        "push --quiet --remote team models/model.pt",
    )
    assert command(clone, "src.versions", "register", "lenet5", "v1.0.0").stdout.startswith(
        "registered lenet5@v1.0.0; "
    )


@pytest.mark.slow
def test_a_version_is_registered_fetched_and_found(shared: Clone, tmp_path: Path) -> None:
    bare, tags = str(tmp_path / "shared.git"), lambda: shared.git("tag").split()
    assert refusal(shared, "register", "lenet5", "v1.0.0") == (
        "models/model.pt of HEAD is not in the remote; expected `dvc push` before"
    )
    assert (
        refusal(shared, "register", "lenet6")
        == "'lenet6' is not an artifact of HEAD; expected lenet5, lenet5-onnx"
    )
    assert refusal(shared, "register", "lenet5", "--rev", "HEAX") == (
        "'HEAX' is invalid; expected a commit, a branch or a tag"
    )
    assert tags() == [], "nothing is registered by half"
    shared.dvc("push")
    assert refusal(shared, "register", "lenet5", "--rev", "HEAD~") == (
        "models/model.pt: HEAD~ names no remote; expected `dvc remote add -d NAME URL`, a commit of "
        ".dvc/config, `dvc push`"
    )
    made = versions(shared, "register", "lenet5", "v1.0.0").stdout
    assert made == "registered lenet5@v1.0.0; others have it after: git push origin lenet5@v1.0.0\n"
    assert "lenet5" in refusal(shared, "register", "lenet5", "v1.0.0")
    shared.run("gto", "assign", "lenet5", "--version", "v1.0.0", "--stage", "prod")
    assert tags() == ["lenet5#prod#1", "lenet5@v1.0.0"]
    shared.git("push", "--quiet", "origin", "--tags")

    # Elsewhere, by version and by stage, with DVC's own command and with ours.
    elsewhere = Clone(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    elsewhere.dvc("artifacts", "get", bare, "lenet5", "--rev", "v1.0.0")
    model = (shared.path / "models/model.pt").read_bytes()
    assert (elsewhere.path / "model.pt").read_bytes() == model
    got = str(elsewhere.path / "by_stage.pt")
    assert (
        versions(shared, "get", "lenet5", "--stage", "prod", "--repo", bare, "--out", got).stdout
        == f"{got}\n"
    )
    assert Path(got).read_bytes() == model
    picture = "plots/samples_train.png"
    here = shared.run("python", "-m", "src.predict", picture).stdout
    assert shared.run("python", "-m", "src.predict", picture, "--model", got).stdout == here
    for words, said in (
        (
            ["--version", "v2.0.0"],
            f"{bare} has no version lenet5@v2.0.0; `gto show lenet5` lists those there are",
        ),
        (["--stage", "test"], f"{bare} has no version lenet5#test; `gto show lenet5` lists those there are"),
    ):
        assert refusal(shared, "get", "lenet5", *words, "--repo", bare) == said
    nowhere = str(tmp_path / "nowhere.git")
    assert refusal(shared, "get", "lenet5", "--repo", nowhere) == (
        f"--repo: '{nowhere}' is invalid; expected a git repository with DVC"
    )
    assert refusal(shared, "get", "lenet5", "--stage", "prod", "--repo", bare, "--out", got) == (
        f"{got} exists; expected another --out, or that it is removed"
    )
    folder = tmp_path / "got"
    folder.mkdir()
    into = versions(shared, "get", "lenet5", "--repo", bare, "--out", str(folder)).stdout
    assert (into, (folder / "model.pt").read_bytes()) == (f"{folder}/model.pt\n", model)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(shared, "get", "lenet5", "--repo", str(empty)) == (
        f"--repo: '{empty}' is invalid; expected a git repository with DVC"
    )

    # As a sweep leaves it, of DVC's own use.
    shared.git("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    found = versions(shared, "find", got).stdout.splitlines()
    assert re.match(r"commit [0-9a-f]{7}: dataset=Digits .* lr=0\.005 ", found[0])
    accuracy = json.loads(shared.read("metrics/train.json"))["val_accuracy"]
    assert found[1] == f"  validation accuracy {accuracy:.2%}"
    assert found[-1] == "in main, origin/main, lenet5#prod#1, lenet5@v1.0.0"
    (elsewhere.path / "other.pt").write_bytes(b"another model")
    assert refusal(shared, "find", str(elsewhere.path / "other.pt")).endswith(
        "is in no commit and no experiment of this repository"
    )
    (elsewhere.path / "other.ONNX").write_bytes(b"It was a dark and stormy night")
    assert "other.ONNX: not a model written by this project" in refusal(
        shared, "find", str(elsewhere.path / "other.ONNX")
    )
    compared = shared.run("python", "-m", "src.compare", "HEAD~1", "lenet5@v1.0.0").stdout
    assert "B is registered: lenet5#prod#1, lenet5@v1.0.0" in compared.splitlines()

    # What is lost is said, and nothing is written.
    for file in (tmp_path / "remote").rglob("*"):
        if file.is_file():
            file.unlink()
    wanted = ("get", "lenet5", "--version", "v1.0.0", "--repo", bare, "--out", str(tmp_path / "lost.pt"))
    commit = shared.git("rev-parse", "HEAD")[:7]
    assert refusal(shared, *wanted) == (
        f"lenet5@v1.0.0: models/model.pt of commit {commit} is in no remote; expected `dvc push`"
    )
    assert not (tmp_path / "lost.pt").exists()


@pytest.mark.slow
def test_the_exported_model_is_a_version_without_a_remote(shared: Clone, tmp_path: Path) -> None:
    shared.dvc("repro", "studies/robustness/dvc.yaml")
    shared.dvc("repro", "studies/export/dvc.yaml")
    shared.git("add", "--all")
    shared.git("commit", "--quiet", "--message=Exported")
    versions(shared, "register", "lenet5-onnx", "v1.0.0")
    shared.git("push", "--quiet", "origin", "main", "--tags")
    elsewhere = Clone(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    elsewhere.dvc("artifacts", "get", str(tmp_path / "shared.git"), "lenet5-onnx", "--rev", "v1.0.0")
    fetched = elsewhere.path / "model.onnx"
    assert fetched.read_bytes() == (shared.path / "models/model.onnx").read_bytes()
    picture = "plots/samples_train.png"
    here = shared.run("python", "-m", "src.predict", picture).stdout
    assert shared.run("python", "-m", "src.predict", picture, "--model", str(fetched)).stdout == here
    assert versions(shared, "find", str(fetched)).stdout.endswith(
        "\nin main, origin/main, lenet5-onnx@v1.0.0\n"
    )
    shared.set_params(epochs=1)
    shared.dvc("repro")
    shared.git("commit", "--all", "--quiet", "--message=Another model")
    assert refusal(shared, "register", "lenet5-onnx", "v2.0.0") == (
        "models/model.onnx of HEAD was made of another model; expected `make export` before"
    )


def test_a_model_is_of_the_commits_that_brought_it_the_oldest_first_and_of_experiments(
    repository: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    git = repository.git
    Path("model.pt").write_bytes(b"a model")
    md5 = hashlib.md5(b"a model").hexdigest()
    commits = []
    for lr, found in ((1, md5), (2, "another"), (3, md5), (4, "another")):
        Path("dvc.lock").write_text(f"md5: {found}")
        Path("params.yaml").write_text(f"lr: {lr}  # a rate")
        git("add", "dvc.lock", "params.yaml")
        git("commit", "--quiet", f"--message={lr}")
        commits.append(git("rev-parse", "HEAD").strip())
    first, _, third, last = commits
    git("update-ref", f"refs/exps/{last[:2]}/{last[2:]}/wide-net", third)
    git("tag", "milestone", third)
    git("tag", "--annotate", "--message=As GTO does", "lenet5@v1.0.0", third)
    # Of another clone's branch, and of a remote's HEAD, which is another name of it.
    git("update-ref", "refs/remotes/origin/ada", third)
    git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/ada")
    brought, names = origins(Path("model.pt"))
    assert [(origin.commit, origin.params) for origin in brought] == [(first, "lr=1"), (third, "lr=3")]
    assert names == ["wide-net", "origin/ada", "lenet5@v1.0.0", "milestone"]
    assert Revision("HEAD~", third).versions() == ["lenet5@v1.0.0"], "another tag is no version"
    assert commit_of("lenet5@v1.0.0") == third, "not the tag, which is an object of its own"

    # A merge whose results were made anew holds a model that neither of its parents has.
    git("checkout", "--quiet", "-b", "side", third)
    git("commit", "--quiet", "--allow-empty", "--message=5")
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    Path("model.pt").write_bytes(b"of both")
    Path("dvc.lock").write_text(f"md5: {hashlib.md5(b'of both').hexdigest()}")
    Path("metrics").mkdir()
    Path("metrics/train.json").write_text('{"val_accuracy": 0.9}')
    Path("metrics/test.json").write_text('{"accuracy": 0.8}')
    git("add", "--all")
    git("commit", "--quiet", "--message=6")
    (merge,), names = origins(Path("model.pt"))
    assert (merge.commit, names) == (git("rev-parse", "HEAD").strip(), ["main"])
    find(Path("model.pt"))
    assert capsys.readouterr().out.splitlines() == [
        f"commit {merge.commit[:7]}: lr=4",
        *("  validation accuracy 90.00%", "  test accuracy 80.00%", "in main"),
    ]
    # One of which a parent has it brings nothing.
    git("checkout", "--quiet", "-b", "later", "side")
    git("commit", "--quiet", "--allow-empty", "--message=7")
    git("merge", "--quiet", "--no-ff", "--message=8", "main")
    assert origins(Path("model.pt")) == ([merge], ["later", "main"])


def test_a_clone_without_its_history_says_so(
    repository: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        repository.git("commit", "--quiet", "--allow-empty", f"--message={number}")
    repository.git("clone", "--quiet", "--depth=1", repository.path.as_uri(), str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    Path("model.pt").touch()
    with pytest.raises(UserError, match=r"^this clone is shallow and lacks older commits; expected"):
        origins(Path("model.pt"))


def test_predictions_of_a_commit_are_read_in_a_subfolder(
    repository: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("course/plots").mkdir(parents=True)
    table = "index,actual,predicted,confidence\n0,1,1,0.9\n"
    Path("course/plots/val_predictions.csv").write_text(table)
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message=1")
    monkeypatch.chdir("course")
    assert read_predictions(Revision("HEAD", "HEAD")).to_csv(index=False) == table


def test_files_of_a_folder_by_any_name_but_hidden_ones(repository: Clone) -> None:
    Path("plots").mkdir()
    for name in ("a.png", "\udcff.png", ".hidden.png", "a.csv"):
        Path("plots", name).touch()
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message=1")
    for revision in (Revision("HEAD", "HEAD"), Revision("workspace", None)):
        assert revision.files("plots", ".png") == ["plots/a.png", "plots/\udcff.png"]


@pytest.mark.parametrize(
    "text", ["artifacts:", "artifacts: [lenet5]", "artifacts: {lenet5: {}}", "<<<<<<< HEAD"]
)
def test_registering_where_dvc_yaml_is_invalid(repository: Clone, text: str) -> None:
    Path("dvc.yaml").write_text(text)
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message=1")
    with pytest.raises(UserError, match=r"^dvc\.yaml of HEAD is invalid; expected"):
        register("lenet5", None, "HEAD")


def test_what_is_no_longer_a_version_is_not_called_one(repository: Clone) -> None:
    Path("dvc.yaml").write_text("artifacts: {lenet5: {path: model.pt}}")
    repository.git("add", ".")
    for version in ("v1.0.0", "v1.1.0"):
        repository.git("commit", "--quiet", "--allow-empty", f"--message={version}")
        repository.run("gto", "register", "lenet5", "--version", version)
        repository.run("gto", "assign", "lenet5", "--version", version, "--stage", "prod")
    for other in ("fix#12", "release@2026", "lenet5@v2", "#1"):
        repository.git("tag", other)
    old, new = (Revision(name, repository.git("rev-parse", name).strip()) for name in ("HEAD~", "HEAD"))
    assert (old.versions(), new.versions()) == (["lenet5@v1.0.0"], ["lenet5#prod#2", "lenet5@v1.1.0"])
    repository.run("gto", "deprecate", "lenet5", "v1.1.0", "prod")
    assert new.versions() == ["lenet5@v1.1.0"]
    repository.run("gto", "deprecate", "lenet5", "v1.1.0")
    assert new.versions() == []
    assert Revision("workspace", None).versions() == []
