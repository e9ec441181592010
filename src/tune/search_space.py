"""What a search may change, and within which bounds: `search_space.yaml`."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from src.params import RunParams, TrainParams, parse
from src.runtime.errors import UserError
from src.runtime.yaml_text import read_yaml
from src.training.unread import unread_keys

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SPACE_FILE = Path("search_space.yaml")

Kind = Literal["choice", "uniform", "log_uniform", "integer"]
FORMS = (
    "choice: [a, b, …], or uniform, integer or log_uniform: [low, high] with low < high "
    "(log_uniform: 0 < low)"
)

# The trials of a search share their images, and their number of epochs is what early stopping divides up.
KEYS = [key for key in TrainParams.model_fields if key != "epochs"]


@dataclass(frozen=True)
class Domain:
    """The values that one parameter may take.

    Attributes:
        kind: `choice` between values; or from a lowest to a highest one, both included: `uniform`,
            `log_uniform` (equally likely in every decade) or `integer`.
        values: the choices; or the lowest and the highest.
    """

    kind: Kind
    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """The same in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        if self.kind == "integer":
            return IntDistribution(*self.values)
        low, high = self.values
        return FloatDistribution(low, high, log=self.kind == "log_uniform")

    def rounded(self, value: object) -> object:
        """A proposed value that a person can type, within the bounds.

        With 3 significant digits; of `uniform`, and of a narrow range such as 0.999 to 0.9999, as fine as 3
        digits of the range's width.
        """
        if self.kind in ("choice", "integer"):
            return value
        low, high = self.values
        assert isinstance(value, float)
        if self.kind == "uniform" or high < 2 * low:
            value = round(value, 2 - math.floor(math.log10(high - low)))
        else:
            value = float(f"{value:.3g}")
        return min(max(value, low), high)


def possible_values(key: str, base: dict[str, Any], space: dict[str, Domain]) -> list[Any]:
    """The values that a parameter may have in a search; of a range, its ends."""
    return list(space[key].values) if key in space else [base[key]]


def read_space(path: Path, base: dict[str, Any]) -> dict[str, Domain]:
    """Read and validate a search space.

    Args:
        path: a YAML file of lines such as `lr: {log_uniform: [1e-3, 0.1]}`.
        base: every other parameter; each bound and choice is validated together with these.

    Raises:
        UserError: the file is missing, is not YAML, holds a key or a value that is invalid, or varies a key
            that no training of this space reads.
    """
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path}: expected lines such as `lr: {{log_uniform: [1e-3, 0.1]}}`")
    space = {key: _domain(key, value, base, str(path)) for key, value in values.items()}
    _refuse_unread(space, base, str(path))
    return space


def _refuse_unread(space: dict[str, Domain], base: dict[str, Any], source: str) -> None:
    """Raise a `UserError` for a key that makes no difference, whatever is chosen for the others."""
    # Only a choice between words decides what is read: a network, an optimizer.
    chosen = {
        key: domain.values
        for key, domain in space.items()
        if domain.kind == "choice" and all(isinstance(value, str) for value in domain.values)
    }
    unread: dict[str, str] | None = None
    for values in itertools.product(*chosen.values()):
        found = unread_keys(RunParams(**base | dict(zip(chosen, values, strict=True))))
        unread = found if unread is None else {key: why for key, why in unread.items() if key in found}
    for key in space:
        if unread and key in unread:
            raise UserError(
                f"{source}: {key} makes no difference: {unread[key]}; expected a space without {key}"
            )


def _domain(key: object, value: object, base: dict[str, Any], source: str) -> Domain:
    if key not in KEYS:
        raise UserError(f"{source}: {key!r} cannot be searched; expected {', '.join(KEYS)}")
    kind, ends = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
    wrong = UserError(f"{source}: {key}: {value!r} is invalid; expected {FORMS}")
    if kind not in ("choice", "uniform", "log_uniform", "integer") or not isinstance(ends, list) or not ends:
        raise wrong
    for end in ends:
        parse(base | {str(key): end}, RunParams, whole=RunParams, source=source)
    if kind == "choice":
        return Domain("choice", tuple(ends))
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
        raise wrong
    if kind == "integer" and not all(isinstance(end, int) for end in ends):
        raise wrong
    if kind != "integer" and TrainParams.model_fields[str(key)].annotation is int:
        raise UserError(f"{source}: {key}: {value!r} is invalid; expected integer: [low, high] or choice")
    if kind == "log_uniform" and ends[0] <= 0:
        raise wrong
    return Domain(kind, (ends[0], ends[1]))
