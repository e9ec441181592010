"""The best model, the validation and the test split → predictions, metrics of the test split, examples.

The only stage that opens the test split.
"""

import numpy as np
import pandas as pd
import torch

from src.data.splits import Split, image_digests, load_split_of
from src.evaluation.examples import Examples, save_examples
from src.evaluation.metrics import evaluate, first_correct_of_each_class, most_confident_mistakes
from src.networks.build import predict_logits
from src.networks.model_file import load_model
from src.networks.network import Network
from src.runtime.devices import set_up_process
from src.runtime.files import write_json, write_table
from src.runtime.paths import (
    CALIBRATION,
    CONFUSION,
    EXAMPLES,
    MODEL,
    PER_CLASS,
    PREDICTIONS,
    TEST_METRICS,
    TEST_SPLIT,
    VAL_PREDICTIONS,
    VAL_SPLIT,
)
from src.runtime.workspace import run_stage

MISTAKES_SHOWN, CORRECT_SHOWN = 20, 30


def with_images(predictions: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Predictions with a column `image`: eight hexadecimal digits of a hash of each image's pixels.

    By them `src.compare` knows that two revisions were evaluated on the same images.
    """
    return predictions.assign(image=[digest.hex() for digest in image_digests(split.images, size=4)])


def choose_examples(
    predictions: pd.DataFrame, split: Split, inputs: torch.Tensor, network: Network
) -> Examples:
    """The most confident mistakes, a correct prediction of each class, and the feature maps of the last.

    Of many classes those that come first.
    """
    correct = first_correct_of_each_class(predictions).head(CORRECT_SHOWN)
    mistakes = most_confident_mistakes(predictions, MISTAKES_SHOWN)
    chosen = pd.concat([mistakes, correct])["index"].to_numpy(np.int64)
    mapped = int(chosen[-1])
    with torch.inference_mode():
        maps = network.feature_maps(inputs[mapped : mapped + 1])
    return Examples(
        indices=chosen,
        images=split.images[chosen],
        mapped=mapped,
        network_input=inputs[mapped].permute(1, 2, 0).squeeze(2).cpu().numpy(),
        feature_maps={name: channels[0].cpu().numpy() for name, channels in maps.items()},
    )


def main() -> None:
    trained = load_model(MODEL)
    val, test = (load_split_of(trained, path, model=MODEL) for path in (VAL_SPLIT, TEST_SPLIT))
    device = set_up_process()
    network = trained.build().to(device)
    val_inputs, test_inputs = (
        trained.prepare_input(torch.from_numpy(split.images).to(device)) for split in (val, test)
    )
    validation, tested = (
        evaluate(predict_logits(network, inputs).cpu().numpy(), split.labels, split.class_names)
        for split, inputs in ((val, val_inputs), (test, test_inputs))
    )

    save_examples(choose_examples(tested.predictions, test, test_inputs, network), EXAMPLES)
    write_table(PER_CLASS, tested.per_class)
    write_table(CONFUSION, tested.confusion)
    write_table(CALIBRATION, tested.calibration)
    write_table(PREDICTIONS, with_images(tested.predictions, test))
    write_table(VAL_PREDICTIONS, with_images(validation.predictions, val))
    write_json(TEST_METRICS, tested.metrics)
    accuracy = tested.metrics["accuracy"]
    print(f"{test.dataset}: test accuracy {accuracy:.2%} on {len(test.labels):,} images")


if __name__ == "__main__":
    run_stage(main)
