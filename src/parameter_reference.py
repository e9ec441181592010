"""The table of all parameters in docs/parameters.md: `python -m src.parameter_reference` writes it.

What a parameter means, and which values it takes, is written once, in `src.params`.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from src.params import CrossvalParams, NetworkParams, OptimizationParams, Params, PrepareParams, accepted
from src.runtime.errors import UserError, run
from src.runtime.files import write_text

PAGE = Path("docs/parameters.md")
BEGIN = "<!-- parameters: written by `python -m src.parameter_reference` -->\n"
END = "<!-- end of parameters -->\n"
GROUPS: dict[str, type[BaseModel]] = {
    "Data": PrepareParams,
    "Network": NetworkParams,
    "Training": OptimizationParams,
    "Cross-validation": CrossvalParams,
}


def reference() -> str:
    """A Markdown table for each group of parameters: key, values and meaning."""
    sections = []
    for title, group in GROUPS.items():
        rows = [
            f"| `{key}` | {values(key)} | {Params.model_fields[key].description} |"
            for key in group.model_fields
        ]
        sections.append("\n".join([f"### {title}\n", "| key | values | meaning |", "|---|---|---|", *rows]))
    return "\n" + "\n\n".join(sections) + "\n\n"


def values(key: str) -> str:
    """What the parameter `key` accepts, in Markdown."""
    choices = get_args(Params.model_fields[key].annotation)
    return ", ".join(f"`{choice}`" for choice in choices) or accepted(key)


def with_reference(page: str) -> str:
    """The text of docs/parameters.md with the tables between its markers replaced.

    Raises:
        UserError: it lacks the markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{PAGE}: the lines `{BEGIN.strip()}` and `{END.strip()}` are missing")
    return before + BEGIN + reference() + END + after


def main() -> None:
    write_text(PAGE, with_reference(PAGE.read_text()))


if __name__ == "__main__":
    run(main)
