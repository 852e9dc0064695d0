"""Early exit that saves time: only the survivors run on, and they are regrouped into batches that suit each stage."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from greenedge.device.memory import keep_freed_memory
from greenedge.device.precision import Precision
from greenedge.errors import DataError, UsageError
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.chunks import (
    CHUNK_SIZES,
    chunks_file,
    measure_chunks,
    read_chunks,
    usual_chunk,
    write_chunks,
)
from greenedge.inference.flow import Answers, Flow, part
from greenedge.inference.prepared import prepare_network
from greenedge.models.multi_exit import MultiExitNetwork


class Engine:
    """Runs a network with exits under a policy, over batches of any size.

    It works on a copy: batch norms are folded, weights laid out for the device (channels last; on a CPU in oneDNN's
    own order), and cast to bf16 where that is asked for. Blocks run in stages; each stage takes a chunk of as many
    images at a time as suit it: early ones few, where wide features are better kept in the cache, late ones many,
    pooled from the survivors of several chunks (and, in `stream`, of several batches). On a CPU, freed memory is kept
    in this process from here on (`device/memory.py`); on a GPU the host waits once an exit and chunk, for the decision.

    Args:
        network: in any mode; it is not changed, and later changes to it are not seen.
        policy: a criterion, a threshold for each early exit, temperatures.
        precision: `float32`, `bf16`, or `auto`: by the rule of `device/precision.py`.
        compiled: put the stages through `torch.compile` with frozen weights, here and now; that takes minutes.
        chunks: images at a time of each stage; None: those that `tune` has kept for this machine, or a usual
            number.

    Attributes:
        network: the copy that runs.
        chunks: images at a time of each stage.

    Raises:
        UsageError: the policy, or `chunks`, does not fit the network.
        InstallationError: it is to be compiled, and no compiler works.
    """

    def __init__(
        self,
        network: MultiExitNetwork,
        policy: ExitPolicy,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
        chunks: Sequence[int] | None = None,
    ) -> None:
        early_exits = network.num_exits - 1
        if len(policy.thresholds) != early_exits:
            raise UsageError(
                f"the policy has {len(policy.thresholds)} thresholds, the network has {early_exits} early exits"
            )
        self.policy = policy
        self.image_size = network.image_size
        self.network = prepare_network(network, precision, compiled=compiled)
        if self.network.device.type == "cpu":
            keep_freed_memory()
        stages = self.network.stages
        self._kept = chunks_file(self.network.identity)
        if chunks is not None and (len(chunks) != len(stages) or min(chunks) < 1):
            raise UsageError(f"chunks must be {len(stages)} numbers of at least 1, one a stage, found {tuple(chunks)}")
        usual = (usual_chunk(self.network.device),) * len(stages)
        self.chunks = tuple(chunks or read_chunks(self._kept, stages) or usual)
        if self.network.sizes is not None:  # what is not compiled must not be asked for
            self.chunks = tuple(max(s for s in self.network.sizes if s <= chunk) for chunk in self.chunks)

    def tune(self) -> tuple[int, ...]:
        """Measures the best chunk size of each stage, some seconds on a CPU; a GPU keeps to the usual number.

        That is done once a machine and network; the sizes are kept in a file (`XDG_CACHE_HOME` says where).
        """
        network = self.network
        if network.device.type == "cpu":
            kept = read_chunks(self._kept, network.stages)
            if kept is None:
                kept = measure_chunks(network.stages, network.modules, network.dtype, network.sizes or CHUNK_SIZES)
                try:
                    write_chunks(self._kept, network.stages, kept)
                except OSError as error:
                    warnings.warn(f"the chunk sizes just measured are not kept: {error}", stacklevel=2)
            self.chunks = kept
        return self.chunks

    def answer(self, images: Tensor) -> Answers:
        """Answers one batch.

        Args:
            images: float (N, 3, S, S), normalised, of the size the network was made for.

        Raises:
            UsageError: images of another shape or type.
            DataError: no images, or one that holds NaN or infinite pixels.
        """
        flow = Flow(self.network, self.policy, self.chunks)
        flow.take(self._checked(images))
        flow.advance(flush=True)
        (answers,) = flow.finished()
        return answers

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Answers]:
        """Answers batches as they come, each in its turn; survivors of several are pooled for the late stages.

        So a batch's answers may come only when later ones have been read.

        Args:
            batches: of images as `answer` takes them, of any number each.

        Raises:
            UsageError: images of another shape or type.
            DataError: no images, or one that holds NaN or infinite pixels.
        """
        flow = Flow(self.network, self.policy, self.chunks)
        for batch in batches:
            flow.take(self._checked(batch))
            flow.advance(flush=False)
            yield from flow.finished()
        flow.advance(flush=True)
        yield from flow.finished()

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """What every exit says of one batch, whatever the policy: nobody leaves.

        Args:
            images: as `answer` takes them, but NaN and infinite pixels are not looked for.

        Returns:
            float32 (E, N, C), as the network gives them.

        Raises:
            UsageError: images of another shape or type.
            DataError: no images.
        """
        network = self.network
        features = network.placed(self._checked(images))
        answers = []
        for index, stage in enumerate(network.stages):
            sizes = part(len(features), self.chunks[index], network.sizes, flush=True)
            given = [network.run(index, chunk) for chunk in torch.split(features, sizes)]
            features = torch.cat([handed_on for handed_on, _ in given])
            if stage.exit_index is not None:
                answers.append(torch.cat([cast(Tensor, logits) for _, logits in given]))
        return torch.stack(answers)

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
