"""A check of sources finds what a preparation would, all at once, and writes nothing."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import pytest

from greenedge.data.check_sources import check_sources
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.problems import ProblemsError
from greenedge.errors import DataError, UsageError
from tests.conftest import write_image
from tests.data.sources import zip_folder


@pytest.mark.parametrize("zipped", [False, True])
def test_check_sources_names_every_bad_file(official: Path, tmp_path: Path, zipped: bool) -> None:
    bad = {
        **{f"train/n01/images/n01_{k}.JPEG": (b"no image", "train", "n01") for k in range(9)},
        **{f"train/n03/images/n03_{k}.JPEG": (b"", "train", "n03") for k in range(4)},
        "val/images/val_7.JPEG": ((official / "val" / "images" / "val_7.JPEG").read_bytes()[:300], "val", "n02"),
    }
    for path, (content, _, _) in bad.items():
        (official / path).write_bytes(content)
    source = zip_folder(official, tmp_path / "set.zip") if zipped else official
    before = sorted(tmp_path.rglob("*"))
    found = check_sources([source])
    prefix = f"{source}:{official.name}/" if zipped else f"{source}/"
    assert sorted((each.file, each.split, each.class_id) for each in found.bad) == sorted(
        (prefix + path, split, label) for path, (_, split, label) in bad.items()
    )
    assert found.summary is not None
    assert found.summary.startswith("14 of 51 images cannot be used; ")
    assert sorted(tmp_path.rglob("*")) == before

    with pytest.raises(ProblemsError) as caught:
        prepare([source], tmp_path / "out")
    assert list(caught.value.problems) == [f"{each.file}: {each.problem}" for each in found.bad]


def test_check_sources_finds_nothing_in_what_can_be_prepared(official: Path) -> None:
    found = check_sources([official], PrepareOptions(size=8, classes=2, per_class=4))
    assert (found.bad, found.summary) == ((), None)
    assert found.listing is not None
    assert {name: len(records) for name, records in found.listing.splits.items()} == {"train": 8, "val": 10}


def test_check_sources_looks_at_the_images_that_a_split_chooses_among(official: Path, tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    for index in range(12):
        write_image(pets / f"c{index % 3}" / f"{index}.png", seed=index)
    assert check_sources([pets], PrepareOptions(per_class=3)).bad == ()
    with pytest.raises(DataError, match="4 training images per class were asked for, but 'c0' has 3"):
        check_sources([pets], PrepareOptions(per_class=4))
    (pets / "c2" / "11.png").write_bytes(b"")
    assert [each.file for each in check_sources([pets], PrepareOptions(per_class=4)).bad] == [f"{pets}/c2/11.png"]
    assert check_sources([pets], PrepareOptions(classes=2)).bad == ()


def test_check_sources_names_all_lines_that_cannot_be_listed(official: Path) -> None:
    path = official / "val" / "val_annotations.txt"
    path.write_text("".join(f"gone{n}.JPEG\tn01\n" for n in range(12)) + path.read_text())
    found = check_sources([official])
    assert found.listing is None
    assert [each.file for each in found.bad] == [f"{path}:{n}" for n in range(1, 13)]
    assert all(each.problem.startswith("names 'gone") for each in found.bad)
    assert found.summary == "12 validation images have no valid class; correct the file"


def test_check_sources_names_the_only_file_that_cannot_be_listed(official: Path) -> None:
    write_image(official / "train" / "loose.png", seed=0)
    found = check_sources([official])
    assert [each.file for each in found.bad] == [str(official / "train" / "loose.png")]
    assert found.summary == "one file cannot be used; fix or remove it"


@pytest.mark.parametrize("options", [PrepareOptions(size=0), PrepareOptions(val_fraction=0.2)])
def test_check_sources_refuses_what_prepare_refuses(official: Path, options: PrepareOptions) -> None:
    with pytest.raises(UsageError):
        check_sources([official], options)


def test_check_sources_holds_no_images_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for n in range(2_000):
            archive.writestr(f"train/c{n % 2}/{n}.ppm", b"P6 8 8 255\n" + bytes([n % 256]) * (192 if n % 2 else 9))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    tracemalloc.start()
    try:
        found = check_sources([tmp_path / "set.zip"])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.bad) == 1_000
    assert peak_bytes < 8_000_000  # the images take 24 MB
