"""Where the pipeline keeps its files, seen from its root; `dvc.yaml` declares the same paths."""

from __future__ import annotations

from pathlib import Path

PARAMS_FILE, PIPELINE_FILE, LOCK_FILE = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")

PREPARED = Path("data/prepared")
TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT = (PREPARED / f"{split}.npz" for split in ("train", "val", "test"))
EXAMPLES = Path("data/test_examples.npz")
# What `validate` leaves, so that no other stage begins with invalid parameters.
VALIDATED = Path("data/validated.json")

MODEL = Path("models/model.pt")
ONNX, PROGRAM = Path("models/model.onnx"), Path("models/model.pt2")
MODEL_CARD = Path("models/README.md")

METRICS = Path("metrics")
TRAIN_METRICS, TEST_METRICS = METRICS / "train.json", METRICS / "test.json"
EXPORT_METRICS = METRICS / "export.json"
ENVIRONMENT = METRICS / "environment.json"

PLOTS = Path("plots")
HISTORY, STEPS = PLOTS / "history.csv", PLOTS / "steps.csv"
PREDICTIONS, VAL_PREDICTIONS = PLOTS / "predictions.csv", PLOTS / "val_predictions.csv"
CONFUSION, PER_CLASS = PLOTS / "confusion.csv", PLOTS / "per_class.csv"
CALIBRATION = PLOTS / "calibration.csv"

# A user's own datasets, a folder each; a file in it stands for a dataset that is built in.
OWN_DATA = Path("data/own")
