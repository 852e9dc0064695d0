from __future__ import annotations

from pathlib import Path

import pytest

from greenedge.data.corrupted import clean_rows, find_corrupted
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepared import image_paths, open_prepared
from greenedge.errors import DataError, UsageError

KNOWN = tuple(ClassInfo(name, name) for name in ("n01", "n02", "n03"))


def add(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_find_corrupted_lists_sets_by_corruption_and_severity(tmp_path: Path) -> None:
    add(tmp_path, "snow/10/n01/a.JPEG", "snow/2/n03/b.JPEG", "snow/2/n01/c.JPEG", "snow/2/n01/notes.txt")
    add(tmp_path, "fog/1/n02/a.JPEG", "README.md", ".DS_Store")
    sets = find_corrupted(tmp_path, KNOWN)
    assert [(each.corruption, each.severity) for each in sets] == [("fog", 1), ("snow", 2), ("snow", 10)]
    assert [path.name for path in sets[1].images] == ["c.JPEG", "b.JPEG"]
    assert sets[1].labels.tolist() == [0, 2]
    assert [each.corruption for each in find_corrupted(tmp_path, KNOWN, ["fog"])] == ["fog"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "{root}: holds no corrupted images; expected {root}/CORRUPTION/SEVERITY/CLASS/*.JPEG"),
        (["train/n01/a.JPEG"], "{root}/train/n01: is no severity, such as 1; expected {root}/CORRUPTION"),
        (["fog/1/n09/a.JPEG"], "{root}/fog/1/n09: 'n09' is not among the 3 classes of the network; expected folders"),
        (["fog/1/n01/a.txt"], "{root}/fog/1: holds no images in class folders; expected CORRUPTION/SEVERITY"),
    ],
)
def test_find_corrupted_says_what_is_wrong(names: list[str], words: str, tmp_path: Path) -> None:
    add(tmp_path, *names)
    with pytest.raises(DataError) as caught:
        find_corrupted(tmp_path, KNOWN)
    assert str(caught.value).startswith(words.format(root=tmp_path))


def test_find_corrupted_misses_a_folder_and_a_corruption(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_corrupted(tmp_path / "nowhere", KNOWN)
    add(tmp_path, "fog/1/n02/a.JPEG")
    with pytest.raises(UsageError, match="has no corruption 'frog'; it has fog"):
        find_corrupted(tmp_path, KNOWN, ["frog"])


def test_clean_rows_finds_images_by_class_and_name(prepared: Path, tmp_path: Path) -> None:
    data = open_prepared(prepared)
    split = data.split("val")
    names = [Path(path).stem for path in image_paths(split) or []]
    ids = [data.classes[label].id for label in split.labels[split.rows].tolist()]
    wanted = [11, 3, 7]
    root = add(tmp_path, *(f"fog/{index % 2}/{ids[row]}/{names[row]}.png" for index, row in enumerate(wanted)))
    sets = find_corrupted(root, data.classes)
    found = clean_rows(split, sets)
    assert found is not None
    assert found.tolist() == sorted(wanted)
    other = next(each for each in ("n01", "n02", "n03") if each != ids[3])
    add(root, f"fog/1/{other}/{names[3]}.png")  # the name of an image of another class
    assert clean_rows(split, find_corrupted(root, data.classes)) is None
