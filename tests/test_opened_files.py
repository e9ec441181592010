"""What stages really open, watched while they run, whatever their `deps:` say."""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

from src.runtime import paths
from tests.conftest import Clone
from tests.watching import Watched, run_watched

TEST_SPLIT = str(paths.TEST_SPLIT)
# Made of the test split by `evaluate`: nothing that chooses may look at them either.
OF_THE_TEST_SPLIT = {TEST_SPLIT, *map(str, (paths.EXAMPLES, paths.TEST_METRICS, paths.PREDICTIONS))}
OF_THE_TEST_SPLIT |= {str(path) for path in (paths.CONFUSION, paths.PER_CLASS, paths.CALIBRATION)}


def test_only_evaluate_opens_the_test_split(watched_repro: tuple[Clone, Watched]) -> None:
    _, watched = watched_repro
    stages = {
        name: read for name, read in watched.read.items() if name in ("prepare", "train", "evaluate", "plot")
    }
    assert {name for name, read in stages.items() if TEST_SPLIT in read} == {"evaluate"}
    assert {name for name, read in stages.items() if read & OF_THE_TEST_SPLIT} == {"evaluate", "plot"}


def test_stages_read_nothing_that_dvc_does_not_know_of(watched_repro: tuple[Clone, Watched]) -> None:
    clone, watched = watched_repro
    for name, stage in YAML(typ="safe").load(clone.read("dvc.yaml"))["stages"].items():
        params = {str(paths.PARAMS_FILE)} if "params" in stage else set()
        declared = [*stage.get("outs", []), *stage.get("metrics", [])]
        own = {entry if isinstance(entry, str) else next(iter(entry)) for entry in declared}
        # Digits are built in, and what `validate` leaves only says that the parameters are valid.
        data = {path for path in stage["deps"] if not path.startswith("src")}
        data -= {"data/own/${dataset}", str(paths.VALIDATED)}
        # In dvc.yaml a stage finds what a person may edit while it runs; no result depends on it.
        read = watched.read[name] - {str(paths.PIPELINE_FILE), *map(temporary, own)}
        assert read <= data | params | own, name
        # All that is declared is really read: what is not would make DVC run a stage for nothing.
        assert data - {f"stages/{name}.py"} <= watched.read[name], name


def temporary(path: str) -> str:
    """The name under which a file is written before it is renamed."""
    return str(Path(path).with_name(f".{Path(path).stem}.part{Path(path).suffix}"))


def test_cross_validation_does_not_open_the_test_split(clone: Clone, tmp_path: Path) -> None:
    """Of the other studies, see test_export.py."""
    clone.set_params(folds=2, epochs=1)
    module = "studies.crossval.measure"
    watched = run_watched(clone, tmp_path / "watch", sys.executable, "-m", module)
    read = watched.read[f"-m {module}"]
    assert not read & OF_THE_TEST_SPLIT
    assert {str(paths.TRAIN_SPLIT), str(paths.VAL_SPLIT)} <= read
