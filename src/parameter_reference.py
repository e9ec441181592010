"""`python -m src.parameter_reference` writes the tables of parameters and the comments of `params.yaml`.

What a parameter means, and which values it accepts, is written once, in `src.params`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from src.params import (
    CrossvalParams,
    NetworkParams,
    OptimizationParams,
    Params,
    PrepareParams,
    accepted,
    choices,
)
from src.runtime.errors import run
from src.runtime.files import with_text, write_text
from src.runtime.paths import OWN_DATA, PARAMS_FILE

PAGE, README = Path("docs/parameters.md"), Path("README.md")
BEGIN = "<!-- parameters: written by `python -m src.parameter_reference` -->\n"
END = "<!-- end of parameters -->\n"
GROUPS: dict[str, type[BaseModel]] = {
    "Data": PrepareParams,
    "Network": NetworkParams,
    "Training": OptimizationParams,
    "Cross-validation": CrossvalParams,
}
# A setting of params.yaml; a `#` within quotes, or without a space before it, begins no comment.
LINE = re.compile(r"""(?P<setting>(?P<key>\w+):\s*("[^"]*"|'[^']*'|((?!\s#).)*?))\s*(\s#.*)?""")
# For the README.
MOST_USED = ("dataset", "model", "augment", "optimizer", "lr", "epochs")


def reference() -> str:
    """A Markdown table for each group of parameters: key, values and meaning."""
    sections = [f"### {title}\n\n{table(list(group.model_fields))}" for title, group in GROUPS.items()]
    return "\n" + "\n".join(sections) + "\n"


def table(keys: Sequence[str]) -> str:
    """A Markdown table of some parameters."""
    rows = [f"| `{key}` | {values(key)} | {Params.model_fields[key].description} |" for key in keys]
    return "\n".join(["| key | values | meaning |", "|---|---|---|", *rows]) + "\n"


def values(key: str) -> str:
    """What the parameter `key` accepts, in Markdown."""
    names = ", ".join(f"`{choice}`" for choice in choices(key))
    return (names and f"{names}, or a folder of `{OWN_DATA}`" if key == "dataset" else names) or accepted(key)


def comment(key: str) -> str:
    """What the parameter `key` means and accepts, in a line: the beginning of its description, and values."""
    description = Params.model_fields[key].description or ""
    meaning = re.split(r"[:;,.]? \(|[:;.](?: |$)", description)[0].replace("`", "")
    return f"{meaning}: {accepted(key)}"


def with_comments(text: str) -> str:
    """The text of a params file with a new comment behind each value; all else stays as it is."""
    lines = []
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        known = found and found["key"] in Params.model_fields
        lines.append(f"{found['setting']}  # {comment(found['key'])}" if found and known else line)
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """The pages with such tables, by their paths, as they should be.

    Raises:
        UserError: one of them lacks its markers.
    """
    written = {PAGE: reference(), README: table(MOST_USED)}
    return {path: with_text(path, path.read_text(), BEGIN, END, tables) for path, tables in written.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # there are no options: refuse any
    for path, page in pages().items():
        write_text(path, page)
    write_text(PARAMS_FILE, with_comments(PARAMS_FILE.read_text()))


if __name__ == "__main__":
    run(main)
