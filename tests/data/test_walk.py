"""What is read of a source tree, what is ignored, and that it is counted."""

from __future__ import annotations

import os
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from greenedge.data import walk as walking
from greenedge.data.layouts import Listing, read_listing
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import image_paths, open_prepared
from greenedge.data.tree import SourceTree
from greenedge.errors import DataError
from tests.conftest import write_image
from tests.data.sources import refusal, write_class_folders


def listed(*sources: Path) -> Listing:
    with SourceTree(sources) as tree:
        return read_listing(tree)


def counts(listing: Listing) -> list[int]:
    return [len(listing.splits[split]) for split in ("train", "val")]


def zip_names(out: Path, root: Path, rename: Iterable[tuple[str, str]] = (), prefix: str = "") -> Path:
    """Zips a folder with changed member names."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root).as_posix()
            for old, new in rename:
                name = name.replace(old, new)
            archive.writestr(zipfile.ZipInfo(prefix + name), path.read_bytes())
    return out


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "pets")


def test_walk_folder_follows_links(pets: Path, tmp_path: Path) -> None:
    (pets / "val" / "dog").rename(tmp_path / "away")
    (pets / "val" / "dog").symlink_to(tmp_path / "away")
    (pets / "train" / "cat" / "0.png").rename(tmp_path / "elsewhere.png")
    (pets / "train" / "cat" / "0.png").symlink_to(tmp_path / "elsewhere.png")
    prepare([pets], tmp_path / "out")
    assert {name: len(split) for name, split in open_prepared(tmp_path / "out").splits.items()} == {
        "train": 6,
        "val": 4,
    }


def test_walk_folder_stops_at_links_that_lead_back(pets: Path) -> None:
    (pets / "train" / "cat" / "again").symlink_to("..")
    (pets / "train" / "dog" / "itself").symlink_to("itself")
    listing = listed(pets)
    assert counts(listing) == [6, 4]
    assert listing.unused == {"endless link": 1, "file without ending": 1}


@pytest.mark.parametrize("name", ["pipe.png", "pipe"])
def test_walk_folder_never_opens_pipes(pets: Path, name: str) -> None:
    os.mkfifo(pets / "train" / "cat" / name)
    listing = listed(pets)
    assert counts(listing) == [6, 4]
    assert listing.unused == {"special file": 1}


def test_source_tree_refuses_a_pipe_as_a_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    assert "neither a folder nor a file" in refusal(tmp_path, tmp_path / "pipe.zip")


def test_source_tree_does_not_wait_for_a_file_that_became_a_pipe(pets: Path) -> None:
    with SourceTree([pets]) as tree:
        (pets / "train" / "cat" / "0.png").unlink()
        os.mkfifo(pets / "train" / "cat" / "0.png")
        with pytest.raises(DataError, match=r"0\.png: is not a regular file"):
            tree.read("train/cat/0.png")


def test_walk_folder_names_a_folder_that_cannot_be_listed(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def deny(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert refusal(tmp_path, pets) == f"{pets / 'train' / 'dog'}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    "junk",
    ["@eaDir", "LOST+FOUND", "$Recycle.Bin", "System Volume Information", "__macosx", ".ipynb_checkpoints", "#recycle"],
)
def test_walk_folder_ignores_folders_of_systems(pets: Path, tmp_path: Path, junk: str) -> None:
    write_image(pets / "train" / junk / "0.png", seed=0)
    for source in (pets, zip_names(tmp_path / "pets.zip", pets)):
        listing = listed(source)
        assert [info.id for info in listing.classes] == ["cat", "dog"]
        assert listing.unused == {"hidden or system file": 1}


def test_prepare_counts_unused_files_by_kind(pets: Path, tmp_path: Path) -> None:
    for name in ("train/cat/notes.TXT", "train/list.csv", "README.md", "valid2/cat/0.png", "test/0.png", "test/1.png"):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / name).write_bytes(b"")
    expected = {".csv": 1, ".md": 1, ".txt": 1, "test/": 2, "valid2/": 1}
    assert listed(pets).unused == expected
    assert listed(zip_names(tmp_path / "pets.zip", pets)).unused == expected


@pytest.mark.parametrize(
    ("rename", "prefix"),
    [((("/", "\\"),), ""), ((), "./"), ((("/", "\\"),), "pets\\"), ((("/", "//"),), "./pets/./")],
    ids=["backslashes", "dot", "backslashes below a folder", "doubled"],
)
def test_list_zip_reads_names_of_any_system(
    pets: Path, tmp_path: Path, rename: tuple[tuple[str, str], ...], prefix: str
) -> None:
    zip_names(tmp_path / "pets.zip", pets, rename, prefix)
    prepare([tmp_path / "pets.zip"], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert image_paths(data.split("val")) == [f"val/{name}/{n}.png" for name in ("cat", "dog") for n in range(2)]


@pytest.mark.parametrize("prefix", ["/", "../", "C:\\", "a/../../"])
def test_list_zip_refuses_names_outside_the_archive(pets: Path, tmp_path: Path, prefix: str) -> None:
    zip_names(tmp_path / "pets.zip", pets, prefix=prefix)
    assert "lies outside the archive" in refusal(tmp_path, tmp_path / "pets.zip")


def test_list_zip_refuses_a_repeated_member(pets: Path, tmp_path: Path) -> None:
    zip_names(tmp_path / "pets.zip", pets)
    with zipfile.ZipFile(tmp_path / "pets.zip", "a") as archive:
        archive.writestr("train\\cat\\0.png", b"another")
    assert refusal(tmp_path, tmp_path / "pets.zip").endswith("holds train/cat/0.png twice; make the archive again")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_source_tree_names_a_member_that_needs_unbounded_memory(pets: Path, tmp_path: Path, method: int) -> None:
    zip_names(tmp_path / "pets.zip", pets, [("dog/1.png", "dog/one.txt")])
    with zipfile.ZipFile(tmp_path / "pets.zip", "a") as archive:
        archive.writestr("train/dog/odd.png", b"0" * 1000, method)
    message = refusal(tmp_path, tmp_path / "pets.zip")
    assert "train/dog/odd.png: is compressed by method" in message


def test_source_tree_names_an_encrypted_member(pets: Path, tmp_path: Path) -> None:
    content = bytearray(zip_names(tmp_path / "pets.zip", pets).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "pets.zip").write_bytes(content)
    assert "train/cat/0.png: is encrypted" in refusal(tmp_path, tmp_path / "pets.zip")


def test_source_tree_does_not_unpack_a_member_made_to_fill_the_memory(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_names(tmp_path / "pets.zip", pets)
    with zipfile.ZipFile(tmp_path / "pets.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/bomb.png", bytes(20_000_000))
    assert "train/cat/bomb.png: grows" in refusal(tmp_path, tmp_path / "pets.zip")
    monkeypatch.setattr(walking, "MAX_FILE_BYTES", 19_999_999)
    assert "train/cat/bomb.png: is 20 MB, more than" in refusal(tmp_path, tmp_path / "pets.zip")


def test_source_tree_refuses_a_member_that_exceeds_its_stated_size(pets: Path, tmp_path: Path) -> None:
    zip_names(tmp_path / "pets.zip", pets)
    with zipfile.ZipFile(tmp_path / "pets.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/liar.png", bytes(30_000_000))
    content = (
        (tmp_path / "pets.zip").read_bytes().replace((30_000_000).to_bytes(4, "little"), (99).to_bytes(4, "little"))
    )
    (tmp_path / "pets.zip").write_bytes(content)
    with SourceTree([tmp_path / "pets.zip"]) as tree:
        tracemalloc.start()
        try:
            with pytest.raises(DataError, match=r"train/cat/liar\.png: is damaged inside the zip"):
                tree.read("train/cat/liar.png")
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 5_000_000


def test_source_tree_does_not_read_a_file_that_is_too_large(pets: Path, tmp_path: Path) -> None:
    with (pets / "train" / "cat" / "huge.png").open("wb") as file:
        file.truncate(walking.MAX_FILE_BYTES + 1)
    assert "huge.png: is 268 MB, more than the limit of 268 MB" in refusal(tmp_path, pets)


def test_walk_folder_reads_names_that_are_not_utf8(pets: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (pets / split / "dog").rename(pets / split / os.fsdecode(b"d\xe9g"))
    (pets / "train" / "cat" / "0.png").rename(pets / "train" / "cat" / os.fsdecode(b"caf\xe9.png"))
    prepare([pets], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["cat", "d\\xe9g"]
    assert [len(split) for split in data.splits.values()] == [6, 4]
    (pets / "train" / "cat" / "1.png").write_bytes(b"")
    (pets / "train" / "cat" / "1.png").rename(pets / "train" / "cat" / os.fsdecode(b"\xff.png"))
    with pytest.raises(DataError, match="is empty"):
        prepare([pets], tmp_path / "other")


def test_walk_folder_joins_the_unicode_forms_of_a_class_name(pets: Path, tmp_path: Path) -> None:
    for split, form in (("train", "NFC"), ("val", "NFD")):
        (pets / split / "dog").rename(pets / split / unicodedata.normalize(form, "dög"))  # type: ignore[arg-type]
    assert [info.id for info in listed(pets).classes] == ["cat", "d\N{LATIN SMALL LETTER O WITH DIAERESIS}g"]
    assert counts(listed(pets)) == [6, 4]


def test_walk_folder_refuses_two_names_that_look_the_same(pets: Path, tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write_image(pets / "train" / "dog" / (unicodedata.normalize(form, "\xe9") + ".png"), seed=1)  # type: ignore[arg-type]
    message = refusal(tmp_path, pets)
    assert "two Unicode forms" in message
    assert "\\xe9.png" in message
    assert "e\\u0301.png" in message


def test_prepare_can_skip_a_broken_link(pets: Path, tmp_path: Path) -> None:
    (pets / "train" / "cat" / "gone.png").symlink_to("nowhere")
    assert "gone.png: cannot be read: No such file or directory" in refusal(tmp_path, pets)
    manifest = prepare([pets], tmp_path / "out", PrepareOptions(skip_bad=True))
    assert manifest["skipped"] == 1
