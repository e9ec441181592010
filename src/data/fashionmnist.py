"""Fashion-MNIST: clothes (Xiao, Rasul & Vollgraf 2017; how they are placed: their figure 1)."""

from src.data.dataset import Dataset
from src.data.splits import ImageFormat, Placement
from src.data.torchvision_archives import from_torchvision

CLOTHES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
FORMAT = ImageFormat(placement=Placement(28, by_mass=False, full_contrast=True))
DATASET = Dataset(
    CLOTHES,
    from_torchvision("FashionMNIST", CLOTHES),
    FORMAT,
    mirror_symmetric=True,
)
