"""`scripts/make_corruptions`: each corruption against a formula or another library, and the folder that it makes."""

from __future__ import annotations

import colorsys
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from greenedge.data.corrupted import find_corrupted
from greenedge.data.prepared import open_prepared
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "scripts" / "corruptions"
sys.path.insert(0, str(FOLDER))
import corruptions  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(IMAGE[::4, ::4]).resize((64, 64), Image.Resampling.BICUBIC))


def corrupted(name: str, severity: int, image: np.ndarray = IMAGE) -> np.ndarray:
    found: np.ndarray = corruptions.corrupt(image, name, severity, np.random.default_rng(1))
    assert found.dtype == np.uint8
    assert found.shape == image.shape
    return found


@pytest.mark.parametrize("name", list(corruptions.CORRUPTIONS))
def test_corrupt_does_more_at_higher_severities(name: str) -> None:
    changes = [np.abs(corrupted(name, each, SMOOTH).astype(float) - SMOOTH).mean() for each in range(1, 6)]
    assert changes == sorted(changes)
    assert changes[-1] > 1


def test_noises_have_their_published_strength() -> None:
    grey = np.full((400, 400, 3), 128, np.uint8)
    for severity, scale in enumerate((0.04, 0.08, 0.12, 0.15, 0.18), start=1):
        assert corrupted("gaussian_noise", severity, grey).std() / 255 == pytest.approx(scale, rel=0.03)
    for severity, photons in enumerate((250, 100, 50, 30, 15), start=1):
        expected = np.sqrt(128 / 255 / photons)  # of a Poisson count over its factor
        assert corrupted("shot_noise", severity, grey).std() / 255 == pytest.approx(expected, rel=0.03)
    for severity, amount in enumerate((0.01, 0.02, 0.05, 0.08, 0.14), start=1):
        found = corrupted("impulse_noise", severity, grey)
        assert (found != 128).mean() == pytest.approx(amount, rel=0.05)
        assert (found == 255).sum() == pytest.approx((found == 0).sum(), rel=0.1)


def test_brightness_adds_to_the_value_of_hsv() -> None:
    image = IMAGE.copy()
    image[0, 0] = 0
    found = corrupted("brightness", 3, image)
    for row, column in [(0, 0), (1, 5), (20, 40), (63, 63)]:
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255))
        expected = np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))) * 255
        assert np.abs(found[row, column] - expected).max() <= 1


def test_contrast_pixelate_and_jpeg_are_their_formulas() -> None:
    means = IMAGE.reshape(-1, 3).mean(axis=0)
    assert np.abs(corrupted("contrast", 4) - (means + 0.1 * (IMAGE - means))).max() <= 1
    blocks = IMAGE.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(corrupted("pixelate", 5) - blocks).max() <= 1
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "JPEG", quality=25)
    assert np.array_equal(corrupted("jpeg_compression", 5), np.asarray(Image.open(file)))


def test_defocus_blur_spreads_a_point_over_a_disk_and_keeps_what_is_even() -> None:
    point = np.zeros((64, 64, 3), np.uint8)
    point[30, 20] = 255
    kernel = corruptions.disk(3, 0.1)
    assert kernel.sum() == pytest.approx(1)
    distance = np.hypot(*np.meshgrid(np.arange(-8, 9), np.arange(-8, 9)))
    assert np.allclose(kernel, (distance <= 3) / (distance <= 3).sum())
    found = corrupted("defocus_blur", 5, point)
    assert np.abs(found[22:39, 12:29, 0] - kernel * 255).max() <= 1
    assert np.abs(corrupted("defocus_blur", 5, np.full((64, 64, 3), 77, np.uint8)).astype(int) - 77).max() <= 1
    soft = corruptions.disk(0.5, 0.6)[7:10, 7:10]  # one pixel, softened by a Gaussian
    line = np.exp(-0.5 * np.array([-1, 0, 1]) ** 2 / 0.36)
    assert np.allclose(soft, np.outer(line, line) / line.sum() ** 2)


def test_make_writes_a_folder_in_the_published_layout(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    command = [sys.executable, str(FOLDER / "make.py"), str(prepared), "--out", str(out), "--per-class", "2"]
    options = ["--corruption", "contrast", "--corruption", "shot_noise"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout == f"{out}: 60 images of 2 corruptions at 5 severities\n"
    sets = find_corrupted(out, open_prepared(prepared).classes)
    assert [(each.corruption, each.severity) for each in sets] == [
        (name, severity) for name in ("contrast", "shot_noise") for severity in range(1, 6)
    ]
    assert all(each.labels.tolist() == [0, 0, 1, 1, 2, 2] for each in sets)

    again = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1] == (f"error: {out}: exists already; choose another --out, or remove it first")
