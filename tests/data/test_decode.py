from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from greenedge.data.decode import decode_image
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
def test_lossless_formats_give_back_every_pixel(name: str) -> None:
    pixels = noise(20, 20)
    form = {"ppm": "PPM", "tif": "TIFF", "tiff": "TIFF"}.get(name[2:].lower(), name[2:])
    decoded = decode_image(encode(Image.fromarray(pixels), form), name, 20)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("name", ["a.JPEG", "a.jpg", "a.webp"])
def test_lossy_formats_decode_as_pillow_decodes_them(name: str) -> None:
    content = encode(Image.fromarray(noise(20, 20)), "WEBP" if name.endswith("webp") else "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode_image(content, name, 20), np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_grey_scale_becomes_three_equal_channels(form: str) -> None:
    content = encode(Image.fromarray(noise(16, 16, channels=1)), form)
    grey = np.asarray(Image.open(io.BytesIO(content)))
    assert grey.shape == (16, 16)
    np.testing.assert_array_equal(decode_image(content, f"a.{form}", 16), np.stack([grey] * 3))


def test_palettes_are_looked_up() -> None:
    image = Image.fromarray(noise(16, 16)).quantize(8)
    table = np.array(image.getpalette()).reshape(-1, 3)
    expected = table[np.asarray(image)].transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(encode(image, "PNG"), "a.png", 16), expected)


def test_transparency_is_dropped() -> None:
    rgba = noise(16, 16, channels=4)
    decoded = decode_image(encode(Image.fromarray(rgba), "PNG"), "a.png", 16)
    np.testing.assert_array_equal(decoded, rgba[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(70, 64), (64, 81)])
def test_a_longer_side_is_cropped_at_the_centre(width: int, height: int) -> None:
    pixels = noise(width, height)
    left, top = (width - 64) // 2, (height - 64) // 2
    expected = pixels[top : top + 64, left : left + 64].transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(pixels), "PNG"), "a.png", 64), expected)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (160, 96), (40, 90), (201, 67), (31, 32), (1, 1)])
def test_another_size_is_scaled_and_cropped_to_the_central_square(width: int, height: int) -> None:
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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "PPM"])
def test_an_image_cut_anywhere_is_refused_in_one_sentence(form: str) -> None:
    content = encode(Image.fromarray(noise(24, 24)), form)
    for length in range(0, len(content) * 9 // 10, 37):
        with pytest.raises(DataError, match=r"^some/a\.") as caught:
            decode_image(content[:length], f"some/a.{form}", 24)
        assert is_one_sentence(str(caught.value))


def test_an_image_too_large_to_decode_safely_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(Image.fromarray(noise(40, 40)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png: is too large"):
        decode_image(content, "a.png", 40)


def damage_by_truncating(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


def damage_by_writing_text(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


def damage_by_storing_png(path: Path) -> None:
    path.write_bytes(encode(Image.fromarray(noise(64, 64)), "PNG"))


@pytest.mark.parametrize(
    "damage", [damage_by_truncating, damage_by_emptying, damage_by_writing_text, damage_by_storing_png]
)
@pytest.mark.parametrize("place", ["train/n02/images/n02_5.JPEG", "val/images/val_14.JPEG"])
def test_a_damaged_image_stops_the_preparation_and_is_named(
    official: Path, tmp_path: Path, damage: Callable[[Path], None], place: str
) -> None:
    damage(official / place)
    assert str(official / place) in refusal(tmp_path, official)
