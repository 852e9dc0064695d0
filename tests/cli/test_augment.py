from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from greenedge.augment import AUGMENTATIONS, LEARNED
from tests.cli.conftest import Cli


def test_preview_draws_a_row_for_each_augmentation_of_the_config(cli: Cli, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    result = cli("augment", "preview", "--config", config, "--out", out, "--columns", 5)
    assert (result.code, result.out) == (0, "")
    assert result.err.strip() == f"{out}: 5 images before and after 2 augmentations"
    assert (
        cli("augment", "preview", "--config", config, "--out", tmp_path / "one.png", "--set", "augment=[cutmix]").code
        == 0
    )
    with Image.open(out) as two, Image.open(tmp_path / "one.png") as one:
        assert two.height > one.height  # before, each and all against before and one


def test_preview_of_every_augmentation_has_them_all(cli: Cli, config: Path, tmp_path: Path) -> None:
    result = cli("augment", "preview", "--config", config, "--out", tmp_path / "every.png", "--every", "--columns", 2)
    assert result.code == 0
    assert f"after {len(AUGMENTATIONS) - len(LEARNED)} augmentations" in result.err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("augment=[]", "has no augmentations to preview; add some, or give --every"),
        ("augment=[{scale: {low: 2}}]", "augment.0.scale: the range from 2 to 1.2 is empty"),
        ("augment=[cutmix, {blur: {max_sigma: 30}}]", "augment.1.blur: max_sigma is 30 pixels, too wide"),
        ("augment=[{local_augment: {grid: 65, probability: 1e-6}}]", "augment.0.local_augment: grid is 65"),
        ("augment=[{resize_and_crop: {size: 60}}]", "augment.0.resize_and_crop: size is 60"),
        ("augment=[{rand_augment: {magnitude: 31}}]", "augment.0.rand_augment.magnitude: expected"),
        (
            "augment=[automix, horizontal_flip]",
            "augment.0.automix: mixes within the step, after all augmentations; move it",
        ),
        ("augment=[{samix: {momentum: 1}}]", "augment.0.samix.momentum: expected"),
        ("data.path=nowhere", "nowhere: no prepared data set here"),
    ],
)
def test_what_cannot_be_previewed_or_trained_is_one_sentence(
    cli: Cli, config: Path, tmp_path: Path, setting: str, words: str
) -> None:
    result = cli("augment", "preview", "--config", config, "--out", tmp_path / "x.png", "--set", setting)
    assert result.code in (1, 2)
    assert words in result.sentence
    assert not (tmp_path / "x.png").exists()
    if setting != "augment=[]":
        trained = cli("train", "--config", config, "--out", tmp_path / "run", "--set", setting)
        assert (trained.code, trained.sentence) == (result.code, result.sentence)
        assert not (tmp_path / "run").exists()
