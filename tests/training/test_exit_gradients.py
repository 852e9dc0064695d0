from __future__ import annotations

import torch
from torch.nn import functional as F

from greenedge.training.exit_gradients import exit_gradients, mean_gradients
from tests.inference.helpers import random_network


def test_exit_gradients_are_those_of_a_backward_pass_of_each_exit() -> None:
    network = random_network("resnet18", "layer1", "layer3")
    images, targets = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    network.freeze(1)  # whether a parameter is trained does not matter
    trained = [parameter.requires_grad for parameter in network.parameters()]
    network.train()
    found = exit_gradients(network, images, targets)
    assert [parameter.requires_grad for parameter in network.parameters()] == trained
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())

    network.requires_grad_().eval()
    vectors = []
    for exit_index in range(3):
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network(images)[exit_index], targets).backward()
        grads = [[parameter.grad for parameter in block.parameters()] for _, block in network.blocks]
        vectors.append([None if None in own else torch.cat([each.flatten().double() for each in own]) for own in grads])
    names = [name for name, _ in network.blocks]
    for exit_index, own in enumerate(vectors):
        reached = [vector is not None for vector in own]
        assert found.norms[exit_index].isnan().logical_not().tolist() == reached
        for block, vector in enumerate(own):
            if vector is None:
                continue
            torch.testing.assert_close(found.norms[exit_index, block], vector.norm(), rtol=1e-4, atol=0)
            cosine = F.cosine_similarity(vector, vectors[-1][block], dim=0)
            torch.testing.assert_close(found.cosines[exit_index, block], cosine, rtol=0, atol=1e-4)
    assert found.norms[0].isnan().tolist() == [name.split(".")[0] not in ("stem", "layer1") for name in names]


def test_mean_gradients_keeps_what_an_exit_does_not_reach() -> None:
    network = random_network("resnet18", "layer1")
    batches = [exit_gradients(network, torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    found = mean_gradients(batches)
    torch.testing.assert_close(found.norms[1], (batches[0].norms[1] + batches[1].norms[1]) / 2)
    assert found.norms[0].isnan().equal(batches[0].norms[0].isnan())
