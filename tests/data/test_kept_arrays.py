from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from greenedge.data.kept_arrays import ArraySpec, free_bytes, open_arrays, remove_arrays, write_arrays
from greenedge.errors import DataError
from tests.training.helpers import full_disk

SPECS = (ArraySpec("a.0", "<f2", (7, 2, 3)), ArraySpec("b", "<f4", (7,)))


def pieces(start: float = 0.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for rows in (np.arange(4), np.arange(4, 7)):
        yield start + np.broadcast_to(rows[:, None, None], (len(rows), 2, 3)), rows + start


def test_write_arrays_gives_what_open_arrays_finds(tmp_path: Path) -> None:
    for found in (
        write_arrays(tmp_path / "kept", "here", SPECS, pieces()),
        open_arrays(tmp_path / "kept", "here", SPECS),
    ):
        assert found is not None
        first, second = found
        assert (first.dtype, first.shape, second.dtype) == (np.float16, (7, 2, 3), np.float32)
        assert np.array_equal(first[:, 1, 2], np.arange(7))
        assert np.array_equal(second, np.arange(7))
        np.testing.assert_array_equal(np.load(tmp_path / "kept" / "a.0.npy"), first)
        with pytest.raises(ValueError, match="read-only"):
            first[0] = 1


def test_open_arrays_finds_nothing_of_another_source_or_shape(tmp_path: Path) -> None:
    assert open_arrays(tmp_path / "kept", "here", SPECS) is None
    write_arrays(tmp_path / "kept", "here", SPECS, pieces())
    assert open_arrays(tmp_path / "kept", "elsewhere", SPECS) is None
    assert open_arrays(tmp_path / "kept", "here", [ArraySpec("b", "<f4", (6,))]) is None
    assert open_arrays(tmp_path / "kept", "here", [ArraySpec("c", "<f4", (7,))]) is None


@pytest.mark.parametrize("name", ["a.0.npy", "b.npy", "arrays.json"])
def test_open_arrays_notices_damage_anywhere(tmp_path: Path, name: str) -> None:
    write_arrays(tmp_path / "kept", "here", SPECS, pieces())
    path = tmp_path / "kept" / name
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    assert open_arrays(tmp_path / "kept", "here", SPECS) is None


def test_write_arrays_replaces_former_ones_only_when_all_is_written(tmp_path: Path) -> None:
    write_arrays(tmp_path / "kept", "here", SPECS, pieces())

    def broken() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield next(pieces(5))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_arrays(tmp_path / "kept", "there", SPECS, broken())
    assert open_arrays(tmp_path / "kept", "here", SPECS) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    write_arrays(tmp_path / "kept", "there", SPECS, pieces(5))
    assert open_arrays(tmp_path / "kept", "here", SPECS) is None
    found = open_arrays(tmp_path / "kept", "there", SPECS)
    assert found is not None
    assert found[1][0] == 5


def test_write_arrays_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    spec = ArraySpec("large", "<f4", (4096,))
    with full_disk(), pytest.raises(DataError, match="kept: cannot be written"):
        write_arrays(tmp_path / "kept", "here", [spec], [(np.zeros(4096),)])
    assert list(tmp_path.iterdir()) == []


def test_remove_arrays_keeps_folders_of_other_files(tmp_path: Path) -> None:
    write_arrays(tmp_path / "kept", "here", SPECS, pieces())
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        remove_arrays(tmp_path / "kept")
    (tmp_path / "kept" / "notes.txt").unlink()
    remove_arrays(tmp_path / "kept")
    remove_arrays(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_free_bytes_asks_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0
