"""Errors that a user can act on, and how a command reports them."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable


class UserError(Exception):
    """Something the user can put right; its message is one complete sentence or list of steps."""


def reason(error: BaseException) -> str:
    """What an exception of another library says, as part of a one-line message: its first line, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[0], 200, placeholder=" …") if lines else type(error).__name__


def printable(text: str) -> str:
    """Text that any terminal and any page can show: what is not printable is escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def run(main: Callable[[], None]) -> None:
    """Call `main`; end the process with one clear message, and no traceback, where the user can act.

    Exit codes: 1 for a `UserError` and for what the operating system refuses (disk full, permission
    denied); 130 for Ctrl-C and 141 where nobody reads the output any more (`… | head`), as a shell reports
    them. Anything else is a defect and keeps its traceback.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed: `… >&-`
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):  # not every terminal can show every character
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # What is left in the buffer is written at the end of the process, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{os.fspath(error.filename)}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
