"""What exits do to the blocks before them: networks of one backbone, compared block by block on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepared import PreparedSplit
from greenedge.errors import UsageError
from greenedge.exits.probes import fit_probe
from greenedge.exits.representations import ChannelSums, SimilaritySums
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.exit_gradients import ExitGradients, exit_gradients, mean_gradients

Stitch = tuple[Tensor, Tensor]  # weight and bias of a convolution of 1 x 1

_BATCH_SIZE = 250
_GRADIENT_BATCHES = 4
_FEWEST_SIMILAR = 4  # images of a batch, below which HSIC has no unbiased estimate


@dataclass(frozen=True, eq=False)
class StudiedNetwork:
    """One network, block by block.

    Attributes:
        exits: the block that each exit comes after.
        accuracy: in [0, 1], of each exit (E,).
        probe_accuracy: of a linear classifier on each block's pooled features (B,), in [0, 1].
        effective_rank: of the channels after each block (B,).
        stitched_accuracy: of the reference's final exit on the network's features after each block, brought to the
            reference's by a fitted convolution of 1 x 1 (B,), in [0, 1]; NaN where too few images were there to fit it.
        gradients: of each exit on training images.
    """

    exits: tuple[str, ...]
    accuracy: np.ndarray
    probe_accuracy: np.ndarray
    effective_rank: np.ndarray
    stitched_accuracy: np.ndarray
    gradients: ExitGradients

    def __repr__(self) -> str:
        return f"StudiedNetwork(exits after {', '.join(self.exits)})"


@dataclass(frozen=True, eq=False)
class Study:
    """R networks of one backbone.

    Attributes:
        blocks: names, B of them.
        networks: the first is the reference.
        similarity: float64 (R, R, B), linear CKA between the features of two networks after a block.
    """

    blocks: tuple[str, ...]
    networks: tuple[StudiedNetwork, ...]
    similarity: np.ndarray

    def __repr__(self) -> str:
        return f"Study({len(self.networks)} networks, {len(self.blocks)} blocks)"


def study_networks(
    networks: Sequence[MultiExitNetwork],
    transforms: Sequence[InputTransform],
    train: PreparedSplit,
    shown: PreparedSplit,
) -> Study:
    """Compares networks of one backbone on the same images.

    Args:
        networks: on one device; the first is the reference.
        transforms: of each, from stored images to what it reads.
        train: images that probes and stitches are fitted on, and gradients taken.
        shown: images that everything else is said of.

    Raises:
        UsageError: the networks do not have the same blocks, or these hand on no maps.
    """
    _check_same_blocks(networks)
    names = tuple(name for name, _ in networks[0].blocks)
    device = next(networks[0].parameters()).device
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(train)))
    with evaluation_mode(*networks), torch.inference_mode():
        fitted_on, sums = _fit_pass(networks, transforms, _batches(train, order, device, "fitting"))
        stitches = [[each.stitch() for each in own] for own in sums]
        seen, logits, stitched, similarities = _shown_pass(
            networks, transforms, stitches, _batches(shown, None, device, "comparing")
        )

    labels = shown.labels[shown.rows]
    found = []
    for index, network in enumerate(networks):
        batches = islice(iterate_batches(train, _BATCH_SIZE, order, device), _GRADIENT_BATCHES)
        gradients = [exit_gradients(network, transforms[index](each.images), each.targets) for each in batches]
        probed = _probe(fitted_on[index], train.labels[train.rows[order.numpy()]], seen[index], len(train.classes))
        found.append(
            StudiedNetwork(
                exits=tuple(segment.after for segment in network.segments),
                accuracy=(logits[index].argmax(axis=2) == labels).mean(axis=1),
                probe_accuracy=(probed == labels).mean(axis=1),
                effective_rank=np.array([each.effective_rank() for each in sums[index]]),
                stitched_accuracy=np.array([_accuracy(each, labels) for each in stitched[index]]),
                gradients=mean_gradients(gradients),
            )
        )
    return Study(names, tuple(found), similarities.similarities().numpy())


def _accuracy(answers: np.ndarray | None, labels: np.ndarray) -> float:
    return float("nan") if answers is None else float((answers == labels).mean())


def _check_same_blocks(networks: Sequence[MultiExitNetwork]) -> None:
    shapes = [each.output_shapes for each in networks]
    names = [[name for name, _ in each.blocks] for each in networks]
    for index in range(1, len(networks)):
        if names[index] != names[0] or shapes[index] != shapes[0]:
            raise UsageError(
                f"network {index + 1} does not have the blocks of the first one, with features of the same shapes; "
                "compare runs of one backbone, stem and image size"
            )


def _batches(
    split: PreparedSplit, order: Tensor | None, device: torch.device, what: str
) -> Iterator[tuple[Tensor, Tensor]]:
    with tqdm(total=len(split), desc=what, unit=" images", disable=None, leave=False) as bar:
        for batch in iterate_batches(split, _BATCH_SIZE, order, device):
            yield batch.images, batch.targets
            bar.update(len(batch.images))


def _features(network: MultiExitNetwork, images: Tensor) -> list[Tensor]:
    """Of every block; copies, as blocks may work in place."""
    found, _ = network.block_features(images, range(len(network.blocks)), lambda features: features.float().clone())
    if any(each.dim() != 4 for each in found):
        raise UsageError("the blocks of this backbone hand on tokens, and a study needs maps of channels")
    return found


def _fit_pass(
    networks: Sequence[MultiExitNetwork], transforms: Sequence[InputTransform], batches: Iterator[tuple[Tensor, Tensor]]
) -> tuple[list[list[np.ndarray]], list[list[ChannelSums]]]:
    """Of each network and block the pooled features (N, C), and sums that ranks and stitches are made of."""
    pooled: list[list[list[Tensor]]] = [[[] for _ in network.blocks] for network in networks]
    sums: list[list[ChannelSums]] = []
    for images, _ in batches:
        features = [_features(network, read(images)) for network, read in zip(networks, transforms, strict=True)]
        if not sums:
            sums = [[ChannelSums(each.shape[1], each.shape[1]) for each in own] for own in features]
        for index, own in enumerate(features):
            for block, each in enumerate(own):
                pooled[index][block].append(each.mean(dim=(2, 3)).cpu())
                sums[index][block].add(each, features[0][block])
    return [[torch.cat(each).numpy() for each in own] for own in pooled], sums


def _shown_pass(
    networks: Sequence[MultiExitNetwork],
    transforms: Sequence[InputTransform],
    stitches: Sequence[Sequence[Stitch | None]],
    batches: Iterator[tuple[Tensor, Tensor]],
) -> tuple[list[list[np.ndarray]], list[np.ndarray], list[list[np.ndarray | None]], SimilaritySums]:
    """Each network's pooled features of each block (N, C) and logits (E, N, classes), and all similarities.

    Third, what the reference says from its stitched features after each block on, int64 (N,); None without a stitch.
    """
    pooled: list[list[list[Tensor]]] = [[[] for _ in own] for own in stitches]
    answers: list[list[list[Tensor]]] = [[[] for _ in own] for own in stitches]
    logits: list[list[Tensor]] = [[] for _ in networks]
    similarities = SimilaritySums(len(networks), len(networks[0].blocks))
    for images, _ in batches:
        features = [_features(network, read(images)) for network, read in zip(networks, transforms, strict=True)]
        if len(images) >= _FEWEST_SIMILAR:
            similarities.add(features)
        for index, own in enumerate(features):
            for block, each in enumerate(own):
                pooled[index][block].append(each.mean(dim=(2, 3)).cpu())
                stitch = stitches[index][block]
                if stitch is not None:
                    answers[index][block].append(_go_on(networks[0], block, each, stitch))
            logits[index].append(_exit_logits(networks[index], own))  # last: a classifier may work in place
    return (
        [[torch.cat(each).numpy() for each in own] for own in pooled],
        [torch.cat(each, dim=1).numpy() for each in logits],
        [[torch.cat(each).numpy() if each else None for each in own] for own in answers],
        similarities,
    )


def _go_on(reference: MultiExitNetwork, block: int, features: Tensor, stitch: Stitch) -> Tensor:
    """int64 (N,): what the reference says when it goes on behind a block from stitched features."""
    weight, bias = (each.to(features.device) for each in stitch)
    features = F.conv2d(features, weight[:, :, None, None], bias)
    for _, module in reference.blocks[block + 1 :]:
        features = module(features)
    return reference.segments[-1].classify(features).argmax(dim=1).cpu()


def _exit_logits(network: MultiExitNetwork, features: Sequence[Tensor]) -> Tensor:
    """float32 (E, N, classes): of every exit, from the features of every block."""
    found: list[Tensor] = []
    for segment, position in zip(network.segments, [*network.exit_positions, -1], strict=True):
        found.append(segment.classify(features[position], found[-1] if found else None))
    return torch.stack(found).float().cpu()


def _probe(
    fitted_on: Sequence[np.ndarray], labels: np.ndarray, seen: Sequence[np.ndarray], num_classes: int
) -> np.ndarray:
    """int64 (B, N): what a linear classifier of each block's pooled features says."""
    pairs = tqdm(
        list(zip(fitted_on, seen, strict=True)), desc="fitting probes", unit=" blocks", disable=None, leave=False
    )
    return np.stack([fit_probe(own, labels, num_classes).logits(others).argmax(axis=1) for own, others in pairs])
