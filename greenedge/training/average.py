"""Averages of a network's weights: exponential over all steps, or plain over the last epochs."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class ExponentialAverage(AveragedModel):
    """Averages parameters and batch-norm statistics after each step; integer buffers are copied.

    The decay rises as (1 + t) / (10 + t) up to `decay`, so that the random initial weights soon lose their influence
    (as in TensorFlow's and timm's averages). The count of updates is on the CPU, so that no update waits for a GPU.

    Args:
        network: the network whose weights are averaged; it is copied.
        decay: weight of the average so far in each update, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Moves the averages towards the current values."""
        steps = int(self.n_averaged)
        share = 1.0 if steps == 0 else 1 - min(self._decay, (1 + steps) / (10 + steps))
        _move(self.module, model, share)
        self.n_averaged += 1


class LastEpochsAverage(AveragedModel):
    """The mean of parameters and batch-norm statistics over the epochs taken so far; integer buffers are copied.

    Like timm's average of checkpoints, it needs no pass over the images.

    Args:
        network: the network whose weights are averaged; it is copied.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, use_buffers=True)

    @property
    def has_begun(self) -> bool:
        """Whether there is anything in the mean."""
        return int(self.n_averaged) > 0

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes the current values into the mean."""
        _move(self.module, model, 1 / (int(self.n_averaged) + 1))
        self.n_averaged += 1

    def begin_anew(self) -> None:
        """Lets the next values be the first of the mean."""
        self.n_averaged.zero_()


def _move(averages: nn.Module, network: nn.Module, share: float) -> None:
    """Moves averages towards the current values by a share of what is between them."""
    averaged, current = averages.state_dict(), network.state_dict()
    moved = [name for name in averaged if share < 1 and averaged[name].is_floating_point()]
    copied = [name for name in averaged if name not in set(moved)]

    if moved:
        torch._foreach_lerp_([averaged[name] for name in moved], [current[name] for name in moved], share)
    if copied:
        torch._foreach_copy_([averaged[name] for name in copied], [current[name] for name in copied])
