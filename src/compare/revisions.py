"""What is read of a revision or of the workspace, and whether two of them are of the same images."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.compare.provenance import (
    Provenance,
    differing_code,
    differing_environment,
    differing_images,
    edited_code,
    read_provenance,
)
from src.params import BUILT_IN
from src.runtime.errors import UserError, reason
from src.runtime.files import read_table
from src.runtime.paths import PARAMS_FILE, PREDICTIONS, VAL_PREDICTIONS
from src.runtime.yaml_text import parse_yaml

if TYPE_CHECKING:
    from dvc.repo import Repo

WORKSPACE = "workspace"
SPLITS = {"validation": VAL_PREDICTIONS, "test": PREDICTIONS}
# Revisions in which one of these differs have other images.
IMAGES_DEPEND_ON = {"validation": ("dataset", "val_fraction", "split_seed"), "test": ("dataset",)}


@dataclass(frozen=True)
class Revision:
    """A commit, or the workspace.

    Attributes:
        name: as the user wrote it.
        commit: in full; None for the workspace.
    """

    name: str
    commit: str | None

    def read(self, path: str) -> bytes | None:
        """A file's content, None where there is none."""
        if self.commit is not None:
            return read_git("show", f"{self.commit}:./{path}")
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None

    def versions(self) -> list[str]:
        """The tags that make it a version or assign it to a stage: `lenet5@v1.0.0`, `lenet5#prod#1`.

        Without those of versions that are deprecated, and of stages that have been withdrawn or moved on.
        """
        listed = read_git("tag", "--points-at", self.commit) if self.commit else None
        tags = [tag for tag in (listed or b"").decode().split() if "@" in tag or "#" in tag]
        if not tags:
            return []
        from gto.api import show
        from gto.exceptions import ArtifactNotFound
        from gto.tag import parse_name

        versions: list[Any] = []
        # Other tags, such as release@2026 and fix#12, are not GTO's or of no artifact.
        for artifact in {parse_name(tag, raise_on_fail=False).get("name") for tag in tags} - {None}:
            with suppress(ArtifactNotFound):
                versions += show(".", name=artifact, registered_only=True)
        held = [version for version in versions if version["commit_hexsha"] == self.commit]
        return sorted(each["ref"] for version in held for each in (version, *version["stages"]))

    def files(self, folder: str, suffix: str) -> list[str]:
        """The paths of a folder's files that end in `suffix`, sorted; hidden ones are left out."""
        if self.commit is None:
            paths = [path.as_posix() for path in Path(folder).glob(f"*{suffix}")]
        else:
            listed = read_git("ls-tree", "-z", "--name-only", self.commit, f"{folder}/") or b""
            paths = [path for path in os.fsdecode(listed).split("\0") if path.endswith(suffix)]
        return sorted(path for path in paths if not Path(path).name.startswith("."))

    def contents(self, paths: Collection[str]) -> dict[str, bytes]:
        """The content of files, and of all files in folders, by path; what is not there is left out."""
        if self.commit is None:
            found = [each for path in map(Path, paths) for each in (path, *path.rglob("*"))]
            # As `.dvcignore` has it.
            files = [each for each in found if each.is_file() and "__pycache__" not in each.parts]
            return {each.as_posix(): each.read_bytes() for each in files}
        # git knows no path outside, and refuses all of them for it.
        paths = [path for path in paths if not path.startswith(("/", ".."))]
        listed = read_git("ls-tree", "-r", "-z", "--name-only", self.commit, "--", *paths) if paths else None
        names = os.fsdecode(listed or b"").split("\0")[:-1]
        # One process for all files, which has the line endings that a checkout would have.
        archive = read_git("archive", "--format=tar", self.commit, "--", *names) if names else None
        if archive is None:
            return {}
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name: content.read() for name, content in members.items() if content is not None}


def read_git(*arguments: str) -> bytes | None:
    """What a git command prints that only reads; None where it fails."""
    # Without the option `git status` would write to the index.
    result = subprocess.run(("git", "--no-optional-locks", *arguments), capture_output=True)
    return result.stdout if result.returncode == 0 else None


def resolve(repo: Repo, name: str) -> Revision:
    """Find a revision by its name, as DVC does.

    Raises:
        UserError: there is none, more than one, or what is found is no commit.
    """
    from dvc.scm import resolve_rev

    if name == WORKSPACE:
        return Revision(name, None)
    try:
        found = resolve_rev(repo.scm, name) if name else ""
        why = "no commit"
    except Exception as error:  # dvc, scmrepo and pygit2 each raise their own
        found, why = "", reason(error)
        if why.startswith("ambiguous"):
            raise UserError(
                f"{name!r} is the name of several experiments, or of branches of several remotes; expected a "
                "hash (`dvc exp list -A`) or REMOTE/BRANCH"
            ) from None
    # Trees and files have names, too.
    commit = read_git("rev-parse", "--verify", "--quiet", f"{found}^{{commit}}") if found else None
    if commit is None:
        raise UserError(
            f"{name!r} is invalid ({why}); "
            f"expected {WORKSPACE}, a commit, a branch, a tag or the name of an experiment"
        )
    return Revision(name, commit.decode().strip())


def read_predictions(revision: Revision, split: str = "validation") -> pd.DataFrame:
    """The predictions of a split: index, actual, predicted, confidence, and image, but for older revisions.

    Args:
        split: a key of `SPLITS`.

    Raises:
        UserError: the revision has none, or they are damaged.
    """
    import dvc.api
    from dvc.exceptions import PathMissingError

    path = SPLITS[split]
    try:
        content = revision.read(str(path))
        # What git does not have, a user may have put into DVC's cache.
        text = dvc.api.read(str(path), rev=revision.commit) if content is None else content.decode()
        table = read_table(io.StringIO(text))
        if table.empty:
            raise ValueError("no rows")
        return table[["index", "actual", "predicted", "confidence", *table.columns.intersection(["image"])]]
    except (FileNotFoundError, PathMissingError):
        raise UserError(f"{revision.name}: {_missing_predictions(revision, split)}") from None
    except Exception as error:  # dvc, git and pandas each raise their own
        raise UserError(f"{revision.name}: cannot read {path} ({reason(error)})") from None


def _missing_predictions(revision: Revision, split: str) -> str:
    """What to do where a revision has no such predictions."""
    if revision.commit is None:
        return f"{SPLITS[split]} is missing; `dvc repro` writes it"
    return (
        f"{SPLITS[split]} is missing, as from trials of a search and from older commits; to compare its "
        f"parameters, run `git checkout {revision.commit[:10]} -- params.yaml && dvc repro` "
        f"and name {WORKSPACE} in its place"
    )


def parse_parameters(content: bytes) -> dict[str, Any]:
    """Read `params.yaml`, as DVC reads it, without asking whether its values are accepted today.

    Raises:
        ValueError: it is not YAML, or has no keys.
    """
    values = parse_yaml(content.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"expected `key: value` lines, found {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def read_parameters(revision: Revision) -> dict[str, Any]:
    """The keys of a revision's `params.yaml` with their values.

    Raises:
        UserError: it is missing or damaged.
    """
    content = revision.read(str(PARAMS_FILE))
    if content is None:
        raise UserError(f"{revision.name}: {PARAMS_FILE} is missing; expected a revision with results")
    try:
        return parse_parameters(content)
    except ValueError as error:
        raise UserError(f"{revision.name}: cannot read {PARAMS_FILE} ({error})") from None


def read_training(revision: Revision) -> Provenance:
    """What trained a revision, and which of that code is another now."""
    trained = read_provenance(revision.read)
    return replace(trained, edited=edited_code(trained.code, revision.contents(trained.code or ())))


def check_images(
    parameters: Mapping[str, tuple[Any, Any]], split: str, a: str, b: str, dataset: str | None = None
) -> None:
    """Raise a `UserError` where two revisions do not have the same images.

    Args:
        parameters: those that differ, with both values.
        a, b: the names of the revisions.
        dataset: of both, where no hash of the images will be compared: of one's own, the share that becomes
            the test split then has to be the same.
    """
    of_own_images = ("test_fraction",) if dataset is not None and dataset not in BUILT_IN else ()
    for key in (*IMAGES_DEPEND_ON[split], *of_own_images):
        if key in parameters:
            value_a, value_b = parameters[key]
            raise UserError(f"different {split} images: {key} is {value_a} in {a}, {value_b} in {b}")


def is_same(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    parameters: Mapping[str, tuple[Any, Any]],
    trained: tuple[Provenance, Provenance],
) -> bool:
    """Whether nothing that is on record of two revisions differs.

    Args:
        tables: the predictions of both.
        parameters: those that differ.
        trained: what trained both.
    """
    found = (differing_environment(*trained), differing_code(*trained), differing_images(*trained))
    # What is not recorded may differ.
    differs = any((parameters, *(side.edited for side in trained), *found)) or None in found
    common = tables[0].columns.intersection(tables[1].columns)
    return not differs and tables[0][common].equals(tables[1][common])


def nothing_differs(a: str, b: str, *, one_commit: bool) -> str:
    """What to say of two revisions of which nothing on record differs, be they one commit or not."""
    same = "is" if one_commit else "has the same parameters, training code and predictions as"
    return f"{f'the {WORKSPACE}' if b == WORKSPACE else b} {same} {a}: nothing differs"
