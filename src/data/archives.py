"""Archives on disk: found, checked against their MD5, and downloaded where they are missing."""

from __future__ import annotations

import hashlib
import http.client
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from filelock import FileLock
from tqdm import tqdm

from src.runtime.errors import UserError, reason
from src.runtime.files import replacing

CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Archive:
    """A file by its name and the MD5 of its bytes, in hexadecimal."""

    name: str
    md5: str


class _MirrorError(Exception):
    pass


def ensure_archives(dataset: str, archives: Sequence[Archive], mirrors: Sequence[str], folder: Path) -> None:
    """Make sure that `folder` holds all `archives`, each with its MD5; download those that are missing.

    A folder that has them all is only read. Downloads go to a temporary name and are renamed when their
    MD5 is right; a lock lets one process download while others wait for it. A file that is already there
    with another MD5 is never used and never touched.

    Args:
        dataset: for messages.
        archives: what must be there.
        mirrors: base URLs, ending in `/`, tried in order for each archive.
        folder: where the archives are, or are to be put.

    Raises:
        UserError: a file has another MD5, or one is missing and cannot be downloaded.
    """
    present = [archive for archive in archives if (folder / archive.name).exists()]
    missing = [archive for archive in archives if archive not in present]
    for archive in present:
        _check(folder / archive.name, archive.md5)
    if not missing:
        return
    lock = FileLock(folder / ".download.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        failed = f"  {folder} cannot be written to: {error.strerror or error}"
    else:
        try:
            for archive in missing:
                if (folder / archive.name).exists():  # another process was faster
                    _check(folder / archive.name, archive.md5)
                else:
                    _download(archive, mirrors, folder)
            return
        except _MirrorError as failure:
            failed = str(failure)
        finally:
            lock.release()
    files = "\n".join(f"  {archive.name}" for archive in missing)
    raise UserError(
        f"{dataset}: {len(missing)} of its {len(archives)} files are missing and could not be downloaded:\n"
        f"{failed}\n"
        f"Put these files into {folder}\n{files}\n"
        "or name another data folder in LENET_DATA_ROOT; "
        "or use the embedded dataset, which needs no download: dataset: Digits"
    )


def _check(path: Path, md5: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise UserError(
            f"{path}: its MD5 is {found}, expected {md5} "
            f"({path.stat().st_size:,} bytes: damaged, cut short, or another file); "
            "remove it to have it downloaded, or put the original there"
        )


def _download(archive: Archive, mirrors: Sequence[str], folder: Path) -> None:
    failures = []
    for mirror in mirrors:
        url = mirror + archive.name
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with replacing(folder / archive.name) as unfinished, unfinished.open("wb") as file:
                for chunk in _chunks(url):
                    file.write(chunk)
                    digest.update(chunk)
                if digest.hexdigest() != archive.md5:
                    raise _MirrorError(f"{file.tell():,} bytes with another MD5 than the original's")
            return
        except _MirrorError as failure:
            failures.append(f"  {url}: {failure}")
    raise _MirrorError("\n".join(failures))


def _chunks(url: str) -> Iterator[bytes]:
    """The body at `url`, with a progress bar on a terminal and a plain line in a log."""
    interactive = sys.stderr.isatty()
    if not interactive:
        print(f"downloading {url}", file=sys.stderr, flush=True)
    request = Request(url, headers={"User-Agent": "pytorch/vision"})  # as torchvision names itself
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            announced = response.headers.get("Content-Length")
            total = int(announced) if announced else None
            received = 0
            bar = tqdm(
                desc=url.rpartition("/")[2],
                total=total,
                unit="B",
                unit_scale=True,
                disable=not interactive,
            )
            with bar:
                while chunk := response.read(CHUNK_BYTES):
                    received += len(chunk)
                    bar.update(len(chunk))
                    yield chunk
            if total is not None and received < total:
                raise _MirrorError(f"the connection ended after {received:,} of {total:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _MirrorError(reason(error)) from None
