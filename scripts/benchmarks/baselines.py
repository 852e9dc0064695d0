"""The same ResNet-50 as run by other code, to compare the engine with."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.paper import EarlyExitCustomNet64, EarlyExitCustomNet128

CLASSES = 200


def plain() -> Callable[[Tensor], object]:
    """Runs torchvision's own network in float32."""
    network = torchvision.models.resnet50(num_classes=CLASSES).eval()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(images)

    return run


def careful(network: MultiExitNetwork, thresholds: tuple[float, ...]) -> Callable[[Tensor], object]:
    """Runs the loop of a careful user: float32, with the remaining images of each exit as one dense batch."""
    network.eval()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            indices = torch.arange(len(images))
            predictions = torch.empty(len(images), dtype=torch.int64)
            features = images
            for index, segment in enumerate(network.segments):
                features, logits = segment(features)
                if index == network.num_exits - 1:
                    predictions[indices] = logits.argmax(1)
                    break
                exited = entropy(logits) < thresholds[index]
                predictions[indices[exited]] = logits[exited].argmax(1)
                indices, features = indices[~exited], features[~exited]
                if len(indices) == 0:
                    break
            return predictions

    return run


def published(images: Tensor, image_size: int) -> Callable[[Tensor], object]:
    """Runs the paper's class in evaluation mode, at the threshold where half of `images` exit at its first exit."""
    kind = EarlyExitCustomNet64 if image_size == 64 else EarlyExitCustomNet128
    network = kind("cpu", resnext=False).eval()
    with torch.inference_mode():
        network.T = float(entropy(network.exit1(network.f1(images))).median())

    def run(batch: Tensor) -> object:
        with torch.inference_mode():
            return network(batch)

    return run


def earlyon(images: Tensor) -> Callable[[Tensor], object] | None:
    """Runs the package's ResNet-50 (exits after layer1, layer2, layer3), at which half of `images` exit at the first.

    As the package defines it, single images exit one by one, and a batch exits as a whole or not at all. None where
    the package is not installed.
    """
    try:
        from earlyon.models.resnet_ee import resnet50_ee
    except ImportError:
        print("earlyon is not installed (pip install earlyon); it is left out", file=sys.stderr)
        return None
    network = resnet50_ee(CLASSES, pretrained=False).eval()
    net = network.backbone
    with torch.inference_mode():
        features = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        confidence = torch.softmax(network.exit_heads["e0"](features), dim=1).amax(dim=1)
    network.config.confidence_thresholds = [float(confidence.median()), 1.0, 1.0]

    def run(batch: Tensor) -> object:
        return network(batch) if len(batch) == 1 else network.forward_inference_batched(batch)

    return run
