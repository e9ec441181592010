from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.utils.hydra import to_hydra_overrides
from dvc.utils.serialize import dumps_yaml
from dvc.utils.serialize import parse_yaml as parse_as_dvc
from hydra.errors import OverrideParseException
from hypothesis import given, settings
from hypothesis import strategies as st

from src.runtime.errors import UserError
from src.runtime.yaml_text import MAX_DEPTH, parse_yaml, read_yaml

PLAIN = """
    0 -0 00 +1 -1 017 -017 08 0_8 1_000 1__0 1_ 0_ _ _1 -_1 -_ - + 0b11 0b1_1 -0b1 0b2 0b 0b_ 0B1
    0o17 -0o17 0o1_7 0o9 0o 0O7 0x1F +0x1f 0x1_F 0xg 0x 0x_ 0X1F
    1e-3 1E-3 1e3 1e+3 1E5 12e03 1e0_3 1_e3 1e 1e-400 1e400 -1e400 1. 1.e3 1.e-3 0.0 -0.0 0.e0 1_0.5
    .5 -.5 .5e3 .5e+3 +.5e-1 ._ ._5 .e1 . .. .inf -.inf +.INF .Inf .iNF inf .nan .NaN +.nan nan NaN
    true True TRUE tRUE false False FALSE yes Yes no No on On off OFF y Y n N ~ null Null NULL nULL none None
    1_000.0 1.5.2 1:30 190:20:30 1:30.5 0o1:7 1/6 1,000 ١ 1e٣ = << % @ ` & * | > [ ] { } [] {} ? :
    2001-01-01 2001-99-99 2001-1-1 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z 2001-12-14t21:59:43+25:99
"""
QUOTED = """ '' "" '1e-3' "1e-3" 'true' "~" '017' "2001-01-01" "\\x41" 'it''s' 'a"""
OTHERS = [
    "",
    "2001-12-14 21:59:43.10",
    "|\n  1e3",
    "1\t",
    "1 # one",
    "9" * 4300,
    "9" * 4301,
    f"{'1' * 400}.0",
]
SCALARS = [*PLAIN.split(), *QUOTED.split(), *OTHERS]


def read_as_dvc(text: str) -> object:
    return parse_as_dvc(text, "params.yaml")


def described(read: Callable[[str], object], scalar: str) -> str:
    """Type and value, or that it is refused."""
    try:
        values = read(f"x: {scalar}\n")
    except Exception:  # DVC lets some of Python's through
        return "refused"
    assert isinstance(values, dict)
    return f"{type(values['x']).__name__} {values['x']}"


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_is_what_dvc_reads(scalar: str) -> None:
    assert described(parse_yaml, scalar) == described(read_as_dvc, scalar)


@settings(max_examples=1000, deadline=1000)
@given(st.text("0123456789+-._eExobXinfaNITRUEtrueysl:~ ", max_size=10))
def test_any_text_of_their_characters_is_what_dvc_reads(scalar: str) -> None:
    assert described(parse_yaml, scalar) == described(read_as_dvc, scalar)


@given(
    st.floats() | st.integers() | st.booleans() | st.none() | st.text(max_size=10) | st.sampled_from(SCALARS)
)
def test_what_dvc_writes_is_read_back(value: object) -> None:
    assert repr(parse_yaml(dumps_yaml({"x": value}))) == repr({"x": value})


def test_no_number_on_a_command_line_is_another_one_for_dvc() -> None:
    """What `-S x=…` sets; it takes more for strings than a file does, such as `0o17`."""
    compared = 0
    for scalar in SCALARS:
        try:
            here, there = parse_yaml(scalar), to_hydra_overrides([f"x={scalar}"])[0].value()
        except (ValueError, OverrideParseException):
            continue
        if isinstance(here, int | float) and isinstance(there, int | float):
            assert (type(here), repr(here)) == (type(there), repr(there)), scalar
            compared += 1
    assert compared > 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 1", "at line 3: duplicate key 'a'"),
        ("a:\n  b: {c: 1, c: 2}", "at line 2: duplicate key 'c'"),
        ("1: a\n1.0: b", "at line 2: duplicate key 1.0"),
        (f"{'a' * 1000}: 1\n" * 2, "at line 2: duplicate key …"),
        ("[1]: a", "at line 1: a list or a mapping cannot be a key"),
        ("a: 1\nb: 2001-99-99", "at line 2: month must be in 1..12"),
        (f"a:\n- {'9' * 5000}", "at line 2: Exceeds the limit (4300 digits)"),
        ("a: 1\nb: [", "at line 3: while parsing a flow node, did not find expected node content"),
        (
            "a: 1\n---\nb: 2",
            "at line 2: expected a single document in the stream, but found another document",
        ),
        (
            "a: !!python/object/apply:os.system [ls]",
            "at line 1: the tag tag:yaml.org,2002:python/object/apply:os",
        ),
        ("!!set {a, b}", "at line 1: the tag tag:yaml.org,2002:set is not supported"),
        (
            "a: {<<: {b: 1}}",
            "at line 1: could not determine a constructor for the tag 'tag:yaml.org,2002:merge'",
        ),
        ("a: &a [*a]", "at line 1: the alias *a must refer to a single value above"),
        ("a: &a {b: 1}\nc: {<<: *a}", "at line 2: the alias *a must refer to a single value above"),
        ("a: *nowhere", "at line 1: the alias *nowhere must refer to a single value above"),
        ("a: \0", ": unacceptable character #x0000"),
        ("a: \udcff", ": 'utf-8' codec can't encode character"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_yaml(text)
    assert str(refusal.value).startswith("not valid YAML" + (said if said.startswith(":") else f" {said}"))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 250


def test_an_alias_of_a_single_value() -> None:
    assert parse_yaml("seed: &seed 1e1\nsplit_seed: *seed") == {"seed": 10.0, "split_seed": 10.0}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{"])
def test_a_million_brackets_are_refused_at_once(opening: str) -> None:
    with pytest.raises(ValueError, match=f"nested more than {MAX_DEPTH} levels deep$"):
        parse_yaml(opening * 10**6)


def test_as_deep_as_is_allowed() -> None:
    value = parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(value, list)
        (value,) = value
    assert value == []


def test_a_file_is_named_in_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("lr: 1e-3\nseed: .nan", encoding="utf-8")
    values = read_yaml(path)
    assert isinstance(values, dict)
    assert values["lr"] == 0.001
    assert math.isnan(values["seed"])
    path.write_text("lr: 1\nlr: 2", encoding="utf-8")
    with pytest.raises(UserError, match=r"space\.yaml: not valid YAML at line 2: duplicate key 'lr'$"):
        read_yaml(path)
    path.write_bytes(b"lr: \xff")
    with pytest.raises(UserError, match=r"space\.yaml: not UTF-8 text"):
        read_yaml(path)
