"""Whether the results of a revision are of its parameters, and its predictions of its model."""

from __future__ import annotations

from typing import Any

from src.compare.provenance import LOCK, METRICS, MODEL, recorded_stages
from src.compare.revisions import Revision, read_parameters
from src.runtime.errors import UserError
from src.runtime.paths import PARAMS_FILE


def refuse_stale_results(revision: Revision, *, predictions: bool) -> None:
    """Raise a `UserError` where `params.yaml` was edited, or a model trained, without what follows from it.

    DVC writes down what each stage was run with. Trials of a search, and revisions with a damaged `dvc.lock`,
    are not checked.

    Args:
        revision: a commit, an experiment or the workspace.
        predictions: whether something is asked that `evaluate` writes, and not `train`.
    """
    # YAML and what it holds each raise their own; `read_provenance` says that it is damaged.
    try:
        recorded = _recorded(revision)
    except Exception:
        recorded = None
    if recorded is None:
        return
    parameters, trained_model, tested_model = recorded
    values = read_parameters(revision)
    if changed := [key for key, value in parameters.items() if values.get(key) != value]:
        words = ", ".join(f"{key} was {parameters[key]} and is {values.get(key)}" for key in changed)
        raise UserError(
            f"{revision.name}: the results are of other parameters than {PARAMS_FILE}: {words}; expected "
            f"{_remedy(revision)}"
        )
    if predictions and trained_model != tested_model:
        raise UserError(
            f"{revision.name}: the predictions are of another model than {MODEL}; "
            f"expected {_remedy(revision)}"
        )


def _remedy(revision: Revision) -> str:
    return "`dvc repro` before" if revision.commit is None else "a revision in which `dvc repro` has run"


def _recorded(revision: Revision) -> tuple[dict[str, Any], str, str] | None:
    """The parameters that results were made with, the MD5 of the model trained, and of that evaluated."""
    lock = revision.read(LOCK)
    stages = recorded_stages(lock, revision.read(METRICS)) if lock is not None else None
    if stages is None:
        return None
    prepare, train, evaluate = (stages[name] for name in ("prepare", "train", "evaluate"))
    trained = {out["path"]: out["md5"] for out in train["outs"]}
    evaluated = {dep["path"]: dep["md5"] for dep in evaluate["deps"]}
    parameters = prepare["params"][str(PARAMS_FILE)] | train["params"][str(PARAMS_FILE)]
    return parameters, trained[MODEL], evaluated[MODEL]
