"""Validate all of `params.yaml` first: a mistake in a key that no other stage reads would go unnoticed."""

from src.params import Params, read
from src.runtime.paths import VALIDATED
from src.runtime.workspace import run_stage


def main() -> None:
    read(Params)
    VALIDATED.parent.mkdir(exist_ok=True)
    VALIDATED.write_text('"all parameters are valid"\n')


if __name__ == "__main__":
    run_stage(main)
