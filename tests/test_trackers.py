"""What trackers really wrote, read back with their own readers."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from src.data.splits import ImageFormat
from src.networks.build import build_model
from src.params import RunParams, parse
from src.runtime.errors import UserError
from src.tracking.trackers import NAMES, TrackedTraining, named_trackers, run_name, track_plots
from src.training.history import Epoch
from stages import train
from tests import committed
from tests.conftest import PARAMS, ROOT, Clone, Maker, output
from tests.test_survival import epochs, gone_on_from, kill
from tests.watching import Watched

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if not all(map(find_spec, NAMES)):
    pytest.skip("pip install -r requirements-trackers.txt", allow_module_level=True)

ALL = ",".join(NAMES)
MEASURES = ["lr", "train_loss", "val_loss", "train_accuracy", "val_accuracy"]
# Of the fractions in what git tracks, which has six digits of them.
ROUNDED = 1e-5
CHROMIUM = shutil.which("chromium")

# What would change where trackers log or, in a test or on a CI service, that they are silent by themselves.
DECIDING = (
    "CI",
    "DVC_EXP_NAME",
    "GITHUB_ACTIONS",
    "MLFLOW_TRACKING_URI",
    "PYTEST_CURRENT_TEST",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
)


@dataclass(frozen=True)
class Tracked:
    """An experiment that was logged everywhere.

    Attributes:
        clone: where it ran; its results are those of the last commit, which was made without trackers.
        said: what was printed.
        called: whether anything asked for a network.
    """

    clone: Clone
    said: str
    called: bool

    @property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.clone.path / "plots/history.csv")

    @property
    def params(self) -> dict[str, Any]:
        params = YAML(typ="safe").load(self.clone.read("params.yaml"))
        del params["folds"]
        return params

    @property
    def result(self) -> dict[str, float]:
        return {f"result/{key}": value for key, value in self.metrics("train").items()}

    @property
    def tested(self) -> dict[str, float]:
        metrics = self.metrics("test").items()
        return {f"test/{key}": value for key, value in metrics if isinstance(value, float)}

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.clone.path / "plots").glob("*.png"))

    def metrics(self, name: str) -> dict[str, Any]:
        return json.loads(self.clone.read(f"metrics/{name}.json"))


@pytest.fixture(scope="session")
def tracked(reproduced: Clone, made_once: Callable[[str, Maker], Path]) -> Tracked:
    command = ("exp", "run", "--temp", "--name", "first", "--force", "--single-item", "train", "plot")

    def make(folder: Path) -> None:
        clone = reproduced.copy(folder / "clone")
        with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as network:
            for name in DECIDING:
                patch.delenv(name, raising=False)
            proxy = f"http://127.0.0.1:{network.getsockname()[1]}"
            proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
            said = output(clone.dvc(*command, TRACKERS=ALL, NETRC=os.devnull, **proxies))
            network.setblocking(False)
            try:
                network.accept()[0].close()
                called = True
            except BlockingIOError:
                called = False
        (folder / "seen.json").write_text(json.dumps({"said": said, "called": called}))

    folder = made_once("tracked", make)
    return Tracked(Clone(folder / "clone"), **json.loads((folder / "seen.json").read_text()))


def test_results_are_those_of_a_run_without_trackers(tracked: Tracked) -> None:
    assert "Running stage 'train'" in tracked.said
    experiment = tracked.clone.git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/first").strip()
    assert experiment
    assert tracked.clone.git("diff", "--name-only", "HEAD", experiment) == ""
    assert tracked.clone.git("status", "--porcelain") == ""


def test_nothing_is_printed_or_asked_of_a_network(tracked: Tracked) -> None:
    assert not tracked.called
    for word in ("warning", "tensorboard", "wandb", "mlflow", "alembic", "dvclive", "traceback"):
        assert word not in tracked.said.lower()


def test_logs_outlast_the_temporary_workspace(tracked: Tracked) -> None:
    folders = {path.name for path in (tracked.clone.path / "runs").iterdir()}
    assert folders == {*NAMES, "ended"}


def events(folder: Path) -> EventAccumulator:
    """All that TensorBoard would show of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), dict.fromkeys(("scalars", "images", "histograms"), 0)).Reload()


def test_tensorboard_has_curves_graph_images_histograms_and_hparams(tracked: Tracked) -> None:
    runs = list((tracked.clone.path / "runs/tensorboard").iterdir())
    assert [run.name for run in runs] == ["first"]
    read_back = events(runs[0])
    for tag, column in {
        "lr": "lr",
        "loss/train": "train_loss",
        "loss/val": "val_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/val": "val_accuracy",
    }.items():
        scalars = read_back.Scalars(tag)
        assert [scalar.step for scalar in scalars] == tracked.history["epoch"].tolist()
        assert [scalar.value for scalar in scalars] == pytest.approx(tracked.history[column], rel=ROUNDED)
    for tag, value in (tracked.result | tracked.tested).items():
        assert [scalar.value for scalar in read_back.Scalars(tag)] == [pytest.approx(value, rel=ROUNDED)]

    assert {"LeNet5/Conv2d[conv1]", "LeNet5/Linear[fc3]"} <= {
        node.name.rpartition("/")[0] for node in read_back.Graph().node
    }
    network = build_model(tracked.params, seed=0)
    for name, weights in network.state_dict().items():
        histograms = read_back.Histograms(f"weights/{name}")
        assert [one.step for one in histograms] == tracked.history["epoch"].tolist()
        assert histograms[0].histogram_value.num == weights.numel()
        assert histograms[0].histogram_value.max == pytest.approx(float(weights.max()))
    assert read_back.Tags()["images"]
    for picture in tracked.pictures:
        (shown,) = read_back.Images(f"plots/{picture.stem}")
        with Image.open(picture) as drawn, Image.open(io.BytesIO(shown.encoded_image_string)) as logged:
            assert np.array_equal(drawn.convert("RGB"), logged.convert("RGB"))
    assert set(read_back.PluginTagToContent("hparams")) >= {"_hparams_/session_start_info"}
    lock = YAML(typ="safe").load(tracked.clone.read("dvc.lock"))
    model = next(out for out in lock["stages"]["train"]["outs"] if out["path"] == "models/model.pt")
    text = read_back.Tensors("model/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "models/model.pt" in text
    assert model["md5"] in text


@contextmanager
def tensorboard(logs: Path, log: Path) -> Iterator[str]:
    """The address of a real TensorBoard."""
    command = (sys.executable, "-m", "tensorboard.main", "--logdir", str(logs))
    with log.open("w") as file:
        server = subprocess.Popen(
            (*command, "--host", "127.0.0.1", "--port", "0"), stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + 60
        while not (address := re.search(r"http://\S+", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield address.group()
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Debian's package chromium")
def test_tensorboard_shows_the_run_in_a_browser(tracked: Tracked, tmp_path: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"]
    # Time for a page's scripts to run in, which passes faster than by the clock.
    options += ["--virtual-time-budget=20000", "--window-size=1400,1400", "--dump-dom"]
    shown = ["accuracy/train", "accuracy/val", "loss/train", "loss/val"]
    with tensorboard(tracked.clone.path / "runs/tensorboard", tmp_path / "log") as address:
        until = time.monotonic() + 60
        while True:
            command = (CHROMIUM, *options, f"{address}#timeseries")
            page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
            # A card draws itself when it is looked at: a busy machine may be asked too early.
            missing = [name for name in shown if f'title="{name}"' not in page]
            if not missing:
                break
            assert time.monotonic() < until, f"not on the page: {missing}"
    for name in ("first", "plots", "weights", "result", "test"):
        assert re.search(rf">\s*{name}\s*<", page), name


def records(path: Path) -> dict[str, list[Any]]:
    """All that W&B wrote of a run, by kind."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]
    from wandb.sdk.internal.datastore import DataStore

    store, found = DataStore(), defaultdict(list)
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        found[kind].append(getattr(record, kind))
    store.close()
    return found


def values(items: Iterable[Any]) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def test_wandb_has_the_training_and_a_run_of_figures_in_its_group(tracked: Tracked) -> None:
    training, figures = map(records, sorted(tracked.clone.path.glob("runs/wandb/offline-run-*/*.wandb")))
    (run,) = training["run"]
    assert (run.display_name, run.run_group, run.job_type) == ("first", "first", "train")
    assert values(run.config.update) == {"_wandb": {}} | tracked.params
    rows = pd.DataFrame([values(row.item) for row in training["history"]])
    pd.testing.assert_frame_equal(rows[tracked.history.columns], tracked.history)
    summary = {key: value for one in training["summary"] for key, value in values(one.update).items()}
    assert summary.items() >= tracked.result.items()
    (artifact,) = training["artifact"]
    (content,) = artifact.manifest.contents
    assert Path(content.local_path).read_bytes() == (tracked.clone.path / "models/model.pt").read_bytes()

    (run,) = figures["run"]
    assert (run.display_name, run.run_group, run.job_type) == ("first", "first", "plot")
    summary = {key: value for one in figures["summary"] for key, value in values(one.update).items()}
    assert summary.items() >= tracked.tested.items()
    assert {summary[f"plots/{picture.stem}/sha256"] for picture in tracked.pictures} == {
        hashlib.sha256(picture.read_bytes()).hexdigest() for picture in tracked.pictures
    }


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own affair
def test_mlflow_has_history_parameters_figures_and_the_model(tracked: Tracked, tmp_path: Path) -> None:
    from src.tracking.mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tracked.clone.path / 'runs/mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("lenet5")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {key: str(value) for key, value in tracked.params.items()}
    for measure in MEASURES:
        points = sorted(client.get_metric_history(run.info.run_id, measure), key=lambda point: point.step)
        assert [point.step for point in points] == tracked.history["epoch"].tolist()
        assert [point.value for point in points] == pytest.approx(tracked.history[measure], rel=ROUNDED)
    assert run.data.metrics.items() >= (tracked.result | tracked.tested).items()
    logged = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    for file in (tracked.clone.path / "models/model.pt", *tracked.pictures):
        folder = "model" if file.suffix == ".pt" else "plots"
        assert (logged / folder / file.name).read_bytes() == file.read_bytes()


def test_dvclive_has_history_parameters_figures_and_the_model(tracked: Tracked) -> None:
    folder = tracked.clone.path / "runs/dvclive/first"
    assert YAML(typ="safe").load(folder / "params.yaml") == tracked.params
    for measure in MEASURES:
        logged = pd.read_csv(folder / f"plots/metrics/{measure}.tsv", sep="\t")
        assert logged["step"].tolist() == tracked.history["epoch"].tolist()
        assert logged[measure].tolist() == pytest.approx(tracked.history[measure], rel=ROUNDED)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["result"] == tracked.metrics("train")
    assert metrics["test"].items() <= tracked.metrics("test").items()
    model = tracked.clone.path / "models/model.pt"
    assert (folder / "artifacts/model.pt").read_bytes() == model.read_bytes()
    assert len(list((folder / "plots/images").iterdir())) == len(tracked.pictures)
    assert tracked.clone.git("status", "--porcelain") == "", "dvc.yaml is as it was"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to log in from this process."""
    for name in DECIDING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_EXP_NAME", "first")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mlflow_database(tracked: Tracked, elsewhere: Path) -> None:
    """MLflow's database with its tables, which take seconds to make."""
    (elsewhere / "runs/mlflow").mkdir(parents=True)
    shutil.copy(tracked.clone.path / "runs/mlflow/mlflow.db", elsewhere / "runs/mlflow")


def training(*names: str) -> TrackedTraining:
    params = parse(committed.params() | PARAMS, RunParams).model_dump()
    return TrackedTraining(list(names), params, build_model(params, seed=0))


def end_service() -> None:
    """End the process that W&B writes with; the next run starts another."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def rows(last: int) -> list[Epoch]:
    return [Epoch(epoch, *(5 * [1.0 + epoch])) for epoch in range(last + 1)]


def test_a_training_that_goes_on_is_logged_whole_in_the_place_of_its_beginning(elsewhere: Path) -> None:
    weights = {"weight": torch.ones(3)}
    names = ("tensorboard", "dvclive")
    for last in (1, 3):
        with training(*names) as killed:
            killed.on_epoch(rows(last), weights)
    read_back = events(elsewhere / "runs/tensorboard/first")
    assert [scalar.step for scalar in read_back.Scalars("loss/val")] == [0, 1, 2, 3]
    assert [one.step for one in read_back.Histograms("weights/weight")] == [3]
    logged = pd.read_csv(elsewhere / "runs/dvclive/first/plots/metrics/val_loss.tsv", sep="\t")
    assert logged["step"].tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("mlflow_database")
def test_a_tracker_that_fails_says_so_once_and_the_others_go_on(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = elsewhere / "model.pt"
    model.write_bytes(b"weights")
    with training("mlflow", "tensorboard") as tracking:
        tracking.on_epoch(rows(0), {})
        shutil.rmtree(elsewhere / "runs/mlflow")
        for last in (1, 2):
            tracking.on_epoch(rows(last), {})
        tracking.trained({"val_loss": 1.0}, model)
    track_plots(["mlflow", "tensorboard"], "Digits", {"loss": 2.0}, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: tracker mlflow: ")
    assert line.endswith("; the run continues without it")
    read_back = events(elsewhere / "runs/tensorboard/first")
    assert [scalar.step for scalar in read_back.Scalars("loss/val")] == [0, 1, 2]
    assert [scalar.value for scalar in read_back.Scalars("test/loss")] == [2.0]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, which is what a full disk is to the libraries that write in this process."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def dead_service() -> Iterator[None]:
    """The process that W&B writes with is gone, as where a machine has run out of memory."""
    for process in gc.get_objects():
        # W&B's own handle of it, which is told of the end: W&B never asks, and where a process is forgotten
        # before anybody has asked, Python warns, in some later test.
        if type(process) is subprocess.Popen and process.args[0].endswith("wandb-core"):
            process.kill()
            process.wait()
    yield


@contextmanager
def file_in_the_way(folder: Path) -> Iterator[None]:
    """A folder that cannot be written to, not even by an administrator."""
    if folder.exists():
        folder.rename(folder.with_name("before"))
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file in the place of a folder")
    yield


@pytest.mark.usefixtures("mlflow_database")
@pytest.mark.parametrize("moment", ["start", "epoch", "trained", "failed", "plotted"])
@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_may_fail_at_any_moment(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], name: str, moment: str
) -> None:
    """It costs one line, at once or with the next call; the training and what follows it go on."""
    model, picture = elsewhere / "model.pt", elsewhere / "picture.png"
    model.write_bytes(b"weights")
    Image.new("L", (30, 30)).save(picture)

    def trouble(at: str) -> AbstractContextManager[None]:
        if at != moment:
            return nullcontext()
        if name != "wandb":
            return full_disk()
        in_the_way = at in ("start", "plotted")
        return file_in_the_way(elsewhere / "runs/wandb") if in_the_way else dead_service()

    weights = {"weight": torch.ones(3)}
    try:
        with suppress(KeyboardInterrupt), training(name) as tracking:
            for last, at in enumerate(("start", "epoch", "another epoch")):
                with trouble(at):
                    tracking.on_epoch(rows(last), weights)
            with trouble("failed"):
                if moment == "failed":
                    tracking.__exit__(KeyboardInterrupt)
                    raise KeyboardInterrupt
            with trouble("trained"):
                tracking.trained({"val_loss": 1.0}, model)
        with trouble("plotted"):
            track_plots([name], "Digits", {"loss": 2.0}, [picture])
    finally:
        if name == "wandb":
            end_service()
    said = capsys.readouterr().err
    if (name, moment) != ("tensorboard", "failed"):  # which has nothing left to write
        assert said.startswith(f"warning: tracker {name}: ")
        assert said.endswith("; the run continues without it\n")
    assert len(said.splitlines()) <= 1


def test_what_is_not_installed_is_said_with_what_to_install(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "src.tracking.dvclive", raising=False)
    monkeypatch.setitem(sys.modules, "dvclive", None)
    with training("dvclive") as tracking:
        tracking.on_epoch(rows(0), {})
    assert capsys.readouterr().err == (
        "warning: tracker dvclive: dvclive is not installed: pip install -r requirements-trackers.txt; "
        "the run continues without it\n"
    )


@pytest.mark.usefixtures("mlflow_database")
def test_a_training_that_breaks_off_is_marked(elsewhere: Path) -> None:
    from src.tracking.mlflow import MlflowClient

    with pytest.raises(KeyboardInterrupt), training("mlflow") as tracking:
        tracking.on_epoch(rows(1), {})
        raise KeyboardInterrupt
    client = MlflowClient(f"sqlite:///{elsewhere / 'runs/mlflow/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("lenet5").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"], "this one, and the database's"


def test_a_training_that_breaks_off_has_failed_for_wandb(tmp_path: Path) -> None:
    from src.tracking.wandb import Tracker

    codes: list[int | None] = []

    class Run:
        def finish(self, exit_code: int | None = None) -> None:
            codes.append(exit_code)

    tracker = Tracker("first", tmp_path)
    tracker.run = Run()
    tracker.failed()
    assert codes == [1]


def test_tensorboard_draws_the_graph_of_a_network_for_colours(elsewhere: Path) -> None:
    params = parse(committed.params() | PARAMS, RunParams).model_dump()
    network = build_model(params, seed=0, num_classes=200, image_format=ImageFormat(32, 3))
    with TrackedTraining(["tensorboard"], params, network) as tracking:
        tracking.on_epoch(rows(0), network.state_dict())
    read_back = events(elsewhere / "runs/tensorboard/first")
    shapes = {
        tuple(size.size for size in shape.dim)
        for node in read_back.Graph().node
        for shape in node.attr["_output_shapes"].list.shape
    }
    assert {(1, 3, 32, 32), (1, 200)} <= shapes


def test_random_numbers_stay_those_of_the_training(elsewhere: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with training("tensorboard") as tracking:
        tracking.on_epoch(rows(0), {"weight": torch.ones(3)})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_has_a_name_that_is_also_one_of_a_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_name("Digits") == "first"
    for name, folder in (("..", "_."), ("a/b", "a_b"), ("lr-0.01", "lr-0.01"), ("猫", "_")):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        assert run_name("Digits") == folder
    monkeypatch.delenv("DVC_EXP_NAME")
    assert run_name("Digits") == "Digits"
    monkeypatch.chdir(ROOT)
    commit = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True).stdout
    dataset, _, short = run_name("Digits").partition("-")
    assert dataset == "Digits"
    assert commit.startswith(short)
    assert len(short) >= 7
    monkeypatch.setenv("PATH", "")
    assert run_name("Digits") == "Digits", "without git, too"


def test_names_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, names in (("", []), ("wandb", ["wandb"]), ("mlflow, wandb,mlflow,", ["mlflow", "wandb"])):
        monkeypatch.setenv("TRACKERS", text)
        assert named_trackers() == names


def test_an_unknown_name_is_refused_before_any_training(
    reproduced: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reproduced.path)
    monkeypatch.setenv("TRACKERS", "tensorbord,wandb")
    with pytest.raises(UserError) as refusal:
        train.main()
    assert str(refusal.value) == f"TRACKERS: 'tensorbord' is invalid; expected {', '.join(NAMES)}"
    assert capsys.readouterr() == ("", "")


def test_nothing_is_imported_or_written_where_no_tracker_is_named(
    watched_repro: tuple[Clone, Watched],
) -> None:
    clone, watched = watched_repro
    assert "src.tracking.trackers" in watched.imported["train"] & watched.imported["plot"]
    for stage, imported in watched.imported.items():
        assert not imported & {*NAMES, *(f"src.tracking.{name}" for name in NAMES)}, stage
    assert not (clone.path / "runs").exists()


@pytest.mark.slow
def test_trackers_without_a_disk_or_a_network_stop_no_training(clone: Clone) -> None:
    for name in ("tensorboard", "dvclive"):
        (clone.path / "runs").mkdir(exist_ok=True)
        (clone.path / "runs" / name).write_text("a file in the place of a folder")
    nowhere = "http://127.0.0.1:9"
    where = {"TRACKERS": ALL, "DVC_EXP_NAME": "first", "MLFLOW_TRACKING_URI": nowhere}
    where |= {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": nowhere}
    started = time.monotonic()
    said = clone.run(sys.executable, "-m", "stages.train", **where).stderr
    assert time.monotonic() - started < 90, "a server that is not there was waited for"
    warnings = [line for line in said.splitlines() if line.startswith("warning:")]
    assert [line.split()[2] for line in warnings] == [f"{name}:" for name in NAMES]
    assert "Traceback" not in said
    assert "epoch 2/2" in said
    assert "warning" not in clone.run(sys.executable, "-m", "stages.plot", **where).stderr
    assert clone.git("status", "--porcelain") == "", "the results are those of a run without trackers"


@pytest.mark.slow
def test_a_checkpoint_is_gone_on_from_with_other_trackers(clone: Clone) -> None:
    clone.set_params(epochs=40)
    train = (sys.executable, "-m", "stages.train")
    reached = max(epochs(kill(clone, train, "epoch 3/", 0, TRACKERS="tensorboard", DVC_EXP_NAME="first")))
    said = output(clone.run(*train, TRACKERS="dvclive", DVC_EXP_NAME="first")).splitlines()
    assert gone_on_from(said) in (reached, reached + 1)
    logged = pd.read_csv(clone.path / "runs/dvclive/first/plots/metrics/val_loss.tsv", sep="\t")
    assert logged["step"].tolist() == list(range(41))
