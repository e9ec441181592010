"""The pipeline in a temporary copy, on whatever machine: what goes there, and what comes back.

No more than git tracks and the prepared images go there; neither the repository nor a shared disk is needed.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from src.data.torchvision_archives import ROOT_VARIABLE, data_root
from src.experiments.lock import output_digests
from src.runtime.devices import DEVICE_VARIABLE, THREADS_VARIABLE
from src.runtime.errors import UserError
from src.runtime.files import replacing
from src.runtime.paths import LOCK_FILE, OWN_DATA, PARAMS_FILE
from src.runtime.processor import PINNED
from src.tracking import trackers

# Where a DVC cache keeps a file, by its MD5.
CACHE = Path(".dvc/cache")
PREPARING = ("validate", "prepare")
# The copy is not in a git repository.
SETTINGS = "[core]\n    no_scm = true\n"


@dataclass(frozen=True)
class Shipment:
    """What the pipeline needs in another place.

    Attributes:
        tree: a tar archive of all files that git tracks, and of images of the user's own.
        lock: `dvc.lock`, with what has been prepared.
        objects: what DVC's cache holds of that, by MD5.
    """

    tree: bytes
    lock: str
    objects: dict[str, bytes]


@dataclass(frozen=True)
class Results:
    """What a run of the pipeline leaves.

    Attributes:
        lock: `dvc.lock`.
        outputs: what its stages wrote, by path, but for what was in the shipment.
        failure: the log of a run that failed; then there is nothing else.
    """

    lock: str = ""
    outputs: dict[str, bytes] | None = None
    failure: str = ""


def pack(tree: str, lock: str, own_datasets: Iterable[str]) -> Shipment:
    """The shipment of a git tree, without prepared images.

    Args:
        tree: name of the git tree.
        lock: `dvc.lock`.
        own_datasets: datasets of the user's own that are needed, in git or not.
    """
    packed = subprocess.run(("git", "archive", "--format=tar", tree), capture_output=True, check=True)
    archive = io.BytesIO(packed.stdout)
    with tarfile.open(fileobj=archive, mode="a") as tar:
        for name in own_datasets:
            tar.add(OWN_DATA / name)
    return Shipment(archive.getvalue(), lock, {})


def with_prepared(shipment: Shipment, params: str, cache: Path) -> Shipment:
    """The shipment with the images that some parameters ask for, prepared here.

    Args:
        shipment: see `pack`.
        params: a `params.yaml`.
        cache: DVC's cache on this machine, where they may already be.

    Raises:
        UserError: they cannot be prepared; with the reason.
    """
    results = run_pipeline(shipment, params, PREPARING, cache)
    if results.outputs is None:
        print(results.failure, file=sys.stderr)
        raise UserError("the images could not be prepared, see above")
    digests = output_digests(results.lock, PREPARING)
    objects = {md5: results.outputs[path] for path, md5 in digests.items()}
    return replace(shipment, lock=results.lock, objects=objects)


def run_pipeline(
    shipment: Shipment, params: str, stages: Sequence[str] = (), cache: Path | None = None
) -> Results:
    """Run the pipeline in a temporary folder, on one thread, with DVC as everywhere.

    Args:
        shipment: code, `dvc.lock` and prepared images.
        params: the `params.yaml` to run with.
        stages: which to run; none for all.
        cache: DVC's cache to use; by default one of its own, which ends with the folder.
    """
    with tempfile.TemporaryDirectory(prefix="experiment-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        _unpack(shipment, params, folder, cache)
        ran = subprocess.run(
            (sys.executable, "-m", "dvc", "repro", *stages),
            cwd=folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if ran.returncode:
            return Results(failure=ran.stdout)
        lock = (folder / LOCK_FILE).read_text(encoding="utf-8")
        digests = output_digests(lock, stages)
        new = [path for path, md5 in digests.items() if md5 not in shipment.objects]
        return Results(lock, {path: (folder / path).read_bytes() for path in new})


def _unpack(shipment: Shipment, params: str, folder: Path, cache: Path | None) -> None:
    with tarfile.open(fileobj=io.BytesIO(shipment.tree)) as tar:
        # Before Python 3.11.4 there are no filters, nor the argument that names one.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    (folder / PARAMS_FILE).write_text(params, encoding="utf-8")
    (folder / LOCK_FILE).write_text(shipment.lock, encoding="utf-8")
    settings = SETTINGS if cache is None else f'{SETTINGS}[cache]\n    dir = "{cache}"\n'
    (folder / ".dvc/config.local").write_text(settings, encoding="utf-8")
    for content in shipment.objects.values():
        store(content, folder / CACHE)


def store(content: bytes, cache: Path) -> str:
    """Put a file into a DVC cache, whole or not at all; return its MD5."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    place = cache / "files/md5" / md5[:2] / md5[2:]
    if not place.exists():
        with replacing(place) as part:
            part.write_bytes(content)
            part.chmod(0o444)  # as DVC protects what it keeps
    return md5


def _environment() -> dict[str, str]:
    """That of this process, for programs of this environment, on one CPU thread, logging nowhere else."""
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join((programs, os.environ.get("PATH", os.defpath)))
    # Ray names the folder of the code that it was handed, and sets the pins; the copy does both by itself.
    dropped = ("PYTHONPATH", THREADS_VARIABLE, trackers.VARIABLE, *PINNED)
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    if ROOT_VARIABLE in kept:
        kept[ROOT_VARIABLE] = str(data_root().resolve())
    return kept | {"PATH": path, DEVICE_VARIABLE: "cpu"}
