from __future__ import annotations

import io
import lzma
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageFile, JpegImagePlugin

from greenedge.data import decode
from greenedge.data.decode import decode_image
from greenedge.data.prepare import prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import DataError
from tests.data.sources import is_one_sentence, refusal


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif", "a.TIFF"])
def test_decode_image_restores_every_pixel_of_lossless_formats(name: str) -> None:
    pixels = noise(20, 20)
    form = {"ppm": "PPM", "tif": "TIFF", "tiff": "TIFF"}.get(name[2:].lower(), name[2:])
    decoded = decode_image(encode(Image.fromarray(pixels), form), name, 20)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("name", ["a.JPEG", "a.jpg", "a.webp"])
def test_decode_image_decodes_lossy_formats_like_pillow(name: str) -> None:
    content = encode(Image.fromarray(noise(20, 20)), "WEBP" if name.endswith("webp") else "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode_image(content, name, 20), np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_decode_image_turns_grey_into_three_equal_channels(form: str) -> None:
    content = encode(Image.fromarray(noise(16, 16, channels=1)), form)
    grey = np.asarray(Image.open(io.BytesIO(content)))
    assert grey.shape == (16, 16)
    np.testing.assert_array_equal(decode_image(content, f"a.{form}", 16), np.stack([grey] * 3))


def test_decode_image_looks_palettes_up() -> None:
    image = Image.fromarray(noise(16, 16)).quantize(8)
    table = np.array(image.getpalette()).reshape(-1, 3)
    expected = table[np.asarray(image)].transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(encode(image, "PNG"), "a.png", 16), expected)


@pytest.mark.parametrize(("width", "height"), [(70, 64), (64, 81)])
def test_decode_image_crops_the_longer_side_at_the_centre(width: int, height: int) -> None:
    pixels = noise(width, height)
    left, top = (width - 64) // 2, (height - 64) // 2
    expected = pixels[top : top + 64, left : left + 64].transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(pixels), "PNG"), "a.png", 64), expected)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (160, 96), (40, 90), (201, 67), (31, 32), (1, 1)])
def test_decode_image_scales_and_crops_to_the_central_square(width: int, height: int) -> None:
    across = np.linspace(0, 255, width, dtype=np.float64)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height, dtype=np.float64)[:, None].repeat(width, 1)
    ramp = np.stack([across, down, (across + down) / 2], axis=-1).round().astype(np.uint8)
    decoded = decode_image(encode(Image.fromarray(ramp), "PNG"), "a.png", 64)

    side = min(width, height)
    centres = (np.arange(64) + 0.5) * side / 64 - 0.5  # where the 64 pixels lie in the central square
    columns = np.interp(centres + (width - side) / 2, np.arange(width), across[0])
    rows = np.interp(centres + (height - side) / 2, np.arange(height), down[:, 0])
    assert decoded.shape == (3, 64, 64)
    assert np.abs(decoded[0] - columns[None, :]).max() < 6
    assert np.abs(decoded[1] - rows[:, None]).max() < 6


@pytest.mark.parametrize(("width", "height"), [(200, 90), (90, 211), (301, 300), (1, 50)])
def test_decode_image_scales_only_the_part_that_is_kept(width: int, height: int) -> None:
    pixels = noise(width, height)
    scale = 64 / min(width, height)
    whole = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (whole.width - 64) // 2, (whole.height - 64) // 2
    expected = np.asarray(whole.crop((left, top, left + 64, top + 64))).transpose(2, 0, 1).astype(int)
    assert np.abs(decode_image(encode(Image.fromarray(pixels), "PNG"), "a.png", 64) - expected).max() <= 1


def test_decode_image_of_extreme_shape_costs_only_the_part_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    resize, asked = Image.Image.resize, []

    def watched(self: Image.Image, size: tuple[int, int], *arguments: object, **options: object) -> Image.Image:
        asked.append(size)
        return resize(self, size, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", watched)
    column = np.arange(8000, dtype=np.uint16)[:, None] // 32
    decoded = decode_image(encode(Image.fromarray(column.astype(np.uint8)), "PNG"), "a.png", 224)
    assert asked == [(224, 224)]
    assert np.abs(decoded.astype(int) - 125).max() <= 1  # one pixel, in the middle of the column


def test_decode_image_decodes_a_large_jpeg_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:900, :1200] / 100
    pixels = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1) * 100 + 128
    content = encode(Image.fromarray(pixels.astype(np.uint8)), "JPEG")
    load, sizes = JpegImagePlugin.JpegImageFile.load, []

    def watched(self: JpegImagePlugin.JpegImageFile) -> object:
        sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", watched)
    decoded = decode_image(content, "a.jpg", 64)
    assert set(sizes) == {(300, 225)}
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *_: None)
    assert np.abs(decoded - decode_image(content, "a.jpg", 64).astype(int)).max() < 6
    assert sizes[-1] == (1200, 900)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF"])
def test_decode_image_refuses_an_image_truncated_anywhere(form: str) -> None:
    content = encode(Image.fromarray(noise(24, 24)), form)
    for length in range(0, len(content) * 9 // 10, 37):
        with pytest.raises(DataError, match=r"^some/a\.") as caught:
            decode_image(content[:length], f"some/a.{form}", 24)
        assert is_one_sentence(str(caught.value))


def test_decode_image_refuses_an_image_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(Image.fromarray(noise(40, 40)), "PNG")
    monkeypatch.setattr(decode, "MAX_PIXELS", 1600)
    decode_image(content, "a.png", 40)
    monkeypatch.setattr(decode, "MAX_PIXELS", 1599)
    with pytest.raises(DataError, match=r"a\.png: is too large"):
        decode_image(content, "a.png", 40)


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("side", [9_500, 14_000, 60_000])  # Pillow warns, Pillow refuses, far too large
def test_decode_image_refuses_a_header_of_an_image_that_is_too_large(
    action: Literal["error", "ignore"], side: int
) -> None:
    content = bytearray(encode(Image.fromarray(noise(4, 4)), "BMP"))
    content[18:26] = struct.pack("<ii", side, side)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(DataError, match=r"a\.bmp: is too large"):
            decode_image(bytes(content), "a.bmp", 40)


def damage_by_truncating(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


def damage_by_writing_text(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


@pytest.mark.parametrize("damage", [damage_by_truncating, damage_by_emptying, damage_by_writing_text])
@pytest.mark.parametrize("place", ["train/n02/images/n02_5.JPEG", "val/images/val_14.JPEG"])
def test_prepare_names_a_damaged_image_and_stops(
    official: Path, tmp_path: Path, damage: Callable[[Path], None], place: str
) -> None:
    damage(official / place)
    assert str(official / place) in refusal(tmp_path, official)


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("big"),
        NotImplementedError("odd"),
        MemoryError(),
        lzma.LZMAError("bad\nline"),
        struct.error(),
        RuntimeError(),
    ],
)
def test_decode_image_turns_any_codec_error_into_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: Image.Image) -> None:
        raise error

    content = encode(Image.fromarray(noise(8, 8)), "PNG")
    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"^some/a\.png: cannot be decoded \(.+\); replace or remove it$") as caught:
        decode_image(content, "some/a.png", 8)
    assert is_one_sentence(str(caught.value))


def test_decode_image_takes_the_format_from_the_content(official: Path, tmp_path: Path) -> None:
    pixels = noise(64, 64)
    (official / "train" / "n02" / "images" / "n02_5.JPEG").write_bytes(encode(Image.fromarray(pixels), "PNG"))
    prepare([official], tmp_path / "out")
    train = open_prepared(tmp_path / "out").split("train")
    row = sorted(f"n02_{n}.JPEG" for n in range(12)).index("n02_5.JPEG") + 12
    np.testing.assert_array_equal(train.images[row], pixels.transpose(2, 0, 1))


def test_decode_image_reads_the_first_frame_of_a_gif() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(content.getvalue(), "a.gif", 8)[:, 4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["a.eps", "a.jpg"])
def test_decode_image_never_starts_a_program(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def start(*_: object, **__: object) -> None:
        pytest.fail("started a program")

    content = encode(Image.fromarray(noise(8, 8)), "EPS")
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(DataError, match=rf"{name}: is of kind EPS, which is not supported; convert it"):
        decode_image(content, name, 8)
