"""Files of torch.save, whole, made to take more than they have, and mutated."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from greenedge.data.pickle_machine import PickleError
from greenedge.errors import CheckpointError
from greenedge.models.torch_files import read_torch_file
from greenedge.models.weights import load_tensors, read_state_dict

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
DTYPES += [torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.float8_e4m3fn]


def whole() -> dict[str, Any]:
    numbers = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "types": OrderedDict((str(dtype), torch.tensor([0, 1, 1, 0]).to(dtype)) for dtype in DTYPES),
        "views": [numbers, numbers[1], numbers.permute(2, 0, 1), numbers[:, ::2], numbers[0, 0].expand(5, 4)],
        "last": numbers.to(memory_format=torch.contiguous_format).unsqueeze(0).to(memory_format=torch.channels_last),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(7),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": {"lr": 0.1, 3: [True, None, "ä"], "size": torch.Size([1, 2]), "numpy": np.arange(3)},
        "module": torch.nn.BatchNorm1d(3).state_dict(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape or a.stride() != b.stride():
            return False
        return bool((a.float() == b.float()).all()) if a.dtype == torch.float8_e4m3fn else torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path, zipped: bool) -> None:
    content = whole()
    if not zipped:  # the old format has no such numbers
        del content["types"]["torch.uint16"], content["types"]["torch.float8_e4m3fn"]
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_torch_file(path)
    assert same(found, torch.load(path, weights_only=False))
    assert same(found, content)
    found["views"][0][1, 0, 0] = 99  # views of one storage stay so
    assert found["views"][1][0, 0] == 99


@pytest.mark.parametrize("zipped", [True, False])
def test_an_optimizers_state_is_read(tmp_path: Path, zipped: bool) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = load_tensors(tmp_path / "a.pth")
    assert same(found, optimizer.state_dict())
    optimizer.load_state_dict(found)


def rewritten(path: Path, change: Any, method: int = zipfile.ZIP_STORED) -> Path:
    """The file with its pickle changed, as a whole zip."""
    with zipfile.ZipFile(path) as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_promises_that_the_file_does_not_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"

    def saved() -> Path:
        torch.save({"w": torch.zeros(7, 3)}, path)
        return path

    shape, count = b"K\x07K\x03\x86", b"K\x15t"
    huge = b"\x8a\x06" + struct.pack("<q", 10**13)[:6]
    assert list(read_state_dict(rewritten(saved(), lambda content: content))) == ["w"]
    for old, new in (
        (shape, b"\x8a\x06" + struct.pack("<q", 10**13)[:6] + b"K\x03\x86"),
        (shape, b"J\xff\xff\xff\xffK\x03\x86"),
        (shape, b"K\x08K\x03\x86"),
        (count, huge + b"t"),
        (count, b"K\x16t"),
        (count, b"K\x14t"),
    ):

        def change(content: bytes, old: bytes = old, new: bytes = new) -> bytes:
            assert content.count(old) == 1
            return content.replace(old, new)

        assert "cannot be read" in refused(rewritten(saved(), change))
    bomb = rewritten(saved(), lambda content: content + b"\0" * 10**7, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    assert "cannot be read" in refused(bomb)
    call = b"ctorch\nFloatStorage\n" + huge + b"\x85R."
    assert "runs no code" in refused(rewritten(saved(), lambda _: b"\x80\x02" + call))
    assert "runs no code" in refused(rewritten(saved(), lambda _: b"\x80\x02ctorch\nTensor\n" + huge + b"\x85R."))


def test_a_number_shown_without_end_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**9)}, tmp_path / "a.pth")
    assert "expands to more than its size" in refused(tmp_path / "a.pth")


def test_a_magic_number_alone_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
    assert "truncated" in refused(tmp_path / "a.pth")
    with pytest.raises(PickleError):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_no_mutation_brings_anything_but_a_sentence(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(11)
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    state = {"module.a.weight": torch.ones(3, 4), "module.b": torch.zeros(5, dtype=torch.float16)}
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "zip")
    good, refusals = path.read_bytes(), 0
    for _ in range(300):
        content = bytearray(good)
        for _ in range(random.integers(1, 5)):
            place, length = random.integers(len(content)), random.integers(1, 9)
            choice = random.integers(4)
            if choice == 0:
                content[place] = random.integers(256)
            elif choice == 1:
                content[place : place + length] = b"\xff" * length
            elif choice == 2:
                del content[place : place + length]
            else:
                content[place:place] = good[random.integers(len(good)) :][:20]
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # zipfile's, on two members of one name
            try:
                read_state_dict(path)
            except CheckpointError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refusals += 1
    assert refusals > 100


def test_members_that_expand_are_refused_unread(tmp_path: Path) -> None:
    """Each check by its own sentence: what is packed, and what is larger inside than outside."""
    path = tmp_path / "a.pth"
    torch.save({"w": torch.zeros(7, 3)}, path)
    packed = rewritten(path, lambda content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(PickleError, match="torch compresses nothing"):
        read_torch_file(packed)
    torch.save({"w": torch.zeros(7, 3)}, path)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")  # of the first member in the directory
    claimed = content[: start + 24] + struct.pack("<I", 10**9) + content[start + 28 :]
    path.write_bytes(claimed)
    with pytest.raises(PickleError, match="it expands to more than its size"):
        read_torch_file(path)
