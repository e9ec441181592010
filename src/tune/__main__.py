"""Search for better parameters: `python -m src.tune --samples 20`.

What is searched, and within which bounds, says `search_space.yaml`; dataset and everything else is as in
`params.yaml`. Trials are compared by their validation accuracy; the test split is not read. Interrupted or
killed, the same command goes on. Results are `metrics/tune.csv`, `plots/tune.png`, and the command that makes
the best trial a DVC experiment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.data.splits import load_split
from src.params import RunParams, read
from src.runtime.errors import UserError, run
from src.runtime.files import replacing, write_table, write_text
from src.runtime.paths import TRAIN_SPLIT, VAL_SPLIT
from src.runtime.workspace import repository
from src.tune.search_space import SPACE_FILE, Domain, read_space
from src.tune.trials import Trial, best_first, command, search_figure, table

TABLE, FIGURE = Path("metrics/tune.csv"), Path("plots/tune.png")
SEARCHES = Path(".dvc/tmp/tune")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=20, help="how many trials (%(default)s)")
    parser.add_argument("--space", type=Path, default=SPACE_FILE, help="the search space (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the proposals (%(default)s)")
    parser.add_argument(
        "--engine",
        choices=("ray", "vectorized"),
        default="ray",
        help="ray: trials side by side, on one machine or many, the poor ones stopped early;\n"
        "vectorized: several trials in one go, on this machine (%(default)s)",
    )
    parser.add_argument("--name", help="of the search; by default from all that decides its trials")
    with_ray = parser.add_argument_group("with Ray")
    with_ray.add_argument(
        "--address",
        default=os.environ.get("RAY_ADDRESS"),
        help="of a running Ray cluster (RAY_ADDRESS); without one, Ray runs here for the time of the search",
    )
    with_ray.add_argument("--cpus-per-trial", type=int, default=1, help="cores and threads (%(default)s)")
    with_ray.add_argument("--gpus-per-trial", type=float, default=0.0, help="may be a fraction (%(default)s)")
    vectorized = parser.add_argument_group("vectorized")
    vectorized.add_argument("--at-once", type=int, default=8, help="trials trained in one go (%(default)s)")
    parser.add_argument("--record", action="store_true", help="record every trial as a DVC experiment")
    parser.add_argument("--apply", action="store_true", help="run the best trial as a DVC experiment")
    return parser.parse_args()


def claim(folder: Path, decides: dict[str, Any]) -> None:
    """Make the folder of a search, or find that it is of the same search.

    Raises:
        UserError: it is of another one.
    """
    settings = folder / "search.json"
    text = json.dumps(decides, indent=2, sort_keys=True) + "\n"
    if settings.exists() and settings.read_text() != text:
        then, now = json.loads(settings.read_text()), json.loads(text)
        differ = ", ".join(key for key in now if now[key] != then.get(key))
        raise UserError(f"--name: {folder.name!r} is a search with another {differ}; expected another name")
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_text(settings, text)


def _engine(options: argparse.Namespace) -> Callable[..., list[Trial]]:
    try:
        if options.engine == "vectorized":
            from src.tune.vectorized_search import vectorized_search

            return partial(vectorized_search, at_once=options.at_once)
        from src.tune.ray_search import Resources, ray_search

        resources = Resources(options.address, options.cpus_per_trial, options.gpus_per_trial)
        return partial(ray_search, resources=resources)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install -r requirements-tune.txt") from None


def main() -> None:
    options = arguments()
    for name, lowest, highest in (
        ("samples", 1, 1_000_000),
        ("seed", 0, 2**32 - 1),
        ("cpus_per_trial", 1, 1024),
        ("gpus_per_trial", 0, 1024),
        ("at_once", 1, 1024),
    ):
        if not lowest <= getattr(options, name) <= highest:
            option = "--" + name.replace("_", "-")
            raise UserError(
                f"{option}: {getattr(options, name)} is invalid; expected {lowest} to {highest:,}"
            )
    if options.name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", options.name):
        raise UserError(f"--name: {options.name!r} is invalid; expected letters, digits, . _ and -")
    base = read(RunParams).model_dump()
    space = read_space(options.space, base)
    decides = {
        "params": base,
        "space": {key: [domain.kind, *domain.values] for key, domain in space.items()},
        "samples": options.samples,
        "seed": options.seed,
        "engine": options.engine,
    }
    if options.engine == "vectorized":
        decides["at_once"] = options.at_once
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:6]
    folder = (repository() / SEARCHES / (options.name or f"{base['dataset']}-{digest}")).resolve()
    engine = _engine(options)
    if subprocess.run(("dvc", "repro", "--quiet", "prepare"), check=False).returncode:
        raise UserError("the images could not be prepared, see above")
    claim(folder, decides)
    try:
        with FileLock(folder / "lock", timeout=0):
            trials = engine(
                space,
                base,
                (load_split(TRAIN_SPLIT), load_split(VAL_SPLIT)),
                folder,
                samples=options.samples,
                seed=options.seed,
            )
    except Timeout:
        raise UserError(f"the search {folder.name!r} is running already") from None
    write_table(TABLE, table(trials))
    with replacing(FIGURE) as path:
        search_figure(trials, space).savefig(path, dpi=150, format="png")
    if options.record:
        from src.tune.recording import record

        names = record(trials, folder.name)
        print(
            f"recorded {len(names)} experiments, {names[0]} to {names[-1]}" if names else "nothing to record"
        )
    report(trials, space, options)


def report(trials: list[Trial], space: dict[str, Domain], options: argparse.Namespace) -> None:
    ranked = best_first(trials)
    if not ranked:
        raise UserError(f"none of {len(trials)} trials came to an end; {TABLE} says why")
    shown = table(ranked[:5])[["trial", "status", *space, "epochs", "val_loss", "val_accuracy"]]
    print(shown.to_string(index=False, formatters={"val_accuracy": "{:.2%}".format}))
    if unfinished := sum(one.status == "unfinished" for one in trials):
        print(f"interrupted with {unfinished} trials unfinished; the same command goes on", file=sys.stderr)
        sys.exit(130)
    words = command(ranked[0], list(space))
    print(f"\nthe best of {len(trials)}:\n{shlex.join(words)}", flush=True)
    if options.apply:
        sys.exit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    run(main)
