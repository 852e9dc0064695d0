from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from greenedge.data.tree import SourceTree
from greenedge.errors import DataError
from tests.conftest import write_image
from tests.data.sources import refusal, zip_folder


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("levels_above", ["", "deep", "deeper/still"])
def test_source_tree_paths_start_at_the_level_of_train(official: Path, tmp_path: Path, levels_above: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(official, source / levels_above)
    with SourceTree([source]) as tree:
        assert tree.paths == files_below(official)
        assert tree.read("words.txt") == (official / "words.txt").read_bytes()


def test_source_tree_reads_a_zip_in_place_like_its_folder(official: Path, tmp_path: Path) -> None:
    archive = zip_folder(official, tmp_path / "all.zip", method=zipfile.ZIP_DEFLATED)
    before = sorted(tmp_path.rglob("*"))
    with SourceTree([archive]) as tree:
        assert tree.paths == files_below(official)
        for path in tree.paths:
            assert tree.read(path) == (official / path).read_bytes()
    assert sorted(tmp_path.rglob("*")) == before


def test_source_tree_joins_a_folder_and_a_zip(official: Path, tmp_path: Path) -> None:
    expected = files_below(official)
    val = zip_folder(official, tmp_path / "val.zip", keep=lambda path: path.startswith("val/"))
    shutil.rmtree(official / "val")
    with SourceTree([official, val]) as tree:
        assert tree.paths == expected


def test_source_tree_reads_texts_repeated_in_every_part_once(official: Path, tmp_path: Path) -> None:
    parts = [
        zip_folder(official, tmp_path / f"{n}.zip", keep=lambda p, n=n: f"_{n}.JPEG" in p or p == "words.txt")
        for n in range(2)
    ]
    with SourceTree(parts) as tree:
        assert tree.paths.count("words.txt") == 1


def test_source_tree_ignores_hidden_and_system_files(official: Path) -> None:
    expected = files_below(official)
    for name in (
        ".DS_Store",
        "train/Thumbs.db",
        "train/n01/images/._n01_0.JPEG",
        "__MACOSX/train/n01/a.JPEG",
    ):
        (official / name).parent.mkdir(parents=True, exist_ok=True)
        (official / name).write_bytes(b"junk")
    with SourceTree([official]) as tree:
        assert tree.paths == expected


def test_source_tree_locates_a_file_for_messages(official: Path, tmp_path: Path) -> None:
    archive = zip_folder(official, tmp_path / "all.zip")
    with SourceTree([official]) as tree:
        assert tree.locate("words.txt") == str(official / "words.txt")
    with SourceTree([archive]) as tree:
        assert tree.locate("words.txt") == f"{archive}:{official.name}/words.txt"


def test_source_tree_digest_of_a_zip_is_that_of_its_bytes(official: Path, tmp_path: Path) -> None:
    archive = zip_folder(official, tmp_path / "all.zip")
    with SourceTree([archive]) as tree:
        (digest,) = tree.digests()
    assert digest["name"] == "all.zip"
    assert digest["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_source_tree_digest_of_a_folder_is_that_of_its_listing(official: Path) -> None:
    lines = [f"{name}\t{len((official / name).read_bytes())}\n" for name in files_below(official)]
    with SourceTree([official]) as tree:
        (digest,) = tree.digests()
    assert digest["files"] == len(lines)
    assert digest["sha256_of_listing"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_source_tree_refuses_an_empty_list_of_sources(tmp_path: Path) -> None:
    assert "source" in refusal(tmp_path)


def test_source_tree_names_a_missing_source(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere.zip") in refusal(tmp_path, tmp_path / "nowhere.zip")


def test_source_tree_names_a_folder_without_train_and_val(tmp_path: Path) -> None:
    write_image(tmp_path / "holiday" / "beach.png", seed=0)
    message = refusal(tmp_path, tmp_path / "holiday")
    assert str(tmp_path / "holiday") in message
    assert "train" in message


def test_source_tree_names_a_file_that_is_not_a_zip(tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", seed=0)
    assert str(tmp_path / "one.png") in refusal(tmp_path, tmp_path / "one.png")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_source_tree_names_a_truncated_zip(official: Path, tmp_path: Path, kept: float) -> None:
    archive = zip_folder(official, tmp_path / "all.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    assert str(archive) in refusal(tmp_path, archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
def test_source_tree_names_the_image_of_a_flipped_byte_in_a_zip(
    official: Path, tmp_path: Path, method: int, position: float
) -> None:
    archive = zip_folder(official, tmp_path / "all.zip", method=method)
    name = f"{official.name}/train/n02/images/n02_4.JPEG"
    with zipfile.ZipFile(archive) as opened:
        member = opened.getinfo(name)
    content = bytearray(archive.read_bytes())
    start = member.header_offset + 30 + len(name)
    content[start + int(position * member.compress_size)] ^= 0x10
    archive.write_bytes(content)
    message = refusal(tmp_path, archive)
    assert str(archive) in message
    assert name in message


def test_source_tree_refuses_the_same_image_in_two_zips(official: Path, tmp_path: Path) -> None:
    first = zip_folder(official, tmp_path / "first.zip")
    second = zip_folder(official, tmp_path / "second.zip", keep=lambda path: path.endswith("n01_7.JPEG"))
    message = refusal(tmp_path, first, second)
    assert "train/n01/images/n01_7.JPEG" in message
    assert str(first) in message
    assert str(second) in message


def test_source_tree_names_a_file_that_vanishes(official: Path) -> None:
    with SourceTree([official]) as tree:
        (official / "words.txt").unlink()
        with pytest.raises(DataError, match=r"words\.txt: cannot be read"):
            tree.read("words.txt")


def test_source_tree_names_a_text_that_is_not_utf8(official: Path, tmp_path: Path) -> None:
    (official / "words.txt").write_bytes(b"n01\t\xff\xfe\n")
    assert str(official / "words.txt") in refusal(tmp_path, official)
