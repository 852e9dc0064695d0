"""The same pairs of images, mixed by chance and by what trainings have learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from greenedge.augment.mixing import cutmix
from greenedge.data.loader import Batch
from greenedge.reporting.figures import save_figure
from greenedge.reporting.image_grid import plot_image_grid
from greenedge.training.configs import read_config
from greenedge.training.mixing_preview import SHOWN_SHARES, preview_mixing
from greenedge.training.resume import restore_run
from greenedge.training.run import Run, build_run
from greenedge.training.run_files import CONFIG

_TRIES = 200


def draw_mixtures(runs: Sequence[Path], out: Path) -> str:
    """Draws what runs whose mixing is learned make of the same pairs, beside Mixup and CutMix."""
    shown = [preview_mixing(_restored(run)) for run in runs]
    (first_name, first), (second_name, second), *_ = shown[0].items()
    keep = np.array(SHOWN_SHARES)[:, None, None, None]
    rows = {
        first_name: first,
        second_name: second,
        "mixup": (keep * first + (1 - keep) * second).round().astype(np.uint8),
        "cutmix": np.stack([_cut(*pair) for pair in zip(first, second, SHOWN_SHARES, strict=True)]),
    }
    for each in shown:
        name = list(each)[-1]
        rows |= {f"{name}'s mask": each["mask of the first"], name: each[name]}
    save_figure(plot_image_grid(rows), out)
    return f"{out}: the same pairs, mixed in each way"


def _restored(out: Path) -> Run:
    """A run as it stands after its last epoch, its Mix Block included."""
    run = build_run(read_config(out / CONFIG), out, pretrained=False)
    restore_run(run.state, run.settings, run.splits.train, out)
    return run


def _cut(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """CutMix of one pair: of many draws the one whose share is nearest."""
    pair = Batch(torch.from_numpy(np.stack([first, second])), torch.tensor([0, 1]), 2)
    drawn = [cutmix(pair, Generator().manual_seed(seed)) for seed in range(_TRIES)]
    mixed = [each for each in drawn if float(each.targets[0, 1]) > 0]
    nearest = min(mixed, key=lambda each: abs(float(each.targets[0, 0]) - share))
    return nearest.images[0].numpy()
