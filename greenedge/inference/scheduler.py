"""A stream of batches on its way through the segments: who waits where, who has left, and whose turn it is."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from greenedge.exits.confidence import CriterionState
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.backend import Backend
from greenedge.inference.finite import broken_exit, finite_images


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said of N images, each at the exit where it left, in the input's order.

    An image with NaN or infinite pixels has no prediction: -1, at exit -1, with confidence 0, score and logits NaN and
    0 GFLOPs. Only `Engine.stream` gives such; the other images of its batch have theirs.

    Attributes:
        predictions: int64 (N,), class indices.
        exits: int64 (N,), counted from 0.
        confidence: float32 (N,), the largest softmax probability of what the exit goes by (`exits/ensemble.py`).
        scores: float32 (N,), of the policy's criterion.
        gflops: float64 (N,), spent on each image (fvcore's counts), heads on the way and what the policy itself costs
            (`ExitPolicy.own_gflops`) included.
        logits: float32 (N, C), as the network gave them.
        valid: bool (N,), whether the image has a prediction.
    """

    predictions: Tensor
    exits: Tensor
    confidence: Tensor
    scores: Tensor
    gflops: Tensor
    logits: Tensor
    valid: Tensor

    def __repr__(self) -> str:
        """The number of images, the exit rates and the mean cost."""
        exits = self.exits[self.valid]
        rates = torch.bincount(exits).double() / max(len(exits), 1)
        shown = ", ".join(f"{100 * rate:.1f}" for rate in rates.tolist())
        gflops = float(self.gflops.mean()) if len(self.gflops) else 0.0
        return f"Predictions({len(self.exits)} images, exit rates [{shown}] %, {gflops:.4g} GFLOPs per image)"


@dataclass(eq=False)
class _PendingChunk:
    """Images that wait for a segment.

    Attributes:
        features: what the segment reads.
        indices: int64 (n,), their running numbers in the stream, rising.
        finite: bool (n,), whether all pixels of each are numbers; on the device.
        state: what the criterion remembers of them.
        joined: what the exit before went by, (n, C); None before the first.
        images: where a later segment reads them again, as in a cascade; else None.
        former_logits: (n, C), of the exit before, where the next exit sees them; else None.
    """

    features: Tensor
    indices: np.ndarray
    finite: Tensor
    state: CriterionState
    joined: Tensor | None = None
    images: Tensor | None = None
    former_logits: Tensor | None = None


@dataclass(eq=False)
class _ExitedRows:
    """Images of one batch that left together.

    Attributes:
        indices: int64 (n,), within the batch.
        logits: (n, C), as the network gave them.
        joined: (n, C), what the exit goes by.
        scores: (n,), of the criterion.
        exit_index: where they left.
    """

    indices: np.ndarray
    logits: Tensor
    joined: Tensor
    scores: Tensor
    exit_index: int


@dataclass(eq=False)
class _PendingBatch:
    """A batch whose images have not all left.

    Attributes:
        start: running number of its first image.
        size: its images.
        finite: bool (N,), whether all pixels of each are numbers; on the device.
        left: its images that have left.
        parts: those.
    """

    start: int
    size: int
    finite: Tensor
    left: int = 0
    parts: list[_ExitedRows] = field(default_factory=list)


class ExitScheduler:
    """One stream on its way through the segments of a network.

    Args:
        network: what runs.
        policy: which images exit.
        chunks: images at a time of each segment.
        max_wait: once so many later images have been taken, an image waits no longer for a chunk to fill.
    """

    def __init__(self, network: Backend, policy: ExitPolicy, chunks: Sequence[int], max_wait: int = 0) -> None:
        self.network, self.policy, self.chunks, self.max_wait = network, policy, chunks, max_wait
        self.waiting: list[deque[_PendingChunk]] = [deque() for _ in network.segments]
        self.criterion, self.limits = policy.get_criterion(), policy.uncertainty_limits
        self.open: deque[_PendingBatch] = deque()
        self.taken = 0

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def submit(self, images: Tensor) -> None:
        """Lets a batch wait for the first segment."""
        finite = finite_images(images)
        self.open.append(_PendingBatch(self.taken, len(images), finite))
        indices = np.arange(self.taken, self.taken + len(images))
        self.taken += len(images)
        features = self.network.to_input_format(images)
        kept = features.clone() if self.network.keeps_images else None  # they outlive the caller's batch
        self.waiting[0].append(_PendingChunk(features, indices, finite, None, images=kept))

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def step(self, *, flush: bool) -> None:
        """Runs every segment that has enough waiting for it, or whose oldest image has waited long; `flush`: all."""
        for index, waiting in enumerate(self.waiting):
            count = sum(len(chunk.indices) for chunk in waiting)
            # Each segment looks for itself: an image that has waited long is handed from one to the next, to its exit.
            late = count > 0 and self.taken - 1 - int(waiting[0].indices[0]) >= self.max_wait
            for size in chunk_sizes(count, self.chunks[index], self.network.sizes, flush=flush or late):
                self._run(index, _first(waiting, size))

        if self.waiting[0]:  # the caller may write its next batch where the newest chunk lies; others are our own
            newest = self.waiting[0][-1]
            newest.features = newest.features.clone()

    def completed(self) -> Iterator[Predictions]:
        """The predictions of the batches at the head of the stream that are complete."""
        while self.open and self.open[0].left == self.open[0].size:
            yield self._assembled(self.open.popleft())

    def _run(self, index: int, chunk: _PendingChunk) -> None:
        segment = self.network.segments[index]
        exit_index = segment.exit_index
        given = chunk.features if chunk.images is None or not segment.reads_images else chunk.images
        former = chunk.former_logits if segment.reads_logits else None
        features, logits = self.network.run(index, given, *(() if former is None else (former,)))
        images = chunk.images if any(later.reads_images for later in self.network.segments[index + 1 :]) else None
        if exit_index is None or logits is None:
            self.waiting[index + 1].append(dataclasses.replace(chunk, features=features, images=images))
            return
        joined = self.policy.join(exit_index, logits, chunk.joined)
        scores, state = self.criterion.score_exit(joined, chunk.state)
        if index == len(self.network.segments) - 1:
            self._record_exits(chunk.indices, logits, joined, scores, exit_index)
            return

        exits_here = self.criterion.to_uncertainty(scores) < self.limits[exit_index]
        broken = ~torch.isfinite(logits).all(dim=1) & chunk.finite
        exits_here, broken = torch.stack([exits_here, broken]).cpu().numpy()  # together: each transfer is a wait
        if broken.any():
            raise broken_exit(exit_index)
        if exits_here.all():
            self._record_exits(chunk.indices, logits, joined, scores, exit_index)
            return
        finite = chunk.finite
        former = logits if self._next_exit_reads_logits(index) else None
        if exits_here.any():
            exited, remaining = (
                torch.from_numpy(np.flatnonzero(rows)).to(features.device) for rows in (exits_here, ~exits_here)
            )
            self._record_exits(chunk.indices[exits_here], logits[exited], joined[exited], scores[exited], exit_index)
            features = _selected(features, remaining)
            images = None if images is None else _selected(images, remaining)
            finite, joined = finite[remaining], joined[remaining]
            state, former = (None if each is None else each[remaining] for each in (state, former))
        left = chunk.indices[~exits_here]
        self.waiting[index + 1].append(_PendingChunk(features, left, finite, state, joined, images, former))

    def _next_exit_reads_logits(self, index: int) -> bool:
        """Whether the first exit behind a segment sees the logits of the exit before it."""
        behind = self.network.segments[index + 1 :]
        return next(segment.reads_logits for segment in behind if segment.exit_index is not None)

    def _record_exits(
        self, indices: np.ndarray, logits: Tensor, joined: Tensor, scores: Tensor, exit_index: int
    ) -> None:
        """Keeps logits with the batches they belong to; indices rise, so each batch has a run of them."""
        for batch in self.open:
            low, high = np.searchsorted(indices, (batch.start, batch.start + batch.size))
            if high > low:
                own, rows = indices[low:high] - batch.start, slice(low, high)
                batch.parts.append(_ExitedRows(own, logits[rows], joined[rows], scores[rows], exit_index))
                batch.left += int(high - low)

    def _assembled(self, batch: _PendingBatch) -> Predictions:
        parts = batch.parts
        order = torch.from_numpy(np.argsort(np.concatenate([part.indices for part in parts])))
        exits = torch.cat([torch.full((len(part.indices),), part.exit_index) for part in parts])[order]
        logits, joined = torch.cat([part.logits for part in parts]), torch.cat([part.joined for part in parts])
        scores = torch.cat([part.scores for part in parts])
        columns = [logits, joined, scores[:, None].float(), batch.finite[:, None].float()]
        together = torch.cat(columns, dim=1).cpu()  # one wait
        valid, classes = together[:, -1].bool(), logits.shape[1]
        logits, joined, scores = together[order, :classes], together[order, classes:-2], together[order, -2]

        broken = ~torch.isfinite(logits).all(dim=1) & valid
        if broken.numpy().any():
            raise broken_exit(int(exits[broken].min()))
        confidence, predictions = torch.softmax(joined, dim=1).max(dim=1)
        spent = (self.network.gflops + torch.from_numpy(self.policy.own_gflops(classes)))[exits]
        for column, nothing in ((predictions, -1), (exits, -1), (confidence, 0), (spent, 0)):
            column[~valid] = nothing
        for column in (scores, logits):
            column[~valid] = torch.nan
        return Predictions(predictions, exits, confidence, scores, spent, logits, valid)


def _first(waiting: deque[_PendingChunk], count: int) -> _PendingChunk:
    """Takes the first `count` images out."""
    taken: list[_PendingChunk] = []
    while count > 0:
        chunk = waiting.popleft()
        if len(chunk.indices) > count:
            waiting.appendleft(_rows(chunk, slice(count, None)))
            chunk = _rows(chunk, slice(count))
        taken.append(chunk)
        count -= len(chunk.indices)
    if len(taken) == 1:
        return taken[0]
    return _PendingChunk(
        torch.cat([chunk.features for chunk in taken]),
        np.concatenate([chunk.indices for chunk in taken]),
        torch.cat([chunk.finite for chunk in taken]),
        _concatenated([chunk.state for chunk in taken]),
        _concatenated([chunk.joined for chunk in taken]),
        _concatenated([chunk.images for chunk in taken]),
        _concatenated([chunk.former_logits for chunk in taken]),
    )


def _selected(images: Tensor, rows: Tensor) -> Tensor:
    """Some of (N, C, H, W), in the layout that they have: selecting channels-last ones as they are would lose it."""
    if images.is_contiguous():
        return images.index_select(0, rows)
    return images.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


def _concatenated(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of all parts; None where they are None, as joined logits are before the first exit."""
    return None if parts[0] is None else torch.cat(cast("list[Tensor]", parts))


def _rows(chunk: _PendingChunk, rows: slice) -> _PendingChunk:
    optional = (chunk.state, chunk.joined, chunk.images, chunk.former_logits)
    selected = (None if each is None else each[rows] for each in optional)
    return _PendingChunk(chunk.features[rows], chunk.indices[rows], chunk.finite[rows], *selected)


def chunk_sizes(count: int, size: int, sizes: Sequence[int] | None, *, flush: bool) -> list[int]:
    """Splits `count` waiting images into chunks.

    Args:
        count: who waits.
        size: the best number at a time.
        sizes: the only numbers there may be, 1 among them; None: any.
        flush: none may be left waiting.
    """
    if not flush:
        return [size] * (count // size)
    if sizes is None:  # nearly equal parts: a small rest would cost as much as a large one
        parts = max(1, round(count / size))
        return [count // parts + (number < count % parts) for number in range(parts)] if count else []
    found = []
    for each in sorted((each for each in sizes if each <= size), reverse=True):
        found += [each] * (count // each)
        count %= each
    return found
