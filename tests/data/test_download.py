from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenedge.data.download import download, download_from_any
from greenedge.errors import DataError
from tests.data.server import Archive, serve
from tests.data.sources import is_one_sentence

CONTENT = random.Random(0).randbytes(2_900_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serve(CONTENT) as served:
        yield served


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def refusal(out: Path, url: str, md5: str = MD5) -> str:
    try:
        download(out, url, md5)
    except DataError as error:
        message, code = str(error), error.exit_code
    else:
        pytest.fail("was not refused")
    assert code == 1
    assert is_one_sentence(message)
    return message


@pytest.mark.parametrize("says_length", [True, False])
def test_download_writes_the_complete_archive_and_nothing_else(archive: Archive, out: Path, says_length: bool) -> None:
    archive.says_length = says_length
    assert download(out / "deep" / "er", archive.url, MD5) == out / "deep" / "er" / "archive.zip"
    assert files(out / "deep" / "er") == {"archive.zip": CONTENT}
    assert archive.asked == [None]


def test_download_gives_the_final_name_only_at_the_end(archive: Archive, out: Path) -> None:
    seen: list[bool] = []
    archive.while_sending = lambda: seen.append((out / "archive.zip").exists())
    download(out, archive.url, MD5)
    assert len(seen) > 40
    assert not any(seen)
    assert (out / "archive.zip").exists()


def test_download_continues_where_it_was_interrupted(archive: Archive, out: Path) -> None:
    archive.breaks_after = 1_300_000
    message = refusal(out, archive.url)
    assert message.startswith(f"{archive.url}: the download failed (the connection closed after 1300000 of 2900000")
    assert f"1.3 MB are kept in {out / 'archive.zip.part'}; run it again" in message
    assert files(out) == {"archive.zip.part": CONTENT[:1_300_000]}

    archive.breaks_after = 700_000
    assert "the connection closed after 2000000 of 2900000 bytes" in refusal(out, archive.url)
    assert files(out) == {"archive.zip.part": CONTENT[:2_000_000]}

    archive.breaks_after = None
    download(out, archive.url, MD5)
    assert files(out) == {"archive.zip": CONTENT}
    assert archive.asked == [None, "bytes=1300000-", "bytes=2000000-"]
    assert archive.sent == len(CONTENT)


def test_download_starts_again_from_a_server_without_ranges(archive: Archive, out: Path) -> None:
    archive.ranges, archive.breaks_after = False, 1_000_000
    refusal(out, archive.url)
    archive.breaks_after = 400_000
    refusal(out, archive.url)
    assert files(out) == {"archive.zip.part": CONTENT[:400_000]}
    archive.breaks_after = None
    download(out, archive.url, MD5)
    assert archive.asked == [None, "bytes=1000000-", "bytes=400000-"]
    assert files(out) == {"archive.zip": CONTENT}


def test_download_only_verifies_a_part_that_is_complete(archive: Archive, out: Path) -> None:
    out.mkdir()
    (out / "archive.zip.part").write_bytes(CONTENT)
    download(out, archive.url, MD5)
    assert files(out) == {"archive.zip": CONTENT}
    assert archive.asked == [f"bytes={len(CONTENT)}-"]
    assert archive.sent == 0


def test_download_removes_an_archive_with_another_digest(archive: Archive, out: Path) -> None:
    expected = "0" * 32
    message = refusal(out, archive.url, md5=expected)
    assert message.startswith(f"{archive.url}: has MD5 {MD5}, expected {expected}; it was removed")
    assert files(out) == {}


@pytest.mark.parametrize("part", [b"another archive's beginning", CONTENT + b"and more"])
def test_download_removes_a_foreign_part_and_works_the_next_time(archive: Archive, out: Path, part: bytes) -> None:
    out.mkdir()
    (out / "archive.zip.part").write_bytes(part)
    assert "it was removed, download it again" in refusal(out, archive.url)
    assert files(out) == {}
    download(out, archive.url, MD5)
    assert files(out) == {"archive.zip": CONTENT}


@pytest.mark.parametrize("md5", [MD5, MD5.upper()])
def test_download_reuses_an_existing_archive(archive: Archive, out: Path, md5: str) -> None:
    out.mkdir()
    (out / "archive.zip").write_bytes(CONTENT)
    assert download(out, archive.url, md5) == out / "archive.zip"
    assert archive.asked == []


def test_download_refuses_and_keeps_another_file_of_that_name(archive: Archive, out: Path) -> None:
    out.mkdir()
    (out / "archive.zip").write_bytes(b"mine")
    message = refusal(out, archive.url)
    assert message == f"{out / 'archive.zip'}: exists with another MD5 than {MD5}; remove it and download again"
    assert files(out) == {"archive.zip": b"mine"}
    assert archive.asked == []


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (503, "Service Unavailable")])
def test_download_keeps_its_part_after_an_error_of_the_server(
    archive: Archive, out: Path, status: int, reason: str
) -> None:
    archive.status = status
    message = refusal(out, archive.url)
    assert message.startswith(f"{archive.url}: ")
    assert reason in message
    assert files(out) == {}
    (out / "archive.zip.part").write_bytes(CONTENT[:500_000])
    refusal(out, archive.url)
    assert files(out) == {"archive.zip.part": CONTENT[:500_000]}
    archive.status = None
    download(out, archive.url, MD5)
    assert archive.asked == [None, "bytes=500000-", "bytes=500000-"]


def test_download_names_a_server_that_refuses_connections(out: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/archive.zip"
        message = refusal(out, url)
    assert message.startswith(f"{url}: ")
    assert "Connection refused" in message
    assert files(out) == {}


@pytest.mark.parametrize(
    "url",
    [
        "archive.zip",
        "gopher7://127.0.0.1/archive.zip",
        "http://[::1/archive.zip",
        "http://127.0.0.1:port/archive.zip",
        "http://127.0.0.1/an archive.zip",
        "http:///archive.zip",
        "http://127.0.0.1/\N{SNOWMAN}.zip",
    ],
)
def test_download_refuses_an_invalid_address(out: Path, url: str) -> None:
    assert refusal(out, url).startswith(f"{url}: ")
    assert files(out) == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.zip?x=../../b", "a.zip"),
        ("..", "archive.zip"),
        ("x/../..", "archive.zip"),
        ("", "archive.zip"),
        ("?file=a.zip", "archive.zip"),
        (".hidden.zip", "hidden.zip"),
        ("a%2F..%2Fb.zip", "a%2F..%2Fb.zip"),
        ("a\\b:c*.zip#part", "a_b_c_.zip"),
        ("x" * 300 + ".zip", "x" * 196 + ".zip"),
    ],
)
def test_download_keeps_the_archive_in_its_folder_for_any_address(out: Path, path: str, name: str) -> None:
    with serve(CONTENT, path) as archive:
        assert download(out, archive.url, MD5) == out / name
    assert files(out) == {name: CONTENT}


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a.zip", "data:,archive"])
def test_download_accepts_only_web_servers(out: Path, url: str) -> None:
    assert refusal(out, url).endswith("is not a download address; expected one that begins with http:// or https://")
    assert not out.exists()


@pytest.mark.parametrize("length", ["many", "-5", "", "1e9", "\u0663"])
def test_download_ignores_a_length_that_is_not_a_number(archive: Archive, out: Path, length: str) -> None:
    archive.length = length
    download(out, archive.url, MD5)
    assert files(out) == {"archive.zip": CONTENT}


def test_download_refuses_a_length_that_is_too_small_or_too_large(archive: Archive, out: Path) -> None:
    archive.length = str(len(CONTENT) - 1)
    assert "has MD5" in refusal(out, archive.url)
    archive.length = str(len(CONTENT) + 1)
    assert "the connection closed after 2900000 of 2900001 bytes" in refusal(out, archive.url)
    archive.length = None
    download(out, archive.url, MD5)
    assert files(out) == {"archive.zip": CONTENT}


def test_download_refuses_a_folder_that_is_a_file(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(tmp_path / "file" / "deeper", archive.url)
    (tmp_path / "archive.zip").mkdir()
    assert "exists with another MD5" in refusal(tmp_path, archive.url)


def test_download_from_any_goes_on_to_the_next_address(archive: Archive, out: Path) -> None:
    with serve(b"another archive", "other.zip") as dead, serve(b"wrong", "wrong.zip") as wrong:
        dead.status = 404
        assert download_from_any(out, [dead.url, wrong.url, archive.url], MD5) == out / "archive.zip"
        assert files(out) == {"archive.zip": CONTENT}
        with pytest.raises(DataError, match=r"Not Found.*has MD5"):
            download_from_any(out, [dead.url, wrong.url], MD5)


def test_download_from_any_continues_at_a_mirror(archive: Archive, out: Path) -> None:
    with serve(CONTENT) as broken:
        broken.breaks_after = 1_300_000
        download_from_any(out, [broken.url, archive.url], MD5)
    assert archive.asked == [f"bytes={broken.sent}-"]
    assert files(out) == {"archive.zip": CONTENT}
