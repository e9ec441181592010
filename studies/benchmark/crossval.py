"""Cross-validation of one recipe over its training images: `python -m studies.benchmark.crossval`."""

import json

from src.data.splitting import split_dataset
from src.params import RunParams, parse
from src.runtime.devices import set_up_process
from src.runtime.workspace import run_stage
from studies.benchmark.recipes import FOLDER, complete
from studies.benchmark.study import read_study
from studies.crossval.folds import joined
from studies.crossval.measure import cross_validation, write


def main() -> None:
    chosen = read_study().crossval
    path = FOLDER / "recipes" / f"{chosen.recipe}.json"
    values = complete(json.loads(path.read_text())["params"], seed=0) | {"epochs": chosen.epochs}
    params = parse(values, RunParams, whole=RunParams, source=str(path))
    train, val, _ = split_dataset(params)
    with cross_validation(joined(train, val), chosen.folds, params, set_up_process()) as found:
        write(found, FOLDER / "crossval", params.dataset)


if __name__ == "__main__":
    run_stage(main)
