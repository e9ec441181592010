"""What a revision holds: read from git's objects, or from the workspace as it lies there.

Nothing is checked out, computed or changed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from src.compare.groups import Group, group_provenance, read_runs
from src.compare.provenance import Provenance, model_md5
from src.compare.revisions import WORKSPACE, Revision, parse_parameters, read_git, read_training
from src.compare.values import flat, is_number
from src.evaluation.ranking import DECIMALS
from src.runtime import paths
from src.runtime.errors import reason
from src.runtime.paths import PARAMS_FILE

if TYPE_CHECKING:
    from dvc.repo import Repo

HISTORY, CONFUSION = str(paths.HISTORY), str(paths.CONFUSION)
ENVIRONMENT, EXPORT = str(paths.ENVIRONMENT), str(paths.EXPORT_METRICS)
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
}

Parsed = TypeVar("Parsed")


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
    """What a report needs of a revision, or of a group of experiments that differ in their seed.

    Attributes:
        date, subject: of the commit; empty for the workspace. The subject of a group lists its experiments.
        parameters: what `params.yaml` holds.
        metrics: for each file of `metrics/` its values, nested keys joined by dots.
        tables: by path, with the columns of `COLUMNS`; see `range_of_histories` for those of a group.
        pictures: by path, PNG.
        stages: in an order in which they can run.
        provenance: what trained it.
        problems: for each file that is missing or damaged, by path, what is wrong with it.
        deviations: of a group, the sample deviations of `metrics`.
        group: None for a revision.
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
    deviations: dict[str, dict[str, Any]] = field(default_factory=dict)
    group: Group | None = None

    @property
    def name(self) -> str:
        return self.revision.name


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
            # Messages of DVC hold absolute paths, which do not belong in a report.
            problems[path] = f"cannot be read: {reason(error).replace(f'{Path.cwd()}/', '')}"
            return {}

    metrics: dict[str, Any] = {}
    tables: dict[str, pd.DataFrame] = {}
    pictures: dict[str, Any] = {}
    for path in dict.fromkeys([*METRICS, *revision.files("metrics", ".json")]):
        if path != ENVIRONMENT:  # no metric: it is part of `provenance`
            metrics |= read(path, lambda content: flat(json.loads(content)))
    _drop_other_export(metrics, problems, revision)
    for path, columns in COLUMNS.items():
        tables |= read(path, partial(parse_table, columns=columns))
    for path in revision.files("plots", ".png"):
        pictures |= read(path, _checked_png)
    stages = read("dvc.yaml", lambda _: read_stages(repo, revision)).get("dvc.yaml", ())
    parameters = read(str(PARAMS_FILE), parse_parameters).get(str(PARAMS_FILE), {})
    date, subject = _commit(revision)
    return Snapshot(
        revision,
        date,
        subject,
        parameters,
        metrics,
        tables,
        pictures,
        stages,
        read_training(revision),
        problems,
    )


def _commit(revision: Revision) -> tuple[str, str]:
    """Date and subject of a commit; empty for the workspace."""
    if revision.commit is None:
        return "", ""
    described = read_git("show", "--no-patch", "--format=%cs%x00%s", revision.commit) or b"\0"
    date, subject = described.decode(errors="replace").strip().split("\0", 1)
    return date, subject


def _drop_other_export(
    metrics: dict[str, dict[str, Any]], problems: dict[str, str], revision: Revision
) -> None:
    """Leave out what the export measured, unless it was of this revision's model.

    The file stays in git until the next export, whatever is trained in between.
    """
    exported = metrics.get(EXPORT, {}).pop("model_md5", None)
    if EXPORT in metrics and (exported is None or exported != model_md5(revision.read)):
        del metrics[EXPORT]
        problems[EXPORT] = "of another model"


def load_group(repo: Repo, group: Group) -> Snapshot:
    """What a report needs of a group: means over its experiments, and the range of their histories.

    Raises:
        UserError: an experiment has no results, or those of other parameters than its own.
    """
    read_runs(group)
    members = [load(repo, experiment) for experiment in group.experiments.values()]
    problems = dict(item for member in members for item in member.problems.items())
    first = members[0]
    histories = [member.tables[HISTORY] for member in members if HISTORY in member.tables]
    names = ", ".join(experiment.name for experiment in group.experiments.values())
    means, deviations = _metrics_of_all(members)
    return Snapshot(
        Revision(group.name, None),
        date="",
        subject=f"mean of {len(members)} experiments: {names}",
        parameters=first.parameters | {"seed": ", ".join(map(str, group.experiments))},
        metrics=means,
        tables={HISTORY: range_of_histories(histories)} if len(histories) == len(members) else {},
        pictures={},
        stages=first.stages if all(member.stages == first.stages for member in members) else (),
        provenance=group_provenance(group),
        problems=problems,
        deviations=deviations,
        group=group,
    )


def _metrics_of_all(members: list[Snapshot]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean and sample deviation of every number that all of these revisions have, without rounding noise."""
    means: dict[str, dict[str, Any]] = {}
    deviations: dict[str, dict[str, Any]] = {}
    for path in members[0].metrics:
        for key in members[0].metrics[path]:
            found = (member.metrics.get(path, {}).get(key) for member in members)
            values = [float(value) for value in found if is_number(value)]
            if len(values) == len(members):
                means.setdefault(path, {})[key] = round(float(np.mean(values)), DECIMALS)
                if len(values) > 1:
                    deviations.setdefault(path, {})[key] = round(float(np.std(values, ddof=1)), DECIMALS)
    return means, deviations


def range_of_histories(histories: list[pd.DataFrame]) -> pd.DataFrame:
    """The mean of several histories, with the lowest and the highest value of each number.

    Returns:
        As `plots/history.csv`, for the epochs that all of them reached, and columns `…_low` and `…_high`.
    """
    joined = pd.concat(histories).groupby("epoch")
    of_all = joined.size() == len(histories)
    mean, low, high = (getattr(joined, name)()[of_all] for name in ("mean", "min", "max"))
    ends = [low.add_suffix("_low"), high.add_suffix("_high")]
    return pd.concat([mean, *ends], axis="columns").reset_index()


def parse_table(content: bytes, columns: dict[str, type]) -> pd.DataFrame:
    """Read these columns of a CSV file.

    Raises:
        ValueError, KeyError: one is missing, or holds something else; there are no rows.
    """
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    if table.empty:
        raise ValueError("no rows")
    return table[list(columns)].astype(columns)


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
