from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from greenedge.data.layouts import ClassInfo
from greenedge.data.loader import InputTransform
from greenedge.errors import DataError, GreenedgeError, InstallationError, UsageError
from greenedge.exits.policy import ExitPolicy, SavedPolicy, shared_policy, write_policy
from greenedge.files import seal_of
from greenedge.inference.export import ExportMetadata, complete_export, export_network
from greenedge.inference.export_check import check_export
from greenedge.inference.export_parity import measure_parity
from greenedge.inference.manifest import Kind, read_manifest
from greenedge.inference.parity_report import ParityReport, seeded_images
from tests.training.helpers import tiny_network

CLASSES = tuple(ClassInfo(f"n{index}", f"name {index}") for index in range(3))
METADATA = ExportMetadata((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 24, CLASSES, "a" * 64, {"config": "{}"})
TRANSFORM = InputTransform(16, METADATA.mean, METADATA.std)
SAVED = SavedPolicy(ExitPolicy("entropy", (1.05,)), ("0", "1"), "a" * 64)


def write(folder: Path, kind: Kind) -> ParityReport:
    network = tiny_network(width=16)
    manifest = export_network(network, SAVED, METADATA, folder, kind)
    stored = seeded_images(20, 24)
    parity = measure_parity(network, SAVED.policy, folder, manifest, ("random", stored), TRANSFORM)
    complete_export(folder, manifest, {"parity.json": json.dumps(asdict(parity)), "README.md": "# A card\n"})
    return parity


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete export, for reading only."""
    path = tmp_path_factory.mktemp("exports") / "whole"
    path.mkdir()
    write(path, "onnx")
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    copied: Path = shutil.copytree(whole, tmp_path / "export")
    return copied


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> None:
    content = json.loads(path.read_text())
    content.pop("digest", None)
    change(content)
    path.write_text(json.dumps(content | ({"digest": seal_of(content)} if sealed else {})))


def reseal(folder: Path, name: str) -> None:
    """Lists a file as it is now, as somebody who tampers with an export would."""
    import hashlib

    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    rewrite(folder / "manifest.json", lambda content: content["files"].update({name: digest}))


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_measure_parity_finds_what_can_be_computed_by_hand(kind: Kind, tmp_path: Path) -> None:
    parity = write(tmp_path, kind)
    assert (parity.images, parity.source, parity.verdict) == (20, "random", "equal")
    assert (parity.equal_exits, parity.equal_predictions) == (1.0, 1.0)
    assert (parity.preprocessing is None) == (kind == "torch")
    assert 0 <= parity.relative < 1e-4
    images = TRANSFORM(torch.from_numpy(seeded_images(20, 24)))
    with torch.no_grad():
        logits = torch.stack(tiny_network(width=16).eval()(images)).numpy()
    assert [each.scale for each in parity.exits] == pytest.approx(np.abs(logits).max(axis=(1, 2)).clip(1), rel=1e-4)
    np.testing.assert_allclose(np.array(parity.seeded.logits), logits[:, :8], atol=1e-4)
    entropies = torch.distributions.Categorical(logits=torch.from_numpy(logits[0])).entropy()
    assert 0 < int((entropies < 1.05).sum()) < 20  # images exit at both
    checked = check_export(tmp_path)
    assert (checked.whole_difference is None) == (kind == "torch")


def test_measure_parity_refuses_another_network_transform_and_runner(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, stored = read_manifest(whole), ("random", seeded_images(20, 24))
    network, policy = tiny_network(width=16), SAVED.policy
    with pytest.raises(InstallationError, match=r"logits of exit \d differ by .* of their scale; try other versions"):
        measure_parity(tiny_network(seed=1, width=16), policy, whole, manifest, stored, TRANSFORM)  # type: ignore[arg-type]
    other = InputTransform(16, (0.4, 0.5, 0.61), METADATA.std)
    with pytest.raises(InstallationError, match=r"the runner's preprocessing of images differs by 0\.0"):
        measure_parity(network, policy, whole, manifest, stored, other)  # type: ignore[arg-type]
    otherwise = ExitPolicy("entropy", (0.5,))  # than the one in the folder, which the runner goes by
    with pytest.raises(InstallationError, match=r"the runner predicts \d+ of 20 images otherwise"):
        measure_parity(network, otherwise, whole, manifest, stored, TRANSFORM)  # type: ignore[arg-type]


def test_check_export_finds_nothing_wrong_with_a_whole_one(folder: Path) -> None:
    (folder / "notes.txt").write_text("of whoever uses it")
    found = check_export(folder)
    assert found.others == ("notes.txt",)
    assert found.saved == SAVED
    assert found.manifest.trained == {"config": "{}"}
    assert found.whole_difference is not None
    assert found.network_difference is not None
    assert max(found.whole_difference, found.network_difference) < 1e-4


def swap(folder: Path) -> None:
    first, second = folder / "segment-0.onnx", folder / "segment-1.onnx"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def cut(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def relink(folder: Path) -> None:
    target = folder.parent / "elsewhere"
    (folder / "network.onnx").rename(target)
    (folder / "network.onnx").symlink_to(target)


WRONG: list[tuple[Callable[[Path], object], type[GreenedgeError], str]] = [
    (lambda folder: (folder / "manifest.json").unlink(), DataError, r"has no manifest\.json, so it is no export"),
    (
        lambda folder: rewrite(folder / "manifest.json", lambda content: content.update(format="greenedge-export/3")),
        DataError,
        r"was written by another version of greenedge \(greenedge-export/3\); export again$",
    ),
    (
        lambda folder: rewrite(folder / "manifest.json", lambda content: content.update(image_size=32), sealed=False),
        DataError,
        'has no "digest", so that a change would not be noticed',
    ),
    (lambda folder: (folder / "segment-1.onnx").unlink(), DataError, r"segment-1\.onnx is missing; export again$"),
    (lambda folder: (folder / "policy.json").unlink(), DataError, r"policy\.json is missing; export again$"),
    (lambda folder: (folder / "README.md").unlink(), DataError, r"README\.md is missing; export again$"),
    (
        lambda folder: (folder / "segment-2.onnx").touch(),
        DataError,
        r"segment-2\.onnx is not of this export; remove it",
    ),
    (
        lambda folder: cut(folder, "segment-0.onnx"),
        DataError,
        r"segment-0\.onnx: was changed or truncated after it was",
    ),
    (lambda folder: cut(folder, "runner_images.py"), DataError, r"runner_images\.py: was changed or truncated after"),
    (swap, DataError, r"segment-0\.onnx: holds segment-1\.onnx; export again$"),
    (relink, DataError, r"network\.onnx: is no ordinary file; export again$"),
    (
        lambda folder: write_policy(folder / "policy.json", SavedPolicy(SAVED.policy, ("0", "2"))),
        UsageError,
        r"policy\.json: is for a network with exits after 0, 2, not 0, 1; tune again$",
    ),
    (
        lambda folder: write_policy(folder / "policy.json", SavedPolicy(SAVED.policy, ("0", "1"), "b" * 64)),
        UsageError,
        r"policy\.json: was chosen for other weights of this network; tune again$",
    ),
    (
        lambda folder: write_policy(
            folder / "policy.json", SavedPolicy(ExitPolicy("entropy", (1.0,), precision="bf16"), ("0", "1"))
        ),
        UsageError,
        r"policy\.json: was chosen in bf16, and the graphs run in float32",
    ),
]


@pytest.mark.parametrize(("change", "kind", "words"), WRONG, ids=[words[:30] for _, _, words in WRONG])
def test_check_export_names_what_is_wrong(
    folder: Path, change: Callable[[Path], object], kind: type[GreenedgeError], words: str
) -> None:
    change(folder)
    with pytest.raises(kind, match=words):
        check_export(folder)


def test_check_export_takes_another_policy_for_the_same_network(folder: Path) -> None:
    write_policy(folder / "policy.json", SavedPolicy(shared_policy("margin", 0.5, 1), ("0", "1")))
    assert check_export(folder).saved.policy.criterion == "margin"


def test_check_export_notices_other_weights_under_a_new_seal(folder: Path) -> None:
    """Digests do not say who wrote a folder; the logits that were kept at least say that this is another network."""
    for name, words in (("network.onnx", "whole graph and the segments"), ("segment-1.onnx", "network and the export")):
        path, content = folder / name, (folder / name).read_bytes()
        model = onnx.load_from_string(content)
        tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        values = np.frombuffer(tensor.raw_data, np.float32) * 1.1
        tensor.raw_data = values.astype(np.float32).tobytes()
        path.write_bytes(model.SerializeToString())
        reseal(folder, name)
        expected = "whole graph and the segments" if name == "segment-1.onnx" else words
        with pytest.raises(DataError, match=f"^{folder}: the {expected} differ at exit . by .* of the logits' scale"):
            check_export(folder)
        path.write_bytes(content)
        reseal(folder, name)
    assert check_export(folder).whole_difference is not None


def test_check_export_without_the_runtime_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "greenedge.inference.onnx_runner", raising=False)
    with pytest.raises(InstallationError, match=r"onnxruntime is not installed; pip install 'greenedge\[onnx\]'$"):
        check_export(folder)


def test_check_export_of_a_graph_that_cannot_be_loaded_is_one_sentence(folder: Path) -> None:
    cut(folder, "network.onnx")
    reseal(folder, "network.onnx")
    with pytest.raises(InstallationError, match="its graphs cannot be loaded"):
        check_export(folder)


def test_check_export_says_what_the_runner_refuses(folder: Path) -> None:
    rewrite(folder / "manifest.json", lambda content: content.update(leaves_below={}))
    with pytest.raises(DataError, match=r"the criterion 'entropy' of policy\.json is unknown here$"):
        check_export(folder)


DAMAGED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda content: content.update(kind="tflite"), "kind: expected onnx or torch, found 'tflite'"),
    (lambda content: content.update(image_size=0), "image_size: expected a number at least 1"),
    (lambda content: content.update(image_size=True), "image_size: expected a whole number"),
    (lambda content: content.update(classes=[]), "classes: there are none"),
    (lambda content: content.update(exits=[]), "exits: there are none"),
    (lambda content: content.update(quantised=1), "quantised: unknown key"),
    (lambda content: content.pop("network"), "network: missing"),
    (lambda content: content.update(network="../network.onnx"), "network: expected the name of a file in the folder"),
    (lambda content: content.update(network="other.onnx"), "files: other.onnx is not among them"),
    (lambda content: content["exits"][0].update(file="/etc/passwd"), "file: expected the name of a file in the folder"),
    (lambda content: content["files"].update({"../x": "0" * 64}), "files: '../x' is not the name of such a file"),
    (lambda content: content["files"].update({"x": "0"}), "files.x: expected a SHA-256"),
    (lambda content: content["preprocessing"].update(std=[0.1, 0.2, 0]), "std.2: expected a number above 0"),
    (lambda content: content["preprocessing"].update(resize=[]), "resize: is not what this version of greenedge does"),
    (lambda content: content.update(trained={"config": 1}), "trained.config: expected text"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGED, ids=[words[:40] for _, words in DAMAGED])
def test_read_manifest_names_the_key_that_is_invalid(
    folder: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    rewrite(folder / "manifest.json", change)
    with pytest.raises(DataError) as caught:
        read_manifest(folder)
    assert str(caught.value).startswith(f"{folder}/manifest.json: is damaged: ")
    assert words in str(caught.value)


def test_read_manifest_refuses_what_is_no_manifest(folder: Path, tmp_path: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    for content in ("", "[]", "{damaged", "[" * 100_000, '{"format": "greenedge-policy/1"}', text[:-5]):
        path.write_text(content)
        with pytest.raises(DataError, match=r"manifest\.json: is damaged"):
            read_manifest(folder)
    path.write_text(text.replace("name 1", "name 7"))
    with pytest.raises(DataError, match=r"manifest\.json: was changed after it was written; export again$"):
        read_manifest(folder)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"has no manifest\.json, so it is no export of greenedge"):
        read_manifest(tmp_path / "file")


def test_seeded_images_are_always_the_same() -> None:
    images = seeded_images(2, 16)
    assert (images.dtype, images.shape) == (np.uint8, (2, 3, 16, 16))
    assert images[0, 0, :4, 0].tolist() == [images[0, 0, 0, 0]] * 2 + [images[0, 0, 2, 0]] * 2
    assert np.array_equal(seeded_images(5, 16)[:2], images)
    assert int(images.astype(np.int64).sum()) == 197_252  # whatever the version of numpy
