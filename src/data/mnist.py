"""MNIST: handwritten digits (LeCun et al. 1998), cut out, scaled and centred as in their section III.A."""

from src.data.dataset import DIGITS, Dataset
from src.data.splits import ImageFormat, Placement
from src.data.torchvision_archives import from_torchvision

FORMAT = ImageFormat(placement=Placement(20, by_mass=True, full_contrast=True))
DATASET = Dataset(DIGITS, from_torchvision("MNIST", DIGITS), FORMAT)
