"""`greenedge predict`: what a trained network predicts for image files, exiting early where it is confident."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from greenedge.data.image_files import STANDARD_INPUT, FailedImage, find_images
from greenedge.data.label_spaces import class_labels, unchecked_labels
from greenedge.data.loader import build_transform
from greenedge.device.precision import Precision
from greenedge.errors import DataError, UsageError
from greenedge.files import write_atomically
from greenedge.inference.classify import ClassifiedImages, ImagePrediction, classify_files
from greenedge.inference.runtimes import Runtime
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.predictions import PREDICTION_FILES, PredictionNames, WriteRow, present_predictions
from greenedge.workflows.models import build_engine, open_model
from greenedge.workflows.policies import PolicyOptions, requested_precision, resolve_policy, with_policy_beside

_MOST_KEPT = 1000  # failed images that the result names, where a file has the predictions

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class PredictOptions:
    """How images are classified.

    Attributes:
        policy: when images exit; where nothing is said, by the policy beside the weights.
        labels_map: a map from class indices to labels to predict in; None: the data set's own.
        precision: what the network runs in; None: what the policy was chosen in, else float32.
        runtime: that runs an export; None: ONNX Runtime.
        batch_size: images at a time.
        out: a CSV or JSONL file that is to have all predictions; the result then has none.
        kept: predictions that the result has at most, the first ones; None: all.
    """

    policy: PolicyOptions = PolicyOptions()
    labels_map: Path | None = None
    precision: Precision | None = None
    runtime: Runtime | None = None
    batch_size: int = 64
    out: Path | None = None
    kept: int | None = None


def predict(
    weights: Path, images: Sequence[str], options: PredictOptions, listed: BinaryIO | None = None
) -> CommandResult[ClassifiedImages]:
    """Classifies image files as they come, in memory that does not grow with their number.

    Args:
        weights: a checkpoint, or the folder of an export.
        images: files, folders and patterns; `-` for what `listed` names.
        options: how.
        listed: a file or folder per line.

    Raises:
        GreenedgeError: the checkpoint, the policy, the map or the output cannot be used, or none of the files.
        OSError: the output cannot be written.
    """
    if not images:
        raise UsageError("name at least one image")
    if images.count(STANDARD_INPUT) > 1:
        raise UsageError("- is named twice; standard input is read once")
    out = options.out
    if out is not None:
        _check_out(out)
    model = open_model(weights, options.runtime)
    labels = class_labels(model.classes, options.labels_map)
    note = unchecked_labels(model.classes, options.labels_map, labels)
    if note is not None:
        _log.warning("%s", note)

    chosen = with_policy_beside(model, options.policy)
    policy = resolve_policy(model, chosen)
    engine = build_engine(model, policy, requested_precision(model, chosen, options.precision))
    transform = build_transform(model.config.data, channels_last=True)
    names = PredictionNames(policy, model.classes, labels)

    def classified() -> Iterator[ImagePrediction | FailedImage]:
        total = _count(images) if sys.stderr.isatty() else None
        with tqdm(total=total, desc="predicting", unit=" images", disable=None, leave=False) as bar:
            files = find_images(images, listed)
            for each in classify_files(engine, transform, files, model.stored_size, options.batch_size):
                bar.update()
                yield each

    if out is None:
        found = _tally(classified(), model.num_exits, options.kept, None)
        return present_predictions(found, names, None)

    results: list[ClassifiedImages] = []

    def write(temporary: Path) -> None:
        # Names of files need not be UTF-8; what is not is escaped.
        with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            write_row = PREDICTION_FILES[out.suffix.lower()](file, names)
            results.append(_tally(classified(), model.num_exits, 0, write_row))

    write_atomically(out, write)
    return present_predictions(results[0], names, out)


def _tally(
    stream: Iterator[ImagePrediction | FailedImage], exits: int, kept: int | None, write_row: WriteRow | None
) -> ClassifiedImages:
    """Reads a stream to its end; what fails is logged when it comes.

    Raises:
        DataError: nothing in it could be used.
    """
    predictions: list[ImagePrediction] = []
    failed: list[FailedImage] = []
    counts, failures, gflops = [0] * exits, 0, 0.0
    for each in stream:
        if isinstance(each, FailedImage):
            failures += 1
            if write_row is None or len(failed) < _MOST_KEPT:
                failed.append(each)
            _log.warning("left out: %s", each.error)
            continue
        counts[each.exit_index] += 1
        gflops += each.gflops
        if write_row is not None:
            write_row(each)
        if kept is None or len(predictions) < kept:
            predictions.append(each)
    if not any(counts):
        if not failures:
            raise DataError("standard input names no image; give one file or folder per line")
        raise DataError(failed[0].error if failures == 1 else f"none of the {failures} images can be used")
    return ClassifiedImages(tuple(predictions), tuple(failed), tuple(counts), failures, gflops)


def _count(sources: Sequence[str]) -> int | None:
    """How many images there are, for the bar; None where only standard input knows."""
    return None if STANDARD_INPUT in sources else sum(1 for _ in find_images(sources))


def _check_out(out: Path) -> None:
    """Refuses, before hours of work, a file that could not be written after them."""
    if out.suffix.lower() not in PREDICTION_FILES:
        raise UsageError(f"--out {out}: expected a name that ends in {' or '.join(PREDICTION_FILES)}")
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file in it")
