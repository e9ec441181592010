"""What a sweep has found, as text: its experiments, its settings, and what to do next.

The test split's accuracy is not shown, since it is not to choose by.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from src.evaluation.ranking import Run, rank
from src.evaluation.seeds import MoreSeeds, compare_settings, more_seeds
from src.evaluation.text import settings_table
from src.sweep.grid import SEED, Combination, as_ranges, by_images


def results_by_setting(grid: Sequence[Combination], results: Mapping[str, Run]) -> dict[str, dict[int, Run]]:
    """The runs of each setting that have finished, by their seeds."""
    settings: dict[str, dict[int, Run]] = {combination.setting: {} for combination in grid}
    for combination in grid:
        if combination.name in results:
            settings[combination.setting][combination.seed] = results[combination.name]
    return settings


def best_first(grid: Sequence[Combination], results: Mapping[str, Run]) -> list[Combination]:
    """The combinations that have finished, by validation accuracy, validation loss and name."""
    finished = [combination for combination in grid if combination.name in results]
    return sorted(finished, key=lambda combination: rank(*results[combination.name], combination.name))


def experiments_table(ordered: Sequence[Combination], results: Mapping[str, Run]) -> str:
    """A line for each experiment, in the order given: its name, its values, its validation accuracy."""
    rows = [
        {
            "experiment": combination.name,
            **combination.values,
            "val_accuracy": f"{results[combination.name].val_accuracy:.2%}",
        }
        for combination in ordered
    ]
    return pd.DataFrame(rows).to_string(index=False)


def advice(more: MoreSeeds | None, grid: Sequence[Combination]) -> str:
    """How many seeds would settle the closest pair, and the command that adds them.

    Args:
        more: of the settings of the grid.
        grid: all combinations.
    """
    if more is None:
        return (
            "too few common seeds, or too small a difference, to say how many would tell the best two apart"
        )
    choices = grid_of({more.best, more.rival}, grid)
    words = [f"{key}={','.join(values)}" for key, values in choices.items()]
    words.append(f"{SEED}={as_ranges(more.seeds)}")
    # make would take a name with a space apart.
    has_spaces = any(" " in word for word in words)
    return (
        f"{len(more.seeds)} seeds each would tell {more.best} from {more.rival}, "
        "if the difference stays what it is:\n"
        + (
            f"python -m src.sweep {shlex.join(words)}"
            if has_spaces
            else f"make sweep GRID='{' '.join(words)}'"
        )
    )


def grid_of(settings: set[str], grid: Sequence[Combination]) -> dict[str, list[str]]:
    """The values of two settings by their keys, where they differ in one; else those of the whole grid."""
    for among in ([c for c in grid if c.setting in settings], grid):
        choices: dict[str, list[str]] = {}
        for combination in among:
            for key, value in combination.values.items():
                if key != SEED and value not in choices.setdefault(key, []):
                    choices[key].append(value)
        if sum(len(values) > 1 for values in choices.values()) <= 1:
            break
    return choices


def conclusions(grid: Sequence[Combination], results: Mapping[str, Run], chosen: str | None = None) -> str:
    """The `conclusion` of each part of a grid that was validated on the same images.

    Args:
        grid: what was run.
        results: of those experiments that have finished.
        chosen: see `conclusion`.
    """
    groups = by_images(grid)
    if len(groups) == 1:
        return conclusion(grid, results, chosen)
    parts = [
        f"{images}:\n{conclusion(part, results)}"
        for images, part in groups.items()
        if any(combination.name in results for combination in part)
    ]
    if len(parts) > 1:
        parts.append("not compared with each other: they may have been validated on different images")
    return "\n\n".join(parts)


def conclusion(grid: Sequence[Combination], results: Mapping[str, Run], chosen: str | None = None) -> str:
    """The tables, and what to do next.

    Args:
        grid: what was run, on the same images.
        results: of those experiments that have finished, at least one of them of `grid`.
        chosen: the setting that was chosen, where it is not that with the highest mean.
    """
    ordered, settings = best_first(grid, results), results_by_setting(grid, results)
    if all(len(runs) < 2 for runs in settings.values()):
        lines = [experiments_table(ordered, results), ""]
        if len(ordered) > 1:
            lines.append("one seed each: another seed may order them otherwise (SEEDS=5, SEEDS=auto)")
        return "\n".join([*lines, f"the best: dvc exp apply {ordered[0].name}"])
    compared, notes = _comparable(grid, settings)
    if not compared:
        return "\n".join([experiments_table(ordered, results), "", *notes])
    statistics = compare_settings(compared, chosen)
    place = {setting.name: number for number, setting in enumerate(statistics)}
    by_setting = sorted(ordered, key=lambda combination: place.get(combination.setting, len(place)))
    values = {each.setting: {key: each.values[key] for key in each.values if key != SEED} for each in grid}
    lines = [experiments_table(by_setting, results), "", settings_table(statistics, values)]
    lines += notes
    if any(not setting.distinct for setting in statistics[1:]):
        lines.append(advice(more_seeds(compared, chosen), grid))
    return "\n".join([*lines, f"the best run of the best setting: dvc exp apply {by_setting[0].name}"])


def _comparable(
    grid: Sequence[Combination], settings: Mapping[str, Mapping[int, Run]]
) -> tuple[dict[str, dict[int, Run]], list[str]]:
    """The runs by which settings can be compared, and lines about those that have lost some.

    The mean of the others would flatter a setting, which is left out therefore. Where all have lost some,
    they are compared by the seeds that all of them have.
    """
    wanted = Counter(combination.setting for combination in grid)
    lacking = {
        name: f"{name}, of which {wanted[name] - len(runs)} of {wanted[name]} runs have no result"
        for name, runs in settings.items()
        if len(runs) < wanted[name]
    }
    some = {name: dict(runs) for name, runs in settings.items() if runs}
    complete = {name: runs for name, runs in some.items() if name not in lacking}
    if complete or len(some) == 1:
        compared = complete or some
        return compared, [f"not compared: {why}" for name, why in lacking.items() if name not in compared]
    common = sorted(set.intersection(*map(set, some.values())))
    if len(common) < 2:
        return {}, [f"not compared: {why}" for why in lacking.values()]
    by_these = f"compared by the seeds {as_ranges(common)} alone"
    lines = [f"{by_these if name in some else 'not compared'}: {why}" for name, why in lacking.items()]
    return {name: {seed: runs[seed] for seed in common} for name, runs in some.items()}, lines
