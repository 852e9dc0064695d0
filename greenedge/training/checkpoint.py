"""Weights with what is needed to use them: recipe and classes, in the metadata of one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from greenedge.data.layouts import ClassInfo
from greenedge.errors import CheckpointError
from greenedge.files import write_atomically

FORMAT = "greenedge/1"


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights and their meaning.

    Attributes:
        tensors: the state dict.
        config: the resolved recipe, as YAML.
        classes: in the order of the logits.
        epoch: epochs of training behind them.
        stored_size: pixels a side of the prepared images they were trained on, before any resizing on the batch; None
            where that is unknown.
    """

    tensors: dict[str, Tensor]
    config: str
    classes: tuple[ClassInfo, ...]
    epoch: int
    stored_size: int | None = None


def save_checkpoint(
    path: Path,
    network: nn.Module,
    config: str,
    classes: Sequence[ClassInfo],
    epoch: int,
    stored_size: int | None = None,
) -> None:
    """Writes weights and metadata, atomically.

    Args:
        path: a .safetensors file.
        network: whose state dict is written.
        config: the resolved recipe, as YAML.
        classes: in the order of the logits.
        epoch: epochs of training behind the weights.
        stored_size: pixels a side of the prepared images, where known.

    Raises:
        CheckpointError: the disk is full or refuses; the file that was there before is unharmed.
    """
    metadata = {
        "format": FORMAT,
        "config": config,
        "classes": json.dumps([asdict(info) for info in classes]),
        "epoch": str(epoch),
    } | ({} if stored_size is None else {"stored_size": str(stored_size)})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        write_atomically(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata))
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}); free some space and resume, the checkpoint before is intact"
        ) from None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint of `greenedge train`; no code in the file is ever run.

    Raises:
        CheckpointError: no such file, truncated, or not such a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `greenedge train` writes best.safetensors")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read; it is truncated or not a .safetensors checkpoint ({error})"
        ) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: was not written by `greenedge train`, so its network is unknown; to start from such weights, "
            "name the file as model.weights in a recipe"
        )
    try:
        classes = tuple(ClassInfo(entry["id"], entry["name"]) for entry in json.loads(metadata["classes"]))
        stored_size = int(metadata["stored_size"]) if "stored_size" in metadata else None
        return Checkpoint(tensors, metadata["config"], classes, int(metadata["epoch"]), stored_size)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata are damaged ({error!r})") from None


def load_into(network: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Puts a checkpoint's weights into the network built from its recipe.

    Raises:
        CheckpointError: they belong to another network.
    """
    own = network.state_dict()
    wrong = [
        name for name in own if name not in checkpoint.tensors or checkpoint.tensors[name].shape != own[name].shape
    ]
    wrong += [name for name in checkpoint.tensors if name not in own]
    if wrong:
        raise CheckpointError(f"{path}: belongs to another network: {len(wrong)} tensors do not fit, {wrong[0]} first")
    network.load_state_dict(checkpoint.tensors)
