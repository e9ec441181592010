"""`params.yaml` beside this file → what each setup comes to, in a file of its own.

A run depends on the file of its setup alone, which names the code that it runs by a digest. DVC reads every
`dvc.lock` of a repository many times in every command: entries for each module and each parameter of each
run made `dvc exp run` five seconds slower.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from src.params import RunParams, parse
from src.runtime.digests import code_digests, stage_dependencies
from src.runtime.files import write_text
from src.runtime.workspace import run_stage
from src.runtime.yaml_text import read_yaml

FOLDER = Path("studies/benchmark")


def code_digest() -> str:
    """SHA-256 over the modules that a run is made of: what this stage depends on but for its own script."""
    digest = hashlib.sha256()
    for path, content in code_digests(stage_dependencies(FOLDER / "dvc.yaml", "setups")).items():
        if Path(path) != FOLDER / "setups.py":
            digest.update(bytes.fromhex(content))
    return digest.hexdigest()


def main() -> None:
    study: Any = read_yaml(FOLDER / "params.yaml")
    code = code_digest()
    for name, changes in study["setups"].items():
        values = study["defaults"] | changes
        parse(values | {"seed": 0}, RunParams, whole=RunParams, source=f"{FOLDER / 'params.yaml'}: {name}")
        text = json.dumps({"params": values, "code": code}, indent=2) + "\n"
        write_text(FOLDER / "setups" / f"{name}.json", text)


if __name__ == "__main__":
    run_stage(main)
