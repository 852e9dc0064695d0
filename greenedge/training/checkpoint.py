"""Weights with what is needed to use them: config, classes and images seen, in the metadata of one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from greenedge.config.records import RecordError, convert_record, parse_json
from greenedge.cost.table import NetworkCost
from greenedge.data.layouts import ClassInfo
from greenedge.data.seen import SeenImages, parse_seen, plain_seen
from greenedge.errors import CheckpointError
from greenedge.files import SEAL, write_bytes

FORMAT = "greenedge/1"
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class CheckpointInfo:
    """What weights mean.

    Attributes:
        config: the resolved config, as YAML.
        classes: in the order of the logits.
        epoch: epochs of training behind the weights.
        stored_size: pixels per side of the prepared images they were trained on, before any resizing on the batch;
            None where that is unknown.
        seen: the images they were trained on; None where that is unknown.
        cost: of every exit; None where it was not kept.
    """

    config: str
    classes: tuple[ClassInfo, ...]
    epoch: int
    stored_size: int | None = None
    seen: SeenImages | None = None
    cost: NetworkCost | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights and their meaning.

    Attributes:
        tensors: the state dict.
        info: what they mean.
        digest: SHA-256 of the file they were read from.
    """

    tensors: dict[str, Tensor]
    info: CheckpointInfo
    digest: str = ""


def save_checkpoint(path: Path, network: nn.Module, info: CheckpointInfo) -> None:
    """Writes weights and metadata, atomically.

    Args:
        path: a .safetensors file.
        network: whose state dict is written.
        info: what the weights mean.

    Raises:
        CheckpointError: the disk is full or refuses; the file that was there before is unharmed.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = _metadata(info)
    digest = _content_digest(safetensors.torch.save(tensors, metadata))
    content = safetensors.torch.save(tensors, metadata | {SEAL: digest})
    try:
        write_bytes(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}); free some space and resume, the checkpoint before is intact"
        ) from None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint of `greenedge train`; no code in the file is ever run.

    Raises:
        CheckpointError: no such file, truncated, changed since it was written, not such a checkpoint, or weights that
            are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `greenedge train` writes best.safetensors")
    try:
        content = path.read_bytes()  # once: what is digested is what is used, whatever lies there later
        metadata = _header(content).get("__metadata__") or {}
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path}: cannot be read; it is truncated or not a .safetensors checkpoint ({reason})"
        ) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: was not written by `greenedge train`, so its network is unknown; to start from such weights, "
            "name the file as model.weights in a config"
        )
    if SEAL in metadata and metadata[SEAL] != _content_digest(content):
        raise CheckpointError(f"{path}: was changed or damaged after it was written; use another copy, or train again")
    infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise CheckpointError(f"{path}: {infinite[0]} holds weights that are NaN or infinite; train again")
    try:
        info = _info(metadata)
    except (RecordError, KeyError) as error:
        raise CheckpointError(f"{path}: its metadata are damaged ({error})") from None
    return Checkpoint(tensors, info, hashlib.sha256(content).hexdigest())


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts a checkpoint's weights into the network built from its config.

    Raises:
        CheckpointError: they belong to another network.
    """
    own = network.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    wrong += [name for name in tensors if name not in own]
    if wrong:
        raise CheckpointError(f"{path}: belongs to another network: {len(wrong)} tensors do not fit, {wrong[0]} first")
    network.load_state_dict(tensors)


def _metadata(info: CheckpointInfo) -> dict[str, str]:
    found = {
        "format": FORMAT,
        "config": info.config,
        "classes": json.dumps([asdict(each) for each in info.classes]),
        "epoch": str(info.epoch),
    }
    if info.stored_size is not None:
        found["stored_size"] = str(info.stored_size)
    if info.seen is not None:
        found["seen"] = json.dumps(plain_seen(info.seen))
    if info.cost is not None:
        found["cost"] = json.dumps(asdict(info.cost))
    return found


@dataclass(frozen=True)
class _Classes:
    classes: tuple[ClassInfo, ...]


def _info(metadata: Mapping[str, str]) -> CheckpointInfo:
    classes = convert_record({"classes": parse_json(metadata["classes"])}, _Classes).classes
    if not classes:
        raise RecordError("no classes")
    stored_size = metadata.get("stored_size")
    seen, cost = metadata.get("seen"), metadata.get("cost")
    return CheckpointInfo(
        config=metadata["config"],
        classes=classes,
        epoch=_whole(metadata["epoch"], "epoch", 10**9),
        stored_size=None if stored_size is None else _whole(stored_size, "stored_size", 65_500),
        seen=None if seen is None else parse_seen(parse_json(seen)),
        cost=None if cost is None else convert_record(parse_json(cost), NetworkCost),
    )


def _whole(text: str, key: str, largest: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= largest):
        raise RecordError(f"{key}: expected a whole number of at most {largest}, found {text[:40]!r}")
    return int(text)


def _header(content: bytes) -> dict[str, Any]:
    """The JSON that a safetensors file starts with.

    Raises:
        ValueError: there is none.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _LARGEST_HEADER):
        raise ValueError("its header is cut short")
    header = parse_json(content[8 : 8 + length])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header is no mapping")
    return header


def _content_digest(content: bytes) -> str:
    """SHA-256 of a safetensors file's names, shapes, types, metadata and tensors, but for the digest itself."""
    header = _header(content)
    header["__metadata__"] = {key: text for key, text in header["__metadata__"].items() if key != SEAL}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(memoryview(content)[8 + int.from_bytes(content[:8], "little") :])
    return digest.hexdigest()
