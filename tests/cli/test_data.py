from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.manifest import read_manifest
from greenedge.data.prepared import open_prepared
from tests.cli.conftest import Cli
from tests.data.server import serve
from tests.data.sources import assert_holds, is_one_sentence, read_official, zip_folder


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def next_command(line: str) -> list[str]:
    """The arguments of the command that a message says to go on with."""
    return shlex.split(line.partition("; next: greenedge ")[2])


def test_preparing_says_what_was_made(cli: Cli, official: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("data", "prepare", official, "--out", out)
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1] == (
        f"{out}: 36 train images, 15 val images of 3 classes, 64 px, {51 * 64 * 64 * 3 / 1e6:.0f} MB"
    )
    assert_holds(out, read_official(official))


def test_a_subset_in_another_size_is_the_first_of_each(cli: Cli, official: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subset = ["--size", 32, "--classes", 2, "--per-class", 4]
    result = cli("data", "prepare", official, "--out", out, *subset)
    assert result.code == 0
    assert "8 train images, 10 val images of 2 classes, 32 px" in result.err
    data = open_prepared(out)
    assert [info.id for info in data.classes] == ["n01", "n02"]
    assert np.bincount(data.split("train").labels).tolist() == [4, 4]
    assert data.split("train").images.shape == (8, 3, 32, 32)


def test_originals_are_kept_checked_and_refused_when_cut_short(cli: Cli, official: Path, tmp_path: Path) -> None:
    out = tmp_path / "originals"
    result = cli("data", "prepare", official, "--out", out, "--store", "originals")
    assert "originals with shorter sides of 64 to 64 px (median 64), decoded to 224 px where no config" in result.err
    assert open_prepared(out).image_size == 224
    assert "all 36 train images are as they were prepared" in cli("data", "check", out).err

    path = out / "train-originals.bin"
    path.write_bytes(path.read_bytes()[:-5])
    refused = cli("data", "check", out)
    assert refused.code == 1
    is_one_sentence(refused.sentence)
    assert f"{path}: holds" in refused.sentence


def test_an_unknown_store_is_a_usage_error(cli: Cli, official: Path, tmp_path: Path) -> None:
    refused = cli("data", "prepare", official, "--out", tmp_path / "out", "--store", "tapes")
    assert (refused.code, refused.sentence) == (2, "--store: there is no 'tapes'; known are arrays, originals")
    assert not (tmp_path / "out").exists()


def test_a_part_of_a_data_set_comes_with_a_note(cli: Cli, official: Path, tmp_path: Path) -> None:
    part = zip_folder(official, tmp_path / "part.zip", keep=lambda path: path.startswith("train/"))
    result = cli("data", "prepare", part, "--out", tmp_path / "out")
    assert result.code == 0
    assert "note: the sources hold no val images, so nothing can be used to evaluate" in result.err.splitlines()


def test_a_source_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    result = cli("data", "prepare", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert result.code == 1
    assert result.sentence == f"{tmp_path / 'nowhere'}: no such file or folder"


def test_a_folder_that_exists_is_refused_and_stays(cli: Cli, official: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = cli("data", "prepare", official, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.sentence == f"{tmp_path / 'out'}: exists already; choose another --out, or remove it first"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bad_image_is_named_and_nothing_is_made(cli: Cli, official: Path, tmp_path: Path) -> None:
    bad = official / "train" / "n02" / "images" / "n02_3.JPEG"
    bad.write_bytes(bad.read_bytes()[:300])
    result = cli("data", "prepare", official, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.sentence.startswith(f"{bad}: cannot be decoded")
    assert is_one_sentence(result.sentence)
    assert list(tmp_path.iterdir()) == [official]


def test_bad_images_are_listed_above_one_error_or_left_out(cli: Cli, official: Path, tmp_path: Path) -> None:
    bad = [official / "train" / "n02" / "images" / f"n02_{n}.JPEG" for n in (1, 3)]
    for path in bad:
        path.write_bytes(b"")
    result = cli("data", "prepare", official, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.sentence == ("2 of 51 images cannot be used; fix or remove them, or leave them out with --skip-bad")
    assert [line for line in result.err.splitlines() if "is empty" in line] == [f"{path}: is empty" for path in bad]
    assert list(tmp_path.iterdir()) == [official]

    skipped = cli("data", "prepare", official, "--out", tmp_path / "out", "--skip-bad")
    assert skipped.code == 0
    lines = skipped.err.splitlines()
    assert [line for line in lines if line.startswith("left out: ")] == [f"left out: {path}: is empty" for path in bad]
    assert "note: 2 images could not be used; left out" in lines
    assert "34 train images, 15 val images" in lines[-1]


def test_a_check_names_all_bad_files_and_writes_nothing(cli: Cli, official: Path, tmp_path: Path) -> None:
    bad = [official / "train" / "n02" / "images" / f"n02_{n}.JPEG" for n in range(11)]
    for path in bad:
        path.write_bytes(b"")
    (official / "notes.md").touch()
    command = ["data", "prepare", official, "--out", tmp_path / "out", "--check"]
    result = cli(*command)
    assert result.code == 1
    assert result.sentence == (
        "11 of 51 images cannot be used; fix or remove them, or prepare the others with --skip-bad"
    )
    rows = [line.split() for line in result.raw.splitlines() if "is empty" in line]
    assert [row[0] for row in rows] == sorted(map(str, bad))
    for line in (
        "read as TinyImageNet's layout, validation images from val/",
        "note: 1 file was not used: 1 .md",
        "nothing was written",
    ):
        assert line in result.raw.splitlines()

    printed = cli(*command, "--json")
    assert printed.code == 1
    found = json.loads(printed.raw)
    assert found["images"] == {"train": 36, "val": 15}
    assert [each["file"] for each in found["bad"]] == sorted(map(str, bad))
    assert found["bad"][0] == {
        "file": str(bad[0]),
        "problem": "is empty",
        "split": "train",
        "class": "n02",
    }
    assert list(tmp_path.iterdir()) == [official]
    assert "error: --check leaves nothing out" in cli(*command, "--skip-bad").err


def test_a_check_of_good_files_says_so(cli: Cli, official: Path, tmp_path: Path) -> None:
    result = cli("data", "prepare", official, "--check", "--size", 16)
    assert result.code == 0
    assert "36 train images, 15 val images of 3 classes were decoded, and all can be used" in result.raw
    assert json.loads(cli("data", "prepare", official, "--check", "--json").raw)["bad"] == []
    assert list(tmp_path.iterdir()) == [official]


def test_a_preparation_prints_its_manifest_as_json(cli: Cli, official: Path, tmp_path: Path) -> None:
    result = cli("data", "prepare", official, "--out", tmp_path / "out", "--json")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest.pop("digest")
    assert json.loads(result.raw) == manifest


def test_more_bad_images_than_are_named_are_counted(cli: Cli, official: Path, tmp_path: Path) -> None:
    for n in range(105):
        (official / "train" / "n02" / "images" / f"bad_{n}.JPEG").touch()
    result = cli("data", "prepare", official, "--out", tmp_path / "out", "--skip-bad")
    assert result.code == 0
    assert len([line for line in result.err.splitlines() if line.startswith("left out: ")]) == 100
    note = "note: 105 images could not be used; left out; the first 100 are named, and by --check all"
    assert note in result.err.splitlines()
    refused = cli("data", "prepare", official, "--out", tmp_path / "other")
    assert "and 95 more, which `data prepare --check` names" in refused.err.splitlines()


def test_what_is_not_used_is_said(cli: Cli, official: Path, tmp_path: Path) -> None:
    for name in ("test/images/0.JPEG", "test/images/1.JPEG", "notes.md", ".DS_Store"):
        (official / name).parent.mkdir(parents=True, exist_ok=True)
        (official / name).write_bytes(b"")
    result = cli("data", "prepare", official, "--out", tmp_path / "out")
    assert "note: 4 files were not used: 1 .md, 1 hidden or system file, test/ (2)" in result.err.splitlines()


def test_a_tar_without_its_end_mark_comes_with_a_note(cli: Cli, official: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(official, "set")
        end = archive.offset
    path.write_bytes(path.read_bytes()[:end])
    result = cli("data", "prepare", path, "--out", tmp_path / "out")
    assert result.code == 0
    note = f"note: {path}: has no end mark, so members after its last may be missing; its 57 files are whole"
    assert note in result.err.splitlines()
    assert read_manifest(tmp_path / "out").notes == (note.removeprefix("note: "),)


def test_more_than_there_is_cannot_be_kept(cli: Cli, official: Path, tmp_path: Path) -> None:
    classes = cli("data", "prepare", official, "--out", tmp_path / "out", "--classes", 4)
    assert (classes.code, classes.sentence) == (1, "4 classes were asked for, but the source has 3")
    images = cli("data", "prepare", official, "--out", tmp_path / "out", "--per-class", 13)
    assert (images.code, images.sentence) == (1, "13 training images per class were asked for, but 'n01' has 12")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "--out", "out"], "Missing argument"),
        (["prepare", "somewhere"], "Missing option '--out'"),
        (["prepare", "somewhere", "--out", "out", "--size", "0"], "'--size'"),
        (["prepare", "somewhere", "--out", "out", "--classes", "few"], "'--classes'"),
        (["download"], "Missing option '--out'"),
        (["synth"], "Missing option '--out'"),
        (["synth", "--out", "out", "--seed", "-1"], "'--seed'"),
        (["fetch"], "No such command 'fetch'"),
    ],
)
def test_a_wrong_call_is_a_usage_error(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("data", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err.splitlines()[-1]
    assert "greenedge data " in result.err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_generated_images_are_prepared_as_the_message_says(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "synth"
    made = cli("data", "synth", "--out", out, "--classes", 3, "--per-class", 4, "--val-per-class", 2, "--seed", 7)
    assert (made.code, made.out) == (0, "")
    assert f"{out}: 18 images of 3 classes; next: greenedge data prepare" in made.err
    command = [str(tmp_path / "out") if word == "DIR" else word for word in next_command(made.err)]
    result = cli(*command)
    assert result.code == 0
    assert "12 train images, 6 val images of 3 classes, 64 px" in result.err


def test_generating_outside_the_limits_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    result = cli("data", "synth", "--out", tmp_path / "synth", "--classes", 11)
    assert result.code == 2
    assert result.sentence == "between 2 and 10 classes can be generated, not 11"
    assert list(tmp_path.iterdir()) == []


def test_a_downloaded_archive_is_prepared_as_the_message_says(cli: Cli, official: Path, tmp_path: Path) -> None:
    content = zip_folder(official, tmp_path / "source.zip").read_bytes()
    out = tmp_path / "downloads"
    with serve(content, "small.zip") as archive:
        options = ["--url", archive.url, "--md5", hashlib.md5(content).hexdigest()]
        result = cli("data", "download", "--out", out, *options)
    assert (result.code, result.out) == (0, "")
    assert f"{out / 'small.zip'}: whole and checked; next: " in result.err
    command = [str(tmp_path / "out") if word == "DIR" else word for word in next_command(result.err)]
    assert cli(*command).code == 0
    assert_holds(tmp_path / "out", read_official(official))


def test_a_download_that_fails_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    with serve(b"an archive") as archive:
        archive.breaks_after = 4
        result = cli("data", "download", "--out", tmp_path, "--url", archive.url)
    assert result.code == 1
    assert "the connection closed after 4 of 10 bytes" in result.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["archive.zip.part"]


def test_a_full_disk_keeps_what_was_downloaded_and_the_rest_is_fetched_later(cli: Cli, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_700_000, resource.RLIM_INFINITY));"
        "from greenedge.cli.main import run; sys.argv = ['greenedge', *sys.argv[1:]]; run()"
    )
    with serve(content) as archive:
        arguments = ["data", "download", "--out", str(tmp_path), "--url", archive.url]
        arguments += ["--md5", hashlib.md5(content).hexdigest()]
        result = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1].startswith("error: ")
        assert "File too large" in result.stderr
        assert "Traceback" not in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["archive.zip.part"]
        kept = (tmp_path / "archive.zip.part").read_bytes()
        assert kept == content[: len(kept)]
        assert len(kept) >= 1_000_000
        assert cli(*arguments).code == 0
        assert archive.asked == [None, f"bytes={len(kept)}-"]
    assert (tmp_path / "archive.zip").read_bytes() == content
