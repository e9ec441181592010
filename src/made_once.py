"""Files that several experiments want at the same moment: made by one of them, copied by the others."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.files import replacing, write_text


def made_once(files: Sequence[Path], decides: dict[str, Any], folder: Path, make: Callable[[], None]) -> bool:
    """Call `make`, unless another process has just made the same files in another workspace.

    DVC restores what a finished experiment has made, but it cannot know what one that still runs is making.

    Args:
        files: what `make` writes, relative to the current directory.
        decides: all that the files' content depends on, but for the code in `src` and `stages`; of JSON's
            types.
        folder: of locks and of notes where the files are, the same for all workspaces.
        make: writes the files.

    Returns:
        Whether they were made here; else they are copies of the other's, of the same SHA-256.
    """
    code = [
        [str(path), path.read_text()] for place in ("src", "stages") for path in Path(place).rglob("*.py")
    ]
    key = hashlib.sha256(json.dumps([decides, sorted(code)], sort_keys=True).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{key}.json"
    lock = FileLock(folder / f"{key}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print("another experiment makes the same files; waiting", file=sys.stderr, flush=True)
        held = lock.acquire()
    with held:
        if _copied(files, note):
            return False
        make()
        digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        write_text(note, json.dumps({"workspace": str(Path.cwd()), "sha256": digests}, indent=2) + "\n")
    return True


def _copied(files: Sequence[Path], note: Path) -> bool:
    try:
        known = json.loads(note.read_text())
        contents = [Path(known["workspace"], path).read_bytes() for path in files]
    except FileNotFoundError:  # nobody has made them, or their workspace is gone: DVC has them then
        return False
    digests = [known["sha256"][str(path)] for path in files]
    if [hashlib.sha256(content).hexdigest() for content in contents] != digests:
        return False
    for path, content in zip(files, contents, strict=True):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return True
