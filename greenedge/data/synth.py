"""Generates images of graded difficulty in TinyImageNet's layout, for a first run without a download.

Each class is a shape. An easy image shows it large, clean and in the colour of its class, which a few layers
recognise. The harder the image, the smaller, fainter and noisier is the shape, and the less its colour tells.
"""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from greenedge.data.folders import new_folder
from greenedge.errors import DataError, UsageError

_SIZE = 64
# Shapes are drawn at twice the size, so that edges are smooth.
_DRAWN = 2 * _SIZE
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class SynthOptions:
    """What to generate.

    Attributes:
        classes: 2 to 10.
        per_class: training images per class.
        val_per_class: validation images per class.
        seed: of all random numbers.
    """

    classes: int = 10
    per_class: int = 400
    val_per_class: int = 100
    seed: int = 0


def _polygon(corners: int) -> Points:
    return [_polar(1, 2 * math.pi * k / corners) for k in range(corners)]


def _star(points: int, inner: float) -> Points:
    return [_polar(1 if k % 2 == 0 else inner, math.pi * k / points) for k in range(2 * points)]


def _crescent() -> Points:
    angles = np.linspace(0.3 * math.pi, 1.7 * math.pi, 24)
    outer = [_polar(1, angle) for angle in angles]
    return outer + [(x * 0.55 + 0.15, y * 0.85) for x, y in reversed(outer)]


def _polar(radius: float, angle: float) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)


SHAPES: dict[str, Callable[[], Points]] = {
    "triangle": lambda: _polygon(3),
    "square": lambda: _polygon(4),
    "hexagon": lambda: _polygon(6),
    "disc": lambda: _polygon(32),
    "bar": lambda: [(1, 0.3), (-1, 0.3), (-1, -0.3), (1, -0.3)],
    "four-pointed star": lambda: _star(4, 0.4),
    "five-pointed star": lambda: _star(5, 0.45),
    "eight-pointed star": lambda: _star(8, 0.6),
    "crescent": _crescent,
    "arrow": lambda: [(1, 0), (0, 0.9), (0, 0.35), (-1, 0.35), (-1, -0.35), (0, -0.35), (0, -0.9)],
}


def synthesize(out: Path, options: SynthOptions | None = None) -> None:
    """Writes a data set in TinyImageNet's official layout into the new folder `out`.

    Raises:
        DataError: `out` exists or cannot be written.
        UsageError: the options are out of range.
    """
    options = options or SynthOptions()
    if not 2 <= options.classes <= len(SHAPES):
        raise UsageError(f"between 2 and {len(SHAPES)} classes can be generated, not {options.classes}")
    if options.per_class < 1 or options.val_per_class < 1:
        raise UsageError("each class needs at least one training and one validation image")
    if options.seed < 0:
        raise UsageError(f"a seed is a whole number of at least 0, not {options.seed}")
    if out.exists():
        raise DataError(f"{out}: exists already; choose another --out, or remove it first")

    shapes = list(SHAPES)[: options.classes]
    wnids = [f"s{index:08d}" for index in range(options.classes)]
    total = options.classes * (options.per_class + options.val_per_class)
    with (
        new_folder(out) as folder,
        tqdm(total=total, desc="generating", unit=" images", disable=None) as bar,
    ):
        (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
        (folder / "words.txt").write_text(
            "".join(f"{wnid}\t{shape}\n" for wnid, shape in zip(wnids, shapes, strict=True))
        )
        (folder / "val" / "images").mkdir(parents=True)

        annotations = []
        for label, wnid in enumerate(wnids):
            images = folder / "train" / wnid / "images"
            images.mkdir(parents=True)
            for index in range(options.per_class):
                _save(_draw(label, options, ("train", index)), images / f"{wnid}_{index}.JPEG")
            for index in range(options.val_per_class):
                name = f"val_{label * options.val_per_class + index}.JPEG"
                _save(_draw(label, options, ("val", index)), folder / "val" / "images" / name)
                annotations.append(f"{name}\t{wnid}\t0\t0\t{_SIZE - 1}\t{_SIZE - 1}\n")
            bar.update(options.per_class + options.val_per_class)
        (folder / "val" / "val_annotations.txt").write_text("".join(annotations))


def _save(image: Image.Image, path: Path) -> None:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=92)
    # Pillow itself ignores incomplete writes on a full disk.
    path.write_bytes(content.getvalue())


def _draw(label: int, options: SynthOptions, position: tuple[str, int]) -> Image.Image:
    """Draws one image, whose difficulty rises evenly with its number within its class."""
    split, index = position
    count = options.per_class if split == "train" else options.val_per_class
    difficulty = index / max(1, count - 1)
    random = np.random.default_rng((options.seed, split == "val", label, index))

    background = random.uniform(60, 190)
    hue = label / options.classes + difficulty * random.uniform(-0.5, 0.5)
    contrast = 1 - 0.55 * difficulty
    colour = np.array(colorsys.hsv_to_rgb(hue % 1, 0.9, 1.0)) * 255
    colour = background + contrast * (colour - background)
    image = Image.new("RGB", (_DRAWN, _DRAWN), (int(background),) * 3)
    pen = ImageDraw.Draw(image)

    for _ in range(round(4 * difficulty)):
        ends = random.uniform(0, _DRAWN, 4).tolist()
        stroke = tuple(int(v) for v in np.clip(background + random.normal(0, 60, 3), 0, 255))
        pen.line(ends, fill=stroke, width=int(random.integers(2, 6)))

    radius = _DRAWN * (0.42 - 0.22 * difficulty)
    centre = random.uniform(radius, _DRAWN - radius, 2)
    turn = difficulty * random.uniform(-math.pi, math.pi)
    cos, sin = radius * math.cos(turn), radius * math.sin(turn)
    corners = list(SHAPES.values())[label]()
    pen.polygon(
        [(centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y) for x, y in corners],
        fill=tuple(int(v) for v in np.clip(colour, 0, 255)),
    )

    pixels = np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.BOX), dtype=np.float64)
    noisy = pixels + random.normal(0, 4 + 20 * difficulty, pixels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
