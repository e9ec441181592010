"""Whether the results of a revision are of its parameters, and its predictions those of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from src.compare.provenance import LOCK, METRICS, MODEL, content_md5, recorded_stages
from src.compare.revisions import Revision, read_parameters
from src.runtime.errors import UserError
from src.runtime.paths import PARAMS_FILE


class _Recorded(NamedTuple):
    """The parameters that results were made with, and the MD5 of the model trained, of that evaluated, and of
    each file that `evaluate` wrote, by its path."""

    parameters: dict[str, Any]
    trained_model: str
    tested_model: str
    evaluated: dict[str, str]


def refuse_stale_results(revision: Revision, evaluated: Path | None) -> None:
    """Raise a `UserError` where `params.yaml` was edited, a model trained, or a file replaced that `evaluate`
    wrote, without what follows from it; and where that cannot be found out, since `dvc.lock` is damaged.

    DVC writes down there what each stage was run with. Trials of a search, and revisions without `dvc.lock`,
    are not checked.

    Args:
        revision: a commit, an experiment or the workspace.
        evaluated: the file that is asked for, of those that `evaluate` writes; None where `train` writes it.
    """
    recorded = _recorded(revision)
    if recorded is None:
        return
    values = read_parameters(revision)
    if changed := [key for key, value in recorded.parameters.items() if values.get(key) != value]:
        words = ", ".join(f"{key} was {recorded.parameters[key]} and is {values.get(key)}" for key in changed)
        raise UserError(
            f"{revision.name}: the results are of other parameters than {PARAMS_FILE}: {words}; expected "
            f"{_remedy(revision)}"
        )
    if evaluated is None:
        return
    if recorded.trained_model != recorded.tested_model:
        raise UserError(
            f"{revision.name}: the predictions are of another model than {MODEL}; "
            f"expected {_remedy(revision)}"
        )
    content, md5 = revision.read(str(evaluated)), recorded.evaluated.get(str(evaluated))
    if content is not None and md5 is not None and content_md5(content) != md5:
        raise UserError(
            f"{revision.name}: {evaluated} is not as `evaluate` wrote it; expected {_remedy(revision)}"
        )


def _remedy(revision: Revision) -> str:
    return "`dvc repro` before" if revision.commit is None else "a revision in which `dvc repro` has run"


def _remedy_of_lock(revision: Revision, lock: bytes) -> str:
    if revision.commit is not None:
        return _remedy(revision)
    if b"<<<<<<<" in lock:  # git's mark of a conflict
        return "resolved conflicts, then `dvc repro`"
    return f"`git checkout {LOCK}`, then `dvc repro`"


def _recorded(revision: Revision) -> _Recorded | None:
    """What `dvc.lock` says of a revision's results; None where it is not of them, or says less.

    Raises:
        UserError: it is damaged.
    """
    lock = revision.read(LOCK)
    if lock is None:
        return None
    try:
        stages = recorded_stages(lock, revision.read(METRICS))
    except Exception:  # YAML and what it holds each raise their own
        raise UserError(
            f"{revision.name}: {LOCK} is damaged; expected {_remedy_of_lock(revision, lock)}"
        ) from None
    if stages is None:
        return None
    try:
        prepare, train, evaluate = (stages[name] for name in ("prepare", "train", "evaluate"))
        trained = {out["path"]: out["md5"] for out in train["outs"]}
        tested = {dep["path"]: dep["md5"] for dep in evaluate["deps"]}
        evaluated = {out["path"]: out["md5"] for out in evaluate["outs"]}
        parameters = prepare["params"][str(PARAMS_FILE)] | train["params"][str(PARAMS_FILE)]
        return _Recorded(parameters, trained[MODEL], tested[MODEL], evaluated)
    except (KeyError, TypeError):  # such as after `dvc repro train`, before anything was evaluated
        return None
