"""Checks a saved training state before anything of it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from greenedge.training.finite import first_infinite
from greenedge.training.history import parse_records

_KEYS = {"network", "optimizer", "optimizer_name", "averaged", "tally", "data", "epoch", "step"}
# The first versions did not write these.
_LATER_KEYS = {"history", "parts", "scaler", "mixing"}
_GROUP_KEYS_THAT_CHANGE = {"params", "lr"}


def content_digest(content: Any) -> str:
    """Returns the SHA-256 of nested mappings and lists of tensors (with types and shapes), numbers and texts."""
    digest = hashlib.sha256()
    _feed(digest, content)
    return digest.hexdigest()


def check_content(
    content: Mapping[str, Any], own: Mapping[str, Any], steps_per_epoch: int, names: Collection[str | None]
) -> None:
    """Compares a file's content with a new state of the same config.

    Args:
        content: of the file.
        own: of the new state.
        steps_per_epoch: of this training.
        names: digests that the training images may have.

    Raises:
        ValueError: a value differs or is impossible. Other errors mean that the content has another form.
    """
    if not _KEYS <= content.keys() <= _KEYS | _LATER_KEYS:
        raise ValueError("its keys are not those of a training state")
    if content["optimizer_name"] != own["optimizer_name"]:
        raise ValueError(f"its optimizer is {content['optimizer_name']}")
    if (content["averaged"] is None) != (own["averaged"] is None):
        raise ValueError("only one of the two averages its weights")
    if content["data"] not in names:
        raise ValueError("it was trained on other images, or by another teacher")
    _check_scaler(content.get("scaler"), own["scaler"])
    _check_tensors(content["network"], own["network"])
    if own["averaged"] is not None:
        _check_tensors(content["averaged"], own["averaged"])
    if (content.get("mixing") is None) != (own["mixing"] is None):
        raise ValueError("only one of the two learns to mix its images")
    if own["mixing"] is not None:
        _check_tensors(content["mixing"], own["mixing"])
    _check_progress(content, own["tally"], steps_per_epoch)


def _check_scaler(found: Any, own: Any) -> None:
    if (found is None) != (own is None):
        raise ValueError("only one of the two is trained in fp16")
    if found is None:
        return
    if not isinstance(found, Mapping) or found.keys() != own.keys():
        raise ValueError("its scale of the loss is not one")
    for name, number in found.items():
        if type(number) not in (int, float) or not 0 <= number < float("inf") or (number == 0 and name == "scale"):
            raise ValueError(f"its scaler's {name} is {number!r}")


def _check_tensors(found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    if found.keys() != own.keys():
        raise ValueError(f"{min(found.keys() ^ own.keys())} is in only one of the two")
    for name, tensor in own.items():
        if not torch.is_tensor(found[name]) or (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} is not a {tuple(tensor.shape)} tensor of {tensor.dtype}")
    _refuse_infinite(found)


def check_optimizer(found: Mapping[str, Any], own: Mapping[str, Any], shapes: Sequence[torch.Size]) -> None:
    """Compares an optimizer's state with that of a new one; torch checks only the number of parameters.

    Args:
        found: the state dict of a file.
        own: the state dict of the new optimizer.
        shapes: of its parameters, in order.

    Raises:
        ValueError: as for `check_content`.
    """
    groups, own_groups = found["param_groups"], own["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in own_groups]:
        raise ValueError("its optimizer trains other parameters")
    for group, own_group in zip(groups, own_groups, strict=True):
        for key in (group.keys() & own_group.keys()) - _GROUP_KEYS_THAT_CHANGE:
            if group[key] != own_group[key]:
                raise ValueError(f"its optimizer's {key} is {group[key]!r}, not {own_group[key]!r}")

    for index, values in found["state"].items():
        for name, value in values.items():
            if torch.is_tensor(value) and value.shape not in ((), shapes[index]):
                raise ValueError(f"the optimizer's {name} of parameter {index} has the shape {tuple(value.shape)}")
            if not torch.is_tensor(value) and value is not None and not isinstance(value, int | float):
                raise ValueError(f"the optimizer's {name} of parameter {index} is not a number")
        _refuse_infinite(values)


def _check_progress(content: Mapping[str, Any], own_sums: Tensor, steps_per_epoch: int) -> None:
    epoch, step, running_sums = content["epoch"], content["step"], content["tally"]
    if type(epoch) is not int or epoch < 0:
        raise ValueError(f"its epoch is {epoch!r}")
    if type(content.get("parts", 1)) is not int or content.get("parts", 1) < 1:
        raise ValueError(f"its number of parts is {content['parts']!r}")
    if type(step) is not int or not 0 <= step < steps_per_epoch:
        raise ValueError(f"its step is {step!r}, of {steps_per_epoch} per epoch")
    if (
        not torch.is_tensor(running_sums)
        or running_sums.shape != own_sums.shape
        or not running_sums.is_floating_point()
    ):
        raise ValueError("its running sums are not those of these exits")

    loss, count, *right = running_sums.tolist()
    whole = all(float(number).is_integer() and 0 <= number <= count for number in (count, *right))
    if not whole or (count > 0) != (step > 0) or not 0 <= loss < float("inf"):
        raise ValueError("its running sums are impossible")
    if "history" in content and len(parse_records(content["history"], num_exits=len(right))) != epoch:
        raise ValueError("its history does not match its epochs")


def _refuse_infinite(tensors: Mapping[str, Any]) -> None:
    name = first_infinite({name: tensor for name, tensor in tensors.items() if torch.is_tensor(tensor)})
    if name is not None:
        raise ValueError(f"{name} is not finite")


def _feed(digest: Any, value: Any) -> None:
    """Feeds each value with its type and length before it, so that different contents give different bytes."""
    if torch.is_tensor(value):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for name, child in value.items():
            _feed(digest, name)
            _feed(digest, child)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)} ".encode())
        for child in value:
            _feed(digest, child)
    else:
        text = repr(value).encode()
        digest.update(f"{type(value).__name__} {len(text)} ".encode() + text)
