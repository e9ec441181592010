"""QMNIST: the digits of MNIST with all 60,000 test images, rebuilt by Yadav & Bottou 2019."""

from src.data.dataset import DIGITS, Dataset
from src.data.mnist import FORMAT
from src.data.torchvision_archives import IdxSource, from_torchvision, idx_source


def source() -> IdxSource:
    """Where its archives come from.

    torchvision lists whole addresses. The other label columns, such as the writer, are not used.
    """
    from torchvision.datasets import QMNIST

    entries = [*QMNIST.resources["train"], *QMNIST.resources["test"]]
    mirror = entries[0][0].rpartition("/")[0] + "/"
    return idx_source(entries, [mirror], label_dimensions=2)


DATASET = Dataset(DIGITS, from_torchvision("QMNIST", DIGITS, source), FORMAT)
