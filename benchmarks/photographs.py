"""What `src.predict` makes of photographs, by the model of MNIST in the workspace.

    python -m benchmarks.photographs val        the validation split
    python -m benchmarks.photographs settings   the same, with each setting of the method changed in turn
    python -m benchmarks.photographs test       the test split: the table in docs/using-the-model.md

The first images of a split, drawn with a pen on paper and photographed under several conditions, and as clean
drawings. The settings are compared on the validation split. Such a model and its splits are made by
`dvc exp run -S dataset=MNIST -S epochs=4 -S batch_size=128 -S lr=0.01`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from unittest.mock import patch

import numpy as np
from PIL import Image
from scipy import ndimage

from src.command_line import command_parser
from src.data.splits import Split, load_split
from src.predict import photographs, predictions
from src.predict.classifiers import Classifier, open_classifier
from src.runtime.errors import UserError, run
from src.runtime.paths import MODEL, TEST_SPLIT, VAL_SPLIT

SIZE = (480, 640)

# Other values of each setting of the method.
OTHER_SETTINGS: list[tuple[ModuleType, str, list[object]]] = [
    (photographs, "EVEN_BORDER", [1, 4]),
    (photographs, "WORKING_SIDE", [320, 640]),
    (photographs, "MAX_STROKE", [0.14, 0.28]),
    (photographs, "MIN_INK", [0.04, 0.09]),
    (photographs, "CERTAIN", [0.4, 0.6]),
    (photographs, "POSSIBLE", [0.2, 0.4]),
    (photographs, "RULING_WIDTH", [7, 13]),
    (photographs, "MIN_RULINGS", [2, 5]),
    (photographs, "STROKE", [0.07, 0.11]),
    (photographs, "REACH", [0.2, 0.45]),
    (photographs, "MIN_PART", [0.015, 0.06]),
    (photographs, "MIN_SHARE", [0.35, 0.7]),
    (photographs, "TURNS", [(), (-15, 15), (-20, 20), (-40, -20, 20, 40)]),
    (predictions, "CERTAIN", [0.9, 0.999]),
    (predictions, "MIN_CONFIDENCE", [0.4, 0.8]),
]


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


@dataclass
class Count:
    """What became of some pictures."""

    right: int = 0
    wrong: int = 0
    refused: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.right + other.right, self.wrong + other.wrong, self.refused + other.refused)

    def __str__(self) -> str:
        return f"{self.right:5}  {self.wrong:5}  {self.refused:7}"


def rendered(images: np.ndarray) -> dict[str, list[bytes]]:
    """Pictures of images, uint8 [N, 28, 28], under each condition."""
    pictures = {"clean drawings": [clean(image) for image in images]}
    for name, options in CONDITIONS.items():
        generator = np.random.default_rng(0)
        pictures[name] = [photograph(image, generator, **options) for image in images]  # type: ignore[arg-type]
    return pictures


def read(pictures: list[bytes], labels: np.ndarray, classifier: Classifier) -> Count:
    """How many pictures are read correctly."""
    named = [(str(number), picture) for number, picture in enumerate(pictures)]
    answers = [one.probabilities for one in predictions.predict(named, classifier)]
    right = sum(
        answer is not None and answer.argmax() == label for answer, label in zip(answers, labels, strict=True)
    )
    refused = sum(answer is None for answer in answers)
    return Count(right, len(answers) - right - refused, refused)


def compare_settings(pictures: dict[str, list[bytes]], labels: np.ndarray, classifier: Classifier) -> None:
    """Print what becomes of all pictures with each setting changed in turn."""

    def total() -> Count:
        return sum((read(each, labels, classifier) for each in pictures.values()), Count())

    print(f"{'setting':45} right  wrong  refused, of {len(labels) * len(pictures):,}")
    print(f"{'as they are':45} {total()}", flush=True)
    for module, setting, values in OTHER_SETTINGS:
        for value in values:
            with patch.object(module, setting, value):
                name = f"{module.__name__.rpartition('.')[2]}.{setting} = {value}"
                print(f"{name:45} {total()}", flush=True)


def main() -> None:
    parser = command_parser("benchmarks.photographs", __doc__)
    parser.add_argument("what", choices=("val", "settings", "test"))
    parser.add_argument("--images", type=int, default=100, help="how many of the split (default: 100)")
    arguments = parser.parse_args()
    what, count = arguments.what, arguments.images
    classifier = open_classifier(MODEL)
    split: Split = load_split(TEST_SPLIT if what == "test" else VAL_SPLIT)
    if {classifier.dataset, split.dataset} != {"MNIST"}:
        raise UserError(f"{MODEL} and {split.dataset}: expected a model and the splits of MNIST")
    if not 1 <= count <= len(split.labels):
        raise UserError(f"--images: {count} is invalid; expected an integer from 1 to {len(split.labels)}")
    labels, pictures = split.labels[:count], rendered(split.images[:count])
    if what == "settings":
        compare_settings(pictures, labels, classifier)
        return
    print(f"{'condition':30} right  wrong  refused, of {count}")
    for name, each in pictures.items():
        print(f"{name:30} {read(each, labels, classifier)}", flush=True)


if __name__ == "__main__":
    run(main)
