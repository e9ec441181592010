"""Where the seed of an experiment becomes the seeds of its generators."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal["initial weights", "batch order", "augmentation", "dropout"]


def derived_seed(seed: int, purpose: Purpose) -> int:
    """The seed of the generator for one purpose; every purpose has its own, independent of the others.

    Generators of the same seed draw the same numbers: the order of the batches would follow from the initial
    weights. The children of a `numpy.random.SeedSequence` are independent, also between neighbouring seeds,
    and are the same in every version of NumPy.

    Args:
        seed: the parameter `seed` of the experiment.
        purpose: what is drawn.

    Returns:
        An integer of 32 bits, which is all that PyTorch's generator on the CPU uses.
    """
    number = get_args(Purpose).index(purpose)
    return int(np.random.SeedSequence(seed).spawn(number + 1)[number].generate_state(1)[0])
