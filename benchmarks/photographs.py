"""What `src.predict` makes of photographs: `python -m benchmarks.photographs MODEL`, with MNIST at hand.

Test images of MNIST, drawn with a pen on paper and photographed under several conditions; 100 of each, and
the clean drawings. The model is one of MNIST, such as `dvc exp run -S dataset=MNIST` makes. A second
argument is the number of the first image; those from 1,000 on are what the method was made with.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from src.data.torchvision_archives import data_root, read_images
from src.predict.classifiers import open_classifier
from src.predict.predictions import predict
from src.runtime.errors import run

COUNT = 100
SIZE = (480, 640)


@dataclass(frozen=True)
class Pen:
    """What was written with: the share of each colour's light that it leaves, and how thin it is."""

    leaves: tuple[float, float, float] = (0.15, 0.15, 0.18)
    thin: float = 0.0


def strokes(image: np.ndarray, turned: float, generator: np.random.Generator, thin: float) -> np.ndarray:
    """A digit of 28×28 as ink, float [H, W] in 0 to 1, somewhere on the sheet.

    Args:
        image: uint8 [28, 28].
        turned: degrees.
        generator: of where it is and how large.
        thin: as a share of the half width of its strokes, what is taken from both sides.
    """
    side = int(generator.integers(220, 320))
    large = np.asarray(
        Image.fromarray(image)
        .resize((side, side), Image.Resampling.BICUBIC)
        .rotate(turned, Image.Resampling.BICUBIC)
    )
    mask = large > 110
    if thin:
        depth = ndimage.distance_transform_edt(mask)
        ridge = depth[(depth == ndimage.maximum_filter(depth, 5)) & mask]
        mask = ndimage.binary_dilation(
            (depth >= ndimage.maximum_filter(depth, 5) - 0.5) & (depth > thin * np.median(ridge)),
            iterations=2,
        )
    field = np.zeros(SIZE)
    top, left = (int(generator.integers(60, room - side - 59)) for room in SIZE)
    field[top : top + side, left : left + side] = mask
    return ndimage.gaussian_filter(field, 1.2)


def photograph(
    image: np.ndarray,
    generator: np.random.Generator,
    light: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda rows, columns: np.ones(SIZE),
    paper: Callable[[np.ndarray], np.ndarray] = lambda sheet: sheet,
    pen: Pen = Pen(),
    turned: float = 0.0,
) -> bytes:
    """A JPEG of a sheet with a digit.

    Args:
        image: uint8 [28, 28].
        generator: of place, size, grain and noise.
        light: its share at rows and columns in 0 to 1.
        paper: what is printed on the sheet, or lies beside it, float [H, W, 3].
        pen: see `Pen`.
        turned: degrees.
    """
    ink = strokes(image, turned, generator, pen.thin)[..., None]
    sheet = paper(np.full((*SIZE, 3), (228.0, 225.0, 218.0)))
    scene = sheet * (1 - ink * (1 - np.array(pen.leaves)))
    rows, columns = np.mgrid[0 : 1 : SIZE[0] * 1j, 0 : 1 : SIZE[1] * 1j]
    scene = scene * light(rows, columns)[..., None] + generator.normal(0, 4, scene.shape)
    scene = ndimage.gaussian_filter(scene, (0.8, 0.8, 0))
    content = io.BytesIO()
    Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
    return content.getvalue()


def falloff(share: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Light that falls off by a share over the sheet."""
    return lambda rows, columns: 1 - share * (0.7 * columns + 0.3 * rows)


def shadow(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A hand's shadow across the sheet."""
    return 1 - 0.5 / (1 + np.exp(-(rows + 0.6 * columns - 0.8) / 0.02))


def table(sheet: np.ndarray) -> np.ndarray:
    """A dark table on the left and below."""
    dark = np.array((70.0, 48.0, 35.0)) * (1 + 0.15 * np.sin(np.arange(SIZE[1]) / 7))[None, :, None]
    dark = np.broadcast_to(dark, sheet.shape)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.where(((columns - 0.1 * rows < 35) | (rows > SIZE[0] - 40))[..., None], dark, sheet)


def ruled(step: int, across: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Lines, or squares where `across`."""

    def printed(sheet: np.ndarray) -> np.ndarray:
        sheet, colour = sheet.copy(), np.array((150.0, 175.0, 205.0))
        for start in range(step // 2, SIZE[0], step):
            sheet[start : start + 2] = colour
        for start in range(step // 2, SIZE[1], step) if across else ():
            sheet[:, start : start + 2] = colour
        return sheet

    return printed


CONDITIONS: dict[str, dict[str, object]] = {
    "even light": {},
    "light falls off by 50 %": {"light": falloff(0.5)},
    "light falls off by 75 %": {"light": falloff(0.75)},
    "a shadow across": {"light": shadow},
    "the edge of a dark table": {"paper": table},
    "pencil": {"pen": Pen((0.62, 0.62, 0.64), thin=0.6)},
    "squared paper": {"paper": ruled(24, across=True)},
    "lined paper": {"paper": ruled(40, across=False)},
    "a blue pen": {"pen": Pen((0.25, 0.35, 0.75), thin=0.5)},
    "a red pen, light off by 50 %": {"pen": Pen((0.85, 0.25, 0.3)), "light": falloff(0.5)},
    "turned by 30°": {"turned": 30.0},
    "turned by -30°": {"turned": -30.0},
}


def clean(image: np.ndarray) -> bytes:
    """The digit as a drawing program has it, dark on white."""
    content = io.BytesIO()
    Image.fromarray(255 - image).resize((224, 224), Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


def main() -> None:
    classifier = open_classifier(Path(sys.argv[1]))
    folder = data_root() / "MNIST/raw"
    mnist = read_images(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz", 1, 10)
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    chosen = slice(first, first + COUNT)
    images, labels = mnist.images[chosen], mnist.labels[chosen]
    print(f"{'condition':30} right  wrong  refused, of {COUNT}")
    for name, options in {"clean drawings": None, **CONDITIONS}.items():
        generator = np.random.default_rng(0)
        pictures = [
            (str(number), clean(image) if options is None else photograph(image, generator, **options))  # type: ignore[arg-type]
            for number, image in enumerate(images)
        ]
        answers = list(predict(pictures, classifier))
        found = [None if one.probabilities is None else int(one.probabilities.argmax()) for one in answers]
        right = sum(answer == label for answer, label in zip(found, labels, strict=True))
        refused = sum(answer is None for answer in found)
        print(f"{name:30} {right:5}  {COUNT - right - refused:5}  {refused:7}", flush=True)


if __name__ == "__main__":
    run(main)
