"""Sweeps on a real Ray cluster whose nodes are all on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from benchmarks.ports import free_port
from benchmarks.ray_clusters import RayCluster, kill, ray_cluster
from tests.conftest import Clone, output, protected_ray

if find_spec("ray") is None:
    pytest.skip("pip install -r requirements-tune.txt", allow_module_level=True)

# Run when Python starts: a machine with another version of DVC, and one with another processor.
OTHER_DVC = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name: "1.0.0" if name == "dvc" else real(name)
"""
OTHER_PROCESSOR = """
import platform
platform.machine = lambda: "aarch64"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head and a second node, on which other programs are to use a GPU."""
    with ray_cluster({"LENET_DEVICE": "cuda"}) as cluster:
        cluster.add_node()
        yield cluster


def sweep(
    clone: Clone, cluster: RayCluster, *words: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    command = ("python", "-m", "src.sweep", "--address", cluster.address, *words)
    return clone.run(*command, check=check, **cluster.environment | {"LENET_DEVICE": "cpu"})


def start(clone: Clone, cluster: RayCluster, *words: str) -> subprocess.Popen[str]:
    command = ("python", "-u", "-m", "src.sweep", "--address", cluster.address, *words)
    return clone.start(*command, **cluster.environment)


def pipelines() -> list[psutil.Process]:
    """The runs of the pipeline on the nodes."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "repro" in process.cmdline() and Path(process.cwd()).name.startswith("experiment-"):
                found.append(process)
    return found


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_an_experiment_of_the_cluster_is_that_of_this_machine(clone: Clone, cluster: RayCluster) -> None:
    clone.set_params(dropout=0.2)  # not committed, as is this line of code
    clone.replace("src/training/loop.py", "from __future__", "# Another line.\nfrom __future__")
    result = sweep(clone, cluster, "lr=0.01,0.02", "seed=0,1")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["1/4", "2/4", "3/4", "4/4"]
    assert clone.git("status", "--short").splitlines() == [" M params.yaml", " M src/training/loop.py"]
    remote = {name: clone.git("rev-parse", f"refs/exps/{ref(clone, name)}") for name in clone.experiments()}
    assert len(remote) == 4
    again = sweep(clone, cluster, "lr=0.01,0.02", "seed=0,1")
    assert "4 of 4 were done before" in again.stdout
    assert again.stdout.split("\n\n")[1:] == result.stdout.split("\n\n")[1:]

    # The same one by DVC: the same files in git and the same model.
    (name,) = [name for name in remote if name.startswith("lr-0.02-seed-1-")]
    clone.dvc("exp", "run", "--temp", "--name", "here", "-S", "lr=0.02", "-S", "seed=1")
    here = clone.git("rev-parse", f"refs/exps/{ref(clone, 'here')}").strip()
    assert clone.git("diff", "--stat", here, remote[name].strip()) == ""

    # And all of DVC's commands know it.
    shown = json.loads(clone.dvc("exp", "show", "--json").stdout)
    assert name in {row["name"] for rev in shown for row in rev.get("experiments") or []}
    clone.git("checkout", "--quiet", ".")
    (clone.path / "models/model.pt").unlink()
    clone.dvc("exp", "apply", name)
    assert "lr: 0.02" in clone.read("params.yaml")
    assert (clone.path / "models/model.pt").exists()
    assert "Data and pipelines are up to date" in clone.dvc("status", "dvc.yaml").stdout
    clone.run("python", "-m", "src.compare", name, "here")


def ref(clone: Clone, name: str) -> str:
    head = clone.git("rev-parse", "HEAD").strip()
    return f"{head[:2]}/{head[2:]}/{name}"


@pytest.mark.slow
def test_images_are_prepared_here_for_all_that_ask_for_them(clone: Clone, cluster: RayCluster) -> None:
    result = sweep(clone, cluster, "split_seed=0,7")
    assert "2/2" in result.stdout
    for name in clone.experiments():
        clone.git("checkout", "--quiet", ".")
        clone.dvc("exp", "apply", name)
        assert "Data and pipelines are up to date" in clone.dvc("status", "dvc.yaml").stdout


@pytest.mark.slow
def test_experiments_of_a_lost_node_run_elsewhere(clone: Clone) -> None:
    with ray_cluster() as cluster:
        second = cluster.add_node()
        process = start(clone, cluster, "lr=0.01,0.02", "epochs=12")
        wait_for(lambda: len(pipelines()) == 2)
        kill(second)
        said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert "2/2 lr=" in said
    assert len(clone.experiments()) == 2


@pytest.mark.slow
def test_an_interruption_and_a_failure(clone: Clone) -> None:
    words = ("lr=0.01,0.02,1000,0.03", "epochs=12")
    with ray_cluster() as cluster:
        process = start(clone, cluster, *words)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("1/4"):
                break
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 130
        assert said.splitlines()[-1] == "interrupted: what was running is dropped; the same command resumes"
        wait_for(lambda: not pipelines())
        done = len(clone.experiments())
        assert 1 <= done < 3

        result = sweep(clone, cluster, *words, check=False)
        assert result.returncode == 1
        lines = output(result).splitlines()
        assert f"{done} of 4 were done before" in lines
        failed = next(number for number, line in enumerate(lines) if "lr=1000 epochs=12: failed" in line)
        assert any("try a smaller lr" in line for line in lines[failed + 1 : failed + 6]), (
            "the end of its log"
        )
        assert "error: 1 of 4 experiments failed; their logs are above" in lines
        assert len(clone.experiments()) == 3


@pytest.mark.slow
def test_who_is_refused_is_told_so_in_one_line(clone: Clone, tmp_path: Path) -> None:
    def refusal(cluster: RayCluster, *words: str, **env: str) -> str:
        command = ("python", "-m", "src.sweep", "--address", cluster.address, "lr=0.01", *words)
        result = clone.run(*command, check=False, **cluster.environment | env)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.count("\n") == 1
        return result.stderr

    with ray_cluster() as cluster:
        assert refusal(cluster, RAY_AUTH_TOKEN="0" * 64) == (
            f"error: --address: no Ray cluster at {cluster.address} takes the token of this machine; "
            "expected a copy of ~/.ray/auth_token of its head node, and RAY_AUTH_TOKEN unset\n"
        )
        assert refusal(cluster, RAY_AUTH_TOKEN="", HOME=str(tmp_path)).startswith(
            f"error: --address: no token for the cluster at {cluster.address}; expected a copy of ~/.ray/auth"
        )
        (tmp_path / "sitecustomize.py").write_text(OTHER_DVC)
        cluster.add_node({"PYTHONPATH": str(tmp_path)})
        assert re.match(r"error: --address: the node \S+ has DVC 1\.0\.0, this machine ", refusal(cluster))
    with ray_cluster() as cluster:
        (tmp_path / "sitecustomize.py").write_text(OTHER_PROCESSOR)
        cluster.add_node({"PYTHONPATH": str(tmp_path)})
        assert "class of processors (a sweep takes others with --any-bits)" in refusal(cluster)
        searched = clone.run(
            *("python", "-m", "src.tune", "--samples", "1", "--address", cluster.address),
            check=False,
            **cluster.environment,
        )
        assert searched.returncode == 1
        assert "class of processors (a sweep takes others with --any-bits)" in searched.stderr
        assert sweep(clone, cluster, "--any-bits", "lr=0.01").returncode == 0
    with ray_cluster({"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}) as cluster:
        assert refusal(cluster, RAY_AUTH_MODE="token").startswith(
            f"error: --address: the cluster at {cluster.address} asks for no token: whoever reaches it "
        )
    assert len(clone.experiments()) == 1


def test_a_machine_that_computes_in_another_way_is_told_apart() -> None:
    with protected_ray():
        from src.cluster.connection import difference, node_facts

        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    here = node_facts("cpu")
    assert set(here) == {"Python", "torch", "numpy", "bits", "DVC"}
    for name, value in here.items():
        for other in (" ", "~"):  # before and after every version
            there = here | {name: other}
            said = f"computes on {other}" if name == "bits" else f"has {name} {other}, this machine {value};"
            assert (difference(here, there, False) or "").startswith(said)
            assert (difference(here, there, True) is None) == (name == "bits")
    assert difference(here, here, False) is None


@pytest.mark.parametrize(
    "address",
    [
        *("auto", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:http", ":6379"),
        *("127.0.0.1:0", "127.0.0.1:65536"),
    ],
)
def test_an_address_is_a_host_and_a_port(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from src.cluster.protection import protect_ray
    from src.runtime.errors import UserError

    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(UserError) as refused:
        protect_ray(address)
    assert str(refused.value) == (
        f"--address: {address!r} is invalid; expected HOST:PORT, as `ray start --head --port=6379` prints it"
    )


def test_where_nobody_listens_is_no_cluster(clone: Clone) -> None:
    address = f"127.0.0.1:{free_port()}"
    for command in (("src.sweep", "lr=0.01"), ("src.tune",)):
        refused = clone.run("python", "-m", *command, "--address", address, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"error: --address: no Ray cluster at {address} (Connection refused); expected HOST:PORT, as "
            "`ray start --head --port=6379` prints it\n"
        )
