from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from greenedge.data.loader import InputTransform
from greenedge.data.prepare import prepare
from greenedge.data.prepared import open_prepared
from greenedge.exits.confidence import CRITERIA
from tests.cli.conftest import Cli
from tests.conftest import write_image
from tests.models.published import answer_one_by_one, predictions_at, published, telling_thresholds


@pytest.fixture(scope="module")
def two_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 classes with one training image each, and 8 validation images."""
    folder = tmp_path_factory.mktemp("classes")
    for index in range(200):
        write_image(folder / "source" / "train" / f"c{index:03d}" / "a.png", seed=index)
        if index < 8:
            write_image(folder / "source" / "val" / f"c{index:03d}" / "b.png", seed=1000 + index)
    prepare([folder / "source"], folder / "data")
    return folder / "data"


def test_imported_weights_predict_as_published_at_every_threshold(cli: Cli, two_hundred: Path, tmp_path: Path) -> None:
    theirs = published(resnext=True, size=64)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    out = tmp_path / "run" / "imported.safetensors"
    result = cli("import-weights", tmp_path / "weights.pth", "--data", two_hundred, "--out", out)
    assert result.code == 0
    assert "resnext50_32x4d with exits after layer1 (paper), layer3 (paper) for 64 px" in result.err
    assert cli("sweep", "--weights", out).code == 0

    stored = np.load(out.parent / "outputs-val.npz")
    images = torch.from_numpy(np.array(open_prepared(two_hundred).splits["val"].images))
    images = InputTransform(64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images)
    uncertainty = CRITERIA["entropy"].uncertainty(stored["logits"])
    logits = answer_one_by_one(theirs, images)
    for threshold in telling_thresholds(logits):
        leaves = uncertainty < threshold
        leaves[-1] = True
        taken = leaves.argmax(axis=0)
        predictions = stored["logits"].argmax(axis=2)[taken, np.arange(8)]
        assert predictions.tolist() == predictions_at(logits, threshold)


def test_what_cannot_be_imported_is_one_sentence(cli: Cli, two_hundred: Path, prepared: Path, tmp_path: Path) -> None:
    good, other, code = tmp_path / "good.pth", tmp_path / "other.pth", tmp_path / "code.pth"
    torch.save(published(resnext=False).state_dict(), good)
    torch.save(torchvision.models.resnet18().state_dict(), other)
    code.write_bytes(good.read_bytes()[:1000])
    out = tmp_path / "out.safetensors"
    for weights, data, target, exit_code, words in (
        (other, two_hundred, out, 1, f"{other}: is no state dict of the published networks"),
        (code, two_hundred, out, 1, "truncated or not a file of tensors"),
        (tmp_path / "absent.pth", two_hundred, out, 1, "no such file of weights"),
        (good, prepared, out, 1, f"{good}: has 200 classes, {prepared} has 3"),
        (good, tmp_path / "nowhere", out, 1, "no prepared data set here"),
        (good, two_hundred, tmp_path / "out.pth", 2, "a checkpoint's name ends in .safetensors"),
        (good, two_hundred, good.with_suffix(".safetensors"), 0, ""),
        (good, two_hundred, good.with_suffix(".safetensors"), 2, "exists already"),
    ):
        result = cli("import-weights", weights, "--data", data, "--out", target)
        assert result.code == exit_code
        assert words in (result.sentence if exit_code else "")
    assert not out.exists()
