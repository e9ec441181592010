"""Revisions side by side, in one HTML file that needs no network: `python -m src.report [REV ...]`.

Revisions are commits, branches, tags, experiment names or `workspace`; HEAD and the workspace where none is
given. The others are compared with the first. A pattern such as 'lr-0.01*' stands for a group of experiments
that differ in their seed alone. Nothing is trained, and nothing but the report is written.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from src.command_line import command_parser, parse_in_any_order
from src.compare.groups import Group, find_group, is_pattern
from src.compare.revisions import WORKSPACE, read_git, resolve
from src.report.page import render
from src.report.snapshots import Snapshot, load, load_group
from src.runtime.errors import UserError, reason, run
from src.runtime.files import write_text

if TYPE_CHECKING:
    from dvc.repo import Repo

PACKAGES = ("dvc", "vl-convert-python")


def written_with() -> dict[str, str]:
    """What wrote the report: no path, no host, no user. What trained a revision is in the revision."""
    commit = (read_git("rev-parse", "HEAD") or b"unknown").decode().strip()
    changed = read_git("status", "--porcelain", "--untracked-files=no")
    return {
        "git commit": f"{commit}{', with uncommitted changes' if changed else ''}",
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def load_all(repo: Repo, names: list[str]) -> list[Snapshot]:
    """Every revision, and every group that a pattern stands for; all are looked up before any is read."""
    found = [find_group(repo, name) if is_pattern(name) else resolve(repo, name) for name in names]
    return [load_group(repo, each) if isinstance(each, Group) else load(repo, each) for each in found]


def main() -> None:
    parser = command_parser("src.report", __doc__)
    parser.add_argument("revisions", nargs="*", default=["HEAD", WORKSPACE], metavar="REV")
    parser.add_argument(
        "--out", default="report.html", help="where to write the report (%(default)s)", metavar="FILE.html"
    )
    arguments = parse_in_any_order(parser)
    if not arguments.out.endswith(".html"):
        raise UserError(f"--out: {arguments.out!r} is invalid; expected a name that ends in .html")

    import vl_convert
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            snapshots = load_all(repo, list(dict.fromkeys(arguments.revisions)))
    except DvcException as error:
        raise UserError(reason(error)) from None
    vega = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets the default
    page = render(snapshots, written_with(), vega)
    write_text(Path(arguments.out), page)
    names = ", ".join(snapshot.name for snapshot in snapshots)
    print(f"{arguments.out}: {names}, {len(page.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
