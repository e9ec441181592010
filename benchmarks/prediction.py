"""Pictures a second and the seconds until the first answer: `python -m benchmarks.prediction`.

The prepared validation images as inverted PNGs, three times as large, 10,000 of them from memory: decoded,
prepared and predicted, by the model of PyTorch and by the exported one (`make export`). Then the command with
one picture, from its start to its end. The engines take turns.
"""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.record import record, spread
from src.data.splits import load_split
from src.predict.classifiers import open_classifier
from src.predict.predictions import predict
from src.runtime.errors import run
from src.runtime.paths import MODEL, ONNX, VAL_SPLIT

COMMAND = "python -m benchmarks.prediction"
PICTURES = 10_000
ROUNDS = 5
MODELS = (MODEL, ONNX)


def encoded(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(255 - image).resize((84, 84)).save(content, "PNG")
    return content.getvalue()


def main() -> None:
    split = load_split(VAL_SPLIT)
    distinct = [encoded(image) for image in split.images[:1000]]
    pictures = [("picture", one) for one in itertools.islice(itertools.cycle(distinct), PICTURES)]
    classifiers = {path: open_classifier(path) for path in MODELS}
    rates: dict[Path, list[float]] = {path: [] for path in MODELS}
    starts: dict[Path, list[float]] = {path: [] for path in MODELS}
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(distinct[0])
        file.flush()
        for _ in range(ROUNDS):
            for path, classifier in classifiers.items():
                started = time.perf_counter()
                answered = sum(1 for _ in predict(pictures, classifier))
                rates[path].append(answered / (time.perf_counter() - started))
                started = time.perf_counter()
                command = (sys.executable, "-m", "src.predict", "--model", str(path), file.name)
                subprocess.run(command, check=True, stdout=subprocess.PIPE)
                starts[path].append(time.perf_counter() - started)
    for path in MODELS:
        record(
            COMMAND,
            f"84×84 PNGs from memory, decoded, prepared and predicted ({split.dataset}): `{path}`",
            f"{spread(rates[path], ',.0f')} a second",
        )
        record(
            COMMAND,
            f"`python -m src.predict` with one picture: `{path}`",
            f"{spread(starts[path], '.2f')} s",
        )


if __name__ == "__main__":
    run(main)
