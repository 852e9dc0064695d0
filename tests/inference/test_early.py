from __future__ import annotations

import pytest
import torch

from greenedge.config import ExitConfig, ModelConfig
from greenedge.exits.confidence import CRITERIA
from greenedge.inference.early import answer_early
from greenedge.models.multi_exit import MultiExitNetwork, build_network


@pytest.fixture(scope="module")
def network() -> MultiExitNetwork:
    torch.manual_seed(3)
    return build_network(ModelConfig("resnet18", exits=(ExitConfig("layer1"), ExitConfig("layer3"))), 7, 32)


def thresholds_between(scores: torch.Tensor) -> list[float]:
    """The never, the always, and one that parts the images at the first exit."""
    return [0.0, 1e9, float(scores.double().median()) + 1e-9]


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_each_image_leaves_where_a_loop_over_single_images_says(network: MultiExitNetwork, name: str) -> None:
    criterion = CRITERIA[name]
    images = torch.randn(13, 3, 32, 32)
    network.eval()
    with torch.inference_mode():
        logits = torch.stack(network(images))
    scores = criterion.score(logits)
    for threshold in thresholds_between(scores[0]):
        answers = answer_early(network, images, criterion, threshold)
        for image in range(13):
            leaves = [
                (score < threshold if criterion.leaves_below else score > threshold)
                for score in scores[:-1, image].tolist()
            ]
            exit_index = leaves.index(True) if True in leaves else 2
            assert answers.exits[image] == exit_index
            torch.testing.assert_close(answers.logits[image], logits[exit_index, image], rtol=1e-4, atol=1e-5)


def test_blocks_after_the_last_image_has_left_are_not_run(network: MultiExitNetwork) -> None:
    ran = []
    hooks = [block.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, block in network.blocks]
    answer_early(network, torch.randn(2, 3, 32, 32), CRITERIA["entropy"], 1e9)
    for hook in hooks:
        hook.remove()
    assert ran[-1] == "layer1.1"


def test_the_mode_of_the_network_is_put_back(network: MultiExitNetwork) -> None:
    network.train()
    answer_early(network, torch.randn(2, 3, 32, 32), CRITERIA["entropy"], 0.0)
    assert network.training
