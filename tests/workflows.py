"""Runs the jobs of a workflow of the code host as they stand in its file.

Shell steps run in a real bash with the files and variables that the code host gives them. Of the
actions, what these workflows need is done here; another action, function or variable is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

# The contexts in which a missing key is an empty value, as on the code host.
LENIENT = ("github.event", "steps")


@dataclass
class CodeHost:
    """A repository on a code host.

    Attributes:
        origin: the git repository.
        folder: where its machines work and its artifacts and caches lie.
        variables: environment variables of its machines.
        cached: what is in its cache, by key.
        artifacts: by name.
    """

    origin: Path
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    cached: dict[str, Path] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)

    def start(self, workflow: str, job: str, github: dict[str, Any]) -> Machine | None:
        """Run a job on a new machine; None where its condition does not hold.

        Args:
            github: what the code host knows of the run, such as its `event`.
        """
        file = yaml.safe_load((ROOT / ".github/workflows" / workflow).read_text())
        folder = self.folder / f"machine-{len([*self.folder.iterdir()])}"
        machine = Machine(self, folder, github)
        described = file["jobs"][job]
        if not machine.evaluate(described.get("if", "'true'")):
            return None
        assert file["defaults"] == {"run": {"shell": "bash"}}
        machine.run(described)
        return machine


@dataclass
class Machine:
    """A machine that runs one job.

    Attributes:
        summary: what the job's steps wrote to its summary.
        log: what they printed.
    """

    host: CodeHost
    folder: Path
    github: dict[str, Any]
    log: str = ""
    contexts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (self.workspace, self.temporary):
            path.mkdir(parents=True)
        runner = {"temp": str(self.temporary), "os": "Linux"}
        self.contexts = {"github": self.github, "runner": runner, "env": {}, "steps": {}}

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    @property
    def summary(self) -> str:
        return (self.temporary / "summary").read_text()

    def run(self, job: dict[str, Any]) -> None:
        self.contexts["env"] = {name: self.fill(value) for name, value in job.get("env", {}).items()}
        for step in job["steps"]:
            assert not step.keys() - {"uses", "with", "if", "id", "name", "run", "env"}, step
            if not self.evaluate(step.get("if", "'true'")):
                continue
            if "run" in step:
                self._shell(
                    step["run"], {name: self.fill(text) for name, text in step.get("env", {}).items()}
                )
            else:
                inputs = {name: self.fill(str(text)) for name, text in step.get("with", {}).items()}
                action = re.sub(r"\W", "_", step["uses"].partition("@")[0])
                outputs = getattr(self, action)(**inputs)
                self.contexts["steps"][step.get("id")] = {"outputs": outputs}

    def _shell(self, script: str, variables: dict[str, str]) -> None:
        assert "${{" not in script, "what others wrote would become part of the script"
        file = self.temporary / "script.sh"
        file.write_text(script)
        # The programs of the environment are not on the PATH of a new machine.
        programs = str(Path(sys.executable).parent)
        path = [part for part in os.environ["PATH"].split(os.pathsep) if part != programs]
        result = subprocess.run(
            ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(file)),
            cwd=self.workspace,
            env={
                **os.environ,
                "GIT_CONFIG_GLOBAL": os.devnull,
                "PATH": os.pathsep.join(path),
                "GITHUB_WORKSPACE": str(self.workspace),
                "GITHUB_STEP_SUMMARY": str(self.temporary / "summary"),
                "GITHUB_REPOSITORY": self.github["repository"],
                "GITHUB_EVENT_NAME": self.github["event_name"],
                "RUNNER_TEMP": str(self.temporary),
                **self.host.variables,
                **self.contexts["env"],
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log += result.stdout
        assert result.returncode == 0, f"{script}\n{result.stdout}"

    def fill(self, text: str) -> str:
        """A text with the values of its expressions."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: self.evaluate(found[1]), text)

    def evaluate(self, expression: str) -> str:
        """The value of an expression; empty where it is false."""
        for operator in ("||", "&&"):
            first, found, rest = expression.partition(operator)
            if found:
                value = self.evaluate(first)
                return value if bool(value) == (operator == "||") else self.evaluate(rest)
        for operator in ("==", "!="):
            first, found, rest = expression.partition(operator)
            if found:
                equal = self.evaluate(first) == self.evaluate(rest)
                return "true" if equal == (operator == "==") else ""
        term = expression.strip()
        if quoted := re.fullmatch(r"'([^']*)'", term):
            return quoted[1]
        if called := re.fullmatch(r"hashFiles\((.*)\)", term):
            return self._digest(re.findall(r"'([^']*)'", called[1]))
        return self._look_up(term)

    def _look_up(self, term: str) -> str:
        value: Any = self.contexts
        for key in term.split("."):
            if value == "" or (key not in value and term.startswith(LENIENT)):
                return ""
            value = value[key]
        assert isinstance(value, str | int), f"{term} is no value"
        return str(value)

    def _digest(self, patterns: list[str]) -> str:
        digest = hashlib.sha256()
        for pattern in patterns:
            found = sorted(self.workspace.glob(re.sub(r"/\*\*$", "/**/*", pattern)))
            assert found, f"{pattern} matches no file"
            for path in filter(Path.is_file, found):
                digest.update(path.read_bytes())
        return digest.hexdigest()

    # Actions, by their names.

    def actions_checkout(self, ref: str, **inputs: str) -> dict[str, str]:
        assert inputs == {"fetch-depth": "0", "persist-credentials": "False"}
        clone = ("git", "clone", "--quiet", "--no-checkout", str(self.host.origin), str(self.workspace))
        subprocess.run(clone, check=True)
        subprocess.run(("git", "checkout", "--quiet", "--detach", ref), cwd=self.workspace, check=True)
        return {}

    def actions_setup_python(self, **inputs: str) -> dict[str, str]:
        """Besides, the environment is here: nothing has to be downloaded."""
        environment = self.workspace / ".venv"
        environment.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name != "installed":
                (environment / path.name).symlink_to(path)
        (environment / "installed").touch()
        return {}

    def actions_cache_restore(self, path: str, key: str) -> dict[str, str]:
        for name in path.split() if key in self.host.cached else ():
            cached, target = self.host.cached[key] / name, self.workspace / name
            if cached.is_dir():
                shutil.copytree(cached, target, dirs_exist_ok=True)
            else:
                target.parent.mkdir(exist_ok=True)
                shutil.copy(cached, target)
        return {"cache-primary-key": key, "cache-hit": "true" if key in self.host.cached else ""}

    def actions_cache_save(self, path: str, key: str) -> dict[str, str]:
        assert key not in self.host.cached
        folder = self.host.folder / f"cache-{len(self.host.cached)}"
        for name in path.split():
            source, target = self.workspace / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        self.host.cached[key] = folder
        return {}

    def actions_upload_artifact(self, name: str, path: str, **inputs: str) -> dict[str, str]:
        assert inputs == {"if-no-files-found": "error"}
        target = self.host.folder / f"artifact-{len([*self.host.folder.iterdir()])}"
        target.mkdir()
        shutil.copy(self.workspace / path, target)
        self.host.artifacts[name] = target
        return {"artifact-url": f"https://code.host/artifacts/{name}"}

    def actions_download_artifact(self, name: str) -> dict[str, str]:
        shutil.copytree(self.host.artifacts[name], self.workspace, dirs_exist_ok=True)
        return {}
