"""Engine, exports and runner on heads that see the logits of the exit before, against the network's own forward."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from greenedge.data.layouts import ClassInfo
from greenedge.exits.policy import SavedPolicy
from greenedge.inference import Engine
from greenedge.inference.export import ExportMetadata, Kind, export_network
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import all_logits, parting_policy, random_network, route

COUNT = 41


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network() -> MultiExitNetwork:
    """Four exits: the second does not see the first's logits, the third sees the second's."""
    made = random_network("resnet18", "layer1", "layer2", "layer3")
    made.show_former_logits([2], 3)
    with torch.no_grad():
        nn.init.normal_(made.formers["2"].linear.weight, std=2.0)  # type: ignore[union-attr, arg-type]
    return made.eval()


@pytest.fixture(scope="module")
def chained(network: MultiExitNetwork) -> MultiExitNetwork:
    """The same, and the second sees the first's."""
    made = random_network("resnet18", "layer1", "layer2", "layer3")
    made.show_former_logits([1, 2], 3)
    with torch.no_grad():
        for each in made.formers.values():
            nn.init.normal_(each.linear.weight, std=2.0)  # type: ignore[union-attr, arg-type]
    return made.eval()


@pytest.fixture(scope="module", params=["network", "chained"])
def model(request: pytest.FixtureRequest) -> MultiExitNetwork:
    found: MultiExitNetwork = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def logits(model: MultiExitNetwork, images: Tensor) -> Tensor:
    return all_logits(model, images)


@pytest.mark.parametrize("chunks", [(1,) * 5, (4, 3, 5, 2, 6), (64,) * 5, (2, 8, 1, 16, 3)])
def test_engine_hands_on_each_images_own_logits(
    model: MultiExitNetwork, images: Tensor, logits: Tensor, chunks: tuple[int, ...]
) -> None:
    policy = parting_policy("margin", logits, temperatures=(0.5, 2.0, 3.0, 1.0), ensemble=(0.2, 0.5, 0.3))
    parts = sum(len(segment.split()) for segment in model.segments)
    engine = Engine(model, policy, precision="float32", chunks=chunks[:parts])
    torch.testing.assert_close(engine.logits(images), logits, rtol=1e-3, atol=1e-4)

    exits = route(logits, policy)
    assert len(set(exits)) == 4  # some images exit everywhere
    taken = logits[torch.tensor(exits), torch.arange(COUNT)]
    found = engine.predict(images)
    assert found.exits.tolist() == exits
    torch.testing.assert_close(found.logits, taken, rtol=1e-3, atol=1e-4)
    for size, max_wait in ((5, 7), (3, 1000), (20, 0)):
        streamed = list(engine.stream(images.split(size), max_wait=max_wait))
        assert [each for one in streamed for each in one.exits.tolist()] == exits
        torch.testing.assert_close(torch.cat([one.logits for one in streamed]), taken, rtol=1e-3, atol=1e-4)


def test_engine_measures_chunks_of_segments_that_read_logits(chained: MultiExitNetwork, images: Tensor) -> None:
    engine = Engine(chained, parting_policy("entropy", all_logits(chained, images)), precision="float32")
    assert len(engine.autotune()) == len(engine.network.segments)


def test_engine_in_bf16_keeps_the_former_layer_in_float32(chained: MultiExitNetwork, images: Tensor) -> None:
    engine = Engine(chained, parting_policy("entropy", all_logits(chained, images)), precision="bf16")
    former = [each.former for each in engine.network.segments if each.former is not None]
    assert [each.linear.weight.dtype for each in former] == [torch.float32] * 2
    # With features rounded to bf16, logits differ by some percent, those of later exits with those that they see.
    found, expected = engine.logits(images), all_logits(chained, images)
    assert float((found - expected).square().mean().sqrt()) < 0.2 * float(expected.std())
    assert engine.predict(images).valid.all()


@pytest.mark.slow
def test_compiled_engine_gives_the_same_logits(chained: MultiExitNetwork, images: Tensor) -> None:
    expected = all_logits(chained, images)
    engine = Engine(chained, policy := parting_policy("margin", expected), precision="float32", compiled=True)
    torch.testing.assert_close(engine.logits(images), expected, rtol=1e-3, atol=1e-3)
    assert engine.predict(images).exits.tolist() == route(expected, policy)


def exported(model: MultiExitNetwork, logits: Tensor, folder: Path, kind: Kind) -> SavedPolicy:
    policy = parting_policy("margin", logits, ensemble=(0.3, 0.5, 0.2))
    saved = SavedPolicy(policy, tuple(segment.after for segment in model.segments))
    classes = tuple(ClassInfo(f"n{index}", f"name {index}") for index in range(3))
    export_network(model, saved, ExportMetadata((0, 0, 0), (1, 1, 1), 32, classes), folder, kind)
    entries = json.loads((folder / "manifest.json").read_text())["exits"]
    assert [each.get("reads_logits", "absent") for each in entries] == [
        True if segment.reads_logits else "absent" for segment in model.segments
    ]
    return saved


def test_runner_predicts_what_the_engine_predicts(
    model: MultiExitNetwork, images: Tensor, logits: Tensor, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from greenedge.inference.onnx_runner import Runner

    saved = exported(model, logits, tmp_path, "onnx")
    runner, engine = Runner(tmp_path), Engine(model, saved.policy, precision="float32")
    for count in (1, 7, COUNT):
        found, expected = runner.predict(images[:count].numpy()), engine.predict(images[:count])
        assert found.exits.tolist() == expected.exits.tolist()
        assert found.predictions.tolist() == expected.predictions.tolist()
        assert found.gflops.tolist() == pytest.approx(expected.gflops.tolist(), rel=1e-12)
        np.testing.assert_allclose(found.logits, expected.logits.numpy(), rtol=1e-3, atol=1e-4)
    assert len(set(found.exits.tolist())) == 4

    session = onnxruntime.InferenceSession(tmp_path / "segment-2.onnx", providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape[0]) for each in session.get_inputs()] == [
        ("features", "batch"),
        ("former_logits", "batch"),
    ]
    whole = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(np.stack(whole.run(None, {"images": images.numpy()})), logits, rtol=1e-3, atol=1e-4)


def test_exported_programs_read_former_logits(chained: MultiExitNetwork, images: Tensor, tmp_path: Path) -> None:
    expected = all_logits(chained, images)
    exported(chained, expected, tmp_path, "torch")
    features, here, found = images, None, []
    with torch.no_grad():
        for index, segment in enumerate(chained.segments):
            program = torch.export.load(tmp_path / f"segment-{index}.pt2").module()
            *handed_on, here = program(*((features, here) if segment.reads_logits else (features,)))
            features = handed_on[0] if handed_on else features
            found.append(here)
        whole = torch.export.load(tmp_path / "network.pt2").module()(images[:3])
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.stack(whole), expected[:, :3], rtol=1e-3, atol=1e-4)
