"""Decodes image files into uint8 arrays of a given size, upright and without transparency."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image, UnidentifiedImageError

from greenedge.data.modes import to_rgb
from greenedge.errors import DataError, printable

# The formats that are read, by Pillow's names. Other decoders are never tried: some start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")

# Files with these endings count as images. Their content, not the ending, decides how they are decoded.
_ENDINGS = ".jpg .jpeg .jpe .jfif .mpo .png .bmp .webp .ppm .pgm .pbm .pnm .tif .tiff .gif"
IMAGE_ENDINGS = frozenset(_ENDINGS.split())

# The largest image in pixels. Pillow warns from here on; it is 1/4 GB of RGB.
MAX_PIXELS = 89_478_485

# Signatures of other formats that files may have: offset, bytes, name.
_OTHER_KINDS = (
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "HEIC"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"DDS ", "DDS"),
)

# EXIF orientation -> the transposition that makes the image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height

# Width and height of an upright image -> left, top, right and bottom of the part that is wanted of it.
Crop = Callable[[int, int], tuple[int, int, int, int]]

# Threads decode large images one at a time, since each takes several times the memory of its pixels.
_LARGE_PIXELS = 1 << 24
_LARGE = threading.Lock()


def is_image_name(path: str) -> bool:
    """Tells by the ending of its name whether a file counts as an image."""
    return "." + path.rpartition(".")[2].lower() in IMAGE_ENDINGS


def decode_image(content: bytes, name: str, size: int, crop: Crop | None = None) -> np.ndarray:
    """Decodes an image to RGB, turned upright by its EXIF orientation, with transparency laid over white.

    An image of another size is scaled so that its shorter side fits (bicubic) and cropped at the centre, or a crop of
    it is scaled to the size, whatever its aspect ratio. Of several frames, the first is taken. The content decides the
    format, not the name.

    Args:
        content: the file's bytes.
        name: the file's name, for messages.
        size: pixels per side.
        crop: chooses a part of the upright image, in its own pixels; None: the largest square at the centre.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: the file is empty, truncated, too large, not an image, or of a mode whose range is not known.
    """
    if not content:
        raise DataError(f"{name}: is empty")
    try:
        return _decode(content, name, size, crop)
    except DataError:
        raise
    except UnidentifiedImageError:
        kind = next((kind for at, start, kind in _OTHER_KINDS if content.startswith(start, at)), None)
        if kind is not None:
            raise DataError(f"{name}: is of kind {kind}, which is not supported; convert it to JPEG or PNG") from None
        raise DataError(f"{name}: is not an image, despite its name; replace or remove it") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(name) from None
    except Exception as error:  # noqa: BLE001  # codecs raise many kinds of errors on damaged files
        raise DataError(f"{name}: cannot be decoded ({_reason(error)}); replace or remove it") from None


def convert_pixels(pixels: np.ndarray, name: str, size: int) -> np.ndarray:
    """Converts an image that is already an array, as `decode_image` does.

    Args:
        pixels: uint8 (H, W), (H, W, 1) or (H, W, 3).
        name: for messages.
        size: pixels per side.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: an array of another type or shape.
    """
    grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise DataError(
            f"{name}: is {pixels.dtype} {pixels.shape}, not an image; use uint8 (H, W, 3), or (H, W) for grey"
        )
    if grey:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return _to_array(Image.fromarray(pixels), size)


def to_stored(image: Image.Image | np.ndarray, name: str, size: int) -> np.ndarray:
    """As `decode_image`, for an image that is open in Pillow or an array already.

    Args:
        image: of any mode that is read from files; or uint8 (H, W), (H, W, 1) or (H, W, 3).
        name: for messages.
        size: pixels per side.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: an array of another type or shape, or a mode whose brightest value is not known.
    """
    if isinstance(image, np.ndarray):
        return convert_pixels(image, name, size)
    rgb, turn = to_rgb(image, name), _turn(image)
    return _to_array(rgb if turn is None else rgb.transpose(turn), size)


def shorter_side(content: bytes) -> int:
    """Returns the pixels of the shorter side of an image that `decode_image` reads."""
    return min(Image.open(io.BytesIO(content), formats=FORMATS).size)


def _decode(content: bytes, name: str, size: int, crop: Crop | None) -> np.ndarray:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)

    # Pillow forgets the packing when it loads the pixels, as it does for some formats to find their orientation.
    packing = str(image.tile[0].args) if image.tile else ""
    width, height = _upright_size(image) if crop is not None else image.size
    box = None if crop is None else crop(width, height)
    side = min(image.size) if box is None else min(box[2] - box[0], box[3] - box[1])
    # A large JPEG can be decoded at 1/2, 1/4 or 1/8 in a fraction of the time; never below twice the wanted size.
    smaller = side // (2 * size)
    if image.format in ("JPEG", "MPO") and smaller > 1:
        image.draft(None, (2 * size,) * 2 if box is None else (image.width // smaller, image.height // smaller))

    large = image.width * image.height > _LARGE_PIXELS
    with _LARGE if large else contextlib.nullcontext():
        image.load()
        rgb = to_rgb(image, name, packing)
        turn = _turn(image)
        upright = rgb if turn is None else rgb.transpose(turn)
        if box is None:
            return _to_array(upright, size)
        across, down = upright.width / width, upright.height / height  # pixels that were decoded per pixel of the file
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return np.asarray(upright.resize((size, size), Image.Resampling.BICUBIC, box=part)).transpose(2, 0, 1)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    turned = _turn(image) in {_TURNS[number] for number in _ON_ITS_SIDE}
    return image.size[::-1] if turned else image.size


def _reason(error: Exception) -> str:
    """Formats a codec's message as part of a sentence."""
    words = " ".join(str(error).split()).rstrip(". ").replace(". ", ", ")
    return printable(words) or type(error).__name__


def _too_large(name: str) -> DataError:
    return DataError(f"{name}: is too large an image to decode safely; scale it down first")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Returns the transposition that makes the image upright; None if it is, or if its EXIF is damaged."""
    with contextlib.suppress(Exception):
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return None


def _to_array(image: Image.Image, size: int) -> np.ndarray:
    if image.size != (size, size):
        image = _fit(image, size)
    return np.asarray(image).transpose(2, 0, 1)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Scales the image and crops it at the centre, computing only the part that is kept."""
    width, height = image.size
    scale = size / min(width, height)
    scaled = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2

    across, down = width / scaled[0], height / scaled[1]  # pixels of the image per pixel of the scaled one
    box = (left * across, top * down, min(width, (left + size) * across), min(height, (top + size) * down))
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
