"""What docs/data-and-networks.md says of a user's own images and networks, followed to the letter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.own import Facts
from src.networks.model_file import load_model
from tests.conftest import ROOT, Clone
from tests.own_images import write_pictures
from tests.test_own_pipeline import stages

PAGE = (ROOT / "docs/data-and-networks.md").read_text()
NETWORK = PAGE[PAGE.index("\n## Add a network\n") :]


def follow(clone: Clone) -> None:
    """Add the network of the page: its file, and each change that is shown."""
    (module,) = re.findall(r"^```python\n(.*?)^```$", NETWORK, flags=re.M | re.S)
    (clone.path / "src/networks/separable.py").write_text(module)
    (changes,) = re.findall(r"^```diff\n(.*?)^```$", NETWORK, flags=re.M | re.S)
    for hunk in re.split(r"^--- ", changes, flags=re.M)[1:]:
        name, *lines = hunk.splitlines()
        old, new = ("\n".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        clone.replace(name, old, new)
    clone.run("python", "-m", "src.parameter_reference")


def test_every_fact_is_in_the_table() -> None:
    for key, field in Facts.model_fields.items():
        assert f"\n| `{key}` | {field.description} | " in PAGE
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE, flags=re.M)) >= set(Facts.model_fields)


def test_a_network_is_added_as_written_and_works_in_every_stage(fresh_clone: Callable[[], Clone]) -> None:
    clone = fresh_clone()
    follow(clone)
    assert "Channels of the first convolution of separable: an integer ≥ 1" in clone.read("params.yaml")
    assert "| `width` |" in clone.read("docs/parameters.md")
    clone.set_params(model="separable")
    said = stages(
        clone, "validate", "prepare", "train", "evaluate", "plot", "export", "width=8", "epochs=1", "train"
    ).stdout
    assert "\n13,898 trainable parameters\n" in said
    assert "\n13,898 trainable parameters\n" in NETWORK
    assert load_model_of(clone) == {"model": "separable", "width": 8}
    assert "same_class" in clone.read("metrics/export.json")
    clone.set_params(width=0)
    refused = clone.run("python", "-m", "stages.validate", check=False)
    assert refused.stderr == "error: params.yaml: width: 0 is invalid; expected an integer ≥ 1 and ≤ 256\n"


def load_model_of(clone: Clone) -> dict[str, object]:
    """Model and width of a clone's trained network; its module is only in the clone."""
    code = (
        "import json; from pathlib import Path; from src.networks.model_file import load_model;"
        "network = load_model(Path('models/model.pt')).network;"
        "print(json.dumps({key: network[key] for key in ('model', 'width')}))"
    )
    return json.loads(clone.run("python", "-c", code).stdout)


@pytest.mark.slow
def test_the_network_works_in_experiments_studies_searches_and_predictions(
    fresh_clone: Callable[[], Clone],
) -> None:
    clone = fresh_clone()
    follow(clone)
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message=A network")
    command = re.findall(r"^\$ (dvc exp run .*)$", NETWORK, flags=re.M)[0]
    assert "test accuracy" in clone.run(*command.split()).stdout
    assert load_model_of(clone)["model"] == "separable"
    for study in ("crossval", "robustness", "export"):
        clone.dvc("repro", f"studies/{study}/dvc.yaml")
    for model in ("models/model.pt", "models/model.onnx"):
        said = clone.run("python", "-m", "src.predict", "--model", model, "plots/feature_maps.png").stdout
        assert "plots/feature_maps.png" in said
    (clone.path / "search_space.yaml").write_text("width: {choice: [4, 8]}\n")
    found = clone.run("python", "-m", "src.tune", "--samples", "2", "--engine", "ray").stdout
    assert "width" in found


@pytest.mark.slow
def test_the_commands_for_images_of_your_own(fresh_clone: Callable[[], Clone], tmp_path: Path) -> None:
    clone = fresh_clone()
    write_pictures(tmp_path / "pictures", dict.fromkeys(("circle", "square", "triangle"), 20), colour=True)
    readme = (ROOT / "README.md").read_text()
    block = readme[readme.index("**Your own images.**") :]
    copied, trained = re.findall(r"^\$ (.*)$", block, flags=re.M)[:2]
    clone.run("bash", "-c", copied, HOME=str(tmp_path))
    assert "shapes: test accuracy" in clone.run("bash", "-c", trained).stdout
    assert load_model(clone.path / "models/model.pt").class_names == ["circle", "square", "triangle"]
