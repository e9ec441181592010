"""Validate `params.yaml`, before any other stage, and also where a mistake would make no other stage run."""

from src.params import Params, read
from src.runtime.paths import VALIDATED
from src.runtime.workspace import run_stage


def main() -> None:
    read(Params)
    VALIDATED.parent.mkdir(exist_ok=True)
    VALIDATED.write_text('"all parameters are valid"\n')


if __name__ == "__main__":
    run_stage(main)
