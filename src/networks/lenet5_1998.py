"""LeNet-5 as it was published.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proc. IEEE 86(11), 1998, section II.B and II.C; the numbers of figures, tables and equations are the paper's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.networks.network import Network
from src.runtime.errors import UserError

# Table I: which of the six maps of S2 each of the sixteen maps of C3 sees.
C3_INPUTS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Figure 3: the digits from 0 to 9 in the 7×12 bitmap font of printable ASCII; # is +1 and . is -1.
DIGIT_CODES = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""

# The constant j of equation 9, which the paper leaves open: the penalty of a class of its own for what is no
# digit. Beyond it a wrong class is far enough away to be left alone.
RUBBISH_PENALTY = 40.0


def digit_codes() -> Tensor:
    """The ten target vectors of F6, float32 [10, 84] of -1 and +1."""
    rows = [line.split() for line in DIGIT_CODES.split("\n") if line]
    return torch.tensor(
        [[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)]
    )


class ScaledTanh(nn.Module):
    """A tanh(S a) with A = 1.7159 and S = 2/3, so that f(±1) = ±1 (equation 6 and appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """The sum of each 2×2 neighbourhood, times a trainable coefficient, plus a trainable bias, per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps).uniform_(-2.4 / 4, 2.4 / 4))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        summed = F.avg_pool2d(x, 2) * 4
        return summed * self.coefficient.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class SparseConvolution(nn.Module):
    """C3: 5×5 convolutions of the pairs of maps that Table I connects, and of no others."""

    def __init__(self) -> None:
        super().__init__()
        pairs = [(output, source) for output, sources in enumerate(C3_INPUTS) for source in sources]
        bounds = torch.tensor([2.4 / (25 * len(C3_INPUTS[output])) for output, _ in pairs])
        self.kernels = nn.Parameter((torch.rand(len(pairs), 5, 5) * 2 - 1) * bounds.view(-1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(len(C3_INPUTS)))
        places = torch.tensor([output * 6 + source for output, source in pairs])
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        dense = self.kernels.new_zeros(len(C3_INPUTS) * 6, 5, 5)
        dense = dense.index_copy(0, self.get_buffer("places"), self.kernels)
        return F.conv2d(x, dense.view(len(C3_INPUTS), 6, 5, 5), self.bias)


class RadialBasisOutput(nn.Module):
    """Minus the squared Euclidean distance to the code of each class (equation 7): logits, float [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        # Fixed, "at least initially"; not saved with the weights.
        self.register_buffer("codes", digit_codes(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.get_buffer("codes")).square().sum(2)


class LeNet1998(Network):
    """LeNet-5 with the layers of 1998: 60,000 trainable parameters.

    C1, S2, C3, S4, C5 and F6 with scaled tanh, six and sixteen maps, the connections of Table I, trainable
    subsampling, and an output of Euclidean distances to fixed codes. Initial weights are uniform in
    ±2.4 / fan-in. Training is left to the optimizer that `params.yaml` names; the paper's was a stochastic
    diagonal Levenberg-Marquardt method.

    Args:
        num_classes: 10; there are no other codes.
        channels: 1; the maps of C1 see one channel.

    Raises:
        UserError: another number of classes or channels.
    """

    def __init__(self, *, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        if num_classes != 10 or channels != 1:
            images = "grey" if channels == 1 else "colour"
            raise UserError(
                f"model: lenet5_1998 is invalid with {num_classes} classes of {images} images; "
                "expected 10 classes of grey images, or another model"
            )
        self.c1, self.act1 = nn.Conv2d(1, 6, kernel_size=5), ScaledTanh()
        self.s2, self.act2 = Subsampling(6), ScaledTanh()
        self.c3, self.act3 = SparseConvolution(), ScaledTanh()
        self.s4, self.act4 = Subsampling(16), ScaledTanh()
        self.c5, self.act5 = nn.Linear(16 * 5 * 5, 120), ScaledTanh()
        self.f6, self.act6 = nn.Linear(120, 84), ScaledTanh()
        self.output = RadialBasisOutput()
        for layer, inputs in ((self.c1, 25), (self.c5, 400), (self.f6, 120)):
            nn.init.uniform_(layer.weight, -2.4 / inputs, 2.4 / inputs)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float [N, 10], of normalised images, float [N, 1, 32, 32]."""
        x = self.act2(self.s2(self.act1(self.c1(images))))
        x = self.act4(self.s4(self.act3(self.c3(x))))
        x = self.act6(self.f6(self.act5(self.c5(x.flatten(1)))))
        return self.output(x)

    def training_loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """The paper's criterion, its equation 9, averaged over images.

        The distance to the right code plus log(exp(-j) + Σ exp(-distance)), which pushes the others
        away: the negative log-likelihood with one more, constant, class.
        """
        right = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        target = (1 - label_smoothing) * right + label_smoothing * logits.mean(1)
        rubbish = logits.new_full((len(logits), 1), -RUBBISH_PENALTY)
        return (torch.cat([logits, rubbish], dim=1).logsumexp(1) - target).mean()

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """`c1` [N, 6, 28, 28], `s2` [N, 6, 14, 14], `c3` [N, 16, 10, 10] and `s4` [N, 16, 5, 5], squashed."""
        c1 = self.act1(self.c1(images))
        s2 = self.act2(self.s2(c1))
        c3 = self.act3(self.c3(s2))
        return {"c1": c1, "s2": s2, "c3": c3, "s4": self.act4(self.s4(c3))}


NETWORK = LeNet1998
