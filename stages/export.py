"""The kept model → ONNX and an exported program, each compared with it on real images."""

import hashlib
import io
import json
from pathlib import Path

import torch

from src.classifiers import OnnxClassifier, TorchClassifier
from src.export import OPSET, agreement, checked, export_program, onnx_bytes, program_bytes
from src.files import replacing, write_text
from src.model_file import load_model
from src.splits import load_split
from src.workspace import run_stage

MODEL = Path("models/model.pt")
IMAGES = Path("data/prepared/train.npz")  # not the test split: that is read in `evaluate` alone
ONNX, PROGRAM = Path("models/model.onnx"), Path("models/model.pt2")
METRICS = Path("metrics/export.json")
COMPARED = 1000


def main() -> None:
    trained, images = load_model(MODEL), load_split(IMAGES).images[:COMPARED]
    program = export_program(trained)
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    with replacing(ONNX) as temporary:
        temporary.write_bytes(onnx_bytes(program, trained, digest))
    content = program_bytes(program)
    with replacing(PROGRAM) as temporary:
        temporary.write_bytes(content)

    expected = TorchClassifier(MODEL).logits(images)
    loaded = torch.export.load(io.BytesIO(content)).module()
    with torch.inference_mode():
        logits = loaded(torch.from_numpy(images)).numpy()
    metrics = {
        "images": len(images),
        "opset": OPSET,
        "onnx": checked(str(ONNX), agreement(expected, OnnxClassifier(ONNX).logits(images))),
        "program": checked(str(PROGRAM), agreement(expected, logits)),
    }
    write_text(METRICS, json.dumps(metrics, indent=2) + "\n")
    print(f"{ONNX} and {PROGRAM} answer as {MODEL} on {len(images):,} images")


if __name__ == "__main__":
    run_stage(main)
