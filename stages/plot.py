"""Tables and examples → figures."""

import json

from src.data.splits import load_split
from src.evaluation.examples import load_examples
from src.figures import evaluation, images, training
from src.figures.style import save
from src.runtime.files import read_table
from src.runtime.paths import (
    CALIBRATION,
    CONFUSION,
    EXAMPLES,
    HISTORY,
    PER_CLASS,
    PLOTS,
    PREDICTIONS,
    STEPS,
    TEST_METRICS,
    TRAIN_METRICS,
    TRAIN_SPLIT,
    VAL_SPLIT,
)
from src.runtime.workspace import run_stage
from src.tracking.trackers import named_trackers, track_plots


def main() -> None:
    trackers = named_trackers()
    trained, tested = (json.loads(path.read_text()) for path in (TRAIN_METRICS, TEST_METRICS))
    examples, predictions = load_examples(EXAMPLES), read_table(PREDICTIONS)
    train, val = load_split(TRAIN_SPLIT), load_split(VAL_SPLIT)
    drawn = {
        "samples_train": images.sample_images(train, f"{train.dataset}: training split"),
        "samples_val": images.sample_images(val, f"{val.dataset}: validation split"),
        "learning_curves": training.learning_curves(read_table(HISTORY), trained["best_epoch"]),
        "step_losses": training.step_losses(read_table(STEPS)),
        "confusion_matrix": evaluation.confusion_matrix(read_table(CONFUSION)),
        "reliability_diagram": evaluation.reliability_diagram(read_table(CALIBRATION), tested["ece"]),
        "per_class_f1": evaluation.per_class_f1(read_table(PER_CLASS)),
        "feature_maps": images.feature_maps(examples, predictions, train.class_names),
        "predicted_examples": images.predicted_examples(examples, predictions, train.class_names),
    }
    pictures = [PLOTS / f"{name}.png" for name in drawn]
    for picture, figure in zip(pictures, drawn.values(), strict=True):
        save(figure, picture)
    metrics = {key: value for key, value in tested.items() if isinstance(value, float)}
    track_plots(trackers, train.dataset, metrics, pictures)


if __name__ == "__main__":
    run_stage(main)
