"""Which of a file's tensors is which of a network's, when packaging has changed their names.

Data parallelism puts `module.` before each name, compilation `_orig_mod.`, training frameworks `model.` and others, any
of them in a row; profilers add counters. None of that is another network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from greenedge.errors import CheckpointError

COUNTER = "num_batches_tracked"  # of batch norms; files before torch 0.4.1 have none
PROFILERS = ("total_ops", "total_params", "n_averaged")  # thop's buffers, and the counter of averaged weights
_COMPILED = "_orig_mod."


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """A state dict without what was put before its names.

    Attributes:
        tensors: those below the prefix, without it.
        prefix: what stood before the names.
        others: names in the file that are not below the prefix.
        found: how many of the network's names are among the tensors.
    """

    tensors: dict[str, Tensor]
    prefix: str
    others: tuple[str, ...]
    found: int


def unwrap(state: Mapping[str, Tensor], own: Collection[str], optional: Collection[str] = ()) -> Unwrapped:
    """Finds the prefix below which a file has the most of a network's names.

    Args:
        state: a file's tensors.
        own: the network's names.
        optional: those that may be missing, as a classifier's.

    Raises:
        CheckpointError: the file holds the network several times, with different numbers.
    """
    names = _without_compiler(state)
    known = set(own)
    below: dict[str, set[str]] = {}
    for name in names:
        for prefix, rest in _splits(name):
            if rest in known:
                below.setdefault(prefix, set()).add(rest)
    if not below:
        return Unwrapped(dict(names), "", (), 0)
    prefix = min(below, key=lambda each: (-len(below[each]), len(each)))
    needed = {name for name in known - set(optional) if not name.endswith(COUNTER)}
    whole = sorted(each for each, found in below.items() if needed and found >= needed)
    for other in whole:
        if any(not torch.equal(names[prefix + name], names[other + name]) for name in needed):
            shown = " and ".join(f"below {each!r}" if each else "without a prefix" for each in sorted({prefix, other}))
            raise CheckpointError(f"holds the network twice, {shown}; save one of the two alone")
    tensors = {name.removeprefix(prefix): tensor for name, tensor in names.items() if name.startswith(prefix)}
    others = tuple(name for name in names if not name.startswith(prefix))
    return Unwrapped(tensors, prefix, others, len(below[prefix]))


def taken_by_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], classifier: str) -> dict[str, Tensor] | None:
    """A file's tensors under the network's names, where all its names are strange and order and shapes fit.

    Counters of batch norms may be missing; those of profilers are passed over.

    Args:
        state: a file's tensors, in the order in which the network has them.
        own: the network's.
        classifier: name of the module whose shapes may differ.
    """
    if any(name in own for name in state):
        return None
    ours, theirs = dict(own), [tensor for name, tensor in state.items() if not name.endswith(PROFILERS)]
    if len(ours) != len(theirs):
        ours = {name: tensor for name, tensor in own.items() if not name.endswith(COUNTER)}
        theirs = [tensor for tensor in theirs if tensor.ndim > 0 or tensor.is_floating_point()]
    if len(ours) != len(theirs):
        return None
    for (name, mine), tensor in zip(ours.items(), theirs, strict=True):
        if mine.shape != tensor.shape and not name.startswith(f"{classifier}."):
            return None
    return dict(zip(ours, theirs, strict=True))


def _without_compiler(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without `_orig_mod.`, wherever in a name: parts of a network may be compiled by themselves."""
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}
    return plain if len(plain) == len(state) else dict(state)


def _splits(name: str) -> list[tuple[str, str]]:
    """Each way to part a dotted name into a prefix, which ends with a dot or is empty, and the rest."""
    parts = name.split(".")[:40]
    cuts = [sum(len(part) + 1 for part in parts[:count]) for count in range(len(parts))]
    return [(name[:cut], name[cut:]) for cut in cuts]
