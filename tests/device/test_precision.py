from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from greenedge.device.precision import choose_autocast, choose_device
from greenedge.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def cpu_with_bf16(monkeypatch: pytest.MonkeyPatch, *, present: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: present)


def on_meta(backbone: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.get_model(backbone, weights=None)


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == CPU


def test_asking_for_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^train\.device: no CUDA device is available here; use auto or cpu$"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda") == CUDA


@pytest.mark.parametrize("present", [True, False])
def test_float32_and_bf16_are_what_they_say_everywhere(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    cpu_with_bf16(monkeypatch, present=present)
    for network in (nn.Linear(2, 2), on_meta("efficientnet_b0")):
        assert choose_autocast("float32", network, CPU) is None
        assert choose_autocast("bf16", network, CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("backbone", "depthwise"),
    [("resnet18", False), ("resnext50_32x4d", False), ("vgg11", False), ("efficientnet_b0", True)],
)
def test_auto_on_a_cpu_is_bf16_where_it_has_the_instructions_but_not_for_depthwise_convolutions(
    monkeypatch: pytest.MonkeyPatch, backbone: str, depthwise: bool
) -> None:
    network = on_meta(backbone)
    cpu_with_bf16(monkeypatch, present=True)
    assert choose_autocast("auto", network, CPU) is (None if depthwise else torch.bfloat16)
    cpu_with_bf16(monkeypatch, present=False)
    assert choose_autocast("auto", network, CPU) is None


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_gpu_asks_the_gpu_and_takes_no_emulation(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    expected = torch.bfloat16 if supported else None
    assert choose_autocast("auto", on_meta("efficientnet_b0"), CUDA) is expected
