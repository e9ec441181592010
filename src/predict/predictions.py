"""Pictures and a model in, predictions out; and predictions as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from src.own_images.pictures import Prepared, read_picture
from src.predict.classifiers import Classifier
from src.predict.photographs import open_picture
from src.runtime.errors import UserError

BATCH = 256

# Of a photograph: how sure a network is that needs no second look, and with how much less it is not believed.
CERTAIN, MIN_CONFIDENCE = 0.99, 0.6

# Of a picture that is kept to be drawn: its longer side at most, in pixels.
KEPT_SIDE = 640

# In a table for a person: columns for so many classes at most, or else so many of the most probable ones.
MAX_COLUMNS, BEST_SHOWN = 20, 5


@dataclass(frozen=True)
class Prediction:
    """What a model says of a picture, or why it was not asked.

    Attributes:
        file: the picture, as given.
        pixels: uint8 [H, W] or [H, W, 3], as it was read; of a large one every n-th pixel each way;
            none for one that could not be.
        prepared: as the model saw it.
        probabilities: float64 [C], softmax.
        problem: why there is none.
    """

    file: str
    pixels: np.ndarray | None = None
    prepared: Prepared | None = None
    probabilities: np.ndarray | None = None
    problem: str = ""


def predict(pictures: Iterable[tuple[str, Path | bytes]], classifier: Classifier) -> Iterator[Prediction]:
    """Ask a model what is in pictures, in order, some hundred at a time.

    Args:
        pictures: a name for each, and its file or the bytes of one.
        classifier: the model.
    """
    remaining = iter(pictures)
    while read := [_read(name, source, classifier) for name, source in itertools.islice(remaining, BATCH)]:
        images = [prediction.prepared.image for prediction in read if prediction.prepared]
        answers = iter(_probabilities(images, classifier) if images else ())
        for prediction in read:
            if prediction.prepared is None:
                yield prediction
            elif prediction.prepared.turned:
                yield _second_look(replace(prediction, probabilities=next(answers)), classifier)
            else:
                yield replace(prediction, probabilities=next(answers))


def _probabilities(images: Sequence[np.ndarray], classifier: Classifier) -> np.ndarray:
    """A row for each of the prepared images, float64 [N, C]."""
    return softmax(classifier.logits(np.stack(images)).astype(np.float64), axis=1)


def _read(name: str, source: Path | bytes, classifier: Classifier) -> Prediction:
    try:
        pixels, prepared = open_picture(source, classifier.format, classifier.dataset)
        return Prediction(name, _kept(pixels), prepared)
    except UserError as error:
        with suppress(UserError):  # nothing to be seen in it, which a person may want to see
            pixels = read_picture(source, classifier.format.channels)
            return Prediction(name, _kept(pixels), problem=str(error))
        return Prediction(name, problem=str(error))


def _kept(pixels: np.ndarray) -> np.ndarray:
    """A picture small enough to be kept beside some hundred others."""
    step = -(-max(pixels.shape[:2]) // KEPT_SIDE)
    return pixels[::step, ::step].copy() if step > 1 else pixels


def _second_look(prediction: Prediction, classifier: Classifier) -> Prediction:
    """Of a photograph whose answer is not certain, the surest answer when the paper is turned a little.

    One that is unsure however it is turned is not answered.
    """
    assert prediction.prepared is not None
    assert prediction.probabilities is not None
    if prediction.probabilities.max() < CERTAIN:
        images = (prediction.prepared.image, *prediction.prepared.turned)
        answers = _probabilities(images, classifier)
        surest = int(answers.max(axis=1).argmax())
        prepared = replace(prediction.prepared, image=images[surest])
        prediction = replace(prediction, prepared=prepared, probabilities=answers[surest])
    best = choices(prediction, classifier.class_names)
    if best["confidence"] < MIN_CONFIDENCE:
        why = f"not read: the best guess is {best['class']}, with {best['confidence']:.0%}"
        return replace(prediction, probabilities=None, problem=why)
    return prediction


def polarity(prepared: Prepared) -> str:
    """What was taken for the picture, and what for its background."""
    if prepared.inverted is None:
        return "whole"
    return "dark on bright" if prepared.inverted else "bright on dark"


def choices(prediction: Prediction, class_names: list[str]) -> dict[str, Any]:
    """The two best answers of a prediction that has some."""
    assert prediction.probabilities is not None
    first, second = np.argsort(-prediction.probabilities, kind="stable")[:2]
    return {
        "class": class_names[first],
        "confidence": float(prediction.probabilities[first]),
        "runner_up": class_names[second],
        "runner_up_confidence": float(prediction.probabilities[second]),
    }


def as_table(
    predictions: Iterable[Prediction],
    class_names: list[str],
    files: list[str],
    *,
    everything: bool,
) -> Iterator[str]:
    """Lines for a person, as they come.

    Args:
        predictions: to be shown.
        class_names: of the model.
        files: the names that will come, for the width of their column.
        everything: all probabilities, or the highest of many, in place of the runner-up.
    """
    width = min(60, max(map(len, ["file", *files])))
    widest = min(60, max(map(len, ["class", *class_names])))
    heading = _columns(class_names) if everything else "runner-up"
    yield f"{'file':<{width}}  {'class':<{widest}}  confidence  {'picture':<14}  {heading}"
    for prediction in predictions:
        if prediction.prepared is None or prediction.probabilities is None:
            yield f"{prediction.file:<{width}}  error: {prediction.problem}"
            continue
        best = choices(prediction, class_names)
        rest = (
            _shares(prediction.probabilities, class_names)
            if everything
            else f"{best['runner_up']} {best['runner_up_confidence']:.2%}"
        )
        yield (
            f"{prediction.file:<{width}}  {best['class']:<{widest}}  {best['confidence']:>10.2%}  "
            f"{polarity(prediction.prepared):<14}  {rest}"
        )


def _columns(class_names: list[str]) -> str:
    """The heading of `_shares`."""
    if len(class_names) > MAX_COLUMNS:
        return f"the {BEST_SHOWN} most probable of {len(class_names):,} classes"
    return "  ".join(f"{name:>6}" for name in class_names)


def _shares(probabilities: np.ndarray, class_names: list[str]) -> str:
    """The probability of each class, or of the best of many by name."""
    if len(class_names) > MAX_COLUMNS:
        best = np.argsort(-probabilities, kind="stable")[:BEST_SHOWN]
        return ", ".join(f"{class_names[code]} {probabilities[code]:.1%}" for code in best)
    return "  ".join(
        f"{share:>{max(6, len(name))}.1%}" for name, share in zip(class_names, probabilities, strict=True)
    )


def as_json(predictions: Iterable[Prediction], class_names: list[str]) -> Iterator[str]:
    """A JSON array: `file` with `class`, `confidence`, …, `probabilities` by class; or with `error`."""
    opening = "["
    for prediction in predictions:
        record: dict[str, Any] = {"file": prediction.file}
        if prediction.prepared is None or prediction.probabilities is None:
            record["error"] = prediction.problem
        else:
            record |= choices(prediction, class_names) | {"inverted": prediction.prepared.inverted}
            record["probabilities"] = dict(zip(class_names, prediction.probabilities.tolist(), strict=True))
        yield f"{opening}{json.dumps(record, ensure_ascii=False)}"
        opening = ","
    yield "]" if opening == "," else "[]"


def as_csv(predictions: Iterable[Prediction], class_names: list[str]) -> Iterator[str]:
    """A table with a column for each class, and one for what went wrong."""
    keys = ["file", "class", "confidence", "runner_up", "runner_up_confidence", "inverted", "error"]
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="")
    writer.writerow([*keys, *class_names])
    yield line.getvalue()
    for prediction in predictions:
        record: dict[str, Any] = {"file": prediction.file, "error": prediction.problem}
        if prediction.prepared is not None and prediction.probabilities is not None:
            record |= choices(prediction, class_names) | {"inverted": prediction.prepared.inverted}
        shares = (
            [""] * len(class_names) if prediction.probabilities is None else prediction.probabilities.tolist()
        )
        line.seek(0)
        line.truncate()
        # By position: a class may be called `error`.
        writer.writerow([*(record.get(key, "") for key in keys), *shares])
        yield line.getvalue()
