"""What decides the trials of a search. A search resumes only where all of it is as it was."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from src.runtime.devices import environment
from src.runtime.digests import code_digests, file_digests, stage_dependencies
from src.runtime.errors import UserError
from src.runtime.files import read_json, write_text
from src.runtime.paths import PIPELINE_FILE, TRAIN_SPLIT, VAL_SPLIT
from src.tune.search_space import Domain

# By group: the words for a difference, with the key and the old and the new value.
WORDS = {
    "search": "--{key}: {old}, now {new}",
    "parameters": "{key}: {old}, now {new}",
    "space": "{key} in the search space: {old}, now {new}",
    "versions": "{key}: {old}, now {new}",
    "data": "{key} has changed",
    "code": "{key} has changed",
}
MAX_SHOWN = 4

Identity = dict[str, dict[str, Any]]


def search_identity(
    base: dict[str, Any],
    space: dict[str, Domain],
    search: dict[str, Any],
    *,
    device: torch.device,
    threads: int,
    packages: list[str],
) -> Identity:
    """All that decides the trials of a search, in JSON's types.

    Args:
        base: all parameters; only those that are not searched count.
        space: those that are.
        search: the options of the search, by their names on the command line.
        device, threads: on which each training computes.
        packages: what proposes and runs the trials, besides what trains them.
    """
    versions = environment(device) | {"threads": threads} | {name: version(name) for name in packages}
    return {
        "search": search,
        "parameters": {key: value for key, value in base.items() if key not in space},
        "space": {key: {domain.kind: list(domain.values)} for key, domain in space.items()},
        "versions": versions,
        "data": file_digests([TRAIN_SPLIT, VAL_SPLIT]),
        "code": search_code(),
    }


def search_code() -> dict[str, str]:
    """The SHA-256 of every file of code that trains or chooses a trial, by its path."""
    return code_digests([*stage_dependencies(PIPELINE_FILE, "train"), Path("src/tune")])


def short_digest(identity: Identity) -> str:
    """Six hexadecimal digits that name a search."""
    return hashlib.sha256(_text(identity).encode()).hexdigest()[:6]


def claim(folder: Path, identity: Identity) -> None:
    """Make the folder of a search, or find that it is of the same search.

    Raises:
        UserError: it is of another one; says what differs.
    """
    file = folder / "search.json"
    if file.exists():
        found = differences(read_json(file, f"delete {folder} to search anew"), json.loads(_text(identity)))
        if found:
            raise UserError(
                f"--name: {folder.name!r} is a search with other settings "
                f"({shortened(found, '; ')}); expected the same settings or another name"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, _text(identity))


def shortened(words: list[str], separator: str) -> str:
    """The first of some words, and how many more there are."""
    more = f" and {len(words) - MAX_SHOWN} more" if len(words) > MAX_SHOWN else ""
    return separator.join(words[:MAX_SHOWN]) + more


def differences(before: Identity, now: Identity) -> list[str]:
    """What differs between two searches, in words."""
    found = []
    for group, words in WORDS.items():
        old, new = before.get(group, {}), now.get(group, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                found.append(words.format(key=key, old=_word(old.get(key)), new=_word(new.get(key))))
    return found


def _word(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _text(identity: Identity) -> str:
    return json.dumps(identity, indent=2, sort_keys=True) + "\n"
