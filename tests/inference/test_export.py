from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import greenedge
from greenedge.cost.flops import count_costs
from greenedge.data.layouts import ClassInfo
from greenedge.errors import UsageError
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, shared_policy
from greenedge.files import seal_of
from greenedge.inference import export, graphs
from greenedge.inference.export import ExportMetadata, export_network, is_export_file
from greenedge.inference.manifest import Kind, is_export
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import all_logits, random_network
from tests.training.helpers import full_disk, tiny_network

MEANING = ExportMetadata((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 64, tuple(ClassInfo(f"n{i}", f"name {i}") for i in range(3)))
FAMILIES = [
    ("timm/tf_efficientnet_lite0", ("blocks.2",), "light", 32),
    ("timm/resnet26d", ("layer1",), "light", 32),
    ("efficientnet_b0", ("features.2",), "linear", 32),
    ("resnext50_32x4d", ("layer2.1",), "paper", 32),
    ("alexnet", ("features.2",), "linear", 64),
]
QUICK = ("torch", FAMILIES[0])
Run = Callable[[Tensor], list[Tensor]]


def exported(network: MultiExitNetwork, folder: Path, kind: Kind) -> Path:
    folder.mkdir(exist_ok=True)
    exits = tuple(segment.after for segment in network.segments)
    policy = shared_policy("entropy", 0.5, network.num_exits - 1)
    export_network(network, SavedPolicy(policy, exits, "digest"), MEANING, folder, kind)
    return folder


@pytest.fixture(scope="module")
def onnx_folder(network: MultiExitNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(network, tmp_path_factory.mktemp("onnx"), "onnx")


@pytest.fixture(scope="module")
def torch_folder(network: MultiExitNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(network, tmp_path_factory.mktemp("torch"), "torch")


def load_onnx(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda images: [torch.from_numpy(each) for each in session.run(None, {given.name: images.numpy()})]


def load_torch(path: Path) -> Run:
    program = torch.export.load(path).module()
    return lambda images: list(program(images))


def check_graphs(folder: Path, network: MultiExitNetwork, counts: Sequence[int]) -> None:
    """The segments in a row, and the whole, say what the network says."""
    manifest = json.loads((folder / "manifest.json").read_text())
    load = {"onnx": load_onnx, "torch": load_torch}[manifest["kind"]]
    whole, segments = load(folder / manifest["network"]), [load(folder / each["file"]) for each in manifest["exits"]]
    for count in counts:
        shape = (count, 3, network.image_size, network.image_size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(count))
        logits = all_logits(network, images)
        scale = logits.abs().max().clamp_min(1)
        handed_on, chained = [images], []
        with torch.no_grad():
            for segment in segments:
                *handed_on, here = segment(handed_on[0])
                chained.append(here)
            assert handed_on == []
            for found in (torch.stack(whole(images)), torch.stack(chained)):
                assert found.dtype == torch.float32
                torch.testing.assert_close(found / scale, logits / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_segments_in_a_row_and_the_whole_say_what_the_network_says(
    network: MultiExitNetwork, kind: Kind, request: pytest.FixtureRequest
) -> None:
    check_graphs(request.getfixturevalue(f"{kind}_folder"), network, counts=(1, 2, 9))


def test_a_network_without_early_exits_has_one_segment(tmp_path: Path) -> None:
    network = random_network("resnet18")
    check_graphs(exported(network, tmp_path, "torch"), network, counts=(1, 3))
    assert {path.name for path in tmp_path.glob("*.pt2")} == {"segment-0.pt2", "network.pt2"}


@pytest.mark.parametrize(
    ("kind", "backbone", "after", "head", "size"),
    [
        pytest.param(kind, *family, marks=[] if (kind, family) == QUICK else pytest.mark.slow)
        for kind in ("torch", "onnx")
        for family in FAMILIES
    ],
)
def test_every_family_can_be_exported(
    kind: Kind, backbone: str, after: tuple[str, ...], head: str, size: int, tmp_path: Path
) -> None:
    network = random_network(backbone, *after, head=head, size=size, spread=False)
    check_graphs(exported(network, tmp_path, kind), network, counts=(1, 3))


def test_onnx_graphs_are_valid_and_name_what_they_read_and_give(onnx_folder: Path) -> None:
    names = {}
    for path in sorted(onnx_folder.glob("*.onnx")):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        names[path.stem] = ([each.name for each in model.graph.input], [each.name for each in model.graph.output])
        values = [*model.graph.input, *model.graph.output]
        assert {value.type.tensor_type.shape.dim[0].dim_param for value in values} == {"batch"}
        assert not any(node.metadata_props for node in model.graph.node)  # stack traces of the exporting machine
    assert names == {
        "segment-0": (["features"], ["next_features", "logits"]),
        "segment-1": (["features"], ["next_features", "logits"]),
        "segment-2": (["features"], ["logits"]),
        "network": (["images"], ["logits_0", "logits_1", "logits_2"]),
    }


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_no_file_holds_the_weights_of_another_segment(
    network: MultiExitNetwork, kind: Kind, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(f"{kind}_folder")
    sizes = {path.stem: path.stat().st_size for path in folder.iterdir() if path.suffix in (".onnx", ".pt2")}
    assert sorted(sizes) == ["network", "segment-0", "segment-1", "segment-2"]
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    slack = 150_000  # the graphs themselves; the smallest segment's weights are 900,000 bytes
    assert sum(size for name, size in sizes.items() if name != "network") < weights + 3 * slack
    assert sizes["network"] < weights + 2 * slack
    parts = [
        sum(parameter.nbytes for block in segment.blocks for parameter in block.parameters())
        for segment in network.segments
    ]
    for index, head in enumerate([*network.heads, network.backbone.get_submodule("fc")]):
        own = parts[index] + sum(parameter.nbytes for parameter in head.parameters())
        assert sizes[f"segment-{index}"] < own + slack


def test_the_manifest_says_all_that_a_runner_needs(network: MultiExitNetwork, onnx_folder: Path) -> None:
    manifest = json.loads((onnx_folder / "manifest.json").read_text())
    digest = manifest.pop("digest")
    assert digest == seal_of(manifest)
    versions = manifest.pop("versions")
    model = onnx.load(onnx_folder / "segment-0.onnx")
    assert versions == {
        **{name: version(name) for name in ("numpy", "onnx", "onnxruntime")},
        "torch": torch.__version__,
        "greenedge": greenedge.__version__,
        "opset": str({each.domain: each.version for each in model.opset_import}[""]),
    }
    written = [path for path in onnx_folder.iterdir() if path.name not in ("manifest.json", "policy.json")]
    assert manifest.pop("files") == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written}
    assert manifest == {
        "format": "greenedge-export/2",
        "kind": "onnx",
        "precision": "float32",
        "image_size": 32,
        "preprocessing": {
            "stored_size": 64,
            "mean": [0.4, 0.5, 0.6],
            "std": [0.1, 0.2, 0.3],
            "pixel_range": [0, 1],
            "colour": "RGB, upright by EXIF, transparency over white",
            "resize": [
                {
                    "to": "stored_size",
                    "filter": "bicubic",
                    "antialias": True,
                    "side": "shorter",
                    "crop": "centre",
                    "pixels": "uint8",
                },
                {
                    "to": "image_size",
                    "filter": "bicubic",
                    "antialias": True,
                    "side": "both",
                    "crop": None,
                    "pixels": "float32, clamped",
                },
            ],
        },
        "classes": [{"id": f"n{index}", "name": f"name {index}"} for index in range(3)],
        "exits": [
            {"after": cost.after, "gflops": cost.gflops, "file": f"segment-{index}.onnx"}
            for index, cost in enumerate(count_costs(network).exits)
        ],
        "network": "network.onnx",
        "leaves_below": {
            "entropy": True,
            "normalised_entropy": True,
            "max_probability": False,
            "margin": False,
            "patience": False,
            "gain": True,
        },
        "weights": "",
        "trained": {},
        "quantization": None,
    }
    exits = tuple(segment.after for segment in network.segments)
    assert read_policy(onnx_folder / "policy.json", exits, "digest").policy == shared_policy("entropy", 0.5, 2)


def test_the_runner_comes_with_onnx_alone(onnx_folder: Path, torch_folder: Path) -> None:
    source = Path(export.__file__).with_name("onnx_runner.py")
    assert (onnx_folder / "runner.py").read_bytes() == source.read_bytes()
    for other in ("runner_criteria.py", "runner_files.py", "runner_images.py"):
        assert (onnx_folder / other).read_bytes() == source.with_name(other).read_bytes()
    assert not list(torch_folder.glob("runner*"))


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_not_changed_and_its_mode_does_not_matter(training: bool, tmp_path: Path) -> None:
    network = tiny_network().train(training)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = copy.deepcopy(network)
    evaluated = copy.deepcopy(network).eval()
    exported(network, tmp_path, "torch")
    check_graphs(tmp_path, evaluated, counts=(2,))
    assert [type(module) for module in network.modules()] == [type(module) for module in before.modules()]
    assert [module.training for module in network.modules()] == [module.training for module in before.modules()]
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name])


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxscript and onnxruntime; pip install 'greenedge\[onnx\]'$"):
        exported(tiny_network(), tmp_path, "onnx")
    assert list(tmp_path.iterdir()) == []
    exported(tiny_network(), tmp_path, "torch")


def test_weights_beyond_what_an_onnx_file_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_ONNX_BYTES", 1000)
    with pytest.raises(UsageError, match="GB of weights are more than the 2 GB that one ONNX file holds; use --format"):
        exported(tiny_network(), tmp_path, "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_full_disk_leaves_no_file_half_written(kind: Kind, tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=r"cannot be written \(File too large\)"):
        exported(tiny_network(width=64), tmp_path, kind)
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_known_by_its_manifest_and_its_files_by_their_names(tmp_path: Path) -> None:
    assert not is_export(tmp_path)
    exported(tiny_network(), tmp_path, "torch")
    assert is_export(tmp_path)
    assert all(is_export_file(path.name) for path in tmp_path.iterdir())
    assert not any(map(is_export_file, ("network.txt", "segment-1.txt", "notes.onnx", "segment.onnx")))
    for content in ("{damaged", "[]", '{"format": "greenedge-policy/1"}', "[" * 100_000):
        (tmp_path / "manifest.json").write_text(content)
        assert not is_export(tmp_path)


def test_a_policy_of_another_precision_is_refused_and_one_says_how_it_was_chosen(tmp_path: Path) -> None:
    network = tiny_network()
    exits = tuple(segment.after for segment in network.segments)
    chosen = {"goal": "budget", "images": 12}
    for precision in ("float32", "bf16"):
        policy = ExitPolicy("entropy", (0.5,), precision=precision)  # type: ignore[arg-type]
        saved = SavedPolicy(policy, exits, "digest", chosen)
        folder = tmp_path / precision
        folder.mkdir()
        if precision == "float32":
            export_network(network, saved, MEANING, folder, "torch")
            assert read_policy(folder / "policy.json", exits, "digest") == saved
        else:
            with pytest.raises(UsageError, match=r"chosen in bf16, .* tune again with --precision float32"):
                export_network(network, saved, MEANING, folder, "torch")
            assert list(folder.iterdir()) == []
