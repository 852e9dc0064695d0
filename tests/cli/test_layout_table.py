"""The commands of the table of layouts, on a small example of each."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.manifest import read_manifest
from greenedge.data.prepared import check_images, open_prepared
from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY, write_official_layout
from tests.data.sources import pixels, write_class_folders, zip_folder
from tests.data.test_shards import held, write_shard
from tests.data.test_sources import write_parquet, write_table, write_tar, write_unsplit

# Layout -> how the command says it was read.
READ_AS = {
    "TinyImageNet": "TinyImageNet's layout, validation images from val/",
    "class folders": "class folders, validation images from val/",
    "other names": "class folders, validation images from valid/",
    "class folders without splits": "class folders",
    "zip": "class folders, validation images from val/",
    "tar, tar.gz, tgz": "class folders, validation images from val/",
    "archives in parts": "class folders, validation images from val/",
    "CSV": "a table of paths and labels, validation images from 'val'",
    "TSV": "a table of paths and labels, validation images from 'val'",
    "WebDataset": "WebDataset shards, validation images from 'val'",
    "Parquet (extra `parquet`)": "Parquet, validation images from 'validation'",
    "pickles": "pickles of arrays",
}


def table_commands() -> dict[str, str]:
    """Layout -> command, as the documentation has them."""
    text = (REPOSITORY / "docs" / "data.md").read_text()
    rows = re.findall(r"^\| (.+?) \|.*\| `(greenedge data prepare [^`]+)` \|$", text, flags=re.MULTILINE)
    return dict(rows)


def write_examples(here: Path) -> None:
    """Writes the sources that the table names: the same few images in each layout."""
    write_official_layout(here / "tiny-imagenet-200")
    write_unsplit(here / "photos")
    pets = write_class_folders(here / "pets")
    (shutil.copytree(pets, here / "pets-valid") / "val").rename(here / "pets-valid" / "valid")
    zip_folder(pets, here / "pets.zip")
    for ending in ("tgz", "csv", "tsv"):
        (write_tar if ending == "tgz" else write_table)(pets, here / f"pets.{ending}")
    write_parquet(pets, here / "parquet")

    (here / "parts").mkdir()
    for part, label in enumerate(("cat", "dog")):
        below = f"train/{label}/"
        zip_folder(pets, here / "parts" / f"train-{part}.zip", keep=_lies_below(below))
    zip_folder(pets, here / "parts" / "val.zip", keep=_lies_below("val/"))

    for split in ("train", "val"):
        paths = sorted((pets / split).rglob("*.png"))
        for number, part in enumerate((paths[::2], paths[1::2]) if split == "train" else (paths,)):
            members: dict[str, bytes | str | int] = {}
            for path in part:
                key = f"{path.parent.name}{path.stem}"
                members |= {f"{key}.png": path.read_bytes(), f"{key}.cls": path.parent.name}
            write_shard(here / "shards" / f"{split}-{number:04}.tar", members)

        images = [pixels(path).transpose(1, 2, 0) for path in paths]
        content = {"images": images, "labels": [path.parent.name for path in paths]}
        name = "train_dataset_raw.pkl" if split == "train" else "validation_dataset.pkl"
        (here / name).write_bytes(pickle.dumps(content))
    (here / "labels_map.pkl").write_bytes(pickle.dumps({"cat": 0, "dog": 1}))


def _lies_below(folder: str) -> Callable[[str], bool]:
    return lambda path: path.startswith(folder)


def test_every_layout_of_the_table_is_read_by_its_command(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    commands = table_commands()
    assert commands.keys() == READ_AS.keys()
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path)
    for layout, command in commands.items():
        program, *arguments = shlex.split(command)
        assert program == "greenedge"
        result = cli(*arguments)
        assert result.code == 0, f"{command}\n{result.err}"
        out = Path(arguments[-1])
        assert f"read as {READ_AS[layout]}" in result.err.splitlines()
        assert read_manifest(out).unused == {}
        check_images(out)
        if layout == "TinyImageNet":
            assert {name: len(split) for name, split in open_prepared(out).splits.items()} == {"train": 36, "val": 15}
        elif layout == "class folders without splits":
            assert np.bincount(open_prepared(out).split("val").labels).tolist() == [2, 2]
        else:
            assert held(out) == held(Path("data/pets")), layout


def test_the_readme_counts_the_layouts() -> None:
    assert len(table_commands()) == 12
    assert "[twelve layouts](docs/data.md#what-is-read)" in (REPOSITORY / "README.md").read_text()
