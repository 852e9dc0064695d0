from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from greenedge.cost.flops import count_costs
from greenedge.errors import CheckpointError, DataError, UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.inference import Engine, Predictions
from greenedge.inference.optimized import OptimizedNetwork
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import (
    CRITERION_NAMES,
    all_logits,
    joined_by_hand,
    parting_policy,
    random_network,
    route,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check(answers: Predictions, logits: Tensor, policy: ExitPolicy, gflops: list[float]) -> None:
    exits = route(logits, policy)
    assert answers.exits.tolist() == exits
    taken = logits[torch.tensor(exits), torch.arange(len(exits))]
    torch.testing.assert_close(answers.logits, taken, rtol=1e-4, atol=1e-4)
    own = policy.own_gflops(logits.shape[2])
    assert answers.gflops.tolist() == pytest.approx([gflops[index] + own[index] for index in exits], rel=1e-9)
    joined = joined_by_hand(logits, policy.temperatures, policy.ensemble)[torch.tensor(exits), torch.arange(len(exits))]
    assert answers.predictions.tolist() == joined.argmax(dim=1).tolist()
    probabilities = joined.softmax(dim=1).amax(dim=1).float()
    torch.testing.assert_close(answers.confidence, probabilities, rtol=1e-3, atol=1e-4)


def joined(answers: list[Predictions]) -> Predictions:
    columns = ("predictions", "exits", "confidence", "scores", "gflops", "logits", "valid")
    return Predictions(*(torch.cat([getattr(each, column) for each in answers]) for column in columns))


@pytest.mark.parametrize("name", CRITERION_NAMES)
@pytest.mark.parametrize(
    ("temperatures", "ensemble"),
    [(None, None), ((0.5, 2.0, 3.0), None), (None, (0.4, 0.7)), ((0.5, 2.0, 3.0), (0.2, 0.6))],
)
def test_each_image_gets_what_routing_it_alone_gives(
    network: MultiExitNetwork,
    images: Tensor,
    logits: Tensor,
    name: str,
    temperatures: tuple[float, ...] | None,
    ensemble: tuple[float, ...] | None,
) -> None:
    policy = parting_policy(name, logits, temperatures, ensemble)
    answers = Engine(network, policy, precision="float32").predict(images)
    gflops = [cost.gflops for cost in count_costs(network).exits]
    check(answers, logits, policy, gflops)
    assert len(set(answers.exits.tolist())) > 1
    gone_by = joined_by_hand(logits, temperatures, ensemble)
    expected = policy.get_criterion().uncertainty(gone_by.numpy())[answers.exits, np.arange(len(images))]
    assert policy.get_criterion().to_uncertainty(answers.scores).tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("threshold", [0.0, 1e9])
def test_all_images_may_stay_to_the_end_or_leave_at_once(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, threshold: float
) -> None:
    policy = shared_policy("entropy", threshold, 2)
    check(
        Engine(network, policy, precision="float32").predict(images),
        logits,
        policy,
        [cost.gflops for cost in count_costs(network).exits],
    )


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) <= 23),
    chunks=st.tuples(*[st.integers(1, 8)] * 4),
    name=st.sampled_from(["entropy", "patience", "gain"]),
)
def test_streams_of_any_batches_in_any_chunks_give_the_same_answers_in_order(
    network: MultiExitNetwork,
    images: Tensor,
    logits: Tensor,
    sizes: list[int],
    chunks: tuple[int, ...],
    name: str,
) -> None:
    policy = parting_policy(name, logits)
    engine = Engine(network, policy, precision="float32", chunks=chunks)
    assert len(engine.network.segments) == len(chunks)
    batches = images[: sum(sizes)].split(sizes)
    answers = list(engine.stream(iter(batches)))
    assert [len(each.exits) for each in answers] == sizes
    count = sum(sizes)
    check(joined(answers), logits[:, :count], policy, engine.network.gflops.tolist())


def test_late_segments_pool_the_survivors_of_several_batches(
    network: MultiExitNetwork, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(network, shared_policy("entropy", 0.0, 2), precision="float32", chunks=(2, 4, 6, 8))
    seen: list[tuple[int, int]] = []
    run = OptimizedNetwork.run

    def noting(self: OptimizedNetwork, index: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        seen.append((index, len(features)))
        return run(self, index, features)

    monkeypatch.setattr(OptimizedNetwork, "run", noting)
    list(engine.stream(images[:16].split(2)))
    assert {size for index, size in seen if index == 0} == {2}
    assert [size for index, size in seen if index == 3] == [8, 8]
    assert sum(size for index, size in seen if index == 2) == 16


def test_a_buffer_that_is_filled_again_does_not_change_what_waits(
    network: MultiExitNetwork, images: Tensor, logits: Tensor
) -> None:
    policy = parting_policy("entropy", logits)
    buffer = torch.empty(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    def refilled() -> Iterator[Tensor]:
        for start in range(0, 21, 3):
            yield buffer.copy_(images[start : start + 3])

    engine = Engine(network, policy, precision="float32", chunks=(8, 8, 8, 8))
    check(joined(list(engine.stream(refilled()))), logits[:, :21], policy, engine.network.gflops.tolist())


def test_survivors_keep_the_layout_that_segments_are_fast_in(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OptimizedNetwork.run
    layouts: list[bool] = []

    def noting(self: OptimizedNetwork, index: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        layouts.append(features.is_contiguous(memory_format=torch.channels_last))
        return run(self, index, features)

    monkeypatch.setattr(OptimizedNetwork, "run", noting)
    Engine(network, parting_policy("entropy", logits), precision="float32").predict(images)
    assert all(layouts)


def test_what_left_is_not_run_on(network: MultiExitNetwork, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(network, shared_policy("entropy", 1e9, 2), precision="float32")
    segments: set[int] = set()
    run = OptimizedNetwork.run
    monkeypatch.setattr(
        OptimizedNetwork, "run", lambda self, index, features: (segments.add(index), run(self, index, features))[1]
    )
    engine.predict(images)
    assert segments == {0}


@pytest.mark.parametrize(
    ("backbone", "after", "head", "size"),
    [
        ("resnet50", ("layer1", "layer3"), "paper", 32),
        ("resnext50_32x4d", ("layer2.1",), "light", 32),
        ("efficientnet_b0", ("features.2", "features.5"), "linear", 32),
        ("vgg11_bn", ("features.6",), "light", 32),
        ("alexnet", ("features.2",), "linear", 64),
        ("timm/tf_efficientnet_lite0", ("blocks.2", "blocks.4"), "light", 32),
        ("timm/resnet26d", ("layer1",), "light", 32),
    ],
)
def test_every_family_answers_as_unrouted(backbone: str, after: tuple[str, ...], head: str, size: int) -> None:
    network = random_network(backbone, *after, head=head, size=size, spread=False)
    images = torch.randn(5, 3, size, size)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = all_logits(network, images)
    for threshold in (0.0, 1e9):
        policy = shared_policy("entropy", threshold, len(after))
        answers = Engine(network, policy, precision="float32").predict(images)
        expected = logits[-1] if threshold == 0 else logits[0]
        assert {layer.out_features for layer in network.logit_layers()} == {3}
        assert len(network.logit_layers()) == network.num_exits
        scale = expected.abs().max().clamp_min(1)
        torch.testing.assert_close(answers.logits / scale, expected / scale, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_mode_of_the_network_does_not_matter_and_stays(
    network: MultiExitNetwork, images: Tensor, logits: Tensor
) -> None:
    training = copy.deepcopy(network).train()
    answers = Engine(training, shared_policy("entropy", 0.0, 2), precision="float32").predict(images)
    torch.testing.assert_close(answers.logits, logits[-1], rtol=1e-4, atol=1e-4)
    assert training.training


@pytest.mark.parametrize("packed", [True, False])
def test_bf16_answers_are_near(images: Tensor, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:  # as on a CPU whose packed operators refuse bf16
        monkeypatch.setattr("greenedge.inference.optimized.can_pack", lambda dtype: dtype == torch.float32)
    network = random_network("resnet18", "layer1", "layer3", spread=False)
    answers = Engine(network, shared_policy("entropy", 0.0, 2), precision="bf16").predict(images)
    assert answers.logits.dtype == torch.float32
    expected = all_logits(network, images)[-1]
    difference = (answers.logits - expected).abs().max()
    assert 0 < difference < 0.05 * expected.abs().max()
    assert not torch.equal(answers.logits, answers.logits.bfloat16().float())  # the last layer rounds nothing


def test_the_host_waits_at_most_once_an_exit(network: MultiExitNetwork, images: Tensor, logits: Tensor) -> None:
    """On a GPU each of these operators would wait for the device; chunks as a GPU has them."""
    engine = Engine(network, parting_policy("entropy", logits), precision="float32", chunks=(1 << 30,) * 4)

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            self.count += name in ("nonzero", "_local_scalar_dense", "item", "is_nonzero", "equal", "masked_select")
            return func(*args, **(kwargs or {}))

    moved = []
    original = Tensor.cpu
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "cpu", lambda self: (moved.append(self.shape), original(self))[1])
        with Waits() as waits:
            engine.predict(images)
    # Two early exits decide; the third transfer brings the answers. What is counted besides is on the host's own copy.
    assert len(moved) == 3
    assert waits.count <= 1


@pytest.mark.parametrize("chunks", [(1, 2, 3, 5), (64, 64, 64, 64)])
def test_every_exit_can_be_asked_whatever_the_policy(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, chunks: tuple[int, ...]
) -> None:
    engine = Engine(network, shared_policy("entropy", 1e9, 2), precision="float32", chunks=chunks)
    torch.testing.assert_close(engine.logits(images), logits, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(engine.logits(images[:1] * 1), logits[:, :1], rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="the engine takes normalised float images"):
        engine.logits(images[0])


def test_chunk_sizes_are_measured_once_and_kept(network: MultiExitNetwork, own_cache: Path) -> None:
    policy = shared_policy("entropy", 0.0, 2)
    measured = Engine(network, policy, precision="float32").autotune()
    (kept,) = (own_cache / "greenedge").iterdir()
    written = kept.stat().st_mtime_ns
    again = Engine(network, policy, precision="float32")
    assert again.chunks == measured
    assert again.autotune() == measured
    assert kept.stat().st_mtime_ns == written
    kept.write_text("{damaged")
    assert len(Engine(network, policy, precision="float32").chunks) == 4


def test_repr_is_one_line(network: MultiExitNetwork, images: Tensor) -> None:
    engine = Engine(network, shared_policy("entropy", 1e9, 2), precision="float32")
    assert repr(engine) == (
        "Engine(entropy threshold 1e+09 (nats); OptimizedNetwork(stem to layer1.1, layer2.0 to layer2.1, "
        "layer3.0 to layer3.1, layer4.0 to layer4.1; float32 on cpu))"
    )
    found = engine.predict(images)
    gflops = float(found.gflops[0])
    assert repr(found) == f"Predictions(23 images, exit rates [100.0] %, {gflops:.4g} GFLOPs per image)"
    assert found != engine.predict(images)


def test_bad_batches_are_one_sentence(network: MultiExitNetwork, images: Tensor) -> None:
    engine = Engine(network, shared_policy("entropy", 0.0, 2), precision="float32")
    shape = r"the engine takes normalised float images \(N, 3, 32, 32\), found "
    with pytest.raises(UsageError, match=shape + r"float32 \(2, 3, 64, 64\)$"):
        engine.predict(torch.zeros(2, 3, 64, 64))
    with pytest.raises(UsageError, match=shape + r"uint8 \(2, 3, 32, 32\)$"):
        engine.predict(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(UsageError, match=shape + r"float32 \(3, 32, 32\)$"):
        engine.predict(torch.zeros(3, 32, 32))
    with pytest.raises(DataError, match="a batch of no images was given"):
        engine.predict(images[:0])
    for value in (float("nan"), float("inf")):
        broken = images.clone()
        broken[4, 1, 2, 3] = value
        with pytest.raises(DataError, match="image 4 of the batch holds pixels that are NaN or infinite"):
            engine.predict(broken)
    assert len(engine.predict(images).exits) == 23  # a refused batch leaves nothing behind


def test_a_policy_for_another_number_of_exits_is_refused(network: MultiExitNetwork) -> None:
    with pytest.raises(UsageError, match="the policy has 1 thresholds, the network has 2 early exits"):
        Engine(network, ExitPolicy("entropy", (1.0,)))


@pytest.mark.parametrize("chunks", [(4,), (4, 4, 0, 4), (4, 4, 4, 4, 4)])
def test_chunks_must_be_one_number_per_segment(network: MultiExitNetwork, chunks: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="chunks must be 4 numbers of at least 1, one per segment, found"):
        Engine(network, shared_policy("entropy", 0.0, 2), chunks=chunks)


@pytest.mark.slow
def test_compiled_segments_answer_alike_and_compile_for_few_sizes(
    network: MultiExitNetwork, images: Tensor, logits: Tensor
) -> None:
    policy = parting_policy("entropy", logits)
    engine = Engine(network, policy, precision="float32", compiled=True, chunks=(4, 4, 4, 4))
    with torch.compiler.set_stance("fail_on_recompile"):
        for count in (1, 2, 3, 5, 11, 23):
            check(engine.predict(images[:count]), logits[:, :count], policy, engine.network.gflops.tolist())
        with torch.inference_mode():  # whose tensors are of another kind
            check(engine.predict(images[:7] * 1), logits[:, :7], policy, engine.network.gflops.tolist())
            torch.testing.assert_close(engine.logits(images[:7] * 1), logits[:, :7], rtol=1e-4, atol=1e-4)
        answers = joined(list(engine.stream(images.split(5))))
    check(answers, logits, policy, engine.network.gflops.tolist())


def broken_head(network: MultiExitNetwork, exit_index: int, value: float) -> MultiExitNetwork:
    """The same network, one of whose exits gives logits that are no numbers."""
    broken = copy.deepcopy(network)
    with torch.no_grad():
        broken.logit_layers()[exit_index].bias[1] = value
    return broken


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("exit_index", [0, 1, 2])
def test_an_exit_whose_logits_are_no_numbers_is_named(
    network: MultiExitNetwork, images: Tensor, exit_index: int, value: float
) -> None:
    engine = Engine(broken_head(network, exit_index, value), shared_policy("entropy", 0.0, 2), precision="float32")
    for run in (engine.predict, engine.logits, lambda given: list(engine.stream(given.split(5)))):
        with pytest.raises(CheckpointError, match=f"^exit {exit_index + 1} gives logits that are not finite"):
            run(images)


def test_logits_names_images_with_pixels_that_are_no_numbers(network: MultiExitNetwork, images: Tensor) -> None:
    engine = Engine(network, shared_policy("entropy", 0.0, 2), precision="float32")
    broken = images.clone()
    broken[3, 0, 0, 0], broken[7, 2, 5, 5] = float("nan"), float("-inf")
    for run in (engine.logits, engine.predict):
        with pytest.raises(DataError, match=r"^images 3, 7 of the batch hold pixels that are NaN or infinite"):
            run(broken)


@pytest.mark.parametrize("criterion", ["entropy", "patience", "gain"])
def test_a_bad_image_costs_no_other_its_prediction(
    network: MultiExitNetwork,
    images: Tensor,
    logits: Tensor,
    criterion: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = parting_policy(criterion, logits)
    broken, bad = images[:20].clone(), [1, 6]
    broken[1, 0, 0, 0], broken[6, 2, 5, 5] = float("nan"), float("inf")
    engine = Engine(network, policy, precision="float32", chunks=(8, 8, 8, 8))
    answers = joined(list(engine.stream(broken.split(5))))
    good = [index for index in range(20) if index not in bad]
    assert answers.valid.tolist() == [index in good for index in range(20)]
    kept = Predictions(*(getattr(answers, name)[good] for name in vars(answers)))
    check(kept, logits[:, good], policy, engine.network.gflops.tolist())
    for name, nothing in (("predictions", -1), ("exits", -1), ("confidence", 0), ("gflops", 0)):
        assert getattr(answers, name)[bad].tolist() == [nothing, nothing]
    assert answers.scores[bad].isnan().all()
    assert answers.logits[bad].isnan().all()
    assert [record.getMessage() for record in caplog.records] == [
        f"note: image 1 of batch {batch} of the stream holds pixels that are NaN or infinite" for batch in (0, 1)
    ]


@pytest.mark.parametrize(("max_wait", "chunks"), [(0, (4, 4, 4, 4)), (7, (64, 64, 64, 64)), (7, (1, 2, 3, 4))])
def test_no_prediction_waits_for_more_than_so_many_later_images(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, max_wait: int, chunks: tuple[int, ...]
) -> None:
    policy = parting_policy("entropy", logits)
    engine = Engine(network, policy, precision="float32", chunks=chunks)
    read: list[int] = []

    def reading() -> Iterator[Tensor]:
        for batch in images[:22].split(2):
            read.append(len(batch))
            yield batch

    answered, found = 0, []
    for answers in engine.stream(reading(), max_wait=max_wait):
        answered += len(answers.exits)
        found.append(answers)
        assert sum(read) <= min(22, answered + max_wait + 1)  # those of the batch that made it late, besides
    check(joined(found), logits[:, :22], policy, engine.network.gflops.tolist())
    with pytest.raises(UsageError, match="max_wait is -1"):
        engine.stream([images], max_wait=-1)


def test_few_survivors_hold_nothing_back_for_ever(network: MultiExitNetwork, images: Tensor, logits: Tensor) -> None:
    """One image in 23 stays, and its segments' chunks would never fill."""
    scores = CRITERIA["entropy"].score_exit(logits[0], None)[0].double().sort().values
    policy = ExitPolicy("entropy", (float((scores[-1] + scores[-2]) / 2), 0.0))
    engine = Engine(network, policy, precision="float32", chunks=(16, 16, 64, 64))
    read = []
    batches = (read.append(1) or images for _ in range(12))  # type: ignore[func-returns-value]
    first = next(iter(engine.stream(batches, max_wait=100)))
    assert sum(first.exits == 2) == 1
    place = int((first.exits == 2).nonzero())
    assert len(read) == -(-(place + 1 + 100) // 23)  # batches of 23, until 100 images have come after it


def test_what_waits_is_copied_once(network: MultiExitNetwork, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(network, shared_policy("entropy", 0.0, 2), precision="float32", chunks=(64, 64, 64, 64))
    batch = images[:2].contiguous(memory_format=torch.channels_last)
    copied, clone = [], Tensor.clone
    monkeypatch.setattr(Tensor, "clone", lambda self, **options: (copied.append(len(self)), clone(self, **options))[1])
    list(engine.stream([batch] * 20))
    assert sum(copied) == 40


def collect_into(found: list[Predictions], stream: Iterator[Predictions]) -> None:
    for answers in stream:
        found.append(answers)  # one by one: `extend` would lose them all where the stream fails


def test_a_batch_that_cannot_be_read_costs_those_before_it_nothing(
    network: MultiExitNetwork, images: Tensor, logits: Tensor
) -> None:
    policy = parting_policy("entropy", logits)
    engine = Engine(network, policy, precision="float32")

    def failing() -> Iterator[Tensor]:
        yield from images[:20].split(5)
        raise ArithmeticError("of the caller")

    for batches, error, words in (
        ([*images[:20].split(5), images[:2, :, :5]], UsageError, "^batch 4 of the stream: the engine takes"),
        (failing(), ArithmeticError, "^of the caller$"),
    ):
        found: list[Predictions] = []
        with pytest.raises(error, match=words):
            collect_into(found, engine.stream(batches))
        check(joined(found), logits[:, :20], policy, engine.network.gflops.tolist())


@pytest.mark.parametrize(("chosen_in", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_runs_in_what_the_policy_was_chosen_in(
    network: MultiExitNetwork, chosen_in: Literal["float32", "bf16"], dtype: torch.dtype
) -> None:
    policy = ExitPolicy("entropy", (1.0, 1.0), precision=chosen_in)
    other: Literal["float32", "bf16"] = "bf16" if chosen_in == "float32" else "float32"
    engine = Engine(network, policy)
    assert engine.network.dtype == dtype
    assert Engine(network, policy, precision=chosen_in).network.dtype == dtype
    words = f"the policy was chosen in {chosen_in}, and the network is to run in {other}; leave the precision out"
    with pytest.raises(UsageError, match=words):
        Engine(network, policy, precision=other)
    with pytest.raises(UsageError, match=f"the policy was chosen in {other}, and"):
        engine.policy = dataclasses.replace(policy, precision=other)
    with pytest.raises(UsageError, match="the policy has 1 thresholds"):
        engine.policy = ExitPolicy("entropy", (1.0,))


@pytest.mark.parametrize(("keeps", "calls"), [(True, 1), (False, 0)])
def test_the_allocator_of_the_process_is_left_alone_where_that_is_asked_for(
    network: MultiExitNetwork, keeps: bool, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("greenedge.device.memory.disable_malloc_trim", lambda: asked.append(True))
    Engine(network, shared_policy("entropy", 0.0, 2), precision="float32", disable_malloc_trim=keeps)
    assert len(asked) == calls


def test_float32_on_a_gpu_is_no_tf32_and_cudnn_stays_on(network: MultiExitNetwork) -> None:
    seen: list[tuple[bool, bool, bool, bool]] = []

    class Spy(nn.Module):
        def forward(self, features: Tensor) -> tuple[Tensor, None]:
            cudnn = torch.backends.cudnn
            products = torch.backends.cuda.matmul.allow_tf32
            seen.append((cudnn.enabled, cudnn.benchmark, bool(cudnn.allow_tf32), products))
            return features, None

    made = Engine(network, shared_policy("entropy", 0.0, 2), precision="float32").network
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    try:
        for dtype in (torch.float32, torch.bfloat16):
            spied = dataclasses.replace(made, modules=(Spy(),), device=torch.device("cuda"), dtype=dtype)
            spied.run(0, torch.zeros(1))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = False
    assert seen == [(True, True, False, False), (True, True, True, True)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_a_gpu_answers_alike(network: MultiExitNetwork, images: Tensor, logits: Tensor, name: str) -> None:
    policy = parting_policy(name, logits)
    engine = Engine(copy.deepcopy(network).cuda(), policy, precision="float32")
    check(engine.predict(images), logits, policy, engine.network.gflops.tolist())
    answers = joined(list(engine.stream(images.split(5))))
    check(answers, logits, policy, engine.network.gflops.tolist())
    torch.testing.assert_close(engine.logits(images).cpu(), logits, rtol=1e-4, atol=1e-4)


def test_in_bf16_the_layers_that_give_logits_keep_their_weights(network: MultiExitNetwork) -> None:
    made = Engine(network, shared_policy("entropy", 0.0, 2), precision="bf16").network
    kept = [
        {module.weight.data_ptr(): module for module in segment.modules() if isinstance(module, nn.Linear)}
        for segment in made.segments
    ]
    found = [module for modules in kept for module in modules.values() if module.weight.dtype == torch.float32]
    for layer in network.logit_layers():
        assert any(torch.equal(layer.weight, each.weight) and torch.equal(layer.bias, each.bias) for each in found)


def test_a_compiled_engine_runs_what_was_compiled_for_every_size(
    network: MultiExitNetwork, images: Tensor, logits: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler itself is run by the slow test below."""
    sizes: list[list[int]] = []

    class Compiled(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module, self.sizes = module, []
            sizes.append(self.sizes)

        def forward(self, features: Tensor) -> Any:
            self.sizes.append(len(features))
            return self.module(features)

    monkeypatch.setattr(torch, "compile", lambda module, **_: Compiled(module))
    policy = parting_policy("entropy", logits)
    engine = Engine(network, policy, precision="float32", compiled=True, chunks=(4, 64, 5, 32))
    assert engine.chunks == (4, 64, 4, 32)
    assert sizes == [[1, 4, 16, 32, 64]] * 4
    check(engine.predict(images), logits, policy, engine.network.gflops.tolist())
    assert all(set(each) <= {1, 4, 16, 32, 64} and len(each) > 5 for each in sizes)
