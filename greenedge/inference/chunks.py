"""How many images each stage takes at a time: a usual number, or one measured once a machine and kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from greenedge.files import write_json
from greenedge.inference.stages import PlacedStage

CHUNK_SIZES = (1, 2, 4, 8, 16, 32, 64)
# On a CPU that keeps freed memory, few networks gain from fewer, and most lose; `measure_chunks` finds out which.
_CPU_CHUNK, _GPU_CHUNK = 64, 512
_TIMED_IMAGES = 16  # at least, of each size
_ROUNDS = 3
_HOPELESS = 1.15  # times the best so far: no larger size is tried


def usual_chunk(device: torch.device) -> int:
    """Images at a time of any stage, without measuring."""
    return _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK


def measure_chunks(
    stages: Sequence[PlacedStage], modules: Sequence[nn.Module], item_type: torch.dtype, sizes: Sequence[int]
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
            if seconds[size] > _HOPELESS * min(seconds.values()) and size > 8:
                break
        # A larger chunk must be worth its while: noise should not choose.
        fastest = min(seconds.values())
        best.append(min(size for size in seconds if seconds[size] <= 1.02 * fastest))
    return tuple(best)


def chunks_file(identity: str) -> Path:
    """Where the chunk sizes of a network on this machine are kept; `XDG_CACHE_HOME` moves the folder."""
    machine = [platform.machine(), _cpu_model(), torch.get_num_threads(), torch.__version__]
    digest = hashlib.sha256(repr([*machine, identity]).encode()).hexdigest()[:20]
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "greenedge" / f"chunks-{digest}.json"


def read_chunks(path: Path, stages: Sequence[PlacedStage]) -> tuple[int, ...] | None:
    """The kept sizes; None where there are none for these stages."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # absent or damaged: they can be measured again
    names = [stage.name for stage in stages]
    sizes = kept.get("chunks") if isinstance(kept, dict) and kept.get("stages") == names else None
    if not isinstance(sizes, list) or len(sizes) != len(names) or not all(type(s) is int and s > 0 for s in sizes):
        return None
    return tuple(sizes)


def write_chunks(path: Path, stages: Sequence[PlacedStage], chunks: Sequence[int]) -> None:
    """Keeps the sizes."""
    write_json(path, {"stages": [stage.name for stage in stages], "chunks": list(chunks)})


def _seconds_an_image(module: nn.Module, shape: tuple[int, int, int], item_type: torch.dtype, size: int) -> float:
    features: Tensor = torch.rand(size, *shape, dtype=torch.float32).to(item_type)
    features = features.contiguous(memory_format=torch.channels_last)
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


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
