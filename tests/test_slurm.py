"""`docs/slurm.sh` submitted to a real Slurm, whose two nodes are both this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.conftest import Clone

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")

# Root, since munged and slurmd want to be; without control groups, which a container may lack.
CONFIGURATION = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:2
"""


@contextmanager
def running(*command: str, env: dict[str, str]) -> Iterator[None]:
    """A program that runs in the foreground for as long as the block lasts."""
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, env=os.environ | env, stdout=nothing, stderr=nothing) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The variables with which Slurm's commands find it."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm")
    folder = Path(f"/tmp/slurm-test-{os.getpid()}")  # sockets have no room for long paths
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    ports = (free_port(), free_port(), free_port())
    text = CONFIGURATION.format(host=socket.gethostname(), folder=folder, ports=ports, cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    env = {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{what}={folder}/munge.{end}" for what, end in (("socket", "socket"), ("key-file", "key"))]
    munge += [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed")]
    try:
        with ExitStack() as stack:
            stack.enter_context(running("munged", "--foreground", "--force", *munge, env=env))
            time.sleep(1)
            stack.enter_context(running("slurmctld", "-D", env=env))
            for node in ("n1", "n2"):
                stack.enter_context(running("slurmd", "-D", "-N", node, env=env))
            until = time.monotonic() + 60
            while (
                "idle"
                not in subprocess.run(
                    ("sinfo", "--noheader", "--format=%t"),
                    env=os.environ | env,
                    capture_output=True,
                    text=True,
                ).stdout
            ):
                assert time.monotonic() < until, (folder / "slurmctld.log").read_text()
                time.sleep(0.5)
            yield env
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def submit(clone: Clone, slurm: dict[str, str], *words: str, nodes: int = 1) -> str:
    """Submit the script and wait for its end; what it printed."""
    log = clone.path.with_suffix(".log")
    cpus = f"--cpus-per-task={os.cpu_count()}"
    command = ("sbatch", "--wait", f"--nodes={nodes}", cpus, f"--output={log}", "docs/slurm.sh", *words)
    clone.run(*command, check=False, **slurm)
    return log.read_text()


@pytest.mark.slow
def test_a_sweep_in_an_allocation_and_what_is_left_in_the_next(clone: Clone, slurm: dict[str, str]) -> None:
    (clone.path / ".venv").symlink_to(sys.prefix)
    log = submit(clone, slurm, "-m", "src.sweep", "lr=0.01,0.02")
    assert "2/2 lr=" in log, log
    assert "the best: dvc exp apply lr-" in log
    assert len(clone.dvc("exp", "list", "--name-only").stdout.split()) == 2
    log = submit(clone, slurm, "-m", "src.sweep", "lr=0.01,0.02,0.03")
    assert "2 of 3 were done before" in log, log
    assert len(clone.dvc("exp", "list", "--name-only").stdout.split()) == 3


NODES = """
import sys, time, ray
ray.init(sys.argv[2], log_to_driver=False)
time.sleep(20)  # for nodes that join late
print("cores:", ray.cluster_resources()["CPU"])
"""


@pytest.mark.slow
def test_each_node_offers_its_cores_once(clone: Clone, slurm: dict[str, str]) -> None:
    (clone.path / ".venv").symlink_to(sys.prefix)
    log = submit(clone, slurm, "-c", NODES, nodes=2)
    assert f"cores: {2 * (os.cpu_count() or 1):.1f}" in log, log
