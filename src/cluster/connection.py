"""A connection to Ray, and whether its machines compute as this one does.

`protect_ray` is to be called before this module is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import src
from src.runtime.errors import UserError, reason
from src.runtime.processor import PINNED, has_avx2

NodeFacts = dict[str, str]


@contextmanager
def ray_runtime(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine for the length of the block.

    Raises:
        UserError: Ray cannot be started, or connected to.
    """
    # Tasks are handed the code of this repository, wherever they run. Ray loads NumPy before it.
    pins = PINNED if has_avx2() else {}
    environment = {"py_modules": [str(Path(src.__file__).parent)], "env_vars": pins}
    # Without the dashboard, which would be a web page for everybody on the machine.
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.WARNING,
            **options,
        )
        yield
    except (ConnectionError, RuntimeError, ValueError) as error:
        if ray.is_initialized():
            raise
        where = f"--address: no connection to the Ray cluster at {address}" if address else "Ray"
        raise UserError(f"{where}: {reason(error)}") from None
    finally:
        ray.shutdown()


def node_facts(device: str) -> NodeFacts:
    """What decides the bits of a training on a device here: versions, and the class of the processor."""
    import torch

    from src.runtime.devices import environment

    facts = environment(torch.device(device))
    try:
        dvc = version("dvc")
    except PackageNotFoundError:
        dvc = "none"
    names = {"python": "Python", "torch": "torch", "numpy": "numpy", "bits": "bits"}
    return {names[key]: str(facts[key]) for key in names} | {"DVC": dvc}


def refuse_other_nodes(
    any_bits: bool, checked: frozenset[str] = frozenset(), *, device: str = "cpu", gpus: float = 0.0
) -> frozenset[str]:
    """Ask the machines of the cluster, and raise a `UserError` where one computes in another way.

    Args:
        any_bits: do not refuse another class of processors.
        checked: the IDs of nodes that need not be asked.
        device: what is computed on.
        gpus: how many are wanted; nodes with fewer are not asked.

    Returns:
        The IDs of all nodes that are good.
    """
    here, task = node_facts(device), ray.remote(num_cpus=0, num_gpus=gpus)(node_facts)
    asked = []
    for node in ray.nodes():
        if node["Alive"] and node["NodeID"] not in checked and node["Resources"].get("GPU", 0) >= gpus:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked.append((node, task.options(scheduling_strategy=there).remote(device)))
    for node, answer in asked:
        try:
            facts = ray.get(answer)
        except RayTaskError as error:
            raise UserError(
                f"--address: the node {node['NodeManagerAddress']} cannot run the pipeline "
                f"({cause_of(error)}); expected the packages of this machine"
            ) from None
        except RayError:  # lost since
            continue
        if why := difference(here, facts, any_bits):
            raise UserError(f"--address: the node {node['NodeManagerAddress']} {why}")
        checked |= {node["NodeID"]}
    return checked


def cause_of(error: RayTaskError) -> str:
    """The exception that ended a task, in a line."""
    return f"{type(error.cause).__name__}: {reason(error.cause)}"


def difference(here: NodeFacts, there: NodeFacts, any_bits: bool) -> str | None:
    """What of a node rules it out, in words; None where nothing does.

    Args:
        here: `node_facts` of this machine.
        there: those of the node.
        any_bits: see `refuse_other_nodes`.
    """
    for name, value in here.items():
        if name != "bits" and there[name] != value:
            return (
                f"has {name} {there[name]}, this machine {value}; expected the same versions on all machines"
            )
    if there["bits"] != here["bits"] and not any_bits:
        return (
            f"computes on {there['bits']}, this machine on {here['bits']}: its results differ in the last "
            "bits; expected the same class of processors (a sweep takes others with --any-bits)"
        )
    return None
