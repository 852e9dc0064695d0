"""Images that cannot be used are all named in one error, or left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from greenedge.data import decoding
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, image_paths, open_prepared
from greenedge.data.problems import ProblemsError
from greenedge.errors import DataError, UsageError
from tests.conftest import write_image
from tests.data.sources import is_one_sentence, pixels, read_official

SKIP = PrepareOptions(skip_bad=True)


def spoil(official: Path, *names: str) -> list[Path]:
    paths = [official / name for name in names]
    for path in paths:
        path.write_bytes(b"no image")
    return paths


def some(count: int) -> list[str]:
    return [f"train/n0{1 + k % 3}/images/n0{1 + k % 3}_{k // 3}.JPEG" for k in range(count)]


@pytest.mark.parametrize("count", [2, 10, 11, 30])
def test_prepare_collects_all_problems_and_names_the_first_ten(official: Path, tmp_path: Path, count: int) -> None:
    bad = sorted(map(str, spoil(official, *some(count - 1), "val/images/val_7.JPEG")))
    with pytest.raises(ProblemsError) as caught:
        prepare([official], tmp_path / "out")
    error = caught.value
    assert error.short.startswith(f"{count} of 51 images cannot be used; ")
    assert "--skip-bad" in error.short
    assert [line.partition(": ")[0] for line in error.lines[:10]] == bad[:10]
    assert error.lines[10:] == ([f"and {count - 10} more, which `data prepare --check` names"] if count > 10 else [])
    assert all(path in str(error) for path in bad[:10])
    assert is_one_sentence(str(error))
    assert list(tmp_path.iterdir()) == [official]


def test_prepare_with_one_problem_has_it_as_the_whole_message(official: Path, tmp_path: Path) -> None:
    (bad,) = spoil(official, "val/images/val_7.JPEG")
    with pytest.raises(ProblemsError) as caught:
        prepare([official], tmp_path / "out")
    assert str(caught.value) == caught.value.short == f"{bad}: is not an image, despite its name; replace or remove it"
    assert caught.value.lines == []


def test_prepare_with_skip_bad_keeps_the_other_images(official: Path, tmp_path: Path) -> None:
    expected = read_official(official)
    bad = spoil(official, *some(7), "val/images/val_0.JPEG", "val/images/val_14.JPEG")
    manifest = prepare([official], tmp_path / "out", SKIP)
    data = open_prepared(tmp_path / "out")
    for split, pattern in (("train", "train/*/images/*"), ("val", "val/images/*")):
        all_paths = sorted(official.glob(pattern), key=str)
        kept = [row for row, path in enumerate(all_paths) if path not in bad]
        images, labels = expected[split]
        np.testing.assert_array_equal(data.split(split).images, images[kept])
        assert data.split(split).labels.tolist() == [labels[row] for row in kept]
        paths = [all_paths[row].relative_to(official).as_posix() for row in kept]
        assert image_paths(data.split(split)) == paths
    assert check_images(tmp_path / "out") == {"train": 29, "val": 13}
    assert manifest["skipped"] == 9
    assert sorted(line.partition(": ")[0] for line in manifest["skipped_images"]) == sorted(map(str, bad))


def test_prepare_gives_the_same_set_whether_bad_images_are_skipped_or_removed(official: Path, tmp_path: Path) -> None:
    bad = spoil(official, *some(5))
    prepare([official], tmp_path / "skipped", SKIP)
    for path in bad:
        path.unlink()
    prepare([official], tmp_path / "removed")
    for name in ("images.npy", "labels.npy", "digests.npy", "paths.json"):
        assert (tmp_path / "skipped" / f"train-{name}").read_bytes() == (
            tmp_path / "removed" / f"train-{name}"
        ).read_bytes()


def test_prepare_refuses_to_skip_all_training_images_of_a_class(official: Path, tmp_path: Path) -> None:
    spoil(official, *(f"train/n02/images/n02_{k}.JPEG" for k in range(12)))
    with pytest.raises(DataError, match="class 'n02' would lose all its training images"):
        prepare([official], tmp_path / "out", SKIP)
    assert list(tmp_path.iterdir()) == [official]


def test_prepare_may_skip_all_images_of_a_split(official: Path, tmp_path: Path) -> None:
    spoil(official, *(f"val/images/val_{k}.JPEG" for k in range(15)))
    prepare([official], tmp_path / "out", SKIP)
    assert set(open_prepared(tmp_path / "out").splits) == {"train"}


def test_prepare_with_skip_bad_changes_nothing_without_problems(official: Path, tmp_path: Path) -> None:
    assert prepare([official], tmp_path / "one", SKIP) == prepare([official], tmp_path / "other")


def test_read_listing_names_images_outside_class_folders_together(official: Path, tmp_path: Path) -> None:
    for name in ("train/a.png", "train/b.png"):
        write_image(official / name, seed=0)
    with pytest.raises(ProblemsError) as caught:
        prepare([official], tmp_path / "out")
    assert [line.partition(": ")[0] for line in caught.value.lines] == [
        str(official / "train" / f"{n}.png") for n in "ab"
    ]


def test_read_listing_names_invalid_lines_of_annotations_together(official: Path, tmp_path: Path) -> None:
    path = official / "val" / "val_annotations.txt"
    path.write_text(path.read_text().replace("val_1.JPEG", "gone.JPEG").replace("val_3.JPEG\tn01", "val_3.JPEG\tn77"))
    with pytest.raises(ProblemsError) as caught:
        prepare([official], tmp_path / "out")
    assert [line.split(": ")[0] for line in caught.value.lines] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("size", [0, -1, 8193])
def test_prepare_refuses_a_size_out_of_range(official: Path, tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match=f"not {size}"):
        prepare([official], tmp_path / "out", PrepareOptions(size=size))


def test_write_images_uses_few_threads_for_large_images(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 256)
    assert [decoding.decoding_threads(3 * size * size) for size in (64, 224, 2048, 8192)] == [8, 8, 8, 1]


def test_write_images_writes_in_place_in_chunks_of_one_image(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_CHUNK_BYTES", 1)
    prepare([official], tmp_path / "out")
    first = min(official.glob("train/n01/images/*"), key=str)
    np.testing.assert_array_equal(open_prepared(tmp_path / "out").split("train").images[0], pixels(first))
