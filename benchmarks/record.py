"""What a benchmark has measured: printed, and a row of the table in docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from src.runtime.files import with_text, write_text
from src.runtime.processor import cores, processor_name

PAGE = Path("docs/benchmarks.md")
BEGIN, END = "<!-- benchmarks: written by `make bench` -->\n", "<!-- end of benchmarks -->\n"
HEADER = "| what | command | result | measured |\n|---|---|---|---|\n"


def record(command: str, what: str, result: str) -> None:
    """Print a result, and write it into the table, in the place of an earlier one of the same `what`.

    Rows of a command stand together, and the commands in alphabetical order.
    """
    print(f"{what}: {result}", flush=True)
    cells = f"| {what} | `{command}` |"
    row = f"{cells} {result} | {_machine()}, {datetime.now(UTC):%Y-%m-%d} |\n"
    text = PAGE.read_text()
    table = text.partition(BEGIN)[2].partition(END)[0]
    rows = table.removeprefix(HEADER).splitlines(keepends=True)
    places = [number for number, line in enumerate(rows) if line.startswith(cells)]
    if places:
        rows[places[0]] = row
    else:
        rows.append(row)
    rows.sort(key=lambda line: line.split(" | ")[1])
    write_text(PAGE, with_text(PAGE, text, BEGIN, END, HEADER + "".join(rows)))


def spread(values: Sequence[float], form: str) -> str:
    """The median of values, with the lowest and the highest of several; `form` is a format such as `,.0f`."""
    median = format(statistics.median(values), form)
    return median if len(values) == 1 else f"{median} ({min(values):{form}} to {max(values):{form}})"


def _machine() -> str:
    return f"{cores()} cores, {processor_name()}"
