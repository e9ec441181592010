"""QMNIST: the digits of MNIST with all 60,000 test images, rebuilt by Yadav & Bottou 2019."""

from src.data.dataset import DIGITS, Dataset, Placement
from src.data.torchvision_archives import from_torchvision

DATASET = Dataset(DIGITS, from_torchvision("QMNIST", DIGITS), Placement(20, by_mass=True, full_contrast=True))
