"""Accuracy, cost and pictures of the runs of scripts/compare_mixing: python scripts/measured/mixing.py --help."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from greenedge.augment.mixing import cutmix
from greenedge.data.loader import Batch
from greenedge.reporting.figures import save_figure
from greenedge.reporting.image_grid import plot_image_grid
from greenedge.reporting.tables import format_table
from greenedge.training.configs import read_config
from greenedge.training.history import HistoryRecord, read_history
from greenedge.training.mixing_preview import SHOWN_SHARES, preview_mixing
from greenedge.training.resume import restore_run
from greenedge.training.run import Run, build_run
from greenedge.training.run_files import CONFIG, HISTORY

_MIXINGS = ("none", "mixup", "cutmix", "resizemix", "automix", "samix")
_TRIES = 200


def main() -> None:
    options = _arguments()
    found = {
        name: [_last_record(options.runs / f"{name}-{seed}") for seed in options.seeds]
        for name in _MIXINGS
        if all((options.runs / f"{name}-{seed}" / HISTORY).is_file() for seed in options.seeds)
    }
    print(_table(found))
    learned = [_restored(options.runs / f"{name}-{options.seeds[0]}") for name in ("automix", "samix") if name in found]
    if learned:
        out = options.runs / "mixing.png"
        save_figure(plot_image_grid(_rows(learned)), out)
        print(f"{out}: the same pairs, mixed in each way")


def _last_record(run: Path) -> HistoryRecord:
    config = read_config(run / CONFIG)
    return read_history(run / HISTORY, len(config.model.exits) + 1)[-1]


def _table(found: Mapping[str, Sequence[HistoryRecord]]) -> str:
    """Each exit's accuracy in the last epoch, from the worst to the best seed, and the time over that of no mixing."""
    plain = statistics.median(each.images_per_second for each in found["none"])
    rows = []
    for name, records in found.items():
        exits = zip(*(each.accuracy for each in records), strict=True)
        cells = [" to ".join(f"{100 * each:.2f}" for each in sorted({min(one), max(one)})) for one in exits]
        speed = statistics.median(each.images_per_second for each in records)
        rows.append([name, *cells, f"{plain / speed:.2f}"])
    exits = [f"exit {index + 1} %" for index in range(len(rows[0]) - 2)]
    return format_table(["mixing", *exits, "time of a step"], rows)


def _restored(out: Path) -> Run:
    """A run as it stands after its last epoch, its Mix Block included."""
    run = build_run(read_config(out / CONFIG), out, pretrained=False)
    restore_run(run.state, run.settings, run.splits.train, out)
    return run


def _rows(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """The same pairs of images, mixed by chance and by what each run has learned."""
    shown = [preview_mixing(run) for run in runs]
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
    return rows


def _cut(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """CutMix of one pair: of many draws that with the share that is nearest."""
    pair = Batch(torch.from_numpy(np.stack([first, second])), torch.tensor([0, 1]), 2)
    drawn = [cutmix(pair, Generator().manual_seed(seed)) for seed in range(_TRIES)]
    mixed = [each for each in drawn if float(each.targets[0, 1]) > 0]
    nearest = min(mixed, key=lambda each: abs(float(each.targets[0, 0]) - share))
    return nearest.images[0].numpy()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="the folder that the runs are in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
