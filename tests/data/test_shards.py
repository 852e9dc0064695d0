"""WebDataset shards, written by hand with Python's tarfile."""

from __future__ import annotations

import io
import json
import resource
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from greenedge.data.entries import split_of_name
from greenedge.data.manifest import read_manifest
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import image_paths, open_prepared
from greenedge.data.problems import ProblemsError
from tests.conftest import write_image
from tests.data.sources import refusal, write_class_folders


def write_shard(path: Path, members: Mapping[str, bytes | str | int]) -> Path:
    """A number stands for an image of random pixels, in the format that the member's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, int):
                content = image_bytes(content, "JPEG" if name.endswith("jpg") else name.rpartition(".")[2].upper())
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def image_bytes(seed: int, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(random_pixels(seed)).save(content, kind, lossless=True)
    return content.getvalue()


def random_pixels(seed: int) -> np.ndarray:
    pixels: np.ndarray = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return pixels


def samples(first: int, count: int, classes: tuple[str, ...] = ("0", "1")) -> dict[str, bytes | str | int]:
    """PNG images in turns of the classes, with seeds from `first` on."""
    members: dict[str, bytes | str | int] = {}
    for number in range(first, first + count):
        members |= {f"{number:06}.png": number, f"{number:06}.cls": classes[number % len(classes)]}
    return members


def held(folder: Path) -> dict[str, list[tuple[bytes, str]]]:
    """The images of each split and the identifiers of their classes, in any order."""
    data = open_prepared(folder)
    return {
        name: sorted(
            (image.tobytes(), data.classes[label].id) for image, label in zip(split.images, split.labels, strict=True)
        )
        for name, split in data.splits.items()
    }


def expected(first: int, count: int, classes: tuple[str, ...] = ("0", "1")) -> list[tuple[bytes, str]]:
    return sorted(
        (random_pixels(n).transpose(2, 0, 1).tobytes(), classes[n % len(classes)]) for n in range(first, first + count)
    )


@pytest.mark.parametrize("form", ["folder", "files", "pattern", "two patterns", "below"])
def test_open_shards_reads_a_folder_files_and_patterns(form: str, tmp_path: Path) -> None:
    names = [*(f"train-{n:06}.tar" for n in (9, 10)), "val-000000.tar"]
    if form == "below":
        names = ["train/shard-000000.tar", "train/shard-000001.tar", "validation/shard-000000.tar"]
    shards = [
        write_shard(tmp_path / "wds" / name, samples(first, 6)) for name, first in zip(names, (0, 6, 12), strict=True)
    ]
    wds = tmp_path / "wds"
    sources = {
        "folder": [wds],
        "files": shards[::-1],
        "pattern": [wds / "{train-{000009..000010},val-000000}.tar"],
        "two patterns": [wds / "train-{000009..000010}.tar", wds / "val-{000000..000000}.tar"],
        "below": [wds],
    }[form]
    if form == "pattern":  # braces do not nest
        sources = [wds / "train-0000{09,10}.tar", wds / "val-000000.tar"]
    prepare(sources, tmp_path / "out")
    assert held(tmp_path / "out") == {"train": expected(0, 12), "val": expected(12, 6)}
    manifest = read_manifest(tmp_path / "out")
    assert manifest.read_as.startswith("WebDataset shards")
    assert manifest.unused == {}
    assert [source["kind"] for source in manifest.sources] == ["shard"] * 3
    validation = image_paths(open_prepared(tmp_path / "out").split("val"))
    assert validation is not None
    assert validation[0] == f"00002-{shards[2].name}/000012.png"


def test_open_shards_sets_images_aside_where_names_have_no_split(tmp_path: Path) -> None:
    for number in range(2):
        write_shard(tmp_path / "wds" / f"shard-{number:06}.tar", samples(20 * number, 20))
    prepare([tmp_path / "wds"], tmp_path / "out")
    found = held(tmp_path / "out")
    assert sorted(found["train"] + found["val"]) == expected(0, 40)
    assert len(found["val"]) == 4


def test_open_shards_gives_what_class_folders_give(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    for split in ("train", "val"):
        members: dict[str, bytes | str | int] = {}
        for path in sorted((folder / split).rglob("*.png")):
            members |= {f"{path.parent.name}_{path.stem}.png": path.read_bytes()}
            members |= {f"{path.parent.name}_{path.stem}.cls": f"{path.parent.name}\n"}
        write_shard(tmp_path / "wds" / f"{split}-0.tar", members)
    prepare([folder], tmp_path / "expected")
    prepare([tmp_path / "wds"], tmp_path / "found")
    assert held(tmp_path / "found") == held(tmp_path / "expected")
    assert [info.id for info in open_prepared(tmp_path / "found").classes] == ["cat", "dog"]


@pytest.mark.parametrize("name", ["train-0.tar", "train-0.tgz", "train-0.tar.gz"])
@pytest.mark.parametrize("image", ["jpg", "webp", "png", "JPEG"])
def test_open_shards_reads_formats_and_labels_in_json(name: str, image: str, tmp_path: Path) -> None:
    members: dict[str, bytes | str | int] = {}
    for number in range(4):
        content = image_bytes(number, "PNG" if image == "png" else "WEBP" if image == "webp" else "JPEG")
        # A key may have folders, and other members beside the image.
        members |= {f"./a/{number}.{image}": content, f"./a/{number}.seg.png": number}
        members |= {f"./a/{number}.json": json.dumps({"width": 64, "label": ("dog", "cat")[number % 2]})}
    prepare([write_shard(tmp_path / name, members)], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["cat", "dog"]
    assert data.split("train").labels.tolist() == [1, 0, 1, 0]
    if image in ("png", "webp"):
        np.testing.assert_array_equal(data.split("train").images[1], random_pixels(1).transpose(2, 0, 1))
    assert read_manifest(tmp_path / "out").unused == {".seg.png": 4}


@pytest.mark.parametrize("below", [False, True])
def test_classes_beside_shards_name_and_order_them(below: bool, tmp_path: Path) -> None:
    wds = tmp_path / "wds"
    write_shard(wds / ("train/0.tar" if below else "train-0.tar"), samples(0, 9, ("0", "1", "02")))
    write_shard(wds / ("val/0.tar" if below else "val-0.tar"), samples(9, 3, ("zebra", "ant", "cat")))
    (wds / "classes.txt").write_text("zebra\nant\n\ncat\n")
    prepare([wds], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["zebra", "ant", "cat"]
    assert data.split("train").labels.tolist() == data.split("val").labels.tolist() * 3 == [0, 1, 2] * 3


def test_open_shards_orders_numbers_by_value(tmp_path: Path) -> None:
    prepare([write_shard(tmp_path / "train-0.tar", samples(0, 12, ("10", "9", "011")))], tmp_path / "out")
    data = open_prepared(tmp_path / "out")
    assert [info.id for info in data.classes] == ["9", "10", "11"]
    assert data.split("train").labels.tolist() == [1, 0, 2] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"5.png": 5}, ":5.png: has no class; expected 5.cls, or 5.json with a label"),
        ({"5.cls": "0"}, ":5.cls: has no image beside it, such as 5.jpg"),
        ({"5.png": 5, "5.jpg": 6, "5.cls": "0"}, ":5: has 2 images (png, jpg); keep one"),
        ({"5.png": 5, "5.cls": b"\xff\xfe"}, ":5.cls: holds no class; expected a whole number or a name in UTF-8"),
        ({"5.png": 5, "5.cls": " \n"}, ":5.cls: holds no class"),
        ({"5.png": 5, "5.cls": "a\x1b[31m"}, ":5.cls: holds no class"),
        ({"5.png": 5, "5.json": "{}"}, ":5.json: holds no label"),
        ({"5.png": 5, "5.json": "{"}, ":5.json: holds no label"),
        ({"5.png": 5, "5.json": '{"label": true}'}, ":5.json: holds no label"),
        ({"5.png": 5, "5.cls": "cat"}, ":5.png: has the class 'cat', but "),
        ({"../5.png": 5}, "lies outside the archive"),
        ({"5.png": b"no image", "5.cls": "0"}, ":5.png: is not an image, despite its name"),
        ({"5.png": b"", "5.cls": "0"}, ":5.png: is empty"),
    ],
)
def test_open_shards_names_what_is_wrong(change: dict[str, bytes | str | int], words: str, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train-0.tar", samples(0, 4) | change)
    message = refusal(tmp_path, shard)
    assert message.startswith(str(shard))
    assert words in message


def test_open_shards_names_all_samples_without_a_class(tmp_path: Path) -> None:
    bad = {f"x{number}.png": number for number in range(12)}
    write_shard(tmp_path / "wds" / "train-0.tar", samples(0, 4) | dict(list(bad.items())[:6]))
    write_shard(tmp_path / "wds" / "train-1.tar", samples(4, 4) | dict(list(bad.items())[6:]))
    with pytest.raises(ProblemsError) as caught:
        prepare([tmp_path / "wds"], tmp_path / "out")
    assert caught.value.short.startswith("12 samples of shards are not an image and its class; ")
    assert [line.partition(": ")[0].rpartition("/")[2] for line in caught.value.lines[:10]] == [
        f"train-{number // 6}.tar:x{number}.png" for number in range(10)
    ]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("ant\nbee\nant\n", "classes.txt: names 'ant' twice"),
        ("ant\n", "train-0.tar:000001.png: has the class '1', which is not in classes.txt"),
        (b"\xff", "classes.txt: is not UTF-8 text"),
        ("ant\nbee\ncow\n", "class 'cow' has no training images"),
    ],
)
def test_classes_beside_shards_are_refused_where_they_do_not_fit(
    classes: str | bytes, words: str, tmp_path: Path
) -> None:
    write_shard(tmp_path / "wds" / "train-0.tar", samples(0, 2))
    (tmp_path / "wds" / "classes.txt").write_bytes(classes if isinstance(classes, bytes) else classes.encode())
    assert words in refusal(tmp_path, tmp_path / "wds")


def test_open_source_refuses_shards_beside_other_layouts(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "wds" / "train-0.tar", samples(0, 4))
    folder = write_class_folders(tmp_path / "pets")
    assert "one layout at a time" in refusal(tmp_path, shard, folder)
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(folder, "pets")
    assert "is folders or archives, but" in refusal(tmp_path, shard, tmp_path / "pets.tar")
    (folder / "shard.tar").write_bytes(shard.read_bytes())
    assert "holds both WebDataset shards (shard.tar) and other data (train/cat/0.png)" in refusal(tmp_path, folder)


def test_open_source_refuses_a_damaged_or_repeated_shard_and_missing_ones(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "wds" / "train-0.tar", samples(0, 4))
    assert "is given twice" in refusal(tmp_path, shard, tmp_path / "wds" / ".." / "wds" / "train-0.tar")
    pattern = tmp_path / "wds" / "train-{0..3}.tar"
    assert refusal(tmp_path, pattern) == (
        f"{pattern}: 3 of the 4 files that it names are missing, the first is {tmp_path / 'wds' / 'train-1.tar'}"
    )
    odd = tmp_path / "wds" / "train-{0.tar"
    assert refusal(tmp_path, odd) == f"{odd}: no such file or folder"
    assert "names more than 100000 files" in refusal(tmp_path, tmp_path / "x-{0..99999999999}.tar")
    cut = tmp_path / "wds" / "train-1.tar"
    for length in (0, 100, 700, len(shard.read_bytes()) // 2):
        cut.write_bytes(shard.read_bytes()[:length])
        message = refusal(tmp_path, tmp_path / "wds")
        assert message.startswith(f"{cut}: is ")
        assert "truncated" in message
        assert "method" not in message  # which compressions were tried


def test_shard_images_need_few_open_files(tmp_path: Path) -> None:
    for number in range(80):
        write_shard(tmp_path / "wds" / f"train-{number:04}.tar", samples(2 * number, 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        prepare([tmp_path / "wds"], tmp_path / "out", PrepareOptions(size=8))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(open_prepared(tmp_path / "out").split("train")) == 160


def test_a_shard_without_its_end_mark_is_in_the_notes(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train-0.tar", samples(0, 4))
    with tarfile.open(shard) as archive:
        last = archive.getmembers()[-1]
    shard.write_bytes(shard.read_bytes()[: last.offset_data + 512])
    prepare([shard], tmp_path / "out")
    (note,) = read_manifest(tmp_path / "out").notes
    assert note == (f"{shard}: has no end mark, so members after its last may be missing; its 8 files are whole")


def test_expand_sources_reads_a_folder_of_zip_files(official: Path, tmp_path: Path) -> None:
    zips = tmp_path / "zips"
    zips.mkdir()
    for part in ("train", "val"):
        with zipfile.ZipFile(zips / f"{part}.zip", "w") as archive:
            for path in sorted(official.rglob("*")):
                inner = path.relative_to(official).as_posix()
                if path.is_file() and inner.startswith("train/") == (part == "train"):
                    archive.write(path, inner)
    (zips / "SHA256SUMS").write_text("")
    prepare([official], tmp_path / "expected")
    prepare([zips], tmp_path / "found")
    assert held(tmp_path / "found") == held(tmp_path / "expected")
    assert read_manifest(tmp_path / "found").unused == {"file without ending": 1}


def test_expand_sources_leaves_archives_beside_images_alone(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "pets")
    (folder / "old.zip").write_bytes(b"")
    write_image(tmp_path / "odd{0..1}" / "train" / "cat" / "0.png", seed=0)
    assert "has only one class" in refusal(tmp_path, tmp_path / "odd{0..1}")
    prepare([folder], tmp_path / "out")
    assert read_manifest(tmp_path / "out").unused == {".zip": 1}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-000.tar", "train"),
        ("Train_000.tar", "train"),
        ("train2.parquet", "train"),
        ("validation-00000-of-00001.parquet", "validation"),
        ("imagenet1k-validation-00.tar", "validation"),
        ("pets-train-0.tar", "train"),
        ("train-without-test-0.tar", "train"),
        ("a-train-test-0.tar", ""),
        ("trainer-0.tar", ""),
        ("shard-000000.tar", ""),
        ("000000.tar", ""),
    ],
)
def test_split_of_name(name: str, split: str) -> None:
    assert split_of_name(name) == split
