"""Thousands of malformed inputs: each is refused in one line, or changes nothing; none hangs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.idx import read_idx
from src.data.splits import load_split, save_split
from src.networks.build import build_model
from src.networks.model_file import TrainedModel, load_model, save_model
from src.params import Params, parse, read
from src.runtime.errors import UserError
from tests import committed
from tests.conftest import NETWORK, bright_squares
from tests.idx_files import compressed, idx


@pytest.fixture(params=[150, pytest.param(500, marks=pytest.mark.slow)])
def many(request: pytest.FixtureRequest) -> settings:
    """So many inputs, the same in every run, see conftest.py; a second for one of them is a hang."""
    unchecked = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=request.param, deadline=1000, suppress_health_check=unchecked)


# Without the comments, in which damage would be none.
PARAMS = re.sub(r"(?m)\s*#.*$", "", committed.params_text()).lstrip()
IMAGES = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with bits flipped, bytes replaced, cut short, or with something in between."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "replace"]))
        if kind == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place:]
        else:
            new = draw(st.binary(min_size=1, max_size=8))
            content[place : place + (len(new) if kind == "replace" else 0)] = new
    return bytes(content)


def one_line(refusal: UserError) -> None:
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 2500


def test_idx_archives(tmp_path: Path, many: settings) -> None:
    path, seen = tmp_path / "images.gz", Counter[str]()
    whole = idx(IMAGES)
    packed = compressed(whole)
    inside = damaged(whole).map(lambda content: compressed(content, 1))
    anything = st.binary(max_size=64)
    headers = st.binary(min_size=12, max_size=12).map(lambda sizes: compressed(b"\0\0\x08\x03" + sizes))

    @many
    @given(st.one_of(damaged(packed), inside, anything, anything.map(compressed), headers))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            images = read_idx(path, 3)
        except UserError as refusal:
            one_line(refusal)
            seen["refused"] += 1
        else:
            assert images.dtype == np.uint8
            assert images.ndim == 3

    check()
    assert seen["refused"] >= 0.75 * many.max_examples


def test_an_archive_that_unpacks_to_far_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(compressed(idx(IMAGES) + bytes(1 << 28), 1))
    with pytest.raises(UserError, match="holds more than 3,920 bytes"):
        read_idx(path, 3)
    path.write_bytes(compressed(b"\0\0\x08\x03" + b"\xff" * 12))
    with pytest.raises(UserError, match="its header says 79,228,162,458,924,105,385,300,197,375 bytes"):
        read_idx(path, 3)


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=5),
        st.dates(),
        st.sampled_from(["1/0", "1/-6", "1e400/1", "9" * 400 + "/1", "1/6/2", "nan", "inf", "-0", "1_000"]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_parameters_of_any_type(params: Params, many: settings) -> None:
    seen = Counter[str]()
    known = params.model_dump()
    keys = st.one_of(st.sampled_from(list(known)), st.text(max_size=8), st.integers(), st.none())

    @many
    @given(st.one_of(values, st.dictionaries(keys, values, max_size=3).map(lambda some: known | some)))
    def check(content: object) -> None:
        try:
            accepted = parse(content, Params)
        except UserError as refusal:
            assert str(refusal).startswith("params.yaml: ")
            assert "expected " in str(refusal) or "expected" in str(refusal)
            seen["refused"] += 1
        else:
            assert isinstance(content, dict)
            assert accepted == parse(accepted.model_dump(), Params)

    check()
    assert seen["refused"] >= 0.75 * many.max_examples


yaml_values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "[" * 100,
            "[" * 100 + "]" * 100,
            "{a: " * 3000,
            "9" * 5000,
            "2001-99-99",
            "2001-12-14t21:59:43.10-25:99",
            "!!python/object/apply:os.system [ls]",
            "!!int abc",
            "!!float []",
            "!!binary '%%'",
            "!!set {a, b}",
            "!!omap [1]",
            "&a [*a]",
            "*nowhere",
            "? [1]",
            "0x",
            "0o9",
            "1:60:60",
            ".inf",
            "\0",
            "\ufeff",
            "\t1",
            "|\n a\n b",
            "- a\n- b",
            "%YAML 9.9",
            "--- 1\n--- 2",
        ]
    ),
)


def test_params_files(tmp_path: Path, many: settings) -> None:
    path, seen = tmp_path / "params.yaml", Counter[str]()
    keys = [line.split(":")[0] for line in PARAMS.splitlines() if re.match(r"\w+:", line)]

    def with_value(key: str, value: str) -> bytes:
        return re.sub(rf"(?m)^{key}:.*$", lambda _: f"{key}: {value}", PARAMS).encode(errors="surrogatepass")

    @many
    @given(st.one_of(damaged(PARAMS.encode()), st.builds(with_value, st.sampled_from(keys), yaml_values)))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(Params, path)
        except UserError as refusal:
            one_line(refusal)
            seen["refused"] += 1

    check()
    assert seen["refused"] > 0.35 * many.max_examples


def test_a_params_file_that_stands_for_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(levels) + "\n" + PARAMS.replace("dataset: Digits", "dataset: *l11"))
    with pytest.raises(UserError, match=r"at line 2: the alias \*l0 must refer to a single value") as refusal:
        read(Params, path)
    one_line(refusal.value)


def test_prepared_splits(tmp_path: Path, many: settings) -> None:
    path, seen = tmp_path / "train.npz", Counter[str]()
    split = bright_squares(2)
    save_split(split, path)
    whole = path.read_bytes()

    @many
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            loaded = load_split(path)
        except UserError as refusal:
            one_line(refusal)
            seen["refused"] += 1
        else:
            for name, value in vars(split).items():
                assert np.array_equal(getattr(loaded, name), value), "damage that was not noticed"

    check()
    assert seen["refused"] > 0.35 * many.max_examples


def test_prepared_arrays_of_another_type_or_shape(tmp_path: Path, many: settings) -> None:
    path = tmp_path / "train.npz"
    save_split(bright_squares(2), path)
    with np.load(path) as content:
        arrays = dict(content)
    shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    dtypes = st.sampled_from(["u1", "i1", ">u2", "i8", "f4", "f8", "c8", "?", "U3", "S3", "M8[s]", "u1,f4"])
    anything = st.builds(np.zeros, shapes, dtypes) | st.sampled_from(
        [array[..., None] for array in arrays.values()] + [np.array(np.nan), np.array(-1.0), np.array("x")]
    )

    @many
    @given(st.sampled_from(list(arrays)), anything)
    def check(name: str, array: np.ndarray) -> None:
        np.savez(path, **arrays | {name: array})
        try:
            loaded = load_split(path)
        except UserError as refusal:
            one_line(refusal)
        else:
            # Another text, or another mean within its range, cannot be told from what should be there.
            assert name in ("dataset", "class_names", "mean") or np.array_equal(array, arrays[name])
            assert len(loaded.class_names) > loaded.labels.max()

    check()


def test_model_files(tmp_path: Path, many: settings) -> None:
    path, seen = tmp_path / "model.pt", Counter[str]()
    weights = build_model(NETWORK, seed=0).state_dict()
    model = TrainedModel("MNIST", list("0123456789"), 0.1, 0.3, NETWORK, 0, weights)
    save_model(model, path)
    whole = path.read_bytes()
    # Damage in what describes the weights, not only in the weights, which are most of the file.
    ends = st.sampled_from([whole[:4000], whole[-4000:]])

    @many
    @given(
        st.one_of(damaged(whole), ends.flatmap(damaged).map(lambda part: whole.replace(part[:40], part, 1)))
    )
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            loaded = load_model(path)
        except UserError as refusal:
            one_line(refusal)
            seen["refused"] += 1
        else:
            assert replace(loaded, weights={}) == replace(model, weights={})
            assert all(torch.equal(loaded.weights[name], weights[name]) for name in weights)

    check()
    assert seen["refused"] > 0.45 * many.max_examples
