"""The best model → ONNX and an exported program, each compared with it on real images."""

import hashlib

import torch

from src.data.splits import load_split
from src.export.formats import OPSET, TOLERANCE, agreement, checked, export_program, onnx_bytes, program_bytes
from src.networks.build import predict_logits
from src.networks.model_file import load_model
from src.predict.classifiers import OnnxClassifier
from src.runtime.devices import set_up_process
from src.runtime.files import replacing, write_json
from src.runtime.paths import EXPORT_METRICS, MODEL, ONNX, PROGRAM, TRAIN_SPLIT
from src.runtime.workspace import run_stage

COMPARED = 1000


def main() -> None:
    trained, images = load_model(MODEL), load_split(TRAIN_SPLIT).images[:COMPARED]
    content = MODEL.read_bytes()
    # By the second one, dvc.lock and `python -m src.versions find` know the model.
    digests = {
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "model_md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }
    set_up_process()  # for deterministic kernels; all models are compared on the CPU, wherever others run
    expected = predict_logits(trained.build(), trained.prepare_input(torch.from_numpy(images))).numpy()
    program = export_program(trained)
    # Files whose answers differ never get their names.
    with replacing(ONNX) as onnx_file, replacing(PROGRAM) as program_file:
        onnx_file.write_bytes(onnx_bytes(program, trained, digests))
        program_file.write_bytes(program_bytes(program))
        by_onnx = OnnxClassifier(onnx_file, providers=["CPUExecutionProvider"]).logits(images)
        with torch.inference_mode():
            by_program = torch.export.load(program_file).module()(torch.from_numpy(images)).numpy()
        found = {
            "onnx": checked(str(ONNX), agreement(expected, by_onnx)),
            "program": checked(str(PROGRAM), agreement(expected, by_program)),
        }
    # Not by how much they differ: ONNX Runtime chooses its kernels by the processor.
    metrics: dict[str, object] = {"images": len(images), "opset": OPSET, "tolerance": TOLERANCE}
    # Once another model is trained, the file is known to be of this one.
    metrics["model_md5"] = digests["model_md5"]
    write_json(
        EXPORT_METRICS, metrics | {name: {"same_class": each.same_class} for name, each in found.items()}
    )
    largest = ", ".join(f"{name} {each.largest_difference:.2g}" for name, each in found.items())
    print(
        f"both answer as {MODEL} on {len(images):,} images; the largest difference of two logits: {largest}"
    )


if __name__ == "__main__":
    run_stage(main)
