"""How every command reads its command line."""

from __future__ import annotations

import argparse


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
