"""One pass of a network over a split that keeps the features of its blocks."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from greenedge.data.crops import RandomCrops
from greenedge.data.kept_arrays import ArraySpec, free_bytes, open_arrays, write_arrays
from greenedge.data.loader import Batch, InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.data.splits import split_digest
from greenedge.errors import DataError, TrainingError
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.seeds import derive_seed
from greenedge.training.state_checks import content_digest

FINAL_LOGITS, TEACHER_LOGITS = "final-logits", "teacher-logits"
_BATCH_SIZE = 125  # augmentations are drawn batch by batch, so that another number gives other views
_FORMAT = 1

_log = logging.getLogger("greenedge")


class PassStopped(Exception):  # noqa: N818  # no error: somebody asked for it
    """A pass was stopped before its end; nothing of it is kept."""


@dataclass(frozen=True)
class FeaturePass:
    """What is computed of each image.

    Attributes:
        transform: from stored images to the network's input.
        positions: of the blocks whose features are kept, counted from 0, rising.
        pooled: keep the mean over all pixels, (C,), in place of (C, H, W).
        views: how often each image is read, each time with augmentations drawn anew.
        augment: functions (batch, generator) -> batch, in order, that change each image by itself.
        augment_names: says what they are.
        seed: of their draws.
        autocast: the type of cheap operations, or None for float32.
        teacher: images of a batch, as they are stored -> logits of another network that are kept too, or None.
        teacher_name: says which network.
        crops: of originals, drawn anew for each view; None: the largest square at the centre.
        too_large: what to do where the disk has no space for it.
    """

    transform: InputTransform
    positions: tuple[int, ...]
    pooled: bool = False
    views: int = 1
    augment: tuple[Callable[[Batch, Generator], Batch], ...] = ()
    augment_names: str = ""
    seed: int = 0
    autocast: torch.dtype | None = None
    teacher: Callable[[Tensor], Tensor] | None = None
    teacher_name: str = ""
    crops: RandomCrops | None = None
    too_large: str = field(default="free some space", compare=False)


def load_or_compute_features(
    network: MultiExitNetwork,
    split: PreparedSplit,
    settings: FeaturePass,
    folder: Path,
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, ...]:
    """Maps the features that are kept of a split, or computes and keeps them.

    They are used again only where weights, images, preprocessing, augmentations and precision are the same.

    Args:
        network: on its device; it is run in evaluation mode, without its heads.
        split: N images.
        settings: what is computed.
        folder: that they are kept in; other features in it are replaced.
        stop_requested: asked before each batch.

    Returns:
        for each position float16 (V * N, C, H, W), or (V * N, C) where they are pooled, view after view; the final
        exit's logits float32 (V * N, classes); and, with a teacher, its logits.

    Raises:
        TrainingError: a feature is not finite, or beyond the largest number of float16.
        DataError: the disk has no space for them, or they cannot be written.
        PassStopped: before its end.
    """
    specs = _specs(network, split, settings)
    source = features_source(network, split, settings)
    kept = open_arrays(folder, source, specs)
    if kept is not None:
        _log.info("%s: features of these weights on these images are kept there; the backbone need not run", folder)
        return kept

    needed, free = sum(spec.num_bytes for spec in specs), free_bytes(folder)
    if needed > free:
        views = f" in {settings.views} views" if settings.views > 1 else ""
        raise DataError(
            f"{folder}: the features of {len(split)} images{views} take {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB "
            f"are free there; {settings.too_large}"
        )
    if not settings.pooled:
        _log.info("features of %d %s images are kept in %s (%.2f GB)", len(split), split.name, folder, needed / 1e9)
    return write_arrays(folder, source, specs, _pieces(network, split, settings, stop_requested))


def _specs(network: MultiExitNetwork, split: PreparedSplit, settings: FeaturePass) -> list[ArraySpec]:
    """The arrays of a pass."""
    rows, names = settings.views * len(split), [name for name, _ in network.blocks]
    shapes = network.output_shapes
    kept = [shapes[position][:1] if settings.pooled else shapes[position] for position in settings.positions]
    specs = [ArraySpec(names[p], "<f2", (rows, *shape)) for p, shape in zip(settings.positions, kept, strict=True)]
    logits = [FINAL_LOGITS] if settings.teacher is None else [FINAL_LOGITS, TEACHER_LOGITS]
    return specs + [ArraySpec(name, "<f4", (rows, len(split.classes))) for name in logits]


def features_source(network: MultiExitNetwork, split: PreparedSplit, settings: FeaturePass) -> str:
    """Names everything that the features depend on, by one SHA-256."""
    parts = {
        "format": _FORMAT,
        "weights": content_digest(network.backbone.state_dict()),
        "images": split_digest(split),
        "transform": asdict(settings.transform),
        "positions": settings.positions,
        "pooled": settings.pooled,
        "views": settings.views,
        "augment": settings.augment_names,
        "seed": settings.seed if settings.augment else None,
        "precision": str(settings.autocast),
        "teacher": settings.teacher_name,
    }
    if split.originals is not None:
        crops = settings.crops
        seed = None if crops is None else settings.seed
        parts |= {"image size": split.image_size, "crops": None if crops is None else asdict(crops), "crop seed": seed}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _pieces(
    network: MultiExitNetwork, split: PreparedSplit, settings: FeaturePass, stop_requested: Callable[[], bool]
) -> Iterator[Sequence[np.ndarray]]:
    """Some rows of each array, batch after batch, view after view."""
    device = next(network.parameters()).device
    names = [network.blocks[position][0] for position in settings.positions]

    def keep(features: Tensor) -> Tensor:
        # A copy, since the next block may change its input in place.
        features = features.float().mean(dim=(2, 3)) if settings.pooled else features
        return features.to(torch.float16, copy=True)

    total = settings.views * len(split)
    with (
        evaluation_mode(network),
        torch.inference_mode(),
        torch.autocast(device.type, settings.autocast, enabled=settings.autocast is not None),
        tqdm(total=total, desc=f"features of {split.name}", unit=" images", disable=None, leave=False) as bar,
    ):
        for view in range(settings.views):
            crops = settings.crops
            if crops is not None:
                crops = replace(crops, seed=derive_seed(settings.seed, "crop", view))
            batches = iterate_batches(split, _BATCH_SIZE, device=device, check=view == 0, crops=crops)
            for index, batch in enumerate(batches):
                if stop_requested():
                    raise PassStopped
                generator = torch.Generator().manual_seed(derive_seed(settings.seed, "view", view, index))
                for augment in settings.augment:
                    batch = augment(batch, generator)
                features, logits = network.block_features(settings.transform(batch.images), settings.positions, keep)
                found = [each.cpu().numpy() for each in (*features, logits.float())]
                if settings.teacher is not None:
                    found.append(settings.teacher(batch.images).float().cpu().numpy())
                _check_finite(names, found)
                bar.update(len(batch.targets))
                yield found


def _check_finite(names: Sequence[str], found: Sequence[np.ndarray]) -> None:
    for index, rows in enumerate(found):
        if not np.isfinite(rows).all():
            what = f"the block {names[index]}" if index < len(names) else "the final exit, or the teacher,"
            raise TrainingError(
                f"{what} gives numbers that are not finite or above 65504, the largest of float16, so that they cannot "
                "be kept; train without train.kept_features"
            )
