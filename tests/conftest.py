"""Small data sets that tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from greenedge.data.prepare import prepare

# A slow machine is no failure.
settings.register_profile("greenedge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("greenedge")

REPOSITORY = Path(__file__).parents[1]
REAL_IMAGES = REPOSITORY.parent / "shared" / "data" / "tiny-imagenet-200"

CLASSES = ("n01", "n02", "n03")
TRAIN_PER_CLASS, VAL_PER_CLASS = 12, 5


def write_image(path: Path, seed: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    """Writes a random image in the format that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def write_official_layout(root: Path) -> Path:
    """A data set in TinyImageNet's layout: 3 classes, 12 training and 5 validation images each."""
    lines = []
    for label, wnid in enumerate(CLASSES):
        for index in range(TRAIN_PER_CLASS):
            write_image(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 100 * label + index)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for index in range(VAL_PER_CLASS):
            name = f"val_{label * VAL_PER_CLASS + index}.JPEG"
            write_image(root / "val" / "images" / name, 1000 + 100 * label + index)
            lines.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in reversed(CLASSES)))
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tbullfrog\nn99\tnot used\n")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first and one by one; of all others those of one file stay together, with what they share.

    Read by pytest-xdist's `--dist loadgroup`; without it only the order changes.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        together = item.get_closest_marker("slow") is None and item.get_closest_marker("xdist_group") is None
        if together:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(REPOSITORY).as_posix()))


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A fresh data set in TinyImageNet's layout, which the test may damage."""
    return write_official_layout(tmp_path / "tiny-imagenet-200")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set, for reading only."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare([write_official_layout(folder / "source")], folder / "data")
    return folder / "data"


@pytest.fixture
def real_images() -> Path:
    """The folder of the real TinyImageNet's zip files; tests that use it carry `needs_real_images`."""
    return REAL_IMAGES


needs_real_images = pytest.mark.skipif(
    not REAL_IMAGES.is_dir(), reason="the real TinyImageNet is not beside the repository"
)
