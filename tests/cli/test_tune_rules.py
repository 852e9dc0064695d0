"""`tune` chooses what thresholds are compared with, and every command does the same with what it chose."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from greenedge.api import Engine, load_checkpoint, load_data
from greenedge.exits.ensemble import fit_ensemble
from greenedge.exits.evaluation import evaluate_policy
from greenedge.exits.gain import fit_gain
from greenedge.exits.policy import read_policy
from tests.cli.conftest import Cli
from tests.cli.helpers import kept_outputs, point_of, replace_outputs

CRITERIA = ("entropy", "max_probability", "margin", "gain")
CHOICES = [(name, joined) for joined in (False, True) for name in CRITERIA]


def read_names(weights: Path) -> tuple[tuple[str, ...], str]:
    model = load_checkpoint(weights)
    return model.exits, model.digest


@pytest.fixture
def run(cli: Cli, trained: Path, tmp_path: Path) -> Path:
    """A run whose kept outputs are sure enough of the labels for thresholds to matter."""
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    random = np.random.default_rng(3)
    for split in ("calibration", "val"):
        assert cli("eval", "--weights", folder / "best.safetensors", "--split", split).code == 0
        kept = kept_outputs(folder, split)
        logits = random.normal(scale=1.5, size=kept.logits.shape) + 1.5 * np.eye(3)[kept.labels]
        replace_outputs(folder, split, logits.astype(np.float32))
    return folder


def test_tune_shows_what_the_others_would_have_given(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenedge.exits.policy_choice.MIN_IMAGES", 5)
    arguments = ["tune", "--weights", run / "best.safetensors", "--budget", 0.025]
    report = json.loads(cli(*arguments, "--json").out)
    assert [(each["criterion"], each["ensemble"]) for each in report["compared"]] == CHOICES
    eligible = []
    for each in report["compared"]:
        over = each["over_margin"]
        assert (over is not None) == (each["criterion"] == "gain")
        if over is None or over["value"] > over["standard_error"]:
            eligible.append(each)
    best = max(eligible, key=lambda each: each["accuracy"])
    for policy in report["policies"].values():
        assert policy["criterion"] == best["criterion"]
        assert (policy["ensemble"] is not None) == best["ensemble"]

    shown = cli(*arguments, "--no-ensemble").out
    assert "fitted on four fifths of the calibration images and shown on the last fifth, five times:" in shown
    rows = [line.split() for line in shown.splitlines() if re.match(r"(entropy|max_probability|margin|gain) +\d", line)]
    assert [row[0] for row in rows] == list(CRITERIA)
    assert [row[-1] for row in rows].count("*") == 1
    assert re.search(r"gain minus margin: [+-]\d+\.\d\d points of accuracy \(standard error \d+\.\d\d\), ", shown)
    assert "ensemble" not in shown


def test_tune_compares_nothing_on_few_images(cli: Cli, run: Path) -> None:
    report = json.loads(cli("tune", "--weights", run / "best.safetensors", "--budget", 0.025, "--json").out)
    assert report["compared"] == []
    assert report["policies"]["per-exit"]["criterion"] == "entropy"
    assert report["policies"]["per-exit"]["ensemble"] is None


def test_eval_does_what_tune_said_of_an_ensemble(cli: Cli, run: Path) -> None:
    weights = run / "best.safetensors"
    chosen = ["--criterion", "margin", "--ensemble"]
    report = json.loads(cli("tune", "--weights", weights, "--budget", 0.025, *chosen, "--json").out)
    policy = report["policies"]["per-exit"]
    known, val = kept_outputs(run, "calibration"), kept_outputs(run, "val")
    assert policy["ensemble"] == pytest.approx(fit_ensemble(known, policy["temperatures"]))

    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", run / "policy.json", "--json").out)
    for key in ("accuracy", "gflops"):
        assert evaluated[key] == pytest.approx(policy["val"][key])
    joined = val.logits.copy() / np.float32(policy["temperatures"])[:, None, None]
    for index, weight in enumerate(policy["ensemble"], start=1):
        joined[index] = weight * joined[index - 1] + (1 - weight) * joined[index]
    by_hand = point_of(type(val)(joined, val.labels, val.gflops), "margin", policy["thresholds"])
    assert evaluated["accuracy"] == pytest.approx(by_hand.accuracy)
    assert evaluated["ensemble"] == policy["ensemble"]


def test_tune_fixes_the_learned_criterion_and_eval_does_what_it_said(cli: Cli, run: Path) -> None:
    weights = run / "best.safetensors"
    chosen = ["--criterion", "gain", "--no-ensemble"]
    report = json.loads(cli("tune", "--weights", weights, "--budget", 0.025, *chosen, "--json").out)
    policy = report["policies"]["per-exit"]
    assert (report["compared"], policy["criterion"], policy["ensemble"]) == ([], "gain", None)
    known = kept_outputs(run, "calibration")
    tempered = known.logits / np.float32(policy["temperatures"])[:, None, None]
    fitted = fit_gain(dataclasses.replace(known, logits=tempered))
    for found, expected in zip(policy["gain"], fitted, strict=True):
        assert found == pytest.approx(expected)

    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", run / "policy.json", "--json").out)
    for key in ("accuracy", "gflops", "exit_shares"):
        assert evaluated[key] == pytest.approx(policy["val"][key], rel=1e-12)
    assert evaluated["gain"] == policy["gain"]

    sweep = ["sweep", "--weights", weights, "--policy", run / "policy.json"]
    swept = json.loads(cli(*sweep, "--thresholds", "0.05", "--json").out)
    assert (swept["criterion"], swept["policy"]["gain"]) == ("gain", policy["gain"])
    val, saved = kept_outputs(run, "val"), read_policy(run / "policy.json", *read_names(weights)).policy
    by_hand = evaluate_policy(val, dataclasses.replace(saved, thresholds=(0.05,) * len(saved.thresholds)))
    (point,) = swept["points"]
    assert (point["accuracy"], point["gflops"]) == pytest.approx((by_hand.accuracy, by_hand.gflops), rel=1e-12)
    assert "--policy says criterion" in cli(*sweep, "--criterion", "margin").sentence


@pytest.mark.parametrize("command", ["eval", "sweep", "predict", "bench", "export", "diagnose", "compare"])
def test_the_learned_criterion_needs_a_policy(cli: Cli, trained: Path, tmp_path: Path, command: str) -> None:
    weights = ["--weights", trained / "best.safetensors"]
    more = {
        "compare": [trained, trained],
        "predict": [*weights, "x.jpg"],
        "export": [*weights, "--format", "torch", "--out", tmp_path / "out"],
    }
    result = cli(command, *more.get(command, weights), "--criterion", "gain")
    assert result.code == 2
    assert (
        "gain is learned by `greenedge tune --criterion gain` and used with the policy that it writes"
        in result.sentence
    )


def test_a_config_cannot_name_the_learned_criterion(cli: Cli, trained: Path) -> None:
    result = cli("train", "--config", trained / "config.yaml", "--set", "sweep.criterion=gain", "--out", "unused")
    assert result.code == 2
    assert "sweep.criterion: gain is learned by `greenedge tune --criterion gain`" in result.sentence


@pytest.mark.parametrize("chosen", [("margin", "--ensemble"), ("gain", "--ensemble")])
def test_predict_and_export_do_what_eval_does(cli: Cli, trained: Path, tmp_path: Path, chosen: tuple[str, str]) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    weights = run / "best.safetensors"
    tuned = cli("tune", "--weights", weights, "--budget", 0.025, "--criterion", *chosen)
    assert tuned.code == 0, tuned.err
    assert "earlier exits weigh" in tuned.out
    model = load_checkpoint(weights)
    policy = read_policy(run / "policy.json", model.exits, model.digest).policy

    images: Tensor = torch.cat([batch for batch, _ in load_data(model, split="val")])
    found = Engine(model, policy).predict(images)
    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", run / "policy.json", "--json").out)
    assert evaluated["gflops"] == pytest.approx(float(found.gflops.mean()), rel=1e-12)
    with (run / "predictions-val.csv").open(encoding="utf-8", newline="") as file:
        kept = list(csv.DictReader(file))
    assert [row["prediction"] for row in kept] == [model.classes[index].id for index in found.predictions.tolist()]
    assert [int(row["exit"]) for row in kept] == [index + 1 for index in found.exits.tolist()]
    confidences = [float(row["probability"]) for row in kept]
    assert confidences == pytest.approx(found.confidence.tolist(), abs=1e-3)

    pytest.importorskip("onnxruntime")
    exported = cli(
        *("export", "--weights", weights, "--policy", run / "policy.json"),
        *("--format", "onnx", "--out", tmp_path / "exported"),
    )
    assert exported.code == 0, exported.err
    from greenedge.inference.onnx_runner import Runner

    outside = Runner(tmp_path / "exported").predict(images.numpy())
    assert outside.predictions.tolist() == found.predictions.tolist()
    assert outside.exits.tolist() == found.exits.tolist()
    assert outside.gflops.tolist() == pytest.approx(found.gflops.tolist(), rel=1e-12)


def test_an_ensemble_cannot_be_certified(cli: Cli, run: Path) -> None:
    result = cli("tune", "--weights", run / "best.safetensors", "--max-loss", 0.5, "--ensemble")
    assert result.code == 2
    assert "would void the certificate" in result.sentence
    result = cli("tune", "--weights", run / "best.safetensors", "--max-loss", 0.5, "--criterion", "gain")
    assert result.code == 2
    assert "gain, fitted on the images that certify a largest loss, would void the certificate" in result.sentence
