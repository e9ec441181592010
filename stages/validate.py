"""Validate `params.yaml`, also where a mistake in it would make no other stage run."""

from src.params import Params, read
from src.runtime.workspace import run_stage


def main() -> None:
    read(Params)


if __name__ == "__main__":
    run_stage(main)
