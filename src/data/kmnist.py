"""KMNIST: cursive hiragana (Clanuwat et al. 2018)."""

from src.data.dataset import Dataset, Placement
from src.data.torchvision_archives import from_torchvision

HIRAGANA = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
DATASET = Dataset(
    HIRAGANA, from_torchvision("KMNIST", HIRAGANA), Placement(28, by_mass=False, full_contrast=True)
)
