"""What a reader of the model should know → a model card in the format of the Hugging Face Hub.

Every number is read from the files of the pipeline and of the studies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from src.data.splits import load_split
from src.evaluation.metrics import CALIBRATION_BINS, wilson_interval
from src.evaluation.mistakes import most_frequent_mistakes
from src.params import Params, RunParams, read
from src.runtime.errors import printable
from src.runtime.files import read_table, write_text
from src.runtime.paths import (
    CONFUSION,
    ENVIRONMENT,
    MODEL_CARD,
    PER_CLASS,
    PREDICTIONS,
    TEST_METRICS,
    TRAIN_METRICS,
    TRAIN_SPLIT,
    VAL_PREDICTIONS,
)
from src.runtime.workspace import run_stage
from studies.robustness.table import by_strength

ROBUSTNESS = Path("studies/robustness/accuracy.csv")
MISTAKES = 5

LIMITS = """- It answers with one of its classes whatever it is shown, even a photograph
  of a cat. Confidence is not the probability of being right on pictures unlike those of the dataset.
- The test accuracy is of one training. `make sweep … SEEDS=5` says how much another seed changes.
- Pictures must be made like those of the dataset: `python -m src.predict` does it."""


def interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy (Wilson 1927)."""
    low, high = wilson_interval(np.array([correct]), np.array([n]))
    return round(float(low[0]), 6), round(float(high[0]), 6)


def accuracy_of(predictions: pd.DataFrame) -> tuple[float, int, tuple[float, float]]:
    """Accuracy, number of images and interval of a table of predictions."""
    correct, n = int((predictions["actual"] == predictions["predicted"]).sum()), len(predictions)
    return round(correct / n, 6), n, interval(correct, n)


def card_data(params: Params, test: dict[str, Any], predictions: dict[str, pd.DataFrame]) -> ModelCardData:
    """The front matter: licence, data, and the metrics of the test and the validation split.

    Args:
        params: of the pipeline.
        test: `metrics/test.json`.
        predictions: of both splits, by their names.
    """
    results = []
    for split, table in predictions.items():
        accuracy, n, ends = accuracy_of(table)
        of_split: dict[str, Any] = {
            "task_type": "image-classification",
            "dataset_type": params.dataset.lower(),
            "dataset_name": params.dataset,
            "dataset_split": split,
            "dataset_args": {"images": n},
        }
        results.append(
            EvalResult(
                **of_split,
                metric_type="accuracy",
                metric_value=accuracy,
                metric_args={"interval_95": list(ends)},
            )
        )
        if split == "test":
            found = {
                "f1": test["macro"]["f1"],
                "loss": test["loss"],
                "expected-calibration-error": test["ece"],
            }
            results += [
                EvalResult(**of_split, metric_type=name, metric_value=value) for name, value in found.items()
            ]
    return ModelCardData(
        license="mit",
        model_name=f"{params.model}-{params.dataset.lower()}",
        library_name="pytorch",
        datasets=[params.dataset.lower()],
        metrics=["accuracy", "f1"],
        tags=["image-classification", params.model, "dvc", "onnx"],
        eval_results=results,
    )


def literal(name: str) -> str:
    """The name of a class, which may be anything, as Markdown that shows it and does nothing else."""
    escaped = "|<>&*_`[]\\~"
    return "".join(f"&#{ord(each)};" if each in escaped else each for each in printable(name))


def table_of(rows: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [list(map(str, rows.columns)), ["---"] * len(rows.columns)]
    lines += [list(map(str, row)) for row in rows.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(fraction: float) -> str:
    return f"{fraction:.2%}"


def results_text(test: dict[str, Any], predictions: dict[str, pd.DataFrame]) -> str:
    rows = []
    for split, table in predictions.items():
        accuracy, n, (low, high) = accuracy_of(table)
        rows.append((split, n, percent(accuracy), f"{percent(low)} to {percent(high)}"))
    shown = pd.DataFrame(rows, columns=["split", "images", "accuracy", "95 % interval (Wilson)"])
    return (
        f"{table_of(shown)}\n\nThe epoch was chosen by the validation split, whose accuracy may therefore be "
        "slightly too good; the training did not read the test split. Test split: "
        f"macro F1 {test['macro']['f1']:.4f}, cross-entropy {test['loss']:.4f} nats per image, "
        f"Brier score {test['brier']:.4f}, expected calibration error {test['ece']:.4f} "
        f"({CALIBRATION_BINS} bins; with few images it is not 0 even where confidence is right)."
    )


def mistakes_text(confusion: pd.DataFrame, per_class: pd.DataFrame) -> str:
    mistakes = most_frequent_mistakes(confusion, MISTAKES)
    listed = "\n".join(
        f"- {count:,} {'image' if count == 1 else 'images'}: "
        f"{literal(actual)} predicted as {literal(predicted)}"
        for actual, predicted, count in mistakes
    )
    # Of a class without test images nothing was measured.
    worst = per_class[per_class["support"] > 0].sort_values(["f1", "class"], kind="stable").head(MISTAKES)
    typical = int(per_class.loc[per_class["support"] > 0, "support"].median())
    lowest, _ = interval(typical, typical)
    shown = worst.assign(
        **{"class": worst["class"].map(literal)},
        **{key: worst[key].map("{:.4f}".format) for key in ("precision", "recall", "f1")},
    )
    return (
        f"The most frequent mistakes on the test split:\n\n{listed or '- none'}\n\n"
        f"The classes with the lowest F1:\n\n{table_of(shown)}\n\nThe median class has {typical:,} test "
        f"images. With so many, the 95 % interval of a recall of 1 begins at {lowest:.2f} (Wilson): "
        f"differences between classes that are smaller than {1 - lowest:.2f} may be chance."
    )


def robustness_text(robustness: pd.DataFrame) -> str:
    count = int(robustness["images"].iloc[0])
    low, high = interval(round(0.9 * count), count)
    return (
        f"Accuracy on {count:,} validation images as they are, and corrupted in five strengths, with their "
        f"amounts:\n\n{table_of(by_strength(robustness))}\n\nThese are of one network. With this many "
        f"images, the 95 % interval of an accuracy of 90 % is {percent(low)} to {percent(high)} (Wilson)."
    )


def setup_text(
    params: Params, train: dict[str, Any], environment: dict[str, Any], images: dict[str, int]
) -> str:
    used = params.model_dump(include=set(RunParams.model_fields))
    sizes = ", ".join(f"{count:,} {split}" for split, count in images.items())
    values = " ".join(f"`{key}={value}`" for key, value in used.items())
    trained = ", ".join(f"{key} {value}" for key, value in environment.items())
    return (
        f"`{params.model}`, {train['parameters']:,} parameters, trained on {params.dataset} ({sizes} images) "
        f"for {train['epochs']} epochs; the best was epoch {train['best_epoch']}.\n\n"
        f"Parameters: {values}.\n\nEnvironment: {trained}."
    )


def model_card() -> ModelCard:
    """The card of the model in the workspace."""
    params = read(Params)
    tables = {"validation": VAL_PREDICTIONS, "test": PREDICTIONS}
    predictions = {split: read_table(path) for split, path in tables.items()}
    train, test, environment = (
        json.loads(path.read_text()) for path in (TRAIN_METRICS, TEST_METRICS, ENVIRONMENT)
    )
    images = {"training": len(load_split(TRAIN_SPLIT).labels)}
    images |= {split: len(table) for split, table in predictions.items()}
    sections = {
        f"{params.model} on {params.dataset}": setup_text(params, train, environment, images),
        "Results": results_text(test, predictions),
        "Mistakes": mistakes_text(read_table(CONFUSION), read_table(PER_CLASS)),
        "Robustness": robustness_text(read_table(ROBUSTNESS)),
        "Limits": LIMITS,
    }
    first, *others = sections.items()
    body = f"# {first[0]}\n\n{first[1]}\n\n" + "\n\n".join(f"## {title}\n\n{said}" for title, said in others)
    front = card_data(params, test, predictions).to_yaml(line_break="\n")
    return ModelCard(f"---\n{front}\n---\n\n{body}\n")


def main() -> None:
    write_text(MODEL_CARD, str(model_card()))
    print(f"{MODEL_CARD}: the model card")


if __name__ == "__main__":
    run_stage(main)
