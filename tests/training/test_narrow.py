from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from greenedge.api import create_model
from greenedge.data.run_splits import open_splits
from greenedge.device.precision import choose_autocast
from greenedge.models.build import build_model
from greenedge.training.completion import complete_config
from greenedge.training.configs import parse_config
from greenedge.training.narrow import one_pixel_convolution
from greenedge.training.run import build_settings


@pytest.mark.parametrize(
    ("size", "expected"), [(16, "backbone.layer4.0.conv1"), (8, "backbone.layer3.0.conv1"), (32, None), (64, None)]
)
def test_one_pixel_convolution_is_found_by_the_image_size(size: int, expected: str | None) -> None:
    network = create_model("resnet18", ["layer2"], num_classes=3, image_size=size).train()
    hooks = sum(len(module._forward_pre_hooks) for module in network.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert one_pixel_convolution(network) == expected
    assert network.training
    assert sum(len(module._forward_pre_hooks) for module in network.modules()) == hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_build_settings_trains_in_float32_where_bf16_gradients_are_wrong(
    prepared: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = "data: {{path: {}, image_size: {}, calibration_per_class: 2}}\nmodel: {{backbone: resnet18}}\n"
    text += f"train: {{{{epochs: 1, precision: {precision}}}}}\n"
    for size in (16, 32):
        config = complete_config(parse_config(text.format(prepared, size), "a.yaml"))
        network = build_model(config, 3)
        settings = build_settings(config, network, open_splits(config.data).train, torch.device("cpu"))
        noted = any("sees a single pixel" in message for message in caplog.messages)
        in_bf16 = choose_autocast(precision, network, torch.device("cpu")) is not None  # not on every CPU, for auto
        assert noted == (size == 16 and in_bf16)
        if size == 16:
            assert settings.autocast is None
        elif precision == "bf16":
            assert settings.autocast == torch.bfloat16
        caplog.clear()


def test_gradients_of_other_convolutions_agree_in_bf16() -> None:
    """What is taken for safe is: a kernel on one pixel without a stride, and a stride on four pixels."""
    torch.manual_seed(0)
    for side, stride in ((1, 1), (2, 2), (2, 1), (3, 2)):
        conv = nn.Conv2d(64, 128, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)
        images = torch.randn(6, 64, side, side).to(memory_format=torch.channels_last)
        gradients = []
        for enabled in (False, True, True):
            conv.weight.grad = None
            junk = [torch.full((size,), 3e38) for size in (1 << 12, 1 << 16, 73_728, 147_456)]
            del junk
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                logits = conv(images)
            logits.float().pow(2).mean().backward()
            assert conv.weight.grad is not None
            gradients.append(conv.weight.grad.clone())
        for each in gradients[1:]:
            assert (each - gradients[0]).abs().max() < 0.05 * gradients[0].abs().max()
