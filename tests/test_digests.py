from __future__ import annotations

from pathlib import Path

import pytest

from src.runtime.digests import edited_by_hand, sha256

PIPELINE = """
stages:
  several:
    cmd:
      - echo first
      - python -m stages.mine --flag
    params: [lr]
  one:
    foreach: [a, b]
    do:
      cmd: python -m stages.mine ${item}
      deps: [mine.py, data]
  other:
    cmd: python -m stages.other
    deps: [other.py]
"""


def test_a_stage_is_found_by_its_command_however_dvc_yaml_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("lr: 0.1\nseed: 0\n")
    for name in ("mine.py", "other.py"):
        Path(name).touch()
    assert edited_by_hand(Path("stages/mine.py")) == {
        "lr in params.yaml": 0.1,
        "mine.py": sha256(Path("mine.py")),
    }
    assert edited_by_hand(Path("stages/none.py")) == {}
