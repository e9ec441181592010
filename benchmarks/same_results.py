"""Do two revisions give the same results? `make same-results A=main B=HEAD`, after a refactoring.

Runs the pipeline of both from nothing, each in a clone of its own, with the packages that are installed here,
and compares every output byte for byte. Not `dvc.lock`, which names the code.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.clones import Hashes, call, clone, hashes, outputs, remove_results
from src.command_line import command_parser
from src.experiments.git import commit_of
from src.runtime.errors import UserError, run


def results(revision: str, commit: str, folder: Path) -> Hashes:
    """The SHA-256 of every output of a revision's pipeline, run from nothing in `folder`."""
    print(f"{revision} …", flush=True)
    clone(folder)
    call(folder, "git", "checkout", "--quiet", "--detach", commit)
    remove_results(folder)
    call(folder, "dvc", "repro")
    return hashes(folder, outputs(folder))


def main() -> None:
    parser = command_parser("benchmarks.same_results", __doc__)
    parser.add_argument("a", metavar="A", help="a commit, branch or tag")
    parser.add_argument("b", metavar="B")
    arguments = parser.parse_args()
    commits = {revision: commit_of(revision) for revision in (arguments.a, arguments.b)}
    with tempfile.TemporaryDirectory(prefix="same-results-") as temporary:
        a, b = (
            results(revision, commits[revision], Path(temporary) / name)
            for name, revision in (("a", arguments.a), ("b", arguments.b))
        )
    names = {**a, **b}
    for name in names:
        print(f"{'same     ' if a.get(name) == b.get(name) else 'DIFFERENT'}  {name}")
    if differing := [name for name in names if a.get(name) != b.get(name)]:
        raise UserError(f"{len(differing)} of {len(names)} outputs differ: {', '.join(differing)}")
    print(f"all {len(names)} outputs are the same")


if __name__ == "__main__":
    run(main)
