from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from src.data.dataset import dataset
from src.data.splits import ImageFormat
from src.own_images.pictures import prepare_picture, read_picture
from src.runtime.errors import UserError

MNIST, FASHION = dataset("MNIST").format, dataset("FashionMNIST").format


def seven(size: tuple[int, int] = (60, 80), ink: int = 0, paper: int = 255) -> Image.Image:
    """A hand's 7: a bar and a slanted stroke."""
    picture = Image.new("L", size, paper)
    wide, high = size
    draw = ImageDraw.Draw(picture)
    draw.line(
        [(0.2 * wide, 0.2 * high), (0.8 * wide, 0.2 * high), (0.4 * wide, 0.85 * high)],
        fill=ink,
        width=max(2, min(size) // 10),
    )
    return picture


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("size", [(20, 20), (60, 80), (400, 300), (1200, 2000)])
@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (40, 200), (220, 90)])
def test_size_and_polarity_do_not_matter(size: tuple[int, int], ink: int, paper: int) -> None:
    prepared = prepare_picture(np.asarray(seven(size, ink, paper)), MNIST)
    assert prepared.inverted == (ink < paper)
    rows, columns = np.nonzero(prepared.image > 16)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=1)
    wide, high = 0.6 * size[0], 0.65 * size[1]
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(wide / high, rel=0.25), "its aspect is kept"
    weights = prepared.image.astype(float)
    centre = [np.average(np.arange(28), weights=weights.sum(axis=axis)) for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.6)
    assert prepared.image.max() > 230


@pytest.mark.parametrize(("full_contrast", "shade"), [(True, 255), (False, 100)])
def test_clothes_fill_the_field_and_keep_their_shade_where_the_dataset_does(
    full_contrast: bool, shade: int
) -> None:
    picture = np.zeros((90, 60), np.uint8)
    picture[20:80, 15:45] = 100
    prepared = prepare_picture(
        picture, replace(FASHION, placement=replace(FASHION.placement, full_contrast=full_contrast))
    )
    assert not prepared.inverted
    assert np.flatnonzero(prepared.image.any(axis=1)).tolist() == list(range(28))
    assert np.flatnonzero(prepared.image.any(axis=0)).tolist() == list(range(7, 21))
    assert set(np.unique(prepared.image)) == {0, shade}


def test_paper_with_grain_and_shadow_is_background() -> None:
    generator = np.random.default_rng(0)
    clean = np.asarray(seven((280, 280), ink=60, paper=190)).astype(float)
    shadow = np.linspace(-6, 6, 280)
    photo = (clean + shadow + generator.normal(0, 4, clean.shape)).clip(0, 255).astype(np.uint8)
    expected = prepare_picture(clean.astype(np.uint8), MNIST).image.astype(int)
    found = prepare_picture(photo, MNIST).image.astype(int)
    assert np.abs(found - expected).mean() < 12
    assert (found[:3] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_picture_is_centred_on_the_median_shade_of_its_border(channels: int) -> None:
    shape = (10, 28) if channels == 1 else (10, 28, 3)
    wide = np.full(shape, 90, np.uint8)
    wide[3:7, 10:18] = 200
    wide[0, :5] = 0
    expected = np.full((28, *shape[1:]), 90, np.uint8)
    expected[9:19] = wide
    whole = ImageFormat(28, channels)
    np.testing.assert_array_equal(prepare_picture(wide, whole).image, expected)
    high = prepare_picture(wide.swapaxes(0, 1), whole).image
    np.testing.assert_array_equal(high, expected.swapaxes(0, 1))


def test_a_picture_may_be_a_line() -> None:
    line = np.full((1, 3000), 200, np.uint8)
    assert (prepare_picture(line, ImageFormat(28, 1)).image == 200).all()


@pytest.mark.parametrize("side", [60, 300])
@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (40, 220)])
def test_a_margin_does_not_matter(side: int, ink: int, paper: int) -> None:
    """Cropped to the ink, with blurred edges, whose shades are at the border, too."""
    drawn = np.asarray(seven((side, side), ink=255, paper=0).filter(ImageFilter.GaussianBlur(side / 15)))
    rows, columns = (np.flatnonzero(drawn.max(axis=axis) > 60) for axis in (1, 0))
    cropped = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    images = []
    for margin in (0, side // 4):
        coverage = np.pad(cropped, margin) / 255
        picture = np.round(paper + (ink - paper) * coverage).astype(np.uint8)
        prepared = prepare_picture(picture, MNIST)
        assert prepared.inverted == (ink < paper)
        images.append(prepared.image)
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_of_nothing_is_refused(shade: int) -> None:
    with pytest.raises(
        UserError, match=f"^nothing to be seen: all shades are between {shade} and {shade} of"
    ):
        prepare_picture(np.full((50, 50), shade, np.uint8), MNIST)


GREY = np.asarray(seven())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *itertools.product(["PNG", "BMP", "GIF", "TIFF"], ["L", "RGB", "P", "1"]),
        ("WEBP", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
    ],
)
def test_formats_and_colours(kind: str, mode: str) -> None:
    found = read_picture(encoded(seven().convert(mode), kind))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - GREY).mean() < 3


def test_lightness_and_two_colours_become_grey_and_coloured() -> None:
    orange = Image.new("RGB", (4, 3), (200, 100, 50))
    content = encoded(orange.convert("LAB"), "TIFF")
    for channels, mode in ((1, "L"), (3, "RGB")):
        expected = np.asarray(orange.convert(mode)).astype(int)
        assert np.abs(read_picture(content, channels) - expected).max() <= 1


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_what_is_transparent_is_background(ink: int, paper: int) -> None:
    mask = seven(ink=255, paper=0)
    picture = Image.new("RGBA", mask.size, (ink, ink, ink, 0))
    picture.putalpha(mask)
    expected = prepare_picture(np.asarray(seven(ink=ink, paper=paper)), MNIST)
    for found in (read_picture(encoded(picture, "PNG")), read_picture(encoded(picture.convert("LA"), "PNG"))):
        prepared = prepare_picture(found, MNIST)
        assert prepared.inverted == expected.inverted
        np.testing.assert_array_equal(prepared.image, expected.image)


def test_half_transparent_pixels_are_mixed_with_the_background() -> None:
    bands = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    bands[..., 3] |= 1
    share = bands[..., 3:] / 255
    for paper, bright in ((255, 0.3), (0, 1.0)):
        shades = (bands[..., :3] * bright).astype(np.uint8)
        expected = np.round(shades * share + paper * (1 - share))
        picture = Image.fromarray(np.concatenate([shades, bands[..., 3:]], axis=2))
        np.testing.assert_array_equal(read_picture(encoded(picture, "PNG"), channels=3), expected)


def test_a_large_transparent_picture_takes_little_memory() -> None:
    content = encoded(Image.new("RGBA", (3000, 3000), (9, 9, 9, 128)), "PNG")
    tracemalloc.start()
    read_picture(content, channels=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 3000 * 3000, "of which the pixels are four bytes each, and the result three"


def test_sixteen_bits_and_a_turned_photograph() -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(encoded(deep, "PNG")), GREY)
    turned = seven().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise to look at me"
    found = read_picture(encoded(turned, "JPEG", exif=exif, quality=95))
    assert np.abs(found.astype(int) - GREY).mean() < 3


TURNS = {  # what was done to the picture, by the orientation that undoes it
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "CMYK"])
def test_a_turned_tiff_is_the_same_as_a_file_and_as_bytes(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    turned = seven().transpose(TURNS[orientation])
    made = (
        Image.fromarray(np.asarray(turned).astype(np.uint16) * 257)
        if mode == "I;16"
        else turned.convert(mode)
    )
    made.save(tmp_path / "turned.tif", tiffinfo={0x0112: orientation})
    for source in (tmp_path / "turned.tif", (tmp_path / "turned.tif").read_bytes()):
        np.testing.assert_array_equal(read_picture(source), GREY)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_may_be_zero_in_a_tiff(bits: int) -> None:
    """Microscopes and scanners write these; Pillow does not."""
    ink = np.array([[0, 2**bits - 1]], np.uint8 if bits == 8 else "<u2")
    entries = {256: 2, 257: 1, 258: bits, 259: 1, 262: 0, 273: 8, 277: 1, 278: 1, 279: ink.nbytes}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    content = struct.pack("<2sHI", b"II", 42, 8 + ink.nbytes) + ink.tobytes()
    content += struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0)
    assert read_picture(content).tolist() == [[255, 0]]


def bomb(size: int) -> bytes:
    """A PNG of a few kB that announces size × size pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def strange_exif() -> bytes:
    """A JPEG that is to be turned, and whose EXIF data give its width as a text."""
    exif = Image.Exif()
    exif[0x0100], exif[0x0112] = 60, 6
    content = encoded(seven(), "JPEG", exif=exif)
    width, text = (struct.pack(">HH", 0x0100, kind) for kind in (4, 2))
    assert content.count(width) == 1
    return content.replace(width, text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"It was a dark and stormy night", "not a picture; expected PNG, JPEG, BMP, GIF, WEBP, TIFF"),
        (b"", "not a picture; expected PNG, JPEG, BMP, GIF, WEBP, TIFF"),
        (encoded(seven(), "PNG")[:200], "damaged|image file is truncated|Truncated"),
        (encoded(seven((300, 400)), "JPEG")[:900], "image file is truncated"),
        (bomb(30_000), "too many pixels; expected at most 89,478,485 in all"),
        (bomb(10_000), "10,000 × 10,000 pixels; expected at most 89,478,485 in all"),
        (encoded(seven(), "PPM"), "not a picture"),
        (
            encoded(seven().convert("F"), "TIFF"),
            "floating-point pixels; expected unsigned integers of 8 or 16 bits",
        ),
        (
            encoded(seven().convert("I"), "TIFF"),
            "pixels of 32 bits or with a sign; expected unsigned integers of 8 or 16 bits",
        ),
        (strange_exif(), r"damaged \(required argument is not an integer\)"),
    ],
    ids=[
        "text",
        "empty",
        "cut PNG",
        "cut JPEG",
        "bomb",
        "smaller bomb",
        "another format",
        "fractions",
        "32 bits",
        "strange EXIF",
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(content)
    for source in (content, file):
        with pytest.raises(UserError, match=said):
            read_picture(source)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^No such file or directory$"):
        read_picture(tmp_path / "none.png")
