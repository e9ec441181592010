"""When a search may stop a trial that falls behind."""

from __future__ import annotations

from typing import Any

from src.training.optimization import ONECYCLE_RISE
from src.tune.search_space import Domain, possible_values


def grace_epochs(base: dict[str, Any], space: dict[str, Domain]) -> int | None:
    """After how many epochs ASHA compares trials for the first time.

    Not before the learning rate has turned: while it rises, trials with a small one look better than they
    are. And not in the first quarter of a training.

    Args:
        base: every parameter that is not searched.
        space: what is searched; of several schedules or warm-ups, the longest rise counts.

    Returns:
        None where no epoch is left between that and the last one, so that no trial is stopped.
    """
    epochs = int(base["epochs"])
    rises = [
        ONECYCLE_RISE * epochs if schedule == "onecycle" and not warmup else warmup
        for schedule in possible_values("schedule", base, space)
        for warmup in possible_values("warmup_epochs", base, space)
    ]
    grace = max(1, epochs // 4, int(max(rises)) + 1)
    return grace if grace < epochs else None
