"""`greenedge cascade` and every command on what it makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from greenedge.data.loader import build_transform
from greenedge.inference.collect import collect_logits
from greenedge.training.trained import load_model, open_data
from greenedge.workflows.cascade import cascade
from greenedge.workflows.train import train
from tests.cli.conftest import RECIPE, Cli
from tests.cli.helpers import kept_outputs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folders `small` (32 px, any size will do for its heads) and `large` (48 px, more blocks' worth of cost)."""
    folder = tmp_path_factory.mktemp("members")
    text = RECIPE.format(data=prepared).replace("head: light", "head: pooled").replace("epochs: 2", "epochs: 1")
    (folder / "small.yaml").write_text(text)
    (folder / "large.yaml").write_text(text.replace("image_size: 32", "image_size: 48"))
    for name in ("small", "large"):
        train(folder / f"{name}.yaml", ["train.seed=1"] if name == "large" else [], folder / name)
    return folder


@pytest.fixture(scope="module")
def made(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a cascade, made before any outputs were kept."""
    out = tmp_path_factory.mktemp("cascade") / "run"
    cascade([str(runs / "small"), f"{runs / 'large'}:layer1"], None, out)
    return out / "best.safetensors"


def test_cascade_shows_every_exit_and_its_cost(cli: Cli, runs: Path, tmp_path: Path) -> None:
    result = cli("cascade", runs / "small", f"{runs / 'large'}:final", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert [(each["image_size"], each["exits"]) for each in report["members"]] == [(32, 3), (48, 1)]
    exits = report["exits"]
    assert [each["after"] for each in exits] == ["1/layer1.1", "1/layer3.1", "1/layer4.1", "2/layer4.1"]
    assert exits[-1]["gflops"] == pytest.approx(exits[-2]["gflops"] + exits[-1]["alone_gflops"])
    assert report["joined_outputs"] == []


def test_cascade_joins_the_outputs_that_its_members_kept(cli: Cli, runs: Path, made: Path, tmp_path: Path) -> None:
    for name in ("small", "large"):
        shutil.copytree(runs / name, tmp_path / name)
        for split in ("val", "calibration"):
            assert cli("eval", "--weights", tmp_path / name / "best.safetensors", "--split", split).code == 0
    members = [tmp_path / "small", f"{tmp_path / 'large'}:layer1"]
    result = cli("cascade", *members, "--out", tmp_path / "joined", "--json")
    assert json.loads(result.out)["joined_outputs"] == ["calibration", "val"]
    joined = kept_outputs(tmp_path / "joined", "val")

    copy = tmp_path / "anew" / "best.safetensors"
    copy.parent.mkdir()
    shutil.copy(made, copy)
    assert cli("eval", "--weights", copy).code == 0
    computed = kept_outputs(copy.parent, "val")
    np.testing.assert_allclose(joined.logits, computed.logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(joined.gflops, computed.gflops)

    evaluated = cli("eval", "--weights", tmp_path / "joined" / "best.safetensors")
    assert "the network need not run" in evaluated.err


@pytest.mark.slow
def test_every_command_takes_a_cascade(cli: Cli, made: Path, runs: Path, tmp_path: Path) -> None:
    weights = tmp_path / "cascade" / "best.safetensors"
    weights.parent.mkdir()
    shutil.copy(made, weights)
    model = load_model(weights)
    split = open_data(model, None).split("val")
    transform = build_transform(model.config.data, channels_last=False)
    logits = collect_logits(model.network, split, transform)  # all members on all images, no engine
    correct = (logits.argmax(2) == split.labels).mean(1)

    evaluated = json.loads(cli("eval", "--weights", weights, "--threshold", "0.6", "--json").out)
    assert [each["accuracy"] for each in evaluated["exits"]] == pytest.approx(correct.tolist())
    tuned = cli("tune", "--weights", weights, "--max-loss", "0.9", "--confidence", "0.05", "--json")
    assert tuned.code == 0, tuned.err
    policy = weights.parent / "policy.json"
    assert json.loads(policy.read_text())["exits"] == [
        "1/layer1.1",
        "1/layer3.1",
        "1/layer4.1",
        "2/layer1.1",
        "2/layer4.1",
    ]
    for command in (
        ["eval", "--policy", policy],
        ["sweep", "--policy", policy, "--static", runs / "small", "--static", runs / "large"],
        ["diagnose"],
        ["bench", "--policy", policy, "--batches", "4", "--rounds", "1"],
    ):
        result = cli(command[0], "--weights", weights, *command[1:])
        assert result.code == 0, (command, result.err)
        assert "cascade of resnet18" in result.out, command
    compared = cli("compare", weights, runs / "large", "--out", tmp_path / "compared")
    assert compared.code == 0, compared.err


def test_predict_with_a_cascade_agrees_with_eval(cli: Cli, made: Path, tmp_path: Path) -> None:
    weights = tmp_path / "best.safetensors"
    shutil.copy(made, weights)
    model = load_model(weights)
    split = open_data(model, None).split("val")
    pixels = split.read(split.rows[:3])
    files = []
    for index, each in enumerate(pixels):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(each.transpose(1, 2, 0)).save(files[-1])
    result = cli("predict", "--weights", weights, *files, "--json")
    assert result.code == 0, result.err
    with torch.no_grad():
        logits = model.network(build_transform(model.config.data, channels_last=False)(torch.from_numpy(pixels)))
    found = json.loads(result.out)["predictions"]
    assert [each["class"] for each in found] == logits[-1].argmax(1).tolist()
    assert {each["exit"] for each in found} == {5}


def test_the_same_weights_at_two_sizes_are_a_cascade(cli: Cli, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "sizes"
    result = cli("cascade", f"{runs / 'small'}@24:final", runs / "small", "--out", out, "--json")
    assert result.code == 0, result.err
    assert [each["image_size"] for each in json.loads(result.out)["members"]] == [24, 32]
    assert cli("eval", "--weights", out / "best.safetensors").code == 0


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (["small"], "a cascade needs at least two runs"),
        (["small", "small"], "is there twice at 32 px"),
        (["large", "small"], "name the runs from the cheapest to the dearest"),
        (["small:stem", "large"], "has no exit after 'stem'; its exits come after layer1.1, layer3.1"),
        (["small@4", "large"], "4 px is no image size; expected at least 8 and at most 2048"),
        (["nothing", "large"], "no such checkpoint"),
    ],
)
def test_cascade_of_runs_that_make_none_is_refused(
    cli: Cli, runs: Path, tmp_path: Path, members: list[str], sentence: str
) -> None:
    result = cli("cascade", *(runs / each for each in members), "--out", tmp_path / "out")
    assert result.code in (1, 2)
    assert sentence in result.sentence
    assert not (tmp_path / "out").exists()


def test_cascade_of_other_images_or_classes_or_cascades_is_refused(
    cli: Cli, runs: Path, made: Path, tmp_path: Path
) -> None:
    nested = cli("cascade", made, runs / "large", "--out", tmp_path / "out")
    assert "is a cascade already" in nested.sentence
    taken = cli("cascade", runs / "small", runs / "large", "--out", runs / "large")
    assert "holds files that are no cascade" in taken.sentence

    train(runs / "large.yaml", ["data.calibration_per_class=3", "train.epochs=1"], tmp_path / "other")
    other = cli("cascade", runs / "small", tmp_path / "other", "--out", tmp_path / "out")
    assert "was trained on other images than" in other.sentence

    strangers = tmp_path / "strangers.safetensors"
    with safetensors.safe_open(runs / "large" / "best.safetensors", "pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "digest"}
    metadata["classes"] = metadata["classes"].replace("n02", "n77")
    safetensors.torch.save_file(safetensors.torch.load_file(runs / "large" / "best.safetensors"), strangers, metadata)
    result = cli("cascade", runs / "small", strangers, "--out", tmp_path / "out")
    assert "was trained on other classes than" in result.sentence
    assert not (tmp_path / "out").exists()


def test_cascade_with_data_that_are_not_there_writes_nothing(cli: Cli, runs: Path, tmp_path: Path) -> None:
    result = cli("cascade", runs / "small", runs / "large", "--data", tmp_path / "typo", "--out", tmp_path / "out")
    assert (result.code, str(tmp_path / "typo") in result.sentence) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_cascade_cannot_be_trained_on(cli: Cli, runs: Path, made: Path, tmp_path: Path) -> None:
    result = cli("train", "--config", runs / "small.yaml", "--set", f"model.weights={made}", "--out", tmp_path / "out")
    assert result.code == 2
    assert "is a cascade; name one of the runs that it was made of" in result.err
