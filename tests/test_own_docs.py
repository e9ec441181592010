"""What the documentation says of a user's own images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.networks.model_file import load_model
from src.own_images.dataset import DatasetFacts
from tests.conftest import ROOT, Clone
from tests.own_images import write_pictures

PAGE = (ROOT / "docs/own-images.md").read_text()


def test_every_fact_is_in_the_table() -> None:
    for key, field in DatasetFacts.model_fields.items():
        assert f"\n| `{key}` | {field.description} | " in PAGE
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE, flags=re.M)) >= set(DatasetFacts.model_fields)


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
