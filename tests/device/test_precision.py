from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torchvision
from torch import nn

from greenedge.device.precision import choose_autocast, choose_device, exact_float32, set_deterministic
from greenedge.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def cpu_with_bf16(monkeypatch: pytest.MonkeyPatch, *, present: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: present)


def on_meta(backbone: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.get_model(backbone, weights=None)


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_choose_device_auto_is_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, available: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == CPU


def test_choose_device_refuses_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^train\.device: no CUDA device is available here; use auto or cpu$"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda") == CUDA


@pytest.mark.parametrize("present", [True, False])
def test_choose_autocast_obeys_float32_and_bf16_everywhere(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    cpu_with_bf16(monkeypatch, present=present)
    for network in (nn.Linear(2, 2), on_meta("efficientnet_b0")):
        assert choose_autocast("float32", network, CPU) is None
        assert choose_autocast("bf16", network, CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("backbone", "depthwise"),
    [("resnet18", False), ("resnext50_32x4d", False), ("vgg11", False), ("efficientnet_b0", True)],
)
def test_choose_autocast_auto_on_a_cpu_needs_bf16_instructions_and_no_depthwise_convolutions(
    monkeypatch: pytest.MonkeyPatch, backbone: str, depthwise: bool
) -> None:
    network = on_meta(backbone)
    cpu_with_bf16(monkeypatch, present=True)
    assert choose_autocast("auto", network, CPU) is (None if depthwise else torch.bfloat16)
    cpu_with_bf16(monkeypatch, present=False)
    assert choose_autocast("auto", network, CPU) is None


@pytest.mark.parametrize("supported", [True, False])
def test_choose_autocast_auto_on_a_gpu_accepts_no_emulation(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    expected = torch.bfloat16 if supported else None
    assert choose_autocast("auto", on_meta("efficientnet_b0"), CUDA) is expected


STATES = {
    "as it comes": lambda: None,
    "older switch, products": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "older switch, convolutions": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "newer switch": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
}
READ: list[Callable[[], object]] = [
    lambda: torch.backends.cudnn.enabled,
    lambda: torch.backends.cudnn.benchmark,
    lambda: torch.backends.cudnn.deterministic,
    lambda: torch.backends.cudnn.allow_tf32,
    lambda: torch.backends.cuda.matmul.allow_tf32,
    lambda: torch.backends.cudnn.conv.fp32_precision,
    lambda: torch.backends.cuda.matmul.fp32_precision,
    torch.get_float32_matmul_precision,
]


def settings() -> list[object]:
    """Reads what PyTorch's older and newer switches return; mixed settings may raise errors."""
    found: list[object] = []
    for read in READ:
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return found


@pytest.fixture
def own_settings() -> Iterator[None]:
    """Restores PyTorch's default settings after each test."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    for each, precision in (
        (torch.backends.cudnn.conv, "tf32"),
        (torch.backends.cudnn.rnn, "tf32"),
        (torch.backends.cuda.matmul, "none"),
    ):
        each.fp32_precision = precision
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("state", STATES)
def test_exact_float32_forbids_tf32_keeps_cudnn_on_and_restores_all_settings(state: str, own_settings: None) -> None:
    STATES[state]()
    before = settings()
    with exact_float32(CUDA, torch.float32):
        enabled, benchmark, deterministic, convolutions, products, *named, _ = settings()
    assert enabled is True
    assert [benchmark, deterministic] == before[1:3]
    assert (convolutions, products) == (False, False)
    assert named == ["ieee", "ieee"]
    assert settings() == before
    with pytest.raises(ArithmeticError), exact_float32(CUDA, torch.float32):
        raise ArithmeticError
    assert settings() == before


@pytest.mark.parametrize(("device", "dtype"), [(CPU, torch.float32), (CUDA, torch.bfloat16)])
def test_exact_float32_changes_nothing_where_there_is_no_tf32(
    device: torch.device, dtype: torch.dtype, own_settings: None
) -> None:
    torch.set_float32_matmul_precision("high")
    before = settings()
    with exact_float32(device, dtype):
        assert settings() == before


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_set_deterministic_fixes_algorithms_and_float32(autocast: torch.dtype | None, own_settings: None) -> None:
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    set_deterministic(CPU, None)
    assert settings()[:5] == [True, True, False, True, True]
    set_deterministic(CUDA, autocast)
    exact = autocast is None
    assert settings()[:5] == [True, False, True, not exact, not exact]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_exact_float32_on_a_gpu_rounds_as_float32_does_and_uses_cudnn(own_settings: None) -> None:
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    images, weights = torch.randn(8, 256, 16, 16, device="cuda"), torch.randn(64, 256, 3, 3, device="cuda")
    left, right = torch.randn(512, 512, device="cuda"), torch.randn(512, 512, device="cuda")

    def error() -> list[float]:
        convolution = nn.functional.conv2d(images, weights).double() - nn.functional.conv2d(
            images.double(), weights.double()
        )
        product = (left @ right).double() - left.double() @ right.double()
        return [float(convolution.abs().max()), float(product.abs().max())]

    with exact_float32(CUDA, torch.float32), torch.profiler.profile(acc_events=True) as profile:
        exact = error()
    assert any("cudnn" in event.key for event in profile.key_averages())
    assert all(4 * fine < coarse for fine, coarse in zip(exact, error(), strict=True))


@pytest.mark.parametrize(
    ("requested", "words"), [("cuda:1", "cuda:1 is not available here; the last device is cuda:0"), ("cuda:0", None)]
)
def test_choose_device_refuses_a_gpu_number_that_is_missing(
    requested: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if words is None:
        assert choose_device(requested) == torch.device(requested)
        return
    with pytest.raises(ConfigError, match=words):
        choose_device(requested)
