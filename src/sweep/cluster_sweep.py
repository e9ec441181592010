"""Experiments on their way through a Ray cluster.

`protect_ray` is to be called before this module is imported.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import ray
from dvc.utils.hydra import apply_overrides
from ray.exceptions import RayError, RayTaskError

from src.cluster.connection import cause_of, refuse_other_nodes
from src.experiments.git import refuse_unknown_author, workspace_tree
from src.experiments.lock import output_digests
from src.experiments.record import changed_tree, record_experiment
from src.params import PrepareParams
from src.runtime.errors import UserError, reason
from src.runtime.paths import LOCK_FILE, OWN_DATA, PARAMS_FILE, TRAIN_METRICS
from src.sweep.baseline import Baseline, outputs
from src.sweep.pipeline_copy import Results, Shipment, pack, run_pipeline, store, with_prepared
from src.sweep.queue import dvc
from src.sweep.sweep import ATTEMPTS, Sweep, end_of

# An experiment whose machine or process is lost runs again elsewhere, so many times.
RETRIES = 3
WAIT_SECONDS = 1.0

Runner = Callable[[Shipment, str], Results]


class ClusterSweep(Sweep):
    """Runs each experiment as a task of the Ray cluster that this process is connected to, on one core.

    Args:
        baseline: see `Sweep`.
        any_bits: do not refuse machines of another class of processors.
        runner: runs the pipeline; see `run_pipeline`.

    Raises:
        UserError: git does not know whose experiments these are, or a machine of the cluster computes in
            another way; see `refuse_other_nodes`.
    """

    def __init__(self, baseline: Baseline, *, any_bits: bool, runner: Runner = run_pipeline) -> None:
        super().__init__(baseline)
        refuse_unknown_author()
        self._any_bits, self._checked = any_bits, refuse_other_nodes(any_bits)
        self._task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run_experiment)
        self._runner = ray.put(runner)
        self._tree, self._lock_text = workspace_tree(), LOCK_FILE.read_text(encoding="utf-8")
        self._cache = Path(dvc("cache", "dir").strip())
        self._in_git = {path for path, options in outputs().items() if options.get("cache") is False}
        self._shipments: dict[str, ray.ObjectRef] = {}
        self._running: dict[ray.ObjectRef, str] = {}

    def interrupt(self) -> str:
        for task in self._running:
            ray.cancel(task, force=True)
        return "what was running is dropped"

    def _run_the_rest(self) -> None:
        for name in self._left():
            self._start(name)
        while self._running:
            ended, _ = ray.wait(list(self._running), timeout=WAIT_SECONDS)
            for task in ended:
                self._take(task)

    def _start(self, name: str) -> None:
        self._attempts[name] += 1
        params = self._params(name)
        self._running[self._task.remote(self._runner, self._shipment(name, params), params)] = name

    def _params(self, name: str) -> str:
        """The `params.yaml` of an experiment, as `dvc exp run -S` would write it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, PARAMS_FILE)
            path.write_bytes(self._baseline.params)
            apply_overrides(path, self._todo[name].overrides)
            return path.read_text(encoding="utf-8")

    def _shipment(self, name: str, params: str) -> ray.ObjectRef:
        """What the experiment needs, prepared once for all that ask for the same images."""
        values = json.loads(self._todo[name].params)
        images = json.dumps({key: values.get(key) for key in PrepareParams.model_fields})
        if images not in self._shipments:
            dataset = values["dataset"]
            own = [dataset] if (OWN_DATA / dataset).is_dir() else []
            prepared = with_prepared(pack(self._tree, self._lock_text, own), params, self._cache)
            self._shipments[images] = ray.put(prepared)
        return self._shipments[images]

    def _take(self, task: ray.ObjectRef) -> None:
        """Record what an experiment has come to, or run it again."""
        name = self._running.pop(task)
        try:
            node, results = ray.get(task)
            if node not in self._checked:  # it has joined since
                self._checked = refuse_other_nodes(self._any_bits, self._checked)
            if node not in self._checked:
                results = Results(failure="its machine was lost before it could be asked for its versions")
        except RayTaskError as error:
            results = Results(failure=cause_of(error))
        except RayError as error:
            results = Results(failure=f"its machine or process was lost: {reason(error)}")
        if results.outputs is not None:
            self._record(name, results)
        elif self._attempts[name] < ATTEMPTS:
            self._start(name)
        else:
            self._fail(name, end_of(results.failure))

    def _record(self, name: str, results: Results) -> None:
        assert results.outputs is not None
        files = {str(PARAMS_FILE): self._params(name).encode(), str(LOCK_FILE): results.lock.encode()}
        expected = output_digests(results.lock)
        for path, content in results.outputs.items():
            if path in self._in_git:
                files[path] = content
            elif store(content, self._cache) != expected[path]:
                raise UserError(
                    f"{self._todo[name]}: {path} was damaged on its way; run the same command again"
                )
        tree = changed_tree(self._tree, changed=files)
        record_experiment(self._baseline.commit, name, tree, f"{name}: on a cluster")
        self._finish(name, json.loads(results.outputs[str(TRAIN_METRICS)]))


def _run_experiment(runner: Runner, shipment: Shipment, params: str) -> tuple[str, Results]:
    """On a machine of the cluster: the ID of its node, and the results."""
    return ray.get_runtime_context().get_node_id(), runner(shipment, params)
