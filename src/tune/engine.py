"""What a search needs of whatever trains its trials; see `ray_search` and `vectorized_search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from src.data.splits import Split
from src.tune.search_space import Domain
from src.tune.trials import Trial


@dataclass(frozen=True)
class Problem:
    """What is searched, and on which images.

    Attributes:
        space: the parameters to vary.
        base: every other parameter of `RunParams`.
        splits: training and validation.
        folder: where the state of the search is kept, absolute.
    """

    space: dict[str, Domain]
    base: dict[str, Any]
    splits: tuple[Split, Split]
    folder: Path


class Engine(Protocol):
    """Trains trials. Interrupted and called again with the same arguments, both methods resume."""

    def search(self, problem: Problem, samples: int, seed: int) -> list[Trial]:
        """Train what the sampler proposes.

        Args:
            problem: see `Problem`.
            samples: how many trials.
            seed: of the proposals; the same trials follow where they also finish in the same order.

        Returns:
            A trial for each proposal, numbered from 1; fewer than `samples` where it was interrupted.

        Raises:
            UserError: this engine cannot train what is in `problem`.
        """

    def train(self, problem: Problem, configurations: list[dict[str, Any]], name: str) -> list[Trial]:
        """Train the given configurations to their end; none is stopped early.

        Args:
            problem: see `Problem`.
            configurations: every parameter of each training.
            name: of this call within the search.

        Returns:
            A trial for each configuration, in their order; fewer where it was interrupted.
        """
