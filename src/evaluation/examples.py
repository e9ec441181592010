"""A few test images, and what the network makes of one: all that a figure needs of the test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.runtime.errors import UserError
from src.runtime.files import read_arrays, write_arrays


@dataclass(frozen=True)
class Examples:
    """Test images chosen by `evaluate`, so that no figure has to read the test split again.

    Attributes:
        indices: int64 [N], rows of `plots/predictions.csv`.
        images: uint8 [N, H, W] or [N, H, W, 3], in the same order.
        mapped: the index of the image that `feature_maps` were made from.
        network_input: float32 [H, W] or [H, W, 3], that image as the network was fed it.
        feature_maps: float32 [channels, height, width] by layer, in order.
    """

    indices: np.ndarray
    images: np.ndarray
    mapped: int
    network_input: np.ndarray
    feature_maps: dict[str, np.ndarray]


def save_examples(examples: Examples, path: Path) -> None:
    """Write `examples` to a .npz file; equal examples give equal bytes."""
    arrays = {
        "indices": examples.indices,
        "images": examples.images,
        "mapped": np.array(examples.mapped),
        "network_input": examples.network_input,
        "layers": np.array(list(examples.feature_maps)),
        **{f"map of {name}": channels for name, channels in examples.feature_maps.items()},
    }
    write_arrays(path, arrays)


def load_examples(path: Path) -> Examples:
    """Read what `save_examples` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    arrays = read_arrays(path, ("indices", "images", "mapped", "network_input", "layers"))
    layers = [str(name) for name in arrays["layers"].reshape(-1)]
    maps = read_arrays(path, tuple(f"map of {name}" for name in layers))
    count = len(arrays["indices"]) if arrays["indices"].ndim == 1 else -1
    fits = (
        arrays["indices"].dtype == np.int64
        and arrays["images"].dtype == np.uint8
        and len(arrays["images"]) == count
        and arrays["images"].ndim in (3, 4)
        and arrays["mapped"].shape == ()
        and arrays["mapped"].dtype == np.int64
        and arrays["network_input"].ndim in (2, 3)
        and all(channels.ndim == 3 for channels in maps.values())
    )
    if not fits:
        raise UserError(
            f"{path}: damaged (its arrays do not fit together); `dvc repro --force` writes it anew"
        )
    return Examples(
        indices=arrays["indices"],
        images=arrays["images"],
        mapped=int(arrays["mapped"]),
        network_input=arrays["network_input"],
        feature_maps=dict(zip(layers, maps.values(), strict=True)),
    )
