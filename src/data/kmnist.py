"""KMNIST: cursive hiragana (Clanuwat et al. 2018)."""

from src.data.dataset import Dataset
from src.data.splits import ImageFormat, Placement
from src.data.torchvision_archives import from_torchvision

HIRAGANA = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
FORMAT = ImageFormat(placement=Placement(28, by_mass=False, full_contrast=True))
DATASET = Dataset(HIRAGANA, from_torchvision("KMNIST", HIRAGANA), FORMAT)
