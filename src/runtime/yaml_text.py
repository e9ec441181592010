"""YAML, read as DVC reads it: what a stage computes with is what DVC records in `dvc.lock`.

DVC's parser follows YAML 1.2; PyYAML follows YAML 1.1, where `1e-3` and `0o17` are strings, `017` is 15,
`1:30` is 90 and `on` is true. Here it has the rules of DVC's parser. Tags such as `!!set`, merge keys, and
aliases of lists and mappings are refused: no file of this repository needs them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import ClassVar

import yaml

from src.runtime.errors import UserError, reason

MAX_DEPTH = 20


class _Loader(yaml.CSafeLoader):
    """PyYAML's loader in C with the numbers and booleans of YAML 1.2; a key that comes twice is an error."""

    yaml_implicit_resolvers: ClassVar = {
        first: [
            (tag, pattern) for tag, pattern in rules if tag.rpartition(":")[2] not in ("bool", "int", "float")
        ]
        for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        mapping: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _error("a list or a mapping cannot be a key", key_node.start_mark)
            if key in mapping:
                raise _error(f"duplicate key {key!r}", key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # of 2001-99-99, or of an integer of 5,000 digits
            raise _error(reason(error), node.start_mark) from None

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        digits = self.construct_scalar(node).replace("_", "")
        # Base 0: the one that 0b, 0o or 0x names. 017 names none, and is 17.
        return int(digits, 10 if digits.lstrip("+-").isdecimal() else 0)


# As in ruamel.yaml, which DVC reads with, and with its oddities: `.5e3` is a string, `.5e+3` a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"([Tt]rue|TRUE|[Ff]alse|FALSE)\Z"), "tTfF"
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+)\Z"),
    "-+0123456789",
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""(
            [-+]? [0-9][0-9_]* \. [0-9_]* ([eE][-+]?[0-9]+)?
          | [-+]? [0-9][0-9_]* [eE][-+]?[0-9]+
          | [-+]? \. [0-9_]+ ([eE][-+][0-9]+)?
          | [-+]? \. (inf|Inf|INF)
          | \. (nan|NaN|NAN)
        )\Z""",
        re.VERBOSE,
    ),
    "-+.0123456789",
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)


def parse_yaml(text: str) -> object:
    """What a YAML text stands for.

    Raises:
        ValueError: it is not YAML, in one line that names the place.
    """
    try:
        _check_structure(text)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(
            f"not valid YAML at line {error.problem_mark.line + 1}: {reason(Exception(said))}"
        ) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:  # characters that no YAML text may hold
        raise ValueError(f"not valid YAML: {reason(error)}") from None


def read_yaml(path: Path) -> object:
    """What a YAML file holds.

    Raises:
        UserError: the file is not UTF-8 text, or is not YAML.
        OSError: it cannot be read.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _check_structure(text: str) -> None:
    """Refuse what is nested too deep for the recursive loader, and what stands for far more than it says.

    Nine aliases of a list of nine aliases of a list …: ten such lines stand for gigabytes.
    """
    depth = 0
    scalars: set[str | None] = set()
    for event in yaml.parse(text, yaml.CSafeLoader):  # read one by one, without recursion
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _error(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        if getattr(event, "tag", None):
            raise _error(f"the tag {event.tag} is not supported", event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            scalars.add(event.anchor)
        if isinstance(event, yaml.AliasEvent) and event.anchor not in scalars:
            raise _error(
                f"the alias *{event.anchor} must refer to a single value above, not to a list or a mapping",
                event.start_mark,
            )


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
