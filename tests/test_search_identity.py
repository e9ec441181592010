"""A search is known by all that decides its trials."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.params import Params
from src.runtime.errors import UserError
from src.runtime.paths import PIPELINE_FILE, TRAIN_SPLIT, VAL_SPLIT
from src.tune.__main__ import _decisive, arguments
from src.tune.identity import Identity, claim, differences, search_identity, short_digest
from src.tune.search_space import Domain
from tests.conftest import ROOT

SPACE = {"lr": Domain("log_uniform", (1e-3, 0.1))}


@pytest.fixture
def identify(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Identity]:
    """The identity of a search in a folder with a copy of the code and with two splits."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / PIPELINE_FILE, tmp_path)
    monkeypatch.chdir(tmp_path)
    TRAIN_SPLIT.parent.mkdir(parents=True)
    for path in (TRAIN_SPLIT, VAL_SPLIT):
        np.savez(path, images=np.zeros(3))

    def identity(
        space: dict[str, Domain] = SPACE,
        *,
        samples: int = 4,
        device: str = "cpu",
        threads: int = 1,
        **changed: object,
    ) -> Identity:
        return search_identity(
            params.model_dump() | changed,
            space,
            {"samples": samples, "seed": 0, "engine": "ray"},
            device=torch.device(device),
            threads=threads,
            packages=["optuna", "ray"],
        )

    return identity


def test_the_same_search_resumes(identify: Callable[..., Identity]) -> None:
    claim(Path("mine"), identify())
    claim(Path("mine"), identify())
    assert short_digest(identify()) == short_digest(identify())


def test_what_differs_is_named(identify: Callable[..., Identity]) -> None:
    before = identify()
    for now, said in [
        (identify(samples=5), "--samples: 4, now 5"),
        (identify(epochs=7), "epochs: 12, now 7"),
        (identify(activation="Tanh"), "activation: ReLU, now Tanh"),
        (identify(threads=2), "threads: 1, now 2"),
        (
            identify({"lr": Domain("uniform", (0.001, 0.1))}),
            'lr in the search space: {"log_uniform": [0.001, 0.1]}, now {"uniform": [0.001, 0.1]}',
        ),
    ]:
        assert differences(before, now) == [said]
        assert short_digest(now) != short_digest(before)
    assert differences(before, identify(SPACE | {"dropout": Domain("uniform", (0.0, 0.5))})) == [
        "dropout: 0.1, now none",
        'dropout in the search space: none, now {"uniform": [0.0, 0.5]}',
    ]
    assert identify(lr=0.5) == before, "what is searched has no other value"


@pytest.mark.parametrize(
    "name",
    [
        *("src/training/loop.py", "src/training/augmentation.py", "src/networks/lenet5_1998.py"),
        *("src/runtime/processor.py", "src/params.py", "src/data/splits.py", "src/__init__.py"),
        *("src/tune/vectorized.py", "src/tune/search_space.py"),
    ],
)
def test_an_edit_of_the_code_makes_another_search(identify: Callable[..., Identity], name: str) -> None:
    before = identify()
    with Path(name).open("a") as file:
        file.write("# changed\n")
    assert differences(before, identify()) == [f"{name} has changed"]


def test_a_new_module_makes_another_search(identify: Callable[..., Identity]) -> None:
    before = identify()
    Path("src/networks/mine.py").write_text("")
    assert differences(before, identify()) == ["src/networks/mine.py has changed"]


def test_code_that_decides_nothing_does_not_count(identify: Callable[..., Identity]) -> None:
    before = identify()
    for name in ("src/report/page.py", "src/figures/style.py", "src/compare/__main__.py"):
        with Path(name).open("a") as file:
            file.write("# changed\n")
    assert identify() == before


@pytest.mark.parametrize("path", [TRAIN_SPLIT, VAL_SPLIT])
def test_other_images_make_another_search(identify: Callable[..., Identity], path: Path) -> None:
    before = identify()
    np.savez(path, images=np.ones(3))
    assert differences(before, identify()) == [f"{path} has changed"]


def test_versions_count(identify: Callable[..., Identity]) -> None:
    versions = identify()["versions"]
    assert {"python", "torch", "numpy", "bits", "device", "threads", "optuna", "ray"} == set(versions)
    other = {**identify(), "versions": versions | {"torch": "1.0.0", "ray": "2.0.0"}}
    assert differences(identify(), other) == [
        f"ray: {versions['ray']}, now 2.0.0",
        f"torch: {versions['torch']}, now 1.0.0",
    ]


def test_a_name_in_use_is_refused_in_a_line(identify: Callable[..., Identity]) -> None:
    claim(Path("mine"), identify())
    kept = Path("mine/search.json").read_text()
    with Path("src/training/loop.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UserError) as refused:
        claim(Path("mine"), identify(epochs=7, samples=5, pooling="avg", dropout=0.5))
    assert str(refused.value) == (
        "--name: 'mine' is a search with other settings (--samples: 4, now 5; dropout: 0.1, now 0.5; "
        "epochs: 12, now 7; pooling: max, now avg and 1 more); expected the same settings or another name"
    )
    assert Path("mine/search.json").read_text() == kept
    # As an earlier version of this file may look.
    Path("mine/search.json").write_text(json.dumps({"params": {}, "samples": 4}))
    with pytest.raises(UserError, match="'mine' is a search with other settings"):
        claim(Path("mine"), identify())


def test_the_options_that_decide_the_trials_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", "--engine", "vectorized", "--seed", "3"])
    assert _decisive(arguments()) == {"samples": 20, "seed": 3, "engine": "vectorized", "at-once": 8}
