"""Early exit that saves time: only the survivors run on, and they are regrouped into batches that suit each segment."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from greenedge.cost.table import NetworkCost
from greenedge.device import memory
from greenedge.device.precision import Precision
from greenedge.errors import DataError, GreenedgeError, UsageError
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.backend import Backend
from greenedge.inference.chunks import (
    CHUNK_SIZES,
    chunks_file,
    compare_chunks,
    default_chunk_size,
    measure_chunks,
    read_chunks,
    write_chunks,
)
from greenedge.inference.finite import check_finite_images, check_finite_logits, finite_images, name_images
from greenedge.inference.optimized import OptimizedNetwork, optimize_for_inference
from greenedge.inference.scheduler import ExitScheduler, Predictions, chunk_sizes
from greenedge.models.multi_exit import MultiExitNetwork

# Later images that an image waits for at most, in a stream, until its chunk is run as it is.
_MAX_WAIT = 1024

_log = logging.getLogger("greenedge")


class Engine:
    """Runs a network with exits under a policy, over batches of any size.

    PyTorch runs a copy of the network: batch norms are folded, weights laid out for the device (channels last; on a
    CPU in oneDNN's own order), and cast to bf16 where that is asked for. Segments of an export run likewise, in
    whatever runtime. Each segment takes a chunk of as many images at a time as suit it: early ones few, where wide
    features are better kept in the cache, late ones many, pooled from the survivors of several chunks (and, in
    `stream`, of several batches). On a GPU the host waits once an exit and chunk, for the decision.

    Args:
        network: in any mode; it is not changed, and later changes to it are not seen. Or a backend that is ready to
            run, such as `open_export` gives; then `precision`, `compiled` and `cost` are its own.
        policy: a criterion, a threshold for each early exit, temperatures.
        precision: `float32`, `bf16`, or `auto`: what the policy was chosen in, or, where it does not say, by the rule
            of `device/precision.py`.
        compiled: put the segments through `torch.compile` with frozen weights, here and now; that takes minutes.
        cost: of every exit, where it is known; None: counted here.
        chunks: images at a time of each segment; None: those that `autotune` has kept for this machine, or a
            default number.
        disable_malloc_trim: on a CPU, make glibc keep freed memory in this process from here on, for all that it does
            besides (`device/memory.py`); False leaves the allocator as it is, at the price of some speed. The
            environment variable `GREENEDGE_MALLOC=default` says the same for every engine.

    Attributes:
        network: what runs: the copy, or the backend.
        chunks: images at a time of each segment.

    Raises:
        UsageError: the policy, its precision, or `chunks`, does not fit.
        InstallationError: it is to be compiled, and no compiler works.
    """

    def __init__(
        self,
        network: MultiExitNetwork | Backend,
        policy: ExitPolicy,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
        cost: NetworkCost | None = None,
        chunks: Sequence[int] | None = None,
        disable_malloc_trim: bool = True,
    ) -> None:
        self._num_exits = network.num_exits if isinstance(network, MultiExitNetwork) else len(network.gflops)
        self._precision: str | None = None  # that of the network, once it is known
        self.policy = policy
        if isinstance(network, MultiExitNetwork):
            if policy.precision is not None and precision not in ("auto", policy.precision):
                raise UsageError(_other_precision(policy, precision))
            backend: Backend = _optimized(network, policy, precision, compiled=compiled, cost=cost)
        else:
            backend = network
        self.network = backend
        self.image_size, self._precision = backend.image_size, backend.precision
        self.policy = policy  # once more, now that the precision is known

        if disable_malloc_trim and backend.device.type == "cpu":
            memory.disable_malloc_trim()
        segments = backend.segments
        if chunks is not None and (len(chunks) != len(segments) or min(chunks) < 1):
            raise UsageError(
                f"chunks must be {len(segments)} numbers of at least 1, one per segment, found {tuple(chunks)}"
            )
        self._set_chunks(chunks or self._kept_chunks() or self._default_chunks())

    def __repr__(self) -> str:
        """The policy and the network that runs."""
        return f"Engine({self.policy}; {self.network})"

    @property
    def policy(self) -> ExitPolicy:
        """When images exit; another policy may take its place."""
        return self._policy

    @policy.setter
    def policy(self, policy: ExitPolicy) -> None:
        early_exits = self._num_exits - 1
        if len(policy.thresholds) != early_exits:
            raise UsageError(
                f"the policy has {len(policy.thresholds)} thresholds, the network has {early_exits} early exits"
            )
        if self._precision is not None and policy.precision not in (None, self._precision):
            raise UsageError(_other_precision(policy, self._precision))
        self._policy = policy

    def autotune(self, *, again: bool = False) -> tuple[int, ...]:
        """Measures the best chunk size of each segment, some seconds on a CPU; a GPU keeps to the default number.

        Measured sizes are used only where all segments together were clearly faster with them than with the default
        number. That is compared once per machine and network, and what has won is kept in a file (`XDG_CACHE_HOME` says
        where). The segments of an export keep to the default number too.

        Args:
            again: measure even where sizes are kept, and keep what is found now.
        """
        network = self.network
        if network.device.type != "cpu" or not isinstance(network, OptimizedNetwork):
            return self.chunks
        kept = None if again else self._kept_chunks()
        if kept is None:
            default = self._default_chunks()
            measured = measure_chunks(network.segments, network.modules, network.dtype, network.sizes or CHUNK_SIZES)
            comparison = compare_chunks(network.segments, network.modules, network.dtype, default, measured)
            write_chunks(chunks_file(network.identity), network.segments, comparison)
            kept = comparison.winner
        self._set_chunks(kept)
        return self.chunks

    def _kept_chunks(self) -> tuple[int, ...] | None:
        """Those measured on this machine for PyTorch's segments."""
        network = self.network
        if not isinstance(network, OptimizedNetwork):
            return None
        return read_chunks(chunks_file(network.identity), network.segments)

    def _default_chunks(self) -> tuple[int, ...]:
        return (default_chunk_size(self.network.device),) * len(self.network.segments)

    def _set_chunks(self, chunks: Sequence[int]) -> None:
        sizes = self.network.sizes
        if sizes is not None:  # what is not compiled must not be asked for
            chunks = [max(size for size in sizes if size <= chunk) for chunk in chunks]
        self.chunks = tuple(chunks)

    def predict(self, images: Tensor) -> Predictions:
        """Predicts one batch.

        Args:
            images: float (N, 3, S, S), normalised, of the size the network was made for.

        Raises:
            UsageError: images of another shape or type.
            DataError: no images, or some that hold NaN or infinite pixels; names them.
            CheckpointError: an exit gives logits that are NaN or infinite, though the pixels are not.
        """
        scheduler = ExitScheduler(self.network, self.policy, self.chunks)
        scheduler.submit(self._checked(images))
        scheduler.step(flush=True)
        (predictions,) = scheduler.completed()
        check_finite_images(predictions.valid)
        return predictions

    def stream(self, batches: Iterable[Tensor], *, max_wait: int = _MAX_WAIT) -> Iterator[Predictions]:
        """Predicts batches as they come, each in its turn; survivors of several are pooled for the late segments.

        So a batch's predictions may come only when later batches have been read, but never more than `max_wait` images
        later. An image with NaN or infinite pixels has no prediction (`Predictions.valid`); a warning of the logger
        `greenedge` names it, and the other images are predicted. Where reading a batch fails, the predictions of the
        batches before it come first, and then the error is raised.

        Args:
            batches: of images as `predict` takes them, of any number each.
            max_wait: an image waits for its segment's chunk to fill until so many later images have been read. More
                makes late segments denser, less makes predictions come sooner; 0 runs each batch to its end at once.

        Raises:
            UsageError: images of another shape or type, or a negative `max_wait`.
            DataError: no images.
            CheckpointError: an exit gives logits that are NaN or infinite, though the pixels are not.
        """
        if max_wait < 0:
            raise UsageError(f"max_wait is {max_wait}; give a number of images of at least 0")
        return self._stream(iter(batches), max_wait)

    def _stream(self, batches: Iterator[Tensor], max_wait: int) -> Iterator[Predictions]:
        scheduler = ExitScheduler(self.network, self.policy, self.chunks, max_wait)
        read = given = 0
        failure: Exception | None = None
        ended = False
        while not ended:
            try:
                scheduler.submit(self._checked(next(batches)))
                read += 1
            except StopIteration:
                ended = True
            except GreenedgeError as error:
                failure, ended = type(error)(f"batch {read} of the stream: {error}"), True
            except Exception as error:  # noqa: BLE001  # of whoever makes the batches; it is raised below
                failure, ended = error, True
            scheduler.step(flush=ended)
            for predictions in scheduler.completed():
                if not predictions.valid.all():
                    _log.warning("note: %s", name_images(predictions.valid, f"batch {given} of the stream"))
                given += 1
                yield predictions
        if failure is not None:
            raise failure

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits of every exit for one batch, whatever the policy: no image exits early.

        Args:
            images: as `predict` takes them.

        Returns:
            float32 (E, N, C), as the network gives them.

        Raises:
            UsageError: images of another shape or type.
            DataError: no images, or one that holds NaN or infinite pixels.
            CheckpointError: an exit gives logits that are NaN or infinite, though the pixels are not.
        """
        network = self.network
        images = self._checked(images)
        if not isinstance(network, OptimizedNetwork):  # elsewhere NaN may become numbers on the way
            check_finite_images(finite_images(images).cpu())
        given_images = features = network.to_input_format(images)
        found: list[Tensor] = []
        for index, segment in enumerate(network.segments):
            features = given_images if segment.reads_images else features
            sizes = chunk_sizes(len(features), self.chunks[index], network.sizes, flush=True)
            inputs = [features, found[-1]] if segment.reads_logits else [features]
            chunks = zip(*(torch.split(each, sizes) for each in inputs), strict=True)
            given = [network.run(index, *chunk) for chunk in chunks]
            if segment.exit_index is not None:
                found.append(torch.cat([cast(Tensor, logits) for _, logits in given]))
            if index < len(network.segments) - 1:
                features = torch.cat([handed_on for handed_on, _ in given])
        stacked = torch.stack(found)
        if not torch.isfinite(stacked).all():
            check_finite_images(finite_images(images).cpu())
            check_finite_logits(stacked)
        return stacked

    def _checked(self, images: Tensor) -> Tensor:
        side = self.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side) or not images.is_floating_point():
            raise UsageError(
                f"the engine takes normalised float images (N, 3, {side}, {side}), found "
                f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            )
        if len(images) == 0:
            raise DataError("a batch of no images was given; give at least one")
        return images.to(self.network.device)


def _optimized(
    network: MultiExitNetwork, policy: ExitPolicy, precision: Precision, *, compiled: bool, cost: NetworkCost | None
) -> OptimizedNetwork:
    """The copy that PyTorch runs, in the precision that the policy was chosen in, if it says one."""
    chosen_in = policy.precision
    if chosen_in == "int8":
        raise UsageError(_other_precision(policy, "float32"))
    return optimize_for_inference(network, chosen_in or precision, compiled=compiled, cost=cost)


def _other_precision(policy: ExitPolicy, precision: str) -> str:
    return (
        f"the policy was chosen in {policy.precision}, and the network is to run in {precision}; leave the precision "
        f"out, or tune again in {precision}"
    )
