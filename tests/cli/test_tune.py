from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import read_policy
from greenedge.exits.sweep import score_outputs
from greenedge.exits.tuning import risk_controlled
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
from tests.cli.conftest import Cli
from tests.cli.helpers import (
    Point,
    all_points,
    contents,
    kept_outputs,
    point_of,
    replace_outputs,
    softmax,
    with_calibration,
    without_exits,
)


@pytest.fixture(scope="module")
def answered(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose kept answers are better at later exits, and surer where they are right."""
    folder = tmp_path_factory.mktemp("answered")
    shutil.copy(trained / "best.safetensors", folder)
    random = np.random.default_rng(10)
    for split in ("calibration", "val"):
        load_or_compute_outputs(load_model(folder / "best.safetensors"), PassOptions(split=split))
        kept = kept_outputs(folder, split)
        logits = random.normal(scale=1.5, size=kept.logits.shape)
        logits += np.array([0.8, 1.3, 2.0])[:, None, None] * np.eye(3)[kept.labels]
        replace_outputs(folder, split, logits.astype(np.float32))
    return folder


@pytest.fixture
def run(answered: Path, tmp_path: Path) -> Path:
    """A copy to write in."""
    return Path(shutil.copytree(answered, tmp_path / "run"))


def tuned(cli: Cli, run: Path, *options: object) -> dict[str, Any]:
    result = cli("tune", "--weights", run / "best.safetensors", "--json", *options)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def plain_points(outputs: ExitOutputs, policy: dict[str, Any]) -> Point:
    return point_of(outputs, policy["criterion"], policy["thresholds"], policy["temperatures"])


def most_accurate_within(points: list[Point], budget: float) -> tuple[float, float]:
    inside = [point for point in points if point.gflops <= budget + 1e-12]
    accuracy = max(point.accuracy for point in inside)
    return accuracy, min(point.gflops for point in inside if point.accuracy == accuracy)


def cheapest_above(points: list[Point], accuracy: float) -> tuple[float, float]:
    gflops = min(point.gflops for point in points if point.accuracy >= accuracy)
    return max(point.accuracy for point in points if point.gflops <= gflops + 1e-12), gflops


GOALS: dict[str, Callable[[list[Point], float], tuple[float, float]]] = {
    "--budget": most_accurate_within,
    "--min-accuracy": cheapest_above,
}
CASES: list[tuple[str, float, list[str]]] = [
    ("--budget", 0.025, []),
    ("--budget", 0.025, ["--choose-on", "val"]),
    ("--budget", 0.03, ["--choose-on", "val", "--shared", "--criterion", "margin"]),
    ("--budget", 1.0, ["--no-temperatures", "--criterion", "normalised_entropy"]),
    ("--min-accuracy", 0.5, ["--no-temperatures"]),
    ("--min-accuracy", 0.6, ["--choose-on", "val", "--criterion", "max_probability"]),
    ("--min-accuracy", 0.6, ["--choose-on", "val", "--shared", "--no-temperatures"]),
]


@pytest.mark.parametrize(("goal", "number", "options"), CASES)
def test_no_thresholds_do_better_than_those_chosen(
    cli: Cli, run: Path, goal: str, number: float, options: list[str]
) -> None:
    report = tuned(cli, run, goal, number, *options)
    chosen_on = "val" if "val" in options else "calibration"
    known, val = kept_outputs(run, chosen_on), kept_outputs(run, "val")
    assert report["choose_on"] == chosen_on
    assert report["chosen"] == ("shared" if "--shared" in options else "per-exit")
    for kind, policy in report["policies"].items():
        points = list(all_points(known, policy["criterion"], policy["temperatures"], shared=kind == "shared"))
        accuracy, gflops = GOALS[goal](points, number)
        assert policy["chosen_on"]["accuracy"] == pytest.approx(accuracy)
        assert policy["chosen_on"]["gflops"] == pytest.approx(gflops)
        assert (policy["temperatures"] is None) == ("--no-temperatures" in options)
        for name, outputs in (("chosen_on", known), ("val", val)):
            plain = plain_points(outputs, policy)
            assert policy[name]["accuracy"] == pytest.approx(plain.accuracy)
            assert policy[name]["gflops"] == pytest.approx(plain.gflops)
            assert policy[name]["exit_shares"] == pytest.approx(
                [plain.exits.count(e) / len(plain.exits) for e in range(3)]
            )
        if kind == "shared":
            assert len(set(policy["thresholds"])) == 1


def test_thresholds_of_their_own_reach_more_than_a_shared_one(cli: Cli, run: Path) -> None:
    policies = tuned(cli, run, "--budget", 0.025, "--choose-on", "val")["policies"]
    assert policies["per-exit"]["val"]["accuracy"] > policies["shared"]["val"]["accuracy"]


def test_the_difference_of_both_kinds_is_that_of_their_numbers_and_lies_in_its_interval(cli: Cli, run: Path) -> None:
    report = tuned(cli, run, "--budget", 0.025)
    difference = report["per_exit_less_shared"]
    for key in ("accuracy", "gflops"):
        per_exit, shared = (report["policies"][kind]["val"][key] for kind in ("per-exit", "shared"))
        assert difference[key] == pytest.approx(per_exit - shared)
        low, high = difference[f"{key}_interval"]
        assert low - 1e-6 <= difference[key] <= high + 1e-6


def test_temperatures_make_the_labels_of_the_images_chosen_on_most_likely(cli: Cli, run: Path) -> None:
    def surprise(outputs: ExitOutputs, index: int, temperature: float) -> float:
        images = zip(outputs.logits[index], outputs.labels, strict=True)
        return -sum(math.log(softmax(logits, temperature)[label]) for logits, label in images)

    report = tuned(cli, run, "--budget", 1)
    outputs = kept_outputs(run, "calibration")
    for index, temperature in enumerate(report["policies"]["per-exit"]["temperatures"]):
        least = surprise(outputs, index, temperature)
        for other in (temperature * 0.98, temperature * 1.02):
            if 0.01 <= other <= 100:
                assert least <= surprise(outputs, index, other) + 1e-9
    assert report["policies"]["per-exit"]["temperatures"] == report["policies"]["shared"]["temperatures"]


def test_policy_table_and_picture_are_written_beside_the_weights(cli: Cli, run: Path) -> None:
    result = cli("tune", "--weights", run / "best.safetensors", "--min-accuracy", 0.5)
    assert result.code == 0
    assert set(contents(run)) == {"best.safetensors", "policy.json", "policy-tuning.json", "policy-tuning.png"}
    report = json.loads((run / "policy-tuning.json").read_text())
    assert report["goal"] == {"budget_gflops": None, "min_accuracy": 0.5, "max_loss": None, "confidence": 0.95}
    model = load_model(run / "best.safetensors")
    identity = model.exits, model.digest
    saved = read_policy(run / "policy.json", *identity)
    per_exit = report["policies"]["per-exit"]
    assert (saved.exits, saved.weights) == identity
    assert saved.policy.thresholds == tuple(per_exit["thresholds"])
    assert saved.policy.temperatures == tuple(per_exit["temperatures"])
    assert saved.chosen == {
        "goal": "the cheapest of at least 50 %",
        "kind": "per-exit",
        "choose_on": "calibration",
        "images": 6,
        "precision": "float32",
        "accuracy": per_exit["chosen_on"]["accuracy"],
        "gflops": per_exit["chosen_on"]["gflops"],
    }
    with Image.open(run / "policy-tuning.png") as picture:
        assert min(picture.size) > 400
    for words in ("goal: the cheapest of at least 50 %", "calibration: 6 images", "per-exit", "shared", "val"):
        assert words in result.out
    assert f"policy (per-exit): {run / 'policy.json'}" in result.out
    assert "flatter" not in result.out


def test_a_policy_goes_where_it_is_wanted_and_a_shared_one_is_the_one_written(cli: Cli, run: Path) -> None:
    out = run / "deep" / "mine.json"
    report = tuned(cli, run, "--budget", 0.025, "--shared", "--out", out)
    assert report["policy"] == str(out)
    assert set(contents(run / "deep")) == {"mine.json", "mine-tuning.json", "mine-tuning.png"}
    assert not (run / "policy.json").exists()
    written = json.loads(out.read_text())
    assert written["thresholds"] == report["policies"]["shared"]["thresholds"]
    assert written["chosen"]["kind"] == "shared"


def test_numbers_of_images_that_were_chosen_on_are_said_to_flatter(cli: Cli, run: Path) -> None:
    result = cli("tune", "--weights", run / "best.safetensors", "--budget", 1, "--choose-on", "val")
    assert result.code == 0
    assert "chosen on the validation images themselves, so their numbers flatter" in result.out
    assert json.loads((run / "policy.json").read_text())["chosen"]["choose_on"] == "val"


def test_a_loss_is_certified_where_there_are_images_enough(cli: Cli, run: Path) -> None:
    kept = kept_outputs(run, "calibration")
    report = tuned(cli, run, "--max-loss", 0.6, "--confidence", 0.5, "--no-temperatures")
    scores = score_outputs(kept, CRITERIA["entropy"])
    for kind, policy in report["policies"].items():
        expected = risk_controlled(scores, 0.6, 0.5, shared=kind == "shared")
        assert policy["thresholds"] == list(expected)
    assert json.loads((run / "policy.json").read_text())["chosen"]["goal"] == (
        "the cheapest that loses at most 0.6 with confidence 0.5"
    )


def test_a_certified_loss_holds_on_other_images_of_the_same_kind() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 6000)
    logits = random.normal(scale=1.5, size=(3, 6000, 3)) + np.array([1, 2, 3])[:, None, None] * np.eye(3)[labels]
    outputs = ExitOutputs(logits.astype(np.float32), labels, np.array([0.1, 0.2, 0.3]))
    scores = score_outputs(outputs, CRITERIA["entropy"])
    thresholds = risk_controlled(scores.subset(np.arange(1500)), 0.05, 0.95)
    other = ExitOutputs(outputs.logits[:, 1500:], labels[1500:], outputs.gflops)
    point = point_of(other, "entropy", thresholds)
    assert point.accuracy >= other.exit_accuracies()[-1] - 0.05
    assert point.gflops < 0.29


BAD: list[tuple[list[str], str]] = [
    ([], "say what to aim for with one of --budget, --min-accuracy and --max-loss"),
    (
        ["--budget", "1", "--max-loss", "0.1"],
        "say what to aim for with one of --budget, --min-accuracy and --max-loss",
    ),
    (
        ["--budget", "nan", "--min-accuracy", "0.5"],
        "say what to aim for with one of --budget, --min-accuracy and --max-loss",
    ),
    *(
        ([f"--budget={number}"], f"--budget must be a number of GFLOPs above 0, found {number}")
        for number in ("0", "-1", "nan", "inf")
    ),
    *(
        (
            [f"--min-accuracy={number}"],
            f"--min-accuracy must lie above 0 and be at most 1 (0.7 is 70 %), found {number}",
        )
        for number in ("0", "70", "-0.5", "nan")
    ),
    *(
        ([f"--max-loss={number}"], f"--max-loss must lie between 0 and 1 (0.01 is one point), found {number}")
        for number in ("0", "1", "-0.1", "nan")
    ),
    *(
        (["--budget", "1", f"--confidence={number}"], f"--confidence must lie between 0 and 1, found {number}")
        for number in ("0", "1", "95", "nan")
    ),
]


@pytest.mark.parametrize(("options", "sentence"), BAD)
def test_goals_that_cannot_be_are_refused(cli: Cli, run: Path, options: list[str], sentence: str) -> None:
    (run / "policy.json").write_text("mine")
    before = contents(run)
    result = cli("tune", "--weights", run / "best.safetensors", *options)
    assert (result.code, result.out, result.sentence) == (2, "", sentence)
    assert contents(run) == before


def test_goals_out_of_reach_say_what_is_within_and_change_nothing(cli: Cli, run: Path) -> None:
    (run / "policy.json").write_text("mine")
    before = contents(run)
    cheapest = kept_outputs(run, "calibration").gflops[0]
    best = max(point.accuracy for point in all_points(kept_outputs(run, "val"), "entropy"))
    assert best < 1
    for options, words in [
        (
            ["--budget", "0.001"],
            f"no thresholds keep within 0.001 GFLOPs per image; exiting at the first exit costs {cheapest:.4f}",
        ),
        (
            ["--min-accuracy", "1", "--no-temperatures", "--choose-on", "val"],
            f"no thresholds reach 100 % on these images; the best reach {100 * best:.2f} % at ",
        ),
        (
            ["--max-loss", "0.01"],
            "6 images are too few to certify a loss of at most 0.01 with confidence 0.95; set more aside "
            "(data.calibration_per_class), or ask for less",
        ),
        (["--budget", "1", "--criterion", "entropi"], "criterion: there is no 'entropi'; did you mean 'entropy'?"),
    ]:
        result = cli("tune", "--weights", run / "best.safetensors", *options)
        assert (result.code, result.out) == (2, "")
        assert result.sentence.startswith(words)
        assert contents(run) == before


def test_a_network_without_early_exits_has_nothing_to_tune(cli: Cli, weights: Path, tmp_path: Path) -> None:
    plain = without_exits(weights, tmp_path / "plain" / "best.safetensors")
    result = cli("tune", "--weights", plain, "--budget", 1)
    assert (result.code, result.out) == (2, "")
    assert result.sentence == f"{plain}: the network has no early exit, so there is nothing to tune"
    assert set(contents(plain.parent)) == {"best.safetensors"}


def test_without_calibration_images_one_is_told_and_may_choose_on_val(cli: Cli, weights: Path, tmp_path: Path) -> None:
    uncalibrated = with_calibration(weights, tmp_path / "uncalibrated" / "best.safetensors", 0)
    result = cli("tune", "--weights", uncalibrated, "--budget", 1)
    assert (result.code, result.out) == (1, "")
    assert result.sentence.startswith(
        "the calibration split is empty, as data.calibration_per_class of the config set no images aside; use those of "
        "another split (in tune: --choose-on val)"
    )
    assert set(contents(uncalibrated.parent)) == {"best.safetensors"}
    assert cli("tune", "--weights", uncalibrated, "--budget", 1, "--choose-on", "val").code == 0


@pytest.mark.parametrize("place", ["folder", "file.txt/policy.json"])
def test_a_policy_that_cannot_be_written_is_one_sentence(cli: Cli, run: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("mine")
    result = cli("tune", "--weights", run / "best.safetensors", "--budget", 1, "--out", tmp_path / place)
    assert (result.code, result.out) == (1, "")
    assert result.sentence.startswith(f"{tmp_path / place.partition('/')[0]}")
    assert "cannot be written" in result.sentence
    assert (tmp_path / "file.txt").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []
    assert set(contents(run)) == {"best.safetensors"}


def test_outputs_kept_beside_the_weights_are_used_wherever_the_policy_goes(cli: Cli, run: Path, tmp_path: Path) -> None:
    result = cli("tune", "--weights", run / "best.safetensors", "--budget", 1, "--out", tmp_path / "here" / "p.json")
    assert result.code == 0
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"p.json", "p-tuning.json", "p-tuning.png"}
    assert "need not run" in result.err


def test_where_nothing_is_kept_outputs_go_where_the_policy_goes(cli: Cli, weights: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in weights.parent.iterdir())
    assert cli("tune", "--weights", weights, "--budget", 1, "--out", tmp_path / "here" / "p.json").code == 0
    assert sorted(path.name for path in weights.parent.iterdir()) == before
    assert {"outputs-calibration.npz", "outputs-val.npz"} < {path.name for path in (tmp_path / "here").iterdir()}


def test_no_temperature_is_fitted_on_images_that_certify_a_loss(
    cli: Cli, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would void the certificate: the images would have been looked at before they are to judge."""
    monkeypatch.setattr("greenedge.exits.policy_choice.risk_controlled", lambda *_, **__: (0.5, 0.5))
    assert cli("tune", "--weights", weights, "--max-loss", "0.5").code == 0
    assert json.loads((weights.parent / "policy.json").read_text())["temperatures"] is None


def test_a_policy_says_in_which_precision_it_was_chosen_and_is_used_in_no_other(cli: Cli, weights: Path) -> None:
    policy = weights.parent / "policy.json"
    for precision, other in (("bf16", "float32"), ("float32", "bf16")):
        assert cli("tune", "--weights", weights, "--budget", "1", "--precision", precision).code == 0
        assert json.loads(policy.read_text())["precision"] == precision
        assert json.loads(cli("eval", "--weights", weights, "--policy", policy, "--json").out)["precision"] == precision
        result = cli("eval", "--weights", weights, "--policy", policy, "--precision", other)
        assert result.code == 2
        assert f"was chosen in {precision}" in result.sentence


def test_without_validation_images_the_calibration_images_do(
    cli: Cli, weights: Path, prepared: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(prepared, tmp_path / "data"))
    manifest = data / "manifest.json"
    content = json.loads(manifest.read_text())
    content["splits"]["val"]["images"] = 0
    content.pop("digest")
    manifest.write_text(json.dumps(content))
    result = cli("tune", "--weights", weights, "--data", data, "--budget", "1", "--json")
    assert result.code == 0, result.err
    assert "there are no validation images" in result.err
    assert "are few to choose on" in result.err
