"""How many images each stage takes at a time: a usual number, or one measured once a machine and kept.

A measured number is kept only where it has beaten the usual one, in turns: on a busy machine each stage's best is a
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
from greenedge.errors import printable
from greenedge.files import write_json
from greenedge.inference.stages import StageSpec

CHUNK_SIZES = (1, 2, 4, 8, 16, 32, 64)
# On a CPU that keeps freed memory, few networks gain from fewer, and most lose; `measure_chunks` finds out which.
_CPU_CHUNK, _GPU_CHUNK = 64, 512
_TIMED_IMAGES = 16  # at least, of each size
_ROUNDS = 3
_GIVE_UP_RATIO = 1.15  # times the best so far: no larger size is tried
# What takes the usual number's place has to be this much faster (the median of its rounds), and in this many rounds.
_FASTER, _CONTEST_ROUNDS, _ROUNDS_WON = 0.96, 5, 4

_Size = Annotated[int, Range(minimum=1, maximum=65536)]
_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class Contest:
    """Two ways to cut the same images, timed in turns.

    Attributes:
        usual: images at a time of each stage, without measuring.
        found: those that measuring each stage alone came to.
        usual_seconds: of each round.
        found_seconds: likewise.
    """

    usual: tuple[_Size, ...]
    found: tuple[_Size, ...]
    usual_seconds: tuple[Positive, ...] = ()
    found_seconds: tuple[Positive, ...] = ()

    @property
    def winner(self) -> tuple[int, ...]:
        """`found` where it was clearly faster, else `usual`."""
        if not self.usual_seconds:
            return self.usual
        won = sum(found < usual for usual, found in zip(self.usual_seconds, self.found_seconds, strict=True))
        faster = median(self.found_seconds) <= _FASTER * median(self.usual_seconds)
        return self.found if faster and won >= _ROUNDS_WON * len(self.usual_seconds) / _CONTEST_ROUNDS else self.usual


@dataclass(frozen=True)
class _ChunksFile:
    """What the JSON file holds: the sizes, and the contest they have won."""

    format: Literal["greenedge-chunks/2"]
    stages: tuple[str, ...]
    chunks: tuple[_Size, ...]
    contest: Contest


def default_chunk_size(device: torch.device) -> int:
    """Images at a time of any stage, without measuring."""
    return _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK


def measure_chunks(
    stages: Sequence[StageSpec], modules: Sequence[nn.Module], item_type: torch.dtype, sizes: Sequence[int]
) -> tuple[int, ...]:
    """The fastest number of images at a time of each stage, on random features; takes some seconds on a CPU.

    Args:
        stages: what is run.
        modules: what runs it, one a stage (compiled or not).
        item_type: of the features.
        sizes: to choose from, rising.
    """
    best = []
    for stage, module in zip(stages, modules, strict=True):
        seconds: dict[int, float] = {}
        for size in sizes:
            seconds[size] = _seconds_an_image(module, stage.input_shape, item_type, size)
            if seconds[size] > _GIVE_UP_RATIO * min(seconds.values()) and size > 8:
                break
        # A larger chunk must be worth its while: noise should not choose.
        fastest = min(seconds.values())
        best.append(min(size for size in seconds if seconds[size] <= 1.02 * fastest))
    return tuple(best)


def contest_chunks(
    stages: Sequence[StageSpec],
    modules: Sequence[nn.Module],
    item_type: torch.dtype,
    usual: Sequence[int],
    found: Sequence[int],
) -> Contest:
    """Times all stages on the same number of images, cut in the two ways, in turns.

    Args:
        stages: what is run.
        modules: what runs it, one a stage.
        item_type: of the features.
        usual: images at a time of each stage.
        found: likewise; nothing is timed where they are the same.
    """
    usual, found = tuple(usual), tuple(found)
    if usual == found:
        return Contest(usual, found)
    count = max(*usual, *found)
    features = [_features(stage.input_shape, item_type, count) for stage in stages]

    def run(sizes: Sequence[int]) -> None:
        with torch.inference_mode(mode=False), torch.no_grad():  # as the engine runs it
            for module, given, size in zip(modules, features, sizes, strict=True):
                for chunk in torch.split(given, size):
                    module(chunk)

    seconds = time_interleaved({"usual": lambda: run(usual), "found": lambda: run(found)}, _CONTEST_ROUNDS)
    return Contest(usual, found, tuple(seconds["usual"]), tuple(seconds["found"]))


def chunks_file(identity: str) -> Path | None:
    """Where the chunk sizes of a network on this machine are kept; `XDG_CACHE_HOME` moves the folder.

    None where there is neither that nor a home directory.
    """
    machine = [platform.machine(), _cpu_model(), torch.get_num_threads(), torch.__version__]
    digest = hashlib.sha256(repr(["2", *machine, identity]).encode()).hexdigest()[:20]
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "greenedge" / f"chunks-{digest}.json"


def read_chunks(path: Path | None, stages: Sequence[StageSpec]) -> tuple[int, ...] | None:
    """The kept sizes; None where there are none for these stages, or a file that cannot be used, which is logged."""
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
    lengths = {len(kept.chunks), len(kept.contest.usual), len(kept.contest.found)}
    if kept.stages != tuple(stage.name for stage in stages) or lengths != {len(stages)}:
        _note_unusable(path, "is damaged: it is not about this network's stages")
        return None
    return kept.chunks


def write_chunks(path: Path | None, stages: Sequence[StageSpec], contest: Contest) -> None:
    """Keeps the sizes that have won, and the timings; where that cannot be, it is logged."""
    if path is None:
        _log.warning(
            "note: the chunk sizes just measured are not kept, since there is no home directory; "
            "XDG_CACHE_HOME may name a folder for them"
        )
        return
    record = _ChunksFile("greenedge-chunks/2", tuple(stage.name for stage in stages), contest.winner, contest)
    try:
        write_json(path, dataclasses.asdict(record), sealed=True)
    except OSError as error:
        reason = error.strerror or str(error)
        _log.warning("note: %s", printable(f"the chunk sizes just measured are not kept: {path}: {reason}"))


def _note_unusable(path: Path, reason: str) -> None:
    _log.warning("note: %s", printable(f"{path}: {reason}; the usual chunk sizes are used, until others are measured"))


def _seconds_an_image(module: nn.Module, shape: tuple[int, int, int], item_type: torch.dtype, size: int) -> float:
    features = _features(shape, item_type, size)
    turns = -(-_TIMED_IMAGES // size)
    rounds = []
    with torch.inference_mode(mode=False), torch.no_grad():  # as the engine runs it
        module(features)
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            for _ in range(turns):
                module(features)
            rounds.append(time.perf_counter() - started)
    return min(rounds) / (turns * size)


def _features(shape: tuple[int, int, int], item_type: torch.dtype, count: int) -> Tensor:
    features: Tensor = torch.rand(count, *shape, dtype=torch.float32).to(item_type)
    return features.contiguous(memory_format=torch.channels_last)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
