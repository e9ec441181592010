"""The models that are asked, and what their layers make of a picture."""

from __future__ import annotations

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.predict.classifiers import Classifier, TorchClassifier, is_onnx, open_classifier
from src.predict.predictions import Prediction, polarity
from src.runtime.errors import UserError, reason
from src.runtime.paths import MODEL

UNTRAINED = "untrained"


@dataclass(frozen=True)
class ServedModel:
    """A model under a name.

    Attributes:
        name: as the user gave it.
        classifier: what answers.
    """

    name: str
    classifier: Classifier


def open_models(names: list[str]) -> list[ServedModel]:
    """The models that a user names.

    Args:
        names: of files; `untrained`, for the network of `models/model.pt` as it was before its training; and
            commits, branches, tags or experiments, for their `models/model.pt`.

    Raises:
        UserError: there is no such model.
    """
    return [ServedModel(name, _open(name)) for name in names]


def _open(name: str) -> Classifier:
    path = Path(name)
    if name == UNTRAINED:
        return TorchClassifier(MODEL, untrained=True)
    if path.suffix == ".pt" or is_onnx(path) or path.is_file():
        return open_classifier(path)
    return _of_revision(name)


def _of_revision(name: str) -> Classifier:
    import dvc.api

    try:
        content = dvc.api.read(str(MODEL), rev=name, mode="rb")
    except Exception as error:  # dvc, scmrepo and pygit2 each raise their own
        raise UserError(
            f"{name!r} is invalid ({reason(error)}); expected a .pt or .onnx file, {UNTRAINED}, or a "
            "commit, branch, tag or experiment whose model is in DVC's cache"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL.name)
        path.write_bytes(content)
        return TorchClassifier(path)


def described(model: ServedModel, one: Prediction) -> dict[str, Any]:
    """What a page shows of a prediction: JSON's types, images as `data:` addresses of PNG files."""
    found: dict[str, Any] = {"model": model.name, "classes": model.classifier.class_names}
    if one.prepared is None:
        return found | {"error": one.problem}
    found |= {
        "seen": data_url(one.prepared.image),
        "picture": polarity(one.prepared),
        "layers": _layers(model.classifier, one.prepared.image),
    }
    if one.probabilities is None:
        return found | {"error": one.problem}
    return found | {"probabilities": one.probabilities.tolist()}


def _layers(classifier: Classifier, image: np.ndarray) -> list[dict[str, Any]]:
    """Every layer's channels side by side; none of an exported model."""
    if not isinstance(classifier, TorchClassifier):
        return []
    from matplotlib import colormaps

    from src.figures.images import CHANNELS_SHOWN

    layers = []
    for name, maps in classifier.feature_maps(image).items():
        # One scale for all channels of a layer, so that a silent channel looks silent.
        low, high = float(maps.min()), float(maps.max())
        scaled = (maps[:CHANNELS_SHOWN] - low) / max(high - low, 1e-12)
        tiles = [data_url(colormaps["viridis"](channel, bytes=True)[..., :3]) for channel in scaled]
        layers.append({"name": name, "channels": len(maps), "size": list(maps.shape[1:]), "tiles": tiles})
    return layers


def data_url(pixels: np.ndarray) -> str:
    """Pixels, uint8 [H, W] or [H, W, 3], as the address of a PNG that is its own content."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
