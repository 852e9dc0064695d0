"""What was trained on what, as names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from greenedge.config import RunConfig
from greenedge.reporting.model_card import shortened_paths
from greenedge.reporting.page.content import RunFacts
from greenedge.training.history import HistoryRecord
from greenedge.training.trained import TrainedModel

_LARGEST_CONFIG = 20_000  # characters shown


def run_facts(
    model: TrainedModel, name: str, history: Sequence[HistoryRecord], environment: Mapping[str, str | int]
) -> RunFacts:
    """Network, data, training, versions and time.

    Args:
        model: the trained network.
        name: that tells the run from others.
        history: of its epochs; empty where it is not known.
        environment: versions and the machine it was trained on; empty where that is not known.
    """
    config = model.config
    rows = [
        ("network", model.summary),
        ("data", _data(model)),
        *_training(config, model),
        *_time(history),
        *_environment(environment),
        ("weights", f"{model.path} (SHA-256 {model.digest[:12]}…)"),
    ]
    texts = model.checkpoint.info.members or (model.checkpoint.info.config,)
    shown = tuple(shortened_paths(text)[:_LARGEST_CONFIG] for text in texts)
    classes = tuple(each.name for each in model.classes)
    return RunFacts(name, str(model.path), model.digest, tuple(rows), shown, classes)


def _data(model: TrainedModel) -> str:
    config = model.config.data
    seen = "" if model.seen is None else f", {len(model.seen.trained):,} different training images"
    return f"{Path(config.path).name}: {len(model.classes)} classes at {config.input_size} px{seen}"


def _training(config: RunConfig, model: TrainedModel) -> list[tuple[str, str]]:
    if model.members:
        return [("training", f"{len(model.members)} members, each trained by itself")]
    train = config.train
    weights = config.model.weights
    start = "random weights" if weights is None else "ImageNet weights" if weights == "imagenet" else Path(weights).name
    return [
        ("start", start),
        ("epochs", f"{model.epoch} of {train.epochs}, in batches of {train.batch_size}"),
        ("optimizer", f"{train.optimizer.name}, schedule {train.schedule.name}, objective {train.objective.name}"),
        ("augmentations", ", ".join(each.name for each in config.augment) or "none"),
        ("seed", train.seed_text),
    ]


def _time(history: Sequence[HistoryRecord]) -> list[tuple[str, str]]:
    if not history:
        return []
    seconds = sum(each.seconds for each in history)
    spent = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    return [("training time", f"{spent}, {history[-1].images_per_second:.0f} images/s in the last epoch")]


def _environment(environment: Mapping[str, str | int]) -> list[tuple[str, str]]:
    if not environment:
        return []
    versions = ", ".join(f"{key} {environment[key]}" for key in ("greenedge", "python", "torch") if key in environment)
    where = ", ".join(str(environment[key]) for key in ("device", "platform") if key in environment)
    threads = f", {environment['threads']} threads" if "threads" in environment else ""
    return [("trained with", versions), ("trained on", f"{where}{threads}")]
