"""A command in a clone, watched: what its Python processes open and import, and the ports they listen on."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.conftest import Clone

# Run by every Python process that finds it: says which files below its folder it opens and, in the end, which
# modules a stage has imported.
SITECUSTOMIZE = """
import atexit, os, sys

log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.relpath(os.fsdecode(arguments[0]))
        of_the_pipeline = not path.startswith(("..", ".dvc")) and not path.endswith((".py", ".pyc"))
        if of_the_pipeline and os.path.isfile(path):
            who = os.environ.get("DVC_STAGE") or " ".join(sys.orig_argv[1:3])
            how = "write" if arguments[2] & (os.O_WRONLY | os.O_RDWR) else "read"
            os.write(log, f"{who}\\t{how}\\t{path}\\n".encode())

def say_what_was_imported():
    lines = (f"{os.environ['DVC_STAGE']}\\timport\\t{name}\\n" for name in list(sys.modules))
    os.write(log, "".join(lines).encode())

sys.addaudithook(watch)
if "DVC_STAGE" in os.environ:
    atexit.register(say_what_was_imported)
"""


@dataclass(frozen=True)
class Watched:
    """What was seen of a command.

    Attributes:
        read: the files below the clone that were opened for reading, by stage: DVC's name of it or, of a
            process that DVC has not started, its first two arguments.
        imported: the modules that were imported, by stage.
        commands: the last two words of each process.
        listening: processes that waited for connections.
    """

    read: dict[str, set[str]]
    imported: dict[str, set[str]]
    commands: set[str]
    listening: list[str]


def run_watched(clone: Clone, folder: Path, *command: str) -> Watched:
    """Run a command in a clone; `folder` is for what watches it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    log, said = folder / "log", folder / "output"
    log.write_text("")
    with said.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=clone.path,
            env=clone.environment | {"PYTHONPATH": str(folder), "WATCH_LOG": str(log), "TRACKERS": ""},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    commands: set[str] = set()
    listening: list[str] = []
    while process.poll() is None:
        _look(process.pid, commands, listening)
        time.sleep(0.2)  # looking takes a core, and no stage is shorter
    assert process.returncode == 0, said.read_text()
    seen: dict[str, dict[str, set[str]]] = {"read": {}, "write": {}, "import": {}}
    for line in log.read_text().splitlines():
        who, how, what = line.split("\t")
        seen[how].setdefault(who, set()).add(what)
    return Watched(seen["read"], seen["import"], commands, listening)


def _look(pid: int, commands: set[str], listening: list[str]) -> None:
    """Add the commands of a process and its descendants, and those that listen."""
    for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            name = " ".join(each.cmdline()[-2:])
            commands.add(name)
            connections = each.net_connections("inet")
        except psutil.Error:  # it has ended by now
            continue
        listening += [name for found in connections if found.status == psutil.CONN_LISTEN]
