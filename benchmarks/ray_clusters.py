"""Real Ray clusters whose nodes are all on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import psutil

from benchmarks.ports import free_port

NOTHING: Mapping[str, str] = MappingProxyType({})


class RayCluster:
    """A head node on the loopback interface, and further nodes of one core.

    Attributes:
        address: host and port.
        environment: what a command needs to be let in.
    """

    def __init__(self, env: Mapping[str, str], cores: int) -> None:
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._folder = Path(f"/tmp/ray-test-{self._port}")  # Ray's sockets have no room for long paths
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **env}
        self.head = self._start(
            ("--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}"),
            cores=cores,
        )

    def add_node(self, env: Mapping[str, str] = NOTHING) -> psutil.Process:
        """Start another node of one core, with further variables; returns its process."""
        return self._start((f"--address={self.address}",), env)

    def _start(
        self, words: tuple[str, ...], env: Mapping[str, str] = NOTHING, cores: int = 1
    ) -> psutil.Process:
        before = set(self._raylets())
        ray, env = str(Path(sys.executable).with_name("ray")), {**os.environ, **self.environment, **env}
        common = (f"--num-cpus={cores}", "--disable-usage-stats", "--node-ip-address=127.0.0.1")
        command = (ray, "start", *words, *common)
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=120)
        until = time.monotonic() + 30
        while not (new := set(self._raylets()) - before):
            assert time.monotonic() < until
            time.sleep(0.1)
        return new.pop()

    def _raylets(self) -> list[psutil.Process]:
        return [process for process in self._processes() if Path(process.cmdline()[0]).name == "raylet"]

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if any(str(self._port) in word or str(self._folder) in word for word in words):
                    found.append(process)
        return found

    def end(self) -> None:
        for process in self._processes():
            kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)


def kill(process: psutil.Process) -> None:
    """Kill a node, with all that it runs, as a power cut would."""
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                one.kill()


@contextmanager
def ray_cluster(env: Mapping[str, str] = NOTHING, cores: int = 1) -> Iterator[RayCluster]:
    """A cluster that ends with the block.

    Args:
        env: variables for its nodes, and for the commands that use it.
        cores: of its head node.
    """
    cluster = RayCluster(env, cores)
    try:
        yield cluster
    finally:
        cluster.end()
