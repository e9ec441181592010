"""Versions of the repository's artifacts: tags that GTO makes, and files that DVC fetches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.experiments.git import commit_of, git
from src.experiments.lock import output_digests
from src.runtime.errors import UserError, reason
from src.runtime.paths import LOCK_FILE, MODEL, ONNX, PIPELINE_FILE
from src.runtime.yaml_text import parse_yaml
from src.versions.origin import onnx_source_md5


def register(name: str, version: str | None, revision: str) -> str:
    """Register the artifact of a commit, once others can have it; return the name of the tag.

    Args:
        name: of an artifact in `dvc.yaml`.
        version: such as `v1.2.0`; None for the next one.
        revision: the commit.

    Raises:
        UserError: there is no such commit or artifact, no remote has its file, an exported one is of another
            model, or the version exists.
    """
    from gto.api import register as make_tag
    from gto.exceptions import GTOException

    commit = commit_of(revision)
    artifacts = _artifacts(commit, revision)
    if name not in artifacts:
        expected = ", ".join(artifacts) or "an artifact in dvc.yaml"
        raise UserError(f"{name!r} is not an artifact of {revision}; expected {expected}")
    path = artifacts[name]
    if not git("ls-tree", "--name-only", commit, "--", path):
        _refuse_unpushed(path, commit, revision)
    elif path == str(ONNX):
        _refuse_outdated(commit, revision)
    try:
        tag: Any = make_tag(".", name, commit, version=version)
    except GTOException as error:
        raise UserError(f"{name} {version or ''}".rstrip() + f": {reason(error)}") from None
    return str(tag.tag)


def fetch(name: str, version: str | None, stage: str | None, repository: str, out: Path | None) -> Path:
    """Fetch the file of a registered version, or of that which has been assigned to a stage.

    Args:
        name: of the artifact.
        version: such as `v1.2.0`; with neither this nor `stage`, the latest.
        stage: such as `prod`.
        repository: its address or folder.
        out: where to put it; by default its own name, here.

    Returns:
        The file.

    Raises:
        UserError: there is no such version, or its file was never pushed.
    """
    from dvc.api import artifacts_show
    from dvc.exceptions import ArtifactNotFoundError, DvcException
    from dvc.repo import Repo
    from dvc.scm import CloneError
    from gto.exceptions import GTOException

    wanted = f"{name}@{version}" if version else f"{name}#{stage}" if stage else name
    try:
        found = artifacts_show(name, version, stage, repository)
        own_name = Path(found["path"]).name
        target = out / own_name if out and out.is_dir() else out or Path(own_name)
        if target.exists():
            raise UserError(f"{target} exists; expected another --out, or that it is removed")
        Repo.get(repository, found["path"], out=str(target), rev=found["rev"])
    except ArtifactNotFoundError:
        raise UserError(
            f"{repository} has no version {wanted}; `gto show {name}` lists those there are"
        ) from None
    except FileNotFoundError:
        raise UserError(
            f"{wanted}: {found['path']} of commit {found['rev'][:7]} is in no remote; expected `dvc push`"
        ) from None
    except (GTOException, CloneError):
        raise UserError(f"--repo: {repository!r} is invalid; expected a git repository with DVC") from None
    except DvcException as error:
        why = reason(error.__cause__ or error)
        raise UserError(f"{wanted}: {repository}: {why}") from None
    return target


def _artifacts(commit: str, revision: str) -> dict[str, str]:
    """The artifacts that `dvc.yaml` declares, with their paths."""
    try:
        declared: Any = parse_yaml(git("show", f"{commit}:{PIPELINE_FILE}"))
        return {name: artifact["path"] for name, artifact in declared.get("artifacts", {}).items()}
    except (ValueError, AttributeError, KeyError, TypeError):
        raise UserError(
            f"{PIPELINE_FILE} of {revision} is invalid; expected what `dvc stage list` reads there"
        ) from None


def _md5(commit: str, path: str) -> str:
    digests = output_digests(git("show", f"{commit}:{LOCK_FILE}"))
    if path in digests:
        return digests[path]
    raise UserError(
        f"{path} is not in {LOCK_FILE} of commit {commit[:7]}; expected the results of `dvc repro`"
    )


def _refuse_outdated(commit: str, revision: str) -> None:
    from dvc.api import read

    if onnx_source_md5(read(str(ONNX), rev=commit, mode="rb"), ONNX) != _md5(commit, str(MODEL)):
        raise UserError(f"{ONNX} of {revision} was made of another model; expected `make export` before")


def _refuse_unpushed(path: str, commit: str, revision: str) -> None:
    from dvc.config import NoRemoteError
    from dvc.config_schema import RelPath
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    md5 = _md5(commit, path)
    with Repo(rev=commit) as repo:
        try:
            # Whoever fetches the version has no other settings than those of the commit.
            shared = repo.config.load_one("repo")
            name = shared["core"].get("remote")
            if name not in shared["remote"]:
                raise NoRemoteError("the commit names none")
            url = shared["remote"][name].get("url")
            if url != repo.config["remote"][name]["url"]:
                raise UserError(
                    f"{path}: the remote {name} of {revision} has another address in your own settings; "
                    "expected the same, see `dvc config --list --show-origin`"
                )
            if isinstance(url, RelPath):
                raise UserError(
                    f"{path}: the remote of {revision} is a relative path, another one in each clone; "
                    "expected an absolute one, or an address"
                )
            option = "" if name == repo.config["core"]["remote"] else f" --remote {name}"
            pushed = repo.cloud.get_remote_odb(name=name).exists(md5)
        except NoRemoteError:
            raise UserError(
                f"{path}: {revision} names no remote; expected `dvc remote add -d NAME URL`, a commit of "
                ".dvc/config, `dvc push`"
            ) from None
        except (DvcException, OSError) as error:
            raise UserError(f"{path} of {revision}: the remote cannot be asked: {reason(error)}") from None
    if not pushed:
        raise UserError(f"{path} of {revision} is not in the remote; expected `dvc push{option}` before")
