"""Checkpoints that differ in one thing, and the slow, obvious reading of what a command kept."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs, save_outputs

Tensors = dict[str, Tensor]


def changed_checkpoint(
    source: Path,
    target: Path,
    tensors: Callable[[Tensors], Tensors] = dict,
    config: Callable[[str], str] = str,
) -> Path:
    with safetensors.safe_open(source, "pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key not in ("digest", "cost")}
    changed = tensors(safetensors.torch.load_file(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(changed, target, {**metadata, "config": config(metadata["config"])})
    return target


def with_other_answers(source: Path, target: Path) -> Path:
    """Other weights that answer otherwise: the classes of every exit change places."""

    def turned(tensors: Tensors) -> Tensors:
        return {name: each.roll(1, 0) if len(each.shape) and len(each) == 3 else each for name, each in tensors.items()}

    return changed_checkpoint(source, target, tensors=turned)


def without_exits(source: Path, target: Path) -> Path:
    return changed_checkpoint(
        source,
        target,
        tensors=lambda tensors: {name: each for name, each in tensors.items() if name.startswith("backbone.")},
        config=lambda text: re.sub(r"  exits:\n(  - .*\n|    .*\n)+", "  exits: []\n", text),
    )


def with_calibration(source: Path, target: Path, per_class: int) -> Path:
    line = "calibration_per_class: "
    return changed_checkpoint(source, target, config=lambda text: text.replace(f"{line}2", f"{line}{per_class}"))


def kept_outputs(folder: Path, split: str) -> ExitOutputs:
    with np.load(folder / f"outputs-{split}.npz") as arrays:
        return ExitOutputs(arrays["logits"], arrays["labels"], arrays["gflops"])


def replace_outputs(folder: Path, split: str, logits: np.ndarray) -> None:
    """Other answers in place of those kept, as if these weights had given them."""
    path = folder / f"outputs-{split}.npz"
    with np.load(path) as arrays:
        kept, source = ExitOutputs(logits, arrays["labels"], arrays["gflops"]), str(arrays["source"])
    save_outputs(path, kept, source)


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder, less the kept answers."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("outputs-"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Point:
    thresholds: tuple[float, ...]
    accuracy: float
    gflops: float
    exits: list[int]


def point_of(
    outputs: ExitOutputs, criterion: str, thresholds: Sequence[float], temperatures: Sequence[float] | None = None
) -> Point:
    """Image by image and exit by exit, as README says it."""
    return _routed(outputs, criterion, _scores(outputs, criterion, temperatures), thresholds)


def all_points(
    outputs: ExitOutputs, criterion: str, temperatures: Sequence[float] | None = None, *, shared: bool = False
) -> Iterator[Point]:
    """Every routing that thresholds can give: for each exit, one between any two neighbouring scores and one beyond."""
    scores = _scores(outputs, criterion, temperatures)
    choices: Iterable[tuple[float, ...]] = itertools.product(*(_between(set(each)) for each in scores))
    if shared:
        choices = ((threshold,) * len(scores) for threshold in _between(set().union(*scores)))
    for thresholds in choices:
        yield _routed(outputs, criterion, scores, thresholds)


def _scores(outputs: ExitOutputs, criterion: str, temperatures: Sequence[float] | None) -> list[list[float]]:
    """Of each early exit, of each image."""
    scores, memory = [], None
    for index, logits in enumerate(outputs.logits[:-1]):
        heat = np.float32(1 if temperatures is None else temperatures[index])
        score, memory = CRITERIA[criterion].score_exit(torch.from_numpy(logits) / heat, memory)
        scores.append(score.double().tolist())
    return scores


def _routed(outputs: ExitOutputs, criterion: str, scores: list[list[float]], thresholds: Sequence[float]) -> Point:
    below = CRITERIA[criterion].exit_if_below
    exits = []
    for image in range(len(outputs.labels)):
        taken = 0
        for of_exit, threshold in zip(scores, thresholds, strict=True):
            if (of_exit[image] < threshold) if below else (of_exit[image] > threshold):
                break
            taken += 1
        exits.append(taken)
    right = sum(int(outputs.logits[e, i].argmax() == outputs.labels[i]) for i, e in enumerate(exits))
    spent = math.fsum(float(outputs.gflops[e]) for e in exits)
    return Point(tuple(thresholds), right / len(exits), spent / len(exits), exits)


def _between(scores: set[float]) -> list[float]:
    values = sorted(scores)
    return [values[0] - 1, *((low + high) / 2 for low, high in itertools.pairwise(values)), values[-1] + 1]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Of one image."""
    scaled = logits.astype(np.float64) / temperature
    raised: np.ndarray = np.exp(scaled - scaled.max())
    return raised / raised.sum()
