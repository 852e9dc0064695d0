"""What an exit goes by: its own tempered logits, or those joined with what the exits before it went by.

Joined logits are a running geometric ensemble of the exits (Zero Time Waste, Wolczyk et al. 2021, section 3.2): the
probabilities of an image are multiplied, each to the power of its weight, so that what early exits have found out is
not thrown away when an image runs on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from greenedge.exits.outputs import ExitOutputs

_Logits = TypeVar("_Logits", np.ndarray, Tensor)
_MOST_STEPS = 30  # towards a weight; halving alone would have it to nine digits
_PRECISION, _FLOAT32_PRECISION = 1e-7, 1e-4  # of a weight; sums in float32 tell no more
_LARGEST_WEIGHT = 0.99  # an exit that says nothing of its own need not be run


def join_logits(logits: _Logits, before: _Logits | None, temperature: float, weight: float) -> _Logits:
    """What an exit goes by, float32 (..., C).

    Args:
        logits: of this exit, float32 (..., C).
        before: what the exit before went by, or None for the first one.
        temperature: of this exit; it divides the logits.
        weight: of `before`, in [0, 1); the exit's own tempered logits have the rest.
    """
    tempered = logits / temperature
    return tempered if before is None or weight == 0 else weight * before + (1 - weight) * tempered


def join_outputs(
    outputs: ExitOutputs, temperatures: Sequence[float] | None, ensemble: Sequence[float] | None
) -> ExitOutputs:
    """The outputs with what each exit goes by in place of its logits.

    Args:
        outputs: of E exits.
        temperatures: of each exit; None: all 1.
        ensemble: of each exit but the first, the weight of what the exits before it went by; None: all 0.
    """
    if temperatures is None and ensemble is None:
        return outputs
    found: list[np.ndarray] = []
    for index, logits in enumerate(outputs.logits):
        temperature = 1.0 if temperatures is None else temperatures[index]
        weight = 0.0 if ensemble is None or index == 0 else ensemble[index - 1]
        found.append(join_logits(logits, found[-1] if found else None, temperature, weight))
    return replace(outputs, logits=np.stack(found))


def fit_ensemble(outputs: ExitOutputs, temperatures: Sequence[float] | None = None) -> tuple[float, ...]:
    """The weights of a running ensemble, exit by exit, that make the true labels most likely.

    With d, what came before minus the exit's own tempered logits b, the mean negative log-likelihood of
    softmax(b + w d) is convex in w and has the slope mean(E_p[d] - d_y), so that there is one place in [0, 0.99] where
    it is 0, or an end that lies nearest.

    Args:
        outputs: of images that the network was not trained on.
        temperatures: of each exit; None: all 1.

    Returns:
        of each exit but the first, the weight of what the exits before it went by.
    """
    labels = torch.from_numpy(outputs.labels)
    weights: list[float] = []
    before: Tensor | None = None
    for index, each in enumerate(outputs.logits):
        own = torch.from_numpy(each).double() / (1.0 if temperatures is None else temperatures[index])
        if before is not None:
            weights.append(fit_weight(before, own, labels))
            own = weights[-1] * before + (1 - weights[-1]) * own
        before = own
    return tuple(weights)


def fit_weight(before: Tensor, own: Tensor, labels: Tensor) -> float:
    """The weight in [0, 0.99] of what came before that makes the true labels most likely.

    Newton's method, kept within an interval that has the slope's only zero; its curvature is mean(Var_p[d]).

    Args:
        before: what the exit before went by, float (N, C).
        own: this exit's tempered logits, (N, C).
        labels: int64 (N,).
    """
    change = before - own
    change_of_true = float(change.gather(1, labels[:, None]).mean())

    def slope_and_curvature(weight: float) -> tuple[float, float]:
        weighted = torch.softmax(own + weight * change, dim=1) * change
        mean, square = weighted.sum(dim=1), (weighted * change).sum(dim=1)
        return float(mean.mean()) - change_of_true, float((square - mean.square()).mean())

    low, high = 0.0, _LARGEST_WEIGHT
    if slope_and_curvature(low)[0] >= 0:
        return low
    if slope_and_curvature(high)[0] <= 0:
        return high
    precision = _PRECISION if own.dtype == torch.float64 else _FLOAT32_PRECISION
    weight = (low + high) / 2
    for _ in range(_MOST_STEPS):
        slope, curvature = slope_and_curvature(weight)
        low, high = (weight, high) if slope < 0 else (low, weight)
        aim = weight - slope / curvature if curvature > 0 else low
        former, weight = weight, aim if low < aim < high else (low + high) / 2
        if abs(weight - former) < precision:
            break
    return weight
