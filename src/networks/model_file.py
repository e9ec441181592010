"""A trained network's file: the weights, and all that is needed to rebuild and feed the network."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.data.splits import DEFAULT_FORMAT, ImageFormat
from src.networks.build import INPUT_MODES, build_model, network_input
from src.networks.network import Network
from src.runtime.errors import UserError, reason
from src.runtime.files import replacing


@dataclass(frozen=True)
class TrainedModel:
    """A network's weights with all that is needed to rebuild and feed it.

    Attributes:
        dataset: the name of the dataset it was trained on.
        class_names: the class names, in the order of the logits.
        mean: of the training images' pixels, in units of full intensity.
        std: the standard deviation of the same pixels.
        network: the keys of `NetworkParams`.
        seed: of the training; its initial weights follow from it.
        weights: the network's state dict, contiguous and on the CPU.
        format: of the images that it was trained on, and that pictures are made like.
    """

    dataset: str
    class_names: list[str]
    mean: float
    std: float
    network: dict[str, Any]
    seed: int
    weights: dict[str, Tensor]
    format: ImageFormat = DEFAULT_FORMAT

    def build(self) -> Network:
        """The network with its trained weights, in evaluation mode."""
        model = self.build_untrained()
        model.load_state_dict(self.weights)
        return model.eval()

    def build_untrained(self) -> Network:
        """The network as it was before its training."""
        return build_model(
            self.network, seed=self.seed, num_classes=len(self.class_names), image_format=self.format
        )

    def prepare_input(self, images: Tensor) -> Tensor:
        """`network_input` with this model's statistics and input mode."""
        return network_input(images, self.network, mean=self.mean, std=self.std)


def save_model(model: TrainedModel, path: Path) -> None:
    """Write `model` to `path`, whole or not at all; equal models give equal bytes."""
    # torch.save names the archive inside after the file; a buffer keeps a temporary name out of the bytes.
    buffer = io.BytesIO()
    torch.save(asdict(model) | {"format": model.format.json()}, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote; nothing in the file is executed (`weights_only=True`).

    Raises:
        UserError: the file is missing, damaged, or is not a model of this project.
    """
    try:
        content = path.read_bytes()
        # torch.load does not look at the checksums in the archive that it reads.
        if damaged := zipfile.ZipFile(io.BytesIO(content)).testzip():
            raise ValueError(f"{damaged} is damaged")
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        _check_keys(values)
        model = TrainedModel(**values | {"format": ImageFormat.from_json(values["format"])})
        _check_types(model)
        model.build()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes it") from None
    except Exception as error:  # torch.load and load_state_dict raise many types for a damaged file
        raise UserError(f"{path}: not a model written by this project ({reason(error)})") from None
    return model


def _check_keys(values: object) -> None:
    expected = {field.name for field in fields(TrainedModel)}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise TypeError("it holds something else")
    if missing := sorted(expected - set(values)):
        raise ValueError(f"it lacks {', '.join(missing)}; `dvc repro train` writes a new one")
    if unknown := sorted(set(values) - expected):
        raise ValueError(f"it holds an unknown {', '.join(unknown)}")


def _check_types(model: TrainedModel) -> None:
    texts = [model.dataset, *model.class_names, *model.network]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("its dataset, class names and settings must be text")
    if type(model.seed) is not int or not 0 <= model.seed < 2**32:
        raise ValueError(f"seed {model.seed!r} is not an integer ≥ 0 and < 2**32")
    if model.network.get("input") not in INPUT_MODES:
        raise ValueError(f"input: {model.network.get('input')!r} is not one of {', '.join(INPUT_MODES)}")
    if not (0 <= model.mean <= 1 and 0 < model.std <= 1):
        raise ValueError(f"mean {model.mean!r} and std {model.std!r} cannot normalise an image")
    for name, tensor in model.weights.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds a value that is not finite")
