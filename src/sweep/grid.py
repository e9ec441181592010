"""A grid as a user types it, `lr=0.01,0.05 seed=0..4`, and its combinations."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from src.evaluation.ranking import MAX_SEEDS
from src.params import Params, PrepareParams, accepted, parse
from src.runtime.errors import UserError
from src.runtime.yaml_text import parse_yaml
from src.training.unread import unread_keys

SEED = "seed"
# What decides which images there are to validate with.
IMAGE_KEYS = tuple(PrepareParams.model_fields)


@dataclass(frozen=True)
class Combination:
    """One point of a grid.

    Attributes:
        name: of its experiment; the same for the same parameters and code.
        values: what it sets, as typed by the user.
        seed: of its training, whether it sets one or not.
        params: all that decides its training, as JSON, without the keys that it does not read.
        unread: the grid's keys that it does not read, with the reasons.
    """

    name: str
    values: dict[str, str]
    seed: int
    params: str = field(repr=False)
    unread: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        return text_of(self.values)

    @property
    def setting(self) -> str:
        """All that it sets but its seed."""
        return text_of({key: value for key, value in self.values.items() if key != SEED})

    @property
    def overrides(self) -> list[str]:
        """What it sets, for DVC's `-S`, in quotes where needed.

        There an unquoted value has to be ASCII, and `007` would be a text.
        """
        return [
            f"{key}={json.dumps(_scalar(value), ensure_ascii=False)}" for key, value in self.values.items()
        ]


def text_of(values: dict[str, str]) -> str:
    """Values as they are typed: `lr=0.01 seed=0`."""
    return " ".join(f"{key}={value}" for key, value in values.items())


def parse_grid(words: list[str], base: dict[str, Any], code: str = "") -> list[Combination]:
    """Every combination of a grid, the last key's values changing fastest.

    Args:
        words: `key=value` or `key=value,value,…` each; the values as in `params.yaml`, and ranges such as
            `0..4`, both ends included, for keys whose values are integers.
        base: the values of `params.yaml`; every combination is validated with them before any is returned.
        code: anything else that decides the results; part of the names.

    Raises:
        UserError: a word is no `key=values`, a key comes twice, or a combination is invalid.
    """
    choices: dict[str, list[str]] = {}
    for word in words:
        key, separator, values = word.partition("=")
        if not separator or not key or not all(value.strip() for value in values.split(",")):
            raise UserError(f"{word!r} is invalid; expected key=value,value,…, such as lr=0.01,0.05")
        if key in choices:
            raise UserError(f"{key} is given twice; expected {key}=value,value,…")
        listed = (_expanded(key, value.strip()) for value in values.split(","))
        choices[key] = list(dict.fromkeys(itertools.chain.from_iterable(listed)))
    points = (dict(zip(choices, chosen, strict=True)) for chosen in itertools.product(*choices.values()))
    return [_combination(point, base, code) for point in points]


def _expanded(key: str, value: str) -> list[str]:
    """The integers of a range; any other value as it is."""
    is_integer = key in Params.model_fields and Params.model_fields[key].annotation is int
    if not is_integer or ".." not in value:
        return [value]
    ends = re.fullmatch(r"(\d{1,10})\.\.(\d{1,10})", value)
    if not ends or not 0 <= (length := int(ends[2]) - int(ends[1])) < MAX_SEEDS:
        raise UserError(
            f"{key}: {value!r} is invalid; expected {accepted(key)}, or a range of at most {MAX_SEEDS:,} "
            "values, the lowest first, such as 0..4"
        )
    return [str(int(ends[1]) + step) for step in range(length + 1)]


def _combination(values: dict[str, str], base: dict[str, Any], code: str) -> Combination:
    changed = base | {key: _scalar(value) for key, value in values.items()}
    params = parse(changed, Params, source="grid")
    decides = json.dumps([params.model_dump(), code], sort_keys=True)
    digest = hashlib.sha256(decides.encode()).hexdigest()
    unread = unread_keys(params)
    return Combination(
        name=_name(values, digest),
        values=values,
        seed=params.seed,
        params=json.dumps(params.model_dump(exclude=set(unread)), sort_keys=True),
        unread={key: why for key, why in unread.items() if key in values},
    )


def _name(values: dict[str, str], digest: str) -> str:
    """The values in words; the longer they are cut, the more of the digest has to tell experiments apart."""
    # The seed last, wherever it was given, and never cut: another command may want the same experiment.
    words = (f"{key}-{value}" for key, value in values.items() if key != SEED)
    readable, seed = (
        re.sub(r"[^A-Za-z0-9.+-]+|\.{2,}", "-", text) for text in ("_".join(words), values.get(SEED, ""))
    )
    parts = [readable[:80].rstrip("."), f"seed-{seed}" if seed else ""]
    return f"{'_'.join(filter(None, parts))}-{digest[: 6 if len(readable) <= 80 else 12]}"


def _scalar(text: str) -> object:
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def without_repetitions(grid: list[Combination]) -> tuple[list[Combination], list[str]]:
    """The combinations that train different networks, the first of each, and a line for each reason.

    Raises:
        UserError: a key has several values that no combination reads.
    """
    different: dict[str, Combination] = {}
    reasons: dict[str, int] = {}
    for combination in grid:
        first = different.setdefault(combination.params, combination)
        for key, why in combination.unread.items():
            if combination.values[key] != first.values[key]:
                line = f"{key}: {why}"
                reasons[line] = reasons.get(line, 0) + 1
    for key in grid[0].values:
        several = len({combination.values[key] for combination in grid}) > 1
        if several and all(key in combination.unread for combination in grid):
            raise UserError(
                f"{key}: {grid[0].unread[key]}; expected one value, since all would train the same network"
            )
    lines = [f"{line}; skipped: {count} of {len(grid)} combinations" for line, count in reasons.items()]
    return list(different.values()), lines


def by_images(grid: Iterable[Combination]) -> dict[str, list[Combination]]:
    """The combinations of a grid by the values, as text, of what decides their validation images."""
    groups: dict[str, list[Combination]] = {}
    for combination in grid:
        values = {key: value for key, value in combination.values.items() if key in IMAGE_KEYS}
        groups.setdefault(text_of(values), []).append(combination)
    return groups


def as_ranges(numbers: Iterable[int]) -> str:
    """Integers as in a grid: `0..4,7`."""
    groups: list[list[int]] = []
    for number in sorted(numbers):
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ",".join(
        f"{group[0]}..{group[-1]}" if len(group) > 2 else ",".join(map(str, group)) for group in groups
    )
