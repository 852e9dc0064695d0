"""How many images each segment takes at a time: a default number, or one measured once per machine and kept.

A measured number is kept only where it has beaten the default one, in turns: on a busy machine each segment's best is a
matter of chance, and would be kept for ever.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from greenedge.config.convert import Positive, Range
from greenedge.config.records import RecordError, read_record
from greenedge.cost.latency import time_interleaved
from greenedge.device.processor import processor_name
from greenedge.errors import printable
from greenedge.files import write_json
from greenedge.models.segments import Segment

CHUNK_SIZES = (1, 2, 4, 8, 16, 32, 64)
# On a CPU that keeps freed memory, most networks are slower with fewer; `measure_chunks` finds the others.
_CPU_CHUNK, _GPU_CHUNK = 64, 512
_TIMED_IMAGES = 16  # at least, of each size
_ROUNDS = 3
_GIVE_UP_RATIO = 1.15  # times the best so far: no larger size is tried
# What takes the default number's place has to be this much faster (the median of its rounds), and in this many rounds.
_FASTER, _COMPARISON_ROUNDS, _ROUNDS_WON = 0.96, 5, 4

_Size = Annotated[int, Range(minimum=1, maximum=65536)]
_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class ChunkComparison:
    """Two choices of chunk sizes, timed in turns on the same images.

    Attributes:
        default: images at a time of each segment, without measuring.
        measured: the sizes that were the fastest for each segment alone.
        default_seconds: of each round; empty where the two choices are the same.
        measured_seconds: likewise.
    """

    default: tuple[_Size, ...]
    measured: tuple[_Size, ...]
    default_seconds: tuple[Positive, ...] = ()
    measured_seconds: tuple[Positive, ...] = ()

    @property
    def winner(self) -> tuple[int, ...]:
        """`measured` where it was clearly faster, else `default`."""
        if not self.default_seconds:
            return self.default
        rounds = list(zip(self.default_seconds, self.measured_seconds, strict=True))
        won = sum(measured < default for default, measured in rounds)
        often = won >= _ROUNDS_WON * len(rounds) / _COMPARISON_ROUNDS
        faster = median(self.measured_seconds) <= _FASTER * median(self.default_seconds)
        return self.measured if faster and often else self.default


@dataclass(frozen=True)
class _ChunksFile:
    """What the JSON file holds: the sizes, and the comparison that they have won."""

    format: Literal["greenedge-chunks/3"]
    segments: tuple[str, ...]
    chunks: tuple[_Size, ...]
    comparison: ChunkComparison


def default_chunk_size(device: torch.device) -> int:
    """Images at a time of any segment, without measuring."""
    return _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK


def measure_chunks(
    segments: Sequence[Segment], modules: Sequence[nn.Module], item_type: torch.dtype, sizes: Sequence[int]
) -> tuple[int, ...]:
    """The fastest number of images at a time of each segment, on random features; takes some seconds on a CPU.

    Args:
        segments: what is run.
        modules: what runs it, one per segment (compiled or not).
        item_type: of the features.
        sizes: to choose from, rising.
    """
    best = []
    for segment, module in zip(segments, modules, strict=True):
        seconds: dict[int, float] = {}
        for size in sizes:
            seconds[size] = _seconds_per_image(module, segment, item_type, size)
            if seconds[size] > _GIVE_UP_RATIO * min(seconds.values()) and size > 8:
                break
        # A larger chunk must be worth its while: noise should not choose.
        fastest = min(seconds.values())
        best.append(min(size for size in seconds if seconds[size] <= 1.02 * fastest))
    return tuple(best)


def compare_chunks(
    segments: Sequence[Segment],
    modules: Sequence[nn.Module],
    item_type: torch.dtype,
    default: Sequence[int],
    measured: Sequence[int],
) -> ChunkComparison:
    """Times all segments on the same number of images with each of two choices of chunk sizes, in turns.

    Args:
        segments: what is run.
        modules: what runs it, one per segment.
        item_type: of the features.
        default: images at a time of each segment.
        measured: likewise; nothing is timed where they are the same.
    """
    default, measured = tuple(default), tuple(measured)
    if default == measured:
        return ChunkComparison(default, measured)
    count = max(*default, *measured)
    inputs = [_inputs(segment, item_type, count) for segment in segments]

    def run(sizes: Sequence[int]) -> None:
        with torch.inference_mode(mode=False), torch.no_grad():  # as the engine runs it
            for module, tensors, size in zip(modules, inputs, sizes, strict=True):
                for chunk in zip(*(torch.split(each, size) for each in tensors), strict=True):
                    module(*chunk)

    contenders = {"default": lambda: run(default), "measured": lambda: run(measured)}
    seconds = time_interleaved(contenders, _COMPARISON_ROUNDS)
    return ChunkComparison(default, measured, tuple(seconds["default"]), tuple(seconds["measured"]))


def chunks_file(identity: str) -> Path | None:
    """Where the chunk sizes of a network on this machine are kept; `XDG_CACHE_HOME` moves the folder.

    None where there is neither that nor a home directory.
    """
    machine = [platform.machine(), processor_name() or platform.platform(), torch.get_num_threads(), torch.__version__]
    digest = hashlib.sha256(repr(["3", *machine, identity]).encode()).hexdigest()[:20]
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "greenedge" / f"chunks-{digest}.json"


def read_chunks(path: Path | None, segments: Sequence[Segment]) -> tuple[int, ...] | None:
    """The kept sizes; None where there are none for these segments, or a file that cannot be used, which is logged."""
    if path is None:
        return None
    try:
        kept = read_record(path, _ChunksFile)
    except FileNotFoundError:
        return None
    except RecordError as error:
        _note_unusable(path, str(error))
        return None
    except OSError as error:
        _note_unusable(path, f"cannot be read ({error.strerror or error})")
        return None
    lengths = {len(kept.chunks), len(kept.comparison.default), len(kept.comparison.measured)}
    if kept.segments != tuple(segment.span for segment in segments) or lengths != {len(segments)}:
        _note_unusable(path, "is damaged: it is not about this network's segments")
        return None
    return kept.chunks


def write_chunks(path: Path | None, segments: Sequence[Segment], comparison: ChunkComparison) -> None:
    """Keeps the sizes that have won, and the timings; a failure to write them is logged."""
    if path is None:
        _log.warning(
            "note: the chunk sizes just measured are not kept, since there is no home directory; "
            "XDG_CACHE_HOME may name a folder for them"
        )
        return
    spans = tuple(segment.span for segment in segments)
    record = _ChunksFile("greenedge-chunks/3", spans, comparison.winner, comparison)
    try:
        write_json(path, dataclasses.asdict(record), sealed=True)
    except OSError as error:
        reason = error.strerror or str(error)
        _log.warning("note: %s", printable(f"the chunk sizes just measured are not kept: {path}: {reason}"))


def _note_unusable(path: Path, reason: str) -> None:
    _log.warning("note: %s", printable(f"{path}: {reason}; the default chunk sizes are used until others are measured"))


def _seconds_per_image(module: nn.Module, segment: Segment, item_type: torch.dtype, size: int) -> float:
    inputs = _inputs(segment, item_type, size)
    turns = -(-_TIMED_IMAGES // size)
    rounds = []
    with torch.inference_mode(mode=False), torch.no_grad():  # as the engine runs it
        module(*inputs)
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            for _ in range(turns):
                module(*inputs)
            rounds.append(time.perf_counter() - started)
    return min(rounds) / (turns * size)


def _inputs(segment: Segment, item_type: torch.dtype, count: int) -> tuple[Tensor, ...]:
    features: Tensor = torch.rand(count, *segment.input_shape, dtype=torch.float32).to(item_type)
    return features.contiguous(memory_format=torch.channels_last), *segment.blank_logits(count)
