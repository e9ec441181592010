"""A trained model as something to ask, whichever file it comes from: images in, logits out."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from src.data.splits import ImageFormat
from src.runtime.errors import UserError, reason
from src.runtime.paths import MODEL, ONNX

# Images in one pass of ONNX Runtime: the activations of a whole split would take gigabytes.
BATCH = 1000


class Classifier(Protocol):
    """What answers.

    Attributes:
        dataset: the name of the dataset that it was trained on.
        class_names: in the order of the logits.
        format: of the images that it was trained on.
    """

    dataset: str
    class_names: list[str]
    format: ImageFormat

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 [N, C], of images, uint8 [N, *format.shape]."""
        ...


class TorchClassifier:
    """`models/model.pt`, by PyTorch.

    Args:
        path: of the model's file.
        untrained: the same network as it was before its training instead, with its initial weights.

    Raises:
        UserError: see `src.networks.model_file.load_model`.
    """

    def __init__(self, path: Path, *, untrained: bool = False) -> None:
        from src.networks.model_file import load_model
        from src.runtime.devices import set_up_process

        self._device = set_up_process()
        self._trained = load_model(path)
        self.dataset, self.class_names = self._trained.dataset, self._trained.class_names
        self.format = self._trained.format
        network = self._trained.build_untrained() if untrained else self._trained.build()
        # The server asks it from two threads. While it gives feature maps, no other images may pass.
        self._network = network.to(self._device).eval()
        self._lock = threading.Lock()

    def logits(self, images: np.ndarray) -> np.ndarray:
        import torch

        from src.networks.build import predict_logits

        inputs = self._trained.prepare_input(torch.from_numpy(images).to(self._device))
        with self._lock:
            return predict_logits(self._network, inputs).cpu().numpy()

    def feature_maps(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """What the layers make of an image, uint8 [*format.shape]: float32 [channels, h, w] by layer."""
        import torch

        inputs = self._trained.prepare_input(torch.from_numpy(image[None].copy()).to(self._device))
        with self._lock, torch.inference_mode():
            maps = self._network.feature_maps(inputs)
        return {name: channels[0].float().cpu().numpy() for name, channels in maps.items()}


class OnnxClassifier:
    """`models/model.onnx`, by ONNX Runtime; PyTorch is not imported.

    Args:
        path: of the model's file.
        providers: ONNX Runtime's names of the devices to compute on; by default all that it has here.

    Raises:
        UserError: the file is missing, damaged, or not one that the `export` stage has written.
    """

    def __init__(self, path: Path, *, providers: Sequence[str] | None = None) -> None:
        import onnxruntime

        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; `make export` writes it") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # a damaged file is reported below
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=providers or onnxruntime.get_available_providers()
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.dataset, self.class_names = metadata["dataset"], json.loads(metadata["class_names"])
            self.format = ImageFormat.from_json(metadata["format"])
        except Exception as error:  # ONNX Runtime has types of its own for each kind of damage
            raise UserError(f"{path}: not a model written by this project ({reason(error)})") from None

    def logits(self, images: np.ndarray) -> np.ndarray:
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        return np.concatenate([self._session.run(["logits"], {"images": each})[0] for each in batches])


def is_onnx(path: Path) -> bool:
    """Whether a file is an exported model, by its name."""
    return path.suffix.lower() == ".onnx"


def open_classifier(path: Path, *, untrained: bool = False) -> Classifier:
    """The model in a file, by its suffix: `.onnx`, or else PyTorch's.

    Args:
        path: of the file.
        untrained: see `TorchClassifier`; not for an exported model.

    Raises:
        UserError: the file is missing, damaged, or is not a model of this project.
    """
    # Where one of the pipeline's own files is missing, the classifier names the command that writes it.
    if path not in (MODEL, ONNX) and not path.exists():
        raise UserError(f"{path}: no such file; expected the path of a model, .pt or .onnx")
    return OnnxClassifier(path) if is_onnx(path) else TorchClassifier(path, untrained=untrained)
