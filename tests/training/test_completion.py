"""What a config leaves to its data set and its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenedge.config import DataConfig, config_from_text
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.errors import DataError
from greenedge.training.completion import complete_config
from tests.conftest import write_official_layout

CONFIG = """\
data: {{path: {data}{more}}}
model: {{backbone: {backbone}, weights: {weights}}}
train: {{epochs: 1}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images prepared at 48 and at 4 px."""
    base = tmp_path_factory.mktemp("sizes")
    source = write_official_layout(base / "source")
    for size in (48, 4):
        prepare([source], base / str(size), PrepareOptions(size=size))
    return base


def completed(data: Path, more: str = "", backbone: str = "resnet18", weights: str = "null") -> DataConfig:
    text = CONFIG.format(data=data, more=more, backbone=backbone, weights=weights)
    return complete_config(config_from_text(text, "a.yaml")).data


def test_the_image_size_is_the_stored_one_where_nothing_else_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = completed(folder / "48")
    assert (data.image_size, data.mean, data.std) == (48, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert caplog.messages == []


def test_another_image_size_is_taken_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = completed(folder / "48", ", image_size: 32")
    assert data.image_size == 32
    assert caplog.messages == ["note: images are stored at 48 px and resized to data.image_size, 32 px"]


def test_images_that_are_too_small_to_train_on_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"images of 4 px are no size to train at; set data\.image_size"):
        completed(folder / "4")


@pytest.mark.parametrize(
    ("backbone", "mean", "std"),
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("timm/tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_pretrained_weights_say_how_they_want_their_pixels(
    folder: Path,
    backbone: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = completed(folder / "48", backbone=backbone, weights="imagenet")
    assert (data.mean, data.std) == (mean, std)
    assert caplog.messages == []
    data = completed(folder / "48", ", mean: [0.4, 0.4, 0.4]", backbone, "imagenet")
    assert (data.mean, data.std) == ((0.4, 0.4, 0.4), std)
    assert caplog.messages == [
        f"note: data.mean is [0.4, 0.4, 0.4], the pre-trained weights were trained with {list(mean)}"
    ]
