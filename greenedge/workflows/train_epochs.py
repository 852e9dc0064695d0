"""What happens after each epoch of a training: evaluate, choose, keep, draw and tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from greenedge.config import RunConfig, config_to_text
from greenedge.cost.flops import count_costs
from greenedge.data.seen import seen_images
from greenedge.errors import CheckpointError
from greenedge.inference.collect import collect_logits
from greenedge.reporting.training_plot import draw_history
from greenedge.training.checkpoint import CheckpointInfo, save_checkpoint
from greenedge.training.finite import not_finite
from greenedge.training.history import write_history
from greenedge.training.interruption import StopSignals
from greenedge.training.loop import EpochRecord, TrainSettings, enough_memory, fit
from greenedge.training.run_directory import HISTORY, STATE
from greenedge.training.state import TrainingState, save_state
from greenedge.workflows.build import Splits


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that is ready to go on.

    Attributes:
        state: where it stands.
        splits: its images.
        settings: how steps are made.
        config: what it was built from, resolved.
        out: its run directory.
    """

    state: TrainingState
    splits: Splits
    settings: TrainSettings
    config: RunConfig
    out: Path


def run_epochs(run: Run, stop: StopSignals, say: Callable[[str], None]) -> str | None:
    """Trains to the end or to a signal; whatever happens, the last state on disk can be resumed.

    Returns:
        the name of the signal that stopped it before its end, or None.

    Raises:
        TrainingError: a number is no longer finite; nothing of that epoch is kept.
        CheckpointError: a file cannot be written.
    """
    state, splits, out = run.state, run.splits, run.out
    seen = seen_images(splits.train, splits.calibration)
    stored_size = splits.train.images.shape[-1]
    cost = count_costs(state.network)
    info = CheckpointInfo(config_to_text(run.config), splits.classes, 0, stored_size, seen, cost)

    for record in fit(state, splits.train, run.settings, stop.requested):
        accuracy = _accuracies(run)
        chosen = not splits.has_calibration or _mean(accuracy) >= _best(state.history)
        for name in ("last", "best") if chosen else ("last",):
            path = out / f"{name}.safetensors"
            save_checkpoint(path, state.evaluated, dataclasses.replace(info, epoch=state.epoch))

        entry = {**dataclasses.asdict(record), "split": splits.monitor.name, "accuracy": accuracy}
        state.history = [*state.history, entry]
        write_history(out / HISTORY, state.history)
        save_state(out / STATE, state)
        draw_history(state.history, out / "training.png")
        say(_line(record, entry, run.settings.epochs))

    if state.epoch < run.settings.epochs and stop.received is not None:
        save_state(out / STATE, state)
        return stop.received.name
    _settle_state(out / STATE, say, keep=run.config.train.keep_state)
    return None


def _accuracies(run: Run) -> tuple[float, ...]:
    """Of each exit, in [0, 1], on the images that the training is watched on."""
    split = run.splits.monitor
    try:
        with enough_memory(min(len(split), 250)):
            logits = collect_logits(run.state.evaluated, split, run.settings.transform, autocast=run.settings.autocast)
    except CheckpointError:  # of logits that are NaN or infinite, the largest of which would say nothing
        raise not_finite(f"what the network gives for the {split.name} images is") from None
    labels = split.labels[split.rows]
    return tuple(float((each.argmax(axis=1) == labels).mean()) for each in logits)


def _best(history: Sequence[dict[str, Any]]) -> float:
    return max((_mean(old["accuracy"]) for old in history), default=0.0)


def _mean(accuracy: Sequence[float]) -> float:
    return sum(accuracy) / len(accuracy)


def _settle_state(path: Path, say: Callable[[str], None], *, keep: bool) -> None:
    """Keeps or removes the optimizer's state of a run that is done."""
    if not keep:
        path.unlink(missing_ok=True)
        return
    say(
        f"{path} ({path.stat().st_size / 1e6:.1f} MB) is only needed to add epochs to this run; remove it, or set "
        "train.keep_state: false, where that is not wanted"
    )


def _line(record: EpochRecord, entry: dict[str, Any], epochs: int) -> str:
    def percents(values: Sequence[float | None]) -> str:
        return " / ".join("-" if value is None else f"{100 * value:.2f}" for value in values)

    labels = ", dominant labels" if record.train_labels == "dominant" else ""
    return (
        f"epoch {record.epoch}/{epochs}: loss {record.loss:.3f}, accuracy of each exit: "
        f"training{labels} {percents(record.train_accuracy)} %, {entry['split']} {percents(entry['accuracy'])} %; "
        f"{record.images_per_second:.0f} images/s"
    )
