"""Eight of the corruptions of Tiny-ImageNet-C, at its five severities (Hendrycks and Dietterich 2019).

The strengths are those of the authors' `make_tinyimagenet_c.py` for images of 64 px, which differ from ImageNet-C's.
Not made here, since they need other libraries, photos of frost or many more lines: glass, motion and zoom blur, snow,
frost, fog, elastic. The package `imagecorruptions` 1.1.2 has ImageNet-C's strengths alone, and its fog and glass blur
fail with NumPy 2 and today's scikit-image.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

Random = np.random.Generator
# From pixels (H, W, 3) in [0, 1] and a strength to such pixels, which are clipped afterwards.
Corrupt = Callable[[np.ndarray, float, Random], np.ndarray]

_REACH = 8  # of the kernel of defocus


def gaussian_noise(pixels: np.ndarray, scale: float, random: Random) -> np.ndarray:
    return pixels + random.normal(scale=scale, size=pixels.shape)


def shot_noise(pixels: np.ndarray, photons: float, random: Random) -> np.ndarray:
    return random.poisson(pixels * photons) / photons


def impulse_noise(pixels: np.ndarray, amount: float, random: Random) -> np.ndarray:
    """Salt and pepper, of each channel by itself."""
    struck, salt = random.random(pixels.shape) < amount, random.random(pixels.shape) < 0.5
    return np.where(struck, salt.astype(float), pixels)


def defocus_blur(pixels: np.ndarray, strength: tuple[float, float], _random: Random) -> np.ndarray:
    """Correlates with a disk whose edge is softened; beyond the border the image is reflected."""
    kernel = disk(*strength)
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="reflect")
    found = np.zeros_like(pixels)
    for row, column in np.argwhere(kernel > 1e-12).tolist():
        found += kernel[row, column] * padded[row : row + height, column : column + width]
    return found


def disk(radius: float, softness: float) -> np.ndarray:
    """float64 (17, 17): a disk that sums to 1, blurred by a Gaussian over 3 x 3 pixels."""
    across = np.arange(-_REACH, _REACH + 1)
    hard = (across[:, None] ** 2 + across**2 <= radius**2).astype(float)
    side = np.exp(-0.5 / softness**2)
    weights = np.array([side, 1, side]) / (1 + 2 * side)
    for axis in (0, 1):
        hard = sum(weight * np.roll(hard, shift, axis) for weight, shift in zip(weights, (-1, 0, 1), strict=True))
    return hard / hard.sum()


def brightness(pixels: np.ndarray, added: float, _random: Random) -> np.ndarray:
    """Adds to the value in HSV, which multiplies the pixel; of black, which has no hue, it makes grey."""
    value = pixels.max(axis=2, keepdims=True)
    brighter = np.clip(value + added, 0, 1)
    return np.where(value > 0, pixels / np.where(value > 0, value, 1) * brighter, brighter)


def contrast(pixels: np.ndarray, kept: float, _random: Random) -> np.ndarray:
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return (pixels - means) * kept + means


def pixelate(pixels: np.ndarray, scale: float, _random: Random) -> np.ndarray:
    image = _as_image(pixels)
    small = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BOX)) / 255


def jpeg_compression(pixels: np.ndarray, quality: float, _random: Random) -> np.ndarray:
    file = io.BytesIO()
    _as_image(pixels).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file)) / 255


# Name -> what it does, and its strength at each severity.
CORRUPTIONS: dict[str, tuple[Corrupt, tuple]] = {
    "gaussian_noise": (gaussian_noise, (0.04, 0.08, 0.12, 0.15, 0.18)),
    "shot_noise": (shot_noise, (250, 100, 50, 30, 15)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.05, 0.08, 0.14)),
    "defocus_blur": (defocus_blur, ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1))),
    "brightness": (brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (pixelate, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "jpeg_compression": (jpeg_compression, (65, 58, 50, 40, 25)),
}


def corrupt(image: np.ndarray, name: str, severity: int, random: Random) -> np.ndarray:
    """Corrupts an image.

    Args:
        image: uint8 (H, W, 3).
        name: in `CORRUPTIONS`.
        severity: 1 to 5.
        random: of the noise.

    Returns:
        uint8 (H, W, 3), rounded down as the published images are.
    """
    function, strengths = CORRUPTIONS[name]
    found = function(image / 255, strengths[severity - 1], random)
    return (np.clip(found, 0, 1) * 255 + 1e-6).astype(np.uint8)


def _as_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
