"""Checkpoints: weights with config, classes and costs in the metadata of one safetensors file."""

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
from greenedge.training.plugins_in_use import PluginFile

FORMAT = "greenedge/1"
_KEYS = {"format", "config", "classes", "epoch", "stored_size", "seen", "cost", "members", "plugins", SEAL}
# The limit of safetensors itself.
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class CheckpointInfo:
    """The metadata of weights.

    Attributes:
        config: the resolved config, as YAML.
        classes: in the order of the logits.
        epoch: number of epochs that the weights were trained.
        stored_size: pixels per side of the prepared images they were trained on, before any resizing on the batch;
            None where that is unknown.
        seen: the images they were trained on; None where that is unknown.
        cost: of every exit; None where it was not stored.
        members: of a cascade, the resolved config of each; empty for a single network.
        plugins: the plugins that the configs need.
    """

    config: str
    classes: tuple[ClassInfo, ...]
    epoch: int
    stored_size: int | None = None
    seen: SeenImages | None = None
    cost: NetworkCost | None = None
    members: tuple[str, ...] = ()
    plugins: tuple[PluginFile, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A network's weights and their metadata.

    Attributes:
        tensors: the state dict.
        info: their metadata.
        digest: SHA-256 of the file that they were read from.
    """

    tensors: dict[str, Tensor]
    info: CheckpointInfo
    digest: str = ""


def save_checkpoint(path: Path, network: nn.Module, info: CheckpointInfo) -> None:
    """Writes weights and metadata, atomically.

    Args:
        path: a .safetensors file.
        network: the network whose state dict is written.
        info: the metadata.

    Raises:
        CheckpointError: the file cannot be written; the previous file is unchanged.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = info_to_metadata(info)
    digest = _content_digest(safetensors.torch.save(tensors, metadata))
    content = safetensors.torch.save(tensors, metadata | {SEAL: digest})
    try:
        write_bytes(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}); free some space and resume, the previous checkpoint is intact"
        ) from None


def is_checkpoint(path: Path) -> bool:
    """Whether a file says that `greenedge train` wrote it; what it holds is not checked.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(8)
        content = start + file.read(min(int.from_bytes(start, "little"), _MAX_HEADER))
    try:
        metadata = _header(content).get("__metadata__", {})
    except (RecordError, ValueError):
        return False
    return bool(metadata.get("format") == FORMAT)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint of `greenedge train`; no code in the file is ever run.

    Raises:
        CheckpointError: the file is missing, truncated, changed since it was written or not such a checkpoint, or its
            weights are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `greenedge train` writes best.safetensors")
    try:
        # The file is read once, so that the digest is that of the weights that are used.
        content = path.read_bytes()
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
    _check_keys(metadata, path)
    if SEAL in metadata and metadata[SEAL] != _content_digest(content):
        raise CheckpointError(f"{path}: was changed or damaged after it was written; use another copy, or train again")
    infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise CheckpointError(f"{path}: {infinite[0]} holds weights that are NaN or infinite; train again")
    info = info_from_metadata({key: text for key, text in metadata.items() if key != SEAL}, path)
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


def info_to_metadata(info: CheckpointInfo) -> dict[str, str]:
    """The metadata as a checkpoint's header, or the manifest of an export, keeps them: texts, some of them JSON."""
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
    if info.members:
        found["members"] = json.dumps(info.members)
    if info.plugins:
        found["plugins"] = json.dumps([asdict(each) for each in info.plugins])
    return found


def info_from_metadata(metadata: Mapping[str, str], path: Path) -> CheckpointInfo:
    """Reads what `info_to_metadata` wrote.

    Args:
        metadata: the texts.
        path: of the file that they are from, for messages.

    Raises:
        CheckpointError: they are damaged, or of another version.
    """
    _check_keys(metadata, path)
    try:
        if metadata["format"] != FORMAT:
            raise RecordError(f"format: expected {FORMAT}, found {metadata['format'][:40]!r}")
        return _info(metadata)
    except (RecordError, KeyError) as error:
        raise CheckpointError(f"{path}: its metadata are damaged ({error})") from None


def _check_keys(metadata: Mapping[str, str], path: Path) -> None:
    unknown = set(metadata) - _KEYS
    if unknown:  # a damaged name of the digest, for one, which would leave the file without one
        raise CheckpointError(
            f"{path}: its metadata are damaged, or of another version of greenedge ({sorted(unknown)[0][:40]!r})"
        )


@dataclass(frozen=True)
class _Classes:
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True)
class _Members:
    members: tuple[str, ...]


@dataclass(frozen=True)
class _Plugins:
    plugins: tuple[PluginFile, ...]


def _info(metadata: Mapping[str, str]) -> CheckpointInfo:
    classes = convert_record({"classes": parse_json(metadata["classes"])}, _Classes).classes
    if not classes:
        raise RecordError("it has no classes")
    stored_size = metadata.get("stored_size")
    seen, cost = metadata.get("seen"), metadata.get("cost")
    members, plugins = (parse_json(metadata.get(key, "[]")) for key in ("members", "plugins"))
    return CheckpointInfo(
        config=metadata["config"],
        classes=classes,
        epoch=_whole(metadata["epoch"], "epoch", 10**9),
        stored_size=None if stored_size is None else _whole(stored_size, "stored_size", 65_500),
        seen=None if seen is None else parse_seen(parse_json(seen)),
        cost=None if cost is None else convert_record(parse_json(cost), NetworkCost),
        members=convert_record({"members": members}, _Members).members,
        plugins=convert_record({"plugins": plugins}, _Plugins).plugins,
    )


def _whole(text: str, key: str, largest: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= largest):
        raise RecordError(f"{key}: expected a whole number of at most {largest}, found {text[:40]!r}")
    return int(text)


def _header(content: bytes) -> dict[str, Any]:
    """Reads the JSON header of a safetensors file.

    Raises:
        ValueError: the header is missing or truncated.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _MAX_HEADER):
        raise ValueError("its header is truncated")
    header = parse_json(content[8 : 8 + length])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header is not a mapping")
    return header


def _content_digest(content: bytes) -> str:
    """Returns the SHA-256 of a safetensors file's header and tensors, without the digest itself."""
    header = _header(content)
    header["__metadata__"] = {key: text for key, text in header["__metadata__"].items() if key != SEAL}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(memoryview(content)[8 + int.from_bytes(content[:8], "little") :])
    return digest.hexdigest()
