"""The moving average of the weights, which may generalise better than the weights of any one step."""

from __future__ import annotations

from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.training.stack import NetworkStack


class MovingAverage:
    """Networks whose weights are the exponential moving average of those of other networks.

    After B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control and
    Optimization 30(4), 1992. In step n = 1, 2, … the decay is min(`decay`, (1 + n) / (10 + n)), as with
    `num_updates` of TensorFlow's ExponentialMovingAverage: with a constant decay of 0.999, 80 % of the
    average would be the random initial weights after 228 steps.

    Batch norm's running statistics are averaged alike, which belongs to averaged weights and, unlike
    `torch.optim.swa_utils.update_bn`, needs no pass over the training images before each evaluation.
    Integers, such as its count of batches, are those of the last step.

    Args:
        source: the networks that are trained.
        decay: in (0, 1), shared by all of them.

    Attributes:
        stack: the networks with the average.
    """

    def __init__(self, source: NetworkStack, decay: float) -> None:
        # torch.optim.swa_utils.AveragedModel would copy its counter to the device at every step.
        self.stack, self._decay = source.copy(), decay
        pairs = list(zip(self.stack.state(), source.state(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._integers = [pair for pair in pairs if not pair[0].is_floating_point()]

    def update(self, step: int) -> None:
        """Include the weights after the step of this number, which is 1 for the first."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, values = map(list, zip(*self._floats, strict=True))
        get_ema_multi_avg_fn(decay)(averages, values, None)
        for count, value in self._integers:
            count.copy_(value)
