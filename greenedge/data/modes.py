"""Converts all of Pillow's pixel modes to 8-bit RGB, except those whose range is not known."""

from __future__ import annotations

import numpy as np
from PIL import Image

from greenedge.errors import DataError

_OPAQUE = frozenset(("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"))
_WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
_SIXTEEN_BITS = frozenset(("I;16", "I;16L", "I;16B", "I;16N"))

# Some versions of Pillow return 16 bits of grey in 32 for these formats.
_SIXTEEN_IN_32 = frozenset((("PNG", "I"), ("PPM", "I")))

_UNKNOWN_RANGES = {"I": "whole numbers of 32 bits", "F": "floating-point numbers"}

# A transparent grey value is stored in the bits of the file, while Pillow spreads 2 and 4 bits over 8.
_SPREAD = {"L;2": 85, "L;4": 17}
_WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
_PHOTOMETRIC = 262


def to_rgb(image: Image.Image, name: str, packing: str = "") -> Image.Image:
    """Converts a loaded image to mode RGB; transparent parts become white.

    Args:
        image: of any mode.
        name: for messages.
        packing: how the file packs its pixels, by Pillow's names, such as `L;2`.

    Raises:
        DataError: the range of the pixels is not known (32 bits, floating point, 12 bits in 16).
    """
    if image.mode in _WITH_ALPHA:
        return _over_white(image)
    if image.mode == "P" and "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    if image.mode in _SIXTEEN_BITS or (image.format, image.mode) in _SIXTEEN_IN_32:
        return _sixteen_to_rgb(image, name)
    if image.mode in _OPAQUE:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return _key_to_white(image, rgb, packing) if "transparency" in image.info else rgb
    words = _UNKNOWN_RANGES.get(image.mode, f"pixels of mode {image.mode}")
    raise DataError(f"{name}: holds {words}, whose range is not known; convert it to 8 bits per channel first")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return white


def _sixteen_to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Keeps the upper 8 of 16 bits of grey, as Pillow does with 16-bit colours."""
    values = np.asarray(image).astype(np.int32)
    highest = int(values.max())
    if 0 < highest < 1 << 12:
        raise DataError(
            f"{name}: holds 16 bits per pixel of which at most 12 are used (the highest is {highest}), so its range "
            "is not known; scale it to 8 bits per channel first"
        )
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")


def _key_to_white(image: Image.Image, rgb: Image.Image, packing: str) -> Image.Image:
    """Paints white the one colour that a PNG or GIF marks as transparent."""
    key = image.info["transparency"]
    if isinstance(key, bytes):
        return rgb
    colour = np.atleast_1d(np.asarray(key))
    colour = colour >> 8 if packing.startswith("RGB;16") else colour * _SPREAD.get(packing, 1)

    pixels = np.array(rgb)
    pixels[(pixels == colour).all(axis=2)] = 255
    return Image.fromarray(pixels)
