from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import yaml
from dvc.repo import Repo

from src.compare.provenance import (
    ENVIRONMENT,
    LOCK,
    METRICS,
    Provenance,
    caveat,
    describe_code,
    differing_code,
    differing_environment,
    read_provenance,
)
from src.compare.revisions import Revision, resolve
from src.tune.recording import lock_of_prepare, record
from src.tune.trials import Trial
from tests import committed
from tests.conftest import Clone

HERE = {
    "python": "3.11",
    "torch": "2.14.0",
    "dvc": "3.67.1",
    "bits": "x86-64 AVX2",
    "device": "cpu",
    "threads": 1,
}
NOTHING = Provenance(None, None)


def lock(**code: str) -> bytes:
    """A `dvc.lock` of a run that wrote `{}` as its metrics."""
    deps = [{"path": f"src/{name}.py", "md5": md5} for name, md5 in code.items()]
    deps += [{"path": "data/prepared/train.npz", "md5": "0"}, {"path": "src/networks", "md5": "1.dir"}]
    outs = [{"path": METRICS, "md5": hashlib.md5(b"{}").hexdigest()}, {"path": "models/model.pt", "md5": "2"}]
    # JSON is YAML.
    return json.dumps({"schema": "2.0", "stages": {"train": {"deps": deps, "outs": outs}}}).encode()


def read(**files: bytes) -> Provenance:
    """Of a revision that holds metrics, and what is given instead of an environment and a lock."""
    found = {ENVIRONMENT: json.dumps(HERE).encode(), LOCK: lock(training="a"), METRICS: b"{}"}
    names = {"environment": ENVIRONMENT, "lock": LOCK, "metrics": METRICS}
    return read_provenance((found | {names[name]: content for name, content in files.items()}).get)


def test_the_committed_results_have_a_record() -> None:
    found = read_provenance(committed.files().get)
    assert found.environment is not None
    assert {"python", "torch", "numpy", "bits", "device", "threads"} <= found.environment.keys()
    locked = committed.yaml("dvc.lock")["stages"]["train"]["deps"]
    assert found.code == {dep["path"]: dep["md5"] for dep in locked if not dep["path"].endswith(".npz")}


def test_code_is_every_dependency_that_is_no_data() -> None:
    images = {"data/prepared/train.npz": "0"}
    assert read() == Provenance(HERE, {"src/training.py": "a", "src/networks": "1.dir"}, images=images)


def test_an_environment_in_words() -> None:
    assert read().environment_words == "Python 3.11, torch 2.14.0, DVC 3.67.1; x86-64 AVX2, cpu, 1 thread"
    for environment, words in (
        ({"python": "3.11"}, "Python 3.11"),
        ({"threads": 2}, "2 threads"),
        ({"bits": "x86-64 AVX2", "jax": "1.0"}, "jax 1.0; x86-64 AVX2"),
        ({}, "not recorded"),
    ):
        assert read(environment=json.dumps(environment).encode()).environment_words == words


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b'["torch"]', b"\xff", b"[" * 100_000, b'{"threads": 1.5}'),
        *(b'{"torch": null}', b'{"torch": {}}', b'{"torch": NaN}', b'{"torch": "\\ud800"}', b'{"a\\n": 1}'),
    ],
)
def test_a_damaged_environment_is_none(content: bytes) -> None:
    found = read(environment=content)
    assert found.environment is None
    assert found.environment_words == "not recorded (metrics/environment.json is damaged)"
    assert found.code


@pytest.mark.parametrize(
    "content",
    [b"", b"stages", b"stages: [", b"stages: []", b"stages: {train: {}}", b"\xff", lock(**{"\n": "a"})],
)
def test_a_damaged_lock_is_none(content: bytes) -> None:
    found = read(lock=content)
    assert (found.code, found.code_problem) == (None, "not recorded (dvc.lock is damaged)")
    assert found.environment == HERE


def test_what_is_missing_is_not_recorded() -> None:
    for files in ({}, {LOCK: lock(training="a")}, {METRICS: b"{}"}):
        assert read_provenance(files.get) == NOTHING
    assert read(lock=b"stages: {prepare: {}}") == Provenance(HERE, None)


def test_the_lock_of_another_run_says_nothing() -> None:
    assert read(metrics=b'{"epochs": 7}') == Provenance(HERE, None)


def test_a_trial_of_a_search_has_no_record(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    trial = Trial(1, "finished", {"lr": 0.25}, 2, 1.0, 0.5, 0.75, 0.5, 0.75, 2)
    (name,) = record([trial], "found", lock_of_prepare())
    with Repo() as repo:
        revision = resolve(repo, name)
    lock = revision.read(LOCK)
    assert lock is not None
    assert list(yaml.safe_load(lock)["stages"]) == ["prepare"]
    assert read_provenance(revision.read) == NOTHING
    assert read_provenance(Revision("workspace", None).read).code


def test_what_differs() -> None:
    a = Provenance(HERE, {"src/b.py": "1", "src/a.py": "1", "src/old.py": "1", "src/same.py": "1"})
    a = replace(a, images={"data/a": "1"})
    b = Provenance(
        {"torch": "2.15.0"} | {key: HERE[key] for key in ("python", "bits", "device", "threads")},
        {"src/b.py": "2", "src/a.py": "2", "src/new.py": "1", "src/same.py": "1"},
    )
    assert differing_environment(a, b) == {"torch": ("2.14.0", "2.15.0"), "dvc": ("3.67.1", None)}
    code = differing_code(a, b)
    assert code is not None
    assert describe_code(code, "A", "B") == [
        *("src/a.py", "src/b.py", "src/new.py (only in B)", "src/old.py (only in A)")
    ]
    assert caveat(a, a, ()) == caveat(a, NOTHING, ()) == caveat(NOTHING, a, ()) == ""
    rest = ": the parameters alone may not explain the difference"
    for other, said in (
        (b, "trained by different code and in different environments"),
        (Provenance(HERE, b.code), "trained by different code"),
        (Provenance(b.environment, a.code), "trained in different environments"),
        (Provenance(b.environment, None), "trained in different environments"),
        (Provenance(HERE, a.code, images={"data/a": "2"}), "trained on different images"),
    ):
        assert caveat(a, other, ["lr"]) == said + rest
    assert caveat(a, replace(a, images={"data/a": "2"}), ["val_fraction"]) == ""


def test_nothing_is_known_of_a_difference_to_what_is_not_recorded() -> None:
    assert differing_environment(read(), NOTHING) is differing_code(read(), NOTHING) is None
    assert differing_environment(NOTHING, read()) is differing_code(NOTHING, read()) is None
    assert differing_environment(read(), read()) == differing_code(read(), read()) == {}
