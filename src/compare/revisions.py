"""What is read of a revision or of the workspace: predictions, parameters, what trained it."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd

from src.compare.provenance import Provenance, differing, read_provenance
from src.runtime.errors import UserError, reason
from src.runtime.paths import PARAMS_FILE, PREDICTIONS

WORKSPACE = "workspace"


def read_predictions(revision: str) -> pd.DataFrame:
    """`plots/predictions.csv` of a revision, or of the workspace.

    Raises:
        UserError: there is no such revision, or none of these predictions in it.
    """
    import dvc.api

    rev = None if revision == WORKSPACE else revision
    try:
        text = dvc.api.read(str(PREDICTIONS), rev=rev)
        table = pd.read_csv(io.StringIO(text), dtype={"actual": str, "predicted": str}, keep_default_na=False)
        return table[["index", "actual", "predicted"]]
    except Exception as error:  # dvc, git and pandas each raise their own
        raise UserError(f"{revision}: cannot read {PREDICTIONS} ({reason(error)})") from None


def differing_parameters(a: str, b: str) -> dict[str, tuple[Any, Any]]:
    """The keys of `params.yaml` whose values differ between two revisions, with both values."""
    import dvc.api

    return differing(
        *(
            dvc.api.params_show(str(PARAMS_FILE), rev=None if revision == WORKSPACE else revision)
            for revision in (a, b)
        )
    )


def provenance(revision: str) -> Provenance:
    """What trained a revision; for the workspace what trained the model that lies there."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)

    def read(path: str) -> bytes | None:
        try:
            return files.read_bytes(path)
        except FileNotFoundError:
            return None

    return read_provenance(read)
