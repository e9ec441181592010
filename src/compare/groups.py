"""Groups of experiments that differ in their seed alone, compared with each other seed by seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from src.compare.provenance import Provenance, differing, differing_images
from src.compare.revisions import Revision, read_parameters, read_training, resolve
from src.compare.staleness import refuse_stale_results
from src.compare.values import mean_text
from src.evaluation.ranking import Run
from src.evaluation.seeds import Setting, compare_settings
from src.runtime.errors import UserError
from src.runtime.paths import TEST_METRICS, TRAIN_METRICS, VAL_SPLIT

if TYPE_CHECKING:
    from dvc.repo import Repo

# Where the results of a run are, and what they are called there: accuracy and loss.
RESULTS = {
    "validation": (TRAIN_METRICS, "val_accuracy", "val_loss"),
    "test": (TEST_METRICS, "accuracy", "loss"),
}


@dataclass(frozen=True)
class Group:
    """Experiments with the same parameters and different seeds.

    Attributes:
        name: the pattern that found them.
        experiments: by seed, in ascending order.
        parameters: what `params.yaml` holds, without `seed`.
    """

    name: str
    experiments: dict[int, Revision]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class GroupComparison:
    """Two groups, with the seed as the unit.

    Attributes:
        a, b: mean and sample deviation of each group's accuracies; those of `b` hold the difference.
        seeds: those that both groups have.
    """

    a: Setting
    b: Setting
    seeds: list[int]

    @property
    def means(self) -> list[str]:
        """Of each group: `96.00% ± 1.00 (n = 3)`."""
        return [f"{mean_text(setting)} (n = {setting.n})" for setting in (self.a, self.b)]

    @property
    def paired(self) -> str:
        """What the difference and its interval are of."""
        return f"paired by seed, n = {len(self.seeds)}"

    @property
    def verdict(self) -> str:
        """Whether the difference is significant, or why that cannot be said."""
        if len(self.seeds) < 2:
            common = "no seed" if not self.seeds else f"seed {self.seeds[0]} alone"
            return f"nothing can be said of other seeds: the groups have {common} in common"
        if self.b.interval is None:
            return "nothing can be said of other seeds: all of these differ by the same amount"
        difference = "difference between the settings on these images: the interval over seeds"
        if self.b.distinct:
            return f"a significant {difference} excludes 0"
        return f"no significant {difference} includes 0"


def is_pattern(name: str) -> bool:
    """Whether a name stands for a group: no revision has these characters in its name."""
    return any(character in name for character in "*?[")


def find_group(repo: Repo, pattern: str) -> Group:
    """The experiments whose names match a glob pattern; a plain name is a group of its own.

    Of experiments of different commits with the same name, the one of HEAD is used, as DVC does.

    Raises:
        UserError: there are none, or they differ in more than the seed, or two have the same seed.
    """
    if not is_pattern(pattern):
        return group_of_one(resolve(repo, pattern))
    listed = repo.experiments.ls(all_commits=True)
    here = dict(listed.get(repo.scm.get_rev(), []))
    elsewhere = [pair for pairs in listed.values() for pair in pairs if pair[0] not in here]
    pairs = sorted([*here.items(), *elsewhere])
    found = [Revision(name, commit) for name, commit in pairs if fnmatchcase(name, pattern)]
    if not found:
        raise UserError(f"{pattern!r} matches no experiment; `dvc exp list --all-commits` lists their names")
    parameters = [read_parameters(experiment) for experiment in found]
    experiments: dict[int, Revision] = {}
    for experiment, values in zip(found, parameters, strict=True):
        keys = sorted(differing(parameters[0], values).keys() - {"seed"})
        if keys:
            raise UserError(
                f"{pattern!r}: {found[0].name} and {experiment.name} differ in more than the seed: "
                f"{', '.join(keys)}; expected a narrower pattern"
            )
        seed = values.get("seed", 0)
        if seed in experiments:
            if experiments[seed].name == experiment.name:
                raise UserError(
                    f"{pattern!r}: two experiments of other commits than HEAD are called {experiment.name}; "
                    "expected one, see `dvc exp list -A`"
                )
            raise UserError(
                f"{pattern!r}: {experiments[seed].name} and {experiment.name} have the same seed, {seed}; "
                "expected a narrower pattern"
            )
        experiments[seed] = experiment
    common = {key: value for key, value in parameters[0].items() if key != "seed"}
    return Group(pattern, dict(sorted(experiments.items())), common)


def group_of_one(revision: Revision) -> Group:
    """A revision as a group, to be compared with others by its seed."""
    parameters = read_parameters(revision)
    return Group(revision.name, {parameters.pop("seed", 0): revision}, parameters)


def read_runs(group: Group, split: str = "validation") -> dict[int, Run]:
    """Accuracy and loss of each experiment on a split, by seed.

    Raises:
        UserError: an experiment has no such metrics, or those of other parameters than its own.
    """
    path, accuracy, loss = RESULTS[split]
    runs = {}
    for seed, experiment in group.experiments.items():
        refuse_stale_results(experiment, path if split == "test" else None)
        try:
            values = json.loads(experiment.read(str(path)) or b"")
            runs[seed] = Run(float(values[accuracy]), float(values[loss]))
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{experiment.name}: no {accuracy} and {loss} in {path}; `dvc repro` writes them"
            ) from None
    return runs


def compare_groups(a: dict[int, Run], b: dict[int, Run]) -> GroupComparison:
    """Compare the runs of two groups on the seeds that both have; see `src.evaluation.seeds`."""
    first, second = compare_settings({"a": a, "b": b}, best="a")
    return GroupComparison(first, second, sorted(a.keys() & b.keys()))


def group_provenance(group: Group) -> Provenance:
    """What trained all experiments of a group, where it was the same for all.

    Raises:
        UserError: they were trained or chosen on different images.
    """
    found = [(experiment.name, read_training(experiment)) for experiment in group.experiments.values()]
    recorded = [(name, trained) for name, trained in found if trained.images is not None]
    for name, other in recorded[1:]:
        if files := differing_images(recorded[0][1], other):
            raise UserError(
                f"{group.name!r}: {recorded[0][0]} and {name} have different images ({', '.join(files)}); "
                "expected a narrower pattern"
            )
    first = found[0][1]
    if all(other == first for _, other in found):
        return first
    mixed = "not the same for all seeds"
    return Provenance(None, None, mixed, mixed, recorded[0][1].images if recorded else None)


def check_same_images(a: str, b: str, trained: tuple[Provenance, Provenance]) -> None:
    """Raise a `UserError` where two groups were compared on different validation images."""
    if str(VAL_SPLIT) in differing_images(*trained):
        raise UserError(f"different validation images: {VAL_SPLIT} is not the same in {a} and {b}")
