from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from greenedge.data.decode import decode_image
from greenedge.data.loader import InputTransform
from greenedge.errors import DataError
from greenedge.inference import member_graph, runner_images
from greenedge.inference.manifest import Preprocessing

MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("size", "new_size"), [(64, 128), (64, 96), (64, 32), (64, 47), (9, 5), (7, 7), (1, 4), (256, 31)]
)
def test_resize_matrix_is_that_of_the_loader(size: int, new_size: int) -> None:
    expected = member_graph.resize_matrix(size, new_size)
    np.testing.assert_allclose(runner_images.resize_matrix(size, new_size), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [64, 32, 96])
def test_prepare_is_what_training_does_to_stored_images(size: int) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    expected = InputTransform(size, MEAN, STD)(torch.from_numpy(stored))
    found = runner_images.prepare(stored, size, {"mean": list(MEAN), "std": list(STD)})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def colours(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(90, 60), (33, 120), (64, 64), (700, 400), (5, 3)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.gif", "a.ppm"])
def test_decode_is_that_of_predict(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / name
    colours(size).save(path)
    expected = decode_image(path.read_bytes(), name, 64)
    assert np.array_equal(runner_images.decode(path, 64), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_decode_of_a_mode_is_that_of_predict(mode: str, tmp_path: Path) -> None:
    image = colours((90, 60))
    image.putalpha(Image.linear_gradient("L").resize((90, 60)))
    image = image if mode == "RGBA" else image.convert("RGB").convert(mode) if mode != "LA" else image.convert("LA")
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    image.save(path)
    assert np.array_equal(runner_images.decode(path, 64), decode_image(path.read_bytes(), "a", 64))


@pytest.mark.parametrize("orientation", range(10))
def test_decode_turns_images_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    colours((90, 60)).save(path, exif=exif)
    assert np.array_equal(runner_images.decode(path, 64), decode_image(path.read_bytes(), "a", 64))


def test_decode_of_transparent_colours_is_that_of_predict(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = colours((90, 60))
    image.paste((1, 2, 3), (10, 10, 60, 50))
    image.save(path, transparency=(1, 2, 3))
    assert np.array_equal(runner_images.decode(path, 64), decode_image(path.read_bytes(), "a", 64))


def test_decode_names_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sixteen, text, large = tmp_path / "a.png", tmp_path / "text.jpg", tmp_path / "large.png"
    Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16)).save(sixteen)
    text.write_text("no image")
    Image.new("1", (10_000, 9_000)).save(large)
    for path, words in (
        (tmp_path / "missing.png", "no such file"),
        (tmp_path, "no such file"),
        (sixteen, "has pixels of mode I;16, which this runner does not convert"),
        (text, r"is no image that can be read \(UnidentifiedImageError\)"),
        (large, "is too large an image to decode safely"),
    ):
        with pytest.raises(ValueError, match=f"^{path}: {words}"):
            runner_images.decode(path, 64)
    with pytest.raises(DataError):
        decode_image(large.read_bytes(), "large", 64)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ValueError, match=r"text\.jpg: image files need Pillow; pip install pillow, or give a \.npy file$"
    ):
        runner_images.decode(text, 64)


def test_grouped_keeps_the_order_and_reads_arrays_alone(tmp_path: Path) -> None:
    array, pictures = tmp_path / "a.npy", [tmp_path / f"{index}.png" for index in range(70)]
    np.save(array, np.zeros(1))
    groups = list(runner_images.grouped([*pictures, array, pictures[0]]))
    assert groups == [pictures[:64], pictures[64:], [array], [pictures[0]]]


def test_find_problem_knows_what_is_written() -> None:
    from dataclasses import asdict

    written = asdict(Preprocessing(64, MEAN, STD))
    written |= {"resize": list(written["resize"]), "pixel_range": list(written["pixel_range"])}
    assert runner_images.find_problem(written) is None
