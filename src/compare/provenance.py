"""What trained a revision: the environment, the code and the images that stage `train` left on record.

The environment is in `metrics/environment.json`. Code and images are in `dvc.lock`, where DVC writes down the
MD5 of every file that a stage depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from src.params import PrepareParams
from src.runtime import paths
from src.runtime.yaml_text import parse_yaml

ENVIRONMENT, LOCK, METRICS = str(paths.ENVIRONMENT), str(paths.LOCK_FILE), str(paths.TRAIN_METRICS)
MODEL = str(paths.MODEL)
DATA = f"{paths.PREPARED.parts[0]}/"
NOT_RECORDED = "not recorded"

# How `environment_words` writes the names of programs that are not written as their keys.
LABELS = {"python": "Python", "dvc": "DVC"}
MACHINE = ("bits", "device", "threads")

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Provenance:
    """What trained a revision.

    Attributes:
        environment: versions, processor, device and threads; see `environment` of `src.runtime.devices`. None
            where they are not recorded.
        code: the MD5 of every file or folder of code that training depends on, by its path; None where it is
            not recorded.
        environment_problem, code_problem: what to say where that is None.
        images: the MD5 of each file of prepared images, by its path; None where the code is not recorded.
        edited: the paths of `code` with another content in the revision itself; see `edited_code`.
    """

    environment: dict[str, str | int] | None
    code: dict[str, str] | None
    environment_problem: str = NOT_RECORDED
    code_problem: str = NOT_RECORDED
    images: dict[str, str] | None = None
    edited: tuple[str, ...] = ()

    @property
    def environment_words(self) -> str:
        """The environment in words: `Python 3.11, torch 2.14.0; x86-64 AVX2, cpu, 1 thread`."""
        if self.environment is None:
            return self.environment_problem
        programs = [
            f"{LABELS.get(key, key)} {value}" for key, value in self.environment.items() if key not in MACHINE
        ]
        machine = [str(self.environment[key]) for key in MACHINE if key in self.environment]
        if "threads" in self.environment:
            machine[-1] += " thread" if self.environment["threads"] == 1 else " threads"
        return "; ".join(", ".join(words) for words in (programs, machine) if words)


def read_provenance(read: Callable[[str], bytes | None]) -> Provenance:
    """Find out what trained a revision; what is missing or damaged is noted, not raised.

    Args:
        read: gives the content of a file of the revision by its path, None where there is none.
    """
    metrics = read(METRICS)
    environment, environment_problem = _parsed(ENVIRONMENT, read(ENVIRONMENT), parse_environment)
    dependencies, code_problem = _parsed(LOCK, read(LOCK), lambda lock: parse_dependencies(lock, metrics))
    code, images = dependencies or (None, None)
    return Provenance(environment, code, environment_problem, code_problem, images)


def _parsed(
    path: str, content: bytes | None, parse: Callable[[bytes], Parsed | None]
) -> tuple[Parsed | None, str]:
    """What a file holds, if anything, and what to say otherwise."""
    try:
        return None if content is None else parse(content), NOT_RECORDED
    except Exception:  # JSON, YAML and what they hold each raise their own
        return None, f"{NOT_RECORDED} ({path} is damaged)"


def parse_environment(content: bytes) -> dict[str, str | int] | None:
    """Read `metrics/environment.json`; None where it says nothing.

    Raises:
        Exception: it is no JSON object of texts and integers; the JSON parser raises several kinds.
    """
    values = json.loads(content)
    _check_printable(*values, *(value for value in values.values() if not isinstance(value, int)))
    return values or None


def parse_dependencies(lock: bytes, metrics: bytes | None) -> tuple[dict[str, str], dict[str, str]] | None:
    """Read the code and the images of stage `train` from a `dvc.lock`.

    Args:
        lock: content of the file.
        metrics: content of `metrics/train.json` beside it.

    Returns:
        The MD5 of each dependency that is code, and of each that is data, by its path. None where the lock is
        not of the run that wrote the metrics: a trial of a search has metrics of its own and the lock of the
        commit before it.

    Raises:
        Exception: it is no `dvc.lock`; the YAML parser raises several kinds.
    """
    stages = recorded_stages(lock, metrics)
    if stages is None:
        return None
    found = {dep["path"]: dep["md5"] for dep in stages["train"]["deps"]}
    _check_printable(*found, *found.values())
    images = {path: md5 for path, md5 in found.items() if path.startswith(DATA)}
    return {path: md5 for path, md5 in found.items() if path not in images}, images


def edited_code(code: Mapping[str, str] | None, contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """The code that a revision holds in another form than the one that trained it, as before `dvc repro`.

    Args:
        code: see `Provenance`.
        contents: of all files at these paths and below them.
    """
    found = {path: (md5, _dvc_md5(path, contents)) for path, md5 in sorted((code or {}).items())}
    # What DVC alone has, such as data of `dvc add`, is in no commit.
    return tuple(
        path for path, (trained, now) in found.items() if now != trained and (now or path.endswith(".py"))
    )


def _dvc_md5(path: str, contents: Mapping[str, bytes]) -> str | None:
    """The MD5 of a file or a folder, as DVC computes it; None where there is none."""
    if path in contents:
        return content_md5(contents[path])
    listed = [
        {"md5": content_md5(content), "relpath": name.removeprefix(f"{path}/")}
        for name, content in sorted(contents.items())
        if name.startswith(f"{path}/")
    ]
    return f"{content_md5(json.dumps(listed, sort_keys=True).encode())}.dir" if listed else None


def content_md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def model_md5(read: Callable[[str], bytes | None]) -> str | None:
    """The MD5 of a revision's `models/model.pt`; None where it is not recorded.

    Args:
        read: as for `read_provenance`.
    """

    def parse(lock: bytes) -> str | None:
        stages = recorded_stages(lock, read(METRICS))
        return None if stages is None else {out["path"]: out["md5"] for out in stages["train"]["outs"]}[MODEL]

    return _parsed(LOCK, read(LOCK), parse)[0]


def recorded_stages(lock: bytes, metrics: bytes | None) -> dict[str, Any] | None:
    """What a `dvc.lock` says of every stage, see `parse_dependencies`."""
    parsed: Any = parse_yaml(lock.decode())
    stages = parsed["stages"]
    train = stages.get("train")
    if train is None or metrics is None:
        return None
    written = {out["path"]: out.get("md5") for out in train["outs"]}
    same = written.get(METRICS) == content_md5(metrics)
    return stages if same else None


def _check_printable(*texts: object) -> None:
    """Whatever else a file may hold would break a line, or could not be written at all."""
    for text in texts:
        if not (isinstance(text, str) and text.isprintable()):
            raise ValueError(f"expected printable text, found {text!a}")


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, with both values, None for a missing one."""
    return {key: (a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key)}


def differing_environment(a: Provenance, b: Provenance) -> dict[str, tuple[Any, Any]] | None:
    """As `differing`, of two environments; None where one of them is not recorded."""
    return None if a.environment is None or b.environment is None else differing(a.environment, b.environment)


def differing_code(a: Provenance, b: Provenance) -> dict[str, tuple[Any, Any]] | None:
    """As `differing`, of the MD5 by path, sorted; None where the code of one of them is not recorded."""
    return None if a.code is None or b.code is None else dict(sorted(differing(a.code, b.code).items()))


def differing_images(a: Provenance, b: Provenance) -> list[str]:
    """The files of prepared images that differ, sorted; none where those of one are not recorded."""
    return [] if a.images is None or b.images is None else sorted(differing(a.images, b.images))


def describe_code(found: Mapping[str, tuple[Any, Any]], name_a: str, name_b: str) -> list[str]:
    """The paths of `differing_code`, with a note where only one of the two revisions has the file."""
    only = {
        path: name_b if old is None else name_a for path, (old, new) in found.items() if None in (old, new)
    }
    return [f"{path} (only in {only[path]})" if path in only else path for path in found]


def edited_text(name: str, trained: Provenance) -> str:
    """What to say of code that is another now than when a revision was trained; empty where none is."""
    if not trained.edited:
        return ""
    return f"code of {name} that is not what trained it: {', '.join(trained.edited)}"


def caveat(a: Provenance, b: Provenance, parameters: Collection[str], identical: bool = False) -> str:
    """What to keep in mind when two revisions are compared; empty where no difference is recorded.

    Args:
        a, b: what trained them.
        parameters: the keys of those that differ; some of them explain different images.
        identical: whether their predictions are the same, so that there is no difference to explain.
    """
    code, environment = differing_code(a, b), differing_environment(a, b)
    are_explained = not PrepareParams.model_fields.keys().isdisjoint(parameters)
    causes = ["on different images"] * (bool(differing_images(a, b)) and not are_explained)
    causes += ["by different code"] * bool(code) + ["in different environments"] * bool(environment)
    if not causes:
        return ""
    said = f"trained {' and '.join(causes)}"
    return said if identical else f"{said}: the parameters alone may not explain the difference"


def value_words(value: str | int | None) -> str:
    """A value of an environment in words; None where it has none for this key."""
    return NOT_RECORDED if value is None else str(value)
