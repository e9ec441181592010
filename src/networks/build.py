"""Networks built from parameters, what they are fed, and what they answer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.splits import DEFAULT_FORMAT, ImageFormat
from src.networks.network import Network
from src.runtime.seeds import derived_seed

INPUT_MODES = ("resize", "pad")

# Large enough to keep a core busy, small enough for the activations to stay in cache.
EVALUATION_BATCH = 1000


def network_class(model: str) -> type[Network]:
    """The class of the network `model`, which is `NETWORK` in the module of that name."""
    return import_module(f"src.networks.{model}").NETWORK


def build_model(
    network: dict[str, Any], *, seed: int, num_classes: int = 10, image_format: ImageFormat = DEFAULT_FORMAT
) -> Network:
    """A network whose initial weights depend on `seed` alone; the global random state is left as it was.

    Args:
        network: `model`, and the parameters that the class of this network takes.
        seed: of the experiment; the initial weights follow from it.
        num_classes: the number of logits.
        image_format: of the images that it is to classify.

    Raises:
        UserError: the network cannot classify such images, or so many classes.
    """
    chosen = network_class(network["model"])
    with torch.random.fork_rng(devices=[]):
        # Of the CPU alone, where they are drawn: torch.manual_seed would seed a GPU, too.
        torch.default_generator.manual_seed(derived_seed(seed, "initial weights"))
        model = chosen(
            **{key: network[key] for key in chosen.accepts},
            **({} if chosen.input_size else {"image_size": image_format.size}),
            num_classes=num_classes,
            channels=image_format.channels,
        )
    size = chosen.input_size or image_format.size
    model.input_shape = (image_format.channels, size, size)
    return model


def network_input(images: Tensor, network: dict[str, Any], *, mean: float, std: float) -> Tensor:
    """What a network is fed: images in its size, normalised, channels first.

    Args:
        images: uint8 [N, H, W], or [N, H, W, 3] with colour.
        network: `model`; and `input` for images that are smaller than those it takes: `resize` for bilinear
            resizing, `pad` for a border of background pixels, 0 (LeCun et al. 1998).
        mean: of the training images' pixels, in units of full intensity (0 to 1).
        std: the standard deviation of the same pixels, same units.

    Returns:
        float32 [N, channels, size, size] on the device of `images`; see `Network.input_shape`.
    """
    pixels = channels_first(images)
    missing = (network_class(network["model"]).input_size or pixels.shape[-1]) - pixels.shape[-1]
    if not missing:
        pixels = pixels.float()
    elif network["input"] == "pad":
        pixels = F.pad(pixels, (missing // 2,) * 4).float()
    else:
        size = pixels.shape[-1] + missing
        pixels = F.interpolate(pixels.float(), size=(size, size), mode="bilinear", align_corners=False)
    return pixels.sub_(255 * mean).div_(255 * std)


def channels_first(images: Tensor) -> Tensor:
    """Images, [N, H, W] or [N, H, W, C], as [N, C, H, W] with C = 1 for the former."""
    return images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits, float32 [N, classes], of network inputs, float32 [N, C, H, W]; dropout is off."""
    was_training = model.training
    model.eval()
    logits = torch.cat([model(batch) for batch in inputs.split(EVALUATION_BATCH)])
    model.train(was_training)
    return logits


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.inference_mode()
def summary(model: Network) -> str:
    """A line for every layer in the order of the forward pass: name, kind, output shape, parameters."""
    rows: list[tuple[str, str, str, str]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shape = " × ".join(str(size) for size in output.shape[1:])
        rows.append((names[module], type(module).__name__, shape, f"{count_parameters(module):,}"))

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    predict_logits(model, torch.zeros(1, *model.input_shape))
    for hook in hooks:
        hook.remove()
    header = ("layer", "kind", "output", "parameters")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}"
        for name, kind, shape, count in [header, *rows]
    ]
    return "\n".join([*lines, f"{count_parameters(model):,} trainable parameters"])
