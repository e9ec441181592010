"""What the texts say: links lead somewhere, commands run, names exist, and generated parts are up to date."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from src import parameter_reference
from src.data.dataset import Dataset
from src.networks.build import count_parameters
from src.params import Params
from src.runtime.errors import UserError
from tests.conftest import EXPERIMENT, ROOT, Clone, output

TEXTS = [path.relative_to(ROOT) for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))]
# These name what there was, too.
HISTORY = {Path("CHANGELOG.md"), Path("LOG.md")}

# Commands that cannot run here follow a comment with the reason.
SKIPPED = "<!-- not tested here: "
# What readers of docs/data-and-networks.md are shown how to write.
TO_BE_WRITTEN = {"src/data/drawings.py", "src/networks/separable.py"}
# Quoted lines that shorter trainings, as here, need not print.
OF_THE_RESULT = ("no significant difference", "metrics/train.json  best_epoch")
OLD_FILES = ("-o", ".venv/installed", "-o", ".venv/tune", "-o", ".venv/trackers", "-o", ".venv/serve")


def read(name: Path | str) -> str:
    return (ROOT / name).read_text()


def without_code(text: str) -> str:
    """A text without blocks of code, and with inline code as it is shown."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def code(text: str) -> list[str]:
    """Every line of a block of code, and every inline piece."""
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```$", text, flags=re.M | re.S)
    return [
        *re.findall(r"`([^`\n]+)`", without_code(text)),
        *(line for b in blocks for line in b.splitlines()),
    ]


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS, ids=str)
def test_links_lead_somewhere(name: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", without_code(read(name)))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name.parent / path).resolve() if path else ROOT / name
        assert target.exists(), link
        assert ROOT in (target, *target.parents), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("name", sorted({*TEXTS} - HISTORY), ids=str)
def test_what_the_texts_name_exists(name: Path) -> None:
    rules = re.findall(r"^([\w./ -]+):(?!=)", read("Makefile"), flags=re.M)
    targets = set(" ".join(rules).split())
    for piece in code(read(name)):
        for target in re.findall(r"(?:^|\$ )make (?!-)([\w./-]+)", piece):
            assert target in targets, piece
        for module in re.findall(
            r"python -m ((?:src|stages|studies|benchmarks|tests)(?:\.\w+)+)(?![.\w<])", piece
        ):
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), piece
        for path in re.findall(
            r"(?<![\w./<~-])((?:src|stages|studies|benchmarks|tests|docs)/[\w./-]+)(?![\w<{*])", piece
        ):
            assert (ROOT / path).exists() or path in TO_BE_WRITTEN, piece


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 200


def test_the_tables_of_parameters_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(field.description for field in Params.model_fields.values())
    monkeypatch.chdir(ROOT)
    for path, page in parameter_reference.pages().items():
        assert read(path) == page, "python -m src.parameter_reference writes it"


def test_the_table_of_stages_is_that_of_the_pipeline() -> None:
    stages = YAML(typ="safe").load(read("dvc.yaml"))["stages"]
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.*) \| (.*) \|$", read("docs/architecture.md").split("\n## ")[1])
    assert [name for name, _, _ in rows] == list(stages)
    for name, reads, writes in rows:
        outs = [*stages[name].get("outs", []), *stages[name].get("metrics", [])]
        written = {each if isinstance(each, str) else next(iter(each)) for each in outs}
        data = {each for each in stages[name]["deps"] if not each.startswith(("src", "stages"))}
        assert set(re.findall(r"`(.*?)`", reads)) - {"params.yaml"} == data
        figures = {path for path in written if path.endswith(".png")}
        assert set(re.findall(r"`(.*?)`", writes)) == written - figures | ({"plots"} if figures else set())


@pytest.mark.parametrize("page", ["# A title\n", "END\nBEGIN\n", "BEGIN\nBEGIN\nEND\n"])
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(UserError, match=r"README\.md: .*expected the lines `BEGIN` and `END` once, in this"):
        parameter_reference.with_text(Path("README.md"), page, "BEGIN\n", "END\n", "| key |\n")


def test_the_modules_that_readers_are_shown_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read("docs/data-and-networks.md")
    drawings, separable = re.findall(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    images = np.arange(6 * 28 * 28, dtype=np.uint8).reshape(6, 28, 28)
    arrays = {f"{part}_images": images for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.arange(6, dtype=np.uint8) % 3 for part in ("train", "test")}
    archive = tmp_path / "Drawings" / "drawings.npz"
    archive.parent.mkdir()
    np.savez(archive, **arrays)
    monkeypatch.setenv("LENET_DATA_ROOT", str(tmp_path))
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    written: dict[str, Any] = {}
    exec(re.sub('md5="[0-9a-f]{32}"', f'md5="{md5}"', drawings), written)
    assert isinstance(written["DATASET"], Dataset)
    assert np.array_equal(written["DATASET"].load().test.images, images)

    exec(separable, written)
    assert written["NETWORK"].accepts == ("width",)
    for channels, size in itertools.product((1, 3), (28, 32)):
        network = written["NETWORK"](width=8, num_classes=7, channels=channels, image_size=size)
        assert network(torch.zeros(2, channels, size, size)).shape == (2, 7)
    network = written["NETWORK"](width=16)
    assert f"\n{count_parameters(network):,} trainable parameters\n" in text


def commands(name: str) -> list[tuple[str, list[str]]]:
    """The commands after `$ ` in the blocks of a page, but for those that cannot run here.

    Each with the lines that the page quotes of its output.
    """
    found: list[tuple[str, list[str]]] = []
    for before, block in re.findall(r"([^\n]*)\n```console\n(.*?)^```$", read(name), flags=re.M | re.S):
        if before.startswith(SKIPPED):
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            elif line != "⋮":
                found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """A line of an output without what differs from run to run: numbers, digests, the width of columns.

    And how far an experiment in the queue is.
    """
    line = re.sub(r"\b(?=\w*\d)[0-9a-f]{6,7}\b", "#", " ".join(line.split()))
    line = re.sub(r"[AP]M (Queued|Running|Success)$", "#", line)
    return re.sub(r"[+−-]?\d+([.,:]\d+)*", "#", line).lstrip("├└─ ")


def experiments(clone: Clone) -> list[str]:
    return clone.git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/*").split()


def run_as_written(clone: Clone, command: str) -> str:
    """Run a command of a text in a shell.

    The digest in the name of a sweep's experiment is that of the parameters here, which are other ones; and
    `make` leaves the environment as it is.
    """
    for prefix in re.findall(r"([\w.-]+-)[0-9a-f]{6}\b", command):
        (there,) = [
            name for name in experiments(clone) if re.fullmatch(re.escape(prefix) + "[0-9a-f]{6}", name)
        ]
        command = re.sub(re.escape(prefix) + r"[0-9a-f]{6}\b", there, command)
    if command.startswith("make "):
        command = " ".join(("make", *OLD_FILES, command.removeprefix("make ")))
    if command.startswith("dvc queue start"):  # its workers would keep the pipe open
        command += " >../started 2>&1; cat ../started"
    return output(clone.run("bash", "-c", command))


def wait_for_the_queue(clone: Clone) -> None:
    until = time.monotonic() + 200
    while re.search("Queued|Running", status := clone.dvc("queue", "status").stdout):
        assert time.monotonic() < until, status
        if "0 active, 0 idle" in status:  # DVC's workers may stop early
            clone.dvc("queue", "start", "-j", "2")
        time.sleep(3)
    assert "Failed" not in status


def wait_for_workers_to_end(clone: Clone) -> None:
    """Those of a sweep before: DVC would start fewer than the page says."""
    until = time.monotonic() + 60
    while "0 active, 0 idle" not in (status := clone.dvc("queue", "status").stdout):
        assert time.monotonic() < until, status
        time.sleep(1)


# Two experiments more, in DVC's queue: `make sweep` fills the same queue and starts the same workers.
@pytest.mark.parametrize("queue", [pytest.param(True, marks=pytest.mark.slow), False], ids=["all", "quick"])
def test_the_commands_of_the_readme_and_of_experiments_run_in_their_order(
    experimented: tuple[Clone, str], tmp_path: Path, queue: bool
) -> None:
    clone, of_the_first = experimented[0].copy(tmp_path / "clone"), experimented[1]
    printed: dict[str, str] = {}
    for page in ("README.md", "docs/experiments.md"):
        for command, quoted in commands(page):
            if not queue and re.match("dvc (exp run --queue|queue)", command):
                continue
            if command.startswith("dvc exp run --queue"):
                wait_for_workers_to_end(clone)
            printed[command] = of_the_first if command == EXPERIMENT else run_as_written(clone, command)
            shapes = {shape(line) for line in printed[command].splitlines()}
            expected = [line for line in quoted if not line.startswith(OF_THE_RESULT)]
            assert [line for line in expected if shape(line) not in shapes] == [], command
            if command.startswith("dvc exp run -n"):
                assert "params.yaml" in clone.git("status", "--short"), "the text says so"
            if command.startswith("git checkout . "):
                assert clone.git("status", "--short") == ""
            if command.startswith("dvc queue start"):
                wait_for_the_queue(clone)
    assert next(iter(printed)) == EXPERIMENT, "which has been run, see conftest.py"
    listed = experiments(clone)
    text = read("README.md") + read("docs/experiments.md")
    named = set(re.findall(r"dvc exp run (?:--queue )?-n ([\w.-]+)", "\n".join(printed)))
    of_sweeps = {found[0] for found in re.findall(r"((?:[a-z]+-[\w.]+-?)+-)([0-9a-f]{6})\b", text)}
    assert named == ({"lr-0.01", "tanh-avg", "batch-32"} if queue else {"lr-0.01"})
    assert named <= set(listed)
    assert len(of_sweeps) == 2
    assert {re.sub("[0-9a-f]{6}$", "", name) for name in listed} >= of_sweeps
    tables = [output for command, output in printed.items() if command.startswith("dvc exp show")]
    assert all("lr-0.01" in table for table in tables), "whoever reads on needs the names"
    assert "up to date" in printed["dvc status dvc.yaml"]
    assert clone.git("status", "--short") == ""
