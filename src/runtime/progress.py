"""How far a long loop is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

LOG_SECONDS = 10.0

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], total: int, unit: str) -> Iterator[Item]:
    """The same items; how many of `total` are done is shown on standard error."""
    interactive, logged = sys.stderr.isatty(), time.monotonic()
    with tqdm(total=total, unit=f" {unit}", disable=not interactive, leave=False) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update()
            if not interactive and time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                print(f"{done:,} of {total:,} {unit}", file=sys.stderr, flush=True)
