"""From the bytes of an image file to a uint8 array of a given size."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from greenedge.errors import DataError

FORMATS = {
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

# A damaged file can make Pillow's decoders raise any of these.
_DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError),
    *(struct.error, zlib.error),
)


def decode_image(content: bytes, name: str, size: int) -> np.ndarray:
    """Decodes an image to RGB; grey-scale, palette and transparent ones are converted.

    An image of another size is scaled so that its shorter side fits (bicubic) and cropped at the centre.

    Args:
        content: the file's bytes.
        name: the file's name, for messages; its ending must say the format.
        size: pixels a side.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: empty, truncated, not an image, or an image of another format than its name says.
    """
    if not content:
        raise DataError(f"{name}: is empty")
    try:
        image = Image.open(io.BytesIO(content))
        _check_format(image, name)
        pixels = _to_rgb(image)
    except UnidentifiedImageError:
        raise DataError(f"{name}: is not an image, whatever its name says; replace or remove it") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{name}: is too large an image to decode safely; scale it down first") from None
    except _DECODING_ERRORS as error:
        raise DataError(f"{name}: cannot be decoded ({error}); replace or remove it") from None
    return _stored(pixels, size)


def convert_pixels(pixels: np.ndarray, name: str, size: int) -> np.ndarray:
    """As `decode_image`, for an image that is an array already.

    Args:
        pixels: uint8 (H, W), (H, W, 1) or (H, W, 3).
        name: for messages.
        size: pixels a side.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: an array of another type or shape.
    """
    grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise DataError(f"{name}: is {pixels.dtype} {pixels.shape}, not an image: uint8 (H, W, 3), or (H, W) for grey")
    if grey:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return _stored(Image.fromarray(pixels), size)


def _stored(image: Image.Image, size: int) -> np.ndarray:
    if image.size != (size, size):
        image = _fit(image, size)
    return np.asarray(image).transpose(2, 0, 1)


def _check_format(image: Image.Image, name: str) -> None:
    expected = FORMATS.get("." + name.rpartition(".")[2].lower())
    found = "JPEG" if image.format == "MPO" else image.format  # a JPEG of several frames, as phones write them
    if expected is not None and found != expected:
        raise DataError(f"{name}: is a {found} file named like a {expected}; rename it")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # 16 bits of grey: keep the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P":  # a palette may hold transparency, which only RGBA can express
        image = image.convert("RGBA")
    return image.convert("RGB")


def _fit(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    scale = size / min(width, height)
    scaled = image.resize((max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.BICUBIC)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return scaled.crop((left, top, left + size, top + size))
