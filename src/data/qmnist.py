"""QMNIST: the digits of MNIST with all 60,000 test images, rebuilt by Yadav & Bottou 2019."""

from src.data.dataset import DIGITS, Dataset
from src.data.splits import ImageFormat, Placement
from src.data.torchvision_archives import from_torchvision

FORMAT = ImageFormat(placement=Placement(20, by_mass=True, full_contrast=True))
DATASET = Dataset(DIGITS, from_torchvision("QMNIST", DIGITS), FORMAT)
