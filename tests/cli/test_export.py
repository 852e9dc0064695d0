from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from greenedge.config.records import digest_of
from greenedge.data.decode import decode_image
from greenedge.data.loader import build_transform
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, write_policy
from greenedge.inference.onnx_runner import Runner
from greenedge.training.trained import load_model
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
    assert result.err.splitlines()[-1] == f"next: python {out}/runner.py {out} IMAGES.npy"
    names = ["segment-0.onnx", "segment-1.onnx", "segment-2.onnx", "network.onnx"]
    assert {path.name for path in out.iterdir()} == {
        *names,
        "manifest.json",
        "policy.json",
        "runner.py",
        "runner_criteria.py",
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
    wanted = {"image_size": 32, "stored_size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert {key: runner.manifest[key] for key in wanted} == wanted


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
    names = ["segment-0.pt2", "segment-1.pt2", "segment-2.pt2", "network.pt2"]
    assert {path.name for path in out.iterdir()} == {*names, "manifest.json", "policy.json", "notes.txt"}
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


def test_a_format_without_its_packages_is_one_sentence(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = cli("export", "--weights", weights, "--format", "onnx", "--out", tmp_path / "out")
    sentence = "--format onnx needs onnx and onnxscript; pip install 'greenedge[onnx]'"
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
