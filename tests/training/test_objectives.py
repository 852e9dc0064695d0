from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from greenedge.models.gradients import HeadGradient
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.losses import cross_entropy
from greenedge.training.objectives import (
    Objective,
    SelfDistillation,
    StepOutputs,
    TeacherDistillation,
    WeightedSum,
    distillation_loss,
)
from greenedge.training.step import _mean_loss
from tests.training.helpers import settings

WEIGHTS = (0.3, 0.5, 1.0)


def outputs(teacher: bool = False) -> StepOutputs:
    """Three exits' logits for four images of five classes, in float64."""
    torch.manual_seed(0)
    logits = [torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    losses = [nn.functional.cross_entropy(each, torch.tensor([0, 1, 2, 3])) for each in logits]
    return StepOutputs(logits, losses, WEIGHTS, torch.randn(4, 5, dtype=torch.float64) if teacher else None)


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> float:
    """T^2 times the mean Kullback-Leibler divergence, by its definition, a term at a time."""
    p, q = ((each / temperature).softmax(1).tolist() for each in (teacher, logits))
    terms = [
        a * torch.tensor(a / b).log().item() for xs, ys in zip(p, q, strict=True) for a, b in zip(xs, ys, strict=True)
    ]
    return temperature**2 * sum(terms) / len(p)


def test_distillation_is_the_divergence_from_the_teacher() -> None:
    ours, theirs = torch.randn(3, 4), torch.randn(3, 4)
    assert distillation_loss(ours, theirs, 2.5).item() == pytest.approx(divergence(ours, theirs, 2.5), rel=1e-4)
    assert distillation_loss(ours, ours, 2.5).item() == pytest.approx(0, abs=1e-6)


def test_the_weighted_sum_is_one() -> None:
    given = outputs()
    expected = sum(w * loss.item() for w, loss in zip(WEIGHTS, given.losses, strict=True))
    assert WeightedSum()(given).item() == pytest.approx(expected)


def test_self_distillation_leaves_the_last_exit_to_the_labels() -> None:
    given = outputs()
    early = [
        0.4 * loss.item() + 0.6 * divergence(logits, given.logits[-1], 3.0)
        for logits, loss in zip(given.logits[:2], given.losses[:2], strict=True)
    ]
    expected = 0.3 * early[0] + 0.5 * early[1] + given.losses[-1].item()
    found = SelfDistillation(share=0.6, temperature=3.0)(given)
    assert found.item() == pytest.approx(expected, rel=1e-5)

    (from_all,) = torch.autograd.grad(found, given.logits[-1], retain_graph=True)
    (from_labels,) = torch.autograd.grad(given.losses[-1], given.logits[-1])
    torch.testing.assert_close(from_all, from_labels)  # no exit pulls the final one towards itself


def test_a_teacher_teaches_every_exit() -> None:
    given = outputs(teacher=True)
    assert given.teacher_logits is not None
    expected = sum(
        weight * (0.75 * loss.item() + 0.25 * divergence(logits, given.teacher_logits, 2.0))
        for weight, loss, logits in zip(WEIGHTS, given.losses, given.logits, strict=True)
    )
    assert TeacherDistillation(share=0.25)(given).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", [SelfDistillation(share=0.0), TeacherDistillation(share=0.0)])
def test_without_a_share_it_is_the_weighted_sum(objective: Objective) -> None:
    given = outputs(teacher=True)
    torch.testing.assert_close(objective(given), WeightedSum()(given))


def three_exits() -> MultiExitNetwork:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3 if index == 0 else 4, 4, 3, padding=1).double() for index in range(3)]
    blocks = [(str(index), layer) for index, layer in enumerate(layers)]
    heads = [nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 5)).double() for _ in range(3)]
    shapes = [(3, 8, 8), *[(4, 8, 8)] * 3]
    return MultiExitNetwork(nn.Sequential(*layers), blocks, shapes, list(enumerate(heads[:2])), heads[2])


def gradients(network: MultiExitNetwork, exits: tuple[int, ...], head_gradient: HeadGradient) -> dict[str, Tensor]:
    """Name -> gradient of the sum of the losses of some exits."""
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network.zero_grad()
    torch.stack([each.square().mean() for each in network(images, exits, head_gradient)]).sum().backward()
    return {name: each.grad.clone() for name, each in network.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("exits", [(0, 1, 2), (0, 2), (1, 2), (2,)])
def test_each_block_sees_as_much_of_each_exit_as_is_said(exits: tuple[int, ...]) -> None:
    """Of the gradients of the exits behind it, each found alone: their sum, their mean, or the last one."""
    network = three_exits()
    alone = {index: gradients(network, (index,), "full") for index in exits}
    full, equilibrium, detached = (gradients(network, exits, each) for each in ("full", "equilibrium", "detached"))
    for block in range(3):
        name = f"backbone.{block}.weight"
        behind = [alone[index][name] for index in exits if index >= block]
        torch.testing.assert_close(full[name], torch.stack(behind).sum(0))
        torch.testing.assert_close(equilibrium[name], torch.stack(behind).mean(0))
        torch.testing.assert_close(detached[name], alone[2][name])
    for index in set(exits) - {2}:
        for found in (equilibrium, detached):
            torch.testing.assert_close(found[f"heads.{index}.1.weight"], alone[index][f"heads.{index}.1.weight"])


def test_class_weights_multiply_the_images_losses() -> None:
    logits, labels, weights = torch.randn(3, 4), torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 0.5, 2.0])
    each = cross_entropy(logits, labels)
    expected = (0.5 * each[0] + 1.0 * each[1] + 0.5 * each[2]) / 3
    torch.testing.assert_close(_mean_loss(settings(class_weights=weights), logits, labels), expected)
    assert torch.equal(_mean_loss(settings(), logits, labels), each.mean())

    mixed = torch.tensor([[0.0, 0.25, 0.75, 0.0]])  # a quarter of class 1, the rest of class 2
    loss = cross_entropy(logits[:1], mixed)
    found = _mean_loss(settings(class_weights=weights), logits[:1], mixed)
    torch.testing.assert_close(found, (0.25 * 5 + 0.75 * 0.5) * loss[0])
