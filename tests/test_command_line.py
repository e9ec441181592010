from __future__ import annotations

import sys
from importlib import import_module

import pytest

from src.command_line import command_parser, parse_in_any_order
from src.runtime.errors import UserError


def test_arguments_may_follow_an_option() -> None:
    parser = command_parser("src.predict", None)
    parser.add_argument("pictures", nargs="*")
    parser.add_argument("--json", action="store_true")
    for words, pictures in (
        (["a", "--json", "b"], ["a", "b"]),
        (["--json", "a", "b"], ["a", "b"]),
        (["--json", "--", "-7.png", "a"], ["-7.png", "a"]),
    ):
        found = parse_in_any_order(parser, words)
        assert (found.pictures, found.json) == (pictures, True)


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        ("src.compare", "HEAD --test nowhere", "'nowhere' is invalid"),
        ("src.predict", "a.png --model none.pt b.png", "none.pt: no such file"),
        ("src.report", "HEAD --out a.htm HEAD", "--out: 'a.htm' is invalid"),
        ("src.serve", "a.pt --port 0 b.pt", "--port: 0 is invalid"),
        ("src.sweep", "lr=0.01 --workers 0 epochs=1", "--workers: 0 is invalid"),
    ],
)
def test_every_command_takes_them(
    module: str, words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [module, *words.split()])
    with pytest.raises(UserError) as refusal:
        import_module(f"{module}.__main__").main()
    assert str(refusal.value).startswith(said)
