from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from greenedge.data.image_files import FailedImage, find_images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a/2.png", "a/1.png", "a/deep/3.webp", "a/notes.txt", ".hidden.png", "c/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def found(*sources: object, listed: bytes = b"") -> list[str]:
    return [
        f"! {each.error}" if isinstance(each, FailedImage) else str(each)
        for each in find_images([str(source) for source in sources], io.BytesIO(listed))
    ]


def test_find_images_reads_folders_recursively_in_order_and_passes_over_what_is_no_image(tree: Path) -> None:
    expected = sorted(
        str(path)
        for path in tree.rglob("*")
        if path.suffix.lower() in (".jpg", ".png", ".webp") and not path.name.startswith(".")
    )
    assert found(tree) == expected == [f"{tree}/{name}" for name in ("a/1.png", "a/2.png", "a/deep/3.webp", "b.JPG")]


def test_find_images_expands_patterns_as_a_shell_does(tree: Path) -> None:
    assert found(f"{tree}/a/*.png") == [f"{tree}/a/1.png", f"{tree}/a/2.png"]
    assert found(f"{tree}/**/*.png") == [f"{tree}/a/1.png", f"{tree}/a/2.png"]
    assert found(f"{tree}/**") == found(tree)  # each once, though it lies in a folder that matches too
    assert found(f"{tree}/[ab]*") == found(tree)
    (tree / "odd[1].png").write_bytes(b"x")
    assert found(tree / "odd[1].png") == [f"{tree}/odd[1].png"]  # a name that exists is no pattern


def test_find_images_takes_a_list_whose_lines_are_files_and_folders(tree: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    listed = f"{tree}/b.JPG\r\n\n{tree}/a/deep\n{tree}/no*.png\n".encode() + os.fsencode(f"{tree}/{odd}")
    expected = [f"{tree}/b.JPG", f"{tree}/a/deep/3.webp", f"{tree}/no*.png", f"{tree}/{odd}"]
    assert found("-", listed=listed) == expected
    assert found("-", listed=b"\n") == []


def test_find_images_says_what_stands_for_nothing_and_goes_on(tree: Path) -> None:
    assert found(f"{tree}/x*", tree / "c", tree / "b.JPG") == [
        f"! {tree}/x*: no file matches",
        f"! {tree}/c: holds no images",
        f"{tree}/b.JPG",
    ]


def test_find_images_ends_where_folders_lie_in_each_other(tree: Path) -> None:
    (tree / "a" / "again").symlink_to(tree)
    names = found(tree / "a")
    assert names.count(f"{tree}/a/1.png") == 1
    assert f"{tree}/a/again/b.JPG" in names
    assert not any(name.startswith(f"{tree}/a/again/a/") for name in names)


def test_find_images_lists_no_folder_before_its_turn(tree: Path) -> None:
    images = find_images([str(tree / "a"), str(tree / "late")])
    assert next(images) == tree / "a" / "1.png"
    (tree / "late").mkdir()
    (tree / "late" / "9.png").write_bytes(b"x")
    assert list(images)[-1] == tree / "late" / "9.png"
