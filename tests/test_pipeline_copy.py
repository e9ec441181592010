"""The copy of the pipeline that a machine of a cluster runs."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from dvc.config import Config

from src.experiments.lock import output_digests
from src.sweep.pipeline_copy import Shipment, _environment, _unpack


def test_it_computes_and_reads_as_the_machine_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dropped = ("PYTHONPATH", "LENET_THREADS", "TRACKERS")
    for name in dropped:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LENET_DATA_ROOT", "images")
    found = _environment()
    assert not found.keys() & {*dropped}
    assert (found["LENET_DATA_ROOT"], found["LENET_DEVICE"]) == (str(tmp_path / "images"), "cpu")


def test_the_outputs_are_those_of_the_stages_that_run() -> None:
    lock = "stages: {a: {outs: [{path: x, md5: '1'}, {path: y, md5: '2'}]}, b: {outs: [{path: z, md5: '3'}]}}"
    assert output_digests(lock, ["a"]) == {"x": "1", "y": "2"}
    assert output_digests(lock) == {"x": "1", "y": "2", "z": "3"}


@pytest.mark.parametrize("name", ["plain", "a,b", "C#"])
def test_dvc_finds_the_cache_whatever_its_path(tmp_path: Path, name: str) -> None:
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as tar:
        folder = tarfile.TarInfo(".dvc")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
    _unpack(Shipment(tree.getvalue(), "", {}), "lr: 0.1", tmp_path, tmp_path / name)
    assert Config(str(tmp_path / ".dvc"))["cache"]["dir"] == str(tmp_path / name)
