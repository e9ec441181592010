"""What a `dvc.lock` says of the results of a run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from src.runtime.yaml_text import parse_yaml


def output_digests(lock: str, stages: Collection[str] = ()) -> dict[str, str]:
    """The MD5 of every output of some stages, or of all, by its path.

    Args:
        lock: the text of a `dvc.lock`.
        stages: their names; none for all.
    """
    parsed: Any = parse_yaml(lock)
    return {
        out["path"]: out["md5"]
        for name, stage in parsed["stages"].items()
        if not stages or name in stages
        for out in stage.get("outs", [])
    }
