"""The repository as of its last commit: its results, and what they were made of.

Tests of results look here and not at the workspace, where a parameter may have been edited, an experiment
applied or the pipeline run anew: none of that makes what is committed wrong.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path, PurePath
from typing import Any

from ruamel.yaml import YAML

from src.params import Params
from studies.benchmark.recipes import code_digest, code_files

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def files() -> dict[str, bytes]:
    """Every file of the commit HEAD, by its path."""
    command = ("git", "archive", "--format=tar", "HEAD")
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        contents = {member.name: tar.extractfile(member) for member in tar}
        return {name: content.read() for name, content in contents.items() if content is not None}


def text(name: str) -> str:
    return files()[name].decode()


def yaml(name: str) -> Any:  # noqa: ANN401
    return YAML(typ="safe").load(text(name))


def md5(path: str) -> str | None:
    """The MD5 of a file or a folder, as DVC computes it; None for what is not committed."""
    if path in files():
        return hashlib.md5(files()[path]).hexdigest()
    inside = sorted(name for name in files() if name.startswith(f"{path}/"))
    listed = [{"md5": md5(name), "relpath": name.removeprefix(f"{path}/")} for name in inside]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir" if inside else None


def params_text() -> str:
    """The committed params.yaml; a parameter that only the workspace's code has comes from the workspace."""
    lines = text("params.yaml").splitlines()
    known = {_key(line) for line in lines}
    if Params.model_fields.keys() - known:
        here = (ROOT / "params.yaml").read_text().splitlines()
        lines += [line for line in here if _key(line) not in known]
    return "\n".join(line for line in lines if _key(line) in (None, *Params.model_fields)) + "\n"


def params() -> dict[str, Any]:
    """What `params_text` holds."""
    return YAML(typ="safe").load(params_text())


def _key(line: str) -> str | None:
    found = re.match(r"(\w+):", line)
    return found and found[1]


def is_of_a_run(name: str) -> bool:
    """Whether a file is what users set for their runs, or what their runs write: no part of the code."""
    path = PurePath(name)
    return (
        name in ("params.yaml", "search_space.yaml")
        or path.name == "dvc.lock"
        or path.parts[0] in ("metrics", "plots")
        or (path.parts[:2] == ("data", "own") and len(path.parts) > 3)  # a user's images
        or (path.parts[0] == "studies" and path.suffix not in (".py", ".yaml"))
    )


def studies() -> list[str]:
    """The studies whose results are committed."""
    return sorted(name.split("/")[1] for name in files() if re.fullmatch(r"studies/\w+/dvc.lock", name))


def outdated_studies() -> list[str]:
    """Those made with other code, other parameters, other data or another model than what is committed."""
    return [name for name in studies() if _is_outdated(f"studies/{name}")]


def _is_outdated(folder: str) -> bool:
    pipeline, lock = (yaml(f"{folder}/{file}")["stages"] for file in ("dvc.yaml", "dvc.lock"))
    made = {
        out["path"]: out["md5"]
        for stage in yaml("dvc.lock")["stages"].values()
        for out in stage.get("outs", [])
    }
    for name, locked in lock.items():
        stage, found = pipeline.get(name.split("@")[0]), {dep["path"]: dep["md5"] for dep in locked["deps"]}
        if stage is None:
            return True
        # Dependencies may hold placeholders; the lock names each of them.
        declared = found if "${" in str(stage) else stage["deps"]
        if name == "recipes":
            if not _recipes_are_of(declared):
                return True
        elif any(found.get(path) != (made.get(path) or md5(path)) for path in declared):
            return True
        for file, values in locked.get("params", {}).items():
            committed = yaml(file)
            if any(committed.get(key) != value for key, value in values.items()):
                return True
    return False


def _recipes_are_of(deps: list[str]) -> bool:
    """Whether the recipes of the benchmark were written for code that does what the committed code does."""
    recipes = [json.loads(text(name)) for name in files() if name.startswith("studies/benchmark/recipes/")]
    code = code_digest(files()[name] for name in code_files(deps, files()))
    return all(recipe["code"] == code for recipe in recipes)
