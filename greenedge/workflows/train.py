"""`greenedge train`: from a recipe to a run directory."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from greenedge import __version__
from greenedge.config import RunConfig, bind_part, build_part, config_to_text
from greenedge.cost.flops import count_costs
from greenedge.data.prepared import PreparedSplit
from greenedge.data.seen import seen_images
from greenedge.data.splits import split_digest
from greenedge.device.precision import choose_autocast, choose_device, make_repeatable
from greenedge.errors import CheckpointError, UsageError
from greenedge.files import write_json, write_text
from greenedge.inference.collect import collect_logits
from greenedge.models.multi_exit import MultiExitNetwork, block_position
from greenedge.models.weights import load_pretrained
from greenedge.reporting.training_plot import draw_history
from greenedge.training.checkpoint import CheckpointInfo, save_checkpoint
from greenedge.training.history import append_history, read_history
from greenedge.training.interruption import StopSignals
from greenedge.training.loop import EpochRecord, Recipe, fit
from greenedge.training.losses import LOSSES
from greenedge.training.optimizers import OPTIMIZERS
from greenedge.training.schedules import SCHEDULES
from greenedge.training.state import TrainingState, new_state, restore_state, save_state
from greenedge.workflows.build import (
    Splits,
    build_augmentations,
    build_model,
    build_transform,
    complete_config,
    located,
    open_splits,
    place,
    read_recipe,
)
from greenedge.workflows.trained import model_summary

# What may change between a run and its continuation without making it another run.
_FREE_ON_RESUME = ("train.epochs", "train.device", "data.path")


@dataclasses.dataclass(frozen=True)
class TrainOutcome:
    """How a training ended.

    Attributes:
        out: the run directory.
        history: one record an epoch.
        stopped_by: the name of the signal that stopped it early, or None.
    """

    out: Path
    history: list[dict[str, Any]]
    stopped_by: str | None


def train(
    config_path: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    *,
    resume: bool,
    say: Callable[[str], None],
) -> TrainOutcome:
    """Trains a recipe into a run directory.

    Args:
        config_path: the recipe; None, with `resume`, for the run's own.
        overrides: texts like `train.epochs=3`.
        out: the run directory; None: `runs/` and the recipe's name.
        resume: continue the run that is in `out`.
        say: told what happens, one line at a time.

    Raises:
        GreenedgeError: anything in the recipe, the data or the run directory that cannot be used.
    """
    out = _run_directory(config_path, out)
    own_recipe = out / "config.yaml"
    if resume and not own_recipe.is_file():
        raise CheckpointError(f"{out}: holds no run to resume (no config.yaml); train without --resume")
    config = complete_config(read_recipe(config_path or own_recipe, overrides), say)
    if resume:
        _check_same_run(config, out)
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: holds a run or other files already; use --resume to continue it, or another --out")

    splits = open_splits(config)
    torch.manual_seed(config.train.seed)
    network = build_model(config, len(splits.classes))
    with located(config, ""):
        device = choose_device(config.train.device)
    if config.model.weights is not None and not resume:
        ids = [info.id for info in splits.classes]
        with located(config, "model"):
            report = load_pretrained(network, config.model, config.model.weights, ids)
        say(f"{config.model.weights}: {report.sentence()}")
    network = place(network, device, channels_last=config.train.channels_last)
    recipe = _build_recipe(config, network, splits.train, device)
    make_repeatable(device, recipe.autocast)
    optimizer = build_part(config.train.optimizer, OPTIMIZERS, network, config.train.trunk_lr)
    state = new_state(network, optimizer, config.train.ema_decay, data=split_digest(splits.train))
    if resume:
        restore_state(out / "last.state.pt", state)
        if state.epoch > recipe.epochs:
            raise UsageError(f"{out}: {state.epoch} epochs are done, train.epochs is {recipe.epochs}; give no fewer")
        say(f"resuming after epoch {state.epoch}" + (f", step {state.step}" if state.step else ""))
        if read_recipe(own_recipe).train.epochs != recipe.epochs and config.train.schedule.name != "constant":
            say(f"note: the {config.train.schedule.name} schedule is stretched to {recipe.epochs} epochs from here on")
    else:
        save_state(out / "last.state.pt", state)  # before anything else: from here on the run can be resumed
        write_json(out / "environment.json", _environment(device, recipe))
    write_text(own_recipe, config_to_text(config))
    if not splits.honest:
        say(
            "note: data.calibration_per_class sets no images aside, so nothing is chosen: the best weights are the last"
        )
    say(
        f"{model_summary(config.model)}: {len(splits.train)} images, {len(splits.classes)} classes, "
        f"{'bf16' if recipe.autocast else 'float32'} on {device.type}; run directory {out}"
    )
    stopped_by = _run(state, splits, recipe, config, out, say)
    return TrainOutcome(out, read_history(out / "history.jsonl"), stopped_by)


def _run(
    state: TrainingState,
    splits: Splits,
    recipe: Recipe,
    config: RunConfig,
    out: Path,
    say: Callable[[str], None],
) -> str | None:
    """Trains to the end or to a signal; whatever happens, the last checkpoint on disk can be resumed."""
    text = config_to_text(config)
    history = read_history(out / "history.jsonl")
    seen = seen_images(splits.train, splits.calibration)
    stored_size = splits.train.images.shape[-1]
    info = CheckpointInfo(text, splits.classes, 0, stored_size, seen, count_costs(state.network))
    with StopSignals() as stop:
        for record in fit(state, splits.train, recipe, stop.requested):
            accuracy = _accuracies(state, splits, recipe)
            entry = _entry(record, splits, accuracy)
            chosen = not splits.honest or _mean(accuracy) >= _best(history, before=record.epoch)
            for name in ("last", "best") if chosen else ("last",):
                path = out / f"{name}.safetensors"
                save_checkpoint(path, state.evaluated, dataclasses.replace(info, epoch=state.epoch))
            history = append_history(out / "history.jsonl", entry)
            save_state(out / "last.state.pt", state)
            draw_history(history, out / "training.png")
            say(_line(entry, recipe.epochs))
        if stop.received is not None and state.epoch < recipe.epochs:
            save_state(out / "last.state.pt", state)
            return stop.received.name
    return None


def _accuracies(state: TrainingState, splits: Splits, recipe: Recipe) -> tuple[float, ...]:
    logits = collect_logits(state.evaluated, splits.monitor, recipe.transform, autocast=recipe.autocast)
    labels = splits.monitor.labels[splits.monitor.rows]
    return tuple(float((each.argmax(axis=1) == labels).mean()) for each in logits)


def _best(history: Sequence[dict[str, Any]], before: int) -> float:
    return max((_mean(old["accuracy"]) for old in history if old["epoch"] < before), default=0.0)


def _mean(accuracy: Sequence[float]) -> float:
    return sum(accuracy) / len(accuracy)


def _entry(record: EpochRecord, splits: Splits, accuracy: tuple[float, ...]) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "split": splits.monitor.name, "accuracy": accuracy}


def _line(entry: dict[str, Any], epochs: int) -> str:
    def percents(values: Sequence[float]) -> str:
        return " / ".join(f"{100 * value:.2f}" for value in values)

    labels = ", dominant labels" if entry["train_labels"] == "dominant" else ""
    return (
        f"epoch {entry['epoch']}/{epochs}: loss {entry['loss']:.3f}, accuracy of each exit: "
        f"training{labels} {percents(entry['train_accuracy'])} %, {entry['split']} {percents(entry['accuracy'])} %; "
        f"{entry['images_per_second']:.0f} images/s"
    )


def _build_recipe(config: RunConfig, network: MultiExitNetwork, split: PreparedSplit, device: torch.device) -> Recipe:
    section = config.train
    exits = len(config.model.exits) + 1
    names = [name for name, _ in network.blocks]
    with located(config, "train"):
        frozen = tuple(
            (block_position(each.until, names, f"freeze.{index}.until") + 1, each.epochs)
            for index, each in enumerate(section.freeze)
        )
    base_rate = float(section.optimizer.options["lr"])
    schedule = bind_part(section.schedule, SCHEDULES)
    return Recipe(
        epochs=section.epochs,
        batch_size=section.batch_size,
        seed=section.seed,
        augment=build_augmentations(config.augment, split),
        transform=build_transform(config.data, channels_last=section.channels_last),
        loss=bind_part(section.loss, LOSSES),
        exit_weights=section.exit_weights or (1.0,) * exits,
        learning_rate=partial(schedule, lr=base_rate),
        gradient_clip_norm=section.gradient_clip_norm,
        autocast=choose_autocast(section.precision, network, device),
        compile=section.compile,
        trunk_only_epochs=section.trunk_only_epochs,
        frozen=frozen,
    )


def _run_directory(config_path: Path | None, out: Path | None) -> Path:
    if out is not None:
        return out
    if config_path is None:
        raise UsageError("give --config FILE, or --resume with --out RUN to continue a run by its own recipe")
    return Path("runs") / config_path.stem


def _check_same_run(config: RunConfig, out: Path) -> None:
    """A continued run must be the same run, but for its length and where it runs."""
    old, new = (_flat(dataclasses.asdict(each)) for each in (read_recipe(out / "config.yaml"), config))
    changed = [
        key
        for key in {**old, **new}
        if old.get(key) != new.get(key) and key not in _FREE_ON_RESUME and not key.startswith(("sweep.", "origins"))
    ]
    if changed:
        key = changed[0]
        raise UsageError(
            f"{out}: was trained with {key} = {old.get(key)!r}, the recipe now says {new.get(key)!r}; "
            "resume with the run's own recipe, or start another run with --out"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, child in items:
        if name not in ("key", "where", "option_places"):  # a part's place in its file
            flat |= _flat(child, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _environment(device: torch.device, recipe: Recipe) -> dict[str, Any]:
    return {
        "greenedge": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": "bf16" if recipe.autocast else "float32",
    }
