"""Versions of the model.

python -m src.versions register lenet5 v1.0.0       the model of HEAD, once it is in the remote
python -m src.versions get lenet5 --stage prod      the file of a version
python -m src.versions find models/model.pt         which commit a file is of
"""

from __future__ import annotations

import argparse
from pathlib import Path

from src.command_line import command_parser
from src.experiments.git import refuse_subfolder
from src.runtime.errors import UserError, run
from src.runtime.paths import MODEL


def parse_arguments() -> argparse.Namespace:
    parser = command_parser("src.versions", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    register = commands.add_parser(
        "register", help="tag a commit as a version of an artifact", allow_abbrev=False
    )
    register.add_argument("name", help="an artifact of dvc.yaml, such as lenet5")
    register.add_argument("version", nargs="?", help="such as v1.0.0; by default the next one")
    register.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")
    get = commands.add_parser("get", help="fetch the file of a version", allow_abbrev=False)
    get.add_argument("name", help="an artifact, such as lenet5")
    which = get.add_mutually_exclusive_group()
    which.add_argument("--version", help="such as v1.0.0; by default the latest")
    which.add_argument("--stage", help="such as prod")
    get.add_argument("--repo", default=".", help="address or folder of the repository (%(default)s)")
    get.add_argument("--out", type=Path, help="where to put it (under its own name, here)")
    find = commands.add_parser("find", help="which commit a model is of", allow_abbrev=False)
    find.add_argument("file", nargs="?", type=Path, default=MODEL, help="the model (%(default)s)")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.command != "get":
        refuse_subfolder()
    if arguments.command == "find":
        find(arguments.file)
        return
    from src.versions.registry import fetch, register

    if arguments.command == "register":
        tag = register(arguments.name, arguments.version, arguments.rev)
        print(f"registered {tag}; others have it after: git push origin {tag}")
    else:
        wanted = arguments.version, arguments.stage
        print(fetch(arguments.name, *wanted, arguments.repo, arguments.out))


def find(path: Path) -> None:
    from src.versions.origin import origins

    brought, names = origins(path)
    if not brought:
        raise UserError(f"{path} is in no commit and no experiment of this repository")
    for origin in brought:
        print(f"commit {origin.commit[:7]}: {origin.params}")
        for what, accuracy in (("validation", origin.val_accuracy), ("test", origin.test_accuracy)):
            if accuracy is not None:
                print(f"  {what} accuracy {accuracy:.2%}")
    print(f"in {', '.join(names)}" if names else "in no branch, tag or experiment as they are now")


if __name__ == "__main__":
    run(main)
