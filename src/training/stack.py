"""K ≥ 1 networks that are trained at the same time: how they compute. `src.training.loop` trains them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from src.networks.build import predict_logits
from src.networks.network import Network

if TYPE_CHECKING:
    from src.params import OptimizationParams


class NetworkStack(ABC):
    """K networks, each with its settings, which share the shape of their batches.

    Attributes:
        networks: each has its weights of the moment.
        settings: of each network.
        parameters: of each network, the leaf tensors that its optimizer changes.
    """

    networks: Sequence[Network]
    settings: Sequence[OptimizationParams]
    parameters: Sequence[list[nn.Parameter]]

    @abstractmethod
    def __init__(self, networks: Sequence[Network], settings: Sequence[OptimizationParams]) -> None: ...

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Logits, float [K, N, C], in training mode.

        Args:
            images: float [S, N, channels, H, W]; S is 1 where all networks get the same images, else K.
        """

    @abstractmethod
    def predict_logits(self, images: Tensor) -> Tensor:
        """Logits, float [K, N, C], in evaluation mode, of any number of images, float [N, channels, H, W]."""

    @abstractmethod
    def training_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What each network minimises, float [K], of logits [K, N, C] and labels, int64 [K, N]."""

    @abstractmethod
    def backward(self, losses: Tensor) -> None:
        """Give `parameters` the gradients of `losses`, [K], in place of those they had."""

    @abstractmethod
    def state(self) -> list[Tensor]:
        """The weights and the buffers, such as batch norm's statistics; the same tensors at each call."""

    def copy(self) -> Self:
        """A stack of copies of the networks."""
        return type(self)([copy.deepcopy(network) for network in self.networks], self.settings)


class SingleNetwork(NetworkStack):
    """One network of any kind, computed as it is; its dropout draws from PyTorch's global generator."""

    def __init__(self, networks: Sequence[Network], settings: Sequence[OptimizationParams]) -> None:
        (self._network,), (self._settings,) = networks, settings
        self.networks, self.settings = networks, settings
        self.parameters = [list(self._network.parameters())]
        self._network.train()

    def logits(self, images: Tensor) -> Tensor:
        return self._network(images.squeeze(0)).unsqueeze(0)

    def predict_logits(self, images: Tensor) -> Tensor:
        return predict_logits(self._network, images).unsqueeze(0)

    def training_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self._settings.label_smoothing
        return self._network.training_loss(logits.squeeze(0), labels.squeeze(0), smoothing).unsqueeze(0)

    def backward(self, losses: Tensor) -> None:
        for parameter in self.parameters[0]:
            parameter.grad = None
        losses.squeeze(0).backward()

    def state(self) -> list[Tensor]:
        return list(self._network.state_dict().values())


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """A state dict of copies, contiguous and on the CPU."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
