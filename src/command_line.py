"""How every command reads its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def command_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for the options of `python -m <module>`; none can be abbreviated.

    Args:
        module: such as `src.report`.
        description: its docstring, which `--help` shows as it is.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # `--seed` would be taken for `--seeds`
    )


def parse_in_any_order(
    parser: argparse.ArgumentParser, words: Sequence[str] | None = None
) -> argparse.Namespace:
    """The command line, or `words`; without `--` in it, arguments may follow options: `--workers 1 lr=1`."""
    words = sys.argv[1:] if words is None else words
    # `parse_intermixed_args` takes the picture of `-- -7.png` for an unknown option.
    return parser.parse_args(words) if "--" in words else parser.parse_intermixed_args(words)
