"""Chooses the device and the number format, and defines what `auto` means for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from greenedge.device.processes import ALONE, Processes
from greenedge.errors import ConfigError

Precision = Literal["auto", "float32", "bf16"]
RunPrecision = Literal["float32", "bf16", "int8"]  # that a network has run in; int8: as an export alone


def choose_device(requested: str, processes: Processes = ALONE) -> torch.device:
    """Returns the device for `cpu`, `cuda`, `cuda:N`, `mps` or `auto`; each of several processes has its own GPU.

    Raises:
        ConfigError: the requested device is not available, or not for every process.
    """
    if processes.count > 1:
        return _own_device(requested, processes)
    kind, _, number = requested.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available here; use auto or cpu", key="train.device")
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ConfigError(f"{requested} is not available here; the last device is cuda:{last}", key="train.device")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("no MPS device is available here; use auto or cpu", key="train.device")
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(requested)


def _own_device(requested: str, processes: Processes) -> torch.device:
    """The device of one of several processes: the CPU, which they share, or the GPU with its number."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "cpu" or (requested == "auto" and gpus == 0):
        return torch.device("cpu")
    if requested not in ("auto", "cuda"):
        raise ConfigError(
            f"{requested} is one device, and {processes.count} processes train; use cuda or cpu", key="train.device"
        )
    if processes.local_rank >= gpus:
        raise ConfigError(
            f"there are {gpus} CUDA devices here, and each process needs its own; start no more processes, or use cpu",
            key="train.device",
        )
    torch.cuda.set_device(processes.local_rank)
    return torch.device("cuda", processes.local_rank)


def set_deterministic(device: torch.device, autocast: torch.dtype | None) -> None:
    """Turns off what would make two runs of one seed differ on a GPU; a CPU needs nothing.

    Without autocast, TF32 is switched off for the rest of the process.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if autocast is None:
        _forbid_tf32()
    else:
        torch.backends.cudnn.allow_tf32 = True


@contextmanager
def exact_float32(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Switches TF32 off within the block, in convolutions and matrix products of float32 on a GPU.

    No other setting of cuDNN changes (`torch.backends.cudnn.flags` would change more). Afterwards every setting is
    restored, whether it was made with PyTorch's older switches (`allow_tf32`, `set_float32_matmul_precision`) or with
    its newer ones (`fp32_precision`). On other devices and for other types nothing happens.
    """
    if device.type != "cuda" or dtype != torch.float32:
        yield
        return

    named = [settings.fp32_precision for settings in _tf32_settings()]
    convolutions = _readable(lambda: torch.backends.cudnn.allow_tf32)
    products = _readable(torch.get_float32_matmul_precision)
    _forbid_tf32()
    try:
        yield
    finally:
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        if products is not None:
            torch.set_float32_matmul_precision(products)
        for settings, precision in zip(_tf32_settings(), named, strict=True):
            settings.fp32_precision = precision


def _forbid_tf32() -> None:
    # The older switches come first: they keep both kinds readable, which PyTorch itself relies on.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    for settings in _tf32_settings():
        settings.fp32_precision = "ieee"


def _tf32_settings() -> tuple[Any, ...]:
    return torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul  # type: ignore[attr-defined]


def _readable(read: Callable[[], Any]) -> Any:
    """Reads an older switch; None where PyTorch refuses, since a newer one was set."""
    try:
        return read()
    except RuntimeError:
        return None


def choose_autocast(requested: str, network: nn.Module, device: torch.device) -> torch.dtype | None:
    """Returns the autocast type for `float32` (None), `bf16`, `fp16` or `auto`.

    `auto` is a rule, not a measurement, so that the same config gives the same weights every time: bf16 on GPUs that
    support it, and on CPUs with bf16 instructions unless the network has depthwise convolutions, which are slower in
    bf16 there (docs/results.md).

    Raises:
        ConfigError: `fp16` on another device than a GPU.
    """
    if requested == "fp16":
        if device.type != "cuda":
            raise ConfigError(
                f"fp16 is for GPUs, and the training runs on {device.type}; use auto, bf16 or float32",
                key="train.precision",
            )
        return torch.float16
    if requested == "float32":
        return None
    if requested == "bf16":
        return torch.bfloat16
    if not computes_bf16(device) or (device.type == "cpu" and _has_depthwise(network)):
        return None
    return torch.bfloat16


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bf16, in place of emulating that by float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check() for check in checks if check is not None)


def _has_depthwise(network: nn.Module) -> bool:
    return any(
        isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 for module in network.modules()
    )
