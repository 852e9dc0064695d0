"""Every layout of one data set gives the same arrays."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from greenedge.data.manifest import read_manifest
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import UsageError
from tests.conftest import write_image
from tests.data.sources import refusal, write_class_folders, zip_folder


def write_unsplit(root: Path) -> Path:
    """Class folders without splits: 2 classes of 10 images."""
    for label, name in enumerate(("cat", "dog")):
        for index in range(10):
            write_image(root / name / f"{index}.png", seed=10 * label + index)
    return root


def write_tar(folder: Path, out: Path) -> Path:
    with tarfile.open(out, "w" if out.suffix == ".tar" else "w:gz") as archive:
        archive.add(folder, folder.name)
    return out


def write_table(folder: Path, out: Path) -> Path:
    with out.open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t" if out.suffix == ".tsv" else ",")
        table.writerow(("filename", "class", "split"))
        for path in folder.rglob("*.png"):
            split, label, _ = path.relative_to(folder).parts
            table.writerow((path.relative_to(out.parent), label, split))
    return out


def write_parquet(folder: Path, out: Path) -> Path:
    """The Hub's layout: rows in another order than the labels, small row groups, and class names in the metadata."""
    out.mkdir()
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", image), ("label", pyarrow.int64())], {"huggingface": json.dumps(features)})
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [
            {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": ["cat", "dog"].index(path.parent.name)}
            for path in sorted((folder / split).rglob("*.png"))
        ]
        table = pyarrow.Table.from_pylist(rows, schema)
        pyarrow.parquet.write_table(table, out / f"{name}-00000-of-00001.parquet", row_group_size=2)
    return out


LAYOUTS: dict[str, tuple[str, Callable[[Path, Path], Path]]] = {
    "zip": ("pets.zip", zip_folder),
    "tar": ("pets.tar", write_tar),
    "tgz": ("pets.tgz", write_tar),
    "parquet": ("data", write_parquet),
    "csv": ("pets.csv", write_table),
    "tsv": ("pets.tsv", write_table),
}


def assert_same(folder: Path, other: Path) -> None:
    expected, found = open_prepared(folder), open_prepared(other)
    assert [info.id for info in found.classes] == [info.id for info in expected.classes]
    for name in ("train", "val"):
        np.testing.assert_array_equal(found.splits[name].images, expected.splits[name].images)
        np.testing.assert_array_equal(found.splits[name].labels, expected.splits[name].labels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_open_source_reads_the_same_arrays_from_every_layout(layout: str, tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    name, write = LAYOUTS[layout]
    prepare([folder], tmp_path / "expected")
    prepare([write(folder, tmp_path / name)], tmp_path / "found")
    assert_same(tmp_path / "expected", tmp_path / "found")
    assert read_manifest(tmp_path / "found").read_as


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"image": b"x", "text": "a"}], "expected the columns image and label, found"),
        ([{"image": "x.png", "label": 1}], "expected the column image to hold bytes"),
        ([{"image": b"x", "label": 0.5}], "expected the column label to hold numbers"),
        ([{"image": b"x", "label": 1}, {"image": b"x", "label": None}], "row 1 has no label"),
    ],
)
def test_open_parquet_names_what_is_wrong(rows: list[dict[str, object]], expected: str, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    assert expected in refusal(tmp_path, tmp_path / "train.parquet")


def test_open_parquet_refuses_damaged_files_and_a_missing_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    assert "is not a readable Parquet file" in refusal(tmp_path, tmp_path / "train.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "greenedge[parquet]" in refusal(tmp_path, tmp_path / "train.parquet")


def test_open_parquet_refuses_images_beside_the_files(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    write_parquet(folder, folder / "data")
    assert "holds both Parquet files (data/train-00000-of-00001.parquet) and images" in refusal(tmp_path, folder)


def test_open_parquet_counts_the_other_files(tmp_path: Path) -> None:
    data = write_parquet(write_class_folders(tmp_path / "pets"), tmp_path / "data")
    (data / "README.md").touch()
    deeper = data / "a" / "b" / "train.parquet"
    deeper.parent.mkdir(parents=True)
    deeper.touch()
    prepare([data], tmp_path / "out")
    assert read_manifest(tmp_path / "out").unused == {".md": 1, ".parquet": 1}


def test_open_source_refuses_two_layouts(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    assert "one layout at a time" in refusal(tmp_path, folder, write_table(folder, tmp_path / "pets.csv"))


def test_set_val_aside_keeps_identical_images_on_one_side(tmp_path: Path) -> None:
    source = write_unsplit(tmp_path / "pets")
    for index in range(10):
        shutil.copy(source / "cat" / f"{index}.png", source / "cat" / f"copy-{index}.png")
    prepare([source], tmp_path / "out", PrepareOptions(val_fraction=0.3))
    data = open_prepared(tmp_path / "out")
    pixels = {name: {image.tobytes() for image in split.images} for name, split in data.splits.items()}
    assert not pixels["train"] & pixels["val"]
    assert np.bincount(data.splits["val"].labels).tolist() == [6, 3]
    assert np.bincount(data.splits["train"].labels).tolist() == [14, 7]


def test_set_val_aside_is_seeded_and_recorded(tmp_path: Path) -> None:
    source = write_unsplit(tmp_path / "pets")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare([source], tmp_path / name, PrepareOptions(split_seed=seed))
    # Neither names nor layout change the choice.
    prepare([zip_folder(source, tmp_path / "pets.zip")], tmp_path / "d")
    a, b, c, d = (open_prepared(tmp_path / name).splits["val"].images for name in "abcd")
    assert len(a) == 2
    assert np.array_equal(a, b)
    assert np.array_equal(a, d)
    assert not np.array_equal(a, c)
    assert read_manifest(tmp_path / "c").val_split == {"fraction": 0.1, "seed": 1}


def test_prepare_refuses_a_fraction_beside_validation_images(tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "pets")
    with pytest.raises(UsageError, match="have validation images"):
        prepare([source], tmp_path / "out", PrepareOptions(val_fraction=0.1))


@pytest.mark.parametrize("name", ["valid", "validation", "dev", "test"])
def test_find_root_takes_what_serves_for_validation(name: str, tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "pets")
    prepare([source], tmp_path / "expected")
    (source / "val").rename(source / name)
    prepare([source], tmp_path / "found")
    assert_same(tmp_path / "expected", tmp_path / "found")
    assert read_manifest(tmp_path / "found").read_as == f"class folders, validation images from {name}/"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("link", tarfile.SYMTYPE, "is a link"),
        ("hard", tarfile.LNKTYPE, "is a link"),
        ("null", tarfile.CHRTYPE, "is a device"),
        ("../x.png", tarfile.REGTYPE, "lies outside"),
        ("/x.png", tarfile.REGTYPE, "lies outside"),
    ],
)
def test_tar_archive_refuses_members_that_are_not_plain_files(
    name: str, kind: bytes, expected: str, tmp_path: Path
) -> None:
    archive_path = write_tar(write_class_folders(tmp_path / "pets"), tmp_path / "pets.tar")
    with tarfile.open(archive_path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info, io.BytesIO())
    assert expected in refusal(tmp_path, archive_path)


@pytest.mark.parametrize("name", ["pets.tar", "pets.tgz"])
def test_tar_archive_refuses_truncated_files(name: str, tmp_path: Path) -> None:
    archive_path = write_tar(write_class_folders(tmp_path / "pets"), tmp_path / name)
    archive_path.write_bytes(archive_path.read_bytes()[:1900])
    assert "truncated" in refusal(tmp_path, archive_path)


def last_member_end(path: Path) -> int:
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    return last.offset_data + -(-last.size // 512) * 512


def test_tar_archive_accepts_a_missing_end_mark_and_notes_it(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    archive_path = write_tar(folder, tmp_path / "pets.tar")
    prepare([archive_path], tmp_path / "expected")
    assert read_manifest(tmp_path / "expected").notes == ()
    archive_path.write_bytes(archive_path.read_bytes()[: last_member_end(archive_path)])
    prepare([archive_path], tmp_path / "found")
    assert_same(tmp_path / "expected", tmp_path / "found")
    (note,) = read_manifest(tmp_path / "found").notes
    assert note.startswith(f"{archive_path}: has no end mark")
    assert note.endswith("its 10 files are whole")


@pytest.mark.parametrize("cut", [-1, -600, 100])
def test_tar_archive_refuses_a_truncated_member_or_header(cut: int, tmp_path: Path) -> None:
    archive_path = write_tar(write_class_folders(tmp_path / "pets"), tmp_path / "pets.tar")
    whole = archive_path.read_bytes()[: last_member_end(archive_path)]
    archive_path.write_bytes((whole + whole[:512])[: len(whole) + cut])
    assert "truncated" in refusal(tmp_path, archive_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,label\nx.png,a\n", "no column 'path'"),
        ("path,label\n../x.png,a\n", ":2: names '../x.png'"),
        ("path,label\n/x.png,a\n", ":2: names '/x.png'"),
        ("path,label\nx.png,\n", ":2: has no label"),
        ("path,label\nx.png\n", ":2: has 1 fields"),
        ("path,label\nx.png,a\nx.png,b\n", ":3: names 'x.png' a second time"),
        ("path,label,split\nx.png,a,spare\n", "a split 'spare'"),
        ("path,label\n", "names no images"),
        ("", "no column 'path'"),
    ],
)
def test_open_tables_names_the_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text(text)
    assert expected in refusal(tmp_path, tmp_path / "pets.csv")
