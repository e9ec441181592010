"""Networks built from parameters, what they are fed, and what they answer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.networks.network import Network
from src.runtime.seeds import derived_seed

INPUT_MODES = ("resize", "pad")

# Large enough to keep two cores busy, small enough for the activations to stay in cache.
EVALUATION_BATCH = 1000


def network_class(model: str) -> type[Network]:
    """The class of the network `model`, which is `NETWORK` in the module of that name."""
    return import_module(f"src.networks.{model}").NETWORK


def build_model(network: dict[str, Any], *, seed: int, num_classes: int = 10) -> Network:
    """A network whose initial weights depend on `seed` alone; the global random state is left as it was.

    Args:
        network: `model`, and the parameters that the class of this network takes.
        seed: of the experiment; the initial weights follow from it.
        num_classes: the number of logits.
    """
    chosen = network_class(network["model"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        return chosen(**{key: network[key] for key in chosen.accepts}, num_classes=num_classes)


def network_input(images: Tensor, network: dict[str, Any], *, mean: float, std: float) -> Tensor:
    """What a network is fed: 28×28 pictures in its size and normalised.

    Args:
        images: uint8 [N, 28, 28], background 0.
        network: `model`; and `input` for networks that take 32×32 pictures: `resize` for bilinear
            resizing, `pad` for a border of 2 background pixels (LeCun et al. 1998).
        mean: of the training images' pixels, in units of full intensity (0 to 1).
        std: the standard deviation of the same pixels, same units.

    Returns:
        float32 [N, 1, 32, 32] or [N, 1, 28, 28] on the device of `images`.
    """
    pixels = images.unsqueeze(1)
    if network_class(network["model"]).input_size == images.shape[-1]:
        pixels = pixels.float()
    elif network["input"] == "pad":
        pixels = F.pad(pixels, (2, 2, 2, 2)).float()
    else:
        pixels = F.interpolate(pixels.float(), size=(32, 32), mode="bilinear", align_corners=False)
    return pixels.sub_(255 * mean).div_(255 * std)


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits, float32 [N, classes], of network inputs, float32 [N, 1, H, W]; dropout is off."""
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
    predict_logits(model, torch.zeros(1, 1, model.input_size, model.input_size))
    for hook in hooks:
        hook.remove()
    header = ("layer", "kind", "output", "parameters")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}"
        for name, kind, shape, count in [header, *rows]
    ]
    return "\n".join([*lines, f"{count_parameters(model):,} trainable parameters"])
