"""Decoded pixels are upright, over white, and of every known range."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.data.decode import decode_image
from greenedge.errors import DataError

SIZE = 16


def decoded(image: Image.Image, form: str, **options: Any) -> np.ndarray:
    content = io.BytesIO()
    image.save(content, form, **options)
    return decode_image(content.getvalue(), f"a.{form.lower()}", SIZE)


def noise(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, channels), dtype=np.uint8)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(float) / 255
    mixed: np.ndarray = (share * colour + (1 - share) * 255).transpose(2, 0, 1)
    return mixed


def close(pixels: np.ndarray, expected: np.ndarray) -> bool:
    return pixels.dtype == np.uint8 and bool((np.abs(pixels - expected.astype(float)) <= 1).all())


# What a viewer does to the stored pixels, by EXIF's orientation (row and column that stand for top and left).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, 23)])
def test_decode_image_turns_images_upright(form: str, orientation: int, shape: tuple[int, int]) -> None:
    stored = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    upright = Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](stored)))
    turned = decoded(Image.fromarray(stored), form, exif=exif, **options)
    np.testing.assert_array_equal(turned, decoded(upright, "PNG"))


def test_decode_image_turns_a_large_jpeg_of_a_phone_upright() -> None:
    ramp = np.tile(np.linspace(0, 255, 200), (200, 1)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # its left side is the upper one
    turned = decoded(Image.fromarray(ramp), "JPEG", exif=exif)
    assert turned[0, 0].max() < 20
    assert turned[0, -1].min() > 235


def test_decode_image_ignores_damaged_exif() -> None:
    pixels = noise(3)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"garbage"):
        np.testing.assert_array_equal(decoded(Image.fromarray(pixels), "PNG", exif=exif), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_to_rgb_lays_transparency_over_white(form: str) -> None:
    rgba = noise(4)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    expected = over_white(rgba[..., :3], rgba[..., 3])
    assert close(decoded(Image.fromarray(rgba), form, **options), expected)


def test_to_rgb_keeps_opaque_pixels_of_an_image_with_alpha() -> None:
    rgba = noise(4)
    rgba[..., 3] = 255
    np.testing.assert_array_equal(decoded(Image.fromarray(rgba), "PNG"), rgba[..., :3].transpose(2, 0, 1))


def test_to_rgb_lays_grey_with_alpha_over_white() -> None:
    grey, alpha = noise(2).transpose(2, 0, 1)
    image = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    assert close(decoded(image, "PNG"), over_white(np.repeat(grey[..., None], 3, 2), alpha))


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_to_rgb_shows_a_transparent_palette_entry_white(form: str) -> None:
    indices = np.indices((SIZE, SIZE)).sum(axis=0).astype(np.uint8) % 3
    image = Image.fromarray(indices).convert("P")
    table = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    image.putpalette(np.array(table).ravel().tolist())
    expected = np.array(table)[indices]
    expected[indices == 1] = 255
    np.testing.assert_array_equal(decoded(image, form, transparency=1), expected.transpose(2, 0, 1))


def test_to_rgb_mixes_partly_transparent_palette_entries_with_white() -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 100, 0, 200])
    assert close(decoded(image, "PNG", transparency=bytes([255, 51]))[:, 0, 0], np.array([224, 204, 244]))


def png(bits: int, colour_type: int, row: bytes, transparent: bytes, width: int) -> bytes:
    """A PNG of SIZE equal rows, with a tRNS chunk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, SIZE, bits, colour_type, 0, 0, 0)
    body = zlib.compress((b"\0" + row) * SIZE)
    chunks = ((b"IHDR", head), (b"tRNS", transparent), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (1, b"\x55\x55", 0, [255, 255] * 8),
        (1, b"\x55\x55", 1, [0, 255] * 8),
        (2, b"\x1b" * 4, 1, [0, 255, 170, 255] * 4),
        (4, b"\x12" * 8, 2, [17, 255] * 8),
        (8, b"\x05\x11" * 8, 5, [255, 17] * 8),
        (16, b"\x12\x34\x80\x00" * 8, 0x1234, [255, 128] * 8),
        (16, b"\x12\x34\x80\x00" * 8, 0x1200, [18, 128] * 8),
    ],
)
def test_to_rgb_shows_the_transparent_grey_of_a_png_white(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    pixels = decode_image(png(bits, 0, row, struct.pack(">H", key), SIZE), "a.png", SIZE)
    assert pixels[:, 3].tolist() == [expected] * 3


@pytest.mark.parametrize("bits", [8, 16])
def test_to_rgb_shows_the_transparent_colour_of_a_png_white(bits: int) -> None:
    wide = bits == 16
    colours = [(1, 2, 3), (1, 2, 4)]
    row = b"".join(struct.pack(">HHH", *(257 * c for c in each)) if wide else bytes(each) for each in colours) * 8
    key = struct.pack(">HHH", *(257 * c if wide else c for c in colours[0]))
    pixels = decode_image(png(bits, 2, row, key, SIZE), "a.png", SIZE)
    assert pixels[:, 0, :2].T.tolist() == [[255, 255, 255], [1, 2, 4]]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_to_rgb_keeps_the_upper_eight_of_sixteen_bits_of_grey(form: str) -> None:
    values = np.random.default_rng(2).integers(0, 1 << 16, (SIZE, SIZE), dtype=np.uint16)
    values[0, :2] = 0, 65535
    pixels = decoded(Image.fromarray(values), form)
    np.testing.assert_array_equal(pixels, np.stack([values >> 8] * 3))


def test_to_rgb_reads_sixteen_bits_in_other_byte_order() -> None:
    values = (np.arange(SIZE * SIZE, dtype=np.uint16) * 257).reshape(SIZE, SIZE)
    pixels = decoded(Image.fromarray(values.astype(">u2")), "TIFF")
    np.testing.assert_array_equal(pixels[0], values >> 8)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.arange(256, dtype=np.int32).reshape(16, 16), "whole numbers of 32 bits"),
        (np.arange(256, dtype=np.float32).reshape(16, 16) / 255, "floating-point numbers"),
        (np.arange(256, dtype=np.uint16).reshape(16, 16) * 16, "at most 12 are used"),
    ],
)
def test_to_rgb_refuses_an_unknown_range_by_name(values: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.tiff: holds .*{words}.* to 8 bits per channel first$"):
        decoded(Image.fromarray(values), "TIFF")


@pytest.mark.parametrize(
    ("mode", "form", "white", "black"),
    [
        ("1", "PNG", 1, 0),
        ("L", "PNG", 255, 0),
        ("CMYK", "TIFF", (0, 0, 0, 0), (0, 0, 0, 255)),
        ("CMYK", "JPEG", (0, 0, 0, 0), (0, 0, 0, 255)),
        ("YCbCr", "TIFF", (255, 128, 128), (0, 128, 128)),
        ("LAB", "TIFF", (255, 128, 128), (0, 128, 128)),
    ],
)
def test_to_rgb_keeps_white_and_black_in_every_mode(mode: str, form: str, white: Any, black: Any) -> None:
    for colour, level in ((white, 255), (black, 0)):
        assert close(decoded(Image.new(mode, (SIZE, SIZE), colour), form), np.full((3, SIZE, SIZE), level))
