from __future__ import annotations

import dataclasses
import re
import urllib.error
from pathlib import Path
from typing import NoReturn

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.errors import CheckpointError
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from greenedge.models.weights import load_pretrained, read_state_dict
from tests.training.helpers import Trap

RESNET18 = ModelConfig("resnet18")
SMALL_STEM = ModelConfig("resnet18", stem="small")
URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def network(num_classes: int = 5, *after: str, config: ModelConfig = RESNET18) -> MultiExitNetwork:
    torch.manual_seed(1)
    exits = tuple(ExitConfig(name, Component("linear")) for name in after)
    return build_network(dataclasses.replace(config, exits=exits), num_classes, 32)


def torchvisions(backbone: str = "resnet18", num_classes: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(2)
    net = torchvision.models.get_model(backbone, weights=None, num_classes=num_classes)
    return dict(net.state_dict())


def save(state: dict[str, Tensor], path: Path) -> Path:
    safetensors.torch.save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def differing(model: MultiExitNetwork, state: dict[str, Tensor]) -> list[str]:
    own = model.backbone.state_dict()
    return [name for name, tensor in state.items() if not torch.equal(own[name], tensor)]


def refused(model: MultiExitNetwork, weights: object, sentence: str) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=sentence) as caught:
        load_pretrained(model, RESNET18, str(weights))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache of downloads, empty, on a machine without a network."""

    def urlopen(*_: object, **__: object) -> NoReturn:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    return tmp_path / "hub" / "checkpoints"


def test_without_a_network_the_url_and_the_cache_folder_are_named(offline: Path) -> None:
    refused(
        network(),
        "imagenet",
        rf"^torchvision's weights of resnet18 could not be downloaded \(.*no route to host.*\); "
        rf"fetch {URL} elsewhere and put it into {offline}$",
    )


def test_the_file_put_there_by_hand_is_used_and_the_new_classifier_kept_random(offline: Path) -> None:
    offline.mkdir(parents=True)
    state = torchvisions(num_classes=1000)
    save(state, offline / URL.rpartition("/")[2])
    model = network()
    classifier = model.backbone.fc.weight.clone()  # type: ignore[union-attr, operator]
    report = load_pretrained(model, RESNET18, "imagenet")
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert differing(model, rest) == []
    assert torch.equal(model.backbone.fc.weight, classifier)  # type: ignore[union-attr, arg-type]
    assert (report.loaded, report.reinitialised, report.unused) == (len(rest), ("fc.weight", "fc.bias"), ())
    assert report.sentence() == f"{len(rest)} tensors loaded; kept random: fc.weight, fc.bias"


def test_a_small_stem_stays_random_and_is_said_to(offline: Path) -> None:
    offline.mkdir(parents=True)
    state = torchvisions(num_classes=1000)
    save(state, offline / URL.rpartition("/")[2])
    model = network(config=SMALL_STEM)
    report = load_pretrained(model, SMALL_STEM, "imagenet")
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(("fc.", "conv1."))}
    assert differing(model, rest) == []
    assert set(report.reinitialised) == {"conv1.weight", "fc.weight", "fc.bias"}


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_a_file_of_torchvisions_names_is_loaded_whole(tmp_path: Path, ending: str) -> None:
    state = torchvisions()
    model = network(5, "layer1")
    head = model.heads.state_dict()
    report = load_pretrained(model, RESNET18, str(save(state, tmp_path / f"w{ending}")))
    assert differing(model, state) == []
    assert report.sentence() == f"{len(state)} tensors loaded"
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.heads.state_dict().items())


def test_a_densenet_file_of_before_torch_0_4_is_loaded_whole(tmp_path: Path) -> None:
    state = torchvisions("densenet121")
    former = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): each for name, each in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in former
    config = ModelConfig("densenet121")
    model = network(5, config=config)
    assert load_pretrained(model, config, str(save(former, tmp_path / "w.pth"))).reinitialised == ()
    assert differing(model, state) == []


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_wrapped_state_dict_is_found(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: torchvisions(), "epoch": 3}, tmp_path / "w.pth")
    model = network()
    load_pretrained(model, RESNET18, str(tmp_path / "w.pth"))
    assert differing(model, torchvisions()) == []


def test_a_checkpoint_of_our_own_gives_its_backbone_and_not_its_heads(tmp_path: Path) -> None:
    source = network(5, "layer1", "layer2")
    source.backbone.load_state_dict(torchvisions())
    path = save(dict(source.state_dict()), tmp_path / "best.safetensors")
    model = network(5, "layer3")
    report = load_pretrained(model, RESNET18, str(path))
    assert differing(model, torchvisions()) == []
    heads = {f"heads.{name}" for name in source.heads.state_dict()}
    assert report.reinitialised == ()
    assert set(report.unused) == heads


def test_tensors_that_fit_nothing_are_reported(tmp_path: Path) -> None:
    path = save(torchvisions() | {"extra.weight": torch.zeros(1)}, tmp_path / "w.pth")
    report = load_pretrained(network(), RESNET18, str(path))
    assert report.unused == ("extra.weight",)
    assert report.sentence().endswith("; in the file but unused: extra.weight")


@pytest.mark.parametrize("backbone", ["resnet34", "resnet50", "efficientnet_b0"])
def test_weights_of_another_architecture_are_refused(tmp_path: Path, backbone: str) -> None:
    path = save(torchvisions(backbone), tmp_path / "w.safetensors")
    refused(network(), path, rf"^{path}: belongs to another network: \d+ tensors do not fit, \S+ first")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(network(), tmp_path / "w.pth", r"w\.pth: no such file of weights$")


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "w.pth", tmp_path / "marker"
    torch.save({"conv1.weight": Trap(marker)}, path)
    refused(
        network(),
        path,
        r"w\.pth: is not a file of tensors, or holds more than tensors, and greenedge runs no code from files$",
    )
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the trap works


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    path = save({"a": torch.zeros(1000)}, tmp_path / f"w{ending}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(network(), path, r"w\.\w+: cannot be read; it is truncated or not a file of tensors$")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), {"a": 3}, {"state_dict": {"a": "b"}}])
def test_what_is_not_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"is not a state dict \(tensors by name\); save model\.state_dict\(\)"):
        read_state_dict(tmp_path / "w.pth")
