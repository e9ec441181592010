"""The best model and the test split, read here and nowhere else → metrics, tables and examples."""

import numpy as np
import pandas as pd
import torch

from src.data.splits import load_split
from src.evaluation.examples import Examples, save_examples
from src.evaluation.metrics import evaluate, first_correct_of_each_class, most_confident_mistakes
from src.networks.build import predict_logits
from src.networks.model_file import load_model
from src.runtime.devices import set_up_process
from src.runtime.errors import UserError
from src.runtime.files import write_json, write_table
from src.runtime.paths import EXAMPLES, MODEL, PLOTS, TEST_METRICS, TEST_SPLIT
from src.runtime.workspace import run_stage

MISTAKES_SHOWN = 20


def main() -> None:
    trained, split = load_model(MODEL), load_split(TEST_SPLIT)
    if trained.dataset != split.dataset:
        raise UserError(f"{MODEL} was trained on {trained.dataset}, {TEST_SPLIT} holds {split.dataset}")
    device = set_up_process()
    network = trained.build().to(device)
    inputs = trained.prepare_input(torch.from_numpy(split.images).to(device))
    logits = predict_logits(network, inputs).cpu().numpy()
    evaluation = evaluate(logits, split.labels, split.class_names)

    correct = first_correct_of_each_class(evaluation.predictions)
    mistakes = most_confident_mistakes(evaluation.predictions, MISTAKES_SHOWN)
    shown = pd.concat([mistakes, correct])["index"].to_numpy(np.int64)
    mapped = int(shown[-1])
    with torch.inference_mode():
        maps = network.feature_maps(inputs[mapped : mapped + 1])
    examples = Examples(
        indices=shown,
        images=split.images[shown],
        mapped=mapped,
        network_input=inputs[mapped, 0].cpu().numpy(),
        feature_maps={name: channels[0].cpu().numpy() for name, channels in maps.items()},
    )
    save_examples(examples, EXAMPLES)
    for name in ("per_class", "confusion", "predictions", "calibration"):
        write_table(PLOTS / f"{name}.csv", getattr(evaluation, name))
    write_json(TEST_METRICS, evaluation.metrics)
    accuracy = evaluation.metrics["accuracy"]
    print(f"{split.dataset}: test accuracy {accuracy:.2%} on {len(split.labels):,} images")


if __name__ == "__main__":
    run_stage(main)
