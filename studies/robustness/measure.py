"""The best model and the validation split → its accuracy on corrupted images, as a table and a figure.

The validation split, since robustness is a thing to choose a model by, and the test split is for reporting.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.data.splits import load_split_of
from src.figures.style import save
from src.networks.build import predict_logits
from src.networks.model_file import load_model
from src.runtime.devices import set_up_process
from src.runtime.files import write_table
from src.runtime.paths import MODEL, VAL_SPLIT
from src.runtime.workspace import run_stage
from studies.robustness.corruptions import corrupt, robustness
from studies.robustness.figure import robustness as robustness_figure
from studies.robustness.table import by_strength

RESULTS = Path("studies/robustness")
SEED = 0


def main() -> None:
    trained = load_model(MODEL)
    split = load_split_of(trained, VAL_SPLIT, model=MODEL)
    device = set_up_process()
    network = trained.build().to(device)

    def classify(images: Tensor) -> Tensor:
        return predict_logits(network, trained.prepare_input(images)).argmax(1)

    images = torch.from_numpy(split.images).to(device)
    labels = torch.from_numpy(split.labels.astype(np.int64)).to(device)
    table = robustness(classify, images, labels, SEED)
    first = {name: corrupt(images[:1], name, 3, SEED)[0] for name in table["corruption"].unique()[1:]}
    figure = robustness_figure(table, {name: image.cpu().numpy() for name, image in first.items()})
    write_table(RESULTS / "accuracy.csv", table)
    save(figure, RESULTS / "accuracy.png")
    print(by_strength(table).to_string(index=False))


if __name__ == "__main__":
    run_stage(main)
