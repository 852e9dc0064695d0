from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.data.layouts import ClassInfo
from greenedge.data.seen import SeenImages
from greenedge.errors import CheckpointError
from greenedge.training.checkpoint import CheckpointInfo, load_into, read_checkpoint, save_checkpoint
from tests.training.helpers import Trap, full_disk, tiny_network

CLASSES = (ClassInfo("n01", "goldfish, Carassius"), ClassInfo("n02", 'Ñandú "x"\n'), ClassInfo("n03", "n03"))
CONFIG = "model:\n  backbone: resnet18  # ü\n"
INFO = CheckpointInfo(CONFIG, CLASSES, 1, stored_size=64)
SEEN = SeenImages("sources", "a" * 64, "b" * 64, np.array([0, 5, 2**48 - 1], np.uint64))


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_read_checkpoint_restores_weights_and_metadata(tmp_path: Path, layout: torch.memory_format) -> None:
    path = tmp_path / "run" / "best.safetensors"
    network = tiny_network(1).to(memory_format=layout)  # type: ignore[call-overload]
    save_checkpoint(path, network, replace(INFO, epoch=12))
    checkpoint = read_checkpoint(path)
    assert checkpoint.info == replace(INFO, epoch=12)
    assert checkpoint.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    other = tiny_network(2)
    load_into(other, checkpoint.tensors, path)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = torch.stack(tiny_network(1).eval()(images))
        assert torch.equal(torch.stack(other.eval()(images)), expected)


def test_save_checkpoint_writes_a_plain_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    network = tiny_network()
    save_checkpoint(path, network, replace(INFO, epoch=1))
    tensors = safetensors.torch.load_file(path)
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    length = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    assert metadata["epoch"] == "1"
    assert json.loads(metadata["classes"])[1] == {"id": "n02", "name": 'Ñandú "x"\n'}


def test_read_checkpoint_names_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "best.safetensors", r"no such checkpoint; `greenedge train` writes best\.safetensors$")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_read_checkpoint_refuses_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_network(), replace(INFO, epoch=1))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, r"cannot be read; it is truncated or not a \.safetensors checkpoint \(.+\)$")


def test_read_checkpoint_refuses_a_pickle_without_running_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "best.safetensors", tmp_path / "marker"
    torch.save({"weight": Trap(marker)}, path)
    refused(path, r"cannot be read; it is truncated or not a \.safetensors checkpoint \(.+\)$")
    assert not marker.exists()
    torch.load(path.rename(tmp_path / "best.pt"), weights_only=False)
    assert marker.exists()  # the trap works


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "greenedge/0"}])
def test_read_checkpoint_refuses_other_weights_and_names_model_weights(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata)
    refused(path, r"was not written by `greenedge train`, .*name the file as model\.weights in a config$")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "[{"},
        {"classes": "[1]"},
        {"classes": "5"},
        {"classes": "[]"},
        {"classes": '[{"id": "a"}]'},
        {"classes": '[{"id": true, "name": "b"}]'},
        {"epoch": "one"},
        {"epoch": "-1"},
        {"epoch": "\u0663"},
        {"stored_size": "1e3"},
        {"seen": "{}"},
        {"cost": "{}"},
        {"cost": '{"exits": [], "plain_gflops": -1, "plain_parameters": 1, "uncounted": {}}'},
        {"seen": '{"kind": "pixels", "train": "", "calibration": "", "images": "AAAA"}'},
        {"seen": "[" * 100_000},
    ],
)
def test_read_checkpoint_refuses_damaged_metadata(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "best.safetensors"
    metadata = {"format": "greenedge/1", "config": CONFIG, "classes": '[{"id": "a", "name": "b"}]', "epoch": "1"}
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata)
    assert read_checkpoint(path).info.epoch == 1
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata | change)
    refused(path, r"its metadata are damaged \(.+\)$")


@pytest.mark.parametrize("case", ["shape", "missing", "surplus"])
def test_load_into_refuses_weights_of_another_network(tmp_path: Path, case: str) -> None:
    tensors = dict(tiny_network(width=4 if case == "shape" else 8).state_dict())
    if case == "missing":
        del tensors["heads.0.2.bias"]
    if case == "surplus":
        tensors["heads.1.2.bias"] = torch.zeros(3)
    network = tiny_network(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = "backbone.0.0.weight" if case == "shape" else "heads.0.2.bias" if case == "missing" else "heads.1.2.bias"
    sentence = rf"a\.safetensors: belongs to another network: \d+ tensors do not fit, {first} first$"
    with pytest.raises(CheckpointError, match=sentence):
        load_into(network, tensors, Path("a.safetensors"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_save_checkpoint_on_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_network(), replace(INFO, epoch=1))
    before = path.read_bytes()
    sentence = r"cannot be written \(.+\); free some space and resume, the previous checkpoint is intact$"
    with full_disk(), pytest.raises(CheckpointError, match=sentence) as caught:
        save_checkpoint(path, tiny_network(width=64), replace(INFO, epoch=2))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_read_checkpoint_restores_the_costs(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    cost = NetworkCost(
        (ExitCost("a", 0.5, 0.25, 0.75, 0.75, 12), ExitCost("b", 1.0, 0.5, 2.0, 2.25, 34)), 2.0, 30, {"add": 2}
    )
    save_checkpoint(path, tiny_network(), replace(INFO, cost=cost))
    assert read_checkpoint(path).info.cost == cost


def test_read_checkpoint_restores_the_images_seen(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_network(), replace(INFO, seen=SEEN))
    seen = read_checkpoint(path).info.seen
    assert seen is not None
    assert (seen.kind, seen.train, seen.calibration) == ("sources", "a" * 64, "b" * 64)
    assert seen.trained.tolist() == SEEN.trained.tolist()


@pytest.mark.parametrize("where", ["first", "middle", "last", "classes"])
def test_read_checkpoint_notices_a_byte_changed_in_place(tmp_path: Path, where: str) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_network(), INFO)
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    place = {"first": start, "middle": (start + len(content)) // 2, "last": len(content) - 1}.get(where)
    content[content.index(b"goldfish") if place is None else place] ^= 1
    path.write_bytes(content)
    refused(path, "was changed or damaged after it was written; use another copy, or train again$")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_read_checkpoint_refuses_weights_that_are_not_finite_by_name(tmp_path: Path, value: float) -> None:
    path = tmp_path / "best.safetensors"
    network = tiny_network()
    with torch.no_grad():
        network.backbone.get_submodule("0.0").weight.view(-1)[3] = value  # type: ignore[operator, union-attr]
    save_checkpoint(path, network, INFO)
    refused(path, r"backbone\.0\.0\.weight holds weights that are NaN or infinite; train again$")


def test_read_checkpoint_reads_files_without_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    metadata = {"format": "greenedge/1", "config": CONFIG, "classes": '[{"id": "a", "name": "b"}]', "epoch": "3"}
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata)
    assert read_checkpoint(path).info == CheckpointInfo(CONFIG, (ClassInfo("a", "b"),), 3)


def test_read_checkpoint_refuses_a_damaged_name_of_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_network(), INFO)
    content = path.read_bytes()
    assert content.count(b'"digest"') == 1
    path.write_bytes(content.replace(b'"digest"', b'"diGest"'))
    with pytest.raises(CheckpointError, match=r"its metadata are damaged, or of another version .*'diGest'"):
        read_checkpoint(path)
