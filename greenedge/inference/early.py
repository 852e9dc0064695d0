"""Early exit for real: only the images that stay are passed on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from greenedge.exits.confidence import Criterion
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork


@dataclass(frozen=True)
class Answers:
    """What a network said of N images, each at the exit where it left.

    Attributes:
        logits: float32 (N, C).
        exits: int64 (N,), counted from 0.
    """

    logits: Tensor
    exits: Tensor


def answer_early(network: MultiExitNetwork, images: Tensor, criterion: Criterion, threshold: float) -> Answers:
    """Runs a batch in evaluation mode; each image leaves at the first exit that is sure enough, or at the last.

    Args:
        network: with E exits.
        images: float32 (N, 3, H, W), normalised.
        criterion: what the threshold is compared with.
        threshold: in the criterion's unit, shared by all early exits.
    """
    places = torch.arange(len(images), device=images.device)
    exits = torch.zeros_like(places)
    answers = []
    with evaluation_mode(network), torch.inference_mode():
        features = images
        for index in range(network.num_exits):
            features = network.advance(index, features)
            logits = network.classify(index, features).float()
            leaves = torch.ones(len(places), dtype=torch.bool, device=images.device)
            if index < network.num_exits - 1:
                leaves = criterion.surer(logits, threshold)
            answers.append((places[leaves], logits[leaves]))
            exits[places[leaves]] = index
            places, features = places[~leaves], features[~leaves]
            if len(places) == 0:
                break
    order = torch.cat([rows for rows, _ in answers])
    return Answers(torch.cat([logits for _, logits in answers])[order.argsort()].cpu(), exits.cpu())
