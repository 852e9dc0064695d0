from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch

from greenedge.config.records import digest_of
from greenedge.data.decode import decode_image
from greenedge.data.loader import build_transform
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, write_policy
from greenedge.inference import export as export_module
from greenedge.inference.graphs import torch_files
from greenedge.inference.manifest import read_manifest
from greenedge.inference.onnx_runner import Runner
from greenedge.training.checkpoint import info_from_metadata, info_to_metadata, save_checkpoint
from greenedge.training.trained import load_model
from greenedge.workflows import export as workflow
from greenedge.workflows.export import export as run_export
from greenedge.workflows.policies import PolicyOptions
from tests.cli.conftest import Cli
from tests.conftest import write_official_layout
from tests.training.helpers import full_disk

EXITS = ("layer1.1", "layer3.1", "layer4.1")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """It parts the validation images between the exits."""
    path = tmp_path / "chosen.json"
    write_policy(path, SavedPolicy(ExitPolicy("entropy", (1.0, 1.05), (1.0, 1.1, 0.9)), EXITS))
    return path


def test_the_exported_runner_answers_as_predict_does(cli: Cli, weights: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "exported"
    result = cli("export", "--weights", weights, "--policy", policy, "--format", "onnx", "--out", out)
    assert (result.code, result.out) == (0, "")
    assert f"{out}: resnet18 with exits after layer1 (light), layer3 (linear) for 32 px" in result.err
    assert "images exit by entropy thresholds 1, 1.05 (nats), temperatures 1, 1.1, 0.9" in result.err
    assert result.err.splitlines()[-1] == f"next: python {out}/runner.py {out} IMAGE..."
    assert "compared with the network on 6 calibration images: logits within " in result.err
    names = ["segment-0.onnx", "segment-1.onnx", "segment-2.onnx", "network.onnx", "README.md", "parity.json"]
    assert {path.name for path in out.iterdir()} == {
        *names,
        "manifest.json",
        "policy.json",
        "runner.py",
        "runner_criteria.py",
        "runner_files.py",
        "runner_images.py",
    }

    pictures = sorted((write_official_layout(tmp_path / "official") / "val" / "images").iterdir())
    told = cli("predict", "--weights", weights, "--policy", policy, "--json", *pictures)
    predictions = json.loads(told.out)["predictions"]
    model = load_model(weights)
    pixels = np.stack([decode_image(path.read_bytes(), str(path), model.stored_size) for path in pictures])
    images = build_transform(model.config.data, channels_last=False)(torch.from_numpy(pixels)).numpy()
    runner = Runner(out)
    answers = runner.predict(images)
    assert [runner.manifest["classes"][index]["id"] for index in answers.predictions] == [
        each["label"] for each in predictions
    ]
    assert (answers.exits + 1).tolist() == [each["exit"] for each in predictions]
    assert answers.confidence.tolist() == pytest.approx([each["probability"] for each in predictions], abs=1e-3)
    assert answers.gflops.tolist() == pytest.approx([each["gflops"] for each in predictions])
    wanted = {"stored_size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert {key: runner.manifest["preprocessing"][key] for key in wanted} == wanted
    assert runner.manifest["image_size"] == 32

    text = pictures[0].parent / "text.jpg"
    text.write_text("no image")
    command = [sys.executable, str(out / "runner.py"), str(out), str(text), *map(str, pictures)]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.stderr == f"error: {text}: is no image that can be read (UnidentifiedImageError)\n"
    assert printed.returncode == 1
    rows = [line.split("\t") for line in printed.stdout.splitlines()]
    assert [row[3] for row in rows] == [each["image"] for each in predictions]
    assert [row[0] for row in rows] == [each["label"] for each in predictions]
    assert [int(row[1]) for row in rows] == [each["exit"] for each in predictions]
    assert [float(row[2]) for row in rows] == pytest.approx([each["probability"] for each in predictions], abs=1e-3)


def test_a_former_export_is_replaced_and_other_files_stay(
    cli: Cli, weights: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    out.mkdir()  # an empty folder may be filled
    arguments = ("export", "--weights", weights, "--format", "torch", "--out", out)
    assert cli(*arguments).code == 0
    digest = digest_of(weights.read_bytes())
    assert read_policy(out / "policy.json", EXITS, digest).policy == ExitPolicy("entropy", (0.0, 0.0))
    notes, stale = out / "notes.txt", out / "segment-7.onnx"
    for path in (notes, stale):
        path.write_text("of whoever made it")
    result = cli(*arguments, "--policy", policy)
    assert result.code == 0
    assert "next:" not in result.err
    names = ["segment-0.pt2", "segment-1.pt2", "segment-2.pt2", "network.pt2", "README.md", "parity.json"]
    assert {path.name for path in out.iterdir()} == {*names, "manifest.json", "policy.json", "notes.txt"}
    checked = cli("export", "--check", out)
    assert (checked.code, checked.err) == (0, "")
    assert "not run: loading programs of torch.export may run code that is in them" in checked.out
    assert "notes.txt" in checked.out
    digest = digest_of(weights.read_bytes())
    assert read_policy(out / "policy.json", EXITS, digest).policy.temperatures == (
        1.0,
        1.1,
        0.9,
    )
    program = torch.export.load(out / "network.pt2").module()
    network = load_model(weights).network
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(list(program(images)), network(images), rtol=1e-4, atol=1e-4)

    before = {path: path.read_bytes() for path in out.iterdir()}
    with full_disk():
        failed = cli(*arguments)
    assert (failed.code, failed.sentence) == (1, f"{out}: cannot be written (File too large); nothing was kept")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named_and_nothing_stays(cli: Cli, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out, sentence in (
        (tmp_path / "new" / "deep", "cannot be written (File too large); nothing was kept"),
        (tmp_path / "file" / "out", "Not a directory; nothing was kept"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with full_disk():
            result = cli("export", "--weights", weights, "--format", "torch", "--out", out)
        assert (result.code, result.sentence) == (1, f"{out}: {sentence}")
        assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_exported_is_one_sentence(cli: Cli, weights: Path, policy: Path, tmp_path: Path) -> None:
    full, file, out = tmp_path / "full", tmp_path / "file", tmp_path / "out"
    full.mkdir()
    for path in (file, full / "manifest.json"):
        path.write_text("{}")
    other = tmp_path / "other.json"
    write_policy(other, SavedPolicy(ExitPolicy("entropy", (1.0,)), ("layer1.1", "layer4.1")))
    for arguments, code, sentence in (
        (
            ["--out", full],
            2,
            f"{full}: holds files that are no export of greenedge; choose another --out, or empty it first",
        ),
        (["--out", file], 2, f"{file}: exists already and is no folder; choose another --out, or remove it first"),
        (
            ["--out", out, "--policy", other],
            2,
            f"{other}: has 1 thresholds, the network has 2 early exits; tune again",
        ),
        (
            ["--out", out, "--weights", file],
            1,
            f"{file}: cannot be read; it is truncated or not a .safetensors checkpoint",
        ),
    ):
        result = cli("export", "--weights", weights, "--format", "torch", *arguments)
        assert result.code == code
        assert result.sentence.startswith(sentence)
        assert not out.exists()
    assert [path.name for path in full.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("name", ["onnxscript", "onnxruntime"])
def test_a_format_without_its_packages_is_one_sentence(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    result = cli("export", "--weights", weights, "--format", "onnx", "--out", tmp_path / "out")
    sentence = "--format onnx needs onnx, onnxscript and onnxruntime; pip install 'greenedge[onnx]'"
    assert (result.code, result.sentence) == (2, sentence)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    result = cli("export", "--weights", weights, "--format", "tflite", "--out", tmp_path / "out")
    assert result.code == 2
    assert "tflite" in result.err


def test_an_export_says_how_its_policy_was_chosen_and_takes_thresholds(cli: Cli, weights: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "chosen.json", tmp_path / "out"
    chosen = {"goal": "budget", "images": 6}
    policy = ExitPolicy("entropy", (1.0, 1.05), (1.0, 1.1, 0.9), "float32")
    write_policy(path, SavedPolicy(policy, EXITS, "", chosen))
    arguments = ("export", "--weights", weights, "--format", "torch", "--out", out)
    assert cli(*arguments, "--policy", path).code == 0
    digest = digest_of(weights.read_bytes())
    assert read_policy(out / "policy.json", EXITS, digest) == SavedPolicy(policy, EXITS, digest, chosen)
    assert cli(*arguments, "--threshold", "0.9,0.3", "--criterion", "margin").code == 0
    assert read_policy(out / "policy.json", EXITS, digest).policy == ExitPolicy("margin", (0.9, 0.3))

    write_policy(path, SavedPolicy(ExitPolicy("entropy", (1.0, 1.0), precision="bf16"), EXITS))
    before = {path: path.read_bytes() for path in out.iterdir()}
    result = cli(*arguments, "--policy", path)
    assert result.code == 2
    assert result.sentence.startswith(f"{path}: was chosen in bf16")
    assert "tune again with --precision float32" in result.sentence
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    write_policy(weights.parent / "policy.json", SavedPolicy(ExitPolicy("entropy", (1.0, 1.0)), EXITS))
    result = cli(*arguments)
    assert f"give --policy {weights.parent / 'policy.json'} to use the one found there" in result.err


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX export of the trained run, for reading only."""
    out = tmp_path_factory.mktemp("exports") / "exported"
    run_export(trained / "best.safetensors", PolicyOptions(thresholds=(1.0,)), out, "onnx")
    return out


def test_export_check_says_what_it_verified(cli: Cli, exported: Path) -> None:
    result = cli("export", "--check", exported)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == f"{exported}: nothing is wrong with this export"
    for words in (
        "greenedge-export/2, onnx, float32; unchanged",
        "all 12, ",
        "entropy threshold 1 (nats)",
        "onnxruntime",
    ):
        assert words in result.out
    found = json.loads(cli("export", "--check", exported, "--json").out)
    assert 0 <= found["whole_difference"] < 1e-4
    assert 0 <= found["network_difference"] < 1e-4


def test_export_check_fails_with_one_sentence(cli: Cli, exported: Path, tmp_path: Path) -> None:
    folder: Path = shutil.copytree(exported, tmp_path / "copy")
    content = (folder / "segment-1.onnx").read_bytes()
    (folder / "segment-1.onnx").write_bytes(content[: len(content) // 2])
    result = cli("export", "--check", folder)
    expected = f"{folder}/segment-1.onnx: was changed or truncated after it was written; export again"
    assert (result.code, result.out, result.sentence) == (1, "", expected)
    result = cli("export", "--check", tmp_path / "nothing")
    assert result.sentence == f"{tmp_path}/nothing: has no manifest.json, so it is no export of greenedge"


def test_export_without_its_options_is_one_sentence(cli: Cli, weights: Path, tmp_path: Path) -> None:
    needs = "missing; an export needs --weights, --format and --out, a check --check FOLDER alone"
    for arguments, sentence in (
        ((), f"--weights, --format, --out {needs}"),
        (("--weights", weights, "--format", "onnx"), f"--out {needs}"),
        (("--check", tmp_path, "--out", tmp_path), "--check only reads the folder that it names; leave out --out"),
        (
            ("--weights", weights, "--format", "onnx", "--out", tmp_path / "out", "--json"),
            "--json goes with --check alone; an export says in its manifest.json what it holds",
        ),
    ):
        result = cli("export", *arguments)
        assert (result.code, result.sentence) == (2, sentence)


def test_the_manifest_keeps_what_the_checkpoint_says(trained: Path, exported: Path) -> None:
    weights = trained / "best.safetensors"
    manifest = read_manifest(exported, sealed=True)
    with safetensors.safe_open(weights, "pt") as file:
        assert manifest.trained == {key: text for key, text in file.metadata().items() if key != "digest"}
    assert manifest.weights == digest_of(weights.read_bytes())
    info = info_from_metadata(manifest.trained, exported)
    assert info_to_metadata(info) == manifest.trained
    assert (info.config, info.classes) == (load_model(weights).checkpoint.info.config, manifest.classes)


def test_the_model_card_says_what_was_measured_and_what_not(
    cli: Cli, weights: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("export", "--weights", weights, "--policy", policy, "--format", "torch", "--out", out)
    assert cli(*arguments).code == 0
    card = (out / "README.md").read_text()
    assert card.startswith("# resnet18 with 2 early exits, 3 classes\n")
    assert "not measured; `greenedge eval` measures them" in " ".join(card.split())
    assert str(tmp_path.parent) not in card  # of this machine

    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", policy, "--json").out)
    assert cli(*arguments).code == 0
    card = (out / "README.md").read_text()
    assert f"**{100 * evaluated['accuracy']:.2f} %**" in card
    low, high = evaluated["accuracy_interval"]
    assert f"({100 * low:.2f} to {100 * high:.2f})" in card
    for each, rate in zip(evaluated["exits"], evaluated["exit_shares"], strict=True):
        (row,) = (line for line in card.splitlines() if f"| `{each['after']}` |" in line)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2].startswith(f"{100 * each['accuracy']:.2f} (")
        assert cells[3:] == [f"{each['gflops']:.4f}", f"{100 * rate:.1f}"]
    assert "backbone: resnet18" in card
    assert load_model(weights).digest in card


def test_an_export_that_differs_from_the_network_is_not_kept(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = ("export", "--weights", weights, "--threshold", 1.0, "--format", "onnx", "--out", out)
    with monkeypatch.context() as patch:  # planted: the manifest says another mean than training had
        found = workflow._metadata
        patch.setattr(workflow, "_metadata", lambda model: replace(found(model), mean=(0.48, 0.46, 0.41)))
        result = cli(*arguments)
    assert result.code == 1
    assert result.sentence.startswith(
        "what was exported is not what the network gives: the runner's preprocessing of images differs by 0.0"
    )
    assert not out.exists()

    other = copy.deepcopy(load_model(weights).network)
    with torch.no_grad():
        list(other.segments[1].parameters())[-1].add_(0.01)
    with monkeypatch.context() as patch:  # planted: a segment with other weights than the network's
        patch.setattr(export_module, "torch_files", lambda network: shifted(torch_files(network), torch_files(other)))
        result = cli(*arguments, "--format", "torch")  # which is quicker
    assert result.code == 1
    assert re.match(
        r"what was exported is not what the network gives: logits of exit \d differ by .* of their scale; "
        r"try other versions \(torch ",
        result.sentence,
    )
    assert not out.exists()


def shifted(files: Iterable[tuple[str, Any]], others: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The files of a network, with the second segment of another one."""
    for (name, content), (_, other) in zip(files, others, strict=True):
        yield name, other if name == "segment-1.pt2" else content


def test_an_export_without_its_data_is_compared_on_random_images(cli: Cli, weights: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost" / "best.safetensors"
    lost.parent.mkdir()
    model = load_model(weights)
    text = model.checkpoint.info.config.replace(str(model.config.data.path), "/nowhere/data")
    save_checkpoint(lost, model.network, replace(model.checkpoint.info, config=text))
    out = tmp_path / "out"
    result = cli("export", "--weights", lost, "--format", "torch", "--out", out)
    assert result.code == 0
    assert "no images of the data set are here; the export is compared with the network on random ones" in result.err
    assert json.loads((out / "parity.json").read_text())["source"] == "random"
    assert "/nowhere" not in (out / "README.md").read_text()
    result = cli("export", "--weights", lost, "--format", "torch", "--out", out, "--data", tmp_path / "missing")
    assert result.code == 1
    assert str(tmp_path / "missing") in result.sentence
