"""Sweeps on a Ray cluster of this machine: `python -m benchmarks.cluster`, about half an hour on two cores.

Real: a sweep of experiments on Digits, on a cluster with one worker and on one with two, and what an
experiment takes there beyond `dvc repro`. Simulated: 1,000 experiments that sleep, on 64 workers: how much
processor time of the sweep each takes, from sending it to its record in git, and how much memory.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clones import call, clone
from benchmarks.ray_clusters import ray_cluster
from benchmarks.record import record
from src.runtime.errors import run

COMMAND = "python -m benchmarks.cluster"
EXPERIMENTS = 40
SLEEPING, WORKERS, SECONDS = 1000, 64, 20.0


def seconds(folder: str, *command: str, **env: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def real() -> None:
    """Experiments with other learning rates on one worker and on two, and `dvc repro` for as many of them."""
    taken: dict[int, float] = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory(prefix="cluster-") as folder, ray_cluster() as cluster:
            clone(Path(folder))
            call(Path(folder), "dvc", "repro", "--quiet")
            for _ in range(workers - 1):
                cluster.add_node()
            grid = ",".join(f"0.01{number:02d}" for number in range(EXPERIMENTS))
            command = (sys.executable, "-m", "src.sweep", f"lr={grid}", "--address", cluster.address)
            taken[workers] = seconds(folder, *command, **cluster.environment)
            print(f"{EXPERIMENTS} experiments, workers {workers}: {taken[workers]:.0f} s", flush=True)
            if workers == 1:
                alone = []
                for number in range(3):
                    Path(folder, "params.yaml").write_text(
                        Path(folder, "params.yaml").read_text().replace("\nlr: ", f"\nlr: 0.02{number}  # ")
                    )
                    alone.append(seconds(folder, "dvc", "repro"))
    each, repro = taken[1] / EXPERIMENTS, sorted(alone)[1]
    record(
        COMMAND,
        f"{EXPERIMENTS} experiments on Digits on a Ray cluster with one worker; with two",
        f"{taken[1]:.0f} s; {taken[2]:.0f} s ({taken[1] / taken[2]:.2f} times)",
    )
    record(
        COMMAND,
        "each of these experiments, with one worker; `dvc repro` by itself",
        f"{each:.1f} s; {repro:.1f} s",
    )


def simulated() -> None:
    """In a process of its own, which is the head of the sweep."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder, ray_cluster(cores=WORKERS) as cluster:
        clone(Path(folder))
        call(Path(folder), "dvc", "repro", "--quiet")
        program = "from benchmarks.cluster import sleep_through; sleep_through()"
        command = (sys.executable, "-c", program, cluster.address)
        said = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | cluster.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    record(
        COMMAND,
        f"{SLEEPING:,} experiments that sleep for {SECONDS:.0f} s, on {WORKERS} workers of a Ray cluster",
        said.splitlines()[-1],
    )


def sleep_through() -> None:
    """Run sleeping experiments in the repository of the current directory; print what they cost."""
    from src.cluster.protection import protect_ray

    protect_ray(sys.argv[1])
    from src.cluster.connection import ray_runtime
    from src.experiments.lock import output_digests
    from src.params import Params, read
    from src.sweep.baseline import Baseline
    from src.sweep.cluster_sweep import ClusterSweep
    from src.sweep.grid import parse_grid
    from src.sweep.pipeline_copy import Results, Shipment

    lock = Path("dvc.lock").read_text()
    results = Results(lock, {path: Path(path).read_bytes() for path in output_digests(lock)})

    def sleep(shipment: Shipment, params: str) -> Results:
        time.sleep(SECONDS)
        return results

    grid = parse_grid([f"seed=0..{SLEEPING - 1}"], read(Params).model_dump())
    with ray_runtime(sys.argv[1]):
        sweep = ClusterSweep(Baseline.now(), any_bits=False, runner=sleep)
        before, started = _cpu(), time.perf_counter()
        sweep.run(grid)
        taken, cpu = time.perf_counter() - started, _cpu() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # Not by `record`: the page in this clone is removed with it.
    print(
        f"{taken:.0f} s, at least {SLEEPING * SECONDS / WORKERS:.0f}; {cpu / SLEEPING:.3f} s of the head's "
        f"processor time each, {memory:.0f} MB at most"
    )


def _cpu() -> float:
    """Processor seconds of this process and of the commands that it has run."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    simulated()
    real()


if __name__ == "__main__":
    run(main)
