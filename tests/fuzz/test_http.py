"""What a server answers: status lines, headers, bodies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from mutations import fuzz

from octathlon.archives.download import download
from octathlon.errors import OctathlonError

BODY = b"the archive" * 10
HEADERS = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nETag: "1"\r\nContent-Length: 110\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6e\r\n" + BODY + b"\r\n0\r\n\r\n",
    b'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\nContent-Range: bytes 10-109/110\r\nContent-Length: 100\r\n\r\n',
    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\n\r\n<html>",
)


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server, and what it answers: any bytes, and then nothing more."""
    answer = [b""]

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer[0])

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}/file.tar", answer
        site.shutdown()
        thread.join()


def test_answers(server, tmp_path):
    """Whatever comes, the file is whole or absent; half of one, which waits for its rest, may be there."""
    url, answer = server
    path, part = tmp_path / "file.tar", tmp_path / "file.tar.part"

    def read(content: bytes) -> None:
        path.unlink(missing_ok=True)
        answer[0] = content
        if len(content) % 2:
            part.write_bytes(BODY[:10])
        try:
            download([url], path, timeout=5, attempts=1, sleep=lambda _seconds: None)
        except OctathlonError:
            assert not path.exists()
        else:
            assert path.exists()
        finally:
            for left in tmp_path.glob("file.tar.part*"):
                left.unlink()

    fuzz(read, [HEADERS[0] + BODY, *HEADERS[1:]])
