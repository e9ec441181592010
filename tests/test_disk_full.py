"""A disk that is really full: a tmpfs of a few kB, mounted over a folder of a clone for one `dvc repro`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Clone, output

# In a mount namespace of its own, which an ordinary user may have too: nothing is left mounted.
MOUNT = 'mount -t tmpfs -o size=16k tmpfs "$1" && shift && exec "$@"'


def on_a_full_disk(clone: Clone, folder: str, *command: str) -> subprocess.CompletedProcess[str]:
    (clone.path / folder).mkdir(parents=True, exist_ok=True)
    return clone.run(
        "unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", folder, *command, check=False
    )


@pytest.fixture(autouse=True)
def mounts(clone: Clone) -> None:
    result = on_a_full_disk(clone, "models", "true")
    if result.returncode:
        pytest.skip(f"no mount namespaces here: {result.stderr}")


@pytest.mark.parametrize(
    ("folder", "stage", "file"),
    [
        ("data/prepared", "prepare", "data/prepared/train.npz"),
        ("models", "train", "models/model.pt"),
        pytest.param(".dvc/tmp/checkpoints", "train", ".ckpt", marks=pytest.mark.slow),
        ("plots", "plot", "plots/samples_"),
    ],
)
def test_ends_with_one_line_and_the_next_run_with_room_is_right(
    clone: Clone, tmp_path: Path, folder: str, stage: str, file: str
) -> None:
    before = {name: (clone.path / name).read_bytes() for name in ("dvc.lock", "models/model.pt")}
    if folder == "plots":
        # Over the tables, too: the stage itself, on what the pipeline has left.
        script = 'cp -r plots "$0" && mount -t tmpfs -o size=100k tmpfs plots && cp "$0"/*.csv plots'
        command = ["sh", "-c", f"{script} && exec python -m stages.plot", str(tmp_path / "tables")]
        result = clone.run("unshare", "--map-root-user", "--mount", *command, check=False)
    else:
        result = on_a_full_disk(clone, folder, "dvc", "repro", "--force", "--single-item", stage)
    assert result.returncode != 0
    said = [line for line in output(result).splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert file in said[0]
    assert said[0].endswith("cannot be written: No space left on device")
    assert "Traceback" not in output(result)

    clone.dvc("repro")
    assert {name: (clone.path / name).read_bytes() for name in before} == before
    assert clone.git("status", "--porcelain") == ""
