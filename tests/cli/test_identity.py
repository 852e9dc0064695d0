"""What is kept, compared, continued and judged goes by the content of the images, and by who has seen them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli
from tests.conftest import CLASSES, write_image, write_official_layout

TINY = """\
data: {{path: {data}, image_size: 32, calibration_per_class: 2}}
model: {{backbone: timm/test_resnet, exits: [{{after: layer1, head: linear}}]}}
train: {{epochs: 1, batch_size: 12, precision: float32}}
"""


@dataclass(frozen=True)
class Run:
    """A source, its prepared data set, and a run that was trained on it."""

    source: Path
    data: Path
    config: Path
    out: Path

    @property
    def weights(self) -> Path:
        return self.out / "best.safetensors"


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Run:
    found = Run(write_official_layout(tmp_path / "source"), tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "run")
    found.config.write_text(TINY.format(data=found.data))
    assert cli("data", "prepare", found.source, "--out", found.data, "--size", 32).code == 0
    assert cli("train", "--config", found.config, "--out", found.out).code == 0
    return found


def prepare_again(cli: Cli, run: Run, *options: object) -> None:
    shutil.rmtree(run.data)
    assert cli("data", "prepare", run.source, "--out", run.data, "--size", 32, *options).code == 0


def swapped(source: Path) -> None:
    """Two classes of the validation images change places, in a file that keeps its name and size."""
    path = source / "val" / "val_annotations.txt"
    first, second = CLASSES[:2]
    path.write_text(path.read_text().replace(first, "X").replace(second, first).replace("X", second))


def add_training_images(source: Path, count: int) -> None:
    for label, wnid in enumerate(CLASSES):
        for index in range(12, 12 + count):
            write_image(source / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 100 * label + index)


def test_mended_labels_are_judged_anew(cli: Cli, run: Run) -> None:
    """Kept outputs of before do not answer for labels of now."""
    first = cli("eval", "--weights", run.weights, "--json")
    assert "need not run" not in first.err
    assert "need not run" in cli("eval", "--weights", run.weights).err
    swapped(run.source)
    prepare_again(cli, run)
    again = cli("eval", "--weights", run.weights, "--json")
    assert "need not run" not in again.err
    with (run.out / "predictions-val.csv").open() as file:
        rows = [line.split(",") for line in file.read().splitlines()[1:]]
    by_hand = sum(row[2] == row[3] for row in rows) / len(rows)
    assert json.loads(again.out)["accuracy"] == pytest.approx(by_hand)
    annotations = (run.source / "val" / "val_annotations.txt").read_text().splitlines()
    labels = dict(line.split("\t")[:2] for line in annotations)
    assert [row[2] for row in rows] == [labels[Path(row[1]).name] for row in rows]


def test_the_same_images_prepared_again_keep_their_outputs(cli: Cli, run: Run) -> None:
    assert cli("eval", "--weights", run.weights).code == 0
    prepare_again(cli, run)
    assert "need not run" in cli("eval", "--weights", run.weights).err


def test_changed_pixels_are_run_again(cli: Cli, run: Run) -> None:
    assert cli("eval", "--weights", run.weights).code == 0
    write_image(run.source / "val" / "images" / "val_0.JPEG", 4321)
    prepare_again(cli, run)
    assert "need not run" not in cli("eval", "--weights", run.weights).err


@pytest.mark.parametrize("change", ["pixels", "labels"])
def test_a_run_is_not_continued_on_other_images_of_the_same_names(cli: Cli, run: Run, change: str) -> None:
    folder = run.source / "train"
    if change == "pixels":
        write_image(folder / "n01" / "images" / "n01_3.JPEG", 4321)
    else:
        first, second = (folder / wnid / "images" for wnid in ("n01", "n02"))
        for index in range(12):
            (first / f"n01_{index}.JPEG").rename(folder / "kept.JPEG")
            (second / f"n02_{index}.JPEG").rename(first / f"n01_{index}.JPEG")
            (folder / "kept.JPEG").rename(second / f"n02_{index}.JPEG")
    prepare_again(cli, run)
    result = cli("train", "--config", run.config, "--out", run.out, "--resume", "--set", "train.epochs=2")
    assert result.code == 1
    assert "trained on other images" in result.sentence


def test_files_damaged_in_place_are_noticed(cli: Cli, run: Run) -> None:
    assert cli("data", "check", run.data).code == 0
    path = run.data / "train-images.npy"
    content = bytearray(path.read_bytes())
    for image in range(36):
        content[-5 - 3072 * image] ^= 255
    path.write_bytes(content)
    for command in (
        ["data", "check", run.data],
        ["train", "--config", run.config, "--out", run.out.parent / "other"],
        ["eval", "--weights", run.weights, "--split", "train"],
    ):
        result = cli(*command)
        assert result.code == 1
        assert re.search(r"image \d+ of its train images is damaged; prepare the data set again$", result.sentence)


@pytest.mark.parametrize(
    "command",
    [
        ["tune", "--max-loss", "0.9"],
        ["tune", "--budget", "1"],
        ["eval", "--split", "calibration"],
        ["sweep", "--split", "calibration"],
        ["diagnose"],
        ["diagnose", "--split", "calibration"],
    ],
)
def test_calibration_images_that_were_trained_on_are_refused(cli: Cli, run: Run, command: list[str]) -> None:
    add_training_images(run.source, 30)  # the data set has grown, and other images are drawn
    prepare_again(cli, run)
    result = cli(command[0], "--weights", run.weights, *command[1:])
    assert result.code == 1
    assert f"of the 6 calibration images of {run.data} are among those that {run.weights} was trained on" in (
        result.sentence
    )
    assert not (run.out / "policy.json").exists()
    assert cli("eval", "--weights", run.weights).code == 0  # validation is as it was


def test_another_training_set_does_not_pass_for_the_one_trained_on(cli: Cli, run: Run) -> None:
    add_training_images(run.source, 5)
    prepare_again(cli, run)
    result = cli("eval", "--weights", run.weights, "--split", "train")
    assert result.code == 1
    assert "its training images are not those that" in result.sentence


def test_calibration_images_of_another_set_that_share_nothing_may_be_named(cli: Cli, run: Run, tmp_path: Path) -> None:
    other = write_official_layout(tmp_path / "other-source")
    for number, path in enumerate(sorted((other / "train").rglob("*.JPEG"))):
        write_image(path, 9000 + number)
    assert cli("data", "prepare", other, "--out", tmp_path / "other", "--size", 32).code == 0
    assert cli("tune", "--weights", run.weights, "--budget", "1", "--data", tmp_path / "other").code == 0
    shutil.rmtree(run.data)
    shutil.copytree(tmp_path / "other", run.data)
    result = cli("tune", "--weights", run.weights, "--budget", "1")  # in its place, it is another
    assert result.code == 1
    assert "is not the data set that" in result.sentence


def test_training_images_do_not_pass_for_validation_images(cli: Cli, run: Run, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    for split, other in (("train", "val"), ("val", "train")):
        for wnid in CLASSES:
            shutil.copytree(run.source / "train" / wnid / "images", turned / split / wnid)
            if other == "train":
                shutil.rmtree(turned / split / wnid)
                write_image(turned / split / wnid / "new.JPEG", 77)
    shutil.move(turned / "train", turned / "x")
    shutil.move(turned / "val", turned / "train")
    shutil.move(turned / "x", turned / "val")
    assert cli("data", "prepare", turned, "--out", tmp_path / "data2", "--size", 32).code == 0
    result = cli("eval", "--weights", run.weights, "--data", tmp_path / "data2")
    assert result.code == 1
    assert "30 of the 36 val images" in result.sentence
    assert "use images that it has not seen" in result.sentence


def test_copies_of_training_images_among_the_validation_images_are_said(cli: Cli, run: Run) -> None:
    shutil.copy(run.source / "train" / "n01" / "images" / "n01_0.JPEG", run.source / "val" / "images" / "val_0.JPEG")
    shutil.copy(run.source / "train" / "n01" / "images" / "n01_1.JPEG", run.source / "val" / "images" / "val_1.JPEG")
    prepare_again(cli, run)
    result = cli("eval", "--weights", run.weights)
    assert result.code == 0
    assert " val images of " in result.err
    assert "are copies of images that" in result.err


def test_two_preparations_at_two_sizes_are_compared(cli: Cli, run: Run, tmp_path: Path) -> None:
    assert cli("data", "prepare", run.source, "--out", tmp_path / "large", "--size", 48).code == 0
    config = tmp_path / "large.yaml"
    config.write_text(TINY.format(data=tmp_path / "large"))
    assert cli("train", "--config", config, "--out", tmp_path / "large-run").code == 0
    result = cli("compare", run.out, tmp_path / "large-run", "--out", tmp_path / "compare")
    assert result.code == 0, result.err
    write_image(run.source / "val" / "images" / "val_0.JPEG", 4321)
    prepare_again(cli, run)
    result = cli("compare", run.out, tmp_path / "large-run", "--out", tmp_path / "compare")
    assert result.code == 1
    assert "its val images are not those of" in result.sentence


def test_the_predictions_name_files_probabilities_and_the_next_best(cli: Cli, run: Run) -> None:
    assert cli("eval", "--weights", run.weights, "--threshold", "1").code == 0
    with (run.out / "predictions-val.csv").open() as file:
        header, *lines = file.read().splitlines()
    assert header == "row,file,label,prediction,probability,exit,top_1,top_2,top_3"
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    annotations = (run.source / "val" / "val_annotations.txt").read_text().splitlines()
    labels = dict(line.split("\t")[:2] for line in annotations)
    stored = np.load(run.out / "outputs-val.npz")
    for number, row in enumerate(rows):
        assert labels[Path(row["file"]).name] == row["label"]
        logits = stored["logits"][int(row["exit"]) - 1, number].astype(np.float64)
        order = np.argsort(-logits)
        assert [row[f"top_{k}"] for k in (1, 2, 3)] == [CLASSES[k] for k in order]
        assert row["prediction"] == row["top_1"]
        assert float(row["probability"]) == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(), abs=1e-5)
