from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from tests.cli.conftest import Cli
from tests.cli.helpers import contents, kept_outputs, replace_outputs, softmax, with_calibration, without_exits
from tests.conftest import CLASSES


def diagnosed(cli: Cli, weights: Path, *options: object) -> dict[str, Any]:
    result = cli("diagnose", "--weights", weights, "--json", *options)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def plain_ece(outputs: ExitOutputs, index: int, temperature: float = 1.0) -> float:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for logits, label in zip(outputs.logits[index], outputs.labels, strict=True):
        confidence = softmax(logits, temperature).max()
        place = next(b for b in range(15) if confidence <= (b + 1) / 15 + 1e-12)
        bins.setdefault(place, []).append((confidence, logits.argmax() == label))
    gaps = [abs(sum(right - confidence for confidence, right in held)) for held in bins.values()]
    return float(sum(gaps) / len(outputs.labels))


def plain_auroc(outputs: ExitOutputs, index: int, criterion: str) -> float | None:
    scores = CRITERIA[criterion].uncertainty(outputs.logits)[index].tolist()
    right = (outputs.logits[index].argmax(axis=1) == outputs.labels).tolist()
    wrong_scores = [score for score, is_right in zip(scores, right, strict=True) if not is_right]
    right_scores = [score for score, is_right in zip(scores, right, strict=True) if is_right]
    if not wrong_scores or not right_scores:
        return None
    pairs = [(w > r) + 0.5 * (w == r) for w in wrong_scores for r in right_scores]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("criterion", ["entropy", "margin", "patience"])
def test_every_number_is_what_plain_loops_find(cli: Cli, weights: Path, criterion: str) -> None:
    report = diagnosed(cli, weights, "--criterion", criterion)
    outputs = kept_outputs(weights.parent, "val")
    assert (report["split"], report["images"], report["criterion"]) == ("val", 15, criterion)
    assert [each["after"] for each in report["exits"]] == ["layer1.1", "layer3.1", "layer4.1"]
    for index, each in enumerate(report["exits"]):
        assert each["accuracy"] == pytest.approx(outputs.exit_accuracies()[index])
        assert each["ece"] == pytest.approx(plain_ece(outputs, index), abs=1e-6)
        assert each["ece_with_temperature"] == pytest.approx(plain_ece(outputs, index, each["temperature"]), abs=1e-6)
        assert each["auroc"] == pytest.approx(plain_auroc(outputs, index, criterion))

    lost = [
        image
        for image, label in enumerate(outputs.labels)
        if any(outputs.logits[e, image].argmax() == label for e in (0, 1))
        and outputs.logits[2, image].argmax() != label
    ]
    over = report["overthinking"]
    assert (over["images"], over["share"]) == (len(lost), pytest.approx(len(lost) / 15))
    by_class = {each["class"]: each for each in over["by_class"]}
    assert set(by_class) == set(CLASSES)
    for label, wnid in enumerate(CLASSES):
        assert by_class[wnid]["images"] == 5
        assert by_class[wnid]["right_early_wrong_late"] == sum(outputs.labels[image] == label for image in lost)
    counts = [each["right_early_wrong_late"] for each in over["by_class"]]
    assert counts == sorted(counts, reverse=True)


def test_temperatures_are_those_that_tuning_fits(cli: Cli, weights: Path) -> None:
    report = diagnosed(cli, weights)
    tuned = json.loads(cli("tune", "--weights", weights, "--budget", 1, "--json").out)
    assert [each["temperature"] for each in report["exits"]] == tuned["policies"]["per-exit"]["temperatures"]


def test_files_are_written_and_can_be_read(cli: Cli, weights: Path, tmp_path: Path) -> None:
    cli("eval", "--weights", weights, "--out", tmp_path / "out")
    kept = kept_outputs(tmp_path / "out", "val")
    logits = kept.logits.copy()  # three images are surely lost
    logits[0, :3] = 5 * np.eye(3)[kept.labels[:3]]
    logits[2, :3] = 5 * np.eye(3)[(kept.labels[:3] + 1) % 3]
    replace_outputs(tmp_path / "out", "val", logits.astype(np.float32))
    before = set(contents(tmp_path / "out"))
    result = cli("diagnose", "--weights", weights, "--out", tmp_path / "out")
    assert result.code == 0
    assert set(contents(tmp_path / "out")) - before == {"diagnose.json", "overthinking.csv", "overthinking.png"}
    assert set(contents(weights.parent)) == {"best.safetensors"}
    report = json.loads((tmp_path / "out" / "diagnose.json").read_text())
    assert report["overthinking"]["images"] >= 3
    with (tmp_path / "out" / "overthinking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{key: str(value) for key, value in each.items()} for each in report["overthinking"]["by_class"]] == rows
    with Image.open(tmp_path / "out" / "overthinking.png") as picture:
        assert min(picture.size) > 200
    for words in ("ECE (%)", "AUROC of entropy", "correct at an early exit, wrong at the final one", "val: 15 images"):
        assert words in result.out
    assert f"{tmp_path / 'out' / 'overthinking'}.csv and .png" in result.out


def test_calibration_images_get_no_temperature_fitted_on_themselves(cli: Cli, weights: Path) -> None:
    report = diagnosed(cli, weights, "--split", "calibration")
    assert (report["split"], report["images"]) == ("calibration", 6)
    outputs = kept_outputs(weights.parent, "calibration")
    for index, each in enumerate(report["exits"]):
        assert (each["temperature"], each["ece_with_temperature"]) == (None, None)
        assert each["ece"] == pytest.approx(plain_ece(outputs, index), abs=1e-6)


def test_without_calibration_images_there_are_no_temperatures(cli: Cli, weights: Path, tmp_path: Path) -> None:
    uncalibrated = with_calibration(weights, tmp_path / "uncalibrated" / "best.safetensors", 0)
    report = diagnosed(cli, uncalibrated)
    assert [each["temperature"] for each in report["exits"]] == [None, None, None]
    refused = cli("diagnose", "--weights", uncalibrated, "--split", "calibration")
    assert (refused.code, refused.out) == (1, "")
    assert "the calibration split is empty" in refused.sentence


def test_a_network_without_early_exits_loses_nobody(cli: Cli, weights: Path, tmp_path: Path) -> None:
    plain = without_exits(weights, tmp_path / "plain" / "best.safetensors")
    report = diagnosed(cli, plain)
    assert len(report["exits"]) == 1
    assert report["overthinking"]["images"] == 0
    assert [each["right_early_wrong_late"] for each in report["overthinking"]["by_class"]] == [0, 0, 0]
    assert set(contents(plain.parent)) == {"best.safetensors", "diagnose.json", "overthinking.csv"}


def test_an_exit_that_is_always_right_has_no_failures_to_predict(cli: Cli, weights: Path) -> None:
    diagnosed(cli, weights)
    kept = kept_outputs(weights.parent, "val")
    logits = kept.logits.copy()
    logits[1] = 5 * np.eye(3)[kept.labels]
    replace_outputs(weights.parent, "val", logits)
    report = diagnosed(cli, weights)
    assert (report["exits"][1]["accuracy"], report["exits"][1]["auroc"]) == (1, None)
    assert cli("diagnose", "--weights", weights).code == 0


def test_another_split_has_results_of_its_own_name(cli: Cli, weights: Path) -> None:
    diagnosed(cli, weights)
    before = contents(weights.parent)
    diagnosed(cli, weights, "--split", "calibration")
    after = contents(weights.parent)
    assert {name: after[name] for name in before} == before


def test_bad_input_is_one_sentence_and_changes_nothing(cli: Cli, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    wrong = cli("diagnose", "--weights", weights, "--criterion", "magrin")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.sentence == "criterion: there is no 'magrin'; did you mean 'margin'?"
    assert set(contents(weights.parent)) == {"best.safetensors"}
    result = cli("diagnose", "--weights", weights, "--out", tmp_path / "taken")
    assert (result.code, result.out) == (1, "")
    assert result.sentence.startswith(f"{tmp_path / 'taken'}")
    assert "cannot be written" in result.sentence
    assert (tmp_path / "taken").read_text() == "mine"
    absent = cli("diagnose", "--weights", tmp_path / "absent.safetensors")
    assert (absent.code, absent.out) == (1, "")
    assert "no such checkpoint" in absent.sentence


def test_a_set_of_validation_images_alone_is_diagnosed_without_temperatures(
    cli: Cli, weights: Path, official: Path, tmp_path: Path
) -> None:
    shutil.rmtree(official / "train")
    assert cli("data", "prepare", official, "--out", tmp_path / "valonly").code == 0
    result = cli("diagnose", "--weights", weights, "--data", tmp_path / "valonly", "--json")
    assert result.code == 0, result.err
    assert "no temperatures are fitted" in result.err
    assert [each["temperature"] for each in json.loads(result.out)["exits"]] == [None] * 3
