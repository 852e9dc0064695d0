"""Reads what `runner.py`, beside which this file lies, is asked to predict; needs numpy, and Pillow for image files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# How image files become what the network reads, as manifest.json says it; what it says otherwise is not known here.
COLOUR = "RGB, upright by EXIF, transparency over white"
_BICUBIC: dict[str, Any] = {"filter": "bicubic", "antialias": True}
RESIZE: list[dict[str, Any]] = [
    {"to": "stored_size", **_BICUBIC, "side": "shorter", "crop": "centre", "pixels": "uint8"},
    {"to": "image_size", **_BICUBIC, "side": "both", "crop": None, "pixels": "float32, clamped"},
]
PIXEL_RANGE = [0, 1]

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_RANGE_UNKNOWN = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
_TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
_BATCH, _MAX_PIXELS = 64, 89_478_485


def find_problem(preprocessing: dict[str, Any]) -> str | None:
    """What of a manifest's preprocessing is unknown or out of range, as a sentence; None: nothing."""
    mean, std, size = (preprocessing[key] for key in ("mean", "std", "stored_size"))
    if not 0 < size <= 65536 or not len(mean) == len(std) == 3 or min(std) <= 0:
        return "is invalid: stored_size, mean or std is out of range"
    known = {"colour": COLOUR, "resize": RESIZE, "pixel_range": PIXEL_RANGE}
    if wrong := [key for key, value in known.items() if preprocessing.get(key) != value]:
        return f"asks for another {wrong[0]} of the images than this runner knows; export again to have a newer one"
    return None


def grouped(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Paths in their order: each .npy file alone, image files between them up to 64 at a time."""
    group: list[Path] = []
    for path in paths:
        if is_array(path):
            yield from ([group] if group else [])
            yield [path]
            group = []
            continue
        group.append(path)
        if len(group) == _BATCH:
            yield group
            group = []
    yield from ([group] if group else [])


def batches(
    group: Sequence[Path], size: int, say: Callable[[str], None]
) -> Iterator[tuple[int, list[Path], np.ndarray]]:
    """The index of the first image, the files and the images of each batch of a group of `grouped`.

    Of image files they are uint8 (N, 3, size, size), and what cannot be used is said and left out; of a .npy file, no
    files, and 64 images as they stand there.
    """
    if is_array(group[0]):
        images = np.atleast_1d(np.load(group[0], mmap_mode="r"))
        for start in range(0, max(len(images), 1), _BATCH):
            yield start, [], images[start : start + _BATCH]
        return
    files, decoded = [], []
    for path in group:
        try:
            decoded.append(decode(path, size))
            files.append(path)
        except ValueError as error:
            say(str(error))
    if files:
        yield 0, files, np.stack(decoded)


def is_array(path: Path) -> bool:
    """Whether a file begins as `numpy.save` begins one; False of what cannot be read."""
    try:
        return np.fromfile(path, np.uint8, 6).tobytes() == b"\x93NUMPY"
    except OSError:
        return False


def decode(path: Path, size: int) -> np.ndarray:
    """uint8 (3, size, size) of an image file: its shorter side scaled to size, and cropped at the centre.

    Raises ValueError, in a sentence that names the file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        from PIL import Image
    except ImportError:
        raise ValueError(f"{path}: image files need Pillow; pip install pillow, or give a .npy file") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of codecs, about files that they can read
            image = Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS)
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError("is too large an image to decode safely; scale it down first")
            if image.format in ("JPEG", "MPO") and min(image.size) >= 4 * size:
                image.draft(None, (2 * size, 2 * size))  # decodes at 1/2, 1/4 or 1/8, and never below twice the size
            image.load()
            return _fitted(_upright_rgb(image), size)
    except Exception as error:  # noqa: BLE001  # codecs raise many kinds of errors on damaged files
        reason = str(error) if type(error) is ValueError else f"is no image that can be read ({type(error).__name__})"
        raise ValueError(f"{path}: {reason}") from None


def _upright_rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode in _RANGE_UNKNOWN:
        raise ValueError(f"has pixels of mode {image.mode}, which this runner does not convert; convert it to 8 bits")
    turn = 1
    with contextlib.suppress(Exception):  # a damaged EXIF says nothing
        turn = image.getexif().get(_ORIENTATION, 1)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGB", rgba.size, (255, 255, 255))
        image.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    image = image.convert("RGB")
    return image.transpose(Image.Transpose[_TURNS[turn - 2]]) if turn in range(2, 9) else image


def _fitted(image: Any, size: int) -> np.ndarray:
    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        scaled = max(size, round(width * scale)), max(size, round(height * scale))
        left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
        across, down = width / scaled[0], height / scaled[1]  # pixels of the image per pixel of the scaled one
        box = (left * across, top * down, min(width, (left + size) * across), min(height, (top + size) * down))
        image = image.resize((size, size), 3, box=box)  # 3 is Pillow's bicubic filter, which is antialiased
    return np.asarray(image).transpose(2, 0, 1)


def prepare(stored: np.ndarray, image_size: int, preprocessing: dict[str, Any]) -> np.ndarray:
    """uint8 (N, 3, T, T), as decoded, to what the network reads: float32 (N, 3, S, S), normalised."""
    pixels = stored.astype(np.float32)
    if stored.shape[-1] != image_size:
        resize = resize_matrix(stored.shape[-1], image_size)
        pixels = (resize @ pixels @ resize.T).clip(0, 255)
    mean, std = (np.float32(preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return np.asarray(pixels * (1 / (std * 255)) - mean / std)


def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """float32 (new_size, size): what antialiased bicubic resizing (a = -0.5) does to a column of pixels."""
    scale, half = np.float32(size / new_size), np.float32(0.5)  # in float32, so that rounding is that of training
    centres = (np.arange(new_size, dtype=np.float32)[:, None] + half) * scale
    x = np.abs(np.arange(size, dtype=np.float32) - centres + half) / max(scale, np.float32(1))
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
