"""Networks and policies that send images each way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy
from greenedge.models.multi_exit import MultiExitNetwork, build_network

CRITERION_NAMES = [*sorted(CRITERIA), "gain"]


def random_network(
    backbone: str, *after: str, size: int = 32, classes: int = 3, head: str = "light", spread: bool = True
) -> MultiExitNetwork:
    """Random weights, with statistics that make folding a batch norm matter.

    With `spread`, images differ in what they are taken for, at the price of larger rounding errors.
    """
    torch.manual_seed(3)
    exits = tuple(ExitConfig(name, Component(head)) for name in after)
    network = build_network(ModelConfig(backbone, exits=exits), classes, size)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.3, 1.0)
            norm.bias.normal_(0, 0.1)
            norm.momentum = None  # the statistics of what is seen below
        network.train()(torch.randn(16, 3, size, size))
        for norm in norms:  # a channel that hardly varies would magnify rounding errors
            norm.running_var.clamp_(min=0.25)  # type: ignore[union-attr]
    network.eval()
    if spread:
        _spread(network)
    return network


def _spread(network: MultiExitNetwork) -> None:
    """Centres every exit's logits, so that images differ in what they are taken for."""
    noise = torch.randn(32, 3, network.image_size, network.image_size)
    linears = [[m for m in head.modules() if isinstance(m, nn.Linear)][-1] for head in network.heads]
    linears.append([m for m in network.backbone.modules() if isinstance(m, nn.Linear)][-1])
    with torch.no_grad():
        for linear, logits in zip(linears, network(noise), strict=True):
            spread = logits.std(dim=0)
            linear.bias.sub_(logits.mean(dim=0)).div_(spread)
            linear.weight.div_(spread[:, None])


def all_logits(network: MultiExitNetwork, images: Tensor) -> Tensor:
    """(E, N, C): what the network says at every exit, unrouted."""
    with torch.inference_mode():
        return torch.stack(network(images))


def joined_by_hand(
    logits: Tensor, temperatures: tuple[float, ...] | None, ensemble: tuple[float, ...] | None
) -> Tensor:
    """float64 (E, N, C): what each exit goes by, one exit after the other, as the documentation says it."""
    found: list[Tensor] = []
    for index, each in enumerate(logits.double()):
        own = each if temperatures is None else each / temperatures[index]
        weight = 0.0 if ensemble is None or index == 0 else ensemble[index - 1]
        found.append(weight * found[-1] + (1 - weight) * own if found else own)
    return torch.stack(found)


def policy_of(
    name: str,
    thresholds: tuple[float, ...],
    temperatures: tuple[float, ...] | None = None,
    ensemble: tuple[float, ...] | None = None,
) -> ExitPolicy:
    """A policy of any criterion; the learned one has coefficients that part images, none of them 0."""
    gain = None
    if name == "gain":
        random = np.random.default_rng(5)
        gain = tuple(
            (-0.1, *random.uniform(0.01, 0.05, 13 if index else 8).tolist()) for index in range(len(thresholds))
        )
    return ExitPolicy(name, thresholds, temperatures, None, ensemble, gain)


def parting_policy(
    name: str,
    logits: Tensor,
    temperatures: tuple[float, ...] | None = None,
    ensemble: tuple[float, ...] | None = None,
) -> ExitPolicy:
    """A threshold in the widest gap near the middle of each early exit's scores, where rounding sways nobody."""
    if name == "patience":
        return ExitPolicy(name, (1.0,) * (len(logits) - 1), temperatures, None, ensemble)
    joined = joined_by_hand(logits, temperatures, ensemble)
    state, scores = None, []
    criterion = policy_of(name, (0.0,) * (len(logits) - 1)).get_criterion()
    for each in joined[:-1]:
        score, state = criterion.score_exit(each, state)
        scores.append(score)
    return policy_of(name, tuple(_middle_gap(each) for each in scores), temperatures, ensemble)


def _middle_gap(scores: Tensor) -> float:
    values = scores.double().sort().values
    third = len(values) // 3
    middle = values[third : len(values) - third]
    widest = int(middle.diff().argmax())
    return float((middle[widest] + middle[widest + 1]) / 2)


def route(logits: Tensor, policy: ExitPolicy) -> list[int]:
    """The exit of each image, one image at a time, by the rule as README states it."""
    criterion = policy.get_criterion()
    joined = joined_by_hand(logits, policy.temperatures, policy.ensemble)
    exits = []
    for image in range(logits.shape[1]):
        state, taken = None, len(logits) - 1
        for index, threshold in enumerate(policy.thresholds):
            score, state = criterion.score_exit(joined[index, image : image + 1], state)
            if (score.item() < threshold) if criterion.exit_if_below else (score.item() > threshold):
                taken = index
                break
        exits.append(taken)
    return exits
