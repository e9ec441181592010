"""A network is added as `docs/data-and-networks.md` shows; then it runs in every command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, Clone, output

PAGE = "docs/data-and-networks.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<content>.*?)^```$", flags=re.M | re.S)


def follow(clone: Clone, page: str, heading: str) -> str:
    """Do what a section of a page shows: write its modules, apply its changes, run its commands.

    A module or a change is of the file that the text before it names last.

    Returns:
        What the commands printed.
    """
    text = (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    printed = ""
    for block in BLOCK.finditer(text):
        named = re.findall(r"`([\w./]+\.(?:py|yaml))`", text[: block.start()])
        if block["kind"] == "python":
            (clone.path / named[-1]).write_text(block["content"])
        elif block["kind"] == "diff":
            lines = block["content"].splitlines(keepends=True)
            before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
            assert clone.read(named[-1]).count(before) == 1, named[-1]
            clone.replace(named[-1], before, after)
        else:
            for command in re.findall(r"^\$ (.+)$", block["content"], flags=re.M):
                printed += clone.run("bash", "-c", command).stdout
    return printed


def write_coloured_squares(folder: Path) -> None:
    """Thirty pictures of each of three classes that grey could not tell apart, one of them 32×32."""
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("red $", 'green, "light"', "blue 🟦")):
        (folder / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            pixels[8:24, 8:24, channel] = 200
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.mark.slow
def test_a_network_is_added_as_the_page_shows_and_works_in_every_command(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    printed = follow(clone, PAGE, "Add a network")
    assert "9,034 trainable parameters" in printed
    assert json.loads(clone.read("metrics/train.json"))["parameters"] == 9034
    assert "width: 16  # Channels of the first layer of separable: an integer ≥ 1 and ≤ 512" in clone.read(
        "params.yaml"
    )
    assert "| `width` | an integer ≥ 1 and ≤ 512 |" in clone.read("docs/parameters.md")
    # Those that know the networks and the parameters by their names.
    tests = [f"tests/test_{name}.py" for name in ("networks", "build", "unread", "params", "vectorized")]
    tests.append("tests/test_stages.py::test_the_committed_lock_matches_code_params_and_results")
    clone.run("python", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *tests)

    # Its code and its parameter are dependencies.
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message=A network")
    assert "up to date" in clone.dvc("status", "dvc.yaml").stdout
    of_the_benchmark = ("tests/test_benchmark_study.py", "-k", "committed_table")
    clone.run("python", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *of_the_benchmark, CI="")
    clone.replace("src/networks/separable.py", "kernel=3, stride=2, groups=width", "kernel=5, groups=width")
    assert "train" in clone.dvc("status", "dvc.yaml").stdout
    clone.git("checkout", "--quiet", ".")
    refused = clone.dvc("exp", "run", "-S", "width=0", check=False)
    assert "width: 0 is invalid; expected an integer ≥ 1 and ≤ 512" in output(refused)
    clone.git("checkout", "--quiet", ".")

    works_in_every_command(clone)


def works_in_every_command(clone: Clone) -> None:
    write_coloured_squares(clone.path / "data/own/Ink")
    pictures = sorted((clone.path / "data/own/Ink").rglob("0.png"))
    settings = ("dataset=Ink", "width=8", "epochs=6", "batch_size=10", "folds=2")
    clone.dvc("exp", "run", *(word for setting in settings for word in ("-S", setting)))
    assert json.loads(clone.read("metrics/test.json"))["accuracy"] == 1
    clone.dvc("repro", "studies/export/dvc.yaml")
    for model in ("models/model.pt", "models/model.onnx"):
        words = ("--model", model, "--plot", "grid.png", "--json", *map(str, pictures))
        answers = json.loads(
            clone.run("python", "-W", "error::UserWarning", "-m", "src.predict", *words).stdout
        )
        assert [answer["class"] for answer in answers] == [path.parent.name for path in pictures]
    with Image.open(clone.path / "grid.png") as grid:
        assert len(grid.convert("RGB").getcolors(maxcolors=10**6)) > 1000
    clone.dvc("repro", "studies/crossval/dvc.yaml")
    assert len(clone.read("studies/crossval/folds.csv").splitlines()) == 3
    clone.dvc("repro", "studies/robustness/dvc.yaml")
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message=Colours")
    swept = clone.run("python", "-m", "src.sweep", "width=4,8")
    assert "width" in swept.stdout
    (clone.path / "search_space.yaml").write_text("width: {integer: [4, 8]}\n")
    clone.run("python", "-m", "src.tune", "--samples", "2")
    clone.run("python", "-m", "src.report", "main")
    page = clone.read("report.html")
    assert "green, &#34;light&#34;" in page
    assert "blue 🟦" in page
    # Three classes, where its codes are of ten.
    clone.git("checkout", "--quiet", ".")
    refused = clone.dvc("exp", "run", "-S", "model=lenet5_1998", check=False)
    assert "error: model: lenet5_1998 is invalid with 3 classes of colour images" in output(refused)
    assert "Traceback" not in output(refused)
    assert "epoch " not in output(refused)
