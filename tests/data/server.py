"""A local web server that serves one archive and can fail like real ones."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_BLOCK = 1 << 16


@dataclass
class Archive:
    """What is served, how, and what was requested.

    Attributes:
        content: the archive's bytes.
        url: its address.
        ranges: whether a Range header is honoured.
        says_length: whether a Content-Length header is sent.
        length: sent as Content-Length instead of the true one.
        breaks_after: bytes of a response after which the connection closes.
        status: answered instead of the archive.
        while_sending: called before every block.
        asked: the Range header of every request, None where there was none.
        sent: bytes of the archive that went out.
    """

    content: bytes
    url: str = ""
    ranges: bool = True
    says_length: bool = True
    length: str | None = None
    breaks_after: int | None = None
    status: int | None = None
    while_sending: Callable[[], None] = lambda: None
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0


@contextmanager
def serve(content: bytes, name: str = "archive.zip") -> Iterator[Archive]:
    archive = Archive(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            archive.asked.append(asked)
            if archive.status is not None:
                self.send_error(archive.status)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and archive.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if asked and archive.ranges else 200)
            if archive.says_length:
                length = str(len(content) - start) if archive.length is None else archive.length
                self.send_header("Content-Length", length.encode().decode("latin-1"))
            if asked and archive.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:][: archive.breaks_after]
            for first in range(0, len(body), _BLOCK):
                archive.while_sending()
                block = body[first : first + _BLOCK]
                archive.sent += len(block)
                self.wfile.write(block)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        archive.url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()
