"""Weights that differ from a network's in packaging only, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from greenedge.config import ModelConfig
from greenedge.errors import CheckpointError, ConfigError
from greenedge.models.backbones import BACKBONES, build_backbone
from greenedge.models.multi_exit import build_network
from greenedge.models.paper import translate_published
from greenedge.models.weights import WeightReport, load_pretrained, pretrained_normalisation
from tests.models.published import published

State = dict[str, Tensor]
BACKBONE = "timm/test_resnet"  # ResNet-18's names for the most part, at a thirtieth of its size


@pytest.fixture(scope="module")
def state() -> State:
    pytest.importorskip("timm")
    torch.manual_seed(2)
    found = dict(build_backbone(BACKBONE, num_classes=4).state_dict())
    return {name: tensor + 1 if name.endswith("num_batches_tracked") else tensor for name, tensor in found.items()}


def load(path: Path, expected: State, classes: int = 4) -> WeightReport:
    """Loads a file and makes sure that all of `expected` has arrived."""
    config = ModelConfig(BACKBONE)
    network = build_network(config, classes, 32)
    report = load_pretrained(network, config, str(path))
    own = network.backbone.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(own[name], tensor.to(own[name].dtype)), name
    return report


def without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "_orig_mod.module.", "model.module."]
PREFIXES += ["net.", "module.model.backbone.", "student.encoder."]


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_no_other_network(tmp_path: Path, state: State, prefix: str, ending: str) -> None:
    path, named = tmp_path / f"a.{ending}", {prefix + name: tensor for name, tensor in state.items()}
    safetensors.torch.save_file(named, path) if ending == "safetensors" else torch.save(named, path)
    report = load(path, state)
    assert (report.loaded, report.by_order, report.unused, report.reinitialised) == (len(state), False, (), ())


def profiled(state: State) -> State:
    modules = {name.rpartition(".")[0] for name in state}
    counters = {f"module.{m}.{n}": torch.zeros(1) for m in modules for n in ("total_ops", "total_params")}
    return {f"module.{n}": t for n, t in state.items()} | counters | {"module.total_ops": torch.zeros(1)}


@pytest.mark.parametrize(
    "package",
    [
        lambda state: {f"module.{n}": t for n, t in without_counters(state).items()},
        lambda state: {"state_dict": profiled(state)},
        lambda state: {"n_averaged": torch.tensor(3)} | {f"module.{n}": t for n, t in state.items()},
        lambda state: {"state_dict": {f"model.{n}": t for n, t in state.items()} | {"loss.weight": torch.ones(9)}},
        lambda state: {n.replace("layer1.0.", "layer1.0._orig_mod."): t for n, t in state.items()},
        lambda state: {"net": state, "epoch": 3, "best": 0.5, "args": {"lr": 0.1}},
        lambda state: {"weird": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}},
        lambda state: {"ema": state},
        lambda state: {"model": {"state_dict": state}, "rng": torch.ones(8, dtype=torch.uint8)},
        lambda state: {"state_dict": state, "state_dict_ema": {n: 2 * t for n, t in state.items()}},
        lambda state: state | {"epoch": 7, "arch": "resnet18"},
        lambda state: {f"module.{n}": t for n, t in state.items()} | state,
        lambda state: {n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_packaging_is_no_other_network(
    tmp_path: Path, state: State, package: Callable[[State], object], zipped: bool
) -> None:
    torch.save(package(state), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert not load(tmp_path / "a.pth", without_counters(state)).by_order


def test_what_is_not_used_is_listed(tmp_path: Path, state: State) -> None:
    torch.save(profiled(state), tmp_path / "a.pth")
    unused = load(tmp_path / "a.pth", state).unused
    assert "total_ops" in unused
    assert all(name.endswith(("total_ops", "total_params")) for name in unused)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    halved = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    torch.save(halved, tmp_path / "a.pth")
    load(tmp_path / "a.pth", halved)


def test_strange_names_in_order_may_lack_counters(tmp_path: Path, state: State) -> None:
    strange = {f"p{i}": t for i, t in enumerate(without_counters(state).values())}
    torch.save(strange | {"total_ops": torch.ones(1)}, tmp_path / "a.pth")
    assert load(tmp_path / "a.pth", without_counters(state)).by_order
    safetensors.torch.save_file(strange, tmp_path / "a.safetensors")  # which keeps no order
    refused(tmp_path / "a.safetensors", "belongs to another network")


def refused(path: Path, words: str) -> None:
    config = ModelConfig(BACKBONE)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_pretrained(build_network(config, 4, 32), config, str(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (lambda s: {"a": s, "b": s}, "holds several sets of tensors, as in a and b"),
        (
            lambda s: {f"{p}.{n}": t + (p == "ema") for p in ("model", "ema") for n, t in s.items()},
            "holds the network twice, below 'ema.' and below 'model.'",
        ),
        (lambda s: s | {"conv1.0.weight": s["conv1.0.weight"] * torch.inf}, "are not finite, in conv1.0.weight first"),
        (lambda s: s | {"fc.bias": torch.full((4,), torch.nan)}, "are not finite, in fc.bias first"),
        (lambda s: s | {"fc.bias": torch.full((4,), 1e300, dtype=torch.float64)}, "are not finite, in fc.bias first"),
        (
            lambda s: s | {"conv1.0.weight": s["conv1.0.weight"].long()},
            "another network: 1 tensors do not fit, conv1.0.weight",
        ),
        (
            lambda _: {f"module.{n}": t for n, t in torchvision.models.resnet34().state_dict().items()},
            "another network",
        ),
        (lambda s: {f"x.{n}": t for n, t in list(s.items())[: 3 * len(s) // 4]}, "another network"),
        (lambda _: {"state_dict": {}}, "is not a state dict"),
    ],
)
def test_what_is_another_network_or_none_is_refused(
    tmp_path: Path, state: State, package: Callable[[State], object], words: str
) -> None:
    torch.save(package(state), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", words)


@pytest.fixture(scope="module")
def published_state() -> State:
    return {
        name: torch.zeros_like(tensor) if name.endswith("num_batches_tracked") else tensor
        for name, tensor in published(resnext=True, size=64).state_dict().items()
    }


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_the_published_networks_are_found_below_prefixes(prefix: str, published_state: State) -> None:
    state = published_state
    plain = translate_published(state)
    packed = {f"{prefix}{name}": tensor for name, tensor in without_counters(state).items()}
    found = translate_published(packed | {f"{prefix}total_ops": torch.zeros(1)})
    assert (found.backbone, found.image_size) == (plain.backbone, plain.image_size)
    assert found.tensors.keys() == plain.tensors.keys()
    assert all(torch.equal(tensor, plain.tensors[name]) for name, tensor in found.tensors.items())


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("resnet18", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("efficientnet_v2_s", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("timm/tf_efficientnet_lite0", ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("timm/resnet18", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
    ],
)
def test_pretrained_weights_say_how_they_want_their_pixels(backbone: str, expected: object) -> None:
    if backbone.startswith("timm/"):
        pytest.importorskip("timm")
    assert pretrained_normalisation(backbone, "imagenet") == expected
    assert pretrained_normalisation(backbone, None) is None
    assert pretrained_normalisation(backbone, "weights.pth") is None


def test_every_known_backbone_has_a_normalisation() -> None:
    assert all(pretrained_normalisation(name, "imagenet") for name in BACKBONES)
    with pytest.raises(ConfigError, match="there is no"):
        pretrained_normalisation("resnet19", "imagenet")
