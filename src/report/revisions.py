"""What a revision holds: read from git's objects, or from the workspace as it lies there.

Nothing is checked out, computed or changed.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from src.compare.provenance import Provenance, read_provenance
from src.compare.revisions import WORKSPACE
from src.runtime import paths
from src.runtime.errors import UserError, reason
from src.runtime.paths import PARAMS_FILE
from src.runtime.yaml_text import parse_yaml

if TYPE_CHECKING:
    from dvc.repo import Repo

HISTORY, CONFUSION, PREDICTIONS = str(paths.HISTORY), str(paths.CONFUSION), str(paths.PREDICTIONS)
ENVIRONMENT = str(paths.ENVIRONMENT)
METRICS = (str(paths.TRAIN_METRICS), str(paths.TEST_METRICS))
ABSENT = "not in this revision"
PNG = b"\x89PNG\r\n\x1a\n"

# Class names are text, also where they are digits.
COLUMNS: dict[str, dict[str, type]] = {
    HISTORY: {
        "epoch": int,
        "lr": float,
        "train_loss": float,
        "val_loss": float,
        "train_accuracy": float,
        "val_accuracy": float,
    },
    CONFUSION: {"actual": str, "predicted": str, "count": int},
    PREDICTIONS: {"index": int, "actual": str, "predicted": str},
}

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Revision:
    """A commit, or the workspace.

    Attributes:
        name: as it was asked for.
        commit: in full; None for the workspace.
    """

    name: str
    commit: str | None

    def read(self, path: str) -> bytes | None:
        """A file's content, None where there is none."""
        if self.commit is not None:
            return git("show", f"{self.commit}:./{path}")
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None

    def files(self, folder: str, suffix: str) -> list[str]:
        """The paths of a folder's files that end in `suffix`, sorted; hidden ones are left out."""
        if self.commit is None:
            paths = [path.as_posix() for path in Path(folder).glob(f"[!.]*{suffix}")]
        else:
            listed = git("ls-tree", "-z", "--name-only", self.commit, f"{folder}/") or b""
            paths = [path for path in listed.decode().split("\0") if path.endswith(suffix)]
        return sorted(paths)


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml`.

    Attributes:
        after: the stages whose outputs it reads.
        parameters: the keys of `params.yaml` it reads.
        outputs: the files it writes.
    """

    name: str
    description: str
    command: str
    after: tuple[str, ...]
    parameters: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """What a report needs of a revision.

    Attributes:
        date, subject: of the commit; empty for the workspace.
        parameters: what `params.yaml` holds.
        metrics: for each file of `metrics/` its values, nested keys joined by dots.
        tables: by path, with the columns of `COLUMNS`.
        pictures: by path, PNG.
        stages: in an order in which they can run.
        provenance: what trained it.
        problems: for each file that is missing or damaged, by path, what is wrong with it.
    """

    revision: Revision
    date: str
    subject: str
    parameters: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    tables: dict[str, pd.DataFrame]
    pictures: dict[str, bytes]
    stages: tuple[Stage, ...]
    provenance: Provenance
    problems: dict[str, str]

    @property
    def name(self) -> str:
        return self.revision.name


def git(*arguments: str) -> bytes | None:
    """What a git command prints that only reads; None where it fails."""
    # Without the option `git status` would write to the index.
    result = subprocess.run(("git", "--no-optional-locks", *arguments), capture_output=True)
    return result.stdout if result.returncode == 0 else None


def resolve(repo: Repo, name: str) -> Revision:
    """Find a revision by its name, as DVC does.

    Raises:
        UserError: there is none, more than one, or what is found is no commit.
    """
    from dvc.scm import resolve_rev

    if name == WORKSPACE:
        return Revision(name, None)
    try:
        found = resolve_rev(repo.scm, name) if name else ""
        why = "no commit"
    except Exception as error:  # dvc, scmrepo and pygit2 each raise their own
        found, why = "", reason(error)
    # Trees and files have names, too.
    commit = git("rev-parse", "--verify", "--quiet", f"{found}^{{commit}}") if found else None
    if commit is None:
        raise UserError(
            f"{name!r} is invalid ({why}); "
            f"expected {WORKSPACE}, a commit, a branch, a tag or the name of an experiment"
        )
    return Revision(name, commit.decode().strip())


def load(repo: Repo, revision: Revision) -> Snapshot:
    """Read what a report needs; what is missing or damaged is noted, not raised."""
    problems: dict[str, str] = {}

    def read(path: str, parse: Callable[[bytes], Parsed]) -> dict[str, Parsed]:
        content = revision.read(path)
        if content is None:
            problems[path] = ABSENT
            return {}
        try:
            return {path: parse(content)}
        except Exception as error:  # YAML, JSON, pandas and DVC each raise their own
            # DVC names files by where they lie, which is nobody's business.
            problems[path] = f"cannot be read: {reason(error).replace(f'{Path.cwd()}/', '')}"
            return {}

    metrics: dict[str, Any] = {}
    tables: dict[str, pd.DataFrame] = {}
    pictures: dict[str, Any] = {}
    for path in dict.fromkeys([*METRICS, *revision.files("metrics", ".json")]):
        if path == ENVIRONMENT:  # no metric: it is part of `provenance`
            continue
        metrics |= read(path, lambda content: flat(json.loads(content)))
    for path, columns in COLUMNS.items():
        tables |= read(path, partial(parse_table, columns=columns))
    for path in revision.files("plots", ".png"):
        pictures |= read(path, _checked_png)
    stages = read("dvc.yaml", lambda _: read_stages(repo, revision)).get("dvc.yaml", ())
    date, subject = "", ""
    if revision.commit is not None:
        told = git("show", "--no-patch", "--format=%cs%x00%s", revision.commit) or b"\0"
        date, subject = told.decode(errors="replace").strip().split("\0", 1)
    parameters = read(str(PARAMS_FILE), parse_parameters).get(str(PARAMS_FILE), {})
    provenance = read_provenance(revision.read)
    return Snapshot(
        revision, date, subject, parameters, metrics, tables, pictures, stages, provenance, problems
    )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"macro": {"f1": 1}}` → `{"macro.f1": 1}`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def parse_table(content: bytes, columns: dict[str, type]) -> pd.DataFrame:
    """Read these columns of a CSV file.

    Raises:
        ValueError, KeyError: one is missing, or holds something else; there are no rows.
    """
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    if table.empty:
        raise ValueError("no rows")
    return table[list(columns)].astype(columns)


def parse_parameters(content: bytes) -> dict[str, Any]:
    """Read `params.yaml`, as DVC reads it, without asking whether its values are accepted today."""
    values = parse_yaml(content.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"expected `key: value` lines, found {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _checked_png(content: bytes) -> bytes:
    if not content.startswith(PNG) or len(content) < 24:
        raise ValueError("not a PNG file")
    return content


def read_stages(repo: Repo, revision: Revision) -> tuple[Stage, ...]:
    """The stages of a revision's `dvc.yaml`; those of the studies are left out."""
    from dvc.dependency import ParamsDependency
    from dvc.repo.index import Index

    with repo.switch(revision.commit or WORKSPACE):
        graph = Index.from_file(repo, repo.fs.join(repo.root_dir, "dvc.yaml")).graph
        stages = TopologicalSorter({stage: list(graph.successors(stage)) for stage in graph}).static_order()
        return tuple(
            Stage(
                name=stage.name,
                description=stage.desc or "",
                command=" && ".join(stage.cmd) if isinstance(stage.cmd, list) else stage.cmd,
                after=tuple(other.name for other in graph.successors(stage)),
                parameters=tuple(
                    key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params
                ),
                outputs=tuple(out.def_path for out in stage.outs),
            )
            for stage in stages
        )
