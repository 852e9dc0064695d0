"""A cascade is its members, one after the other, each on the images as it was trained to see them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from greenedge.cost.flops import count_costs
from greenedge.data.layouts import ClassInfo
from greenedge.data.loader import InputTransform
from greenedge.exits.policy import ExitPolicy, SavedPolicy
from greenedge.inference import Engine
from greenedge.inference.export import ExportMetadata, export_network
from greenedge.inference.member_graph import resize_matrix
from greenedge.models.cascade import Cascade
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import parting_policy, random_network, route

SIZES = (24, 40)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def members() -> list[MultiExitNetwork]:
    """Two networks of two exits."""
    first, second = zip(SIZES, ("layer2", "layer3"), strict=True)
    return [random_network("resnet18", after, size=size, head="pooled") for size, after in (first, second)]


@pytest.fixture(scope="module")
def cascade(members: list[MultiExitNetwork]) -> Cascade:
    transforms = [InputTransform(size, MEAN, STD, channels_last=True) for size in SIZES]
    made = Cascade(copy.deepcopy(members), transforms, image_size=32)
    made.eval()
    return made


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(37, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def logits(images: Tensor, members: list[MultiExitNetwork]) -> Tensor:
    """(E, N, C) of the members by themselves, on images resized and normalised by hand."""
    found = []
    for network, size in zip(members, SIZES, strict=True):
        pixels = F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        with torch.no_grad():
            found += network((pixels - mean) / std)
    return torch.stack(found)


def test_cascade_gives_the_logits_of_its_members(cascade: Cascade, images: Tensor, logits: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(cascade(images)), logits, rtol=1e-3, atol=1e-4)
        some = cascade(images, (0, 3))
    torch.testing.assert_close(torch.stack(some), logits[[0, 3]], rtol=1e-3, atol=1e-4)
    assert cascade.num_exits == 4
    assert [segment.after for segment in cascade.segments] == ["1/layer2.1", "1/layer4.1", "2/layer3.1", "2/layer4.1"]
    assert [segment.reads_images for segment in cascade.segments] == [True, False, True, False]


def test_cascade_runs_no_member_that_is_not_asked_for(cascade: Cascade, images: Tensor) -> None:
    ran = []
    handles = [
        member.register_forward_hook(lambda *_, place=place: ran.append(place))
        for place, member in enumerate(cascade.members)
    ]
    try:
        with torch.no_grad():
            cascade(images[:2], (0,))
            cascade(images[:2], (2, 3))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0, 1]


def test_cascade_costs_add_up_and_an_exit_alone_is_its_member_alone(
    cascade: Cascade, members: list[MultiExitNetwork]
) -> None:
    found = count_costs(cascade)
    first, second = (count_costs(network) for network in members)
    sums = [*(each.gflops for each in first.exits), *(first.exits[-1].gflops + each.gflops for each in second.exits)]
    assert [each.gflops for each in found.exits] == pytest.approx(sums)
    alone = [each.alone_gflops for each in (*first.exits, *second.exits)]
    assert [each.alone_gflops for each in found.exits] == pytest.approx(alone)
    assert found.plain_gflops == pytest.approx(second.plain_gflops)
    assert found.exits[-1].parameters == sum(each.exits[-1].parameters for each in (first, second))
    assert found.plain_parameters == second.plain_parameters


def test_cascade_state_has_the_members_weights_and_no_others(cascade: Cascade, members: list[MultiExitNetwork]) -> None:
    expected = {f"members.{place}.{name}" for place, network in enumerate(members) for name in network.state_dict()}
    assert set(cascade.state_dict()) == expected


@pytest.mark.parametrize("ensemble", [None, (0.3, 0.5, 0.2)])
@pytest.mark.parametrize("chunks", [1, 4, 100])
def test_engine_routes_a_cascade_as_its_members_logits_say(
    cascade: Cascade, images: Tensor, logits: Tensor, chunks: int, ensemble: tuple[float, ...] | None
) -> None:
    policy = parting_policy("max_probability", logits, ensemble=ensemble)
    cost = count_costs(cascade)
    segments = sum(len(segment.split()) for segment in cascade.segments)
    engine = Engine(cascade, policy, precision="float32", cost=cost, chunks=[chunks] * segments)
    exits = route(logits, policy)
    assert len(set(exits)) == 4  # some images exit everywhere

    answers = engine.predict(images)
    assert answers.exits.tolist() == exits
    taken = logits[torch.tensor(exits), torch.arange(len(exits))]
    torch.testing.assert_close(answers.logits, taken, rtol=1e-3, atol=1e-4)
    assert answers.gflops.tolist() == pytest.approx([cost.exits[index].gflops for index in exits])
    torch.testing.assert_close(engine.logits(images), logits, rtol=1e-3, atol=1e-4)

    batches = list(torch.split(images, 5))
    streamed = list(engine.stream((batch.clone() for batch in batches), max_wait=11))
    assert [each for answer in streamed for each in answer.exits.tolist()] == exits


@pytest.mark.parametrize("chunks_first", [1, 64])
def test_engine_leaves_a_cascades_images_to_the_caller(
    cascade: Cascade, images: Tensor, logits: Tensor, chunks_first: int
) -> None:
    """A caller may write its next batch where the last one lay; later members still see the old one."""
    never = ExitPolicy("entropy", (0.0, 0.0, 0.0))
    segments = sum(len(segment.split()) for segment in cascade.segments)
    engine = Engine(cascade, never, precision="float32", chunks=[chunks_first] + [64] * (segments - 1))
    buffer = images[:5].clone().contiguous(memory_format=torch.channels_last)

    def batches():  # type: ignore[no-untyped-def]
        for start in (0, 5, 10):
            buffer.copy_(images[start : start + 5])
            yield buffer

    found = torch.cat([each.logits for each in engine.stream(batches(), max_wait=1000)])
    torch.testing.assert_close(found, logits[-1, :15], rtol=1e-3, atol=1e-4)


def test_engine_of_a_single_network_keeps_no_images(members: list[MultiExitNetwork]) -> None:
    engine = Engine(members[0], ExitPolicy("entropy", (0.1,)), precision="float32")
    assert not engine.network.keeps_images


def test_exported_cascade_is_run_as_the_engine_runs_it(
    cascade: Cascade, images: Tensor, logits: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from greenedge.inference.onnx_runner import Runner

    policy = parting_policy("margin", logits, ensemble=(0.3, 0.5, 0.2))
    saved = SavedPolicy(policy, tuple(segment.after for segment in cascade.segments))
    classes = tuple(ClassInfo(f"n{index}", f"name {index}") for index in range(3))
    export_network(cascade, saved, ExportMetadata((0, 0, 0), (1, 1, 1), 32, classes), tmp_path, "onnx")

    runner = Runner(tmp_path)
    found = runner.predict(images.numpy())
    expected = Engine(cascade, policy, precision="float32").predict(images)
    assert found.exits.tolist() == expected.exits.tolist()
    assert len(set(found.exits.tolist())) == 4
    assert found.predictions.tolist() == expected.predictions.tolist()
    assert found.gflops.tolist() == pytest.approx(expected.gflops.tolist(), rel=1e-12)
    np.testing.assert_allclose(found.logits, expected.logits.numpy(), rtol=1e-3, atol=1e-4)

    stored = (255 * images).round().to(torch.uint8)  # as they are kept: bytes, which the first graph is given in [0, 1]
    as_bytes = runner.predict(stored.numpy())
    assert as_bytes.exits.tolist() == runner.predict((stored / 255).numpy()).exits.tolist()

    whole = onnxruntime_session(tmp_path / "network.onnx").run(None, {"images": images.numpy()})
    np.testing.assert_allclose(np.stack(whole), logits.numpy(), rtol=1e-3, atol=1e-4)


def test_cascade_in_8_bits_is_exported_as_its_whole_graph_says(
    cascade: Cascade, images: Tensor, logits: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from greenedge.inference.export import QuantizedExport
    from greenedge.inference.exported import float_graph, open_export
    from greenedge.inference.manifest import read_manifest
    from greenedge.inference.onnx_runner import Runner
    from greenedge.inference.quantization import Quantizer

    with Quantizer(float_graph(cascade), images.numpy(), 7) as quantizer:
        quantized = QuantizedExport(quantizer.quantize(), {"weight_bits": 7})
    policy = parting_policy("margin", logits)
    saved = SavedPolicy(policy, tuple(segment.after for segment in cascade.segments))
    classes = tuple(ClassInfo(f"n{index}", f"name {index}") for index in range(3))
    metadata = ExportMetadata((0, 0, 0), (1, 1, 1), 32, classes)
    export_network(cascade, saved, metadata, tmp_path, "onnx", quantized)

    whole = np.stack(onnxruntime_session(tmp_path / "network.onnx").run(None, {"images": images.numpy()}))
    for exact, found in zip(logits.numpy(), whole, strict=True):
        assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.95

    engine = Engine(open_export(tmp_path, read_manifest(tmp_path), "onnxruntime"), policy)
    np.testing.assert_allclose(engine.logits(images).numpy(), whole, rtol=0, atol=1e-5)
    predictions, found = engine.predict(images), Runner(tmp_path).predict(images.numpy())
    assert found.exits.tolist() == predictions.exits.tolist()
    assert len(set(found.exits.tolist())) > 2
    rows = np.arange(len(images))
    np.testing.assert_allclose(found.logits, whole[found.exits, rows], rtol=0, atol=1e-5)
    np.testing.assert_allclose(predictions.logits.numpy(), whole[found.exits, rows], rtol=0, atol=1e-5)


def onnxruntime_session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("size", "new_size"), [(64, 160), (64, 48), (32, 32)])
def test_resize_matrix_resizes_as_the_operator_does(size: int, new_size: int) -> None:
    image = torch.rand(2, 3, size, size)
    matrix = resize_matrix(size, new_size)
    expected = F.interpolate(image, (new_size, new_size), mode="bicubic", antialias=True)
    torch.testing.assert_close(matrix @ image @ matrix.T, expected, rtol=1e-4, atol=1e-5)
