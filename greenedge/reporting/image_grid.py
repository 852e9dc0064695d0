"""Rows of images, before and after augmentations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from greenedge.reporting.figures import new_figure


def plot_image_grid(rows: Mapping[str, np.ndarray]) -> Figure:
    """Draws one row of images below the other, each with its name on the left.

    Args:
        rows: name -> uint8 (N, 3, H, W), N the same for all.
    """
    columns = len(next(iter(rows.values())))
    figure = new_figure(0.9 * columns + 1.6, 0.9 * len(rows) + 0.1)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        for place, image in zip(axes, images, strict=True):
            place.imshow(image.transpose(1, 2, 0))
            place.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure
