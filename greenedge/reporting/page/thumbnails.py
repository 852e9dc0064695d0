"""Images as small files within the page, as many as a bound on its size allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from greenedge.exits.examples import Example, Examples
from greenedge.reporting.names import exit_name, short_name
from greenedge.reporting.page.sections import Gallery, Thumbnail

SIDE = 96  # largest side of a thumbnail in pixels
MOST_BYTES = 400_000  # of all thumbnails of a page, as they stand in it
PER_KIND = 12
_QUALITY = 75
LETTERS = 30  # of a class's name


def galleries(
    examples: Examples, images: dict[int, np.ndarray], classes: Sequence[str], num_exits: int, room: int = MOST_BYTES
) -> tuple[Gallery, ...]:
    """Images of each kind, in turns, until the room is used up.

    Args:
        examples: what to show.
        images: position -> uint8 (3, H, W).
        classes: readable names.
        num_exits: E.
        room: bytes that all images may take in the page.
    """
    kinds = [
        ("Easiest: right and most confident at exit 1", examples.easiest),
        ("Hardest: right at no exit, and the true class least likely", examples.hardest),
        ("Wrong and confident at the final exit", examples.confidently_wrong),
        ("Right early and wrong late", examples.right_early),
    ]
    if num_exits == 1:
        kinds = [("Easiest: right and most confident", examples.easiest), *kinds[1:3]]
    found: list[list[Thumbnail]] = [[] for _ in kinds]
    for place in range(PER_KIND):
        for shown, (_, of_kind) in zip(found, kinds, strict=True):
            if place >= len(of_kind):
                continue
            thumbnail = _thumbnail(of_kind[place], images[of_kind[place].image], classes, num_exits)
            room -= len(thumbnail.source)
            if room < 0:
                return _some(kinds, found)
            shown.append(thumbnail)
    return _some(kinds, found)


def _some(kinds: Sequence[tuple[str, object]], found: Sequence[list[Thumbnail]]) -> tuple[Gallery, ...]:
    return tuple(Gallery(title, shown) for (title, _), shown in zip(kinds, found, strict=True) if shown)


def _thumbnail(example: Example, image: np.ndarray, classes: Sequence[str], num_exits: int) -> Thumbnail:
    source, side = _data_address(image)
    label = short_name(classes[example.label], LETTERS)
    prediction = short_name(classes[example.prediction], LETTERS)
    where = exit_name(example.exit_index, num_exits)
    caption = f"{where}: {prediction}, {100 * example.confidence:.1f} %"
    if example.final != example.prediction:
        caption += f"; final exit: {short_name(classes[example.final], LETTERS)}"
    return Thumbnail(source, side, label, caption, f"an image of {label}", example.image)


def _data_address(pixels: np.ndarray) -> tuple[str, int]:
    """A `data:` address of an image (3, H, W), and its larger side in pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}", max(image.size)
